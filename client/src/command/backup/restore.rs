//! `keyagent backup restore FILE`: the keys of a backup into the keyring of the agent, or a machine anew.
//!
//! Every page is looked at before the first one is taken in; a key that differs keeps all of them out.

mod anew;

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use keyagent_client::{Connection, Error};
use keyagent_common::{
    backup::Backup,
    error::ErrorCode,
    fingerprint,
    op::{Empty, Status},
    report::Report,
};
use serde::Serialize;

use super::{
    contents, file,
    key::BackupKey,
    opening::OpeningArguments,
    shown::{self, OutcomeDocument},
};
use crate::{
    agent_status::AgentStatus,
    command::OK,
    console,
    failure::{Failure, usage},
    session::Session,
};

/// `keyagent backup restore`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub(super) struct Arguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    opening: OpeningArguments,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Make primary here what is primary in the backup, where that is newer; else it is staged
    #[arg(long)]
    promote: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// On a new machine: put the master key here
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// On a new machine: one folder for keyring, audit log and the rest
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// On a new machine: use the folders of the system instead of the user's
    #[arg(long)]
    system: bool,
    /// On a new machine: go on although memory cannot be locked
    #[arg(long)]
    allow_unlocked_memory: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dry_run: bool,
    new_machine: bool,
    generation: Option<u64>,
    keys: &'a [OutcomeDocument],
}

/// A backup and its key.
struct Opened<'b> {
    backup: &'b Backup<'b>,
    key: BackupKey,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let bytes = file::read(&arguments.file)?;
    let backup = file::parse(&bytes, &arguments.file)?;
    let connection = match Connection::open(&session.address()?, session.options()?) {
        Ok(connection) => {
            session.check_receiver(&connection)?;
            Some(connection)
        }
        Err(error @ Error::Unreachable { .. }) => {
            anew::check(arguments, &backup, &error)?;
            None
        }
        Err(error) => return Err(error.into()),
    };
    let key = arguments.opening.open(&backup, session.console)?;
    let opened = Opened { backup: &backup, key };
    let keys = contents::read(&backup, &opened.key)?;
    let Some(mut connection) = connection else {
        if arguments.dry_run {
            if session.console.json {
                let schema = "keyagent.backup_restore/1";
                let document =
                    Document { schema, dry_run: true, new_machine: true, generation: None, keys: &[] };
                console::print_json(&document)?;
                return Ok(OK);
            }
            console::print(&shown::contents(&keys))?;
            session.console.say("there is no keyring here: the machine would begin with these keys");
            return Ok(OK);
        }
        if !session.console.json {
            console::print(&shown::contents(&keys))?;
        }
        confirm(session, arguments, "Make a keyring with these keys, and the master key of the backup?")?;
        let mut connection = anew::begin(session, arguments, &opened)?;
        let looked = pass(&mut connection, &opened, (true, true))?.0;
        refuse_differing(&looked)?;
        return finish(session, &mut connection, &opened, (arguments, true));
    };
    let looked = pass(&mut connection, &opened, (true, arguments.promote))?.0;
    let differs = refuse_differing(&looked);
    if arguments.dry_run || differs.is_err() {
        tell(session, &looked, (true, false), None)?;
        return differs.map(|()| OK);
    }
    if looked.iter().any(OutcomeDocument::brings_something) {
        if session.console.can_ask() && !session.console.json {
            console::print(&shown::outcomes(&looked))?;
        }
        confirm(session, arguments, "Take these keys in?")?;
    }
    finish(session, &mut connection, &opened, (arguments, false))
}

/// Sends every page; what becomes of the keys, and the generation afterwards.
fn pass(
    connection: &mut Connection,
    opened: &Opened<'_>,
    (dry_run, promote): (bool, bool),
) -> Result<(Vec<OutcomeDocument>, u64), Failure> {
    let (mut all, mut generation) = (Vec::new(), 0);
    let pages = &opened.backup.pages;
    for (done, page) in pages.iter().enumerate() {
        match connection.backup_restore(opened.key.bytes(), page, dry_run, promote) {
            Ok(reply) => {
                shown::collect(&mut all, &reply.keys);
                generation = reply.generation;
            }
            Err(error) if dry_run || done == 0 => return Err(error.into()),
            Err(error) => {
                let taken = format!("{done} of {} pages, each whole; the same command goes on", pages.len());
                return Err(error.report().fact("taken in", taken).into());
            }
        }
    }
    Ok((all, generation))
}

fn refuse_differing(looked: &[OutcomeDocument]) -> Result<(), Failure> {
    let Some(first) = looked.iter().find(|key| key.differs) else { return Ok(()) };
    let count = looked.iter().filter(|key| key.differs).count();
    let report = Report::new(
        ErrorCode::KeyDiffers,
        "keys of the backup are other ones than here; nothing was taken in",
    )
    .fact("key", format!("{}: {}", first.name, first.why));
    let more = if count > 1 { format!("{} more differ; ", count - 1) } else { String::new() };
    Err(report
        .why(format!("{more}a restore never puts anything in the place of a key that differs"))
        .fix(
            "back up the other keys alone (keyagent backup create NAME…), or restore into a new state folder",
        )
        .into())
}

fn confirm(session: &Session<'_>, arguments: &Arguments, question: &str) -> Result<(), Failure> {
    if arguments.yes {
        return Ok(());
    }
    if !session.console.can_ask() {
        return Err(usage("nobody can be asked whether this is meant; nothing was done")
            .fix("keyagent backup restore FILE --dry-run, then the same with --yes")
            .into());
    }
    let answer = console::ask(&format!("{question} (yes/no)"), "no")?;
    if matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(usage("not confirmed; nothing was done").into())
}

/// In earnest, then a look whether everything is there.
fn finish(
    session: &Session<'_>,
    connection: &mut Connection,
    opened: &Opened<'_>,
    (arguments, new): (&Arguments, bool),
) -> Result<u8, Failure> {
    let (done, generation) = pass(connection, opened, (false, arguments.promote || new))?;
    let missing = missing(connection, opened.backup)?;
    if missing > 0 {
        session.console.say(&format!("{missing} versions of the backup were destroyed here, and stay so"));
    }
    if new {
        same_master(connection, opened.backup)?;
        if missing > 0 {
            return Err(Report::new(ErrorCode::Internal, "not all keys of the backup have arrived").into());
        }
    }
    tell(session, &done, (false, new), Some(generation))?;
    Ok(OK)
}

/// Ids of the backup that no key here has. The agent does not tell every version of a key with very many: as many of
/// them as it does not tell count as here, for every page was answered as taken in.
fn missing(connection: &mut Connection, backup: &Backup<'_>) -> Result<usize, Failure> {
    let (mut here, mut untold, mut after) = (BTreeSet::new(), 0_usize, String::new());
    loop {
        let reply = connection.key_list(&after, u32::MAX)?;
        here.extend(reply.keys.iter().flat_map(|key| key.versions.iter().map(|version| version.key_id)));
        for key in &reply.keys {
            let newest = key.versions.last().and_then(|version| usize::try_from(version.number).ok());
            untold += newest.unwrap_or(0).saturating_sub(key.versions.len());
        }
        let last = reply.keys.last().map(|key| key.name.to_owned());
        match last {
            Some(last) if reply.more && last > after => after = last,
            _ => break,
        }
    }
    let unseen = backup.key_ids.iter().filter(|id| !here.contains(*id)).count();
    Ok(unseen.saturating_sub(untold))
}

fn same_master(connection: &mut Connection, backup: &Backup<'_>) -> Result<(), Failure> {
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    if status.fingerprint() == Some(backup.master) {
        return Ok(());
    }
    Err(Report::new(ErrorCode::WrongMasterKey, "the agent uses another master key than that of the backup")
        .fact("needed", fingerprint::short(&backup.master))
        .into())
}

fn tell(
    session: &Session<'_>,
    keys: &[OutcomeDocument],
    (dry_run, new_machine): (bool, bool),
    generation: Option<u64>,
) -> Result<(), Failure> {
    if session.console.json {
        let schema = "keyagent.backup_restore/1";
        return console::print_json(&Document { schema, dry_run, new_machine, generation, keys });
    }
    console::print(&shown::outcomes(keys))?;
    session.console.say(match generation {
        None => "dry run: nothing was done",
        Some(_) => "everything that the backup holds is here",
    });
    Ok(())
}

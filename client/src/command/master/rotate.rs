//! `keyagent master rotate`: a new master key for the keyring, step by step, each on the disk before the next
//! (docs/FORMATS.md, section 3 "Master rotation"). Interrupted anywhere, the same command goes on.

use std::path::{Path, PathBuf};

use clap::Args;
use keyagent_client::Connection;
use keyagent_common::{
    error::ErrorCode,
    op::{Empty, MasterRotateReply, MasterStep, Status},
    report::Report,
};
use secrecy::ExposeSecret;

use super::{
    files,
    keys::Passphrases,
    lock::Lock,
    needed,
    place::{Place, place},
    plan::{self, Print, Seen, Step},
    said,
};
use crate::{
    agent_status::AgentStatus,
    command::OK,
    failure::Failure,
    key_file::{Content, MasterKey},
    passphrase,
    session::Session,
};

/// `keyagent master rotate`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub(super) struct Arguments {
    /// The key file in use, if the agent names no other
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Make the next key in this file, for you to put where the agent reads its key; then run this again
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Keep the key that is replaced in this file: backups from before need it
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub(super) keep_previous: Option<PathBuf>,
    /// Take the passphrase of the key in use from this open descriptor instead of asking
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
    /// Protect the next key with another passphrase
    #[arg(long)]
    new_passphrase: bool,
    /// Take that passphrase from this open descriptor
    #[arg(long, value_name = "N")]
    new_passphrase_fd: Option<u32>,
    /// Give an unfinished rotation up
    #[arg(long)]
    abandon: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// A rotation on the way.
pub(super) struct Work<'s> {
    pub(super) session: &'s Session<'s>,
    pub(super) arguments: &'s Arguments,
    connection: Connection,
    passphrases: Passphrases<'s>,
    pub(super) place: Place,
    pub(super) previous: Print,
    /// What the key file in use holds, until it is needed.
    current: Option<Content>,
    next: Option<MasterKey>,
    /// The next key, if it is known which one that is.
    target: Option<Print>,
    pub(super) reply: Option<MasterRotateReply>,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let mut connection = session.connect()?;
    connection.hello()?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    session.check_receiver(&connection)?;
    if !status.is_unlocked() {
        return Err(Report::new(ErrorCode::Locked, "the agent is locked")
            .why("no key is in its memory, so none can be sealed anew")
            .fix("keyagent unlock")
            .into());
    }
    let place = place(arguments.key_file.as_deref(), arguments.new_key_file.as_deref(), &status)?;
    // Who only looks keeps nobody out. What was seen before the lock does not count.
    let _lock = if arguments.dry_run { None } else { Lock::take(&place.next)? };
    let Found { place, seen, current, steps } = look(&mut connection, arguments, &place)?;
    if arguments.dry_run || steps.is_empty() {
        said::tell_plan(session, &seen, &place, &steps)?;
        return Ok(OK);
    }
    said::confirm(session, arguments.yes, &seen, &steps)?;
    let (descriptor, another) = (arguments.passphrase_fd, arguments.new_passphrase);
    let mut work = Work {
        session,
        arguments,
        passphrases: Passphrases::new(session, descriptor, another, arguments.new_passphrase_fd),
        connection,
        place,
        previous: seen.replaced.filter(|_| !arguments.abandon).unwrap_or(seen.in_use),
        current,
        next: None,
        target: seen.next.or_else(|| (steps.first() == Some(&Step::Finish)).then_some(seen.in_use)),
        reply: None,
    };
    for step in &steps {
        work.take(*step)?;
        session.console.detail(step.as_str());
    }
    work.tell(&steps)?;
    Ok(OK)
}

/// What there is, and what is to be done.
struct Found {
    place: Place,
    seen: Seen,
    /// What the key file in use holds.
    current: Option<Content>,
    steps: Vec<Step>,
}

/// Looks at agent and files, and decides; refuses what is known to end badly.
fn look(connection: &mut Connection, arguments: &Arguments, locked: &Place) -> Result<Found, Failure> {
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let place = place(arguments.key_file.as_deref(), arguments.new_key_file.as_deref(), &status)?;
    let place = same_place(locked, place)?;
    let current = place.key_file.as_deref().map(files::read).transpose()?.flatten();
    let next_file = files::read(&place.next)?;
    let replaced = place.replaced.as_deref().map(files::read).transpose()?.flatten();
    let unknown =
        || Report::new(ErrorCode::ProtocolMismatch, "the agent does not say which master key it has");
    let seen = Seen {
        in_use: status.fingerprint().ok_or_else(unknown)?,
        next: status.next_fingerprint(),
        file: current.as_ref().map(|(_, print)| *print),
        next_file: next_file.as_ref().map(|(_, print)| *print),
        replaced: replaced.as_ref().map(|(_, print)| *print),
        installed_by_hand: arguments.new_key_file.is_some(),
    };
    let steps = if arguments.abandon { plan::abandonment(&seen)? } else { plan::rotation(&seen)? };
    let contents = [&current, &next_file, &replaced].map(|file| file.as_ref().map(|(content, _)| content));
    needed::passphrases(
        &contents,
        arguments.passphrase_fd.is_some(),
        arguments.new_passphrase || arguments.new_passphrase_fd.is_some(),
    )?;
    needed::same_kind(&contents, &steps, &place.next)?;
    Ok(Found { place, seen, current: current.map(|(content, _)| content), steps })
}

/// The place where the keys are now, if it is the one that was locked.
fn same_place(locked: &Place, again: Place) -> Result<Place, Failure> {
    if locked.next == again.next {
        return Ok(again);
    }
    Err(Report::new(ErrorCode::Busy, "the agent has its key from another file all at once")
        .fact("file", again.next.display().to_string())
        .why("it was started again meanwhile")
        .fix("run this again")
        .into())
}

impl Work<'_> {
    fn take(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Make => self.make(),
            Step::Begin => self.begin(),
            Step::Install => self.install(),
            Step::Finish => self.finish(),
            Step::PutBack => self.put_back(),
            Step::Abandon => self.abandon(),
            Step::Forget => self.remove(&self.place.next.clone()),
            Step::Discard => self.discard(),
        }
    }

    /// The next key is on the disk before anything depends on it.
    fn make(&mut self) -> Result<(), Failure> {
        let protect = matches!(self.current, Some(Content::Protected(_)));
        if protect {
            // Its passphrase first: nothing is made that could not be gone on with.
            self.open_current()?;
        }
        let key = passphrase::new_master()?;
        let text = self.passphrases.text(&key, protect)?;
        let like = self.place.key_file.as_deref().filter(|_| self.arguments.new_key_file.is_none());
        files::write_new(&self.place.next, &text, like)?;
        self.next = Some(key);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let current = if self.place.read_by_agent { None } else { self.open_current()? };
        let current: &[u8] = current.as_ref().map_or(&[], |key| key.expose_secret());
        self.open_next()?;
        let Some(next) = &self.next else { return Err(no_next(&self.place.next).into()) };
        let reply = self.connection.master_rotate(MasterStep::Begin, current, next.expose_secret())?;
        self.reply = Some(reply);
        Ok(())
    }

    /// Nothing is replaced before it is known that the next key can be opened and sent, if it will have to be.
    fn install(&mut self) -> Result<(), Failure> {
        if self.sends_next() {
            self.open_next()?;
        }
        let (Some(key_file), Some(replaced)) = (&self.place.key_file, &self.place.replaced) else {
            return Ok(());
        };
        let Some((_, print)) = files::read(&self.place.next)? else {
            return Err(no_next(&self.place.next).into());
        };
        let Some((_, before)) = files::read(key_file)? else { return Err(no_next(key_file).into()) };
        if let Some(copy) = &self.arguments.keep_previous {
            files::keep(key_file, copy, &before)?;
        }
        files::install(&self.place.next, key_file, replaced, &print)
    }

    fn sends_next(&self) -> bool {
        !self.place.read_by_agent || self.arguments.new_key_file.is_some()
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let sends = self.sends_next();
        if sends {
            self.open_next()?;
        }
        let next: &[u8] = match &self.next {
            Some(key) if sends => key.expose_secret(),
            _ => &[],
        };
        self.reply = Some(self.connection.master_rotate(MasterStep::Finish, &[], next)?);
        Ok(())
    }

    /// The replaced key goes, unless it is to be kept: the agent has just said that the next one opens the keyring.
    fn discard(&mut self) -> Result<(), Failure> {
        let Some(replaced) = self.place.replaced.clone() else { return Ok(()) };
        let Some((_, print)) = files::read(&replaced)? else { return Ok(()) };
        if let Some(copy) = self.arguments.keep_previous.as_ref().filter(|_| !self.arguments.abandon) {
            files::keep(&replaced, copy, &print)?;
        }
        self.remove(&replaced)
    }

    /// Removes a file that no key in use needs, by what agent and key file say now, not by what was planned.
    fn remove(&mut self, path: &Path) -> Result<(), Failure> {
        let Some((_, goes)) = files::read(path)? else { return Ok(()) };
        let status = AgentStatus::from(self.connection.call::<Status>(&Empty {})?);
        let needed = [status.fingerprint(), status.next_fingerprint()].contains(&Some(goes));
        let stays = self.place.key_file.as_deref().map(files::read).transpose()?.flatten();
        if needed && stays.is_none_or(|(_, print)| print != goes) {
            return Err(needed::only_file(path, &goes).into());
        }
        files::forget(path)
    }

    /// Both keys stay in a file each, and the replaced one is known to open before it is needed.
    fn put_back(&mut self) -> Result<(), Failure> {
        let (Some(key_file), Some(replaced)) = (&self.place.key_file, &self.place.replaced) else {
            return Ok(());
        };
        let Some((content, print)) = files::read(replaced)? else {
            return Err(no_next(replaced).into());
        };
        drop(self.passphrases.open(content, replaced)?);
        files::install(replaced, key_file, &self.place.next, &print)?;
        self.current = None;
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), Failure> {
        let current = if self.place.read_by_agent { None } else { self.open_current()? };
        let current: &[u8] = current.as_ref().map_or(&[], |key| key.expose_secret());
        self.reply = Some(self.connection.master_rotate(MasterStep::Abandon, current, &[])?);
        Ok(())
    }

    /// The key in use, if there is a file of it.
    fn open_current(&mut self) -> Result<Option<MasterKey>, Failure> {
        let Some(path) = &self.place.key_file else { return Ok(None) };
        let content = match self.current.take() {
            Some(content) => Some(content),
            None => files::read(path)?.map(|(content, _)| content),
        };
        let Some(content) = content else { return Ok(None) };
        self.passphrases.open(content, path).map(Some)
    }

    /// The next key, from where it is now, unless it is known.
    fn open_next(&mut self) -> Result<(), Failure> {
        if self.next.is_some() {
            return Ok(());
        }
        let places = [Some(&self.place.next), self.place.key_file.as_ref()];
        for path in places.into_iter().flatten() {
            if let Some((content, print)) = files::read(path)?
                && self.target.is_none_or(|target| target == print)
            {
                self.next = Some(self.passphrases.open(content, path)?);
                return Ok(());
            }
        }
        Err(no_next(&self.place.next).into())
    }
}

fn no_next(path: &Path) -> Report {
    Report::new(ErrorCode::KeyMissing, "a master key is gone from its place")
        .fact("file", path.display().to_string())
        .why("somebody moved it away meanwhile")
        .fix("put it back, then: keyagent master rotate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_key_waits_beside_the_one_in_use() {
        assert_eq!(files::next_beside(Path::new("/k/key")), Path::new("/k/key.next"));
        let key = MasterKey::init_with_mut(|key| *key = [0xab; 32]);
        assert_eq!(*files::plain_text(&key), [&[b'a', b'b'].repeat(32)[..], b"\n"].concat());
    }
}

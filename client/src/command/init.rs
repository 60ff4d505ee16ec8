//! `keyagent init`: the one command that makes a master key. It refuses to touch anything that exists.
//!
//! The daemon's program does the work; this asks the questions, every one of which has a flag, and
//! says what to keep where. Only a key that a passphrase protects is made here, because it must never
//! touch the disk: the daemon's program gets it through a pipe to make the keyring with.

mod protected;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use keyagent_client::effective_uid;
use keyagent_common::{
    error::ErrorCode,
    layout::Layout,
    protected_key::{self, MAX_TEXT_BYTES},
    report::Report,
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    command::{OK, unlock},
    console,
    daemon_process::{self, Daemon, DaemonArguments, exists},
    failure::{Failure, cannot_create, cannot_read, usage},
    input::fill,
    session::Session,
    temporary::Temporary,
};

/// `keyagent init`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub(crate) struct Arguments {
    /// Put the master key here
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How the master key is kept on disk
    #[arg(long, value_name = "HOW")]
    protect: Option<Protection>,
    /// Take the passphrase from this open descriptor instead of asking
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
    /// One folder for keyring, audit log and the rest
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Use the folders of the system instead of the user's
    #[arg(long)]
    system: bool,
    /// Start the agent afterwards
    #[arg(long, overrides_with = "no_start")]
    start: bool,
    /// Do not start the agent
    #[arg(long, overrides_with = "start")]
    no_start: bool,
    /// Put a copy of the key file here as well, away from the keyring
    #[arg(long, value_name = "FILE")]
    backup_key: Option<PathBuf>,
    /// Go on although memory cannot be locked
    #[arg(long)]
    allow_unlocked_memory: bool,
}

/// How the master key is kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protection {
    /// As it is, in a file that only its owner can read: the agent starts without anybody's help
    None,
    /// Sealed under a passphrase, which is asked for when the agent is unlocked
    Passphrase,
}

impl Protection {
    /// In documents.
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Passphrase => "passphrase",
        }
    }
}

/// The same, as understood.
struct Plan {
    protection: Protection,
    passphrase_fd: Option<u32>,
    daemon: DaemonArguments,
    layout: Layout,
    key_file: PathBuf,
    start: bool,
    backup_key: Option<PathBuf>,
}

impl Plan {
    /// Where the key is kept unless another place is named.
    fn default_key_file(&self) -> PathBuf {
        match self.protection {
            Protection::None => self.layout.key_file.clone(),
            Protection::Passphrase => protected_key::beside(&self.layout.key_file),
        }
    }

    /// The file with the other kind of key, which must not be there either: the agent would read both.
    fn companion(&self) -> PathBuf {
        if self.key_file == protected_key::beside(&self.layout.key_file) {
            return self.layout.key_file.clone();
        }
        protected_key::beside(&self.key_file)
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    fingerprint: String,
    master_id: String,
    key_file: String,
    protection: &'static str,
    keyring: String,
    backup_key: Option<String>,
    started: bool,
}

pub(crate) fn run(session: &Session<'_>, arguments: Arguments) -> Result<u8, Failure> {
    let plan = plan(session, arguments)?;
    refuse_what_exists(&plan)?;
    let said = match plan.protection {
        Protection::None => run_daemon(&plan.daemon, &["--init"])?,
        Protection::Passphrase => protected::make(session, &plan)?,
    };
    let (full, short) = fingerprint(&said)?;
    if let Some(copy) = &plan.backup_key {
        copy_key(&plan.key_file, copy)?;
    }
    if plan.start {
        start(session, &plan)?;
    }
    if session.console.json {
        console::print_json(&Document {
            schema: "keyagent.init/1",
            fingerprint: full,
            master_id: short,
            key_file: plan.key_file.display().to_string(),
            protection: plan.protection.name(),
            keyring: plan.layout.keyring.display().to_string(),
            backup_key: plan.backup_key.as_ref().map(|path| path.display().to_string()),
            started: plan.start,
        })?;
    } else {
        console::print(&format!("{full} {short}\n"))?;
        advise(session, &plan, &short);
    }
    Ok(OK)
}

fn plan(session: &Session<'_>, arguments: Arguments) -> Result<Plan, Failure> {
    let Arguments {
        key_file,
        protect,
        passphrase_fd,
        state_dir,
        system,
        start,
        no_start,
        backup_key,
        allow_unlocked_memory,
    } = arguments;
    let mut daemon =
        DaemonArguments { key_file, state_dir, system, allow_unlocked_memory, ..DaemonArguments::default() };
    let layout = daemon.layout()?;
    let mut plan = Plan {
        protection: protect.unwrap_or(Protection::None),
        passphrase_fd,
        key_file: layout.key_file.clone(),
        start,
        backup_key,
        layout,
        daemon: DaemonArguments::default(),
    };
    if effective_uid() == 0 && !daemon.system {
        session
            .console
            .say("warning: this makes root's own key, in user mode; the system's is: keyagent init --system");
    }
    let variable = std::env::var_os("KEYAGENT_KEY_FILE").filter(|value| !value.is_empty()).map(PathBuf::from);
    daemon.key_file = daemon.key_file.or(variable);
    if session.console.can_ask() {
        if protect.is_none() && passphrase_fd.is_none() && daemon.key_file.is_none() {
            plan.protection = ask_protection()?;
        }
        if daemon.key_file.is_none() {
            let default = plan.default_key_file().display().to_string();
            let answer = console::ask("Where shall the master key be?", &default)?;
            daemon.key_file = (answer != default).then(|| PathBuf::from(answer));
        }
        if !start && !no_start {
            let answer = console::ask("Start the agent now? (yes/no)", "yes")?;
            plan.start = matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes");
        }
        if plan.backup_key.is_none() {
            let answer = console::ask("Where shall a copy of the key file go? (empty: nowhere yet)", "")?;
            plan.backup_key = (!answer.is_empty()).then(|| PathBuf::from(answer));
        }
    }
    if plan.protection == Protection::None && passphrase_fd.is_some() {
        return Err(usage("--passphrase-fd is for a key that is to be protected")
            .fix("keyagent init --protect passphrase --passphrase-fd N")
            .into());
    }
    plan.key_file = daemon.key_file.clone().unwrap_or_else(|| plan.default_key_file());
    plan.daemon = daemon;
    Ok(plan)
}

fn ask_protection() -> Result<Protection, Failure> {
    let question = "Protect the master key with a passphrase, to be typed after each start? (yes/no)";
    let answer = console::ask(question, "no")?;
    let yes = matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes");
    Ok(if yes { Protection::Passphrase } else { Protection::None })
}

fn run_daemon(arguments: &DaemonArguments, more: &[&str]) -> Result<String, Failure> {
    let mut words = arguments.words();
    words.extend(more.iter().chain(&["--no-serve"]).map(OsString::from));
    daemon_process::run_once(&words)
}

/// The daemon's program refuses as well; here it is said before anything is run.
fn refuse_what_exists(plan: &Plan) -> Result<(), Report> {
    let Layout { keyring, audit_log, marker, .. } = &plan.layout;
    let companion = plan.companion();
    let places = [
        ("key", &plan.key_file),
        ("key", &companion),
        ("ring", keyring),
        ("audit", audit_log),
        ("marker", marker),
    ];
    let found: Vec<_> = places.into_iter().filter(|(_, path)| exists(path)).collect();
    if found.is_empty() {
        return match plan.backup_key.as_deref().filter(|path| exists(path)) {
            Some(copy) => {
                Err(cannot_create(copy, "it exists already").fix("choose another place with --backup-key"))
            }
            None => Ok(()),
        };
    }
    let report = Report::new(ErrorCode::AlreadyInitialized, "refusing to overwrite what exists");
    Err(found
        .into_iter()
        .fold(report, |report, (label, path)| report.fact(label, path.display().to_string()))
        .why("a new key would make everything that was encrypted unreadable")
        .fix("keyagent start          (or choose other places with --key-file and --state-dir)"))
}

/// The line `fingerprint <32 hex> <short> <key file path>`.
fn fingerprint(said: &str) -> Result<(String, String), Report> {
    let words = said.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "fingerprint").then_some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    words.ok_or_else(|| {
        Report::new(ErrorCode::Internal, "keyagentd did not say the fingerprint of the new key")
    })
}

/// Copies the key file, complete or not at all, over nothing.
fn copy_key(from: &Path, to: &Path) -> Result<(), Failure> {
    let name = from.display().to_string();
    let mut text = Zeroizing::new([0; MAX_TEXT_BYTES + 1]);
    let mut file = std::fs::File::open(from).map_err(|error| cannot_read(&name, &error))?;
    let count = fill(&mut file, &mut *text).map_err(|error| cannot_read(&name, &error))?;
    let refuse = |error: io::Error| cannot_create(to, error.to_string());
    let mut copy = Temporary::beside(to).map_err(refuse)?;
    copy.write_all(text.get(..count).unwrap_or_default()).map_err(refuse)?;
    Ok(copy.persist(to, false).map_err(refuse)?)
}

fn start(session: &Session<'_>, plan: &Plan) -> Result<(), Failure> {
    let address = session.address()?;
    let daemon = Daemon::prepare(&plan.daemon, address.named_path(), plan.layout.clone())?;
    if !daemon_process::answers(daemon.socket(), session.options()?)? {
        daemon_process::start(&daemon, session.options()?)?;
    }
    if plan.protection == Protection::Passphrase {
        unlock::offer(session, daemon.socket())?;
    }
    Ok(())
}

fn advise(session: &Session<'_>, plan: &Plan, short: &str) {
    if !session.console.talks() {
        return;
    }
    let words = plan.daemon.words();
    let flags: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let start = format!("keyagent start {}", flags.join(" "));
    let text = format!(
        "keyagent: made master key {short}\n\n  \
         key      {}\n  \
         keyring  {}\n  \
         backup   keyagent backup create -o FILE, to another machine, and again after every change of keys:\n           \
         without the keyring, keys made later are lost; without the key file, all of them\n  \
         next     {}\n",
        plan.key_file.display(),
        plan.layout.keyring.display(),
        if plan.start { "printf hello | keyagent encrypt --armor" } else { start.trim_end() },
    );
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_line_is_found_among_others() {
        let said = "x\nfingerprint a83629bc061e08c49aa1ab899fea5ee6 qDYp-vAYe /k\n";
        assert_eq!(fingerprint(said).unwrap().1, "qDYp-vAYe");
        assert!(fingerprint("fingerprint a\n").is_err() && fingerprint("").is_err());
    }
}

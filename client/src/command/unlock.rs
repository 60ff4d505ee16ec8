//! `keyagent unlock`: the agent reads its master key again, or gets it from here: from a file, a
//! descriptor, a command, or a file that a passphrase opens.
//!
//! Neither key nor passphrase is ever an argument, and both are wiped here. A key goes to nobody but an
//! agent of the own user or one whose socket was named, and only after that agent said that it is its
//! key; a passphrase is not even asked for before.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    thread,
};

use clap::Args;
use keyagent_client::{Address, Connection, Error, base_folders, effective_uid};
use keyagent_common::{
    error::ErrorCode,
    fingerprint, kdf,
    layout::{BaseFolders, Layout},
    op::{Empty, Status, Unlock, UnlockReply, UnlockRequest},
    protected_key::{self, ProtectedKey},
    report::Report,
};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::{
    agent_status::AgentStatus,
    command::OK,
    console,
    daemon_process::exists,
    failure::{Failure, usage},
    key_command,
    key_file::{self, Content, MasterKey},
    passphrase::{self, Passphrase},
    session::Session,
};

/// `keyagent unlock`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Send the key of this file, plain or protected, instead of letting the agent read its own source
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Send the key from this open descriptor
    #[arg(long, value_name = "N", conflicts_with = "key_file")]
    key_fd: Option<u32>,
    /// Open a protected key with the passphrase from this open descriptor instead of asking
    #[arg(long, value_name = "N", conflicts_with = "key_fd")]
    passphrase_fd: Option<u32>,
    /// Send the key that the command after -- prints
    #[arg(long, requires = "words", conflicts_with_all = ["key_file", "key_fd", "passphrase_fd"])]
    command: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD", requires = "command")]
    words: Vec<OsString>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    changed: bool,
    fingerprint: String,
    master_id: String,
}

/// The agent that is to be unlocked.
struct Receiver<'s> {
    session: &'s Session<'s>,
    /// Where it listens, if that is known already.
    socket: Option<&'s Path>,
}

/// A protected key and where it was read.
struct Protected {
    key: Box<ProtectedKey>,
    file: PathBuf,
}

impl Receiver<'_> {
    fn connect(&self) -> Result<Connection, Failure> {
        match self.socket {
            Some(socket) => Ok(Connection::open(&Address::exactly(socket)?, self.session.options()?)?),
            None => self.session.connect(),
        }
    }
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let receiver = Receiver { session, socket: None };
    let reply = if arguments.command {
        send(&receiver, &key_command::run(&arguments.words)?)?
    } else if let Some(number) = arguments.key_fd {
        send(&receiver, &key_file::read_descriptor(number)?)?
    } else if let Some(path) = &arguments.key_file {
        match key_file::read_checked(path)? {
            Content::Plain(_) if arguments.passphrase_fd.is_some() => return Err(not_protected(path).into()),
            Content::Plain(key) => send(&receiver, &key)?,
            Content::Protected(key) => {
                unprotect(&receiver, &Protected { key, file: path.clone() }, arguments.passphrase_fd)?
            }
        }
    } else if arguments.passphrase_fd.is_some() {
        let mut connection = session.connect()?;
        let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
        let place = protected_file(&connection, &status).ok_or_else(no_protected_file)?;
        drop(connection);
        unprotect(&receiver, &read_protected(place)?, arguments.passphrase_fd)?
    } else {
        from_what_there_is(&receiver)?
    };
    tell(session, &reply)
}

/// Asks for the passphrase of an agent that was found locked, and unlocks it. Where nobody can be asked,
/// it says what to do; where there is no protected key, it does nothing.
pub(crate) fn offer(session: &Session<'_>, socket: &Path) -> Result<(), Failure> {
    let receiver = Receiver { session, socket: Some(socket) };
    let mut connection = receiver.connect()?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    if status.is_unlocked() || reads_its_key(&status) || protected_file(&connection, &status).is_none() {
        return Ok(());
    }
    if !session.console.can_ask() {
        session.console.say("it is locked until somebody types the passphrase: keyagent unlock");
        return Ok(());
    }
    if let Some(reply) = unprotect_that_of(&receiver, connection, &status)? {
        session.console.say(&format!("unlocked; master key {}", fingerprint::short(&reply.fingerprint)));
    }
    Ok(())
}

/// The file with the protected key of an agent: the one that it names, or the one in its default place.
pub(crate) fn protected_file(connection: &Connection, status: &AgentStatus) -> Option<PathBuf> {
    if let Some(named) = named_source(status).filter(|path| key_file::holds_protected(path)) {
        return Some(named.to_path_buf());
    }
    default_place(connection).filter(|path| exists(path))
}

/// Where the protected key of an agent is unless it names another file.
fn default_place(connection: &Connection) -> Option<PathBuf> {
    let system = Layout::new(&BaseFolders::System, None);
    let layout =
        if connection.socket() == system.socket { system } else { Layout::new(&base_folders()?, None) };
    Some(protected_key::beside(&layout.key_file))
}

/// Whether the agent has a file from which it can read its key again without anybody's help.
pub(crate) fn reads_its_key(status: &AgentStatus) -> bool {
    named_source(status).is_some_and(|path| !key_file::holds_protected(path))
}

/// The file that the agent names as the source of its key.
fn named_source(status: &AgentStatus) -> Option<&Path> {
    status.get("master_source").map(Path::new).filter(|path| path.is_absolute())
}

/// The key of a file, plain or protected; the passphrase comes from a descriptor, or is asked for.
pub(crate) fn key_of(
    session: &Session<'_>,
    file: &Path,
    descriptor: Option<u32>,
) -> Result<MasterKey, Failure> {
    match key_file::read_checked(file)? {
        Content::Plain(_) if descriptor.is_some() => Err(not_protected(file).into()),
        Content::Plain(key) => Ok(key),
        Content::Protected(key) => open(session, &Protected { key, file: file.to_path_buf() }, descriptor),
    }
}

fn tell(session: &Session<'_>, reply: &UnlockReply) -> Result<u8, Failure> {
    let (changed, full, short) =
        (reply.changed, fingerprint::full(&reply.fingerprint), fingerprint::short(&reply.fingerprint));
    if session.console.json {
        let document = Document { schema: "keyagent.unlock/1", changed, fingerprint: full, master_id: short };
        console::print_json(&document)?;
        return Ok(OK);
    }
    let what = if changed { "unlocked" } else { "it was unlocked already" };
    session.console.say(&format!("{what}; master key {short}"));
    Ok(OK)
}

/// Without any option: the agent's own source, or else the passphrase.
fn from_what_there_is(receiver: &Receiver<'_>) -> Result<UnlockReply, Failure> {
    let mut connection = receiver.connect()?;
    // What cannot be read again the agent would only refuse, and record that.
    if default_place(&connection).is_some_and(|path| exists(&path)) {
        let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
        if !status.is_unlocked() && !reads_its_key(&status) {
            return unprotect_that_of(receiver, connection, &status)?
                .ok_or_else(|| no_protected_file().into());
        }
    }
    match connection.call::<Unlock>(&UnlockRequest { master: &[] }) {
        Err(error) if has_no_key(&error) => {
            let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
            unprotect_that_of(receiver, connection, &status)?.ok_or_else(|| error.into())
        }
        result => Ok(result?),
    }
}

/// Opens and sends the protected key of an agent; `None` if there is none.
fn unprotect_that_of(
    receiver: &Receiver<'_>,
    connection: Connection,
    status: &AgentStatus,
) -> Result<Option<UnlockReply>, Failure> {
    let Some(place) = protected_file(&connection, status) else { return Ok(None) };
    drop(connection);
    unprotect(receiver, &read_protected(place)?, None).map(Some)
}

/// Whether the agent refused because it has nothing to read the key from.
fn has_no_key(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::NotUnlockable | ErrorCode::KeyMissing)
}

fn read_protected(file: PathBuf) -> Result<Protected, Report> {
    match key_file::read_checked(&file)? {
        Content::Protected(key) => Ok(Protected { key, file }),
        Content::Plain(_) => Err(not_protected(&file)),
    }
}

/// Opens a protected key, by the passphrase of a descriptor or by asking, and sends it.
fn unprotect(
    receiver: &Receiver<'_>,
    protected: &Protected,
    descriptor: Option<u32>,
) -> Result<UnlockReply, Failure> {
    let mut connection = receiver.connect()?;
    let status = check_receiver(receiver.session, &mut connection, &protected.key.fingerprint)?;
    if status.is_unlocked() {
        return Ok(connection.call::<Unlock>(&UnlockRequest { master: &[] })?);
    }
    // Nobody knows how long a person takes; the agent need not keep a connection for that.
    drop(connection);
    send(receiver, &open(receiver.session, protected, descriptor)?)
}

/// Opens a protected key, by the passphrase of a descriptor or by asking.
fn open(session: &Session<'_>, protected: &Protected, descriptor: Option<u32>) -> Result<MasterKey, Failure> {
    match descriptor {
        Some(number) => Ok(passphrase::open(&protected.key, &Passphrase::read_descriptor(number)?)?
            .ok_or_else(|| passphrase::wrong(&protected.file.display().to_string()))?),
        None => ask(session, protected),
    }
}

/// Asks until the passphrase is right, three times at most, each wrong one followed by a longer wait.
fn ask(session: &Session<'_>, protected: &Protected) -> Result<MasterKey, Failure> {
    let question = format!("Passphrase for {}: ", protected.file.display());
    for (count, wait) in passphrase::WAITS.into_iter().enumerate() {
        let typed = Passphrase::ask(session.console, &question)?;
        if let Some(key) = passphrase::open(&protected.key, &typed)? {
            return Ok(key);
        }
        drop(typed);
        if count + 1 < passphrase::WAITS.len() {
            session.console.say("that is not the passphrase");
        }
        thread::sleep(wait);
    }
    Err(passphrase::wrong(&protected.file.display().to_string()).into())
}

/// Sends the key to an agent whose key it is.
fn send(receiver: &Receiver<'_>, key: &MasterKey) -> Result<UnlockReply, Failure> {
    let mut connection = receiver.connect()?;
    check_receiver(receiver.session, &mut connection, &kdf::master_fingerprint(key.expose_secret()))?;
    Ok(connection.call::<Unlock>(&UnlockRequest { master: key.expose_secret() })?)
}

/// Refuses to hand the key of this fingerprint to an agent that was only come across, or that has
/// another key.
///
/// The search ends at the system's agent when the own one does not run. To ask it for work is one
/// thing; the user's master key is not for it.
fn check_receiver(
    session: &Session<'_>,
    connection: &mut Connection,
    mine: &[u8; 16],
) -> Result<AgentStatus, Failure> {
    let (listener, me) = (connection.listener_uid(), effective_uid());
    let refuse = |code, what: &str, connection: &Connection| {
        Report::new(code, what).fact("socket", connection.socket().display().to_string())
    };
    if listener != me && !session.address()?.is_named() {
        let what = "refusing to send the key to the agent of another user";
        return Err(refuse(ErrorCode::UntrustedAgent, what, connection)
            .fact("sent", "nothing")
            .why(format!(
                "uid {listener} listens there and you are uid {me}; an agent of your own does not run"
            ))
            .fix("keyagent start          (or name the agent that shall have the key with --socket)")
            .into());
    }
    connection.hello()?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    match status.fingerprint() {
        Some(theirs) if theirs == *mine || status.next_fingerprint() == Some(*mine) => Ok(status),
        Some(theirs) => {
            let what = "the key is not the one of this agent; it was not sent";
            Err(refuse(ErrorCode::WrongMasterKey, what, connection)
                .fact("agent", fingerprint::full(&theirs))
                .fact("key", fingerprint::full(mine))
                .fix("unlock with the key file that belongs to this agent's keyring")
                .into())
        }
        None => {
            let what = "the agent does not say which master key it needs; the key was not sent";
            Err(refuse(ErrorCode::ProtocolMismatch, what, connection)
                .fix(
                    "install the same version of keyagent and keyagentd, then: keyagent stop; keyagent start",
                )
                .into())
        }
    }
}

fn not_protected(path: &Path) -> Report {
    usage("the key in this file is not protected by a passphrase")
        .fact("file", path.display().to_string())
        .fix("keyagent unlock --key-file FILE, without --passphrase-fd")
}

fn no_protected_file() -> Report {
    Report::new(ErrorCode::KeyMissing, "there is no protected master key in its place")
        .fix("name it: keyagent unlock --key-file FILE --passphrase-fd N")
}

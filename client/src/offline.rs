//! Opening without an agent, where none can run: the same core that the agent has, in this process, for as long as one
//! command takes (`decrypt --offline`).
//!
//! Only opens. Keys are in ordinary memory here and nothing is recorded; that is why it is asked for by name, and why
//! nothing falls back to it. States and brakes hold as they stand in the keyring or the backup.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use keyagent_client::{AgentError, DataKeySecret, Error};
use keyagent_common::{
    codec,
    error::ErrorCode,
    fingerprint,
    frame::{HEADER_BYTES, Header},
    layout::Layout,
    op::{
        DataKeyOpen, DataKeyOpenReply, DataKeyOpenRequest, Decrypt, DecryptReply, DecryptRequest, ErrorReply,
        Operation,
    },
    report::Report,
};
use keyagent_core::{
    arena::HeapArena,
    backup::{RestoreRequest, restore},
    caller::Caller,
    engine::{Engine, Request},
    entropy::{Entropy, EntropyFailed},
    keyring::{Keyring, KeyringError, file::MAX_FILE_BYTES},
    ops::Work,
    policy::{Meter, Payer, Policy, Rate, Rights, Subject},
    reply::{REPLY_OVERHEAD_BYTES, ReplyBuffer},
};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::{
    failure::{Failure, cannot_read},
    key_file::{self, Content, MasterKey},
    passphrase::{self, Passphrase},
    session::Session,
    utc,
};

/// The keys of a keyring or of a backup, in this process.
pub(crate) struct Offline {
    engine: Engine<HeapArena>,
    rights: Rights,
}

impl Offline {
    /// A keyring's, opened with its master key.
    pub(crate) fn of_keyring(path: &Path, master: &MasterKey) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            cannot_read(&name, &error).fix("name it with --keyring FILE, or open a backup: --backup FILE")
        })?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(unusable(&name, &KeyringError::NotAKeyring).into());
        }
        let opened = Keyring::open(&HeapArena, &bytes, master.expose_secret());
        let (keyring, _) = opened.map_err(|error| unusable(&name, &error))?;
        Ok(Self::new(keyring, &name)?)
    }

    /// A backup's: its pages, opened with its key.
    pub(crate) fn of_pages<'p>(
        name: &str,
        backup_key: &[u8; 32],
        pages: impl Iterator<Item = &'p [u8]>,
    ) -> Result<Self, Failure> {
        let broken = |why: String| {
            Report::new(ErrorCode::BackupDamaged, "the keys of the backup cannot be used")
                .fact("file", name)
                .why(why)
                .fix("take another copy of it; nothing was done")
        };
        let now_unix = utc::now() / 1_000_000;
        // A keyring of this process alone: it is never written, and gone with it.
        let master = passphrase::new_master()?;
        let made = Keyring::create(&HeapArena, master.expose_secret(), &mut SystemEntropy, now_unix);
        let (mut keyring, _) = made.map_err(|error| broken(error.to_string()))?;
        for page in pages {
            let request = RestoreRequest {
                backup_key,
                page,
                dry_run: false,
                promote: true,
                default_is_unused: true,
                now_unix,
            };
            let restored = restore(&keyring, &request, &mut SystemEntropy);
            if let Some(draft) = restored.map_err(|error| broken(error.to_string()))?.draft {
                let prepared = draft.prepare(None, &mut SystemEntropy);
                let confirmed = prepared.and_then(|prepared| keyring.confirm(prepared));
                confirmed.map_err(|error| broken(error.to_string()))?;
            }
        }
        Ok(Self::new(keyring, name)?)
    }

    fn new(keyring: Keyring<HeapArena>, name: &str) -> Result<Self, Report> {
        let engine = Engine::new(&HeapArena, keyring).map_err(|error| unusable(name, &error))?;
        // Whoever has the master key may do everything with it.
        let rights = Arc::new(Policy::owner_only(0)).rights(&Subject {
            uid: 0,
            gid: 0,
            groups: &[],
            unit: None,
            socket: "",
        });
        let rights = rights.ok_or_else(|| Report::new(ErrorCode::Internal, "no right to one's own keys"))?;
        Ok(Self { engine, rights })
    }

    /// The message in an envelope.
    pub(crate) fn decrypt(&self, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let body = self.ask::<Decrypt>(request)?;
        let reply: DecryptReply<'_> = codec::decode(&body).map_err(|_| unreadable::<Decrypt>())?;
        Ok(Zeroizing::new(reply.plaintext.to_vec()))
    }

    /// The data key in an envelope.
    pub(crate) fn data_key_open(&self, request: &DataKeyOpenRequest<'_>) -> Result<DataKeySecret, Error> {
        let body = self.ask::<DataKeyOpen>(request)?;
        let reply: DataKeyOpenReply<'_> = codec::decode(&body).map_err(|_| unreadable::<DataKeyOpen>())?;
        let key: &[u8; 32] = reply.plain.try_into().map_err(|_| unreadable::<DataKeyOpen>())?;
        Ok(DataKeySecret::init_with_mut(|place| place.copy_from_slice(key)))
    }

    /// The reply to one request, as an agent would give it.
    fn ask<O: Operation>(&self, request: &O::Request<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let frame = Zeroizing::new(codec::frame(0, O::CODE as u16, request).map_err(|_| Error::TooLarge)?);
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        let mut bytes = Zeroizing::new(vec![0; frame.len() + REPLY_OVERHEAD_BYTES]);
        let mut replies = ReplyBuffer::new(&mut bytes);
        let caller = Caller {
            uid: 0,
            gid: 0,
            pid: 0,
            unit: None,
            socket: "",
            client: "",
            rights: &self.rights,
            on_behalf_of: None,
        };
        let mut work = Work {
            entropy: &mut SystemEntropy,
            associated_data: &mut Vec::new(),
            meter: &mut Unmetered,
            maintenance: false,
            now_unix: utc::now() / 1_000_000,
        };
        self.engine.handle(&caller, Request { operation: O::CODE, id: 0, body }, &mut work, &mut replies);
        let frames = replies.frames();
        let header = Header::parse(frames.get(..HEADER_BYTES).unwrap_or_default()).ok().flatten();
        let body = frames.get(HEADER_BYTES..).unwrap_or_default();
        match header {
            Some(header) if header.code == 0 => Ok(Zeroizing::new(body.to_vec())),
            header => {
                Err(Error::Agent(refusal::<O>(header.map_or(ErrorCode::Internal as u16, |h| h.code), body)))
            }
        }
    }
}

/// The master key of a file, as an agent would take it; asks for the passphrase of a protected one.
pub(crate) fn master(
    session: &Session<'_>,
    path: &Path,
    passphrase_fd: Option<u32>,
) -> Result<MasterKey, Failure> {
    let read = key_file::read_checked(path).map_err(|report| match report.code {
        ErrorCode::KeyMissing => report.fix("name it with --key-file FILE, or open a backup: --backup FILE"),
        _ => report,
    });
    match read? {
        Content::Plain(key) => Ok(key),
        Content::Protected(protected) => {
            let name = path.display().to_string();
            let passphrase = match passphrase_fd {
                Some(number) => Passphrase::read_descriptor(number)?,
                None => Passphrase::ask(session.console, &format!("Passphrase of the master key, {name}: "))?,
            };
            Ok(passphrase::open(&protected, &passphrase)?.ok_or_else(|| passphrase::wrong(&name))?)
        }
    }
}

/// Where the master key lies in a layout: the plain file, or else the protected one.
pub(crate) fn key_file_of(layout: &Layout) -> PathBuf {
    let protected = keyagent_common::protected_key::beside(&layout.key_file);
    if !crate::daemon_process::exists(&layout.key_file) && crate::daemon_process::exists(&protected) {
        protected
    } else {
        layout.key_file.clone()
    }
}

fn unusable(name: &str, error: &KeyringError) -> Report {
    let (code, fix) = match error {
        KeyringError::WrongKey { expected, .. } => {
            let wanted: Vec<String> = expected.iter().map(fingerprint::short).collect();
            (
                ErrorCode::WrongMasterKey,
                format!("give the key file of {}: --key-file FILE", wanted.join(" or ")),
            )
        }
        _ => (ErrorCode::Damaged, "open a backup instead: --backup FILE".to_owned()),
    };
    Report::new(code, "the keyring cannot be opened").fact("file", name).why(error.to_string()).fix(fix)
}

/// What the core wrote cannot be read by the code that it comes from.
fn unreadable<O: Operation>() -> Error {
    Error::Agent(refusal::<O>(ErrorCode::Internal as u16, &[]))
}

fn refusal<O: Operation>(number: u16, body: &[u8]) -> AgentError {
    let said = codec::decode::<ErrorReply<'_>>(body).unwrap_or(ErrorReply {
        what: "nothing was answered",
        why: "",
        fix: "",
    });
    AgentError {
        number,
        operation: O::CODE.name(),
        what: said.what.to_owned(),
        why: said.why.to_owned(),
        fix: said.fix.to_owned(),
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        getrandom::fill(out).map_err(|_| EntropyFailed)
    }
}

/// Rates are for those who ask an agent.
struct Unmetered;

impl Meter for Unmetered {
    fn take(&mut self, _: u16, _: &Rate, _: Payer) -> bool {
        true
    }
}

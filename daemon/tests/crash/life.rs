//! A life of a store that changes it in every way there is, step by step, and what stands in it after each step.

use std::{fs, io};

use keyagent_common::{
    codec,
    context::EMPTY,
    op::{
        BackupCreate, BackupCreateReply, BackupCreateRequest, BackupRestore, BackupRestoreRequest, Empty,
        Encrypt, EncryptReply, EncryptRequest, KeyConfigure, KeyConfigureRequest, KeyCreate,
        KeyCreateRequest, KeyDestroy, KeyDestroyRequest, KeyDisable, KeyDisableRequest, KeyEnable,
        KeyEnableRequest, KeyPromote, KeyReinstate, KeyRetire, KeyRotate, KeyRotateRequest, KeyStanding,
        Lock, MasterRotate, MasterRotateRequest, MasterStep, Operation, Stop, Takeover, Unlock,
        UnlockRequest, VersionRequest,
    },
};

use crate::{
    examine::describe,
    support::{
        Client, Daemon, Finished, Home,
        agent::{MESSAGE, words},
        chmod,
        client::{self, Reply},
        copy_files, hex, log, make_folder, random_key,
    },
    tracer::{Observer, Traced},
};

/// Size of a file of the log at which it gets another one.
const ROTATED_AT: u64 = 64 << 10;

/// A request, and what is to be there before it is sent.
pub(crate) struct Step {
    /// Name of the operation, as in the audit log.
    pub(crate) operation: &'static str,
    frame: Vec<u8>,
    /// For `encrypt`: the key.
    seals: Option<&'static str>,
    /// The key file holds the next master key from now on.
    next_key_file: bool,
}

/// A value that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) envelope: Vec<u8>,
    pub(crate) key: &'static str,
    pub(crate) version: u32,
}

/// A store to begin with, the steps, and what is to be found after each.
pub(crate) struct Origin {
    home: Home,
    sealed: Vec<Sealed>,
    pub(crate) steps: Vec<Step>,
    /// Text of the next key file.
    next_key: String,
    /// What [`describe`] says before the first step, after the first, and so on.
    pub(crate) stages: Vec<String>,
}

/// What came of a life.
pub(crate) struct Lived<O> {
    /// How many steps were acknowledged, from the first on.
    pub(crate) acknowledged: usize,
    /// Whether the step after those was refused, rather than left without an answer.
    pub(crate) refused: bool,
    /// Which of them are said to be done but not recorded.
    pub(crate) unrecorded: Vec<usize>,
    /// Every value that was acknowledged, those of the origin included.
    pub(crate) sealed: Vec<Sealed>,
    /// How the daemon ended.
    pub(crate) ended: Finished,
    /// Who looked on.
    pub(crate) observer: O,
}

fn step<O: Operation>(operation: &'static str, body: &O::Request<'_>) -> Step {
    Step { operation, frame: client::request::<O>(1, body), seals: None, next_key_file: false }
}

fn seal(key: &'static str) -> Step {
    let body = EncryptRequest { key, context: EMPTY, plaintext: b"acknowledged" };
    Step { seals: Some(key), ..step::<Encrypt>("encrypt", &body) }
}

fn rotate(takeover: Takeover) -> Step {
    let lift = KeyStanding::Active;
    step::<KeyRotate>(
        "key_rotate",
        &KeyRotateRequest { key: "old", reason: 5, takeover, lift, note: "a test" },
    )
}

/// Keys and versions through every state.
fn steps_of_keys() -> Vec<Step> {
    let version = |number| VersionRequest { key: "old", version: number, reason: "a test" };
    let configure = KeyConfigureRequest {
        key: "old",
        enabled: Some(true),
        interval_days: Some(30),
        grace_period_days: Some(7),
        auto_retire: None,
        environment: Some("production"),
        purpose: Some("tests"),
        owner: Some("nobody"),
        url: None,
        note: Some("configured"),
    };
    let destroy = |key, version| KeyDestroyRequest { key, version, force: true, reason: "a test" };
    let disable = |key, compromised| KeyDisableRequest { version: 0, key, compromised, reason: "a test" };
    let enable = KeyEnableRequest { key: "other", version: 0, lift_compromised: true, reason: "a test" };
    vec![
        step::<KeyCreate>("key_create", &KeyCreateRequest { key: "new", class: MESSAGE, note: "made" }),
        seal("new"),
        step::<KeyConfigure>("key_configure", &configure),
        rotate(Takeover::Staged),
        step::<KeyPromote>("key_promote", &version(0)),
        seal("old"),
        step::<KeyRetire>("key_retire", &version(1)),
        step::<KeyReinstate>("key_reinstate", &version(1)),
        step::<KeyRetire>("key_retire", &version(1)),
        step::<KeyDestroy>("key_destroy", &destroy("old", 1)),
        rotate(Takeover::Grace),
        seal("old"),
        step::<KeyDisable>("key_disable", &disable("other", true)),
        step::<KeyEnable>("key_enable", &enable),
        step::<KeyDisable>("key_disable", &disable("gone", false)),
        step::<KeyDestroy>("key_destroy", &destroy("gone", 0)),
    ]
}

/// A page of a backup that another store made of its key `restored`.
fn step_of_a_backup() -> Step {
    let (elsewhere, backup_key) = (Home::initialized(), [7; 32]);
    let daemon = elsewhere.start();
    let mut client = daemon.client();
    client.create_key("restored").unwrap();
    let request = BackupCreateRequest { backup_key: &backup_key, keys: "restored", after: &[] };
    let body = client.ask::<BackupCreate>(&request).success().unwrap();
    let reply = codec::decode::<BackupCreateReply<'_>>(&body).unwrap();
    let restore =
        BackupRestoreRequest { backup_key: &backup_key, page: reply.page, dry_run: false, promote: true };
    step::<BackupRestore>("backup_restore", &restore)
}

/// Both steps of a master key's rotation, with the key file replaced in between, as the command does it.
fn steps_of_the_master(current: &[u8; 32], next: &[u8]) -> [Step; 2] {
    let rotate = |step, current, next| MasterRotateRequest { step, current, next };
    let begin = step::<MasterRotate>("master_rotate", &rotate(MasterStep::Begin, current, next));
    let finish = step::<MasterRotate>("master_rotate", &rotate(MasterStep::Finish, &[], &[]));
    [begin, Step { next_key_file: true, ..finish }]
}

impl Origin {
    /// A store with keys that were used, and a life for it.
    pub(crate) fn new() -> Self {
        let mut origin = Self::of_keys();
        origin.fill_the_log();
        let master = origin.home.master();
        let next = crate::support::unhex(&origin.next_key);
        let mut steps = steps_of_keys();
        steps.push(step_of_a_backup());
        steps.extend(steps_of_the_master(&master, &next));
        steps.push(step::<Lock>("lock", &Empty {}));
        steps.push(step::<Unlock>("unlock", &UnlockRequest { master: &[] }));
        steps.push(seal("new"));
        steps.push(step::<Stop>("daemon.stop", &Empty {}));
        origin.find_stages(steps);
        origin
    }

    /// The same without a life.
    pub(crate) fn of_keys() -> Self {
        let home = Home::initialized();
        configure(&home);
        let daemon = home.start();
        let mut client = daemon.client();
        let mut sealed = Vec::new();
        for key in ["default", "other", "old", "gone"] {
            if key != "default" {
                client.create_key(key).unwrap();
            }
            let envelope = client.encrypt_under(key, EMPTY, b"acknowledged").unwrap();
            sealed.push(Sealed { envelope, key, version: 1 });
        }
        daemon.terminate();
        let next_key = format!("{}\n", random_key());
        let stages = vec![describe(&home).unwrap()];
        Self { home, sealed, steps: Vec::new(), next_key, stages }
    }

    /// Writes until the log needs another file soon: in the middle of the life.
    fn fill_the_log(&self) {
        let daemon = self.home.start();
        let mut client = daemon.client();
        while fs::metadata(self.home.state_file("audit.log")).unwrap().len() < ROTATED_AT - 14_000 {
            client.encrypt(EMPTY, b"a line").unwrap();
        }
        daemon.terminate();
    }

    /// Lives undisturbed, and notes what stands in the keyring after each step.
    fn find_stages(&mut self, steps: Vec<Step>) {
        let home = self.copy();
        let daemon = home.start();
        let mut client = daemon.client();
        for step in &steps {
            if step.next_key_file {
                self.replace_key_file(&home);
            }
            client.send(&step.frame).unwrap();
            let reply = client.expect();
            assert_eq!(reply.code, 0, "{}: {reply:?}", step.operation);
            self.stages.push(describe(&home).unwrap());
        }
        daemon.wait();
        assert_eq!(log::log_files(&home).len(), 2, "the log got no other file");
        self.steps = steps;
    }

    /// The store again, as it was before the life.
    pub(crate) fn copy(&self) -> Home {
        let home = Home::with_key(&fs::read_to_string(self.home.key()).unwrap());
        copy_files(&self.home.state(), &home.state());
        configure(&home);
        home
    }

    /// As the command does between the steps of a master key's rotation: at once, and durable.
    fn replace_key_file(&self, home: &Home) {
        let beside = Home::with_key(&self.next_key);
        fs::rename(beside.key(), home.key()).unwrap();
    }

    /// What was sealed before the life.
    pub(crate) fn sealed(&self) -> &[Sealed] {
        &self.sealed
    }

    /// Text of the key file after this many steps.
    pub(crate) fn key_file_after(&self, acknowledged: usize) -> String {
        let replaced = self.steps.iter().take(acknowledged + 1).any(|step| step.next_key_file);
        if replaced { self.next_key.clone() } else { format!("{}\n", hex(&self.home.master())) }
    }

    /// Starts a copy, and lives under observation. `after` hears of each step that was acknowledged.
    pub(crate) fn live<O: Observer>(&self, home: &Home, observer: O, after: impl FnMut(usize)) -> Lived<O> {
        let daemon = home.start();
        let client = daemon.client();
        let traced = Traced::attach(&daemon, observer);
        let mut talk = Talk { client, done: 0, unrecorded: Vec::new(), sealed: self.sealed.clone(), after };
        // An error where the daemon is gone.
        let refused = talk.all(self, home).unwrap_or(false);
        if refused {
            daemon.signal(nix::sys::signal::Signal::SIGTERM);
        }
        let Talk { done: acknowledged, unrecorded, sealed, .. } = talk;
        let observer = traced.end();
        Lived { acknowledged, refused, unrecorded, sealed, ended: daemon.wait(), observer }
    }
}

/// The client's side of a life.
struct Talk<F> {
    client: Client,
    done: usize,
    unrecorded: Vec<usize>,
    sealed: Vec<Sealed>,
    after: F,
}

impl<F: FnMut(usize)> Talk<F> {
    /// The steps in order, until one is refused twice; whether one was.
    fn all(&mut self, origin: &Origin, home: &Home) -> io::Result<bool> {
        for (index, step) in origin.steps.iter().enumerate() {
            if step.next_key_file {
                origin.replace_key_file(home);
            }
            let mut reply = self.ask(step)?;
            if reply.code != 0 && !is_done(&reply) {
                // Whatever failed, failed once: what is not spoiled for good works now.
                reply = self.ask(step)?;
            }
            match (reply.code, step.seals) {
                (0, Some(key)) => {
                    let EncryptReply { version, envelope } = codec::decode(&reply.body).unwrap();
                    self.sealed.push(Sealed { envelope: envelope.to_vec(), key, version });
                }
                (0, None) => {}
                _ if is_done(&reply) => self.unrecorded.push(index),
                _ => return Ok(true),
            }
            self.done = index + 1;
            (self.after)(index);
        }
        Ok(false)
    }

    fn ask(&mut self, step: &Step) -> io::Result<Reply> {
        self.client.send(&step.frame)?;
        Ok(self.client.reply()?.ok_or(io::ErrorKind::UnexpectedEof)?)
    }
}

/// Whether an error says that the change is in place all the same.
fn is_done(reply: &Reply) -> bool {
    reply.code != 0 && words(reply).starts_with("done, but ")
}

/// Lets the log have the smallest files that it may have.
pub(crate) fn configure(home: &Home) {
    let folder = home.join("user/.config/keyagent");
    make_folder(&folder, 0o700);
    let (path, size) = (folder.join("config.toml"), ROTATED_AT / 1024);
    fs::write(&path, format!("[audit]\nrotate_size = \"{size}KiB\"\n")).unwrap();
    chmod(&path, 0o600);
}

/// A daemon that is started on a home, or the reason why not.
pub(crate) fn started(home: &Home) -> Result<Daemon, String> {
    crate::support::recovery::start(home, &[])
        .map_err(|refused| format!("no plain start: {}", refused.stderr))
}

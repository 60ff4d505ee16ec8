//! A daemon in system mode with a configuration, and people who connect to it.
//!
//! Each connection is made by a process of its own, whose uid, groups and unit the kernel then tells of it. The
//! socket is the test's: what is said through it comes from here.

use std::{
    fs,
    io::{BufRead, BufReader},
    ops::{Deref, DerefMut},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use keyagent_common::op::{DataKey, DataKeyReply, DataKeyRequest};
use nix::{
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
    unistd::{Gid, Uid, getppid, setgid, setgroups, setuid},
};
use serde_json::Value;

use crate::support::{Client, Daemon, Finished, Home, am_root, chmod, client, log, skipped, slice::Slice};

const VARIABLE: &str = "KEYAGENT_E2E_PERSON";

/// Who connects.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Where processes of its unit are written to.
    unit: Option<PathBuf>,
}

impl Person {
    /// A user whose group has the same number.
    pub(crate) fn of(uid: u32) -> Self {
        Self { uid, gid: uid, groups: Vec::new(), unit: None }
    }

    /// The same with supplementary groups.
    pub(crate) fn with_groups(uid: u32, groups: &[u32]) -> Self {
        Self { groups: groups.to_vec(), ..Self::of(uid) }
    }

    /// The same in a control group.
    pub(crate) fn in_unit(uid: u32, slice: &Slice, group: &str) -> Self {
        Self { unit: Some(slice.door(group)), ..Self::of(uid) }
    }
}

/// A connection that somebody made, and that lasts as long as they do.
pub(crate) struct Connection {
    client: Client,
    child: Child,
}

impl Connection {
    /// `None` where the file system does not let them through.
    pub(crate) fn make(path: &Path, person: &Person) -> Option<Self> {
        let own = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let groups: Vec<String> = person.groups.iter().map(u32::to_string).collect();
        let unit = person.unit.as_ref().map(|unit| unit.display().to_string()).unwrap_or_default();
        let said = [
            person.uid.to_string(),
            person.gid.to_string(),
            groups.join(","),
            unit,
            path.display().to_string(),
        ];
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", "policy::stage::connects_as_told", "--nocapture"])
            .env(VARIABLE, said.join("\n"))
            .stdin(own.try_clone().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let answer = lines.find_map(|line| line.strip_prefix('@').map(str::to_owned));
        let client = Client::over(UnixStream::from(own)).unwrap();
        let made = Self { client, child };
        match answer.as_deref() {
            Some("connected") => Some(made),
            Some("EACCES") => None,
            other => panic!("{person:?} could not connect: {other:?}"),
        }
    }

    /// Whether it is served at all: the daemon turns strangers away before they are read.
    pub(crate) fn is_turned_away(&mut self) -> bool {
        // The connection may be closed already.
        let _ = self.client.send(&client::hello(0));
        !matches!(self.client.reply(), Ok(Some(_)))
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does nothing in an ordinary run. Else becomes somebody and connects the socket that is its input.
#[test]
fn connects_as_told() {
    let Ok(said) = std::env::var(VARIABLE) else { return };
    let [uid, gid, groups, unit, path] = said.split('\n').collect::<Vec<_>>().try_into().unwrap();
    if !unit.is_empty() {
        fs::write(unit, "0").unwrap();
    }
    let groups: Vec<Gid> =
        groups.split(',').filter_map(|group| group.parse().ok()).map(Gid::from_raw).collect();
    let parent = getppid();
    setgroups(&groups).unwrap();
    setgid(Gid::from_raw(gid.parse().unwrap())).unwrap();
    setuid(Uid::from_raw(uid.parse().unwrap())).unwrap();
    match connect(std::io::stdin().as_raw_fd(), &UnixAddr::new(path).unwrap()) {
        Ok(()) => println!("\n@connected"),
        Err(errno) => println!("\n@{errno:?}"),
    }
    // The daemon asks the kernel about this process.
    while getppid() == parent {
        std::thread::sleep(Duration::from_millis(200));
    }
    std::process::exit(0);
}

/// A value and a data key that root sealed.
pub(crate) struct Sealed {
    pub(crate) value: Vec<u8>,
    pub(crate) data_key: Vec<u8>,
}

impl Sealed {
    /// Both under a key, with a context.
    pub(crate) fn under(client: &mut Client, key: &str, context: &[u8]) -> Self {
        let value = client.encrypt_under(key, context, b"sealed by root").unwrap();
        let request = DataKeyRequest { key, context, kind: 3 };
        let body = client.ask::<DataKey>(&request).success().unwrap();
        let reply: DataKeyReply<'_> = keyagent_common::codec::decode(&body).unwrap();
        Self { value, data_key: reply.envelope.to_vec() }
    }
}

/// A daemon in system mode.
pub(crate) struct Stage {
    pub(crate) home: Home,
    daemon: Option<Daemon>,
}

impl Stage {
    /// Serves by a configuration; `None` after saying why that cannot be tested here.
    pub(crate) fn new(test: &str, config: &str) -> Option<Self> {
        let mut stage = Self::not_started(test, config)?;
        stage.start();
        Some(stage)
    }

    /// The same without a daemon yet.
    pub(crate) fn not_started(test: &str, config: &str) -> Option<Self> {
        if !am_root() {
            skipped(test, "needs root to become other users");
            return None;
        }
        let home = Home::initialized();
        // Others must get to the socket.
        chmod(home.path(), 0o755);
        home.configure(config);
        Some(Self { home, daemon: None })
    }

    pub(crate) fn start(&mut self) {
        let config = self.home.join("config.toml");
        self.daemon = Some(self.home.start_with(&["--system", "--config", config.to_str().unwrap()]));
    }

    /// The same through another program.
    pub(crate) fn start_through(&mut self, program: &[&str]) {
        let mut command = self.home.command_through(program);
        command.arg("--system").arg("--config").arg(self.home.join("config.toml"));
        self.daemon = Some(Daemon::start(command, &self.home.socket()));
    }

    /// A start that must fail because of the configuration.
    pub(crate) fn refuses(&self) -> Finished {
        let config = self.home.join("config.toml");
        self.home.refuses(&["--system", "--config", config.to_str().unwrap()], 78, "CONFIGURATION")
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// What it said.
    pub(crate) fn stop(&mut self) -> String {
        self.daemon.take().unwrap().terminate()
    }

    /// A greeted connection of root.
    pub(crate) fn root(&self) -> Client {
        self.daemon().client()
    }

    /// A connection on which nothing was said; `None` where the file system keeps them out.
    pub(crate) fn connect(&self, person: &Person) -> Option<Connection> {
        Connection::make(self.daemon().socket(), person)
    }

    /// A greeted connection.
    pub(crate) fn client(&self, person: &Person) -> Connection {
        let mut connection = self.connect(person).unwrap();
        assert!(!connection.is_turned_away(), "{person:?} is not served");
        connection
    }

    /// A greeted connection of a user.
    pub(crate) fn user(&self, uid: u32) -> Connection {
        self.client(&Person::of(uid))
    }

    pub(crate) fn turns_away(&self, person: &Person) -> bool {
        self.connect(person).unwrap().is_turned_away()
    }

    /// Another configuration, taken by `reload`.
    pub(crate) fn reload(&self, config: &str) {
        self.home.configure(config);
        self.root().reload().unwrap();
    }

    /// The lines of one event, after a look at every mac.
    pub(crate) fn lines(&self, event: &str) -> Vec<Value> {
        let lines = log::lines(&self.home).into_iter();
        lines.filter(|line| line["event_type"] == event).collect()
    }
}

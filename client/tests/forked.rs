//! A client that goes through a real fork: the child must open a connection of its own.
//!
//! A program of its own, without the threads of a test harness. The part that forks is started by the other part;
//! `daemon(3)` is the one fork that needs no unsafe code: the parent ends, and the child lives on under another pid
//! with every descriptor and every byte that the parent had.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests; clippy knows only functions marked #[test]"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use keyagent_client::{Address, Client, Connection, Context, Error, KeyName, Options};

/// The role of the process that forks: the socket and the file to report in.
const ROLE: &str = "KEYAGENT_TEST_FORKS";

fn main() {
    match env::var_os(ROLE) {
        Some(folder) => fork(&PathBuf::from(folder)),
        None => watch(),
    }
}

/// Asks, forks, asks again, and writes down what happened.
fn fork(folder: &Path) {
    let address = Address::exactly(folder.join("agent.sock")).unwrap();
    let mut client = Client::new(address.clone());
    let mut bare = Connection::open(&address, Options::default()).unwrap();
    let sealed = client.encrypt(KeyName::DEFAULT, Context::empty(), b"of the parent").unwrap();
    bare.hello().unwrap();
    let parent = std::process::id();
    assert!(bare.is_usable());
    nix::unistd::daemon(true, true).unwrap();
    let child = std::process::id();
    let refused = match bare.encrypt(KeyName::DEFAULT, Context::empty(), b"x") {
        Err(Error::Forked { .. }) if !bare.is_usable() => "refused",
        _ => "served on the parent's connection",
    };
    let opened =
        client.decrypt(Context::empty(), &sealed).map(|plain| String::from_utf8(plain.to_vec()).unwrap());
    let report =
        format!("{parent} {child} {refused}\n{}\n", opened.unwrap_or_else(|error| error.to_string()));
    fs::write(folder.join("report.new"), report).unwrap();
    fs::rename(folder.join("report.new"), folder.join("report")).unwrap();
}

fn watch() {
    let agent = Path::new(env!("CARGO_BIN_EXE_keyagent")).with_file_name("keyagentd");
    assert!(agent.is_file(), "{} is missing; make it with: cargo build -p keyagentd", agent.display());
    let base = if nix::unistd::geteuid().is_root() {
        PathBuf::from("/var/lib")
    } else {
        PathBuf::from(env::var_os("HOME").unwrap()).join(".cache")
    };
    let folder = tempfile::Builder::new().prefix("keyagent-tests-").tempdir_in(base).unwrap();
    let mut command = Command::new(agent);
    command.env_clear().env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path().join("config"));
    command.arg("--init").arg("--state-dir").arg(folder.path());
    command.arg("--socket").arg(folder.path().join("agent.sock"));
    let mut daemon = command.spawn().unwrap();
    wait_for(&folder.path().join("agent.sock"));
    let status = Command::new(env::current_exe().unwrap()).env(ROLE, folder.path()).status().unwrap();
    let found = wait_for(&folder.path().join("report"));
    let log = fs::read_to_string(folder.path().join("audit.log")).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(status.success());
    let (numbers, opened) = found.split_once('\n').unwrap();
    let words: Vec<&str> = numbers.splitn(3, ' ').collect();
    let (parent, child) = (words.first().unwrap(), words.get(1).unwrap());
    assert!(parent != child, "no fork");
    assert_eq!((words.get(2), opened), (Some(&"refused"), "of the parent\n"));
    // The kernel tells the agent who connected: the child asked on a connection of its own.
    let by = |pid: &str, operation: &str| {
        log.lines().any(|line| line.contains(&format!("\"pid\":{pid},")) && line.contains(operation))
    };
    assert!(by(parent, "encrypt") && by(child, "decrypt") && !by(parent, "decrypt"), "{log}");
    eprintln!("a forked child opens a connection of its own: ok");
}

fn wait_for(path: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(Instant::now() < end, "{} does not appear", path.display());
        sleep(Duration::from_millis(10));
    }
    fs::read_to_string(path).unwrap_or_default()
}

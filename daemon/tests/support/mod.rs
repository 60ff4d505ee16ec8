//! What every end-to-end test needs: a private folder, the real `keyagentd` in it, and a client that
//! writes bytes. No mocks: everything here goes through the binary, its socket and its files.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod agent;
pub(crate) mod client;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod recovery;
pub(crate) mod slice;
pub(crate) mod small_disk;

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub(crate) use client::Client;
pub(crate) use process::{Daemon, Finished, finish};

/// The binary under test.
pub(crate) const KEYAGENTD: &str = env!("CARGO_BIN_EXE_keyagentd");

/// Says loudly, past the harness's capture, that a test could not run here.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// Whether a program can be started here.
pub(crate) fn have(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Whether the tests run as root.
pub(crate) fn am_root() -> bool {
    keyagent_sys::peer::effective_uid() == 0
}

/// Whether the full campaign was asked for: `KEYAGENT_LONG=1`, set by .ci/long. By default every loop is bounded.
pub(crate) fn long_campaign() -> bool {
    std::env::var_os("KEYAGENT_LONG").is_some_and(|value| value == "1")
}

/// `short` by default, `long` in the full campaign.
pub(crate) fn bounded<T>(short: T, long: T) -> T {
    if long_campaign() { long } else { short }
}

/// 32 random bytes as 64 hexadecimal digits.
pub(crate) fn random_key() -> String {
    let mut bytes = [0; 32];
    keyagent_sys::random::fill(&mut bytes).unwrap();
    hex(&bytes)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The reverse of [`hex`].
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim_end().as_bytes();
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A private folder with the places of one daemon; removed at the end.
///
/// Not below /tmp: key files are refused below folders that others may write to, sticky or not.
pub(crate) struct Home(TempDir);

impl Home {
    /// A new empty one below /var/lib (root) or `$HOME/.cache`.
    pub(crate) fn new() -> Self {
        let base = if am_root() {
            PathBuf::from("/var/lib")
        } else {
            PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache")
        };
        fs::create_dir_all(&base).unwrap();
        Self(tempfile::Builder::new().prefix("keyagent-tests-").tempdir_in(base).unwrap())
    }

    /// A new one with key, keyring and log.
    pub(crate) fn initialized() -> Self {
        let home = Self::new();
        home.init();
        home
    }

    /// A new one with this key file and nothing else.
    pub(crate) fn with_key(text: &str) -> Self {
        let home = Self::new();
        home.write_key(text);
        home
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path below the folder.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The key file.
    pub(crate) fn key(&self) -> PathBuf {
        self.join("config/key")
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.join("state")
    }

    /// A file of the state folder.
    pub(crate) fn state_file(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.join("run/agent.sock")
    }

    /// Writes the key file, with folder and mode as they should be.
    pub(crate) fn write_key(&self, text: &str) {
        let path = self.key();
        make_folder(path.parent().unwrap(), 0o700);
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// The master key in the key file.
    pub(crate) fn master(&self) -> [u8; 32] {
        unhex(&fs::read_to_string(self.key()).unwrap()).try_into().unwrap()
    }

    /// keyagentd with its places and a scrubbed environment, but without a source of the key.
    pub(crate) fn command_without_key(&self) -> Command {
        let mut command = Command::new(KEYAGENTD);
        self.give_places(&mut command);
        command
    }

    /// keyagentd with its places, this home's key file, and a scrubbed environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.command_without_key();
        command.arg("--key-file").arg(self.key());
        command
    }

    /// keyagentd started through another program (`strace`, `sh -c`), whose arguments come first.
    pub(crate) fn command_through(&self, program: &[&str]) -> Command {
        let (first, rest) = program.split_first().unwrap();
        let mut command = Command::new(first);
        command.args(rest).arg(KEYAGENTD);
        self.give_places(&mut command);
        command.arg("--key-file").arg(self.key());
        command
    }

    fn give_places(&self, command: &mut Command) {
        command.env_clear().env("HOME", self.join("user")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--state-dir").arg(self.state()).arg("--socket").arg(self.socket());
    }

    /// `--init --no-serve`, which must succeed.
    pub(crate) fn init(&self) {
        let finished = finish(self.command().args(["--init", "--no-serve"]));
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(self.command(), &self.socket())
    }

    /// The same with further arguments.
    pub(crate) fn start_with(&self, arguments: &[&str]) -> Daemon {
        let mut command = self.command();
        command.args(arguments);
        Daemon::start(command, &self.socket())
    }

    /// Starts the daemon, which must refuse with this exit code and error name, without leaving a socket.
    pub(crate) fn refuses(&self, arguments: &[&str], code: i32, name: &str) -> Finished {
        self.must_refuse(self.command().args(arguments), code, name)
    }

    /// The same for a prepared command.
    pub(crate) fn must_refuse(&self, command: &mut Command, code: i32, name: &str) -> Finished {
        let finished = finish(command);
        let said = format!("code {code} {name}\n");
        assert_eq!(finished.code, Some(code), "expected {name}: {}", finished.stderr);
        assert!(finished.stderr.ends_with(&said), "expected {said:?}: {}", finished.stderr);
        assert_no_failure(&finished.stderr);
        assert!(fs::symlink_metadata(self.socket()).is_err(), "a socket was left");
        finished
    }
}

/// A folder with its parents and exactly this mode.
pub(crate) fn make_folder(path: &Path, mode: u32) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
    chmod(path, mode);
}

/// Sets a mode, the umask notwithstanding.
pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Waits for a condition that must come true; panics when it does not.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Neither a panic nor its report.
pub(crate) fn assert_no_failure(stderr: &str) {
    for word in ["panicked", "internal failure", "RUST_BACKTRACE", "code 70"] {
        assert!(!stderr.contains(word), "{stderr}");
    }
}

/// Copies every regular file of a folder: for putting an earlier state back.
pub(crate) fn copy_files(from: &Path, to: &Path) {
    make_folder(to, 0o700);
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Every file and folder below a path: mode, and content or link target. Sockets and pipes by mode only.
pub(crate) fn snapshot(folder: &Path) -> std::collections::BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let content = if metadata.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if metadata.is_file() && metadata.len() < 1 << 20 {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (metadata.permissions().mode(), content));
        }
    }
    found
}

//! A home folder with everything that one user of keyagent has, and how commands run in it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt},
    },
    unistd::Pid,
};

/// A home folder; its daemons and files are gone when it is dropped.
pub(crate) struct Place(tempfile::TempDir);

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Place {
    /// An empty home. Not below /tmp: keyagent refuses keys below folders that others may write to.
    pub(crate) fn new() -> Self {
        assert!(
            daemon().is_file(),
            "{} is missing; make it with: cargo build -p keyagentd",
            daemon().display()
        );
        let base = if am_root() {
            PathBuf::from("/var/lib")
        } else {
            PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache")
        };
        fs::create_dir_all(&base).unwrap();
        let place = Self(tempfile::Builder::new().prefix("keyagent-tests-").tempdir_in(base).unwrap());
        for folder in ["run", "work"] {
            fs::DirBuilder::new().mode(0o700).create(place.path(folder)).unwrap();
        }
        place
    }

    /// One with key and keyring.
    pub(crate) fn initialized() -> Self {
        let place = Self::new();
        place.run(&["init", "--no-input"], b"").expect(0);
        place
    }

    /// One whose agent runs.
    pub(crate) fn started() -> Self {
        let place = Self::initialized();
        place.run(&["start"], b"").expect(0);
        place
    }

    pub(crate) fn home(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home().join(name)
    }

    /// A file in the working folder of the commands.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.path("work").join(name)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path(".config/keyagent/key")
    }

    pub(crate) fn keyring(&self) -> PathBuf {
        self.path(".local/share/keyagent/keyring")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path(".local/state/keyagent")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/keyagent/agent.sock")
    }

    /// Any program in this home, with nothing of the outer environment.
    pub(crate) fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(name);
        command.env_clear().current_dir(self.path("work"));
        command.env("HOME", self.home()).env("XDG_RUNTIME_DIR", self.path("run"));
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs().display()));
        command.env("KEYAGENT_AUTOSTART", "0").stdin(Stdio::null());
        command
    }

    pub(crate) fn keyagent(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = self.program(client());
        command.args(words);
        command
    }

    /// `keyagent` with these words and this input, to its end.
    pub(crate) fn run(&self, words: &[impl AsRef<OsStr>], input: &[u8]) -> Done {
        run(self.keyagent(words), input)
    }

    /// A script of the shell, as strict as `sh -eu`.
    pub(crate) fn sh(&self, script: &str) -> Done {
        let mut command = self.program("/bin/sh");
        command.args(["-euc", script]);
        run(command, b"")
    }

    /// Content of every file but what daemons write when they start or run.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let fleeting = ["daemon.log", "agent.sock.lock", "keyring.lock"];
        let mut found: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for path in files(self.home()) {
            if fs::symlink_metadata(&path).unwrap().is_file()
                && !fleeting.iter().any(|name| path.ends_with(name))
            {
                found.insert(path.clone(), fs::read(&path).unwrap_or_default());
            }
        }
        found
    }

    /// Process number of whoever listens at a socket.
    pub(crate) fn pid(&self) -> Pid {
        listener(&self.socket()).expect("an agent listens")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in files(self.home()) {
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket())
                && let Some(pid) = listener(&path).filter(|pid| *pid != Pid::this())
            {
                end(pid);
            }
        }
    }
}

impl Done {
    /// The same, if it ended with this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        self.no_failure()
    }

    /// The same, if it ended with this error in the shape that people know.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, name: &str) -> Self {
        let text = &self.stderr;
        assert!(self.code == code && text.ends_with(&format!("  code {code} {name}\n")), "{name}: {self:?}");
        let first = text.lines().find(|line| !line.contains("root")).unwrap_or_default();
        assert!(first.starts_with("keyagent: ") || first.starts_with("keyagentd: "), "{text}");
        let rows = text.lines().skip_while(|line| !line.is_empty()).skip(1);
        assert!(rows.into_iter().all(|row| row.is_empty() || row.starts_with("  ")), "{text}");
        self.no_failure()
    }

    #[track_caller]
    fn no_failure(self) -> Self {
        for word in ["panicked", "RUST_BACKTRACE", "code 70"] {
            assert!(!self.stderr.contains(word), "{}", self.stderr);
        }
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// Standard output without its final newline.
    pub(crate) fn line(&self) -> String {
        self.text().trim_end_matches('\n').to_owned()
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command with this input to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that ends before it has read everything closes the pipe.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

/// Says loudly, past the harness's capture, that a test could not run here.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

pub(crate) fn am_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether the full campaign was asked for.
pub(crate) fn long_campaign() -> bool {
    std::env::var_os("KEYAGENT_LONG").is_some_and(|value| value == "1")
}

pub(crate) fn client() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_keyagent"))
}

pub(crate) fn daemon() -> PathBuf {
    client().with_file_name("keyagentd")
}

/// The folder with both programs.
pub(crate) fn programs() -> &'static Path {
    client().parent().unwrap()
}

/// A file of the repository.
pub(crate) fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Bytes that no compression or repetition could hide a mistake in.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// Everything below a folder that is no folder itself.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

fn listener(socket: &Path) -> Option<Pid> {
    let stream = UnixStream::connect(socket).ok()?;
    Some(Pid::from_raw(getsockopt(&stream, sockopt::PeerCredentials).ok()?.pid()))
}

/// Ends a process that is no child of ours.
pub(crate) fn end(pid: Pid) {
    let _ = kill(pid, Signal::SIGTERM);
    if !gone(pid, Duration::from_secs(5)) {
        let _ = kill(pid, Signal::SIGKILL);
        gone(pid, Duration::from_secs(5));
    }
}

/// Waits until a process is gone, or only waits for its parent.
pub(crate) fn gone(pid: Pid, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        if stat.is_empty() || stat.contains(") Z ") && threads < 2 {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

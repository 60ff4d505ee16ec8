//! Starting `keyagentd` in the background and waiting until it answers.
//!
//! The daemon is looked for beside this program and in one system folder, never by a variable: what a
//! variable names could be anything. No key is made here.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use keyagent_client::{Address, Connection, Error, Options, base_folders};
use keyagent_common::{
    error::ErrorCode,
    layout::{BaseFolders, Layout},
    report::Report,
};
use nix::fcntl::OFlag;

use crate::{
    detached,
    failure::{Failure, Passed, cannot_create},
};

const PROGRAM: &str = "keyagentd";
const SYSTEM_FOLDER: &str = "/usr/lib/keyagent";
/// The longest a daemon may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long another daemon that is just starting may take.
const OTHER_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
/// Most bytes of a daemon's last words.
const MAX_WORDS_BYTES: u64 = 16 << 10;

/// What is handed on to the daemon.
#[derive(Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub(crate) struct DaemonArguments {
    /// Read the master key from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Read the master key from this open descriptor
    #[arg(long, value_name = "N", conflicts_with = "key_file")]
    pub(crate) key_fd: Option<u32>,
    /// Folder with the credential keyagent.master-key
    #[arg(long, value_name = "DIR")]
    pub(crate) credentials_dir: Option<PathBuf>,
    /// One folder for keyring, audit log and the rest
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Use the folders of the system instead of the user's
    #[arg(long)]
    pub(crate) system: bool,
    /// Make a new keyring although there is a master key
    #[arg(long)]
    pub(crate) new_keyring: bool,
    /// Accept a keyring or audit log that is older than the other
    #[arg(long)]
    pub(crate) accept_rollback: bool,
    /// Run although memory cannot be locked
    #[arg(long)]
    pub(crate) allow_unlocked_memory: bool,
}

/// A daemon about to be started.
pub(crate) struct Daemon {
    program: PathBuf,
    arguments: Vec<OsString>,
    socket: PathBuf,
    log: PathBuf,
}

impl DaemonArguments {
    /// The paths that follow from these arguments.
    pub(crate) fn layout(&self) -> Result<Layout, Failure> {
        let base = if self.system { Some(BaseFolders::System) } else { base_folders() };
        let base = base.ok_or_else(|| {
            Report::new(ErrorCode::Configuration, "there is no home folder")
                .why("neither HOME nor the user database names one")
                .fix("set HOME, or use --system or --state-dir")
        })?;
        let state = self.state_dir.as_deref().map(absolute);
        Ok(Layout::new(&base, state.as_deref()))
    }

    /// The same arguments for the daemon, paths made absolute: it runs in another folder.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut path = |name: &str, value: &Option<PathBuf>| {
            if let Some(value) = value {
                words.extend([name.into(), absolute(value).into_os_string()]);
            }
        };
        path("--key-file", &self.key_file);
        path("--credentials-dir", &self.credentials_dir);
        path("--state-dir", &self.state_dir);
        if let Some(number) = self.key_fd {
            words.extend(["--key-fd".into(), number.to_string().into()]);
        }
        let flags = [
            ("--system", self.system),
            ("--new-keyring", self.new_keyring),
            ("--accept-rollback", self.accept_rollback),
            ("--allow-unlocked-memory", self.allow_unlocked_memory),
        ];
        words.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name.into()));
        words
    }
}

impl Daemon {
    /// Finds the program; `socket` is the one that a person named.
    pub(crate) fn prepare(
        arguments: &DaemonArguments,
        socket: Option<&Path>,
        layout: Layout,
    ) -> Result<Self, Failure> {
        let mut words = arguments.words();
        if let Some(socket) = socket {
            words.extend(["--socket".into(), absolute(socket).into_os_string()]);
        }
        let socket = socket.map_or(layout.socket, absolute);
        Ok(Self { program: locate()?, arguments: words, socket, log: layout.daemon_log })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// The daemon's program: beside this one, or in the system's folder.
pub(crate) fn locate() -> Result<PathBuf, Report> {
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(PROGRAM)));
    let places: Vec<PathBuf> = beside.into_iter().chain([Path::new(SYSTEM_FOLDER).join(PROGRAM)]).collect();
    let found = places.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| {
        let report = Report::new(ErrorCode::InputMissing, "the daemon keyagentd is not installed");
        let report =
            places.iter().fold(report, |report, place| report.fact("tried", place.display().to_string()));
        report.fix("put keyagentd into the folder of keyagent")
    })
}

/// Starts the daemon and returns when it answers; the child goes on living.
pub(crate) fn start(daemon: &Daemon, options: Options) -> Result<Child, Failure> {
    let mut log = open_log(&daemon.log)?;
    let start = log.seek(SeekFrom::End(0)).unwrap_or_default();
    let stderr = log.try_clone().map_err(|error| cannot_create(&daemon.log, error.to_string()))?;
    let mut child = detached::in_new_session(daemon.program.as_os_str())
        .args(&daemon.arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|error| Report::new(ErrorCode::Internal, "cannot start keyagentd").why(error.to_string()))?;
    let mut limit = Instant::now() + START_LIMIT;
    let mut ended: Option<ExitStatus> = None;
    loop {
        if answers(daemon.socket(), options)? {
            return Ok(child);
        }
        if ended.is_none() {
            ended = child.try_wait().ok().flatten();
            match ended {
                // Another client was faster: its daemon will answer in a moment.
                Some(status) if status.code() == Some(ErrorCode::AlreadyRunning.exit_code().into()) => {
                    limit = limit.min(Instant::now() + OTHER_LIMIT);
                }
                Some(status) => return Err(last_words(&mut log, &daemon.log, start, status)),
                None => {}
            }
        }
        if Instant::now() > limit {
            return match ended {
                Some(status) => Err(last_words(&mut log, &daemon.log, start, status)),
                None => Err(too_slow(daemon, &mut child).into()),
            };
        }
        std::thread::sleep(POLL);
    }
}

/// Whether an agent answers there. One that must not be trusted is an error.
pub(crate) fn answers(socket: &Path, options: Options) -> Result<bool, Failure> {
    let address = Address::exactly(socket)?;
    match Connection::open(&address, options).and_then(|mut connection| connection.hello().map(|_| ())) {
        Ok(()) => Ok(true),
        Err(error @ (Error::Untrusted { .. } | Error::Protocol { .. } | Error::Versions { .. })) => {
            Err(error.into())
        }
        Err(_) => Ok(false),
    }
}

fn open_log(path: &Path) -> Result<File, Failure> {
    let refuse = |error: std::io::Error| cannot_create(path, error.to_string());
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refuse)?;
    }
    let flags = OFlag::O_NOFOLLOW.bits();
    Ok(OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .map_err(refuse)?)
}

/// What the daemon itself said before it ended, and its exit code.
fn last_words(log: &mut File, path: &Path, start: u64, status: ExitStatus) -> Failure {
    let mut bytes = Vec::new();
    let read =
        log.seek(SeekFrom::Start(start)).and_then(|_| log.take(MAX_WORDS_BYTES).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let exit_code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    if let (Some(exit_code), true) = (exit_code, read.is_ok() && !text.is_empty()) {
        return Failure::Passed(Passed { text, exit_code });
    }
    let how = match status.signal() {
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with exit code {}", status.code().unwrap_or_default()),
    };
    // Its words are lost where they were to be written, as on a full disk; its exit code is not.
    let code = ErrorCode::ALL.iter().rfind(|code| Some(code.exit_code()) == exit_code);
    Report::new(code.copied().unwrap_or(ErrorCode::Internal), "keyagentd did not start")
        .fact("daemon", how)
        .fact("log", path.display().to_string())
        .why(text)
        .fix("run keyagentd in the foreground to see why")
        .into()
}

fn too_slow(daemon: &Daemon, child: &mut Child) -> Report {
    let _ = child.kill();
    let _ = child.wait();
    Report::new(ErrorCode::Timeout, "keyagentd was started but does not answer")
        .fact("socket", daemon.socket.display().to_string())
        .fact("waited", format!("{} s", START_LIMIT.as_secs()))
        .fix(format!("read what it said: {}", daemon.log.display()))
}

fn absolute(path: impl AsRef<Path>) -> PathBuf {
    std::path::absolute(path.as_ref()).unwrap_or_else(|_| path.as_ref().to_path_buf())
}

/// Runs the daemon's program to its end and takes what it says, for `init`.
pub(crate) fn run_once(words: &[OsString]) -> Result<String, Failure> {
    let output =
        std::process::Command::new(locate()?).args(words).stdin(Stdio::null()).output().map_err(|error| {
            Report::new(ErrorCode::Internal, "cannot run keyagentd").why(error.to_string())
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(exit_code) if !text.is_empty() => Err(Failure::Passed(Passed { text, exit_code })),
        _ => Err(Report::new(ErrorCode::Internal, "keyagentd did not do its work").why(text).into()),
    }
}

/// Whether a file stands at a path, whatever it is.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

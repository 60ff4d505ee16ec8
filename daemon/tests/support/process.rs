//! Processes: one that runs to its end, and one that serves.

use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Client, assert_no_failure, client};

/// Nothing that is tested takes this long; whatever does hangs.
const HANGS: Duration = Duration::from_mins(1);

/// A process that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end; panics when it hangs.
pub(crate) fn finish(command: &mut Command) -> Finished {
    finish_within(command, HANGS).unwrap_or_else(|stderr| panic!("{command:?} hangs: {stderr}"))
}

/// Runs a command to its end, or kills it after a while and returns what it said on stderr.
pub(crate) fn finish_within(command: &mut Command, time: Duration) -> Result<Finished, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (stdout, stderr) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let ended = wait(&mut child, time);
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
        return Err(stderr.text());
    }
    let (stdout, stderr) = (stdout.whole(), stderr.whole());
    let status = ended.unwrap();
    Ok(Finished { code: status.code(), signal: status.signal(), stdout, stderr })
}

fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    None
}

/// What a process writes, gathered by a thread.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

fn collect(mut from: impl Read + Send + 'static) -> Collected {
    let text = Arc::new(Mutex::new(Vec::new()));
    let place = Arc::clone(&text);
    let thread = thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            place.lock().unwrap().extend_from_slice(&piece[..count]);
        }
    });
    Collected { text, thread }
}

impl Collected {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn whole(self) -> String {
        self.thread.join().unwrap();
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }
}

/// A daemon that serves; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    stderr: Option<Collected>,
    socket: PathBuf,
}

impl Daemon {
    /// Starts a command and waits until it answers on the socket.
    pub(crate) fn start(command: Command, socket: &Path) -> Self {
        let mut daemon = Self::spawn(command, socket);
        daemon.wait_until_served();
        daemon
    }

    /// Starts a command without waiting.
    pub(crate) fn spawn(mut command: Command, socket: &Path) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = Some(collect(child.stderr.take().unwrap()));
        Self { child, stderr, socket: socket.to_path_buf() }
    }

    /// Waits until somebody answers `status` on the socket.
    pub(crate) fn wait_until_served(&mut self) {
        let end = Instant::now() + HANGS;
        while !client::answers(&self.socket) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended with {ended:?}: {}", self.stderr());
            assert!(Instant::now() < end, "the daemon does not serve: {}", self.stderr());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A greeted connection.
    pub(crate) fn client(&self) -> Client {
        Client::greeted(&self.socket)
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Process id. Of what was started: `strace` or `unshare`, if it went through one that forks.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.as_ref().map(Collected::text).unwrap_or_default()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// SIGTERM: it must end with 0. What it said.
    pub(crate) fn terminate(self) -> String {
        self.signal(Signal::SIGTERM);
        let finished = self.wait();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_no_failure(&finished.stderr);
        finished.stderr
    }

    /// SIGKILL: no destructor runs, no last pin is written.
    pub(crate) fn kill(self) -> String {
        self.signal(Signal::SIGKILL);
        let finished = self.wait();
        assert_no_failure(&finished.stderr);
        finished.stderr
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Finished {
        let status = wait(&mut self.child, HANGS);
        let Some(status) = status else { panic!("the daemon does not end: {}", self.stderr()) };
        let stderr = self.stderr.take().map(Collected::whole).unwrap_or_default();
        Finished { code: status.code(), signal: status.signal(), stdout: String::new(), stderr }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Number of open descriptors; `None` where only root may look.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.pid())).ok()?.count())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

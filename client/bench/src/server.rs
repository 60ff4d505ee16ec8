//! Processes that are measured, and the private folder in which they live; both are gone afterwards.

use std::{
    env, fs, io,
    os::unix::{fs::DirBuilderExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::Outcome;

/// How long a process may take until it accepts connections.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A new folder of this user alone.
pub(crate) struct Workplace(PathBuf);

impl Workplace {
    /// Below the user's cache folder: nobody else may write to any folder above it.
    pub(crate) fn make() -> Outcome<Self> {
        let home = env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let path = home.ok_or("HOME is not set")?.join(".cache").join(format!("keyagent-bench-{}", id()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("keyagent-bench: a folder is left over: {error}");
        }
    }
}

/// A running reference; ended when dropped.
pub(crate) struct Reference {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    _running: Running,
}

impl Reference {
    /// Starts this very program in another role.
    pub(crate) fn start(place: &Workplace, role: &str) -> Outcome<Self> {
        let socket = place.join(role);
        let child = Command::new(env::current_exe()?).arg(role).arg(&socket).stdin(Stdio::null()).spawn()?;
        let mut running = Running(child);
        running.wait_for(&socket)?;
        Ok(Self { socket, _running: running })
    }
}

/// A running daemon with a state of its own; ended when dropped.
pub(crate) struct Daemon {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    running: Running,
}

impl Daemon {
    /// Makes a new master key, keyring and log, and serves.
    pub(crate) fn start(place: &Workplace, name: &str, program: &Path) -> Outcome<Self> {
        Self::start_with(place, name, program, Some("--init")).map(|(daemon, _)| daemon)
    }

    /// Serves the state of that name, or does what the argument says with it; how long it took until it accepted
    /// connections.
    pub(crate) fn start_with(
        place: &Workplace,
        name: &str,
        program: &Path,
        argument: Option<&str>,
    ) -> Outcome<(Self, Duration)> {
        let state = place.join(name);
        let socket = state.join("agent.sock");
        let mut command = Command::new(program);
        for (variable, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KEYAGENT"))
        {
            command.env_remove(variable);
        }
        command.args(argument).arg("--state-dir").arg(&state).arg("--socket").arg(&socket);
        command.env("XDG_CONFIG_HOME", state.join("config")).env_remove("CREDENTIALS_DIRECTORY");
        let begin = Instant::now();
        let mut running = Running(command.stdin(Stdio::null()).spawn()?);
        running.wait_for(&socket)?;
        Ok((Self { socket, running }, begin.elapsed()))
    }

    /// Its folder below /proc.
    pub(crate) fn proc_folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.running.0.id()))
    }
}

struct Running(Child);

impl Running {
    fn wait_for(&mut self, socket: &Path) -> Outcome<()> {
        let begin = Instant::now();
        while UnixStream::connect(socket).is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("a measured process ended: {status}").into());
            }
            if begin.elapsed() > START_DEADLINE {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

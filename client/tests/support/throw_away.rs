// An agent for an example in the documentation: in a folder of its own, gone when it is dropped.
// Included by examples, so plain comments, no inner ones.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running agent.
pub struct Agent {
    folder: tempfile::TempDir,
    daemon: Child,
}

impl Agent {
    /// Starts it; `None`, said loudly, where the daemon was not built.
    pub fn start() -> Option<Self> {
        let program = program("keyagentd")?;
        // Not below /tmp: keyagentd refuses keys below folders that others may write to.
        let base = match std::env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(".cache"),
            None => PathBuf::from("/var/lib"),
        };
        std::fs::create_dir_all(&base).unwrap();
        let folder = tempfile::Builder::new().prefix("ka-doc-").tempdir_in(base).unwrap();
        let mut command = Command::new(program);
        command.env_clear().env("HOME", folder.path()).arg("--init").arg("--state-dir").arg(folder.path());
        command.arg("--socket").arg(folder.path().join("agent.sock"));
        let daemon = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let agent = Self { folder, daemon };
        let end = Instant::now() + Duration::from_secs(30);
        while !agent.socket().exists() {
            assert!(Instant::now() < end, "the agent does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(agent)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// Runs the command line with this agent.
    #[allow(dead_code, reason = "used by one example")]
    pub fn keyagent(&self, words: &[&str]) {
        let program = program("keyagent").unwrap();
        let status = Command::new(program).arg("-q").arg("--socket").arg(self.socket()).args(words).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A program of the build to which the example belongs.
fn program(name: &str) -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let path = target.join(profile).join(name);
    if !path.is_file() {
        eprintln!("\n*** SKIPPED: {} was not built ***\n", path.display());
        return None;
    }
    Some(path)
}

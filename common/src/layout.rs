//! Where everything lies: one pure function from base folders to paths (docs/ARCHITECTURE.md, "Files").
//!
//! Reads neither the environment nor the disk; both binaries hand in what they found.

use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, in bytes (`sun_path` less its final NUL).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The folders that the paths are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseFolders {
    /// The default: XDG base directories of the user.
    User {
        /// `$XDG_CONFIG_HOME`, usually `~/.config`.
        config: PathBuf,
        /// `$XDG_DATA_HOME`, usually `~/.local/share`.
        data: PathBuf,
        /// `$XDG_STATE_HOME`, usually `~/.local/state`.
        state: PathBuf,
        /// `$XDG_RUNTIME_DIR` or `/run/user/UID`, where one of them exists.
        runtime: Option<PathBuf>,
    },
    /// `--system`: `/etc`, `/var/lib`, `/var/log` and `/run`.
    System,
}

/// Every path that a daemon uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Default source of the master key.
    pub key_file: PathBuf,
    /// The keyring.
    pub keyring: PathBuf,
    /// Held locked by the one daemon of the store.
    pub store_lock: PathBuf,
    /// Says that this state was once initialised, so that losing the rest is noticed.
    pub marker: PathBuf,
    /// How much keys are used.
    pub counters: PathBuf,
    /// The audit log.
    pub audit_log: PathBuf,
    /// The pin of the audit log.
    pub audit_pin: PathBuf,
    /// The socket.
    pub socket: PathBuf,
    /// What the daemon of `keyagent start` says.
    pub daemon_log: PathBuf,
}

impl Layout {
    /// The paths for base folders; `state_dir` puts keyring, audit log and socket's fallback into one folder.
    pub fn new(base: &BaseFolders, state_dir: Option<&Path>) -> Self {
        let (config, data, state, runtime) = match base {
            BaseFolders::User { config, data, state, runtime } => (
                config.join("keyagent"),
                data.join("keyagent"),
                state.join("keyagent"),
                runtime.as_ref().map(|folder| folder.join("keyagent")),
            ),
            BaseFolders::System => (
                PathBuf::from("/etc/keyagent"),
                PathBuf::from("/var/lib/keyagent"),
                PathBuf::from("/var/log/keyagent"),
                Some(PathBuf::from("/run/keyagent")),
            ),
        };
        let data = state_dir.map_or(data, Path::to_path_buf);
        let state = state_dir.map_or(state, Path::to_path_buf);
        let runtime = runtime.unwrap_or_else(|| state.clone());
        Self {
            key_file: config.join("key"),
            keyring: data.join("keyring"),
            store_lock: data.join("keyring.lock"),
            marker: data.join("initialized"),
            counters: data.join("counters"),
            audit_log: state.join("audit.log"),
            audit_pin: state.join("audit.pin"),
            socket: runtime.join("agent.sock"),
            daemon_log: state.join("daemon.log"),
        }
    }
}

/// Where a client looks for the socket, in order, after `--socket`.
///
/// `variable` is the value of `$KEYAGENT_SOCK`; each place comes with the name it is shown under.
pub fn socket_search(variable: Option<&Path>, base: &BaseFolders, uid: u32) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut add = |path: PathBuf| {
        if !places.contains(&path) {
            places.push(path);
        }
    };
    if let Some(path) = variable {
        add(path.to_path_buf());
        return places;
    }
    add(Layout::new(base, None).socket);
    if uid != 0 || matches!(base, BaseFolders::User { .. }) {
        add(PathBuf::from(format!("/run/user/{uid}/keyagent/agent.sock")));
    }
    add(Layout::new(&BaseFolders::System, None).socket);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(runtime: Option<&str>) -> BaseFolders {
        BaseFolders::User {
            config: "/h/.config".into(),
            data: "/h/.local/share".into(),
            state: "/h/.local/state".into(),
            runtime: runtime.map(PathBuf::from),
        }
    }

    #[test]
    fn user_mode_follows_the_base_directories() {
        let layout = Layout::new(&user(Some("/run/user/7")), None);
        assert_eq!(layout.key_file, Path::new("/h/.config/keyagent/key"));
        assert_eq!(layout.keyring, Path::new("/h/.local/share/keyagent/keyring"));
        assert_eq!(layout.audit_log, Path::new("/h/.local/state/keyagent/audit.log"));
        assert_eq!(layout.socket, Path::new("/run/user/7/keyagent/agent.sock"));
    }

    #[test]
    fn without_a_runtime_folder_the_socket_lies_with_the_state() {
        assert_eq!(Layout::new(&user(None), None).socket, Path::new("/h/.local/state/keyagent/agent.sock"));
        assert_eq!(Layout::new(&user(None), Some(Path::new("/s"))).socket, Path::new("/s/agent.sock"));
    }

    #[test]
    fn a_state_folder_takes_everything_but_the_key() {
        let layout = Layout::new(&BaseFolders::System, Some(Path::new("/s")));
        assert_eq!(layout.key_file, Path::new("/etc/keyagent/key"));
        for path in [
            &layout.keyring,
            &layout.marker,
            &layout.counters,
            &layout.audit_log,
            &layout.audit_pin,
            &layout.store_lock,
        ] {
            assert_eq!(path.parent(), Some(Path::new("/s")));
        }
    }

    #[test]
    fn the_search_has_no_doubles_and_ends_with_the_system() {
        let places = socket_search(None, &user(Some("/run/user/7")), 7);
        assert_eq!(
            places,
            [Path::new("/run/user/7/keyagent/agent.sock"), Path::new("/run/keyagent/agent.sock")]
        );
        assert_eq!(socket_search(Some(Path::new("/x")), &user(None), 7), [Path::new("/x")]);
    }
}

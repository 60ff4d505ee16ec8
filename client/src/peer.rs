//! Who listens: the check that must pass before the first byte is sent (docs/THREAT-MODEL.md, "fake daemon").
//!
//! Trusted are the own user, root, and the user `keyagent`; the socket's folder must belong to one of
//! them too, so that nobody else could have put the socket there. Never trusted is the overflow uid,
//! not even by a client that runs as it: the kernel shows it for every user without a number here.

use std::{
    fs::File,
    io::Read,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
};

use nix::{
    sys::socket::{self, sockopt},
    unistd::User,
};

use crate::{environment::effective_uid, error::Error};

/// The user that packages run the daemon as.
const SERVICE_USER: &str = "keyagent";
const ROOT: u32 = 0;
/// What the overflow uid is unless somebody changed it.
const USUAL_OVERFLOW: u32 = 65_534;

/// The process that listens, as the kernel tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

/// Checks the listener's user and the owner of the socket's folder.
pub(crate) fn check(stream: &UnixStream, path: &Path) -> Result<Peer, Error> {
    let untrusted = |why: String| Error::Untrusted { path: path.to_path_buf(), why };
    let credentials = socket::getsockopt(stream, sockopt::PeerCredentials)
        .map_err(|error| untrusted(format!("the kernel does not say who listens: {}", error.desc())))?;
    let (me, server, overflow) = (effective_uid(), credentials.uid(), overflow_uid());
    if server == overflow {
        return Err(untrusted(format!(
            "uid {server} listens there, which stands for every user that has no number here: it could be anybody"
        )));
    }
    if !is_trusted(server, me, overflow, service_uid) {
        return Err(untrusted(format!(
            "uid {server} listens there; only your own ({me}), root and the user `{SERVICE_USER}` are trusted"
        )));
    }
    let folder = folder_of(path);
    let owner = std::fs::metadata(&folder)
        .map_err(|error| untrusted(format!("the folder {} cannot be examined: {error}", folder.display())))?
        .uid();
    if owner != server && !is_trusted(owner, me, overflow, || None) {
        return Err(untrusted(format!("its folder {} belongs to uid {owner}", folder.display())));
    }
    Ok(Peer { pid: credentials.pid().try_into().unwrap_or_default(), uid: server })
}

fn is_trusted(uid: u32, me: u32, overflow: u32, service: impl FnOnce() -> Option<u32>) -> bool {
    uid != overflow && (uid == me || uid == ROOT || service() == Some(uid))
}

/// The uid in whose place the kernel shows every user that has none in this user namespace.
fn overflow_uid() -> u32 {
    let mut text = [0; 16];
    let count = File::open("/proc/sys/kernel/overflowuid").and_then(|mut file| file.read(&mut text));
    let text = text.get(..count.unwrap_or_default()).unwrap_or_default();
    str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL_OVERFLOW)
}

fn service_uid() -> Option<u32> {
    User::from_name(SERVICE_USER).ok().flatten().map(|user| user.uid.as_raw())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_me_root_and_the_service_user_are_trusted() {
        assert!(is_trusted(7, 7, 65_534, || None));
        assert!(is_trusted(0, 7, 65_534, || None));
        assert!(is_trusted(99, 7, 65_534, || Some(99)));
        assert!(!is_trusted(8, 7, 65_534, || Some(99)));
        assert!(!is_trusted(8, 7, 65_534, || None));
        assert!(!is_trusted(u32::MAX, 0, 65_534, || None));
    }

    #[test]
    fn the_overflow_uid_is_never_trusted_not_even_as_my_own() {
        let overflow = overflow_uid();
        let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
        assert_eq!(text.trim(), overflow.to_string());
        assert!(!is_trusted(overflow, overflow, overflow, || None));
        assert!(!is_trusted(overflow, 7, overflow, || Some(overflow)));
        assert!(is_trusted(0, overflow, overflow, || None));
    }

    #[test]
    fn a_bare_name_lies_in_the_working_folder() {
        assert_eq!(folder_of(Path::new("agent.sock")), Path::new("."));
        assert_eq!(folder_of(Path::new("/agent.sock")), Path::new("/"));
    }
}

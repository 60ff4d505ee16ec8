//! The peer as the kernel tells it: of this process, and of children that end.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use super::*;
use crate::child;

#[test]
fn names_this_process() {
    let (one, _two) = UnixStream::pair().unwrap();
    let peer = credentials(one.as_fd()).unwrap();
    assert_eq!(peer.uid, effective_uid());
    assert_eq!(peer.gid, nix::unistd::getegid().as_raw());
    assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
}

#[test]
fn a_file_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    assert_eq!(credentials(file.as_fd()).unwrap_err().errno, Errno::ENOTSOCK);
    assert_eq!(groups(file.as_fd()).unwrap_err().errno, Errno::ENOTSOCK);
    assert!(pidfd(file.as_fd()).is_none());
    assert_eq!(cgroup_id(file.as_fd()), None);
    assert!(!is_alive(file.as_fd()));
}

#[test]
fn a_socket_without_peer_has_no_groups() {
    let client = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::empty(),
        None,
    )
    .unwrap();
    assert_eq!(groups(client.as_fd()).unwrap_err().errno, Errno::ENODATA);
}

#[test]
fn overflow_numbers_are_read() {
    let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    assert_eq!(overflow_ids().0.to_string(), text.trim());
    assert_eq!(overflow_id("/nonexistent"), DEFAULT_OVERFLOW_ID);
}

#[test]
fn every_group_is_told_however_many() {
    const NAME: &str = "peer::tests::every_group_is_told_however_many";
    // Groups belong to the whole process, so this needs one of its own.
    if child::role().is_none() {
        if effective_uid() != 0 {
            eprintln!("SKIPPED: {NAME}: needs root");
            return;
        }
        return child::run_well(NAME, "groups");
    }
    for count in [0, 1, 31, 32, 33, 1000, MAX_GROUPS] {
        let held: Vec<libc::gid_t> = (100_000..).take(count).collect();
        // SAFETY: the list is as long as said and lives for the call.
        let result = unsafe { libc::setgroups(held.len(), held.as_ptr()) };
        Errno::result(result).unwrap();
        let (one, _two) = UnixStream::pair().unwrap();
        assert_eq!(groups(one.as_fd()).unwrap(), held);
        // What is given up after connecting was held when connecting.
        // SAFETY: no group is read from a list of length 0.
        Errno::result(unsafe { libc::setgroups(0, std::ptr::null()) }).unwrap();
        assert_eq!(groups(one.as_fd()).unwrap(), held);
    }
}

/// A child that has connected, and the accepted socket. The child ends when its standard input does.
fn connected_child(path: &std::path::Path) -> (std::process::Child, UnixStream) {
    let listener = UnixListener::bind(path).unwrap();
    let script =
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or die; <STDIN>";
    let mut child = Command::new("perl");
    let child = child.args(["-e", script]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    (child, listener.accept().unwrap().0)
}

#[test]
fn a_process_is_known_until_it_ends() {
    if Command::new("perl").arg("-v").output().is_err() {
        eprintln!("SKIPPED: a_process_is_known_until_it_ends: needs perl");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut child, served) = connected_child(&folder.path().join("s"));
    let Some(process) = pidfd(served.as_fd()) else {
        eprintln!("SKIPPED: SO_PEERPIDFD needs Linux 6.5");
        return;
    };
    assert!(is_alive(process.as_fd()));
    let own = own_pidfd();
    assert!(is_alive(own.as_fd()));
    // A child begins in its parent's group.
    assert_eq!(cgroup_id(process.as_fd()), cgroup_id(own.as_fd()));
    if cgroup_id(own.as_fd()).is_none() {
        eprintln!("SKIPPED: PIDFD_GET_INFO needs Linux 6.13");
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(!is_alive(process.as_fd()));
    assert_eq!(cgroup_id(process.as_fd()), None);
    // Asked only now, the kernel names the same process, or none.
    assert!(pidfd(served.as_fd()).is_none_or(|late| !is_alive(late.as_fd())));
}

fn own_pidfd() -> OwnedFd {
    let id = libc::c_long::from(std::process::id());
    // SAFETY: the call takes two integers.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    let opened = Errno::result(opened).unwrap();
    // SAFETY: the kernel has just opened it, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(opened).unwrap()) }
}

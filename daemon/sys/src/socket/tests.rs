//! Private sockets: modes at every moment, refusals, passed descriptors.

use std::io::{IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::umask;

use super::*;
use crate::child;

#[test]
fn its_file_never_has_another_mode() {
    const NAME: &str = "socket::tests::its_file_never_has_another_mode";
    // The umask belongs to the whole process, so this needs one of its own.
    if child::role().is_none() {
        return child::run_well(NAME, "umask 0");
    }
    umask(Mode::empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let stop = AtomicBool::new(false);
    let modes = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = std::collections::BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                seen.extend(std::fs::symlink_metadata(&path).ok().map(|found| found.mode() & 0o7777));
            }
            seen
        });
        for _ in 0..3000 {
            let _listener = listen_private(&path, 0o600).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert_eq!(modes.into_iter().collect::<Vec<_>>(), [0o600]);
    // Control: an ordinary bind does show another mode here.
    let _ordinary = UnixListener::bind(&path).unwrap();
    assert_ne!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn it_listens_without_blocking_and_closes_on_exec() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = listen_private(&path, 0o600).unwrap();
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    assert_eq!(fcntl(&listener, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
    assert!(
        OFlag::from_bits_retain(fcntl(&listener, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
    );
    let listener = UnixListener::from(listener);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let mut client = UnixStream::connect(&path).unwrap();
    let (served, _) = listener.accept().unwrap();
    assert_eq!(crate::peer::credentials(served.as_fd()).unwrap().uid, crate::peer::effective_uid());
    client.write_all(b"x").unwrap();
}

#[test]
fn whatever_exists_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "a file").unwrap();
    let error = listen_private(&path, 0o600).unwrap_err();
    assert!(matches!(error, SocketError::Failed { call: "bind", errno: Errno::EADDRINUSE, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}

#[test]
fn only_absolute_paths_that_fit() {
    for path in ["", "@agent", "\0agent", "agent.sock", "./s", "/tmp/a\0b"] {
        let error = listen_private(Path::new(path), 0o600).unwrap_err();
        assert!(matches!(error, SocketError::NotAFilePath { .. }), "{path:?}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().as_os_str().len() + 1;
    let path = |bytes: usize| folder.path().join("s".repeat(bytes - prefix));
    assert!(listen_private(&path(107), 0o600).is_ok());
    assert!(path(107).exists());
    assert!(matches!(listen_private(&path(108), 0o600), Err(SocketError::PathTooLong { bytes: 108, .. })));
    assert_eq!(listen_private(&path(90), 0o4600).unwrap_err(), SocketError::BadMode { mode: 0o4600 });
}

#[test]
fn passed_descriptors_are_refused() {
    let send = |to: &UnixStream| {
        let passed = [to.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&passed)];
        sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)
    };
    let (here, there) = UnixStream::pair().unwrap();
    assert_eq!(send(&here), Ok(1), "control: passing works before");
    if !refuse_passed_descriptors(there.as_fd()).unwrap() {
        eprintln!("SKIPPED: SO_PASSRIGHTS needs Linux 6.16");
        return;
    }
    assert_eq!(send(&here), Err(Errno::EPERM));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::from(listen_private(&path, 0o600).unwrap());
    let client = UnixStream::connect(&path).unwrap();
    let _served = listener.accept().unwrap();
    assert_eq!(send(&client), Err(Errno::EPERM), "accepted connections inherit it");
}

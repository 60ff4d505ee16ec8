//! Sockets: modes and groups at every moment, refusals, passed descriptors.

use std::io::{IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::umask;

use super::*;
use crate::child;

/// Nobody is in this group.
const GROUP: u32 = 54_322;

/// What was seen of a file: its group, its mode.
type Seen = std::collections::BTreeSet<(u32, u32)>;

/// Makes sockets again and again, and collects what two watchers see of the file: one that looks all the time, and
/// one that looks whenever inotify tells of a change.
fn watched(path: &Path, rounds: usize, make: impl Fn() -> OwnedFd) -> Seen {
    let look = |seen: &mut Seen| {
        seen.extend(std::fs::symlink_metadata(path).ok().map(|found| (found.gid(), found.mode() & 0o7777)));
    };
    let notify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB;
    notify.add_watch(path.parent().unwrap(), changes).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = |wait: Option<Inotify>| {
            let (mut seen, stop) = (Seen::new(), &stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if wait.as_ref().is_none_or(|notify| notify.read_events().is_ok()) {
                        look(&mut seen);
                    }
                }
                seen
            }
        };
        let watchers = [scope.spawn(watch(None)), scope.spawn(watch(Some(notify)))];
        for _ in 0..rounds {
            let _listener = make();
            std::fs::remove_file(path).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        watchers.into_iter().flat_map(|watcher| watcher.join().unwrap()).collect()
    })
}

#[test]
fn its_file_is_never_more_open_than_meant() {
    const NAME: &str = "socket::tests::its_file_is_never_more_open_than_meant";
    // The umask belongs to the whole process, so this needs one of its own.
    if child::role().is_none() {
        return child::run_well(NAME, "umask 0");
    }
    umask(Mode::empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let own = nix::unistd::getegid().as_raw();
    let private = watched(&path, 3000, || make_listener(&path, 0o600, None).unwrap());
    assert_eq!(private, Seen::from([(own, 0o600)]));
    for mode in [0o600, 0o660, 0o666] {
        let seen = watched(&path, 1000, || make_listener(&path, mode, None).unwrap());
        assert!(seen.is_subset(&Seen::from([(own, 0o600), (own, mode)])), "{seen:?}");
        if crate::peer::effective_uid() != 0 {
            eprintln!("SKIPPED: {NAME} (group): needs root");
            continue;
        }
        // Never open to the group that it had first.
        let seen = watched(&path, 1000, || make_listener(&path, mode, Some(GROUP)).unwrap());
        assert!(seen.is_subset(&Seen::from([(own, 0o600), (GROUP, 0o600), (GROUP, mode)])), "{seen:?}");
    }
    // Control: the usual bind, chmod, chown shows what nobody asked for.
    let seen = watched(&path, 3000, || {
        let ordinary = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        ordinary.into()
    });
    assert!(seen.iter().any(|(_, mode)| mode & 0o077 != 0), "{seen:?}");
}

#[test]
fn mode_and_group_are_exact_whatever_the_umask() {
    const NAME: &str = "socket::tests::mode_and_group_are_exact_whatever_the_umask";
    if child::role().is_none() {
        return child::run_well(NAME, "umasks");
    }
    let folder = tempfile::tempdir().unwrap();
    let group = (crate::peer::effective_uid() == 0).then_some(GROUP);
    for (number, mask) in [0, 0o022, 0o077, 0o177, 0o777].into_iter().enumerate() {
        for mode in [0o600, 0o660, 0o666] {
            umask(Mode::from_bits_truncate(mask));
            let path = folder.path().join(format!("{number}-{mode:o}"));
            let _listener = make_listener(&path, mode, group).unwrap();
            let found = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!(found.mode() & 0o7777, mode, "umask {mask:o}");
            assert_eq!(found.gid(), group.unwrap_or_else(|| nix::unistd::getegid().as_raw()));
            UnixStream::connect(&path).unwrap();
        }
    }
}

#[test]
fn a_group_that_cannot_be_given_leaves_the_file_closed() {
    const NAME: &str = "socket::tests::a_group_that_cannot_be_given_leaves_the_file_closed";
    if child::role().is_none() {
        return child::run_well(NAME, "an ordinary user");
    }
    let folder = tempfile::tempdir().unwrap();
    if crate::peer::effective_uid() == 0 {
        std::os::unix::fs::chown(folder.path(), Some(GROUP), Some(GROUP)).unwrap();
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setgid(Gid::from_raw(GROUP)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(GROUP)).unwrap();
    }
    let path = folder.path().join("s");
    let error = make_listener(&path, 0o660, Some(0)).unwrap_err();
    assert!(matches!(error, SocketError::Failed { call: "chown", errno: Errno::EPERM, .. }), "{error}");
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(UnixStream::connect(&path).is_err(), "nobody listens");
}

#[test]
fn it_listens_without_blocking_and_closes_on_exec() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = make_listener(&path, 0o600, None).unwrap();
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
    let error = make_listener(&path, 0o600, None).unwrap_err();
    assert!(matches!(error, SocketError::Failed { call: "bind", errno: Errno::EADDRINUSE, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}

#[test]
fn only_absolute_paths_that_fit() {
    for path in ["", "@agent", "\0agent", "agent.sock", "./s", "/tmp/a\0b"] {
        let error = make_listener(Path::new(path), 0o600, None).unwrap_err();
        assert!(matches!(error, SocketError::NotAFilePath { .. }), "{path:?}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().as_os_str().len() + 1;
    let path = |bytes: usize| folder.path().join("s".repeat(bytes - prefix));
    assert!(make_listener(&path(107), 0o600, None).is_ok());
    assert!(path(107).exists());
    assert!(matches!(
        make_listener(&path(108), 0o600, None),
        Err(SocketError::PathTooLong { bytes: 108, .. })
    ));
    assert_eq!(make_listener(&path(90), 0o4600, None).unwrap_err(), SocketError::BadMode { mode: 0o4600 });
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
    let listener = UnixListener::from(make_listener(&path, 0o600, None).unwrap());
    let client = UnixStream::connect(&path).unwrap();
    let _served = listener.accept().unwrap();
    assert_eq!(send(&client), Err(Errno::EPERM), "accepted connections inherit it");
}

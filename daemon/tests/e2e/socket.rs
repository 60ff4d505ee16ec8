//! The socket in the file system (rows 23 to 26): private from its first moment, taken over only when
//! stale, one daemon for one store and one socket.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt, chown, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use keyagent_common::context::EMPTY;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::support::{
    self, Client, Home, am_root, assert_no_failure, bounded, chmod, client, eventually, finish, make_folder,
    process::Daemon, skipped, snapshot,
};

#[test]
fn the_mode_is_never_another_than_0600() {
    let home = Home::initialized();
    let (done, seen, modes) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Ok(metadata) = fs::symlink_metadata(home.socket()) {
                    seen.fetch_add(1, Ordering::Relaxed);
                    modes.fetch_or(metadata.mode() & 0o7777, Ordering::Relaxed);
                }
            }
        });
        for umask in ["0", "0777"].into_iter().cycle().take(bounded(6, 200)) {
            let script = format!("umask {umask}; exec \"$0\" \"$@\"");
            let daemon = Daemon::start(home.command_through(&["sh", "-c", &script]), &home.socket());
            daemon.terminate();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(seen.load(Ordering::Relaxed) > 100, "the watcher saw nothing");
    assert_eq!(modes.load(Ordering::Relaxed), 0o600);
    assert_eq!(fs::metadata(home.join("run")).unwrap().mode() & 0o7777, 0o700);
    // The watcher can see another mode: the control.
    let open = home.join("run/open.sock");
    let _listener = UnixListener::bind(&open).unwrap();
    assert_ne!(fs::symlink_metadata(open).unwrap().mode() & 0o177, 0);
}

#[test]
fn nothing_else_appears_beside_the_socket_and_every_change_leaves_it_private() {
    let home = Home::initialized();
    make_folder(&home.join("run"), 0o700);
    let notify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVE;
    notify.add_watch(&home.join("run"), changes).unwrap();
    for _ in 0..bounded(3, 50) {
        home.start().terminate();
    }
    let mut names = std::collections::BTreeSet::new();
    while let Ok(events) = notify.read_events() {
        for event in events {
            let name = event.name.unwrap();
            // Bound with its mode: there is no later change of it.
            let attributes = event.mask.contains(AddWatchFlags::IN_ATTRIB);
            assert!(!attributes || name != "agent.sock", "its mode or owner changed");
            names.insert(name);
        }
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["agent.sock", "agent.sock.lock"]);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_stays_served() {
    let home = Home::initialized();
    home.start().kill();
    let stale = fs::symlink_metadata(home.socket()).unwrap().ino();
    let daemon = home.start();
    let live = fs::symlink_metadata(home.socket()).unwrap();
    assert!(live.ino() != stale || live.ctime_nsec() != 0);
    let mut connection = daemon.client();
    // The same store, and another store with the same socket.
    let other = Home::initialized();
    let mut same_socket = other.command();
    same_socket.arg("--socket").arg(home.socket());
    let mut same_socket = std::process::Command::new(support::KEYAGENTD);
    same_socket.env_clear().env("HOME", other.join("user")).arg("--key-file").arg(other.key());
    same_socket.arg("--state-dir").arg(other.state()).arg("--socket").arg(home.socket());
    for mut command in [home.command(), same_socket] {
        let refused = finish(&mut command);
        assert_eq!(refused.code, Some(75), "{refused:?}");
        assert!(refused.stderr.ends_with("code 75 ALREADY_RUNNING\n"), "{}", refused.stderr);
        connection.encrypt(EMPTY, b"still served").unwrap();
        daemon.client().encrypt(EMPTY, b"new connections too").unwrap();
    }
    assert_eq!(fs::symlink_metadata(home.socket()).unwrap().ino(), live.ino());
    daemon.terminate();
}

#[test]
fn a_live_socket_without_its_lock_is_not_taken_over() {
    let (home, other) = (Home::initialized(), Home::initialized());
    let daemon = home.start();
    fs::remove_file(home.join("run/agent.sock.lock")).unwrap();
    let mut command = std::process::Command::new(support::KEYAGENTD);
    command.env_clear().env("HOME", other.join("user")).arg("--key-file").arg(other.key());
    command.arg("--state-dir").arg(other.state()).arg("--socket").arg(home.socket());
    let refused = finish(&mut command);
    assert_eq!(refused.code, Some(75), "{refused:?}");
    daemon.client().encrypt(EMPTY, b"still served").unwrap();
    daemon.terminate();
}

#[test]
fn of_eight_daemons_at_once_one_stays() {
    let home = Home::initialized();
    for _ in 0..bounded(4, 60) {
        let mut daemons: Vec<Daemon> =
            (0..8).map(|_| Daemon::spawn(home.command(), &home.socket())).collect();
        eventually("at most one is left", || {
            daemons.iter_mut().map(|daemon| usize::from(!daemon.has_ended())).sum::<usize>() <= 1
        });
        let (ended, mut left): (Vec<_>, Vec<_>) =
            daemons.into_iter().map(|mut daemon| (daemon.has_ended(), daemon)).partition(|(ended, _)| *ended);
        assert_eq!(left.len(), 1, "nobody is left");
        for (_, daemon) in ended {
            let ended = daemon.wait();
            assert_eq!(ended.code, Some(75), "{ended:?}");
            assert_no_failure(&ended.stderr);
        }
        let (_, mut winner) = left.pop().unwrap();
        winner.wait_until_served();
        winner.client().encrypt(EMPTY, b"served").unwrap();
        winner.terminate();
    }
    support::log::lines(&home);
}

fn refused_and_left_alone(home: &Home, case: &str) {
    let before = snapshot(&home.join("run"));
    let refused = finish(&mut home.command());
    assert!(matches!(refused.code, Some(74 | 77 | 78)), "{case}: {refused:?}");
    assert_no_failure(&refused.stderr);
    let mut after = snapshot(&home.join("run"));
    after.remove(&home.join("run/agent.sock.lock"));
    assert_eq!(after, before, "{case}");
}

type Place<'p> = &'p dyn Fn(&Path);

#[test]
fn whatever_else_stands_at_the_path_is_left_alone() {
    let cases: [(&str, Place<'_>); 4] = [
        ("file", &|path| fs::write(path, "precious").unwrap()),
        ("folder", &|path| make_folder(path, 0o700)),
        ("link to a file", &|path| symlink("/etc/hostname", path).unwrap()),
        ("dangling link", &|path| symlink("elsewhere.sock", path).unwrap()),
    ];
    for (case, place) in cases {
        let home = Home::initialized();
        make_folder(&home.join("run"), 0o700);
        place(&home.socket());
        refused_and_left_alone(&home, case);
    }
    // A link to a socket of mine: neither followed nor removed.
    let home = Home::initialized();
    make_folder(&home.join("run"), 0o700);
    drop(UnixListener::bind(home.join("target.sock")).unwrap());
    symlink(home.join("target.sock"), home.socket()).unwrap();
    refused_and_left_alone(&home, "link to a socket");
    assert!(home.join("target.sock").exists());
    // The lock is no file to be followed either.
    let home = Home::initialized();
    make_folder(&home.join("run"), 0o700);
    symlink("/etc/hostname", home.join("run/agent.sock.lock")).unwrap();
    let refused = finish(&mut home.command());
    assert_eq!(refused.code, Some(74), "{refused:?}");
    if !am_root() {
        return skipped("whatever_else_stands_at_the_path (another user's socket)", "needs root");
    }
    let home = Home::initialized();
    make_folder(&home.join("run"), 0o700);
    drop(UnixListener::bind(home.socket()).unwrap());
    chown(home.socket(), Some(54_321), None).unwrap();
    refused_and_left_alone(&home, "another user's socket");
}

#[test]
fn folders_that_others_can_change_are_refused() {
    for mode in [0o777, 0o1777, 0o770, 0o720, 0o702] {
        let home = Home::initialized();
        make_folder(&home.join("run"), mode);
        refused_and_left_alone(&home, "socket folder");
        let home = Home::initialized();
        chmod(&home.state(), mode);
        assert_eq!(finish(&mut home.command()).code, Some(74), "{mode:o}");
    }
    let home = Home::initialized();
    make_folder(&home.join("elsewhere"), 0o700);
    symlink("elsewhere", home.join("run")).unwrap();
    refused_and_left_alone(&home, "linked socket folder");
}

#[test]
fn a_path_too_long_or_relative_by_name_is_told() {
    let home = Home::initialized();
    let (base, fits) = (home.path().to_str().unwrap().len(), 107);
    for length in [fits, fits + 1, 300] {
        let socket = home.join(&"s".repeat(length - base - 1));
        assert_eq!(socket.to_str().unwrap().len(), length);
        let mut command = std::process::Command::new(support::KEYAGENTD);
        command.env_clear().env("HOME", home.join("user")).arg("--key-file").arg(home.key());
        command.arg("--state-dir").arg(home.state()).arg("--socket").arg(&socket);
        if length == fits {
            Daemon::start(command, &socket).terminate();
        } else {
            let refused = finish(&mut command);
            assert_eq!(refused.code, Some(78), "{refused:?}");
            assert!(refused.stderr.contains(&format!("{length} bytes")), "{}", refused.stderr);
        }
    }
}

#[test]
fn nothing_abstract_listens_and_a_foreign_socket_at_the_end_is_kept() {
    let home = Home::initialized();
    let daemon = home.start();
    let listening = fs::read_to_string("/proc/net/unix").unwrap();
    let ours = listening.lines().filter(|line| line.contains(home.path().to_str().unwrap()));
    assert!(ours.clone().count() > 0 && ours.clone().all(|line| !line.contains('@')));
    // Whatever takes the place of the socket meanwhile is not the daemon's to remove.
    fs::remove_file(home.socket()).unwrap();
    File::create(home.socket()).unwrap();
    daemon.terminate();
    assert!(home.socket().exists());
    fs::remove_file(home.socket()).unwrap();
    assert!(!client::answers(&home.socket()) && Client::connect(&home.socket()).is_err());
}

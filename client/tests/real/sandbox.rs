//! Places that only root can make: a mount of one's own, another user, a machine that is no container.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use nix::unistd::{Gid, Uid, chown};

use super::place::{Place, am_root, client, daemon, files, skipped};

/// What tells a container.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// A user that has no account; neither root nor whoever runs the tests.
pub(crate) const STRANGER: u32 = 4242;

/// Whether mounts can be made that nobody else sees; says so if not.
pub(crate) fn mounts(test: &str) -> bool {
    let able = am_root() && Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success());
    if !able {
        skipped(test, "root and unshare are needed for a mount of its own");
    }
    able
}

/// Whether another user can be played; says so if not.
pub(crate) fn users(test: &str) -> bool {
    if !am_root() {
        skipped(test, "only root can be two users");
    }
    am_root()
}

/// A script that runs where mounts disappear with the last process.
pub(crate) fn unshared(place: &Place, script: &str) -> Command {
    let mut command = place.program("unshare");
    command.args(["-m", "sh", "-euc", script]);
    command
}

/// A script on the same machine without the marks of a container; `None` where that is not possible.
pub(crate) fn outside_container(place: &Place, test: &str, script: &str) -> Option<Command> {
    if !MARKS.iter().any(|mark| Path::new(mark).exists()) {
        let mut command = place.program("sh");
        command.args(["-euc", script]);
        return Some(command);
    }
    if !mounts(test) {
        return None;
    }
    // A root folder with every folder of the real one, but not the files beside them.
    let hide = "cd /; mkdir \"$HOME/root\"; mount --make-rprivate /\n\
                mount -t tmpfs -o mode=755 none \"$HOME/root\"\n\
                for folder in /*; do [ -d \"$folder\" ] && [ ! -L \"$folder\" ] || continue\n\
                mkdir \"$HOME/root$folder\"; mount --rbind \"$folder\" \"$HOME/root$folder\"; done\n\
                for link in /*; do [ -L \"$link\" ] && cp -P \"$link\" \"$HOME/root$link\" || :; done\n\
                exec chroot \"$HOME/root\" sh -euc 'cd \"$HOME/work\"; eval \"$SCRIPT\"'";
    let mut command = unshared(place, hide);
    command.env("SCRIPT", script);
    Some(command)
}

/// Gives a home and copies of both programs to the stranger; the folder of the programs.
pub(crate) fn give_to_stranger(place: &Place) {
    let programs = place.path("bin");
    fs::create_dir(&programs).unwrap();
    for program in [client(), &daemon()] {
        let copy = programs.join(program.file_name().unwrap());
        // A link would do, but the target folder may be closed to others.
        fs::copy(program, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for path in files(place.home()) {
        give(&path);
    }
    for folder in ["", "run", "work", "bin"] {
        give(&place.path(folder));
    }
}

fn give(path: &Path) {
    chown(path, Some(Uid::from_raw(STRANGER)), Some(Gid::from_raw(STRANGER))).unwrap();
}

/// `keyagent` of the stranger.
pub(crate) fn as_stranger(place: &Place, words: &[&str]) -> Command {
    let mut command = place.program(place.path("bin/keyagent"));
    command.args(words).uid(STRANGER).gid(STRANGER);
    command
}

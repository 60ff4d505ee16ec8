//! Attacks on the key file and the folders above it (attack table, rows 16 to 22): everything but a plain,
//! private file in trusted folders is refused with 77 or 78, quickly, without a word of its content.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::mkfifo,
};

use crate::support::{
    self, Finished, Home, am_root, assert_no_failure, bounded, chmod, finish, make_folder, skipped, snapshot,
};

/// Nobody's uid here.
const FOREIGN: u32 = 54_321;

/// A home with a good key, in which one thing is then made wrong.
struct Victim {
    home: Home,
    key: String,
}

impl Victim {
    fn new() -> Self {
        let key = support::random_key();
        let victim = Self { home: Home::with_key(&key), key };
        victim.make_lair();
        victim
    }

    /// A folder that another user fills, with a key in it.
    fn lair(&self) -> PathBuf {
        self.home.join("lair")
    }

    fn make_lair(&self) {
        let folder = self.lair();
        make_folder(&folder, 0o755);
        fs::write(folder.join("key"), support::random_key()).unwrap();
        chmod(&folder.join("key"), 0o600);
        if am_root() {
            chown(folder.join("key"), Some(FOREIGN), None).unwrap();
            chown(&folder, Some(FOREIGN), None).unwrap();
        }
    }

    /// Puts a link in the key's place; the good file lies beside it.
    fn link(&self, target: &Path) {
        fs::rename(self.home.key(), self.home.join("config/real")).unwrap();
        symlink(target, self.home.key()).unwrap();
    }

    fn without_file(&self) -> PathBuf {
        fs::remove_file(self.home.key()).unwrap();
        self.home.key()
    }

    fn start(&self) -> Finished {
        finish(self.home.command().args(["--new-keyring"]))
    }

    /// Refused as documented, with everything left as it was.
    fn must_be_refused(&self, case: &str) {
        let before = snapshot(self.home.path());
        let ended = self.start();
        assert!(matches!(ended.code, Some(77 | 78)), "{case}: {ended:?}");
        assert_no_failure(&ended.stderr);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        for secret in [&self.key, &fs::read_to_string(self.lair().join("key")).unwrap_or_default()] {
            for piece in secret.as_bytes().chunks_exact(8) {
                assert!(!said.contains(std::str::from_utf8(piece).unwrap()), "{case}: {said}");
            }
        }
        assert!(ended.stderr.contains("\n  why ") && ended.stderr.contains("\n  code 7"), "{case}: {said}");
        assert!(fs::symlink_metadata(self.home.socket()).is_err(), "{case}: a socket was left");
        let mut after = snapshot(self.home.path());
        // The state folder and its lock are made before the key is read.
        after.retain(|path, _| !path.starts_with(self.home.state()) || before.contains_key(path));
        assert_eq!(after, before, "{case}");
    }
}

type Spoil<'s> = &'s dyn Fn(&Victim);

fn check(cases: &[(&str, Spoil<'_>)]) {
    for (case, spoil) in cases {
        let victim = Victim::new();
        spoil(&victim);
        victim.must_be_refused(case);
    }
}

#[test]
fn the_good_file_starts() {
    // The control: what the other tests spoil works before.
    for mode in [0o600, 0o400] {
        let victim = Victim::new();
        chmod(&victim.home.key(), mode);
        victim.home.start_with(&["--new-keyring"]).terminate();
    }
}

#[test]
fn every_mode_but_the_owners_own_is_refused() {
    for mode in [0o640, 0o644, 0o604, 0o660, 0o620, 0o610, 0o602, 0o601, 0o777, 0o700, 0o4600, 0o2600, 0o1600]
    {
        let victim = Victim::new();
        chmod(&victim.home.key(), mode);
        victim.must_be_refused(&format!("mode {mode:o}"));
    }
}

#[test]
fn links_are_refused_in_every_component() {
    check(&[
        ("link to the good file", &|v| v.link(&v.home.join("config/real"))),
        ("relative link to the good file", &|v| v.link(Path::new("real"))),
        ("link to another user's file", &|v| v.link(&v.lair().join("key"))),
        ("dangling link", &|v| v.link(Path::new("/nonexistent/key"))),
        ("link to itself", &|v| v.link(Path::new("key"))),
        ("link to a descriptor", &|v| v.link(Path::new("/proc/self/fd/0"))),
        ("second name", &|v| fs::hard_link(v.home.key(), v.home.join("config/second")).unwrap()),
        ("folder is a link", &|v| {
            fs::rename(v.home.join("config"), v.home.join("moved")).unwrap();
            symlink("moved", v.home.join("config")).unwrap();
        }),
    ]);
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    check(&[
        ("absent", &|v| drop(v.without_file())),
        ("folder", &|v| make_folder(&v.without_file(), 0o700)),
        ("pipe", &|v| mkfifo(&v.without_file(), Mode::S_IRUSR | Mode::S_IWUSR).unwrap()),
        ("socket", &|v| drop(UnixListener::bind(v.without_file()).unwrap())),
        ("8 GiB of nothing", &|v| {
            let file = File::create(v.home.key()).unwrap();
            file.set_len(8 << 30).unwrap();
        }),
        ("1 MiB", &|v| fs::write(v.home.key(), vec![b'a'; 1 << 20]).unwrap()),
    ]);
    if !am_root() {
        return skipped("what_is_no_regular_file (devices)", "needs root");
    }
    let device = |v: &Victim, minor| {
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        mknod(&v.without_file(), SFlag::S_IFCHR, mode, makedev(1, minor)).unwrap();
    };
    check(&[("/dev/zero", &|v| device(v, 5)), ("/dev/urandom", &|v| device(v, 9))]);
}

#[test]
fn a_pipe_with_a_writer_that_stalls_is_refused() {
    let victim = Victim::new();
    mkfifo(&victim.without_file(), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    // Read and write: opening does not wait, and the daemon's end sees a writer.
    let _writer = File::options().read(true).write(true).open(victim.home.key()).unwrap();
    victim.must_be_refused("stalled pipe");
}

#[test]
fn folders_that_others_can_change_are_refused() {
    // The state folder lies below the same home and is looked at before the key is. A sticky folder of root
    // will do for it, for the key nothing will.
    for (folder, expected) in [("config", &[77][..]), ("", &[74, 77])] {
        for mode in [0o777, 0o1777, 0o775, 0o770, 0o757, 0o722] {
            let victim = Victim::new();
            chmod(&victim.home.join(folder), mode);
            let ended = victim.start();
            chmod(&victim.home.join(folder), 0o755);
            let code = ended.code.unwrap_or(-1);
            assert!(expected.contains(&code), "{folder:?} {mode:o}: {}", ended.stderr);
            assert!(ended.stderr.contains(&format!("mode {mode:04o}")), "{}", ended.stderr);
        }
    }
    let victim = Victim::new();
    chmod(&victim.home.join("config"), 0o755);
    victim.home.start_with(&["--new-keyring"]).terminate();
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !am_root() {
        return skipped("what_belongs_to_another_user_is_refused", "needs root");
    }
    let give = |path: PathBuf| chown(path, Some(FOREIGN), None).unwrap();
    check(&[
        ("file", &|v| give(v.home.key())),
        ("folder", &|v| give(v.home.join("config"))),
        ("link made by another user", &|v| {
            v.link(&v.home.join("config/real"));
            std::os::unix::fs::lchown(v.home.key(), Some(FOREIGN), None).unwrap();
        }),
    ]);
    // The state folder lies below the same home, and is looked at before the key is.
    let victim = Victim::new();
    give(victim.home.path().to_path_buf());
    let ended = victim.start();
    assert_eq!(ended.code, Some(74), "{}", ended.stderr);
    assert!(ended.stderr.contains("belongs to another user"), "{}", ended.stderr);
    assert!(!victim.home.state().exists());
}

#[test]
fn a_path_that_is_not_plain_is_refused() {
    let victim = Victim::new();
    let long = format!("/{}", "a/".repeat(2500));
    let dotted = victim.home.join("lair/../config/key");
    for path in [dotted.to_str().unwrap(), &long, "/", ""] {
        let mut command = victim.home.command_without_key();
        let ended = finish(command.args(["--new-keyring", "--key-file", path]));
        assert!(matches!(ended.code, Some(64 | 77 | 78)), "{path:.40}: {ended:?}");
        assert_no_failure(&ended.stderr);
    }
    // A name cannot forge a line of the report.
    let mut command = victim.home.command_without_key();
    let ended = finish(command.arg("--key-file").arg(victim.home.join("x\n  code 0 OK\n\x1b[2J")));
    assert_eq!(ended.code, Some(78));
    assert!(!ended.stderr.contains("\n  code 0") && !ended.stderr.contains('\x1b'), "{}", ended.stderr);
}

// nix knows renameat2 with the GNU library only.
#[cfg(target_env = "gnu")]
#[test]
fn a_file_that_is_swapped_all_the_time_never_gives_the_other_key() {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    const NAME: &str = "a_file_that_is_swapped_all_the_time";
    if !am_root() {
        return skipped(NAME, "needs root to make a file of another user");
    }
    let victim = Victim::new();
    let good = print(&victim.key);
    let evil = print(&fs::read_to_string(victim.lair().join("key")).unwrap());
    let beside = victim.home.join("config/beside");
    let variants: [&dyn Fn(); 2] = [&|| symlink(victim.lair().join("key"), &beside).unwrap(), &|| {
        fs::copy(victim.lair().join("key"), &beside).unwrap();
        chown(&beside, Some(FOREIGN), None).unwrap();
    }];
    for variant in variants {
        victim.home.write_key(&victim.key);
        let _ = fs::remove_file(&beside);
        variant();
        let done = AtomicBool::new(false);
        let mut loaded = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let swap = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, &victim.home.key(), AT_FDCWD, &beside, swap).unwrap();
                }
            });
            // On a busy machine the good key may lose for a long time: until it has won once.
            for round in 0..1000 {
                if round >= bounded(40, 1000) && loaded > 0 {
                    break;
                }
                // Without a keyring it says which key it has read, and ends.
                let ended = finish(&mut victim.home.command());
                assert!(matches!(ended.code, Some(77 | 78)), "{ended:?}");
                assert!(!ended.stderr.contains(&evil), "{}", ended.stderr);
                loaded += usize::from(ended.stderr.contains(&good));
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(loaded > 0, "the race was never won by the good key: nothing was tested");
        let good_is_in_place = fs::read_to_string(victim.home.key()).unwrap() == victim.key;
        if !good_is_in_place {
            fs::rename(&beside, victim.home.key()).unwrap();
        }
    }
}

fn print(key: &str) -> String {
    let key = support::unhex(key).try_into().unwrap();
    keyagent_common::fingerprint::short(&keyagent_common::kdf::master_fingerprint(&key))
}

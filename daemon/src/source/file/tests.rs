//! Key files with one thing wrong each, on a real file system.
//!
//! Whom the reader is, is an argument here, so that root can judge files as an ordinary user would; that
//! the kernel itself refuses is left to the black-box tests.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keyagent_common::error::ErrorCode;
use nix::sys::stat::mknod;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff0102030405060708090a0b0c0d0e0f10\n";
const OTHER: u32 = 65_533;

/// `<base>/home/.config/keyagent/key`, everything private.
struct Tree {
    base: TempDir,
    reader: Reader,
}

impl Tree {
    fn new() -> Self {
        let reader = Reader::this_process(Path::new("/")).unwrap();
        let home = std::env::var("HOME").unwrap_or_default();
        let places = [home.as_str(), env!("CARGO_MANIFEST_DIR"), "/var/lib", "/srv"];
        let place = places.into_iter().find(|place| reader.walk(Path::new(place), |_, _| false).is_ok());
        let base =
            TempDir::new_in(place.expect("a folder that nobody else can write to, such as $HOME")).unwrap();
        fs::create_dir_all(base.path().join("home/.config/keyagent")).unwrap();
        for folder in ["", "home", "home/.config", "home/.config/keyagent"] {
            fs::set_permissions(base.path().join(folder), Permissions::from_mode(0o755)).unwrap();
        }
        let tree = Self { base, reader };
        tree.put(&tree.key(), KEY);
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.base.path().join(path)
    }

    fn key(&self) -> PathBuf {
        self.at("home/.config/keyagent/key")
    }

    fn put(&self, path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        self.mode(path, 0o600);
    }

    #[expect(clippy::unused_self, reason = "reads like the other steps")]
    fn mode(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn read_with(&self, path: &Path, rules: &FileRules) -> Result<usize, KeyFileError> {
        let mut out = [0xEE; 128];
        let result = self.reader.read_key_text(path, rules, &mut out);
        match &result {
            Ok(bytes) => {
                assert_eq!(out[..*bytes], KEY.as_bytes()[..*bytes]);
                assert!(out[*bytes..].iter().all(|byte| *byte == 0xEE));
            }
            Err(error) => {
                assert_eq!(out, [0; 128], "wiped on error");
                let fix = error.fix().unwrap_or_default();
                let text = format!(
                    "{error} {error:?} {} {} {} {fix}",
                    error.what(),
                    error.why(),
                    error.facts()[0].1
                );
                assert!(!text.contains("00112233"), "{text}");
            }
        }
        result
    }

    fn read(&self) -> Result<usize, KeyFileError> {
        self.read_with(&self.key(), &FileRules::Private)
    }

    fn refusal(&self) -> Kind {
        self.read().unwrap_err().kind
    }
}

fn root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can give files to other users");
    }
    root
}

#[test]
fn a_private_file_is_read() {
    let tree = Tree::new();
    assert_eq!(tree.read().unwrap(), KEY.len());
    tree.mode(&tree.key(), 0o400);
    assert_eq!(tree.read().unwrap(), KEY.len());
    let doubled = tree.key().to_str().unwrap().replace('/', "//");
    assert_eq!(tree.read_with(Path::new(&doubled), &FileRules::Private).unwrap(), KEY.len());
    tree.mode(&tree.key(), 0o600);
    tree.put(&tree.key(), "");
    assert_eq!(tree.read().unwrap(), 0);
}

#[test]
fn every_other_mode_is_refused() {
    let tree = Tree::new();
    for mode in 0..0o10000 {
        tree.mode(&tree.key(), mode);
        let expected = mode & 0o7177 == 0;
        // Without any right of its own an ordinary user cannot even open the file; root can.
        let readable = geteuid().is_root() || mode & 0o400 != 0;
        match tree.read() {
            Ok(_) => assert!(expected, "{mode:o}"),
            Err(error) => assert!(!expected || !readable, "{mode:o}: {error}"),
        }
    }
}

#[test]
fn the_error_says_what_why_and_how() {
    let tree = Tree::new();
    tree.mode(&tree.key(), 0o644);
    let error = tree.read().unwrap_err();
    assert_eq!(error.what(), "key file is readable by others");
    let me = nix::unistd::User::from_uid(geteuid()).unwrap().unwrap().name;
    let fact = format!("{}   mode 0644, owner {me}", tree.key().display());
    assert_eq!(error.facts(), [("file", fact)]);
    let why = "any local user could copy the master key; treat it as exposed if this machine is shared";
    assert_eq!(error.why(), why);
    let fix = error.fix().unwrap();
    assert!(fix.starts_with("chmod 600 ") && fix.ends_with("/home/.config/keyagent/key"), "{fix}");
    assert_eq!((error.code(), error.missing()), (ErrorCode::KeyPermissions, false));
    assert!(Command::new("sh").args(["-c", &fix]).status().unwrap().success());
    assert_eq!(tree.read().unwrap(), KEY.len(), "the fix fixes it");
    tree.mode(&tree.key(), 0o620);
    assert_eq!(tree.read().unwrap_err().what(), "key file is writable by others");
    tree.mode(&tree.key(), 0o4700);
    assert_eq!(tree.read().unwrap_err().what(), "key file has more permission bits than a key file needs");
}

#[test]
fn only_what_does_not_exist_is_missing() {
    let tree = Tree::new();
    for path in ["home/.config/keyagent/absent", "home/absent/keyagent/key"] {
        let error = tree.read_with(&tree.at(path), &FileRules::Private).unwrap_err();
        assert!(error.missing(), "{error}");
        assert_eq!(error.fix().as_deref(), Some("keyagent init"));
    }
    symlink("/nonexistent/x", tree.at("home/dangling")).unwrap();
    let below_a_file = tree.key().join("x");
    let long = tree.at(&"k".repeat(5000));
    for path in
        [tree.at("home/dangling"), below_a_file, long, "key".into(), "/".into(), tree.at("home/../home/k")]
    {
        let error = tree.read_with(&path, &FileRules::Private).unwrap_err();
        assert!(!error.missing(), "{error}");
    }
}

#[test]
fn links_are_refused_in_every_component() {
    let tree = Tree::new();
    let real = tree.at("home/.config/keyagent/real");
    fs::rename(tree.key(), &real).unwrap();
    for target in ["real", real.to_str().unwrap(), "key", "/proc/self/fd/0"] {
        symlink(target, tree.key()).unwrap();
        assert_eq!(tree.refusal(), Kind::Link, "{target}");
        fs::remove_file(tree.key()).unwrap();
    }
    fs::rename(&real, tree.key()).unwrap();
    for folder in ["home/.config/keyagent", "home/.config", "home"] {
        let moved = tree.at("moved");
        fs::rename(tree.at(folder), &moved).unwrap();
        symlink(&moved, tree.at(folder)).unwrap();
        let error = tree.read().unwrap_err();
        assert_eq!((&error.kind, &error.path), (&Kind::Link, &tree.at(folder)));
        fs::remove_file(tree.at(folder)).unwrap();
        fs::rename(&moved, tree.at(folder)).unwrap();
    }
    assert!(tree.read().is_ok());
}

#[test]
fn hard_links_are_refused() {
    let tree = Tree::new();
    fs::hard_link(tree.key(), tree.at("copy")).unwrap();
    assert_eq!(tree.refusal(), Kind::HardLinks { count: 2 });
}

#[test]
fn only_regular_files_and_without_waiting() {
    let tree = Tree::new();
    let started = Instant::now();
    fs::remove_file(tree.key()).unwrap();
    mkfifo(&tree.key(), Mode::from_bits_truncate(0o600)).unwrap();
    assert_eq!(tree.refusal(), Kind::NotAFile { what: "a pipe" });
    let writer = File::options().read(true).write(true).open(tree.key()).unwrap();
    assert_eq!(tree.refusal(), Kind::NotAFile { what: "a pipe" });
    drop(writer);
    fs::remove_file(tree.key()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.key()).unwrap();
    assert!(matches!(tree.refusal(), Kind::NotAFile { .. }));
    fs::remove_file(tree.key()).unwrap();
    fs::create_dir(tree.key()).unwrap();
    assert_eq!(tree.refusal(), Kind::NotAFile { what: "a folder" });
    fs::remove_dir(tree.key()).unwrap();
    if root() {
        let zero = nix::sys::stat::makedev(1, 5);
        mknod(&tree.key(), SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), zero).unwrap();
        assert!(matches!(tree.refusal(), Kind::NotAFile { .. }));
    }
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_long_file_is_refused_unread() {
    let tree = Tree::new();
    let file = File::options().write(true).open(tree.key()).unwrap();
    for size in [129, 1 << 20, 8 << 30] {
        file.set_len(size).unwrap();
        assert_eq!(tree.refusal(), Kind::TooLong { size, room: 128 });
    }
    fs::write(tree.key(), KEY.repeat(2)).unwrap();
    file.set_len(128).unwrap();
    let mut out = [0; 128];
    assert_eq!(tree.reader.read_key_text(&tree.key(), &FileRules::Private, &mut out).unwrap(), 128);
}

#[test]
fn a_file_that_changes_is_refused() {
    let tree = Tree::new();
    let (file, before) = tree.reader.open_private(&tree.key()).unwrap();
    File::options().write(true).open(tree.key()).unwrap().set_len(70).unwrap();
    let error = read_unchanged(&tree.key(), &file, &before, &mut [0; 128]).unwrap_err();
    assert_eq!(error.kind, Kind::Changed);
    let (file, before) = tree.reader.open_private(&tree.key()).unwrap();
    File::options().write(true).open(tree.key()).unwrap().set_len(3).unwrap();
    let error = read_unchanged(&tree.key(), &file, &before, &mut [0; 128]).unwrap_err();
    assert_eq!(error.kind, Kind::Changed);
}

#[test]
fn writable_folders_are_refused_whatever_the_sticky_bit() {
    let tree = Tree::new();
    for folder in ["home/.config/keyagent", "home/.config", "home", ""] {
        for mode in [0o777, 0o1777, 0o775, 0o770, 0o757, 0o702, 0o720] {
            tree.mode(&tree.at(folder), mode);
            let error = tree.read().unwrap_err();
            let owner = geteuid().as_raw();
            assert_eq!(error.kind, Kind::WritableFolder { mode, owner }, "{folder} {mode:o}");
            assert_eq!(error.fix().is_some(), mode & 0o1000 == 0);
        }
        for mode in [0o755, 0o750, 0o700, 0o711] {
            tree.mode(&tree.at(folder), mode);
            assert!(tree.read().is_ok(), "{folder} {mode:o}");
        }
    }
}

#[test]
fn other_owners_are_refused() {
    if !root() {
        return;
    }
    let mut tree = Tree::new();
    let error = |tree: &Tree| tree.read().unwrap_err().kind;
    for folder in ["home/.config/keyagent", "home/.config", "home"] {
        chown(tree.at(folder), Some(OTHER), None).unwrap();
        assert_eq!(error(&tree), Kind::ForeignFolder { owner: OTHER });
        chown(tree.at(folder), Some(0), None).unwrap();
    }
    chown(tree.key(), Some(OTHER), None).unwrap();
    assert_eq!(error(&tree), Kind::ForeignFile { mode: 0o600, owner: OTHER });
    // Its owner may use it, also where some of the folders are root's.
    tree.reader = Reader { uid: OTHER, groups: vec![OTHER] };
    assert!(tree.read().is_ok());
    chown(tree.at("home"), Some(OTHER), None).unwrap();
    assert!(tree.read().is_ok());
    chown(tree.key(), Some(0), Some(OTHER)).unwrap();
    assert!(tree.read().is_ok(), "root's file is right");
    tree.mode(&tree.key(), 0o640);
    assert!(
        matches!(error(&tree), Kind::Mode { mode: 0o640, owner: 0, managed: false }),
        "but not by its group"
    );
}

#[test]
fn a_swapped_file_is_never_the_evil_one() {
    let tree = Tree::new();
    tree.put(&tree.at("evil"), "evil");
    let swap = tree.at("home/.config/keyagent/swap");
    symlink(tree.at("evil"), &swap).unwrap();
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            for _ in 0..20_000 {
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &tree.key(), nix::fcntl::AT_FDCWD, &swap, flags)
                    .unwrap();
            }
        });
        let (mut read, mut refused) = (0, 0);
        while !swapper.is_finished() {
            match tree.read() {
                Ok(bytes) => {
                    assert_eq!(bytes, KEY.len());
                    read += 1;
                }
                Err(error) => {
                    assert!(matches!(error.kind, Kind::Link | Kind::Changed), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(read > 0 && refused > 0, "the race must have been tried: {read} read, {refused} refused");
    });
}

/// The layout that Kubernetes makes: `key -> ..data/key`, `..data -> ..2026`.
fn credential_tree() -> (Tree, FileRules, PathBuf) {
    let tree = Tree::new();
    let folder = tree.at("credentials");
    fs::create_dir_all(folder.join("..2026")).unwrap();
    tree.mode(&folder, 0o755);
    tree.put(&folder.join("..2026/key"), KEY);
    symlink("..2026", folder.join("..data")).unwrap();
    symlink("..data/key", folder.join("key")).unwrap();
    let key = folder.join("key");
    (tree, FileRules::CredentialFolder { folder }, key)
}

#[test]
fn credentials_may_be_links_beneath_their_folder() {
    let (tree, rules, key) = credential_tree();
    assert_eq!(tree.read_with(&key, &rules).unwrap(), KEY.len());
    assert_eq!(tree.read_with(&key, &FileRules::Private).unwrap_err().kind, Kind::Link);
    for target in [tree.key(), PathBuf::from("../home/.config/keyagent/key"), "/proc/self/fd/0".into()] {
        fs::remove_file(&key).unwrap();
        symlink(&target, &key).unwrap();
        let error = tree.read_with(&key, &rules).unwrap_err();
        assert!(matches!(error.kind, Kind::OutsideFolder { .. }), "{target:?}: {error:?}");
        assert!(!error.missing());
    }
    fs::remove_file(&key).unwrap();
    symlink("..data/gone", &key).unwrap();
    assert!(!tree.read_with(&key, &rules).unwrap_err().missing(), "a dangling link is there");
    let missing = tree.read_with(&key.with_file_name("absent"), &rules).unwrap_err();
    assert!(missing.missing());
    for path in [tree.key(), tree.at("credentials"), tree.at("credentials/../home/.config/keyagent/key")] {
        let error = tree.read_with(&path, &rules).unwrap_err();
        assert!(matches!(error.kind, Kind::OutsideFolder { .. }), "{path:?}: {error:?}");
    }
}

#[test]
fn credentials_may_be_read_by_my_group_or_an_access_list_only() {
    let (mut tree, rules, key) = credential_tree();
    let file = tree.at("credentials/..2026/key");
    for (mode, good) in
        [(0o440, true), (0o640, true), (0o400, true), (0o660, false), (0o444, false), (0o450, false)]
    {
        tree.mode(&file, mode);
        assert_eq!(tree.read_with(&key, &rules).is_ok(), good, "{mode:o}");
    }
    if !root() {
        return;
    }
    tree.mode(&file, 0o440);
    tree.reader = Reader { uid: OTHER, groups: vec![OTHER] };
    let error = tree.read_with(&key, &rules).unwrap_err();
    assert_eq!(error.kind, Kind::Mode { mode: 0o440, owner: 0, managed: true });
    assert_eq!((error.what().as_str(), error.fix()), ("key file is readable by others", None));
    chown(&file, Some(0), Some(OTHER)).unwrap();
    assert!(tree.read_with(&key, &rules).is_ok(), "my own group");
    chown(&file, Some(0), Some(0)).unwrap();
    let list = Command::new("setfacl").args(["-m", "u:65533:r"]).arg(&file).stderr(Stdio::null()).status();
    if list.is_ok_and(|status| status.success()) {
        assert!(tree.read_with(&key, &rules).is_ok(), "as systemd does it: 0440 by an access list");
        tree.put(&tree.key(), KEY);
        assert!(
            Command::new("setfacl").args(["-m", "u:65533:r"]).arg(tree.key()).status().unwrap().success()
        );
        assert!(matches!(tree.refusal(), Kind::Mode { managed: false, .. }));
    } else {
        eprintln!("SKIPPED: no setfacl here, access lists were not tried");
    }
}

#[test]
fn a_writable_credential_folder_is_refused() {
    let (tree, rules, key) = credential_tree();
    tree.mode(&tree.at("credentials"), 0o1777);
    let error = tree.read_with(&key, &rules).unwrap_err();
    assert!(matches!(error.kind, Kind::WritableFolder { mode: 0o1777, .. }));
}

#[test]
fn names_that_forge_lines_are_escaped() {
    let tree = Tree::new();
    let error = tree.read_with(&tree.at("home/'\n'\u{1b}[31m"), &FileRules::Private).unwrap_err();
    assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error}");
    let spaced = tree.at("home/it's mine");
    tree.put(&spaced, KEY);
    tree.mode(&spaced, 0o604);
    let fix = tree.read_with(&spaced, &FileRules::Private).unwrap_err().fix().unwrap();
    assert!(Command::new("sh").args(["-c", &fix]).status().unwrap().success());
    assert!(tree.read_with(&spaced, &FileRules::Private).is_ok());
}

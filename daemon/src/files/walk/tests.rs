use std::{
    fs::{self, Permissions, create_dir, create_dir_all},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use nix::unistd::{Uid, chown, geteuid};
use tempfile::TempDir;

use super::*;

/// A folder of mine to which every way is safe.
fn safe() -> (TempDir, u32) {
    let me = geteuid().as_raw();
    let home = std::env::var("HOME").unwrap_or_default();
    let places = [home.as_str(), env!("CARGO_MANIFEST_DIR"), "/var/lib"];
    let place = places.into_iter().find(|place| check(Path::new(place), me).is_ok_and(|whole| whole));
    let folder = TempDir::new_in(place.expect("a folder that nobody else can write to, such as $HOME"));
    (folder.unwrap(), me)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn refused(path: &Path, at: &Path, me: u32) -> String {
    let error = check(path, me).unwrap_err();
    assert_eq!(error.path, at);
    error.to_string()
}

#[test]
fn a_folder_below_one_that_others_write_to_is_refused() {
    let (base, me) = safe();
    let (above, state) = (base.path().join("above"), base.path().join("above/a/state"));
    create_dir_all(&state).unwrap();
    assert!(check(&state, me).unwrap());
    for mode in [0o777, 0o775, 0o757] {
        chmod(&above, mode);
        assert!(refused(&state, &above, me).contains("others may write to it"));
    }
    chmod(&above, 0o755);
    chmod(&state, 0o770);
    assert!(refused(&state, &state, me).contains("others may write to it (mode 0770)"));
}

#[test]
fn folders_of_others_links_and_files_are_refused_wherever_they_stand() {
    let (base, me) = safe();
    let (real, link) = (base.path().join("real"), base.path().join("link"));
    create_dir_all(real.join("state")).unwrap();
    symlink(&real, &link).unwrap();
    assert!(refused(&link.join("state"), &link, me).contains("symbolic link"));
    assert!(refused(&link, &link, me).contains("symbolic link"));
    fs::write(base.path().join("file"), "").unwrap();
    let file = base.path().join("file");
    assert!(refused(&file.join("state"), &file, me).contains("no folder"));
    assert!(refused(Path::new("state"), Path::new("state"), me).contains("not absolute"));
    if me == 0 {
        chown(&real, Some(Uid::from_raw(4242)), None).unwrap();
        assert!(refused(&real.join("state"), &real, me).contains("another user (uid 4242)"));
    }
}

#[test]
fn what_is_missing_is_told_and_what_is_above_it_checked() {
    let (base, me) = safe();
    let above = base.path().join("above");
    create_dir(&above).unwrap();
    assert!(!check(&above.join("none/state"), me).unwrap());
    assert!(check(&above.join("../above"), me).unwrap());
    chmod(&above, 0o777);
    assert!(check(&above.join("none/state"), me).is_err());
    assert!(super::super::make_private_folder(&above.join("none/state")).is_err());
    assert!(!above.join("none").exists(), "a folder was made in an unsafe place");
}

/// Only root can make a folder as `/tmp` is; for everybody else `/tmp` itself is judged.
#[test]
fn in_a_folder_for_everybody_only_one_of_mine_will_do() {
    let shared = fs::metadata("/tmp").map(|found| (found.uid(), found.mode() & 0o7777));
    if shared.ok() != Some((0, 0o1777)) {
        eprintln!("SKIPPED: /tmp is no folder for everybody");
        return;
    }
    let me = geteuid().as_raw();
    let folder = TempDir::new_in("/tmp").unwrap();
    let state = folder.path().join("state");
    create_dir(&state).unwrap();
    assert!(check(folder.path(), me).unwrap() && check(&state, me).unwrap());
    for mode in [0o702, 0o720, 0o1777] {
        chmod(folder.path(), mode);
        if mode != 0o1777 || me != 0 {
            assert!(refused(&state, folder.path(), me).contains("others may write"));
        }
    }
    chmod(folder.path(), 0o700);
    assert!(refused(Path::new("/tmp"), Path::new("/tmp"), me).contains("others may write"));
    let out = folder.path().join("..");
    assert!(refused(&out, &out, me).contains("others may write"));
    if me == 0 {
        // What root made there is not good enough for another user, and what another made not for root.
        assert!(refused(&state, folder.path(), 4242).contains("must be your own (uid 0)"));
        chown(folder.path(), Some(Uid::from_raw(4242)), None).unwrap();
        assert!(refused(&state, folder.path(), 0).contains("another user"));
        assert!(check(folder.path(), 4242).unwrap());
    }
}

//! Sockets as they stand in the file system: modes, groups, folders, all or none.

use std::{fs, os::unix::net::UnixStream};

use super::*;

/// Nobody is in this group.
const GROUP: u32 = 54_322;

/// A folder whose parents nobody else can write to.
fn folder() -> tempfile::TempDir {
    if peer::effective_uid() == 0 {
        return tempfile::tempdir_in("/var/lib").unwrap();
    }
    let cache = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    fs::create_dir_all(&cache).unwrap();
    tempfile::tempdir_in(cache).unwrap()
}

fn spec(name: &str, path: &Path, mode: u32) -> ListenSpec {
    ListenSpec { name: name.into(), path: path.to_path_buf(), mode, gid: None }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn every_socket_has_its_mode_and_group() {
    let base = folder();
    let run = base.path().join("run");
    let path = |name: &str| run.join(name);
    let root = peer::effective_uid() == 0;
    let mut specs = vec![
        spec("own", &path("own"), 0o600),
        spec("team", &path("team"), 0o660),
        spec("all", &path("all"), 0o666),
    ];
    specs[1].gid = root.then_some(GROUP);
    let (bound, doors) = Endpoints::bind(&specs).unwrap();
    assert_eq!(doors.iter().map(|door| &*door.name).collect::<Vec<_>>(), ["own", "team", "all"]);
    // The first one made the folder already so that callers of the others get through.
    assert_eq!(mode(&run), 0o755);
    for spec in &specs {
        assert_eq!(mode(&spec.path), spec.mode);
        assert_eq!(mode(&spec.path.with_file_name(format!("{}.lock", spec.name))), 0o600);
        UnixStream::connect(&spec.path).unwrap();
    }
    if root {
        assert_eq!(fs::symlink_metadata(path("team")).unwrap().gid(), GROUP);
    }
    // Each is guarded on its own.
    let second = Endpoints::bind(&[spec("other", &path("all"), 0o600)]).err().unwrap();
    assert_eq!(second.code, ErrorCode::AlreadyRunning);
    bound.remove();
    assert!(specs.iter().all(|spec| fs::symlink_metadata(&spec.path).is_err()));
}

#[test]
fn a_folder_is_private_unless_others_are_to_pass() {
    let base = folder();
    let run = base.path().join("run");
    let (bound, _doors) = Endpoints::bind(&[spec("own", &run.join("own"), 0o600)]).unwrap();
    assert_eq!(mode(&run), 0o700);
    bound.remove();
    // What exists is the operator's.
    let (bound, _doors) = Endpoints::bind(&[spec("all", &run.join("all"), 0o666)]).unwrap();
    assert_eq!(mode(&run), 0o700);
    bound.remove();
    for (unsafe_mode, socket) in [(0o775, 0o666), (0o757, 0o666), (0o1777, 0o666), (0o770, 0o660)] {
        fs::set_permissions(&run, Permissions::from_mode(unsafe_mode)).unwrap();
        let refused = Endpoints::bind(&[spec("all", &run.join("all"), socket)]).err().unwrap();
        assert_eq!(refused.code, ErrorCode::StoreFailed, "{unsafe_mode:o}");
    }
}

#[test]
fn all_or_none() {
    let base = folder();
    let (first, taken) = (base.path().join("first"), base.path().join("taken"));
    fs::write(&taken, "precious").unwrap();
    let specs = [spec("a", &first, 0o600), spec("b", &taken, 0o600)];
    assert_eq!(Endpoints::bind(&specs).err().unwrap().code, ErrorCode::Configuration);
    assert!(fs::symlink_metadata(&first).is_err());
    assert_eq!(fs::read_to_string(&taken).unwrap(), "precious");
}

#[test]
fn doors_that_could_be_mistaken_are_refused() {
    let base = folder();
    let (one, two) = (base.path().join("one"), base.path().join("two"));
    for specs in [
        vec![],
        vec![spec("a", &one, 0o600), spec("a", &two, 0o600)],
        vec![spec("a", &one, 0o600), spec("b", &one, 0o600)],
        vec![spec("a", &one, 0o606)],
        vec![spec("a", &one, 0o777)],
        vec![spec("a", &one, 0)],
        vec![spec("a", Path::new("@abstract"), 0o600)],
    ] {
        assert_eq!(Endpoints::bind(&specs).err().unwrap().code, ErrorCode::Configuration, "{specs:?}");
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0, "{specs:?}");
    }
}

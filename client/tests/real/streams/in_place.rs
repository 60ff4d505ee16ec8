//! `--in-place`: a file becomes its other form, whole or not at all.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::Stdio,
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, kill};

use super::super::{
    place::{Done, Place, am_root, chmod, noise, run, skipped},
    sandbox::{STRANGER, mounts, unshared},
};

fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("work")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn files_become_sealed_and_opened_with_their_permissions() {
    let place = Place::started();
    let contents = [("small", noise(100), 0o600), ("large", noise(3 << 20), 0o640), ("empty", vec![], 0o444)];
    for (name, content, mode) in &contents {
        fs::write(place.work(name), content).unwrap();
        chmod(&place.work(name), *mode);
    }
    let done = place.run(&["encrypt", "--in-place", "small", "large", "empty"], b"").expect(0);
    assert_eq!(done.stderr, "keyagent: small -> small\nkeyagent: large -> large\nkeyagent: empty -> empty\n");
    for (name, content, mode) in &contents {
        let sealed = fs::read(place.work(name)).unwrap();
        assert!(sealed.len() > content.len() + 72 && (sealed[0] == 1 || sealed.starts_with(b"keyagent")));
        assert_eq!(fs::metadata(place.work(name)).unwrap().permissions().mode() & 0o7777, *mode, "{name}");
    }
    place.run(&["decrypt", "--in-place", "small", "large", "empty"], b"").expect(0);
    for (name, content, mode) in &contents {
        assert!(fs::read(place.work(name)).unwrap() == *content, "{name}");
        assert_eq!(fs::metadata(place.work(name)).unwrap().permissions().mode() & 0o7777, *mode, "{name}");
    }
    assert_eq!(names(&place), ["empty", "large", "small"]);
}

#[test]
fn the_owner_stays() {
    if !am_root() {
        return skipped("the_owner_stays", "only root gives files away");
    }
    let place = Place::started();
    fs::write(place.work("file"), "content").unwrap();
    std::os::unix::fs::chown(place.work("file"), Some(STRANGER), Some(STRANGER + 1)).unwrap();
    for verb in ["encrypt", "decrypt"] {
        place.run(&[verb, "--in-place", "file"], b"").expect(0);
        let now = fs::metadata(place.work("file")).unwrap();
        assert_eq!((now.uid(), now.gid()), (STRANGER, STRANGER + 1), "{verb}");
    }
}

#[test]
fn what_does_not_open_stays_as_it_is() {
    let place = Place::started();
    let sealed = place.run(&["encrypt"], &noise(2 << 20)).expect(0).stdout;
    for cut in [sealed.len() - 1, sealed.len() / 2, 300] {
        fs::write(place.work("file"), &sealed[..cut]).unwrap();
        let number = fs::metadata(place.work("file")).unwrap().ino();
        place.run(&["decrypt", "--in-place", "file"], b"").refused(65, "DOES_NOT_OPEN");
        assert!(fs::read(place.work("file")).unwrap() == sealed[..cut]);
        assert_eq!(fs::metadata(place.work("file")).unwrap().ino(), number);
        assert_eq!(names(&place), ["file"]);
    }
}

#[test]
fn what_would_leave_the_old_content_somewhere_is_refused() {
    let place = Place::started();
    fs::write(place.work("file"), "content").unwrap();
    symlink("file", place.work("link")).unwrap();
    fs::write(place.work("twice"), "content").unwrap();
    fs::hard_link(place.work("twice"), place.work("again")).unwrap();
    let refused = |words: &[&str], code, name| {
        place.run(&[&["encrypt", "--in-place"], words].concat(), b"x").refused(code, name);
    };
    refused(&["link"], 73, "CANNOT_CREATE");
    refused(&["twice"], 73, "CANNOT_CREATE");
    // Nothing is done when one of several cannot be done.
    refused(&["file", "twice"], 73, "CANNOT_CREATE");
    refused(&["file", "missing.pem"], 66, "INPUT_MISSING");
    refused(&["."], 73, "CANNOT_CREATE");
    refused(&[], 64, "USAGE");
    refused(&["-"], 64, "USAGE");
    for words in [&["-o", "other"][..], &["--force"]] {
        place.run(&[&["encrypt", "--in-place", "file"], words].concat(), b"").expect(64);
    }
    assert_eq!(fs::read(place.work("file")).unwrap(), b"content");
    assert_eq!(names(&place), ["again", "file", "link", "twice"]);
}

#[test]
fn what_somebody_wrote_meanwhile_is_not_lost() {
    let place = Place::started();
    for change in ["longer", "replaced"] {
        fs::write(place.work("file"), noise(2 << 20)).unwrap();
        // The agent stands still, so that the client waits with the file open.
        kill(place.pid(), Signal::SIGSTOP).unwrap();
        let agent = place.pid();
        let mut command = place.keyagent(&["encrypt", "--in-place", "--timeout", "60s", "file"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(300));
        if change == "longer" {
            fs::write(place.work("file"), "new content").unwrap();
        } else {
            fs::write(place.work("other"), "new content").unwrap();
            fs::rename(place.work("other"), place.work("file")).unwrap();
        }
        kill(agent, Signal::SIGCONT).unwrap();
        let done: Done = child.wait_with_output().unwrap().into();
        assert!(done.stderr.contains("was changed while it was read"), "{change}: {}", done.stderr);
        done.refused(74, "INPUT_OUTPUT");
        assert_eq!(fs::read(place.work("file")).unwrap(), b"new content", "{change}");
        assert_eq!(names(&place), ["file"], "{change}");
    }
}

#[test]
fn a_disk_that_is_full_half_way_leaves_the_old_file() {
    if !mounts("a_disk_that_is_full_half_way_leaves_the_old_file") {
        return;
    }
    let place = Place::started();
    fs::write(place.work("plain"), noise(3 << 20)).unwrap();
    let script = "mkdir small; mount -t tmpfs -o size=5m none small; cp plain small/file\n\
                  code=0; keyagent encrypt --in-place small/file || code=$?; echo $code\n\
                  cmp plain small/file; ls -A small";
    let done = run(unshared(&place, script), b"");
    assert_eq!(done.text(), "74\nfile\n", "{}", done.stderr);
    assert!(done.stderr.contains("No space left on device"), "{}", done.stderr);
}

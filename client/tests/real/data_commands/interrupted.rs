//! A large file that is moved in place by a process that is killed before each of its system calls.

use std::{fs, path::Path, process::Command};

use super::super::place::{Done, Place, long_campaign, noise, run, skipped};

/// What reads or changes a file or a folder.
const CALLS: [&str; 10] =
    ["openat", "statx", "flock", "pread64", "write", "fsync", "pwrite64", "fdatasync", "unlink", "close"];

/// `keyagent rewrap --in-place file`, killed before the `when`th time that it makes this call.
fn killed(place: &Place, call: &str, when: usize) -> Done {
    let mut command = place.program("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={when}")]);
    command.arg(super::super::place::client()).args(["rewrap", "--in-place"]).arg(place.work("file"));
    run(command, b"")
}

fn opens(place: &Place, plain: &[u8], when: usize) {
    let done = place.run(&["decrypt", "file"], b"");
    assert!(done.code == 0 && done.stdout == plain, "killed before call {when}: {}", done.stderr);
}

#[test]
fn a_file_opens_wherever_its_rewrap_was_killed() {
    let test = "a_file_opens_wherever_its_rewrap_was_killed";
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skipped(test, "strace is needed");
    }
    let place = Place::started();
    let plain = noise(if long_campaign() { 20 << 20 } else { (1 << 20) + 1 });
    let sealed = place.run(&["encrypt"], &plain).expect(0).stdout;
    place.run(&["keys", "rotate", "default"], b"").expect(0);
    let (mut kills, mut with_journal, mut moved) = (0, 0, 0);
    for call in CALLS {
        for when in 1.. {
            fs::write(place.work("file"), &sealed).unwrap();
            if killed(&place, call, when).code == 0 {
                break;
            }
            kills += 1;
            with_journal += usize::from(place.work("file.rewrap").exists());
            moved += usize::from(fs::read(place.work("file")).unwrap()[16..121] != sealed[16..121]);
            opens(&place, &plain, when);
            // The next run finishes what was begun.
            place.run(&["rewrap", "--in-place", "file"], b"").expect(0);
            assert!(fs::read(place.work("file")).unwrap()[16..121] != sealed[16..121], "{call} {when}");
            opens(&place, &plain, when);
            assert!(!place.work("file.rewrap").exists(), "{call} {when}");
        }
    }
    assert!(
        kills >= 20 && with_journal >= 4 && moved >= 2,
        "{kills} kills, {with_journal} journals, {moved} moved"
    );
}

#[test]
fn a_torn_write_is_named_by_decrypt_and_repaired_by_rewrap() {
    let place = Place::started();
    let plain = noise(2 << 20);
    let old = place.run(&["encrypt", "-o", "file"], &plain).map_file(&place.work("file"));
    place.run(&["keys", "rotate", "default"], b"").expect(0);
    place.run(&["rewrap", "--in-place", "file"], b"").expect(0);
    let new = fs::read(place.work("file")).unwrap();
    for torn in [20, 50, 120] {
        let mut bytes = old.clone();
        bytes[16..torn].copy_from_slice(&new[16..torn]);
        fs::write(place.work("file"), &bytes).unwrap();
        let mark = b"keyagent/rewrap\x01";
        let journal = [&mark[..], &old[121..177], &old[16..121], &new[16..121], &mark[..]].concat();
        fs::write(place.work("file.rewrap"), journal).unwrap();
        let done = place.run(&["decrypt", "file"], b"");
        assert!(
            done.stdout.is_empty() && done.stderr.contains("keyagent rewrap --in-place"),
            "{torn}: {}",
            done.stderr
        );
        let done = place.run(&["rewrap", "--in-place", "file"], b"").expect(0);
        assert!(done.stderr.contains("repaired after an interrupted rewrap"), "{}", done.stderr);
        opens(&place, &plain, torn);
    }
    // A file of that name that is something else stops everything.
    fs::write(place.work("file.rewrap"), noise(5000)).unwrap();
    place.run(&["rewrap", "--in-place", "file"], b"").refused(73, "CANNOT_CREATE");
    opens(&place, &plain, 0);
}

impl Done {
    fn map_file(self, path: &Path) -> Vec<u8> {
        self.expect(0);
        fs::read(path).unwrap()
    }
}

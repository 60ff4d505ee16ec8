//! State folders that cannot be read or written: nothing is acknowledged that was not recorded.

use std::fs;

use super::{
    place::{Place, chmod, run},
    sandbox::{as_stranger, give_to_stranger, mounts, unshared, users},
};

#[test]
fn a_state_folder_that_cannot_be_read_is_refused() {
    if !users("a_state_folder_that_cannot_be_read_is_refused") {
        return;
    }
    let place = Place::new();
    give_to_stranger(&place);
    run(as_stranger(&place, &["init", "--no-input"]), b"").expect(0);
    for path in [place.state(), place.keyring().parent().unwrap().to_path_buf(), place.keyring(), place.key()]
    {
        let (before, mode) = (place.snapshot(), if path.is_dir() { 0o700 } else { 0o600 });
        chmod(&path, 0);
        let done = run(as_stranger(&place, &["start"]), b"");
        assert!([73, 74, 77, 78].contains(&done.code), "{}: {done:?}", path.display());
        assert!(done.stderr.contains("\n  code "), "{}: {done:?}", path.display());
        chmod(&path, mode);
        assert!(before == place.snapshot(), "{}: a file was changed", path.display());
    }
    run(as_stranger(&place, &["start"]), b"").expect(0);
    assert_eq!(run(as_stranger(&place, &["status", "-q"]), b"").code, 0);
    run(as_stranger(&place, &["stop"]), b"").expect(0);
}

/// The state on a file system of this size, on which files then leave no room.
fn on_small_disk(place: &Place, script: &str) -> super::place::Done {
    let prepare = "state=$HOME/.local/state/keyagent; cp -a \"$state\" \"$HOME/copy\"\n\
                   mount -t tmpfs -o size=256k,mode=700 none \"$state\"; cp -a \"$HOME/copy/.\" \"$state\"\n\
                   fill() { cat /dev/zero > \"$state/filler\" 2>/dev/null || :; }\n";
    run(unshared(place, &format!("{prepare}{script}")), b"")
}

#[test]
fn a_full_disk_refuses_what_cannot_be_recorded_and_forgets_nothing() {
    if !mounts("a_full_disk_refuses_what_cannot_be_recorded_and_forgets_nothing") {
        return;
    }
    let place = Place::initialized();
    let script = "keyagent start -q; printf secret | keyagent encrypt -a > value; fill\n\
                  n=0; code=0; while [ $n -lt 60 ] && [ $code = 0 ]; do n=$((n + 1)); code=0\n\
                  printf x | keyagent encrypt -a -o refused > refused.out 2> error || code=$?; rm -f refused.old\n\
                  if [ $code = 0 ]; then mv refused refused.old; fi; done\n\
                  echo $code; cat error; ls; wc -c < refused.out; rm -f \"$state/filler\"\n\
                  keyagent status -q > /dev/null || echo status $?; keyagent decrypt value || echo decrypt $?\n\
                  keyagent stop -q || :; keyagent start; keyagent decrypt value; keyagent stop";
    let done = on_small_disk(&place, script);
    let text = done.text();
    assert!(text.starts_with("74\n"), "{text}\n{}", done.stderr);
    assert!(text.contains("  code 74 AUDIT_UNWRITABLE\n"), "{text}");
    assert!(!text.contains("\nrefused\n"), "an output file was left: {text}");
    assert!(text.ends_with("secret"), "{text}\n{}", done.stderr);
    done.expect(0);
}

#[test]
fn a_full_disk_at_start_is_an_error_and_leaves_the_state_as_it_was() {
    if !mounts("a_full_disk_at_start_is_an_error_and_leaves_the_state_as_it_was") {
        return;
    }
    let place = Place::initialized();
    let script = "cp \"$state/audit.log\" \"$HOME/log\"; touch \"$state/daemon.log\"; fill; code=0; size=$(wc -c < \"$state/audit.log\")\n\
                  keyagent start || code=$?; echo $code; rm \"$state/filler\"\n\
                  head -c $size \"$state/audit.log\" | cmp - \"$HOME/log\"; keyagent start; keyagent stop";
    let done = on_small_disk(&place, script);
    let code = done.text();
    // The log's last page may have room for the lines of a start: then it starts.
    assert!(["0\n", "73\n", "74\n"].contains(&code.as_str()), "{code}: {}", done.stderr);
    done.expect(0);
    assert!(fs::metadata(place.keyring()).is_ok());
}

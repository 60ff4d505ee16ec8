//! One secret value: sealed, opened, and the same through every end of an agent.

use nix::sys::signal::{Signal, kill};
use std::time::Duration;

use super::place::{Place, gone, noise};

#[test]
fn six_bytes_go_in_and_exactly_these_come_out() {
    let place = Place::started();
    let sealed = place.sh("printf secret | keyagent encrypt -a").expect(0);
    let text = sealed.text();
    assert!(text.starts_with("ka1.") && text.ends_with('\n') && text.lines().count() == 1, "{text}");
    assert_eq!(text.len(), 4 + (73_usize + 6) * 4 / 3 + 1 + 1);
    assert_eq!(place.run(&["decrypt"], text.as_bytes()).expect(0).stdout, b"secret");
    assert_eq!(place.run(&["decrypt"], text.trim_end().as_bytes()).expect(0).stdout, b"secret");
}

#[test]
fn nothing_is_added_or_trimmed() {
    let place = Place::started();
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [&b""[..], b"\n", b"\r\n", b"x\n\n", b" x ", b"\0", b"\xff\xfe", &every_byte, &noise(9999)] {
        for words in [&["encrypt"][..], &["encrypt", "-a"]] {
            let sealed = place.run(words, value).expect(0).stdout;
            assert_eq!(place.run(&["decrypt"], &sealed).expect(0).stdout, value);
        }
    }
}

#[test]
fn a_value_outlives_stop_and_kill_9_and_restart() {
    let place = Place::started();
    let sealed = place.run(&["encrypt", "-a", "-c", "app=web"], b"secret").expect(0).stdout;
    let opens = |when: &str| {
        let done = place.run(&["decrypt", "-c", "app=web"], &sealed);
        assert_eq!((done.code, &done.stdout[..]), (0, &b"secret"[..]), "{when}: {}", done.stderr);
    };
    opens("at once");
    for _ in 0..3 {
        place.run(&["stop"], b"").expect(0);
        assert_eq!(place.run(&["decrypt", "-c", "app=web"], &sealed).code, 69);
        place.run(&["start"], b"").expect(0);
        opens("after stop and start");
        let pid = place.pid();
        kill(pid, Signal::SIGKILL).unwrap();
        assert!(gone(pid, Duration::from_secs(5)));
        let refused = place.run(&["decrypt", "-c", "app=web"], &sealed);
        assert!(refused.stderr.contains("nobody listens (stale)"), "{}", refused.stderr);
        refused.refused(69, "AGENT_UNREACHABLE");
        place.run(&["start"], b"").expect(0);
        opens("after kill -9 and start");
    }
}

#[test]
fn every_changed_character_is_refused_with_65() {
    let place = Place::started();
    let sealed = place.run(&["encrypt", "-a"], b"secret").expect(0).line();
    // Behind the prefix and the 33 bytes that name the key; those say 79, as another key would.
    for at in (4..sealed.len()).step_by(5) {
        let mut changed = sealed.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'Q' } else { b'A' };
        let done = place.run(&["decrypt", "-o", "out"], &changed);
        let expected = if (5..48).contains(&at) { &[79][..] } else { &[65, 79] };
        assert!(expected.contains(&done.code) && done.stdout.is_empty(), "{at}: {done:?}");
        assert!(!place.work("out").exists(), "{at}");
    }
    for cut in (0..sealed.len()).step_by(7) {
        let done = place.run(&["decrypt", "-o", "out"], &sealed.as_bytes()[..cut]);
        assert!(done.code == 65 && !place.work("out").exists(), "{cut}: {done:?}");
    }
}

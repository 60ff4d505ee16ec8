//! Several threads at one stream: the same data, the same ends, and nobody left waiting.

use std::{
    fs::{self, File},
    io::{Read, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::pty::openpty;

use super::super::place::{Done, Place, noise};

#[test]
fn any_number_of_threads_writes_what_any_other_reads() {
    let place = Place::started();
    for size in [(1 << 20) + 1, 80 * 16_384, 5_000_001] {
        let plain = noise(size);
        for (sealing, opening) in [("1", "4"), ("4", "1"), ("16", "3")] {
            let sealed = place.run(&["encrypt", "--threads", sealing], &plain).expect(0).stdout;
            let opened = place.run(&["decrypt", "--threads", opening], &sealed).expect(0).stdout;
            assert!(opened == plain, "{size} {sealing} {opening}");
        }
        fs::write(place.work("plain"), &plain).unwrap();
        place
            .sh("keyagent encrypt --threads 3 -a plain | keyagent decrypt --threads 5 | cmp - plain")
            .expect(0);
    }
    for bad in ["0", "17", "-1", "two"] {
        place.run(&["encrypt", "--threads", bad], b"").expect(64);
    }
}

/// Waits, but not for ever.
fn end(mut child: Child) -> Done {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it still waits");
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}

fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_damaged_chunk_ends_it_though_more_could_come() {
    let place = Place::started();
    let mut sealed = place.run(&["encrypt"], &noise(2 << 20)).expect(0).stdout;
    sealed[200] ^= 1;
    let mut child = spawn(place.keyagent(&["decrypt", "--threads", "4"]));
    let mut stdin = child.stdin.take().unwrap();
    // The first block, and then silence from a writer that is still there.
    stdin.write_all(&sealed[..300_000]).unwrap();
    end(child).refused(65, "DOES_NOT_OPEN");
    drop(stdin);
}

#[test]
fn a_reader_that_has_gone_ends_it_though_more_could_come() {
    let place = Place::started();
    // More threads than blocks come: one of them waits for more.
    let mut child = spawn(place.keyagent(&["encrypt", "--threads", "8"]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(&noise((1 << 20) + 20_000)).unwrap();
    // The header was written; of the first block only what the pipe holds.
    stdout.read_exact(&mut [0; 177]).unwrap();
    drop(stdout);
    end(child).refused(74, "INPUT_OUTPUT");
    drop(stdin);
}

#[test]
fn a_writer_that_is_killed_leaves_no_output() {
    let place = Place::started();
    fs::write(place.work("plain"), noise(3 << 20)).unwrap();
    place.sh("keyagent encrypt plain -o sealed").expect(0);
    for bytes in ["200", "1500000", "3145000"] {
        let script = format!(
            "{{ sh -c 'head -c {bytes} sealed; kill -9 $$' 2>&1 || :; }} 2>/dev/null | keyagent decrypt -o out"
        );
        place.sh(&script).refused(65, "DOES_NOT_OPEN");
        assert!(!place.work("out").exists(), "{bytes}");
    }
}

/// What standard error showed on a terminal while a pipe delivered for a second and a half.
fn on_slow_pipe(place: &Place, words: &[&str]) -> String {
    let pty = openpty(None, None).unwrap();
    let mut command = place.keyagent(words);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(pty.slave);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut stdin = child.stdin.take().unwrap();
    let mut master = File::from(pty.master);
    let reader = thread::spawn(move || {
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = master.read(&mut piece) {
            seen.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(seen).unwrap()
    });
    stdin.write_all(&noise(2 << 20)).unwrap();
    for _ in 0..15 {
        thread::sleep(Duration::from_millis(100));
        stdin.write_all(&noise(600_000)).unwrap();
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    reader.join().unwrap()
}

#[test]
fn long_work_shows_how_far_it_is_on_a_terminal_and_only_there() {
    let place = Place::started();
    let seen = on_slow_pipe(&place, &["encrypt"]);
    assert!(seen.starts_with("\rstandard input  ") && seen.contains(" MiB/s"), "{seen:?}");
    assert!(seen.ends_with("\r\u{1b}[K"), "{seen:?}");
    assert_eq!(on_slow_pipe(&place, &["encrypt", "-q"]), "");
    assert!(!on_slow_pipe(&place, &["encrypt", "--json"]).contains("MiB/s"));
    // Into a file or pipe nothing is drawn however long it takes.
    let done =
        place.sh("{ head -c 2000000 /dev/zero; sleep 1.2; head -c 900000 /dev/zero; } | keyagent encrypt");
    assert_eq!(done.expect(0).stderr, "");
}

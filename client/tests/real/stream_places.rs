//! Where data comes from and goes to when that place fails: full disks, closed pipes, a killed client.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Stdio,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    place::{Place, noise, run},
    sandbox::{mounts, unshared},
};

fn with_stream() -> Place {
    let place = Place::started();
    fs::write(place.work("plain"), noise(3 << 20)).unwrap();
    place.sh("keyagent encrypt plain -o sealed").expect(0);
    place
}

fn names(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("work")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_reader_that_goes_away_is_an_error_of_output() {
    let place = with_stream();
    for (verb, input) in [("decrypt", "sealed"), ("encrypt", "plain")] {
        let mut command = place.keyagent(&[verb, input]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 1000];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut some).unwrap();
        drop(stdout);
        let done: super::place::Done = child.wait_with_output().unwrap().into();
        assert!(done.stderr.contains("closed the pipe"), "{}", done.stderr);
        done.refused(74, "INPUT_OUTPUT");
    }
}

#[test]
fn a_full_disk_leaves_no_output_and_the_old_file() {
    if !mounts("a_full_disk_leaves_no_output_and_the_old_file") {
        return;
    }
    let place = with_stream();
    let script = "mkdir small; mount -t tmpfs -o size=1m none small; echo old > small/old\n\
                  for words in 'decrypt sealed -o small/new' 'encrypt plain -o small/new' 'encrypt -a plain -o small/new' \
                  'decrypt sealed --force -o small/old'; do\n\
                  code=0; keyagent $words || code=$?; echo $code; ls -A small; cat small/old; done\n\
                  code=0; keyagent decrypt sealed > small/piped || code=$?; echo $code";
    let done = run(unshared(&place, script), b"");
    assert_eq!(done.text(), "74\nold\nold\n".repeat(4) + "74\n", "{}", done.stderr);
    assert!(done.stderr.contains("No space left on device"), "{}", done.stderr);
    place.sh("keyagent decrypt sealed > /dev/full").refused(74, "INPUT_OUTPUT");
}

fn is_ignored_here(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & (1 << (signal as i32 - 1)) != 0
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let place = with_stream();
    let sealed = fs::read(place.work("sealed")).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL, Signal::SIGHUP, Signal::SIGQUIT] {
        if is_ignored_here(signal) {
            // As under nohup, or behind `&` in a script: the client inherits that, and it is right to.
            eprintln!(
                "SKIPPED: a_client_that_is_killed_leaves_nothing, {signal}: ignored in this environment"
            );
            continue;
        }
        let mut child = place.keyagent(&["decrypt", "-o", "out"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // All but the end: it has written chunks by now, and waits for the last one.
        stdin.write_all(&sealed[..sealed.len() - 20]).unwrap();
        thread::sleep(Duration::from_millis(50));
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(names(&place), ["plain", "sealed"], "{signal}");
    }
}

#[test]
fn force_replaces_the_whole_file_and_only_then() {
    let place = with_stream();
    fs::write(place.work("out"), "old").unwrap();
    let number = fs::metadata(place.work("out")).unwrap().ino();
    let sealed = fs::read(place.work("sealed")).unwrap();
    fs::write(place.work("cut"), &sealed[..sealed.len() - 20]).unwrap();
    place.run(&["decrypt", "cut", "-f", "-o", "out"], b"").refused(65, "DOES_NOT_OPEN");
    assert_eq!(fs::read(place.work("out")).unwrap(), b"old");
    assert_eq!(fs::metadata(place.work("out")).unwrap().ino(), number);
    place.run(&["decrypt", "sealed", "-f", "-o", "out"], b"").expect(0);
    assert!(fs::read(place.work("out")).unwrap() == fs::read(place.work("plain")).unwrap());
    assert_eq!(fs::metadata(place.work("out")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(names(&place), ["cut", "out", "plain", "sealed"]);
}

#[test]
fn an_agent_that_dies_on_the_way_leaves_no_output() {
    let place = with_stream();
    let mut command = place.keyagent(&["encrypt", "-", "-o", "out"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    place.run(&["stop"], b"").expect(0);
    let mut stdin = child.stdin.take().unwrap();
    // The pipe may be closed already.
    let _ = stdin.write_all(b"late");
    drop(stdin);
    let done: super::place::Done = child.wait_with_output().unwrap().into();
    done.refused(69, "AGENT_UNREACHABLE");
    assert_eq!(names(&place), ["plain", "sealed"]);
}

//! With a terminal in front of it.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    thread,
};

use nix::pty::openpty;

use super::place::{Done, Place};

/// Runs a command whose standard output is a terminal; what the terminal got is its `stdout`.
fn on_terminal(mut command: Command, stdin_too: bool) -> Done {
    let pty = openpty(None, None).unwrap();
    let slave: OwnedFd = pty.slave;
    if stdin_too {
        command.stdin(slave.try_clone().unwrap());
    }
    let child = command.stdout(slave).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let mut master = File::from(pty.master);
    let reader = thread::spawn(move || {
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        // A terminal whose other side is closed reports EIO.
        while let Ok(count @ 1..) = master.read(&mut piece) {
            seen.extend_from_slice(&piece[..count]);
        }
        seen
    });
    let mut done: Done = child.wait_with_output().unwrap().into();
    done.stdout = reader.join().unwrap();
    done
}

fn shell(place: &Place, script: &str) -> Done {
    let mut command = place.program("sh");
    command.args(["-euc", script]);
    on_terminal(command, false)
}

#[test]
fn encrypted_bytes_do_not_go_to_a_terminal_unless_asked_for() {
    let place = Place::started();
    let done = shell(&place, "printf secret | keyagent encrypt");
    assert!(
        done.stderr.contains("--armor") && done.stderr.contains("-o -") && done.stdout.is_empty(),
        "{done:?}"
    );
    done.refused(64, "USAGE");
    assert!(shell(&place, "printf secret | keyagent encrypt -a").expect(0).stdout.starts_with(b"ka1."));
    assert!(shell(&place, "printf secret | keyagent encrypt -o -").expect(0).stdout.starts_with(&[1]));
}

#[test]
fn decrypted_control_characters_do_not_go_to_a_terminal_unless_asked_for() {
    let place = Place::started();
    place
        .sh(r"printf 'a\033[2Jb' | keyagent encrypt -o control; printf 'plain\n' | keyagent encrypt -o text")
        .expect(0);
    let done = shell(&place, "keyagent decrypt control");
    assert!(done.stdout.is_empty(), "{done:?}");
    done.refused(64, "USAGE");
    assert_eq!(shell(&place, "keyagent decrypt text").expect(0).stdout, b"plain\r\n");
    assert_eq!(shell(&place, "keyagent decrypt control -o -").expect(0).stdout, b"a\x1b[2Jb");
}

#[test]
fn a_terminal_with_nothing_piped_gets_short_help_at_once() {
    let place = Place::started();
    for verb in ["encrypt", "decrypt", "inspect"] {
        let done = on_terminal(place.keyagent(&[verb]), true);
        assert!(done.stderr.contains("standard input is a terminal"), "{done:?}");
        done.refused(64, "USAGE");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let place = Place::started();
    let status = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.keyagent(words);
        command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        on_terminal(command, false).expect(0).stdout.contains(&0x1b)
    };
    assert!(status(&["status"], &[]));
    assert!(!status(&["status"], &[("NO_COLOR", "1")]));
    assert!(!status(&["status"], &[("TERM", "dumb")]));
    assert!(!status(&["status", "--color", "never"], &[]));
    assert!(status(&["status", "--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!place.run(&["status"], b"").stdout.contains(&0x1b));
    assert!(place.run(&["status", "--color=always"], b"").stdout.contains(&0x1b));
}

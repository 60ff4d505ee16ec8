//! Two users of one machine, for real: who is not trusted gets nothing, in both directions.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::unistd::{Gid, Uid, chown};

use super::{
    place::{Place, chmod, run, skipped},
    sandbox::{STRANGER, as_stranger, give_to_stranger, users},
};

/// Takes one connection and writes what it receives into a file.
const FAKE_AGENT: &str = "use IO::Socket::UNIX; umask 0; \
    my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die; $| = 1; print \"ready\\n\"; \
    my $c = $s->accept; my $all = ''; while (sysread($c, my $b, 4096)) { $all .= $b } \
    open(my $f, '>', $ARGV[1]) or die; print $f $all; close $f;";

fn fake_agent(socket: &Path, received: &Path, user: u32) -> Option<Child> {
    let mut command = Command::new("perl");
    command.args(["-e", FAKE_AGENT]).arg(socket).arg(received).uid(user).gid(user);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    (line == "ready\n").then_some(child)
}

#[test]
fn an_agent_of_another_user_gets_no_byte() {
    let test = "an_agent_of_another_user_gets_no_byte";
    if !users(test) {
        return;
    }
    let place = Place::initialized();
    chmod(place.home(), 0o755);
    chmod(&place.path("run"), 0o777);
    chmod(&place.path("work"), 0o755);
    let folder = place.path("run/keyagent");
    fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o777);
    let received = place.path("run/received");
    fs::write(place.work("sealed"), [1; 200]).unwrap();
    for words in [
        &["encrypt", "-a"][..],
        &["decrypt", "sealed"],
        &["status"],
        &["stop"],
        &["unlock", "--key-file", "../.config/keyagent/key"],
        &["start"],
        &["start", "--", "true"],
    ] {
        let Some(mut agent) = fake_agent(&place.socket(), &received, STRANGER) else {
            return skipped(test, "perl with IO::Socket::UNIX is needed to listen as another user");
        };
        let done = place.run(words, b"a secret");
        assert!(done.stderr.contains("uid 4242 listens"), "{words:?}: {}", done.stderr);
        assert!(done.stderr.contains("\n  sent   nothing\n") && done.stdout.is_empty(), "{words:?}");
        done.refused(77, "UNTRUSTED_AGENT");
        agent.wait().unwrap();
        assert_eq!(fs::read(&received).unwrap(), b"", "{words:?}: bytes were sent");
        fs::remove_file(place.socket()).unwrap();
        fs::remove_file(&received).unwrap();
    }
}

#[test]
fn an_own_socket_in_the_folder_of_another_user_gets_no_byte() {
    let test = "an_own_socket_in_the_folder_of_another_user_gets_no_byte";
    if !users(test) {
        return;
    }
    let place = Place::started();
    chown(&place.path("run/keyagent"), Some(Uid::from_raw(STRANGER)), Some(Gid::from_raw(STRANGER))).unwrap();
    place.run(&["encrypt"], b"a secret").refused(77, "UNTRUSTED_AGENT");
    chown(&place.path("run/keyagent"), Some(Uid::from_raw(0)), None).unwrap();
    place.run(&["encrypt"], b"a secret").expect(0);
}

#[test]
fn another_user_cannot_use_the_agent() {
    if !users("another_user_cannot_use_the_agent") {
        return;
    }
    let (place, stranger) = (Place::started(), Place::new());
    give_to_stranger(&stranger);
    let sealed = place.run(&["encrypt", "-a"], b"secret").expect(0).stdout;
    let socket = place.socket();
    let words = |verb| ["--socket", socket.to_str().unwrap(), verb];
    let done = run(as_stranger(&stranger, &words("decrypt")), &sealed);
    assert!(done.stderr.contains("permission denied"), "{}", done.stderr);
    done.refused(69, "AGENT_UNREACHABLE");
    // Even if every folder and the socket are opened for all, the daemon knows its peers.
    for (path, mode) in
        [("", 0o755), ("run", 0o755), ("run/keyagent", 0o755), ("run/keyagent/agent.sock", 0o666)]
    {
        chmod(&place.path(path), mode);
    }
    for verb in ["decrypt", "encrypt", "status", "lock", "stop", "unlock", "reload", "health"] {
        let done = run(as_stranger(&stranger, &words(verb)), &sealed);
        let expected = if verb == "health" { &[1][..] } else { &[69, 77] };
        assert!(expected.contains(&done.code) && done.stdout.is_empty(), "{verb}: {done:?}");
    }
    assert_eq!(place.run(&["decrypt"], &sealed).expect(0).stdout, b"secret");
    place.run(&["stop"], b"").expect(0);
    let log = fs::read_to_string(place.state().join("audit.log")).unwrap();
    assert!(log.contains("\"event_type\":\"peer.refused\"") && log.contains("4242"), "{log}");
}

#[test]
fn root_serves_itself_and_an_agent_of_root_is_trusted_by_its_user() {
    if !users("root_serves_itself_and_an_agent_of_root_is_trusted_by_its_user") {
        return;
    }
    // The agent of an ordinary user, asked by root: root is told no by the client, for it is not root's.
    let place = Place::new();
    give_to_stranger(&place);
    run(as_stranger(&place, &["init", "--no-input"]), b"").expect(0);
    run(as_stranger(&place, &["start"]), b"").expect(0);
    let sealed = run(as_stranger(&place, &["encrypt", "-a"]), b"secret").expect(0).stdout;
    assert_eq!(run(as_stranger(&place, &["decrypt"]), &sealed).expect(0).stdout, b"secret");
    place.run(&["decrypt"], &sealed).refused(77, "UNTRUSTED_AGENT");
    run(as_stranger(&place, &["stop"]), b"").expect(0);
}

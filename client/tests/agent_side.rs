//! What the client does when the other side misbehaves: drives the real binary against a fake agent.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests; clippy knows only functions marked #[test]"
)]

mod support;

use std::{
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use keyagent_common::{
    codec,
    op::{EncryptReply, EncryptRequest, ErrorReply, Field, OperationCode, StatusReply},
};
use support::{FakeAgent, Request, code, hello, hello_reply, reply, skip, stderr, stdout};

const ENCRYPT: u16 = OperationCode::Encrypt as u16;
const HELLO: u16 = OperationCode::Hello as u16;

/// An agent that seals by putting zeros around the plaintext.
fn sealing(request: &Request) -> Vec<u8> {
    if request.code == HELLO {
        return hello(request);
    }
    assert_eq!(request.code, ENCRYPT);
    let asked: EncryptRequest<'_> = codec::decode(&request.body).unwrap();
    let mut envelope = vec![0; 57];
    envelope[0] = 1;
    envelope.extend_from_slice(asked.plaintext);
    envelope.extend_from_slice(&[0; 16]);
    reply(request, 0, &EncryptReply { version: 1, envelope: &envelope })
}

fn refusing(number: u16, what: &'static str) -> FakeAgent {
    FakeAgent::new(move |request| match request.code {
        HELLO => hello(request),
        _ => reply(request, number, &ErrorReply { what, why: "because", fix: "keyagent unlock" }),
    })
}

/// An agent that says hello and then sends these bytes.
fn answering(bytes: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> FakeAgent {
    FakeAgent::new(move |request| if request.code == HELLO { hello(request) } else { bytes(request) })
}

#[test]
fn hello_comes_first_and_names_key_and_context() {
    let agent = FakeAgent::new(sealing);
    let output = agent.run(&["encrypt", "-k", "billing/cards", "-c", "row=17", "-c", "a=b=c"], b"x\n");
    assert_eq!((code(&output), output.stdout.len()), (0, 75), "{}", stderr(&output));
    assert_eq!(&output.stdout[57..59], b"x\n");
    assert_eq!(agent.requests.recv().unwrap().code, HELLO);
    let request = agent.requests.recv().unwrap();
    let asked: EncryptRequest<'_> = codec::decode(&request.body).unwrap();
    assert_eq!(asked.key, "billing/cards");
    assert_eq!(asked.context, b"\x02\0\x01\0a\x03\0b=c\x03\0row\x02\x0017");
}

#[test]
fn an_error_of_the_agent_is_told_with_its_exit_code_and_escaped() {
    let agent = refusing(11, "the agent is locked\u{1b}[2J");
    let output = agent.run(&["encrypt"], b"x");
    assert_eq!((code(&output), output.stdout.len()), (75, 0));
    assert_eq!(
        stderr(&output),
        "keyagent: the agent is locked\\u{1b}[2J\n\n  why    because\n  fix    keyagent unlock\n  code 75 LOCKED\n"
    );
    let output = agent.run(&["encrypt", "--json"], b"x");
    let json: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!((json["schema"].as_str(), json["code"].as_u64()), (Some("keyagent.error/1"), Some(75)));
    assert_eq!((json["name"].as_str(), json["fix"].as_str()), (Some("LOCKED"), Some("keyagent unlock")));
}

#[test]
fn an_unknown_error_number_is_an_error_with_its_text() {
    let output = refusing(77, "a thing of the future").run(&["encrypt"], b"x");
    assert_eq!((code(&output), output.stdout.len()), (76, 0));
    assert!(stderr(&output).contains("a thing of the future") && stderr(&output).contains("77, which"));
}

#[test]
fn another_protocol_version_names_both() {
    let agent = FakeAgent::new(|request| reply(request, 0, &hello_reply(9, "7.8.9")));
    let output = agent.run(&["encrypt"], b"x");
    assert_eq!((code(&output), output.stdout.len()), (76, 0));
    let text = stderr(&output);
    assert!(
        text.contains("version 7.8.9, protocol 9 to 9") && text.contains("version 0.1.0, protocol 1"),
        "{text}"
    );
}

#[test]
fn a_reply_with_another_id_is_never_used() {
    let agent = answering(|request| {
        let other = Request { id: request.id ^ 1, ..request.clone() };
        sealing(&other)
    });
    let output = agent.run(&["encrypt"], b"x");
    assert_eq!((code(&output), output.stdout.len()), (76, 0), "{}", stderr(&output));
}

#[test]
fn giant_short_flagged_and_garbled_replies_are_refused() {
    let cases: [(&[u8], i32); 5] = [
        (b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 76),
        (b"\x01\0\0\0\0\0\0\0\0\0\0\0", 76),
        (b"\x08\0\0\0\x02\0\0\0\0\0\x01\0", 76),
        (b"\x09\0\0\0\x02\0\0\0\0\0\0\0\x55", 76),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 76),
    ];
    for (bytes, exit) in cases {
        let output = answering(|_| bytes.to_vec()).run(&["encrypt"], b"x");
        assert_eq!((code(&output), output.stdout.len()), (exit, 0), "{bytes:?}: {}", stderr(&output));
    }
}

#[test]
fn a_reply_that_is_no_ciphertext_is_not_written() {
    for envelope in [&b"x"[..], &[1; 73], &[1; 75], &[2; 74]] {
        let agent = answering(move |request| reply(request, 0, &EncryptReply { version: 1, envelope }));
        let output = agent.run(&["encrypt"], b"x");
        assert_eq!((code(&output), output.stdout.len()), (76, 0), "{}", envelope.len());
    }
}

#[test]
fn a_connection_that_ends_early_is_an_error() {
    let whole = answering(|_| Vec::new()).run(&["encrypt"], b"x");
    assert_eq!((code(&whole), whole.stdout.len()), (69, 0), "{}", stderr(&whole));
    let mut count = 0;
    let truncated = FakeAgent::new(move |request| {
        count += 1;
        match request.code {
            HELLO if count > 1 => Vec::new(),
            HELLO => hello(request)[..20].to_vec(),
            _ => Vec::new(),
        }
    });
    let output = truncated.run(&["encrypt"], b"x");
    assert_eq!((code(&output), output.stdout.len()), (69, 0), "{}", stderr(&output));
}

#[test]
fn a_silent_agent_is_waited_for_as_long_as_asked() {
    let agent = answering(|_| {
        std::thread::sleep(Duration::from_secs(30));
        Vec::new()
    });
    let begin = Instant::now();
    let output = agent.run(&["--timeout", "300ms", "encrypt"], b"x");
    assert_eq!((code(&output), output.stdout.len()), (75, 0));
    assert!(stderr(&output).ends_with("code 75 TIMEOUT\n"), "{}", stderr(&output));
    assert!((300..1500).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
}

#[test]
fn a_full_queue_and_a_dead_socket_are_errors_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let ask = || {
        let begin = Instant::now();
        let mut command = support::keyagent(folder.path());
        command.arg("status").arg("--socket").arg(&path);
        let output = support::run(command, b"");
        assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
        assert_eq!(code(&output), 69);
        stderr(&output)
    };
    assert!(ask().contains("takes no further connection"));
    drop(listener);
    assert!(ask().contains("file exists, nobody listens (stale)"));
    std::fs::remove_file(&path).unwrap();
    assert!(ask().contains("no such file"));
    std::fs::write(&path, "").unwrap();
    assert!(ask().contains("not a socket"));
}

#[test]
fn the_unreachable_error_lists_every_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = support::keyagent(folder.path());
    command.arg("status");
    let output = support::run(command, b"");
    let text = stderr(&output);
    assert_eq!(code(&output), 69);
    assert!(text.starts_with("keyagent: cannot reach the agent\n\n  tried  $KEYAGENT_SOCK "), "{text}");
    assert!(text.contains("/keyagent/agent.sock") && text.contains("/run/keyagent/agent.sock"), "{text}");
    assert!(
        text.contains("  fix    keyagent start") && text.ends_with("code 69 AGENT_UNREACHABLE\n"),
        "{text}"
    );
}

#[test]
fn long_and_relative_sockets_are_clear_errors() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = support::keyagent(folder.path());
    command.args(["status", "--socket", &format!("/{}", "a".repeat(107))]);
    let output = support::run(command, b"");
    assert!(code(&output) == 78 && stderr(&output).contains("107"), "{}", stderr(&output));
    let mut command = support::keyagent(folder.path());
    command.arg("status").env("KEYAGENT_SOCK", "agent.sock");
    assert_eq!(code(&support::run(command, b"")), 78);
}

#[test]
fn a_listener_of_another_user_gets_no_byte() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can listen as another user");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let (path, received) = (folder.path().join("agent.sock"), folder.path().join("received"));
    // The socket listens as user 4242 and the client runs as 4243: neither own nor root nor the service.
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n\
                  import os\nos.chmod(sys.argv[1],0o777)\ns.listen(1)\nprint('ready',flush=True)\n\
                  c,_=s.accept()\nopen(sys.argv[2],'wb').write(c.recv(4096))\n";
    let mut server = Command::new("python3");
    server.args(["-c", script]).arg(&path).arg(&received).uid(4242).gid(4242).stdout(Stdio::piped());
    let Ok(mut server) = server.spawn() else { return skip("python3 is needed to listen as another user") };
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let copy = folder.path().join("keyagent");
    std::fs::copy(env!("CARGO_BIN_EXE_keyagent"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.env_clear().env("HOME", "/").arg("encrypt").arg("--socket").arg(&path).uid(4243).gid(4243);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = support::run(command, b"a secret");
    server.wait().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (77, 0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("uid 4242 listens")
            && stderr(&output).ends_with("code 77 UNTRUSTED_AGENT\n")
    );
    assert_eq!(std::fs::read(&received).unwrap(), b"");
}

#[test]
fn a_socket_in_a_foreign_folder_gets_no_byte() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can give a folder away");
    }
    let agent = FakeAgent::new(sealing);
    nix::unistd::chown(agent.folder.path(), Some(4242.into()), None).unwrap();
    let output = agent.run(&["encrypt"], b"x");
    assert_eq!(code(&output), 77, "{}", stderr(&output));
    assert!(agent.requests.try_recv().is_err());
}

#[test]
fn status_needs_no_hello_and_tells_locked_by_its_exit_code() {
    for (state, exit) in [("unlocked", 0), ("locked", 1)] {
        let agent = FakeAgent::new(move |request| {
            assert_eq!(request.code, OperationCode::Status as u16);
            let fields = vec![Field { name: "state", value: state }, Field { name: "new", value: "x" }];
            reply(request, 0, &StatusReply { fields })
        });
        let output = agent.run(&["status"], b"");
        assert_eq!(code(&output), exit);
        assert!(stdout(&output).contains(state) && !stdout(&output).contains("new"));
        let output = agent.run(&["status", "--json"], b"");
        let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!((code(&output), json["state"].as_str(), json["pid"].as_u64()), (exit, Some(state), None));
    }
}

#[test]
fn health_answers_with_nothing_but_0_and_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = support::keyagent(folder.path());
    command.args(["health", "--json", "--socket"]).arg(folder.path().join("none"));
    let output = support::run(command, b"");
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((code(&output), json["status"].as_str()), (1, Some("unreachable")));
    assert_eq!(code(&refusing(11, "locked").run(&["health"], b"")), 1);
}

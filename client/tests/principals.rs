//! Who may have what the client holds: a master key goes to its own agent alone, and nothing of the
//! process reaches a dump or another process of the same user.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests; clippy knows only functions marked #[test]"
)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use keyagent_common::{
    kdf,
    op::{Field, OperationCode, StatusReply, UnlockReply},
};
use support::{FakeAgent, Request, code, hello, reply, run, skip, stderr, stdout};

const HELLO: u16 = OperationCode::Hello as u16;
const STATUS: u16 = OperationCode::Status as u16;
const UNLOCK: u16 = OperationCode::Unlock as u16;
const KEY: [u8; 32] = *b"a key that no agent really has :";
/// A user that has no account.
const STRANGER: u32 = 4242;

fn am_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// An agent that claims this fingerprint and takes every key.
fn keyed(fingerprint: &'static str) -> FakeAgent {
    FakeAgent::new(move |request| match request.code {
        HELLO => hello(request),
        STATUS => {
            let fields = vec![Field { name: "master_fingerprint", value: fingerprint }];
            reply(request, 0, &StatusReply { fields })
        }
        _ => reply(request, 0, &UnlockReply { changed: true, fingerprint: [1; 16] }),
    })
}

fn own_fingerprint() -> String {
    hex::encode(kdf::master_fingerprint(&KEY))
}

fn codes(agent: &FakeAgent) -> Vec<u16> {
    agent.requests.try_iter().map(|request: Request| request.code).collect()
}

fn unlock(agent: &FakeAgent) -> Output {
    agent.run(&["unlock", "--key-fd", "0"], hex::encode(KEY).as_bytes())
}

#[test]
fn the_agent_names_its_key_before_the_key_leaves() {
    let agent = keyed(own_fingerprint().leak());
    let output = unlock(&agent);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(codes(&agent), [HELLO, STATUS, UNLOCK]);
}

#[test]
fn a_key_that_is_not_the_agents_is_never_sent() {
    let other = "00112233445566778899aabbccddeeff";
    let agent = keyed(other);
    let output = unlock(&agent);
    let text = stderr(&output);
    assert!(code(&output) == 79 && text.ends_with("code 79 WRONG_MASTER_KEY\n"), "{text}");
    assert!(text.contains(other) && text.contains(&own_fingerprint()), "{text}");
    assert_eq!(codes(&agent), [HELLO, STATUS]);
    for silent in ["", "none"] {
        let agent = keyed(silent);
        let output = unlock(&agent);
        assert_eq!(code(&output), 76, "{}", stderr(&output));
        assert_eq!(codes(&agent), [HELLO, STATUS]);
    }
}

#[test]
fn without_a_key_nothing_is_asked_before() {
    let agent = keyed("");
    assert_eq!(code(&agent.run(&["unlock"], b"")), 0);
    assert_eq!(codes(&agent), [HELLO, UNLOCK]);
}

/// A copy of the client that every user can run.
fn copy_for_all(folder: &Path) -> PathBuf {
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.join("keyagent");
    fs::copy(env!("CARGO_BIN_EXE_keyagent"), &copy).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    copy
}

/// The agent as `/run/keyagent/agent.sock`, of root; a key sent there by somebody else.
fn unlock_at_the_system_agent(agent: &FakeAgent, flags: &str) -> Option<Output> {
    let folder = agent.folder.path();
    let copy = copy_for_all(folder);
    fs::set_permissions(agent.socket(), PermissionsExt::from_mode(0o777)).unwrap();
    let script = format!(
        "mount -t tmpfs -o mode=755 none /run; mkdir /run/keyagent; mount --bind '{}' /run/keyagent\n\
         exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups \
         sh -c 'echo {} | {} unlock --key-fd 0 {flags}'",
        folder.display(),
        hex::encode(KEY),
        copy.display(),
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-euc", &script])
        .env_clear()
        .env("HOME", "/")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let able = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    able.then(|| run(command, b""))
}

#[test]
fn a_key_goes_to_the_agent_of_another_user_only_where_that_is_named() {
    if !am_root() {
        return skip("only root can mount and be two users");
    }
    let agent = keyed(own_fingerprint().leak());
    let Some(output) = unlock_at_the_system_agent(&agent, "") else {
        return skip("unshare is needed for a mount of its own");
    };
    let text = stderr(&output);
    assert!(code(&output) == 77 && text.ends_with("code 77 UNTRUSTED_AGENT\n"), "{text}");
    assert!(text.contains("/run/keyagent/agent.sock") && text.contains("uid 0 listens"), "{text}");
    assert_eq!(codes(&agent), []);
    let output = unlock_at_the_system_agent(&agent, "--socket /run/keyagent/agent.sock").unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(codes(&agent), [HELLO, STATUS, UNLOCK]);
}

#[test]
fn the_overflow_user_trusts_nobody_of_its_own_number() {
    if !am_root() {
        return skip("only root can be the overflow user");
    }
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    let overflow: u32 = overflow.trim().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, received) = (folder.path().join("sock/agent.sock"), folder.path().join("sock/received"));
    let copy = copy_for_all(folder.path());
    fs::create_dir(folder.path().join("sock")).unwrap();
    nix::unistd::chown(&folder.path().join("sock"), Some(overflow.into()), None).unwrap();
    let listen = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die;\n\
                  $| = 1; print \"ready\\n\"; my $c = $s->accept; my $n = sysread($c, my $b, 4096);\n\
                  open(my $f, '>', $ARGV[1]) or die; print $f $b; close $f;";
    let mut server = Command::new("perl");
    server.args(["-e", listen]).arg(&path).arg(&received).uid(overflow).gid(overflow).stdout(Stdio::piped());
    let Ok(mut server) = server.spawn() else { return skip("perl is needed to listen as another user") };
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let mut command = Command::new(&copy);
    command
        .env_clear()
        .env("HOME", "/")
        .arg("encrypt")
        .arg("--socket")
        .arg(&path)
        .uid(overflow)
        .gid(overflow);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = run(command, b"a secret");
    server.wait().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (77, 0), "{}", stderr(&output));
    assert!(stderr(&output).contains("it could be anybody"), "{}", stderr(&output));
    assert_eq!(fs::read(&received).unwrap(), b"");
}

/// Soft and hard limit of core dumps of a process.
fn core_limits(pid: u32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    line.unwrap_or_default().split_whitespace().take(2).map(str::to_owned).collect()
}

fn wait_for(what: &str, mut arrived: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !arrived() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a child even when a test fails.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_leaves_no_core_dump_and_is_closed_to_its_own_user() {
    let folder = tempfile::tempdir().unwrap();
    let copy = copy_for_all(folder.path());
    let user = if am_root() { STRANGER } else { nix::unistd::geteuid().as_raw() };
    let mut command = Command::new("sh");
    command.args(["-euc", "ulimit -S -c $(ulimit -H -c); exec \"$0\" encrypt"]).arg(copy);
    command.env_clear().env("HOME", folder.path()).env("PATH", "/usr/bin:/bin");
    if am_root() {
        command.uid(user).gid(user);
    }
    // It waits for its input.
    let child = Reaped(command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let pid = child.0.id();
    // What the kernel gives to root is what nobody else may look into.
    wait_for("it is dumpable", || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let owner = fs::metadata(format!("/proc/{pid}/environ")).map(|found| found.uid());
        name == "keyagent\n" && owner.ok() == Some(0)
    });
    wait_for("its soft limit is not 0", || core_limits(pid).first().is_some_and(|soft| soft == "0"));
}

#[test]
fn a_command_gets_the_core_limit_of_the_user_back() {
    if support::keyagentd().is_none() {
        return skip("`start` needs keyagentd beside keyagent");
    }
    let agent = keyed("");
    let script = "ulimit -S -c $2; ulimit -S -c; exec \"$0\" --socket \"$1\" start -- sh -c 'ulimit -S -c; ulimit -H -c'";
    for wanted in ["hard", "0"] {
        let script = script.replace("$2", if wanted == "hard" { "$(ulimit -H -c)" } else { wanted });
        let mut command = Command::new("sh");
        command.args(["-euc", &script, env!("CARGO_BIN_EXE_keyagent")]).arg(agent.socket());
        command.env_clear().env("HOME", agent.folder.path()).env("PATH", "/usr/bin:/bin");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = run(command, b"");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let said = stdout(&output);
        let [before, soft, hard] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
        assert_eq!(before, soft, "the soft limit before and in the command");
        assert_eq!(soft, if wanted == "hard" { hard } else { wanted });
    }
}

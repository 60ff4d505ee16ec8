//! Frames that another user sends: this test binary runs itself again.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Client, Home, chmod, hex, unhex};

const VARIABLE: &str = "KEYAGENT_E2E_FRAMES";

/// Opens folder and socket for everybody: what the daemon refuses then, it refuses itself.
pub(crate) fn open_for_all(home: &Home) {
    for folder in [home.path().to_path_buf(), home.join("run")] {
        chmod(&folder, 0o755);
    }
    chmod(&home.socket(), 0o777);
}

/// Connects as a user, says hello, sends each frame and waits for its reply: the codes, 0 for success.
pub(crate) fn send(socket: &Path, uid: u32, frames: &[Vec<u8>]) -> Vec<u16> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", "as_user::sends_when_asked", "--nocapture"]).env(VARIABLE, socket);
    command.uid(uid).gid(uid).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines: String = frames.iter().map(|frame| hex(frame) + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().filter_map(|line| line.strip_prefix('@')).map(|code| code.parse().unwrap()).collect()
}

/// Does nothing in an ordinary run.
#[test]
fn sends_when_asked() {
    let Some(socket) = std::env::var_os(VARIABLE) else { return };
    let mut client = Client::greeted(Path::new(&socket));
    println!();
    for line in std::io::stdin().lines().map(Result::unwrap) {
        client.send(&unhex(&line)).unwrap();
        println!("@{}", client.expect().code);
    }
    std::process::exit(0);
}

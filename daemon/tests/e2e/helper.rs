//! What has to happen as another user or in another namespace: this test binary runs itself again.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, ExitStatus},
};

use crate::support::{Client, client};

const VARIABLE: &str = "KEYAGENT_E2E_PROBE";
/// The harness itself ends with 0 or 101.
const SERVED: i32 = 10;
const REFUSED: i32 = 11;
const UNREACHABLE: i32 = 12;

/// How a daemon treats a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Answers.
    Served,
    /// Ends the connection without a byte.
    Refused,
    /// The kernel does not let the caller connect.
    Unreachable,
    /// The probe could not run at all.
    NoProbe,
}

/// Asks through `wrapper` (such as `unshare -U`), as a user.
pub(crate) fn probe(socket: &Path, wrapper: &[&str], uid: u32, gid: u32) -> Treatment {
    let own = if wrapper.is_empty() { "/proc/self/exe".into() } else { std::env::current_exe().unwrap() };
    let mut words = wrapper.iter().map(std::ffi::OsString::from).chain([own.into_os_string()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", "helper::probe_when_asked", "--nocapture"]);
    command.env(VARIABLE, socket).uid(uid).gid(gid).current_dir("/");
    treatment(command.output().map(|output| output.status))
}

fn treatment(status: std::io::Result<ExitStatus>) -> Treatment {
    match status.ok().and_then(|status| status.code()) {
        Some(SERVED) => Treatment::Served,
        Some(REFUSED) => Treatment::Refused,
        Some(UNREACHABLE) => Treatment::Unreachable,
        _ => Treatment::NoProbe,
    }
}

/// Does nothing in an ordinary run.
#[test]
fn probe_when_asked() {
    let Some(socket) = std::env::var_os(VARIABLE) else { return };
    let code = match UnixStream::connect(socket) {
        Ok(stream) => ask(stream),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => UNREACHABLE,
        Err(_) => 1,
    };
    std::process::exit(code);
}

fn ask(mut stream: UnixStream) -> i32 {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    // A refused peer may find the connection closed already.
    let _ = stream.write_all(&client::hello(1));
    match stream.read(&mut [0; 1]) {
        Ok(1) => SERVED,
        Ok(_) => REFUSED,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => REFUSED,
        Err(_) => 1,
    }
}

#[test]
fn the_probe_tells_served_from_refused() {
    // The control: both answers, of a listener that is not the daemon.
    let home = crate::support::Home::initialized();
    let me = nix::unistd::geteuid().as_raw();
    let group = nix::unistd::getegid().as_raw();
    let daemon = home.start();
    assert_eq!(probe(daemon.socket(), &[], me, group), Treatment::Served);
    let path = home.join("closer.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    assert_eq!(probe(&path, &[], me, group), Treatment::Refused);
    assert!(Client::connect(&home.join("nothing")).is_err());
}

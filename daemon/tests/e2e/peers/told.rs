//! A process that connects, asks and ends when it is told to: this test binary runs itself again.

use std::{
    io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use keyagent_common::frame::{HEADER_BYTES, Header};
use nix::{
    libc,
    sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind,
        connect, sendmsg, socket,
    },
};

use crate::support::client;

const VARIABLE: &str = "KEYAGENT_E2E_TOLD";

/// Such a process.
pub(crate) struct Told {
    child: Child,
    say: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

impl Told {
    /// A process of a user and group, without supplementary groups.
    pub(crate) fn start(socket: &Path, uid: u32, gid: u32) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.uid(uid).gid(gid);
        Self::spawn(command, socket)
    }

    /// A process started through another program.
    pub(crate) fn through(wrapper: &[&str], socket: &Path) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
        Self::spawn(command, socket)
    }

    fn spawn(mut command: Command, socket: &Path) -> Self {
        command.args(["--exact", "peers::told::does_as_told", "--nocapture"]).env(VARIABLE, socket);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (say, hear) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, say, hear }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something; what it answers, or `gone`.
    pub(crate) fn tell(&mut self, order: &str) -> String {
        if writeln!(self.say.as_mut().unwrap(), "{order}").is_err() {
            return "gone".into();
        }
        let mut lines = (&mut self.hear).lines().map_while(Result::ok);
        let answer = lines.find_map(|line| line.strip_prefix('@').map(str::to_owned));
        answer.unwrap_or_else(|| "gone".into())
    }

    /// Lets it end, and waits until nothing is left of it.
    pub(crate) fn end(mut self) {
        drop(self.say.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does nothing in an ordinary run.
#[test]
fn does_as_told() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let mut connection = None;
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let (word, rest) = order.split_once(' ').unwrap_or((&order, ""));
        let answer = match word {
            "connect" => match UnixStream::connect(Path::new(&path)) {
                Ok(stream) => {
                    connection = Some(stream);
                    "connected".into()
                }
                Err(error) => error.to_string(),
            },
            "connect-as" => {
                connection = Some(connect_as(rest, Path::new(&path)));
                "connected".into()
            }
            "ask" => ask(connection.as_mut().unwrap(), &client::hello(1)),
            "encrypt" => ask(connection.as_mut().unwrap(), &client::encrypt(2, b"told")),
            "forge" => forge(connection.as_ref().unwrap(), rest.parse().unwrap()),
            _ => "what?".into(),
        };
        println!("\n@{answer}");
    }
    std::process::exit(0);
}

fn ask(connection: &mut UnixStream, frame: &[u8]) -> String {
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A refused peer may find the connection closed already.
    let _ = connection.write_all(frame);
    let mut bytes = [0; HEADER_BYTES];
    match connection.read_exact(&mut bytes) {
        Ok(()) => {
            let header = Header::parse(&bytes).unwrap().unwrap();
            connection.read_exact(&mut vec![0; header.body_bytes]).unwrap();
            if header.code == 0 { "served".into() } else { format!("error {}", header.code) }
        }
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
            "refused".into()
        }
        Err(error) => error.to_string(),
    }
}

/// Connects under a name of its own: abstract after an `@`, else a path.
fn connect_as(name: &str, path: &Path) -> UnixStream {
    let own = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
    let address = match name.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()).unwrap(),
        None => UnixAddr::new(name).unwrap(),
    };
    bind(own.as_raw_fd(), &address).unwrap();
    connect(own.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    UnixStream::from(own)
}

/// Sends `hello` with a message that says it is somebody else.
fn forge(stream: &UnixStream, uid: u32) -> String {
    let pid = i32::try_from(std::process::id()).unwrap();
    let claimed = UnixCredentials::from(libc::ucred { pid, uid, gid: uid });
    let frame = client::hello(3);
    let message = [ControlMessage::ScmCredentials(&claimed)];
    let parts = [IoSlice::new(&frame)];
    match sendmsg::<()>(stream.as_raw_fd(), &parts, &message, MsgFlags::empty(), None) {
        Ok(_) => "sent".into(),
        Err(errno) => format!("{errno:?}"),
    }
}

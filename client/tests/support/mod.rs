//! What the tests of the client share: running the real `keyagent`, and a fake agent that speaks the
//! real codec over a real socket.
#![allow(dead_code, reason = "every test file is a crate of its own and uses a part")]
#![expect(clippy::unwrap_used, reason = "tests; clippy knows only functions marked #[test]")]

use std::{
    ffi::OsStr,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use keyagent_common::{
    codec,
    frame::Header,
    op::{HelloReply, Limits, OperationCode},
};

/// The daemon of the same build, if it was built.
pub(crate) fn keyagentd() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_keyagent")).with_file_name("keyagentd");
    path.is_file().then_some(path)
}

/// `keyagent` with a clean environment and a home folder of its own.
pub(crate) fn keyagent(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyagent"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command with this input to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// One request as the fake agent saw it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: u32,
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
}

/// A socket that answers each request with the bytes a test gives; empty bytes end the connection.
pub(crate) struct FakeAgent {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) requests: mpsc::Receiver<Request>,
}

impl FakeAgent {
    pub(crate) fn new(mut answer: impl FnMut(&Request) -> Vec<u8> + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &mut answer, &sender);
            }
        });
        Self { folder, requests }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// `keyagent --socket …` with these words and this input.
    pub(crate) fn run(&self, words: &[impl AsRef<OsStr>], input: &[u8]) -> Output {
        let mut command = keyagent(self.folder.path());
        command.arg("--socket").arg(self.socket()).args(words);
        run(command, input)
    }
}

fn serve(
    mut stream: UnixStream,
    answer: &mut impl FnMut(&Request) -> Vec<u8>,
    sender: &mpsc::Sender<Request>,
) {
    loop {
        let mut head = [0; 12];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let header = Header::parse(&head).unwrap().unwrap();
        let mut body = vec![0; header.body_bytes];
        stream.read_exact(&mut body).unwrap();
        let request = Request { id: header.request_id, code: header.code, body };
        let reply = answer(&request);
        let _ = sender.send(request);
        if reply.is_empty() || stream.write_all(&reply).is_err() {
            return;
        }
    }
}

/// A frame that answers a request.
pub(crate) fn reply<T: codec::Encode>(request: &Request, code: u16, value: &T) -> Vec<u8> {
    codec::frame(request.id, code, value).unwrap().to_vec()
}

/// The usual answer to `hello`.
pub(crate) fn hello(request: &Request) -> Vec<u8> {
    assert_eq!(request.code, OperationCode::Hello as u16);
    reply(request, 0, &hello_reply(1, "0.1.0"))
}

pub(crate) fn hello_reply(protocol: u16, server: &str) -> HelloReply<'_> {
    HelloReply {
        protocol,
        protocol_min: protocol,
        protocol_max: protocol,
        server,
        instance: [7; 16],
        features: 0,
        limits: Limits { frame_length: 1_114_112, message: 1 << 20, context: 8192, in_flight: 64 },
    }
}

/// Says loudly that a test could not run here.
pub(crate) fn skip(why: &str) {
    eprintln!("\n*** SKIPPED: {why} ***\n");
}

//! The same calls without waiting threads: requests of any number of tasks over one connection.
//!
//! One task owns the socket; replies find their callers by request id, so that a caller who gave up leaves nothing
//! behind that another could take. What was sent and received is wiped.

use std::{
    collections::HashMap,
    future::poll_fn,
    io::{self, ErrorKind},
    path::PathBuf,
    task::Poll,
};

use keyagent_common::{
    codec,
    context::Context,
    frame::{HEADER_BYTES, Header, LENGTH_BYTES},
    name::KeyName,
    op::{Decrypt, DecryptRequest, Encrypt, EncryptRequest, Rewrap, RewrapRequest},
};
use tokio::{
    net::UnixStream,
    sync::{Mutex, mpsc, oneshot},
};
use zeroize::Zeroizing;

use crate::{
    Address, Connection, Error, Options,
    answer::{self, DataOperation, Rewrapped},
    pipeline::refused,
};

/// Requests that wait for the task that sends them.
const QUEUED: usize = 256;
const BUFFER_BYTES: usize = 16 << 10;

type Reply = (u16, Zeroizing<Vec<u8>>);

/// A request on its way, and who waits for its reply.
struct Asked {
    frame: Zeroizing<Vec<u8>>,
    answer: oneshot::Sender<Reply>,
}

/// The agent, for tasks of a tokio runtime: shared by reference, one connection for all.
///
/// It behaves as [`crate::Client`]: lazily opened, opened again when it died or in a forked child, and an operation on
/// data is sent once more on a new connection.
pub struct AsyncClient {
    address: Address,
    options: Options,
    line: Mutex<Option<Line>>,
}

/// The way to the task that owns the socket.
#[derive(Clone)]
struct Line {
    requests: mpsc::Sender<Asked>,
    socket: PathBuf,
    owner: u32,
}

impl AsyncClient {
    /// For the agent at an address; connects when first asked.
    pub fn new(address: Address, options: Options) -> Self {
        Self { address, options, line: Mutex::new(None) }
    }

    /// Performs an operation on data, at most for as long as [`Options::timeout`].
    pub async fn data<O: DataOperation>(&self, request: &O::Request<'_>) -> Result<O::Output, Error> {
        let frame = codec::frame(0, O::CODE as u16, request).map_err(|_| Error::TooLarge)?;
        let waited = self.options.timeout;
        match tokio::time::timeout(waited, self.twice::<O>(frame)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout { path: self.path().await, waited }),
        }
    }

    /// Seals a message of at most 1 MiB; the result is a kind-01 envelope.
    pub async fn encrypt(
        &self,
        key: KeyName<'_>,
        context: Context<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let (key, context) = (key.as_str(), context.as_bytes());
        self.data::<Encrypt>(&EncryptRequest { key, context, plaintext }).await
    }

    /// Opens a kind-01 envelope.
    pub async fn decrypt(&self, context: Context<'_>, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.data::<Decrypt>(&DecryptRequest { context: context.as_bytes(), envelope }).await
    }

    /// Moves an envelope of any kind to the primary version of its key.
    pub async fn rewrap(&self, context: Context<'_>, envelope: &[u8]) -> Result<Rewrapped, Error> {
        self.data::<Rewrap>(&RewrapRequest { context: context.as_bytes(), envelope }).await
    }

    /// Asks, and once more on a new connection if one that had served before has died.
    async fn twice<O: DataOperation>(&self, frame: Zeroizing<Vec<u8>>) -> Result<O::Output, Error> {
        let (line, fresh) = self.line().await?;
        let reply = match line.ask(frame.clone()).await {
            Some(reply) => reply,
            None if fresh => return Err(Error::Closed { path: line.socket }),
            None => {
                let (line, _) = self.line().await?;
                line.ask(frame).await.ok_or(Error::Closed { path: line.socket.clone() })?
            }
        };
        let (code, body) = reply;
        let taken = if code == 0 { answer::owned::<O>(&body) } else { Err(refused(O::CODE, code, &body)) };
        taken.map_err(|unusable| unusable.on(&line.socket))
    }

    /// The way to a task whose connection lives, and whether it was made just now.
    async fn line(&self) -> Result<(Line, bool), Error> {
        let mut held = self.line.lock().await;
        let mine = |line: &&Line| line.owner == std::process::id() && !line.requests.is_closed();
        if let Some(line) = held.as_ref().filter(mine) {
            return Ok((line.clone(), false));
        }
        let line = self.open()?;
        Ok((held.insert(line).clone(), true))
    }

    /// Connects and greets as [`Connection`] does, with its check of who listens: both take as long as a local
    /// program needs for two system calls and a round trip.
    fn open(&self) -> Result<Line, Error> {
        let mut connection = Connection::open(&self.address, self.options)?;
        let in_flight = connection.hello()?.limits.in_flight;
        let (stream, socket, next_id) = connection.into_parts()?;
        let failed = |source: io::Error| Error::Transport { path: socket.clone(), source };
        stream.set_nonblocking(true).map_err(failed)?;
        let stream = UnixStream::from_std(stream).map_err(failed)?;
        let (requests, receiver) = mpsc::channel(QUEUED);
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX).max(1);
        tokio::spawn(Carrier::new(stream, receiver, next_id, in_flight).carry());
        Ok(Line { requests, socket, owner: std::process::id() })
    }

    async fn path(&self) -> PathBuf {
        self.line.lock().await.as_ref().map_or_else(PathBuf::new, |line| line.socket.clone())
    }
}

impl Line {
    /// The reply; `None` if the connection has died.
    async fn ask(&self, frame: Zeroizing<Vec<u8>>) -> Option<Reply> {
        let (answer, reply) = oneshot::channel();
        self.requests.send(Asked { frame, answer }).await.ok()?;
        reply.await.ok()
    }
}

/// The task that owns the socket. When it ends, everybody who waits learns that the connection has died.
struct Carrier {
    stream: UnixStream,
    requests: mpsc::Receiver<Asked>,
    waiting: HashMap<u32, oneshot::Sender<Reply>>,
    next_id: u32,
    in_flight: usize,
    /// What is to be sent, and how much of it was.
    outgoing: Option<(Zeroizing<Vec<u8>>, usize)>,
    incoming: Zeroizing<Vec<u8>>,
    filled: usize,
}

/// What can be done next.
enum Next {
    Send(Asked),
    Read,
    Write,
    End,
}

impl Carrier {
    fn new(stream: UnixStream, requests: mpsc::Receiver<Asked>, next_id: u32, in_flight: usize) -> Self {
        let incoming = Zeroizing::new(vec![0; BUFFER_BYTES]);
        let waiting = HashMap::new();
        Self { stream, requests, waiting, next_id, in_flight, outgoing: None, incoming, filled: 0 }
    }

    async fn carry(mut self) {
        loop {
            let done = match self.next().await {
                Next::Send(asked) => self.accept(asked),
                Next::Write => self.write(),
                Next::Read => self.read(),
                Next::End => return,
            };
            if done.is_none() {
                // No caller may send into a queue that nobody reads.
                return self.requests.close();
            }
        }
    }

    async fn next(&mut self) -> Next {
        poll_fn(|task| {
            match self.stream.poll_read_ready(task) {
                Poll::Ready(Ok(())) => return Poll::Ready(Next::Read),
                Poll::Ready(Err(_)) => return Poll::Ready(Next::End),
                Poll::Pending => {}
            }
            if self.outgoing.is_some() {
                return self
                    .stream
                    .poll_write_ready(task)
                    .map(|ready| if ready.is_ok() { Next::Write } else { Next::End });
            }
            if self.waiting.len() >= self.in_flight {
                return Poll::Pending;
            }
            self.requests.poll_recv(task).map(|asked| asked.map_or(Next::End, Next::Send))
        })
        .await
    }

    fn accept(&mut self, asked: Asked) -> Option<()> {
        let Asked { mut frame, answer } = asked;
        let id = frame.get_mut(LENGTH_BYTES..)?.first_chunk_mut::<4>()?;
        *id = self.next_id.to_le_bytes();
        self.waiting.insert(self.next_id, answer);
        self.next_id = self.next_id.wrapping_add(1);
        self.outgoing = Some((frame, 0));
        self.write()
    }

    fn write(&mut self) -> Option<()> {
        while let Some((frame, sent)) = &mut self.outgoing {
            match self.stream.try_write(frame.get(*sent..).unwrap_or_default()) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            if *sent >= frame.len() {
                self.outgoing = None;
            }
        }
        Some(())
    }

    fn read(&mut self) -> Option<()> {
        let room = self.incoming.get_mut(self.filled..).unwrap_or_default();
        match self.stream.try_read(room) {
            Ok(0) => return None,
            Ok(count) => self.filled += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Some(());
            }
            Err(_) => return None,
        }
        let mut start = 0;
        let mut needed = HEADER_BYTES;
        while let Some(header) = Header::parse(self.incoming.get(start..self.filled)?).ok()? {
            let frame = start..start + header.frame_bytes();
            if frame.end > self.filled {
                needed = header.frame_bytes();
                break;
            }
            // An id that nobody used, or a flag: nothing more of this connection can be trusted.
            let answer = self.waiting.remove(&header.request_id).filter(|_| !header.on_behalf_of)?;
            let body = self.incoming.get(start + HEADER_BYTES..frame.end)?;
            // Whoever asked may have given up.
            let _ = answer.send((header.code, Zeroizing::new(body.to_vec())));
            start = frame.end;
        }
        self.make_room(start, needed);
        Some(())
    }

    /// Moves what is unread to the front of a buffer with room for this many bytes.
    fn make_room(&mut self, start: usize, needed: usize) {
        let unread = self.filled - start;
        if needed > self.incoming.len() {
            let mut larger = Zeroizing::new(vec![0; needed]);
            for (to, from) in larger.iter_mut().zip(self.incoming.get(start..self.filled).unwrap_or_default())
            {
                *to = *from;
            }
            self.incoming = larger;
        } else {
            self.incoming.copy_within(start..self.filled, 0);
        }
        self.filled = unread;
    }
}

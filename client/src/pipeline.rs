//! Requests that are queued and sent together: one write for all of them instead of a round trip for each.
//!
//! Each reply is found by the ticket of its request, so that none can be taken for another's.

use std::{fmt, marker::PhantomData, path::PathBuf};

use keyagent_common::{codec, op::OperationCode};
use zeroize::Zeroizing;

use crate::{
    Connection, Error,
    answer::{self, DataOperation},
};

/// Requests on data, of any kinds, in the order in which they are to be sent. They are copied, and wiped when dropped.
#[derive(Default)]
pub struct Pipeline {
    frames: Vec<Zeroizing<Vec<u8>>>,
    operations: Vec<OperationCode>,
}

/// Which request of a [`Pipeline`] a reply belongs to.
pub struct Ticket<O> {
    place: usize,
    operation: PhantomData<fn() -> O>,
}

/// The replies to a [`Pipeline`]; wiped when dropped.
pub struct Replies {
    socket: PathBuf,
    /// Code and body; `None` once it was taken.
    replies: Vec<Option<(u16, Zeroizing<Vec<u8>>)>>,
}

impl Pipeline {
    /// Nothing queued.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a request such as `EncryptRequest`; [`Error::TooLarge`] if it does not fit into a frame.
    pub fn push<O: DataOperation>(&mut self, request: &O::Request<'_>) -> Result<Ticket<O>, Error> {
        let frame = codec::frame(0, O::CODE as u16, request).map_err(|_| Error::TooLarge)?;
        self.frames.push(frame);
        self.operations.push(O::CODE);
        Ok(Ticket { place: self.frames.len() - 1, operation: PhantomData })
    }

    /// How many requests are queued.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline({:?})", self.operations)
    }
}

impl<O> Clone for Ticket<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Ticket<O> {}

impl Replies {
    /// The answer to a request: what it gave, or why it was refused. Each can be taken once; a ticket of another
    /// pipeline, or one that was used, gives [`Error::NoReply`].
    pub fn take<O: DataOperation>(&mut self, ticket: Ticket<O>) -> Result<O::Output, Error> {
        let reply = self.replies.get_mut(ticket.place).and_then(Option::take);
        let (code, body) = reply.ok_or(Error::NoReply)?;
        let taken = if code == 0 { answer::owned::<O>(&body) } else { Err(refused(O::CODE, code, &body)) };
        taken.map_err(|unusable| unusable.on(&self.socket))
    }
}

impl Connection {
    /// Sends everything that was queued and waits for the replies: as many at a time as the daemon allows, written
    /// while replies are read. Each reply has the time of one operation, counted from the one before it.
    ///
    /// An error means that the connection failed: whether a request was carried out is then unknown. What the daemon
    /// refused is told by [`Replies::take`].
    pub fn run(&mut self, pipeline: &mut Pipeline) -> Result<Replies, Error> {
        let mut replies: Vec<Option<(u16, Zeroizing<Vec<u8>>)>> = Vec::new();
        replies.resize_with(pipeline.len(), || None);
        self.exchange(&mut pipeline.frames, |place, code, body| {
            if let Some(reply) = replies.get_mut(place) {
                *reply = Some((code, Zeroizing::new(body.to_vec())));
            }
        })?;
        Ok(Replies { socket: self.socket().to_path_buf(), replies })
    }

    /// Requests of one operation, each in a frame of its own, and their answers in order.
    pub(crate) fn one_by_one<O: DataOperation>(
        &mut self,
        requests: &[O::Request<'_>],
    ) -> Result<Vec<Result<O::Output, Error>>, Error> {
        let mut pipeline = Pipeline::new();
        let tickets: Vec<_> = requests.iter().map(|request| pipeline.push::<O>(request)).collect();
        let mut replies = self.run(&mut pipeline)?;
        Ok(tickets.into_iter().map(|ticket| replies.take(ticket?)).collect())
    }
}

/// The refusal in a reply.
pub(crate) fn refused(operation: OperationCode, code: u16, body: &[u8]) -> answer::Unusable {
    match answer::refusal(operation, code, body) {
        Ok(error) => answer::Unusable::Refused(error),
        Err(unusable) => unusable,
    }
}

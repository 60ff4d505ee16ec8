//! What a connection has received and not answered, and where it lies until then.

use std::ops::Range;

use keyagent_common::frame::{HEADER_BYTES, Header};

use super::{Ended, Received};
use crate::buffers::{Buffers, Lease, Reserve};

/// Input that waits for the rest of its frame, or for its turn.
pub(super) enum Carry {
    Nothing,
    /// A frame has begun, and so much of its header was read: no payload, so it needs no locked memory.
    /// What else there is of it was seen in the socket and left there.
    Begun([u8; HEADER_BYTES], usize),
    /// Part of one frame.
    Frame {
        lease: Lease,
        filled: usize,
        needed: usize,
    },
    /// Frames that wait for their turn, or until the peer has taken earlier replies.
    Waiting(Lease, Range<usize>),
    /// So many bytes of a refused frame are yet to come, and to be thrown away.
    Refused(usize),
}

/// A frame that waits for a buffer of its size.
pub(super) struct Homeless {
    pub(super) header: Header,
    begin: Begin,
}

enum Begin {
    Bytes([u8; HEADER_BYTES], usize),
    Lease(Lease, Range<usize>),
}

impl Homeless {
    /// One of whose header so much was read; the rest is left in the socket.
    pub(super) fn in_socket(header: Header, bytes: [u8; HEADER_BYTES], length: usize) -> Self {
        Self { header, begin: Begin::Bytes(bytes, length) }
    }

    /// What was read of it.
    pub(super) fn begin(&self) -> &[u8] {
        match &self.begin {
            Begin::Bytes(bytes, length) => bytes.get(..*length),
            Begin::Lease(lease, range) => lease.get(range.clone()),
        }
        .unwrap_or_default()
    }

    /// Moves into its buffer.
    pub(super) fn settle(self, mut lease: Lease) -> Result<Carry, Ended> {
        let begin = self.begin();
        lease.get_mut(..begin.len()).ok_or(Ended)?.copy_from_slice(begin);
        Ok(Carry::Frame { filled: begin.len(), lease, needed: self.header.frame_bytes() })
    }
}

/// Why input has to wait.
#[derive(Clone, Copy)]
pub(super) enum Why {
    /// It is the beginning of a frame of so many bytes.
    Incomplete(usize),
    /// Its turn comes later.
    Later,
}

impl Carry {
    /// Moves unanswered input out of the worker's scratch. With a reserve there is always a place for it.
    pub(super) fn from_scratch(
        buffers: &Buffers,
        reserve: &mut Reserve,
        rest: &[u8],
        why: Why,
    ) -> Result<(Self, Received), Ended> {
        if let Some(carry) = Self::without_lease(rest, why) {
            return Ok((carry, Received::Done));
        }
        let wanted = match why {
            Why::Incomplete(needed) => needed.max(rest.len()),
            Why::Later => rest.len(),
        };
        let lease = buffers.try_lease(wanted).or_else(|| buffers.try_lease(rest.len()));
        let mut lease = lease.or_else(|| reserve.take_tail()).ok_or(Ended)?;
        lease.get_mut(..rest.len()).ok_or(Ended)?.copy_from_slice(rest);
        Self::from_lease(buffers, lease, 0..rest.len(), why)
    }

    /// Unanswered input that lies in a lease already.
    pub(super) fn from_lease(
        buffers: &Buffers,
        mut lease: Lease,
        range: Range<usize>,
        why: Why,
    ) -> Result<(Self, Received), Ended> {
        let rest = lease.get(range.clone()).ok_or(Ended)?;
        if let Some(carry) = Self::without_lease(rest, why) {
            return Ok((carry, Received::Done));
        }
        let needed = match why {
            Why::Later => return Ok((Self::Waiting(lease, range), Received::Done)),
            Why::Incomplete(needed) => needed,
        };
        if needed <= lease.frame_room() {
            let filled = range.len();
            lease.copy_within(range, 0);
            return Ok((Self::Frame { lease, filled, needed }, Received::Done));
        }
        let header = Header::parse(rest.get(..HEADER_BYTES).unwrap_or(rest)).ok().flatten().ok_or(Ended)?;
        let homeless = Homeless { header, begin: Begin::Lease(lease, range) };
        match buffers.try_lease(needed) {
            Some(lease) => Ok((homeless.settle(lease)?, Received::Done)),
            None => Ok((Self::Nothing, Received::Wait(homeless))),
        }
    }

    fn without_lease(rest: &[u8], why: Why) -> Option<Self> {
        if rest.is_empty() {
            return Some(Self::Nothing);
        }
        let mut bytes = [0; HEADER_BYTES];
        match why {
            Why::Incomplete(_) if rest.len() < HEADER_BYTES => {
                bytes.get_mut(..rest.len())?.copy_from_slice(rest);
                Some(Self::Begun(bytes, rest.len()))
            }
            _ => None,
        }
    }
}

//! Reply frames, written one behind the other into a fixed buffer; payloads are sealed and opened in
//! place there.

use keyagent_common::{
    codec::{self, Encode},
    error::ErrorCode,
    frame::{HEADER_BYTES, Header},
    op::ErrorReply,
};

/// Most bytes of a reply that is not payload: header, fields, error texts.
pub const REPLY_OVERHEAD_BYTES: usize = 1024;

/// Bytes of a reply before the frames that are its payload.
pub const NESTED_HEAD_BYTES: usize = HEADER_BYTES + size_of::<u64>();

/// A reply that was begun and not ended.
#[derive(Debug)]
#[must_use]
pub struct Nested {
    request_id: u32,
    start: usize,
}

/// The reply does not fit into what is left of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room left for the reply")]
pub struct NoRoom;

/// Frames written so far, and the room behind them.
///
/// Whatever is dropped from it (an operation that failed) is wiped.
pub struct ReplyBuffer<'b> {
    bytes: &'b mut [u8],
    filled: usize,
}

impl<'b> ReplyBuffer<'b> {
    /// An empty buffer.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, filled: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes left.
    pub fn room(&self) -> usize {
        self.bytes.len().saturating_sub(self.filled)
    }

    /// The frames written.
    pub fn frames(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Wipes every frame from `length` on.
    pub fn truncate(&mut self, length: usize) {
        if let Some(dropped) = self.bytes.get_mut(length..self.filled) {
            zeroize::Zeroize::zeroize(dropped);
            self.filled = length;
        }
    }

    /// A success reply that consists of fields only.
    pub fn success<T: Encode>(&mut self, request_id: u32, reply: &T) -> Result<(), NoRoom> {
        self.payload(request_id, reply, 0).map(|_| ())
    }

    /// A success reply of fields and a payload of `payload_bytes`, which the caller fills in.
    ///
    /// The last field of `head` is the length of that payload, as the protocol writes byte strings.
    pub fn payload<T: Encode>(
        &mut self,
        request_id: u32,
        head: &T,
        payload_bytes: usize,
    ) -> Result<&mut [u8], NoRoom> {
        self.frame(request_id, 0, head, payload_bytes)
    }

    /// An error reply.
    pub fn error(&mut self, request_id: u32, code: ErrorCode, body: &ErrorReply<'_>) -> Result<(), NoRoom> {
        self.frame(request_id, code as u16, body, 0).map(|_| ())
    }

    /// Begins a success reply whose payload is frames: those that are written until [`Self::end_nested`].
    pub fn begin_nested(&mut self, request_id: u32) -> Result<Nested, NoRoom> {
        let start = self.filled;
        self.frame(request_id, 0, &0_u64, 0)?;
        Ok(Nested { request_id, start })
    }

    /// Ends it: all that was written since is its one field.
    pub fn end_nested(&mut self, Nested { request_id, start }: Nested) -> Result<(), NoRoom> {
        let end = self.filled;
        let payload = end.checked_sub(start + NESTED_HEAD_BYTES).ok_or(NoRoom)?;
        self.filled = start;
        let done = self.frame(request_id, 0, &(payload as u64), payload).map(|_| ());
        if done.is_err() {
            // What was written is still there: whoever drops it has to be able to wipe it.
            self.filled = end;
        }
        done
    }

    /// A whole frame that was made before.
    pub fn raw(&mut self, frame: &[u8]) -> Result<(), NoRoom> {
        let place = self.bytes.get_mut(self.filled..self.filled + frame.len()).ok_or(NoRoom)?;
        place.copy_from_slice(frame);
        self.filled += frame.len();
        Ok(())
    }

    fn frame<T: Encode>(
        &mut self,
        request_id: u32,
        code: u16,
        head: &T,
        payload: usize,
    ) -> Result<&mut [u8], NoRoom> {
        let room = self.bytes.get_mut(self.filled..).ok_or(NoRoom)?;
        let (header_place, body) = room.split_at_mut_checked(HEADER_BYTES).ok_or(NoRoom)?;
        let head_bytes = codec::encode(head, body).map_err(|_| NoRoom)?;
        let header = Header { body_bytes: head_bytes + payload, request_id, code, on_behalf_of: false };
        let payload_place = body.get_mut(head_bytes..head_bytes + payload).ok_or(NoRoom)?;
        header_place.copy_from_slice(&header.encode().map_err(|_| NoRoom)?);
        self.filled += header.frame_bytes();
        Ok(payload_place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use keyagent_common::{
        frame::MAX_LENGTH,
        op::{BatchReply, Empty, EncryptReply, EncryptReplyHead},
    };

    #[test]
    fn a_payload_written_in_place_decodes_as_the_typed_reply() {
        let mut bytes = [0; 128];
        let mut replies = ReplyBuffer::new(&mut bytes);
        let head = EncryptReplyHead { version: 3, envelope_bytes: 2 };
        replies.payload(9, &head, 2).unwrap().copy_from_slice(b"ab");
        let (header, body) = replies.frames().split_at(HEADER_BYTES);
        let header = Header::parse(header).unwrap().unwrap();
        assert_eq!((header.request_id, header.code, header.body_bytes), (9, 0, body.len()));
        assert_eq!(codec::decode::<EncryptReply<'_>>(body), Ok(EncryptReply { version: 3, envelope: b"ab" }));
    }

    #[test]
    fn frames_within_a_frame_are_its_one_field() {
        let mut bytes = [0; 128];
        let mut replies = ReplyBuffer::new(&mut bytes);
        replies.success(1, &Empty {}).unwrap();
        let nested = replies.begin_nested(9).unwrap();
        replies.success(0, &7_u32).unwrap();
        replies.success(1, &8_u32).unwrap();
        replies.end_nested(nested).unwrap();
        let (header, body) = replies.frames()[HEADER_BYTES..].split_at(HEADER_BYTES);
        let header = Header::parse(header).unwrap().unwrap();
        assert_eq!((header.request_id, header.code, header.body_bytes), (9, 0, body.len()));
        let results = codec::decode::<BatchReply<'_>>(body).unwrap().results;
        let wanted = [codec::frame(0, 0, &7_u32).unwrap(), codec::frame(1, 0, &8_u32).unwrap()];
        assert_eq!(results, [&wanted[0][..], &wanted[1][..]].concat());
    }

    #[test]
    fn frames_that_are_too_long_for_a_frame_can_still_be_wiped() {
        let mut bytes = vec![0; MAX_LENGTH + 1024];
        let mut replies = ReplyBuffer::new(&mut bytes);
        let nested = replies.begin_nested(9).unwrap();
        let room = replies.room();
        replies.raw(&vec![7; room]).unwrap();
        assert_eq!(replies.end_nested(nested), Err(NoRoom));
        assert_eq!(replies.room(), 0);
        replies.truncate(0);
        assert!(replies.is_empty() && bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_dropped_is_wiped() {
        let mut bytes = [0; 40];
        let mut replies = ReplyBuffer::new(&mut bytes);
        replies.success(1, &Empty {}).unwrap();
        let kept = replies.len();
        replies.payload(2, &1_u64, 8).unwrap().fill(7);
        assert_eq!(replies.success(3, &Empty {}), Err(NoRoom));
        replies.truncate(kept);
        assert_eq!(replies.len(), HEADER_BYTES);
        assert_eq!(bytes[HEADER_BYTES..], [0; 28]);
    }
}

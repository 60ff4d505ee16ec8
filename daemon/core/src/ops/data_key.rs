//! `data_key`: makes a random 32-byte key and gives it plain and sealed.

use keyagent_common::{
    context::Context,
    envelope::{DATA_KEY_BYTES, Kind},
    op::{DataKey, DataKeyRequest},
};

use super::{DataOperation, OperationError, Target, Work, sealing};
use crate::{arena::Arena, authorize::Authorized, reply::ReplyBuffer};

/// Where the plain key and the envelope's length stand behind the reply's fields.
const PLAIN_BYTES: usize = 32;

impl DataOperation for DataKey {
    fn target<'a>(request: &Self::Request<'a>) -> Target<'a> {
        Target::Primary(request.key)
    }

    fn context<'a>(request: &Self::Request<'a>) -> &'a [u8] {
        request.context
    }

    fn payload_bytes(_: &DataKeyRequest<'_>) -> usize {
        PLAIN_BYTES
    }

    fn opens(_: Kind, _: usize) -> bool {
        false
    }

    fn run<A: Arena>(
        authorized: &Authorized<'_, A, Self>,
        request: &DataKeyRequest<'_>,
        context: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<(), OperationError> {
        let kind = match Kind::from_byte(request.kind) {
            Some(kind @ (Kind::StreamKey | Kind::DataKey)) => kind,
            Some(Kind::Message) | None => return Err(OperationError::InvalidKind),
        };
        // The reply is `version u32, plain (u64 length, bytes), envelope (u64 length, bytes)`: the head
        // ends with the first length, everything behind it is written in place.
        let head = (authorized.version(), PLAIN_BYTES as u64);
        let room = PLAIN_BYTES + size_of::<u64>() + DATA_KEY_BYTES;
        let place = replies.payload(request_id, &head, room).map_err(|_| OperationError::Internal)?;
        let (plain, rest) = place.split_at_mut_checked(PLAIN_BYTES).ok_or(OperationError::Internal)?;
        let (length, envelope) = rest.split_first_chunk_mut::<8>().ok_or(OperationError::Internal)?;
        *length = (DATA_KEY_BYTES as u64).to_le_bytes();
        work.entropy.fill(plain).map_err(|_| OperationError::Internal)?;
        sealing::seal((authorized.cipher(), authorized.key_id()), kind, context, work, plain, envelope)
    }
}

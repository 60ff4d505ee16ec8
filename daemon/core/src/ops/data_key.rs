//! `data_key`: makes a random 32-byte key and gives it plain and sealed, or sealed only where a rule says so.

use keyagent_common::{
    context::Context,
    envelope::{DATA_KEY_BYTES, Kind},
    op::{DataKey, DataKeyRequest},
};
use zeroize::Zeroizing;

use super::{DataOperation, OperationError, Target, Used, Work, sealing};
use crate::{arena::Arena, authorize::Authorized, keyring::Class, reply::ReplyBuffer};

/// Where the plain key and the envelope's length stand behind the reply's fields.
const PLAIN_BYTES: usize = 32;

impl DataOperation for DataKey {
    const CLASS: Class = Class::Message;

    fn seals(_: bool) -> bool {
        true
    }

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

    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &DataKeyRequest<'_>,
        context: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError> {
        let kind = match Kind::from_byte(request.kind) {
            Some(kind @ (Kind::StreamKey | Kind::DataKey)) => kind,
            Some(Kind::Message) | None => return Err(OperationError::InvalidKind),
        };
        // The reply is `version u32, plain (u64 length, bytes), envelope (u64 length, bytes)`: the head
        // ends with the first length, everything behind it is written in place. A plain key that may not
        // leave is made on the stack, and its length in the reply is 0.
        let given_bytes = if authorized.may_reveal() { PLAIN_BYTES } else { 0 };
        let head = (authorized.version(), given_bytes as u64);
        let room = given_bytes + size_of::<u64>() + DATA_KEY_BYTES;
        let place = replies.payload(request_id, &head, room).map_err(|_| OperationError::Internal)?;
        let (given, rest) = place.split_at_mut_checked(given_bytes).ok_or(OperationError::Internal)?;
        let (length, envelope) = rest.split_first_chunk_mut::<8>().ok_or(OperationError::Internal)?;
        *length = (DATA_KEY_BYTES as u64).to_le_bytes();
        let mut hidden = Zeroizing::new([0; PLAIN_BYTES]);
        let plain: &mut [u8] = if authorized.may_reveal() { given } else { &mut *hidden };
        work.entropy.fill(plain).map_err(|_| OperationError::Internal)?;
        let mut made = None;
        let cipher = authorized.cipher(&mut made)?;
        sealing::seal((cipher, authorized.key_id()), kind, context, work, plain, envelope)?;
        Ok(Used::Asked)
    }
}

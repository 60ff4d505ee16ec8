//! `encrypt`: seals a message under the primary version of a key.

use keyagent_common::{
    context::Context,
    envelope::{Kind, OVERHEAD_BYTES},
    frame::MAX_MESSAGE_BYTES,
    op::{Encrypt, EncryptReplyHead, EncryptRequest},
};

use super::{DataOperation, OperationError, Target, Used, Work, sealing};
use crate::{arena::Arena, authorize::Authorized, keyring::Class, reply::ReplyBuffer};

impl DataOperation for Encrypt {
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

    fn payload_bytes(request: &EncryptRequest<'_>) -> usize {
        request.plaintext.len()
    }

    fn opens(_: Kind, _: usize) -> bool {
        false
    }

    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &EncryptRequest<'_>,
        context: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError> {
        if request.plaintext.len() > MAX_MESSAGE_BYTES {
            return Err(OperationError::TooLarge);
        }
        let sealed_bytes = request.plaintext.len() + OVERHEAD_BYTES;
        let head = EncryptReplyHead { version: authorized.version(), envelope_bytes: sealed_bytes as u64 };
        let place = replies.payload(request_id, &head, sealed_bytes).map_err(|_| OperationError::Internal)?;
        let mut made = None;
        let cipher = authorized.cipher(&mut made)?;
        sealing::seal((cipher, authorized.key_id()), Kind::Message, context, work, request.plaintext, place)?;
        Ok(Used::Asked)
    }
}

//! `decrypt`: opens a kind-01 envelope under the version that sealed it.

use keyagent_common::{
    context::Context,
    envelope::Kind,
    op::{Decrypt, DecryptReplyHead, DecryptRequest},
};

use super::{DataOperation, OperationError, Target, Used, Work, sealing};
use crate::{arena::Arena, authorize::Authorized, keyring::Class, reply::ReplyBuffer};

impl DataOperation for Decrypt {
    const CLASS: Class = Class::Message;

    fn seals(_: bool) -> bool {
        false
    }

    fn target<'a>(request: &Self::Request<'a>) -> Target<'a> {
        Target::Sealed(request.envelope)
    }

    fn context<'a>(request: &Self::Request<'a>) -> &'a [u8] {
        request.context
    }

    fn payload_bytes(request: &DecryptRequest<'_>) -> usize {
        request.envelope.len()
    }

    fn opens(kind: Kind, _: usize) -> bool {
        kind == Kind::Message
    }

    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &DecryptRequest<'_>,
        context: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError> {
        let plaintext_bytes = sealing::plaintext_bytes(request.envelope)?;
        let head = DecryptReplyHead {
            version: authorized.version(),
            current: authorized.is_primary(),
            plaintext_bytes: plaintext_bytes as u64,
        };
        let place =
            replies.payload(request_id, &head, plaintext_bytes).map_err(|_| OperationError::Internal)?;
        let mut made = None;
        sealing::open(authorized.cipher(&mut made)?, request.envelope, context, work, place)?;
        Ok(Used::Asked)
    }
}

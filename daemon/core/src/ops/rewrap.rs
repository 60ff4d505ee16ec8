//! `rewrap`: seals anew, under the primary version of its key, what an older version sealed.
//!
//! The plaintext is opened in the reply buffer and sealed where it lies. Must never leave it there: whatever fails,
//! the whole reply is wiped.

use keyagent_common::{
    context::Context,
    envelope::{Envelope, Kind},
    op::{Rewrap, RewrapReplyHead, RewrapRequest},
};

use super::{DataOperation, OperationError, Target, Used, Work, sealing};
use crate::{arena::Arena, authorize::Authorized, keyring::Class, reply::ReplyBuffer};

impl DataOperation for Rewrap {
    const CLASS: Class = Class::Message;

    /// What is current is only opened.
    fn seals(is_primary: bool) -> bool {
        !is_primary
    }

    fn target<'a>(request: &Self::Request<'a>) -> Target<'a> {
        Target::Sealed(request.envelope)
    }

    fn context<'a>(request: &Self::Request<'a>) -> &'a [u8] {
        request.context
    }

    fn payload_bytes(request: &RewrapRequest<'_>) -> usize {
        request.envelope.len()
    }

    /// Every kind: nothing comes out in the clear.
    fn opens(kind: Kind, sealed_bytes: usize) -> bool {
        kind == Kind::Message || sealing::is_data_key(kind, sealed_bytes)
    }

    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &RewrapRequest<'_>,
        context: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError> {
        let primary = authorized.primary().ok_or(OperationError::Internal)?;
        let changed = !authorized.is_primary();
        let sealed_bytes = request.envelope.len();
        let head =
            RewrapReplyHead { version: primary.version(), changed, envelope_bytes: sealed_bytes as u64 };
        let place = replies.payload(request_id, &head, sealed_bytes).map_err(|_| OperationError::Internal)?;
        let kind = Envelope::parse(request.envelope).map_err(|_| OperationError::DoesNotOpen)?.kind;
        let (mut old, mut new) = (None, None);
        let text = sealing::text_of(place)?;
        sealing::open(authorized.cipher(&mut old)?, request.envelope, context, work, text)?;
        if changed {
            let cipher = primary.cipher(&mut new)?;
            sealing::seal_in_place((cipher, primary.key_id()), kind, context, work, place)?;
        } else {
            place.copy_from_slice(request.envelope);
        }
        Ok(Used::Asked)
    }
}

//! Sealing into and opening out of a reply, in place: what all four operations share.

use keyagent_common::{
    context::Context,
    envelope::{self, Envelope, HEADER_BYTES, Kind, OVERHEAD_BYTES, PREFIX_BYTES, TAG_BYTES},
};

use super::{OperationError, Work};
use crate::{arena::Arena, authorize::Authorized};

/// Seals the plaintext that already lies at `place[57..place.len() - 16]`; the rest is written around it.
pub(super) fn seal<A: Arena, O>(
    authorized: &Authorized<'_, A, O>,
    kind: Kind,
    context: Context<'_>,
    work: &mut Work<'_>,
    place: &mut [u8],
) -> Result<(), OperationError> {
    let mut nonce = [0; 24];
    work.entropy.fill(&mut nonce).map_err(|_| OperationError::Internal)?;
    let header = envelope::header(kind, authorized.key_id(), &nonce);
    let prefix: &[u8; PREFIX_BYTES] = header.first_chunk().ok_or(OperationError::Internal)?;
    envelope::associated_data(prefix, context.as_bytes(), work.associated_data);
    let (head, body) = place.split_at_mut_checked(HEADER_BYTES).ok_or(OperationError::Internal)?;
    let (text, tag_place) = body.split_last_chunk_mut::<TAG_BYTES>().ok_or(OperationError::Internal)?;
    head.copy_from_slice(&header);
    let sealed = authorized.cipher().seal_in_place(&nonce, work.associated_data, text);
    *tag_place = sealed.map_err(|_| OperationError::Internal)?;
    Ok(())
}

/// Bytes of the plaintext of an envelope.
pub(super) fn plaintext_bytes(sealed: &[u8]) -> Result<usize, OperationError> {
    sealed.len().checked_sub(OVERHEAD_BYTES).ok_or(OperationError::DoesNotOpen)
}

/// Opens `sealed` into `place`, which is exactly as long as the plaintext; on failure `place` is zero.
pub(super) fn open<A: Arena, O>(
    authorized: &Authorized<'_, A, O>,
    sealed: &[u8],
    context: Context<'_>,
    work: &mut Work<'_>,
    place: &mut [u8],
) -> Result<(), OperationError> {
    let parsed = Envelope::parse(sealed).map_err(|_| OperationError::DoesNotOpen)?;
    if place.len() != parsed.ciphertext.len() {
        return Err(OperationError::Internal);
    }
    envelope::associated_data(parsed.prefix, context.as_bytes(), work.associated_data);
    place.copy_from_slice(parsed.ciphertext);
    let opened = authorized.cipher().open_in_place(parsed.nonce, work.associated_data, place, parsed.tag);
    opened.map_err(|_| OperationError::DoesNotOpen)
}

//! `hmac`: the blind index of a value (docs/FORMATS.md, section 6 "Blind index").
//!
//! `tag = id[..8] || HMAC-SHA-256(KDF(secret, "blind index", 32), context || value)[..n]`, n from 8 to 32.

use keyagent_common::{
    context::Context,
    envelope::Kind,
    frame::MAX_MESSAGE_BYTES,
    kdf,
    op::{HMAC_ID_BYTES, HMAC_TAG_BYTES, HmacRequest, HmacTag},
};
use zeroize::Zeroizing;

use super::{
    DataOperation, OperationError, Target, Used, Work,
    mac::{self, MAC_BYTES},
    records::MAX_TRIED,
};
use crate::{arena::Arena, authorize::Authorized, keyring::Class, reply::ReplyBuffer};

/// Most tags of one reply.
pub(super) const MAX_TAGS: usize = MAX_TRIED;
/// What stands before a tag in a reply: `version u32, length u64`.
const TAG_HEAD_BYTES: usize = 12;
/// Most bytes of a tag and what stands before it.
pub(super) const MAX_ENTRY_BYTES: usize = TAG_HEAD_BYTES + HMAC_ID_BYTES + MAC_BYTES;

impl DataOperation for HmacTag {
    const CLASS: Class = Class::Index;

    /// Look-ups need it.
    fn seals(_: bool) -> bool {
        false
    }

    fn target<'a>(request: &Self::Request<'a>) -> Target<'a> {
        Target::Primary(request.key)
    }

    fn context<'a>(request: &Self::Request<'a>) -> &'a [u8] {
        request.context
    }

    fn payload_bytes(request: &HmacRequest<'_>) -> usize {
        request.value.len()
    }

    fn opens(_: Kind, _: usize) -> bool {
        false
    }

    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &HmacRequest<'_>,
        context: Context<'_>,
        request_id: u32,
        _: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError> {
        if !HMAC_TAG_BYTES.contains(&request.tag_bytes) {
            return Err(OperationError::InvalidTagLength);
        }
        if request.value.len() > MAX_MESSAGE_BYTES {
            return Err(OperationError::TooLarge);
        }
        let tag_bytes = HMAC_ID_BYTES + usize::from(request.tag_bytes);
        let wanted = if request.every_version { usize::MAX } else { 1 };
        let tags = authorized.every_version().take(wanted).count();
        if tags > MAX_TAGS {
            return Err(OperationError::TooManyVersions);
        }
        // The reply is `count u64`, then `version u32, tag (u64 length, bytes)` of each: written in place.
        let room = tags * (TAG_HEAD_BYTES + tag_bytes);
        let place =
            replies.payload(request_id, &(tags as u64), room).map_err(|_| OperationError::Internal)?;
        let entries = place.chunks_exact_mut(TAG_HEAD_BYTES + tag_bytes);
        for (version, entry) in authorized.every_version().zip(entries) {
            let (head, tag) = entry.split_at_mut_checked(TAG_HEAD_BYTES).ok_or(OperationError::Internal)?;
            let (number, length) = head.split_at_mut_checked(4).ok_or(OperationError::Internal)?;
            number.copy_from_slice(&version.version().to_le_bytes());
            length.copy_from_slice(&(tag_bytes as u64).to_le_bytes());
            write_tag(&version, context, request.value, tag)?;
        }
        Ok(if request.every_version { Used::Every } else { Used::Asked })
    }
}

/// Writes id bytes and tag of one version.
fn write_tag<A: Arena>(
    version: &Authorized<'_, A, HmacTag>,
    context: Context<'_>,
    value: &[u8],
    place: &mut [u8],
) -> Result<(), OperationError> {
    let mac = version.with_secret(|secret| {
        let mut key = Zeroizing::new([0; 32]);
        kdf::derive(secret.try_into().ok()?, "blind index", &[], &mut *key);
        Some(mac::hmac_sha256(&*key, &[context.as_bytes(), value]))
    })?;
    let mac = mac.ok_or(OperationError::Internal)?;
    let (id, tag) = place.split_at_mut_checked(HMAC_ID_BYTES).ok_or(OperationError::Internal)?;
    id.copy_from_slice(version.key_id().get(..HMAC_ID_BYTES).ok_or(OperationError::Internal)?);
    tag.copy_from_slice(mac.get(..tag.len()).ok_or(OperationError::Internal)?);
    Ok(())
}

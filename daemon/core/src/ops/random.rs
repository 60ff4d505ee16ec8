//! `random`: bytes of the operating system's generator, written into the reply.

use keyagent_common::op::{MAX_RANDOM_BYTES, Random, RandomRequest};

use super::{OperationError, Work};
use crate::{authorize::AuthorizedWithoutKey, reply::ReplyBuffer};

/// Writes the reply; the number of bytes.
pub(crate) fn random(
    _: &AuthorizedWithoutKey<Random>,
    RandomRequest { bytes }: RandomRequest,
    request_id: u32,
    work: &mut Work<'_>,
    replies: &mut ReplyBuffer<'_>,
) -> Result<u64, OperationError> {
    if bytes == 0 || bytes > MAX_RANDOM_BYTES {
        return Err(OperationError::InvalidRandomLength);
    }
    let room = usize::try_from(bytes).map_err(|_| OperationError::Internal)?;
    let place = replies.payload(request_id, &u64::from(bytes), room).map_err(|_| OperationError::Internal)?;
    work.entropy.fill(place).map_err(|_| OperationError::Internal)?;
    Ok(bytes.into())
}

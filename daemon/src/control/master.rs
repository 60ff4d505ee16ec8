//! The keyring sealed under another master key.

use keyagent_core::reply::{NoRoom, ReplyBuffer};

use super::{Asked, MALFORMED};
use keyagent_common::error::ErrorCode;

pub(super) fn rotate(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

//! Backups: keys that leave sealed, and keys that come back.

use keyagent_core::reply::{NoRoom, ReplyBuffer};

use super::{Asked, MALFORMED};
use keyagent_common::error::ErrorCode;

pub(super) fn create(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

pub(super) fn restore(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

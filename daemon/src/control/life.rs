//! The life of a key and of its versions.

use keyagent_core::reply::{NoRoom, ReplyBuffer};

use super::{Asked, MALFORMED};
use keyagent_common::error::ErrorCode;

pub(super) fn show(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

pub(super) fn configure(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

pub(super) fn rotate(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

pub(super) fn promote(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

pub(super) fn retire(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

pub(super) fn reinstate(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

pub(super) fn destroy(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    asked.refuse(ErrorCode::UnknownOperation, &MALFORMED, replies)
}

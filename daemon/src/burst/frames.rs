//! Frames at the front of what was received.

use keyagent_common::{
    codec,
    frame::{FrameError, HEADER_BYTES, Header},
    op::{OnBehalfOf, OperationCode},
};
use keyagent_core::{engine, ops, reply::REPLY_OVERHEAD_BYTES};

/// A complete frame at the front of some bytes.
#[derive(Clone, Copy)]
pub(super) struct Frame<'r> {
    pub(super) header: Header,
    pub(super) operation: Option<OperationCode>,
    pub(super) body: &'r [u8],
}

impl Frame<'_> {
    /// Whether it needs the engine exclusively, or examines the daemon as a whole.
    pub(super) fn is_on_the_agent(&self) -> bool {
        matches!(
            self.operation,
            Some(
                OperationCode::Status
                    | OperationCode::Health
                    | OperationCode::Stop
                    | OperationCode::Lock
                    | OperationCode::Unlock
                    | OperationCode::Reload
                    | OperationCode::Maintenance
                    | OperationCode::AuditQuery
                    | OperationCode::Watch
                    | OperationCode::KeyCreate
                    | OperationCode::KeyList
                    | OperationCode::KeyDisable
                    | OperationCode::KeyEnable
                    | OperationCode::KeyShow
                    | OperationCode::KeyConfigure
                    | OperationCode::KeyRotate
                    | OperationCode::KeyPromote
                    | OperationCode::KeyRetire
                    | OperationCode::KeyReinstate
                    | OperationCode::KeyDestroy
                    | OperationCode::BackupCreate
                    | OperationCode::BackupRestore
                    | OperationCode::MasterRotate
            )
        )
    }
}

impl<'r> Frame<'r> {
    /// The body behind whom it is asked for; nothing where that is not said although it should be.
    pub(super) fn request_body(&self) -> &'r [u8] {
        if !self.header.on_behalf_of {
            return self.body;
        }
        codec::decode_front::<OnBehalfOf<'_>>(self.body).map_or(&[], |(_, body)| body)
    }

    /// Most bytes of the frame that answers an operation on data, or what is none.
    pub(super) fn reply_bytes(&self) -> usize {
        match self.operation {
            Some(OperationCode::Batch) => {
                engine::batch_needs(self.request_body()).map_or(REPLY_OVERHEAD_BYTES, |(.., bytes)| bytes)
            }
            Some(operation) => ops::frame_bytes_at_most(operation, self.body.len())
                .max(self.body.len() + REPLY_OVERHEAD_BYTES),
            None => REPLY_OVERHEAD_BYTES,
        }
    }
}

pub(super) fn next_frame(input: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(header) = Header::parse(input.get(..HEADER_BYTES).unwrap_or(input))? else { return Ok(None) };
    let Some(body) = input.get(HEADER_BYTES..header.frame_bytes()) else { return Ok(None) };
    Ok(Some(Frame { header, operation: OperationCode::from_number(header.code), body }))
}

/// How many bytes the frame that begins here will have, as far as is known.
pub(super) fn frame_bytes_needed(rest: &[u8]) -> usize {
    match Header::parse(rest.get(..HEADER_BYTES).unwrap_or(rest)) {
        Ok(Some(header)) => header.frame_bytes(),
        _ => HEADER_BYTES,
    }
}

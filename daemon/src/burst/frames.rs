//! Frames at the front of what was received.

use keyagent_common::{
    frame::{FrameError, HEADER_BYTES, Header},
    op::OperationCode,
};

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

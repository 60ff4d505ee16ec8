//! The rotation of the master key, as a method of a connection.
//!
//! Only shapes and times are settled here; what is possible, the daemon decides. Where a request goes that holds a
//! master key, the caller has looked: the connection proves whose the listener is, no more.

use std::time::Duration;

use keyagent_common::op::{MasterRotate, MasterRotateReply, MasterRotateRequest, MasterStep};

use crate::{Connection, Error};

/// Every record is sealed anew: a keyring of a hundred thousand versions takes seconds.
const WHILE_IT_SEALS: Duration = Duration::from_mins(1);

impl Connection {
    /// One step of a rotation (docs/FORMATS.md, section 3 "Master rotation"). Keys have 32 bytes; an empty one stands
    /// for that of the daemon's own source. Each step can be taken again: done already, it changes nothing.
    ///
    /// `WRONG_MASTER_KEY` if a key, or the source from which the daemon would start again, is not the one that the
    /// step needs; `WRONG_STATE` if a rotation to another key is unfinished.
    pub fn master_rotate(
        &mut self,
        step: MasterStep,
        current: &[u8],
        next: &[u8],
    ) -> Result<MasterRotateReply, Error> {
        let request = MasterRotateRequest { step, current, next };
        self.call_that_waits::<MasterRotate>(&request, WHILE_IT_SEALS)
    }
}

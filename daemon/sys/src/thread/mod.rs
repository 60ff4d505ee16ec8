//! Worker threads whose whole stack is locked memory, and cleaning up after key work.
//!
//! Must never let a stack be unmapped while its thread runs or before it is wiped, and never let a
//! signal handler run on it.

mod registers;
mod scrub;
mod spawn;

/// Whether this is the control build of the memory test: ordinary stacks, nothing scrubbed. Never shipped.
pub const CONTROL_UNSCRUBBED: bool = cfg!(feature = "control-unscrubbed");

pub use registers::clear_vector_registers;
pub use scrub::{SCRUBBED_BYTES, scrub_stack};
pub use spawn::{LockedThread, ThreadError, spawn_on_locked_stack};

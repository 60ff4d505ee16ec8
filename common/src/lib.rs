//! What every keyagent process agrees on: names, contexts, secrets, frames, envelope, stream,
//! errors and operations. No I/O, no clock, no unsafe.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod context;
pub mod envelope;
pub mod kdf;
pub mod name;
pub mod stream;
#[cfg(test)]
mod test_vectors;

//! What every keyagent process agrees on: names, contexts, secrets, frames, envelope, stream,
//! errors and operations. No I/O, no clock, no unsafe.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod backup;
pub mod codec;
pub mod context;
pub mod envelope;
pub mod error;
pub mod fingerprint;
pub mod frame;
pub mod kdf;
pub mod key_text;
#[cfg(feature = "std")]
pub mod layout;
pub mod name;
pub mod op;
pub mod protected_key;
pub mod report;
pub mod stream;
#[cfg(test)]
mod test_vectors;

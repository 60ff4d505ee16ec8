//! The decisions of keyagentd, without I/O: time, randomness, the peer and the place where cipher
//! state may live are arguments.
#![no_std]

extern crate alloc;

pub mod arena;
pub mod audit;
pub mod authorize;
pub mod backup;
pub mod caller;
pub mod change;
pub mod cipher;
pub mod engine;
pub mod entropy;
pub mod keyring;
mod layout;
pub mod ops;
pub mod pin;
pub mod policy;
pub mod reply;
#[cfg(test)]
mod test_vectors;
pub mod usage;

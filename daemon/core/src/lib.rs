//! The decisions of keyagentd, without I/O: time, randomness, the peer and the place where cipher
//! state may live are arguments.
#![no_std]

extern crate alloc;

pub mod arena;
pub mod audit;
pub mod reply;
pub mod ops;
pub mod engine;
pub mod caller;
pub mod authorize;
pub mod cipher;
pub mod entropy;
pub mod keyring;
mod layout;
pub mod pin;
#[cfg(test)]
mod test_vectors;

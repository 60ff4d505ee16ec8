//! The decisions of keyagentd, without I/O: time, randomness, the peer and the place where cipher
//! state may live are arguments.
#![no_std]

extern crate alloc;

pub mod arena;

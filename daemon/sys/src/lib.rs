//! What keyagentd asks of the kernel, and the only `unsafe` code of the project.
//!
//! Locked and guarded memory, worker threads on locked stacks, process hardening, peer credentials,
//! private sockets, inherited descriptors and randomness, each behind a safe function. This crate
//! must never decide anything about keys, requests or policy, never log, and never carry on after a
//! system call failed: every result is checked and reported with the name of the call.
//!
//! `unsafe` is denied crate-wide; a file that needs it opens with an `expect` that says why.

pub mod bytes;
pub mod descriptor;
pub mod environment;
pub mod harden;
pub mod limits;
pub mod memory;
pub mod peer;
pub mod random;
pub mod socket;
pub mod thread;

#[cfg(test)]
mod child;
#[cfg(test)]
mod smaps;

//! The blocking client of the keyagent daemon: find its socket, check who listens there, ask.
//!
//! No threads, no runtime. It must never send a byte before the listener's user is known to be
//! trusted, and never keep a plaintext or key in a buffer that is not wiped.

mod address;
mod channel;
mod connection;
mod dial;
mod environment;
mod error;
mod overseeing;
mod peer;

pub use address::{Address, Attempt, Found};
pub use connection::{Connection, DataKeyPair, DataKeySecret, Options, Server};
pub use environment::{base_folders, effective_uid};
pub use error::{AgentError, Error};

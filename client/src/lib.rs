#![doc = include_str!("../README.md")]
//! # Inside
//!
//! Find the daemon's socket, check who listens there, ask. No threads, no runtime (but for `async`). It must never
//! send a byte before the listener's user is known to be trusted, and never keep a plaintext or key in a buffer that
//! is not wiped.

mod address;
mod answer;
#[cfg(feature = "async")]
mod asynchronous;
mod backup;
mod batch;
mod channel;
mod client;
mod connection;
mod context;
mod data;
mod dial;
mod environment;
mod error;
mod key_life;
mod master_key;
mod overseeing;
mod peer;
mod pipeline;

pub use address::{Address, Attempt, Found};
pub use answer::{Claims, DataKeyPair, DataKeySecret, DataOperation, Rewrapped, Tag};
#[cfg(feature = "async")]
pub use asynchronous::AsyncClient;
pub use batch::Answers;
pub use client::Client;
pub use connection::{Connection, Options, Server};
pub use context::ContextBytes;
pub use data::{from_text, to_text};
pub use environment::{base_folders, effective_uid};
pub use error::{AgentError, Error};
pub use key_life::{KeyClass, Rotation, RotationReason};
pub use keyagent_common::{context::Context, envelope::Kind, error::ErrorCode, name::KeyName, op};
pub use pipeline::{Pipeline, Replies, Ticket};

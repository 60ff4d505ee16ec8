//! The effects: one file per operation on data, on an immutable keyring.
//!
//! An operation runs only with an [`Authorized`] of its own type and writes its reply in place. It
//! never does I/O, and what it learned of a failure it tells as an [`OperationError`], nothing more.

mod data_key;
mod data_key_open;
mod decrypt;
mod encrypt;
mod error;
mod hmac;
mod jwt;
mod mac;
mod random;
mod records;
mod reply_bytes;
mod rewrap;
mod sealing;

use alloc::vec::Vec;

use keyagent_common::{context::Context, envelope::Kind, op::Operation};

use crate::{
    arena::Arena, authorize::Authorized, entropy::Entropy, keyring::Class, policy::Meter, reply::ReplyBuffer,
};

pub use error::{ClaimsFault, OperationError, TokenFault};
pub use jwt::check_token_parts;
pub(crate) use random::random;
pub(crate) use records::records_at_most;
pub use reply_bytes::{frame_bytes_at_most, item_bytes_at_most};

/// What an operation needs beside its request: randomness and scratch space.
pub struct Work<'w> {
    /// Nonces and data keys of the burst being answered.
    pub entropy: &'w mut dyn Entropy,
    /// Cleared and filled with the associated data of each operation; holds nothing secret.
    pub associated_data: &'w mut Vec<u8>,
    /// Keeps the rates of rules.
    pub meter: &'w mut dyn Meter,
    /// Nothing new is sealed.
    pub maintenance: bool,
    /// Seconds since 1970: for the times of tokens, nothing else.
    pub now_unix: u64,
}

/// Which key a request is about.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The primary version of a named key.
    Primary(&'a str),
    /// The version that sealed an envelope, found by its id.
    Sealed(&'a [u8]),
}

/// Which versions of its key an operation used: so the log names them and their use is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used<'k> {
    /// The one it was asked for.
    Asked,
    /// Another one, with its number.
    Version(&'k [u8; 32], u32),
    /// Every one that opens data, to look something up.
    Every,
}

/// An operation on data, under a key.
pub trait DataOperation: Operation {
    /// The class of the keys it is for; keys of another one are refused.
    const CLASS: Class;
    /// Whether it makes something new under a key, as it was asked for a version that is primary or not: then
    /// maintenance refuses it.
    fn seals(is_primary: bool) -> bool;
    /// The key the request is about.
    fn target<'a>(request: &Self::Request<'a>) -> Target<'a>;
    /// The context bytes as received; the empty context where the operation has none.
    fn context<'a>(request: &Self::Request<'a>) -> &'a [u8];
    /// Payload bytes: of the plaintext where one is given, else of the envelope.
    fn payload_bytes(request: &Self::Request<'_>) -> usize;
    /// Whether this operation opens envelopes of a kind and a length in bytes; none where it does not open.
    fn opens(kind: Kind, sealed_bytes: usize) -> bool;
    /// Does it: writes one success reply, or nothing. Says which versions it used.
    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &Self::Request<'_>,
        context: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError>
    where
        Self: Sized;
}

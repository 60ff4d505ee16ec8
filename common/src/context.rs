//! The encryption context: public names and values bound to a ciphertext (docs/FORMATS.md, "Context").
//!
//! `count u16 || (len u16 || name || len u16 || value)*`, little-endian, names strictly ascending
//! bytewise. The wire carries these very bytes; the daemon validates and never re-sorts.

use alloc::vec::Vec;

/// Most pairs in one context.
pub const MAX_PAIRS: usize = 16;
/// Most bytes of one value.
pub const MAX_VALUE_BYTES: usize = 4096;
/// Most bytes of an encoded context.
pub const MAX_ENCODED_BYTES: usize = 8192;
/// Most bytes of one name.
pub const MAX_NAME_BYTES: usize = 64;
/// The encoding of an absent or empty context.
pub const EMPTY: &[u8] = &[0, 0];

/// Why bytes or pairs are no context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// A length or the count promises more than there is, or bytes follow the last pair.
    #[error("context bytes end too early or too late")]
    Framing,
    /// More than [`MAX_PAIRS`] pairs.
    #[error("a context has at most 16 pairs")]
    TooManyPairs,
    /// More than [`MAX_ENCODED_BYTES`] bytes in all.
    #[error("a context has at most 8192 bytes in all")]
    TooLong,
    /// A name is empty, too long, or has a character outside `[a-z0-9._-]`.
    #[error("a context name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")]
    Name,
    /// A value is longer than [`MAX_VALUE_BYTES`].
    #[error("a context value has at most 4096 bytes")]
    Value,
    /// The same name stands there twice.
    #[error("a context name occurs twice")]
    Duplicate,
    /// The names do not ascend bytewise.
    #[error("context names are not in ascending order")]
    Order,
}

/// A validated, encoded context, borrowed from where it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a>(&'a [u8]);

impl<'a> Context<'a> {
    /// The empty context.
    pub const fn empty() -> Context<'static> {
        Context(EMPTY)
    }

    /// Checks received bytes against every rule of the format.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContextError> {
        if bytes.len() > MAX_ENCODED_BYTES {
            return Err(ContextError::TooLong);
        }
        let (count, mut rest) = take_u16(bytes)?;
        if count > MAX_PAIRS {
            return Err(ContextError::TooManyPairs);
        }
        let mut previous: Option<&[u8]> = None;
        for _ in 0..count {
            let (name, value, after) = take_pair(rest)?;
            check_pair(name, value)?;
            match previous.map(|before| before.cmp(name)) {
                Some(core::cmp::Ordering::Equal) => return Err(ContextError::Duplicate),
                Some(core::cmp::Ordering::Greater) => return Err(ContextError::Order),
                Some(core::cmp::Ordering::Less) | None => {}
            }
            previous = Some(name);
            rest = after;
        }
        if rest.is_empty() { Ok(Self(bytes)) } else { Err(ContextError::Framing) }
    }

    /// The canonical bytes: what is authenticated and what travels.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Names and values in order.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.0.get(2..).unwrap_or_default();
        core::iter::from_fn(move || {
            let (name, value, after) = take_pair(rest).ok()?;
            rest = after;
            Some((core::str::from_utf8(name).ok()?, value))
        })
    }
}

/// Encodes pairs in any order; a name that occurs twice is an error.
pub fn encode<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p [u8])>) -> Result<Vec<u8>, ContextError> {
    let mut pairs: Vec<(&str, &[u8])> = pairs.into_iter().collect();
    pairs.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    if pairs.len() > MAX_PAIRS {
        return Err(ContextError::TooManyPairs);
    }
    let mut bytes = Vec::new();
    push_u16(&mut bytes, pairs.len());
    for (name, value) in pairs {
        check_pair(name.as_bytes(), value)?;
        push_u16(&mut bytes, name.len());
        bytes.extend_from_slice(name.as_bytes());
        push_u16(&mut bytes, value.len());
        bytes.extend_from_slice(value);
    }
    Context::parse(&bytes)?;
    Ok(bytes)
}

fn check_pair(name: &[u8], value: &[u8]) -> Result<(), ContextError> {
    let allowed = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.iter().all(allowed) {
        return Err(ContextError::Name);
    }
    if value.len() > MAX_VALUE_BYTES { Err(ContextError::Value) } else { Ok(()) }
}

/// Name, value and the bytes behind them.
type Pair<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn take_pair(bytes: &[u8]) -> Result<Pair<'_>, ContextError> {
    let (name, rest) = take_string(bytes)?;
    let (value, rest) = take_string(rest)?;
    Ok((name, value, rest))
}

fn take_string(bytes: &[u8]) -> Result<(&[u8], &[u8]), ContextError> {
    let (length, rest) = take_u16(bytes)?;
    rest.split_at_checked(length).ok_or(ContextError::Framing)
}

fn take_u16(bytes: &[u8]) -> Result<(usize, &[u8]), ContextError> {
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(ContextError::Framing)?;
    Ok((usize::from(u16::from_le_bytes(*head)), rest))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "every caller has checked the length against a cap below 2^16"
)]
fn push_u16(bytes: &mut Vec<u8>, value: usize) {
    bytes.extend_from_slice(&(value as u16).to_le_bytes());
}

#[cfg(test)]
mod tests;

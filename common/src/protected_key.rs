//! The text of a master key that is sealed under a passphrase (docs/FORMATS.md, "Passphrase-protected
//! master key"): layout and limits only.
//!
//! No key is derived and nothing is opened here. What this returns was read from a file and is a claim:
//! only its limits are checked, before anybody spends memory on it.

use alloc::{format, string::String};

use base64ct::{Base64UrlUnpadded, Encoding};

/// What the text begins with; the digit is the version.
pub const PREFIX: &str = "kp1.";
/// Most bytes of the text: prefix, 155 characters, one newline.
pub const MAX_TEXT_BYTES: usize = PREFIX.len() + TEXT_BYTES + 1;
/// Bytes of the salt.
pub const SALT_BYTES: usize = 16;
/// Bytes of the nonce (XAES-256-GCM).
pub const NONCE_BYTES: usize = 24;
/// Bytes of the tag.
pub const TAG_BYTES: usize = 16;

/// Parameters, salt, fingerprint and nonce: everything before the sealed key.
const HEADER_BYTES: usize = 12 + SALT_BYTES + 16 + NONCE_BYTES;
const BINARY_BYTES: usize = HEADER_BYTES + 32 + TAG_BYTES;
/// Characters of base64url without padding.
const TEXT_BYTES: usize = (BINARY_BYTES * 4).div_ceil(3);
const LABEL: &[u8; 26] = b"keyagent/v1 protected key\0";

/// Smallest memory of Argon2id in KiB: 19 MiB, the least that is recommended for passwords.
pub const MIN_MEMORY_KIB: u32 = 19 << 10;
/// Largest memory of Argon2id in KiB: 1 GiB, so that a file cannot exhaust the machine that opens it.
pub const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Fewest and most passes over the memory.
pub const PASSES: core::ops::RangeInclusive<u32> = 2..=16;
/// Fewest and most lanes.
pub const LANES: core::ops::RangeInclusive<u32> = 1..=8;

/// Cost of one attempt: Argon2id, version 0x13 (RFC 9106). Within the limits above, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Why a text is no protected master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtectedKeyError {
    /// Does not begin with [`PREFIX`] or that of another version.
    #[error("it does not begin with kp1.")]
    NotProtectedKey,
    /// A version that is not known here.
    #[error("it has a version that is not known here; a newer keyagent may know it")]
    UnknownVersion,
    /// Too short or too long.
    #[error("it was cut, or something was added")]
    Length,
    /// A character that base64url does not have, or bits beyond the last byte.
    #[error("it holds characters that do not belong there")]
    Characters,
    /// Argon2id would cost less or more than is allowed.
    #[error(
        "its Argon2id parameters ({memory_kib} KiB, {passes} passes, {lanes} lanes) are out of bounds \
         (19 MiB to 1 GiB, 2 to 16 passes, 1 to 8 lanes)"
    )]
    Parameters {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// What the file holds. The fingerprint says which key it is before anybody types a passphrase; it is
/// true only after the key was opened and has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedKey {
    /// Cost of an attempt.
    pub parameters: Parameters,
    /// Random; for Argon2id.
    pub salt: [u8; SALT_BYTES],
    /// Fingerprint of the master key.
    pub fingerprint: [u8; 16],
    /// Random; for XAES-256-GCM.
    pub nonce: [u8; NONCE_BYTES],
    /// The master key, sealed.
    pub sealed: [u8; 32],
    /// Tag of associated data and sealed key.
    pub tag: [u8; TAG_BYTES],
}

impl Parameters {
    /// What new files get: 64 MiB, 3 passes, 1 lane (RFC 9106, section 4, with one lane because the
    /// client has one thread).
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 1 };

    /// Memory in KiB, passes, lanes; refused out of bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, ProtectedKeyError> {
        let allowed = (MIN_MEMORY_KIB..=MAX_MEMORY_KIB).contains(&memory_kib)
            && PASSES.contains(&passes)
            && LANES.contains(&lanes);
        if allowed {
            Ok(Self { memory_kib, passes, lanes })
        } else {
            Err(ProtectedKeyError::Parameters { memory_kib, passes, lanes })
        }
    }

    /// Memory in KiB.
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes.
    pub const fn lanes(self) -> u32 {
        self.lanes
    }
}

impl ProtectedKey {
    /// Reads the text of a file, with or without a final newline.
    pub fn parse(text: &[u8]) -> Result<Self, ProtectedKeyError> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let Some(body) = text.strip_prefix(PREFIX.as_bytes()) else { return Err(foreign(text)) };
        if body.len() != TEXT_BYTES {
            return Err(ProtectedKeyError::Length);
        }
        let mut bytes = [0; BINARY_BYTES];
        match Base64UrlUnpadded::decode(body, &mut bytes) {
            Ok(decoded) if decoded.len() == BINARY_BYTES => Self::from_bytes(&bytes),
            _ => Err(ProtectedKeyError::Characters),
        }
    }

    fn from_bytes(bytes: &[u8; BINARY_BYTES]) -> Result<Self, ProtectedKeyError> {
        let mut rest = bytes.as_slice();
        let parameters = Parameters::new(
            u32::from_le_bytes(take(&mut rest)?),
            u32::from_le_bytes(take(&mut rest)?),
            u32::from_le_bytes(take(&mut rest)?),
        )?;
        Ok(Self {
            parameters,
            salt: take(&mut rest)?,
            fingerprint: take(&mut rest)?,
            nonce: take(&mut rest)?,
            sealed: take(&mut rest)?,
            tag: take(&mut rest)?,
        })
    }

    /// The text of a file, with a final newline.
    pub fn to_text(&self) -> String {
        let mut bytes = [0; BINARY_BYTES];
        let (header, rest) = bytes.split_at_mut(HEADER_BYTES);
        let (sealed, tag) = rest.split_at_mut(self.sealed.len());
        header.copy_from_slice(&self.header());
        sealed.copy_from_slice(&self.sealed);
        tag.copy_from_slice(&self.tag);
        format!("{PREFIX}{}\n", Base64UrlUnpadded::encode_string(&bytes))
    }

    /// `"keyagent/v1 protected key" || 00 ||` every byte before the sealed key.
    pub fn associated_data(&self) -> [u8; LABEL.len() + HEADER_BYTES] {
        let mut data = [0; LABEL.len() + HEADER_BYTES];
        let (label, header) = data.split_at_mut(LABEL.len());
        label.copy_from_slice(LABEL);
        header.copy_from_slice(&self.header());
        data
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let Parameters { memory_kib, passes, lanes } = self.parameters;
        let numbers = [memory_kib, passes, lanes].map(u32::to_le_bytes);
        let parts: [&[u8]; 4] = [numbers.as_flattened(), &self.salt, &self.fingerprint, &self.nonce];
        let mut header = [0; HEADER_BYTES];
        for (place, byte) in header.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        header
    }
}

/// Whether a text calls itself a protected key, of whatever version.
pub fn is_protected(text: &[u8]) -> bool {
    text.starts_with(PREFIX.as_bytes()) || foreign(text) == ProtectedKeyError::UnknownVersion
}

/// The name of the protected file that stands for a plain key file: `key.protected` beside `key`.
#[cfg(feature = "std")]
pub fn beside(key_file: &std::path::Path) -> std::path::PathBuf {
    let mut path = key_file.as_os_str().to_os_string();
    path.push(".protected");
    path.into()
}

/// A text that does not begin with [`PREFIX`].
fn foreign(text: &[u8]) -> ProtectedKeyError {
    let digits = text.strip_prefix(b"kp").unwrap_or_default();
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match digits.get(count) {
        Some(b'.') if count > 0 => ProtectedKeyError::UnknownVersion,
        _ => ProtectedKeyError::NotProtectedKey,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ProtectedKeyError> {
    let (taken, behind) = rest.split_first_chunk().ok_or(ProtectedKeyError::Length)?;
    *rest = behind;
    Ok(*taken)
}

#[cfg(test)]
mod tests;

//! How the backup key is kept in the file: under a passphrase, for recipients, or shared out.
//!
//! Layout and limits only: nothing is derived or opened here.

use alloc::vec::Vec;

use super::{
    BackupError,
    fields::{Reader, join, length},
};
use crate::protected_key::Parameters;

/// Bytes of a passphrase protection.
const PASSPHRASE_BYTES: usize = 12 + 16 + 24 + 32 + 16;
/// Bytes of it before the sealed key.
const PASSPHRASE_HEADER_BYTES: usize = 12 + 16 + 24;
const PASSPHRASE_AD: &[u8; 30] = b"keyagent/v1 backup passphrase\0";
/// Most bytes of any protection.
const MAX_BYTES: usize = 1 << 20;

/// How the backup key is kept. The numbers of the kinds are part of the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection<'b> {
    /// 1: sealed under a key that Argon2id makes of a passphrase.
    Passphrase(PassphraseProtection),
    /// 2: a file of age (age-encryption.org/v1, binary) whose content is the backup key's 32 bytes.
    Recipients(&'b [u8]),
    /// 3: shares of it are kept apart from the file; what stands here says how many.
    Shares(&'b [u8]),
}

/// The backup key under a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseProtection {
    /// Cost of an attempt.
    pub parameters: Parameters,
    /// Random; for Argon2id.
    pub salt: [u8; 16],
    /// Random; for XAES-256-GCM.
    pub nonce: [u8; 24],
    /// The backup key, sealed.
    pub sealed: [u8; 32],
    /// Tag of associated data and sealed key.
    pub tag: [u8; 16],
}

impl PassphraseProtection {
    /// `"keyagent/v1 backup passphrase" || 00 ||` id of the backup `||` every byte before the sealed key.
    pub fn associated_data(&self, id: &[u8; 32]) -> Vec<u8> {
        [PASSPHRASE_AD.as_slice(), id, &self.header()].concat()
    }

    fn header(&self) -> [u8; PASSPHRASE_HEADER_BYTES] {
        let Self { parameters, salt, nonce, .. } = self;
        let numbers =
            [parameters.memory_kib(), parameters.passes(), parameters.lanes()].map(u32::to_le_bytes);
        join(&[numbers.as_flattened(), salt, nonce])
    }

    fn parse(bytes: &[u8]) -> Result<Self, BackupError> {
        let mut reader = Reader(bytes);
        let bounds = |_| BackupError::Malformed("the parameters of Argon2id are out of bounds");
        let protection = Self {
            parameters: Parameters::new(reader.u32()?, reader.u32()?, reader.u32()?).map_err(bounds)?,
            salt: *reader.array()?,
            nonce: *reader.array()?,
            sealed: *reader.array()?,
            tag: *reader.array()?,
        };
        if reader.0.is_empty() {
            Ok(protection)
        } else {
            Err(BackupError::Malformed("bytes follow the sealed backup key"))
        }
    }
}

impl<'b> Protection<'b> {
    /// Number in the file.
    const fn kind(&self) -> u8 {
        match self {
            Self::Passphrase(_) => 1,
            Self::Recipients(_) => 2,
            Self::Shares(_) => 3,
        }
    }

    /// In a word, for people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => "passphrase",
            Self::Recipients(_) => "recipients",
            Self::Shares(_) => "shares",
        }
    }

    /// Takes kind, length and bytes off the front.
    pub(super) fn read(reader: &mut Reader<'b>) -> Result<Self, BackupError> {
        let kind = reader.u8()?;
        let bytes = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        if bytes > MAX_BYTES {
            return Err(BackupError::Malformed("the protection is longer than 1 MiB"));
        }
        let bytes = reader.bytes(bytes)?;
        match kind {
            1 => PassphraseProtection::parse(bytes).map(Self::Passphrase),
            2 => Ok(Self::Recipients(bytes)),
            3 => Ok(Self::Shares(bytes)),
            _ => Err(BackupError::Malformed("a protection of a kind that is not known here")),
        }
    }

    /// Writes kind, length and bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), BackupError> {
        let passphrase: [u8; PASSPHRASE_BYTES];
        let bytes = match self {
            Self::Passphrase(protection) => {
                passphrase = join(&[&protection.header(), &protection.sealed, &protection.tag]);
                &passphrase
            }
            Self::Recipients(bytes) | Self::Shares(bytes) => *bytes,
        };
        if bytes.len() > MAX_BYTES {
            return Err(BackupError::Malformed("the protection is longer than 1 MiB"));
        }
        out.push(self.kind());
        out.extend_from_slice(&length::<u32>(bytes.len())?.to_le_bytes());
        out.extend_from_slice(bytes);
        Ok(())
    }
}

//! The pin: how far the audit log must reach and which keyring goes with it (docs/FORMATS.md,
//! section 4 "Audit chain"). It stands in every keyring head and in the file `audit.pin`.
//!
//! This module lays bytes out and authenticates them; it must never decide what to do about a log
//! that is shorter than its pin, and it reads no file.
//!
//! The pin is 88 bytes (offsets from its beginning, integers little-endian):
//!
//! | Offset | Size | Field |
//! |---|---|---|
//! | 0 | 8 | segment |
//! | 8 | 8 | seq: of the last line of the pinned group |
//! | 16 | 32 | mac: of the pinned group |
//! | 48 | 8 | generation: of the keyring on disk |
//! | 56 | 32 | head digest: SHA-256(header, slots, head) of that keyring |
//!
//! The file `audit.pin` is exactly 139 bytes:
//!
//! | Offset | Size | Field |
//! |---|---|---|
//! | 0 | 17 | `"keyagent/auditpin"` |
//! | 17 | 2 | version, 1 |
//! | 19 | 88 | the pin |
//! | 107 | 32 | HMAC-SHA-256 under KDF(R, "pin", 32) of bytes 0 to 106 |

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::layout::{Reader, Short, join};

/// Bytes of a pin without its file form.
pub const PIN_BYTES: usize = 88;
/// Bytes of the file `audit.pin`.
pub const FILE_BYTES: usize = 139;
/// The file begins with this.
pub const MAGIC: &[u8; 17] = b"keyagent/auditpin";
const VERSION: [u8; 2] = 1u16.to_le_bytes();
const SIGNED_BYTES: usize = FILE_BYTES - 32;

/// A point of the audit log and the keyring that was on disk then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Segment of the pinned group.
    pub segment: u64,
    /// Sequence number of the pinned group's last line.
    pub seq: u64,
    /// Mac of the pinned group.
    pub mac: [u8; 32],
    /// Generation of the keyring on disk.
    pub generation: u64,
    /// SHA-256 of that keyring's header, slots and head.
    pub head_digest: [u8; 32],
}

/// The bytes are no pin of this keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Not 139 bytes, or another beginning.
    #[error("not an audit pin")]
    NotAPin,
    /// A version this program does not know.
    #[error("audit pin of version {0}, which this program does not know")]
    UnsupportedVersion(u16),
    /// The HMAC is wrong: damaged, altered, or made for another keyring.
    #[error("the audit pin is damaged or belongs to another keyring")]
    DoesNotVerify,
}

impl Pin {
    /// The 88 bytes of the pin.
    pub fn to_bytes(&self) -> [u8; PIN_BYTES] {
        join(&[
            &self.segment.to_le_bytes(),
            &self.seq.to_le_bytes(),
            &self.mac,
            &self.generation.to_le_bytes(),
            &self.head_digest,
        ])
    }

    /// Reads the 88 bytes of a pin; every value of every field is allowed.
    pub fn from_bytes(bytes: &[u8; PIN_BYTES]) -> Self {
        let Ok(pin) = Self::read(&mut Reader(bytes)) else {
            unreachable!("the five fields are exactly 88 bytes")
        };
        pin
    }

    /// Takes the 88 bytes of a pin off a reader.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self {
            segment: reader.u64()?,
            seq: reader.u64()?,
            mac: *reader.array()?,
            generation: reader.u64()?,
            head_digest: *reader.array()?,
        })
    }

    /// The 139 bytes of `audit.pin`, under the subkey `pin`.
    pub fn seal(&self, key: &[u8; 32]) -> [u8; FILE_BYTES] {
        let signed: [u8; SIGNED_BYTES] = join(&[MAGIC, &VERSION, &self.to_bytes()]);
        join(&[&signed, &authenticator(key, &signed).finalize().into_bytes()])
    }

    /// Reads and verifies `audit.pin`; the HMAC is compared in constant time.
    pub fn open(key: &[u8; 32], file: &[u8]) -> Result<Self, PinError> {
        let (pin, signed, mac) = Self::parse(file)?;
        authenticator(key, signed).verify(mac.into()).map_err(|_| PinError::DoesNotVerify)?;
        Ok(pin)
    }

    /// Reads `audit.pin` without its key: while locked, to find the place from which the log must be in order.
    /// Whoever can write the file may have chosen every byte; [`Self::open`] follows at unlock.
    pub fn read_unverified(file: &[u8]) -> Result<Self, PinError> {
        Self::parse(file).map(|(pin, _, _)| pin)
    }

    /// The pin, the signed bytes and the HMAC over them.
    fn parse(file: &[u8]) -> Result<(Self, &[u8], &[u8; 32]), PinError> {
        let file: &[u8; FILE_BYTES] = file.try_into().map_err(|_| PinError::NotAPin)?;
        let (signed, mac) = file.split_last_chunk::<32>().ok_or(PinError::NotAPin)?;
        let rest = signed.strip_prefix(MAGIC).ok_or(PinError::NotAPin)?;
        let (version, pin) = rest.split_first_chunk::<2>().ok_or(PinError::NotAPin)?;
        if *version != VERSION {
            return Err(PinError::UnsupportedVersion(u16::from_le_bytes(*version)));
        }
        let pin = pin.try_into().map_err(|_| PinError::NotAPin)?;
        Ok((Self::from_bytes(pin), signed, mac))
    }
}

fn authenticator(key: &[u8; 32], signed: &[u8]) -> Hmac<Sha256> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC accepts keys of any length (RFC 2104)")
    };
    mac.update(signed);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: Pin = Pin { segment: 3, seq: 0x0102, mac: [4; 32], generation: 9, head_digest: [5; 32] };

    #[test]
    fn survives_the_file_form() {
        let file = PIN.seal(&[1; 32]);
        assert_eq!(&file[..19], b"keyagent/auditpin\x01\0");
        assert_eq!(file[19..35], [3, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file[35..67], [4; 32]);
        assert_eq!(file[67..75], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file[75..107], [5; 32]);
        assert_eq!(Pin::open(&[1; 32], &file), Ok(PIN));
        assert_eq!(Pin::open(&[2; 32], &file), Err(PinError::DoesNotVerify));
        assert_eq!(Pin::read_unverified(&file), Ok(PIN));
        assert_eq!(Pin::read_unverified(&file[1..]), Err(PinError::NotAPin));
    }

    #[test]
    fn refuses_every_changed_bit_and_every_cut() {
        let file = PIN.seal(&[1; 32]);
        for bit in 0..file.len() * 8 {
            let mut bad = file;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Pin::open(&[1; 32], &bad).is_err(), "bit {bit}");
        }
        for length in 0..file.len() {
            assert_eq!(Pin::open(&[1; 32], &file[..length]), Err(PinError::NotAPin));
        }
        let longer = [&file[..], &[0]].concat();
        assert_eq!(Pin::open(&[1; 32], &longer), Err(PinError::NotAPin));
        let mut newer = file;
        newer[17] = 2;
        assert_eq!(Pin::open(&[1; 32], &newer), Err(PinError::UnsupportedVersion(2)));
    }
}

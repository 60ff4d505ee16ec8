//! A share of a backup key: its text, and what stands in the backup about all of them
//! (docs/FORMATS.md, "Backup", "Shares").
//!
//! Layout only: nothing is split or joined here. A text is a claim until the joined key has the id of the backup.

use alloc::{format, string::String};
use core::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{
    BackupError, KEY_BYTES,
    fields::{Reader, join},
};

/// What the text begins with; the digit is the version.
pub const PREFIX: &str = "kas1.";
/// Fewest shares that open a backup: one would be the key itself.
pub const MIN_THRESHOLD: u8 = 2;
/// Most shares of a key: beyond this nobody keeps them.
pub const MAX_SHARES: u8 = 32;
/// Most bytes of a text, with one newline.
pub const MAX_TEXT_BYTES: usize = PREFIX.len() + TEXT_BYTES + 1;

/// Name of the backup, threshold, count, number, value, checksum.
const BINARY_BYTES: usize = 16 + 3 + KEY_BYTES + CHECK_BYTES;
const CHECK_BYTES: usize = 8;
const TEXT_BYTES: usize = (BINARY_BYTES * 4).div_ceil(3);

/// How many shares there are, and how many of them open the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    threshold: u8,
    count: u8,
}

/// Why there are no such shares, or a text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not 2 to 32 shares, or a threshold beyond them.
    #[error("a key has 2 to {MAX_SHARES} shares, and 2 or more of them open it: M of N as in 3/5")]
    Numbers,
    /// Another beginning than a share has.
    #[error("it does not begin with {PREFIX}")]
    NotAShare,
    /// Too short or too long.
    #[error("it was cut, or something was added")]
    Length,
    /// A character that base64url does not have, or bits beyond the last byte.
    #[error("it holds characters that do not belong there")]
    Characters,
    /// The checksum is another one.
    #[error("its checksum is wrong: a character was mistaken")]
    Checksum,
}

impl Sharing {
    /// Shares of which `threshold` are needed.
    pub const fn new(threshold: u8, count: u8) -> Result<Self, ShareError> {
        if threshold < MIN_THRESHOLD || threshold > count || count > MAX_SHARES {
            return Err(ShareError::Numbers);
        }
        Ok(Self { threshold, count })
    }

    /// How many are needed.
    pub const fn threshold(self) -> u8 {
        self.threshold
    }

    /// How many there are.
    pub const fn count(self) -> u8 {
        self.count
    }

    /// The two bytes in a backup.
    pub const fn bytes(self) -> [u8; 2] {
        [self.threshold, self.count]
    }

    /// Reads them.
    pub fn parse(bytes: &[u8]) -> Result<Self, BackupError> {
        let numbers: &[u8; 2] = bytes.try_into().map_err(|_| BackupError::Malformed("not a sharing"))?;
        Self::new(numbers[0], numbers[1])
            .map_err(|_| BackupError::Malformed("the numbers of shares cannot be"))
    }
}

/// One share. `Debug` shows no value.
pub struct Share {
    /// First 16 bytes of the id of the backup.
    pub backup: [u8; 16],
    /// Of how many it is one.
    pub sharing: Sharing,
    /// Which one: 1 to the count. The x-coordinate in GF(2^8).
    pub number: u8,
    /// The y-coordinates, one for each byte of the backup key.
    pub value: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} of {})", self.number, self.sharing.count)
    }
}

impl Share {
    /// `kas1.` and base64url, without a newline.
    pub fn to_text(&self) -> Zeroizing<String> {
        let body = self.body();
        let mut bytes: Zeroizing<[u8; BINARY_BYTES]> = Zeroizing::new(join(&[&*body, &checksum(&*body)]));
        let text = Zeroizing::new(format!(
            "{PREFIX}{}",
            &*Zeroizing::new(Base64UrlUnpadded::encode_string(&*bytes))
        ));
        bytes.zeroize();
        text
    }

    /// Reads a text; one final newline is allowed.
    pub fn from_text(text: &str) -> Result<Self, ShareError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_prefix(PREFIX).ok_or(ShareError::NotAShare)?;
        if text.len() != TEXT_BYTES {
            return Err(ShareError::Length);
        }
        let mut bytes = Zeroizing::new([0; BINARY_BYTES]);
        Base64UrlUnpadded::decode(text, &mut *bytes).map_err(|_| ShareError::Characters)?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(ShareError::Length)?;
        if checksum(body) != *check {
            return Err(ShareError::Checksum);
        }
        let mut reader = Reader(body);
        let fields = |_| ShareError::Length;
        let backup = *reader.array().map_err(fields)?;
        let &[threshold, count, number] = reader.array().map_err(fields)?;
        let sharing = Sharing::new(threshold, count)?;
        if number == 0 || number > count {
            return Err(ShareError::Numbers);
        }
        Ok(Self { backup, sharing, number, value: Zeroizing::new(*reader.array().map_err(fields)?) })
    }

    fn body(&self) -> Zeroizing<[u8; BINARY_BYTES - CHECK_BYTES]> {
        let Sharing { threshold, count } = self.sharing;
        Zeroizing::new(join(&[&self.backup, &[threshold, count, self.number], &*self.value]))
    }
}

/// Against mistakes in copying by hand; says nothing about who made the share.
fn checksum(body: &[u8]) -> [u8; CHECK_BYTES] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let mut check = [0; CHECK_BYTES];
    for (place, byte) in check.iter_mut().zip(digest) {
        *place = byte;
    }
    check
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn share() -> Share {
        let sharing = Sharing::new(3, 5).unwrap();
        Share { backup: [7; 16], sharing, number: 2, value: Zeroizing::new([0x5a; 32]) }
    }

    #[test]
    fn a_text_comes_back_and_shows_no_value() {
        let text = share().to_text();
        assert_eq!(text.len() + 1, MAX_TEXT_BYTES);
        for text in [text.as_str(), &format!("{}\n", *text)] {
            let read = Share::from_text(text).unwrap();
            assert_eq!((read.backup, read.number, *read.value), ([7; 16], 2, [0x5a; 32]));
            assert_eq!(read.sharing, Sharing::new(3, 5).unwrap());
        }
        assert_eq!(format!("{:?}", share()), "Share(2 of 5)");
    }

    #[test]
    fn every_mistaken_character_is_noticed() {
        let text = share().to_text();
        for place in 0..text.len() {
            for other in ['A', 'b', '9', '-', '=', ' '] {
                let mut changed = String::from(&text[..place]);
                changed.push(other);
                changed.push_str(&text[place + 1..]);
                assert!(changed == *text || Share::from_text(&changed).is_err(), "{place} {other}");
            }
            assert!(Share::from_text(&text[..place]).is_err(), "cut at {place}");
        }
        assert_eq!(Share::from_text(&format!("{}\n\n", *text)).unwrap_err(), ShareError::Length);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for (threshold, count) in [(0, 0), (1, 5), (6, 5), (2, 33), (255, 255)] {
            assert_eq!(Sharing::new(threshold, count), Err(ShareError::Numbers));
            assert!(Sharing::parse(&[threshold, count]).is_err());
        }
        assert_eq!(Sharing::parse(&[2, 32]).unwrap().bytes(), [2, 32]);
        assert!(Sharing::parse(&[2, 3, 4]).is_err());
        for number in [0, 6, 255] {
            let text = Share { number, ..share() }.to_text();
            assert_eq!(Share::from_text(&text).unwrap_err(), ShareError::Numbers);
        }
    }
}

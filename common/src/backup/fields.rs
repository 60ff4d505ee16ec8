//! Taking fields off the front of bytes, and joining them; integers are little-endian.
//!
//! Must never read past the end, or allocate by a length that was read.

use super::BackupError;

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<&'b [u8; N], BackupError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(BackupError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    /// The next `length` bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'b [u8], BackupError> {
        let (field, rest) = self.0.split_at_checked(length).ok_or(BackupError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    /// The next `length` bytes, as text.
    pub(super) fn text(&mut self, length: usize) -> Result<&'b str, BackupError> {
        str::from_utf8(self.bytes(length)?).map_err(|_| BackupError::Malformed("a text is not UTF-8"))
    }

    /// One byte.
    pub(super) fn u8(&mut self) -> Result<u8, BackupError> {
        self.array().map(|&[byte]| byte)
    }

    /// Two bytes.
    pub(super) fn u16(&mut self) -> Result<u16, BackupError> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// Four bytes.
    pub(super) fn u32(&mut self) -> Result<u32, BackupError> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Eight bytes.
    pub(super) fn u64(&mut self) -> Result<u64, BackupError> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, BackupError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BackupError::Malformed("a flag is neither 0 nor 1")),
        }
    }
}

/// Joins fields that are `N` bytes in all.
pub(super) fn join<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    debug_assert_eq!(fields.iter().map(|field| field.len()).sum::<usize>(), N);
    let mut joined = [0; N];
    for (place, byte) in joined.iter_mut().zip(fields.iter().flat_map(|field| field.iter())) {
        *place = *byte;
    }
    joined
}

/// A length as the number that stands before a field.
pub(super) fn length<N: TryFrom<usize>>(length: usize) -> Result<N, BackupError> {
    N::try_from(length).map_err(|_| BackupError::Malformed("a text or list is too long"))
}

//! Reading and joining fixed fields; integers are little-endian.
//!
//! Must never read past the end, allocate by a length that was read, or hold a key.

/// The bytes end before the field does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

/// Takes fields off the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'b [u8; N], Short> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Short)?;
        self.0 = rest;
        Ok(field)
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'b [u8], Short> {
        let (field, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(field)
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(|&[byte]| byte)
    }

    /// Two bytes.
    pub(crate) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// Four bytes.
    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Eight bytes.
    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// Joins fields that are `N` bytes in all.
pub(crate) fn join<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    debug_assert_eq!(fields.iter().map(|field| field.len()).sum::<usize>(), N);
    let mut joined = [0; N];
    for (place, byte) in joined.iter_mut().zip(fields.iter().flat_map(|field| field.iter())) {
        *place = *byte;
    }
    joined
}

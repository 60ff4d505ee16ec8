//! The text form of a stream, piece by piece: `ks1.` and canonical base64url, in constant memory.

use std::io::{self, Read};

use keyagent_common::envelope;

use crate::input::fill;

/// What a stream in text form begins with.
pub(crate) const STREAM_PREFIX: &str = "ks1.";
const BLOCK_BYTES: usize = 64 << 10;

/// Turns bytes into text; keeps back what does not fill a group of three.
#[derive(Debug, Default)]
pub(crate) struct ArmorEncoder {
    held: Vec<u8>,
}

impl ArmorEncoder {
    /// The text of all whole groups so far.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let rest = self.held.split_off(self.held.len() - self.held.len() % 3);
        envelope::encode_base64(&std::mem::replace(&mut self.held, rest))
    }

    /// The text of what is left.
    pub(crate) fn finish(self) -> String {
        envelope::encode_base64(&self.held)
    }
}

/// Reads the bytes behind a text whose prefix was taken already. One final newline is allowed.
pub(crate) struct ArmorReader<R> {
    text: R,
    held: Vec<u8>,
    ended: bool,
    bytes: Vec<u8>,
    taken: usize,
}

impl<R: Read> ArmorReader<R> {
    pub(crate) fn new(text: R) -> Self {
        Self { text, held: Vec::new(), ended: false, bytes: Vec::new(), taken: 0 }
    }

    /// Decodes the next block. One character is always kept back: it could be the final newline.
    fn advance(&mut self) -> io::Result<()> {
        let filled = self.held.len();
        self.held.resize(filled + BLOCK_BYTES, 0);
        let count = fill(&mut self.text, self.held.get_mut(filled..).unwrap_or_default())?;
        self.held.truncate(filled + count);
        self.ended = count < BLOCK_BYTES;
        let usable = if self.ended {
            if self.held.last() == Some(&b'\n') {
                self.held.pop();
            }
            self.held.len()
        } else {
            self.held.len().saturating_sub(1) / 4 * 4
        };
        let rest = self.held.split_off(usable);
        let text = std::mem::replace(&mut self.held, rest);
        let text = str::from_utf8(&text).map_err(|_| not_canonical())?;
        self.bytes = envelope::decode_base64(text).map_err(|_| not_canonical())?;
        self.taken = 0;
        Ok(())
    }
}

impl<R: Read> Read for ArmorReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken >= self.bytes.len() {
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
        let mut ready = self.bytes.get(self.taken..).unwrap_or_default();
        let count = ready.read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

fn not_canonical() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, envelope::EnvelopeError::NotCanonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        ArmorReader::new(text.as_bytes()).read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn pieces_make_the_same_text_as_the_whole() {
        let data: Vec<u8> = (0..200_001_u32).flat_map(u32::to_le_bytes).collect();
        let whole = envelope::encode_base64(&data);
        for piece in [1, 2, 3, 1000, 65_537] {
            let mut encoder = ArmorEncoder::default();
            let mut text: String = data.chunks(piece).map(|piece| encoder.push(piece)).collect();
            text.push_str(&encoder.finish());
            assert!(text == whole, "{piece}");
        }
        assert!(decode(&whole).unwrap() == data);
        assert!(decode(&format!("{whole}\n")).unwrap() == data);
    }

    #[test]
    fn every_length_around_a_block_is_read_and_everything_else_is_refused() {
        for length in (BLOCK_BYTES / 4 * 3 - 4)..(BLOCK_BYTES / 4 * 3 + 4) {
            let data = vec![7; length];
            let text = envelope::encode_base64(&data);
            assert!(decode(&text).unwrap() == data && decode(&format!("{text}\n")).unwrap() == data);
            for bad in [format!("{text}\n\n"), format!("{text}\r\n"), format!("{text}="), format!("\n{text}")]
            {
                assert!(decode(&bad).is_err(), "{length}");
            }
        }
        assert!(decode("AB").is_err(), "spare bits");
        assert!(decode("A").is_err() && decode("AA\nAA").is_err());
        assert_eq!(decode("").unwrap(), b"");
    }
}

//! A part of what was encrypted: only the chunks that cover it are read and opened.
//!
//! Where a range needs the end of the plaintext, the last chunk is authenticated first: a length of a
//! file is a claim. It must never let a byte out whose chunk was not authenticated.

use std::{fs::File, io, os::unix::fs::FileExt};

use clap::Args;
use keyagent_common::{
    report::Report,
    stream::{
        self, CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES, ChunkPlace, HEADER_BYTES, Opener, StreamError,
        TAG_BYTES,
    },
};
use zeroize::Zeroizing;

use super::opening::begin;
use crate::{
    failure::{Failure, cannot_read, usage},
    input::{Input, fill},
    open::{OpenRequest, Opened, does_not_open},
    output::Output,
    session::Session,
};

const CHUNK: u64 = CHUNK_PLAINTEXT_BYTES as u64;

/// Which part of the plaintext.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RangeArguments {
    /// Begin at this byte of the plaintext; -5 is the fifth from its end. Needs a file
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, conflicts_with = "in_place")]
    offset: Option<i64>,
    /// At most so many bytes of the plaintext; only the chunks that cover them are read
    #[arg(long, value_name = "BYTES", conflicts_with = "in_place")]
    length: Option<u64>,
}

/// A part of a plaintext; what lies outside of the plaintext is not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    offset: i64,
    length: Option<u64>,
}

impl RangeArguments {
    /// The range that was asked for, if any.
    pub(crate) fn range(self) -> Option<Range> {
        if self.offset.is_none() && self.length.is_none() {
            return None;
        }
        Some(Range { offset: self.offset.unwrap_or_default(), length: self.length })
    }
}

impl Range {
    /// First byte and the one behind the last, in a plaintext of this many bytes.
    pub(crate) fn within(self, size: u64) -> (u64, u64) {
        let start = match u64::try_from(self.offset) {
            Ok(offset) => offset.min(size),
            Err(_) => size.saturating_sub(self.offset.unsigned_abs()),
        };
        let length = self.length.unwrap_or(u64::MAX).min(size - start);
        (start, start + length)
    }

    /// Whether it lies before this byte, wherever the plaintext ends.
    fn ends_by(self, byte: u64) -> bool {
        let end = u64::try_from(self.offset).ok().zip(self.length).map(|(o, l)| o.saturating_add(l));
        end.is_some_and(|end| end <= byte)
    }

    /// This part of bytes that are all there.
    pub(crate) fn slice(self, bytes: &[u8]) -> &[u8] {
        let (start, end) = self.within(bytes.len() as u64);
        part(bytes, start, end)
    }
}

/// Decrypts the part of a stream that was asked for; the output still has to be finished.
pub(crate) fn open_range(
    session: &mut Session<'_>,
    request: &OpenRequest<'_>,
    range: Range,
    input: &Input,
    output: &mut Output,
) -> Result<Opened, Failure> {
    let name = input.name();
    let (file, length) = input.regular_file().ok_or_else(|| needs_a_file(name))?;
    let mut header = [0; HEADER_BYTES];
    let count = fill(&mut From { file, at: 0 }, &mut header).map_err(|error| cannot_read(name, &error))?;
    let opener = begin(session, request.context, name, header.get(..count).unwrap_or_default())?;
    let truncated = || does_not_open(name, StreamError::Truncated);
    let size = stream::plaintext_len(length).ok_or_else(truncated)?;
    let mut chunks = Chunks { opener, file, name, size, bytes: Zeroizing::new(vec![0; CHUNK_SEALED_BYTES]) };
    if !range.ends_by(chunks.last() * CHUNK) {
        chunks.open(chunks.last())?;
    }
    let (start, end) = range.within(size);
    let mut at = start;
    while at < end {
        let begin = at / CHUNK * CHUNK;
        let plaintext = chunks.open(at / CHUNK)?;
        let stop = end.min(begin + CHUNK);
        output.write(part(plaintext, at - begin, stop - begin))?;
        at = stop;
    }
    Ok(Opened { kind: "stream", plaintext_bytes: end - start })
}

/// A part that is known to be there.
fn part(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    let (start, end) = (usize::try_from(start), usize::try_from(end));
    start.ok().zip(end.ok()).and_then(|(start, end)| bytes.get(start..end)).unwrap_or_default()
}

/// The chunks of a file, opened one by one.
struct Chunks<'f> {
    opener: Opener,
    file: &'f File,
    name: &'f str,
    /// Of the plaintext, as the length of the file claims.
    size: u64,
    bytes: Zeroizing<Vec<u8>>,
}

impl Chunks<'_> {
    fn last(&self) -> u64 {
        self.size / CHUNK
    }

    /// The plaintext of a chunk.
    fn open(&mut self, index: u64) -> Result<&[u8], Failure> {
        let name = self.name;
        let (place, wanted) = if index == self.last() {
            let rest = usize::try_from(self.size % CHUNK).unwrap_or_default();
            (ChunkPlace::Last, rest + TAG_BYTES)
        } else {
            (ChunkPlace::Middle, CHUNK_SEALED_BYTES)
        };
        let at =
            stream::chunk_offset(index).ok_or_else(|| does_not_open(name, StreamError::TooManyChunks))?;
        let bytes = self.bytes.get_mut(..wanted).unwrap_or_default();
        let count =
            fill(&mut From { file: self.file, at }, bytes).map_err(|error| cannot_read(name, &error))?;
        if count < wanted {
            return Err(does_not_open(name, StreamError::Truncated).into());
        }
        let opened = self.opener.open_chunk(index, place, bytes);
        opened.map(|plaintext| &*plaintext).map_err(|error| does_not_open(name, error).into())
    }
}

/// Reads a file from a place of its own, whatever was read from it before.
struct From<'f> {
    file: &'f File,
    at: u64,
}

impl io::Read for From<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn needs_a_file(name: &str) -> Report {
    usage("a part can be taken only from a file that is named")
        .fact("input", name)
        .why("a pipe has to be read from its beginning, and ends where it ends")
        .fix("keyagent decrypt --offset N --length M FILE")
}

#[cfg(test)]
mod tests;

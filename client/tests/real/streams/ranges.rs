//! `decrypt --offset --length`: parts of what was encrypted, and what is refused about them.

use std::{fs, os::unix::fs::FileExt};

use super::super::place::{Place, noise};

const HEADER: usize = 177;
const CHUNK: usize = 16_400;
const PLAIN_CHUNK: usize = 16_384;
const PLAIN_CHUNK_OFFSET: i64 = 16_384;
const CHUNKS: usize = 66;

/// A message and a stream, with what is in them.
struct Files {
    place: Place,
    stream: Vec<u8>,
    message: Vec<u8>,
}

impl Files {
    fn new() -> Self {
        let place = Place::started();
        let (stream, message) = (noise((CHUNKS - 1) * PLAIN_CHUNK + 100), noise(20_000));
        for (name, plain) in [("stream", &stream), ("message", &message)] {
            fs::write(place.work("plain"), plain).unwrap();
            place.run(&["encrypt", "plain", "-o", name], b"").expect(0);
        }
        Self { place, stream, message }
    }

    fn words(name: &str, offset: Option<i64>, length: Option<u64>) -> Vec<String> {
        let mut words = vec!["decrypt".to_owned(), name.to_owned()];
        words.extend(offset.map(|offset| format!("--offset={offset}")));
        words.extend(length.map(|length| format!("--length={length}")));
        words
    }

    #[track_caller]
    fn gives(&self, name: &str, offset: Option<i64>, length: Option<u64>) {
        let plain = if name == "message" { &self.message } else { &self.stream };
        let size = i64::try_from(plain.len()).unwrap();
        let start = match offset.unwrap_or(0) {
            back @ ..0 => (size + back).max(0),
            offset => offset.min(size),
        };
        let start = usize::try_from(start).unwrap();
        let end = length.and_then(|length| usize::try_from(length).ok()?.checked_add(start));
        let expected = &plain[start..end.unwrap_or(plain.len()).min(plain.len())];
        let done = self.place.run(&Self::words(name, offset, length), b"").expect(0);
        assert!(done.stdout == expected, "{name} {offset:?} {length:?}: {} bytes", done.stdout.len());
    }

    /// Changes the stream, asks for a part of it, and changes it back. What leaves is the truth.
    fn damaged(&self, at: usize, offset: i64, length: Option<u64>) -> i32 {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.place.work("stream")).unwrap();
        let (at, mut byte) = (at as u64, [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let done = self.place.run(&Self::words("stream", Some(offset), length), b"");
        file.write_all_at(&byte, at).unwrap();
        let truth = self.place.run(&Self::words("stream", Some(offset), length), b"").expect(0).stdout;
        assert!(truth.starts_with(&done.stdout), "byte {at}: {}", done.stderr);
        assert_eq!(done.code == 0, truth.len() == done.stdout.len(), "byte {at}: {}", done.stderr);
        done.code
    }
}

#[test]
fn every_part_is_the_slice_of_the_whole() {
    let files = Files::new();
    let chunk = PLAIN_CHUNK_OFFSET;
    let end = i64::try_from(files.stream.len()).unwrap();
    for (offset, length) in [
        (None, Some(0)),
        (None, Some(1)),
        (Some(0), None),
        (Some(chunk - 1), Some(2)),
        (Some(chunk), Some(PLAIN_CHUNK as u64)),
        (Some(chunk), Some(PLAIN_CHUNK as u64 + 1)),
        (Some(end - 101), Some(1)),
        (Some(end - 100), None),
        (Some(end - 1), Some(10)),
        (Some(end), None),
        (Some(end + 5), Some(5)),
        (Some(i64::MAX), Some(u64::MAX)),
        (Some(-1), None),
        (Some(-101), Some(2)),
        (Some(-chunk * 3), Some(PLAIN_CHUNK as u64 * 2)),
        (Some(i64::MIN), Some(3)),
    ] {
        files.gives("stream", offset, length);
    }
    for round in noise(40 * 8).chunks(8) {
        let number = u64::from_le_bytes(round.try_into().unwrap());
        let offset = i64::try_from(number >> 40).unwrap() % (end + 10);
        let length = (number & 0xffff_ffff) % [3, 20_000, 70_000, 2_000_000][usize::from(round[7] & 3)];
        files.gives("stream", Some(if round[6] & 4 == 0 { offset } else { -offset }), Some(length));
    }
    for (offset, length) in [(Some(5), Some(7)), (Some(-3), None), (None, Some(9)), (Some(99_999), None)] {
        files.gives("message", offset, length);
    }
}

#[test]
fn a_damaged_chunk_that_covers_the_part_is_refused_and_no_other_is_read() {
    let files = Files::new();
    let inside = |chunk: usize| HEADER + chunk * CHUNK + 50;
    let (offset, length) = (10 * PLAIN_CHUNK_OFFSET + 7, Some(PLAIN_CHUNK as u64));
    for (chunk, code) in [(9, 0), (10, 65), (11, 65), (12, 0), (CHUNKS - 1, 0)] {
        assert_eq!(files.damaged(inside(chunk), offset, length), code, "chunk {chunk}");
    }
    for at in [20 + 32, 130, 150] {
        assert_eq!(files.damaged(at, offset, length), 65, "header {at}");
    }
    // Into a file nothing appears.
    let sealed = fs::read(files.place.work("stream")).unwrap();
    let mut changed = sealed.clone();
    changed[inside(11)] ^= 1;
    fs::write(files.place.work("stream"), &changed).unwrap();
    let words =
        [&Files::words("stream", Some(offset), length)[..], &["-o".to_owned(), "out".to_owned()]].concat();
    files.place.run(&words, b"").refused(65, "DOES_NOT_OPEN");
    assert!(!files.place.work("out").exists());
    fs::write(files.place.work("stream"), &sealed).unwrap();
    files.place.run(&words, b"").expect(0);
    assert!(
        fs::read(files.place.work("out")).unwrap() == files.stream[10 * PLAIN_CHUNK + 7..][..PLAIN_CHUNK]
    );
    // Whoever asks for the end gets a proof that it is the end.
    for (offset, length) in [(-200, Some(1)), (0, None), (5, Some(u64::MAX)), (-1, None)] {
        assert_eq!(files.damaged(inside(CHUNKS - 1), offset, length), 65, "{offset}");
    }
}

#[test]
fn a_stream_that_was_cut_has_no_end() {
    let files = Files::new();
    let sealed = fs::read(files.place.work("stream")).unwrap();
    let middle = |offset: i64, length| files.place.run(&Files::words("cut", Some(offset), length), b"");
    for cut in [HEADER + 40 * CHUNK, HEADER + 40 * CHUNK + 20, HEADER + 40 * CHUNK + 5, sealed.len() - 1] {
        fs::write(files.place.work("cut"), &sealed[..cut]).unwrap();
        for (offset, length) in [(0, None), (-1, None), (39 * PLAIN_CHUNK_OFFSET, Some(u64::MAX))] {
            let done = middle(offset, length);
            assert!(done.stdout.is_empty(), "{cut} {offset}");
            done.refused(65, "DOES_NOT_OPEN");
        }
    }
    // What is there still opens when its length alone could be the one of a stream.
    fs::write(files.place.work("cut"), &sealed[..HEADER + 40 * CHUNK + 20]).unwrap();
    assert!(middle(PLAIN_CHUNK_OFFSET, Some(9)).expect(0).stdout == files.stream[PLAIN_CHUNK..][..9]);
}

#[test]
fn a_part_of_what_cannot_be_looked_up_is_refused() {
    let files = Files::new();
    let sealed = fs::read(files.place.work("stream")).unwrap();
    files.place.run(&["decrypt", "--offset", "5"], &sealed).refused(64, "USAGE");
    files.place.run(&["decrypt", "--length", "5", "stream", "message"], b"").refused(64, "USAGE");
    files.place.run(&["decrypt", "--length", "5", "--in-place", "stream"], b"").expect(64);
    fs::write(files.place.work("plain"), &files.stream).unwrap();
    files.place.run(&["encrypt", "-a", "plain", "-o", "text"], b"").expect(0);
    files.place.run(&["decrypt", "--offset", "5", "text"], b"").refused(64, "USAGE");
    let other = files.place.run(&["decrypt", "-c", "a=b", "--length", "5", "stream"], b"");
    other.refused(65, "DOES_NOT_OPEN");
}

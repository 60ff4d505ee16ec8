//! Streams that were cut, changed, reordered or put together anew: 65, and no output file.

use std::fs;

use super::place::{Place, noise};

const HEADER: usize = 177;
const CHUNK: usize = 16_400;
const CHUNKS: usize = 66;

struct Stream {
    place: Place,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        let place = Place::started();
        let plain = noise((CHUNKS - 1) * 16_384 + 100);
        let sealed = place.run(&["encrypt"], &plain).expect(0).stdout;
        assert_eq!(sealed.len(), HEADER + (CHUNKS - 1) * CHUNK + 116);
        Self { place, plain, sealed }
    }

    /// Refused into a file and into a pipe; what the pipe got is a beginning of the truth.
    #[track_caller]
    fn refused(&self, what: &str, sealed: &[u8], codes: &[i32]) {
        fs::write(self.place.work("sealed"), sealed).unwrap();
        let done = self.place.run(&["decrypt", "sealed", "-o", "out"], b"");
        assert!(codes.contains(&done.code), "{what}: {} {}", done.code, done.stderr);
        let mut left: Vec<_> =
            fs::read_dir(self.place.path("work")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["sealed"], "{what}: something was left");
        let done = self.place.run(&["decrypt"], sealed);
        assert!(codes.contains(&done.code), "{what}, pipe: {}", done.stderr);
        assert!(self.plain.starts_with(&done.stdout) && done.stdout.len() < self.plain.len(), "{what}, pipe");
    }
}

#[test]
fn every_cut_at_a_border_is_refused() {
    let stream = Stream::new();
    let borders = [0, 1, 2, 31, CHUNKS - 2, CHUNKS - 1].map(|chunk| HEADER + chunk * CHUNK);
    for border in [15, 16, 121, 145].into_iter().chain(borders) {
        for cut in [border - 1, border, border + 1, border + 16] {
            stream.refused(&format!("cut at {cut}"), &stream.sealed[..cut], &[65]);
        }
    }
    stream.refused("one byte short", &stream.sealed[..stream.sealed.len() - 1], &[65]);
}

#[test]
fn every_changed_bit_is_refused() {
    let stream = Stream::new();
    let header = (0..HEADER).step_by(7);
    let chunks = [0, 1, 40, CHUNKS - 1].into_iter().flat_map(|chunk| {
        let start = HEADER + chunk * CHUNK;
        [start, start + 50, start + 115]
    });
    for at in header.chain(chunks).chain([stream.sealed.len() - 1]) {
        let mut changed = stream.sealed.clone();
        changed[at] ^= 1 << (at % 8);
        // The id of the key in the sealed data key: then it is another key.
        let codes: &[i32] = if (17..49).contains(&at) { &[79] } else { &[65] };
        stream.refused(&format!("bit of byte {at}"), &changed, codes);
    }
}

#[test]
fn chunks_in_another_order_doubled_left_out_or_added_are_refused() {
    let stream = Stream::new();
    let sealed = &stream.sealed;
    let chunk = |number: usize| &sealed[HEADER + number * CHUNK..][..CHUNK];
    let (head, tail) = (&sealed[..HEADER], &sealed[HEADER + 2 * CHUNK..]);
    stream.refused("exchanged", &[head, chunk(1), chunk(0), tail].concat(), &[65]);
    stream.refused("doubled", &[head, chunk(0), chunk(0), chunk(1), tail].concat(), &[65]);
    stream.refused("left out", &[head, chunk(1), tail].concat(), &[65]);
    stream.refused("added", &[sealed, &sealed[sealed.len() - 116..]].concat(), &[65]);
    stream.refused("newline", &[sealed, &b"\n"[..]].concat(), &[65]);
    let other = stream.place.run(&["encrypt"], &stream.plain).expect(0).stdout;
    stream.refused("foreign chunk", &[head, &other[HEADER..HEADER + CHUNK], chunk(1), tail].concat(), &[65]);
    stream.refused("foreign header", &[&other[..HEADER], &sealed[HEADER..]].concat(), &[65]);
}

#[test]
fn a_changed_character_of_the_text_form_is_refused() {
    let stream = Stream::new();
    let text = stream.place.run(&["encrypt", "-a"], &stream.plain).expect(0).stdout;
    for at in [4, 25, 100, 240, 241, 30_000, 700_000, text.len() - 3] {
        let mut changed = text.clone();
        changed[at] = if changed[at] == b'A' { b'Q' } else { b'A' };
        stream.refused(&format!("character {at}"), &changed, &[65, 79]);
    }
    for cut in [4, 5, 240, 30_001, text.len() - 2] {
        stream.refused(&format!("cut at {cut}"), &text[..cut], &[65]);
    }
}

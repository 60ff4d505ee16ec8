//! Threads against one thread: the same bytes, the same refusals, in the same order.

use std::{
    io::{self, Read},
    sync::mpsc,
    time::Duration,
};

use keyagent_common::{
    context::Context,
    error::ErrorCode,
    report::Report,
    stream::{
        CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES, HEADER_BYTES, Opener, Sealer, StreamError, StreamHeader,
        StreamOpener, StreamSealer, sealed_len,
    },
};
use proptest::prelude::*;

use super::super::{
    CHUNKS_AT_ONCE, bulk,
    opening::open_block,
    sealing::{read_block, seal_block},
};
use super::*;
use crate::input::fill;

const KEY: [u8; 32] = [7; 32];
const SALT: [u8; 24] = [9; 24];
const BLOCK_PLAINTEXT: usize = CHUNKS_AT_ONCE * CHUNK_PLAINTEXT_BYTES;

fn failure(text: impl Into<String>) -> Failure {
    Report::new(ErrorCode::InputOutput, text).into()
}

fn text(failure: &Failure) -> String {
    let Failure::Report(report) = failure else { panic!() };
    report.what.clone()
}

fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 31 + i / 16_384) % 251).unwrap()).collect()
}

/// Gives at most so many bytes at once, as a pipe does.
struct Crumbs<'b>(&'b [u8], usize);

impl Read for Crumbs<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

fn header_and_sealer() -> (Sealer, [u8; HEADER_BYTES]) {
    let mut sealed_key = [5; 105];
    sealed_key[0] = 2;
    Sealer::with_backend(bulk::backend(), &KEY, &sealed_key, &SALT, Context::empty()).unwrap()
}

fn opener(stream: &[u8]) -> Opener {
    let header = StreamHeader::parse(stream).unwrap();
    Opener::with_backend(bulk::backend(), &KEY, &header, Context::empty()).unwrap()
}

fn seal(threads: usize, plain: &[u8], crumbs: usize) -> Vec<u8> {
    let (sealer, header) = header_and_sealer();
    let (mut stream, mut input) = (header.to_vec(), Crumbs(plain, crumbs));
    let steps = Steps {
        read: |block: &mut [u8]| read_block(&mut input, block).map_err(|error| failure(error.to_string())),
        work: |block: &mut Block| seal_block(&sealer, block).map_err(|error| failure(error.to_string())),
        write: |block: &Block| {
            stream.extend_from_slice(&block.bytes[..block.ready]);
            Ok(())
        },
        whole: BLOCK_PLAINTEXT,
        stop: None,
    };
    run(threads, steps).unwrap();
    stream
}

/// What was let out, and how it ended.
fn open(threads: usize, stream: &[u8], crumbs: usize) -> (Vec<u8>, Result<(), String>) {
    let opener = opener(stream);
    let (mut plain, mut input) = (Vec::new(), Crumbs(&stream[HEADER_BYTES..], crumbs));
    let steps = Steps {
        read: |block: &mut [u8]| fill(&mut input, block).map_err(|error| failure(error.to_string())),
        work: |block: &mut Block| open_block(&opener, block).map_err(|error| failure(error.to_string())),
        write: |block: &Block| {
            plain.extend_from_slice(&block.bytes[..block.ready]);
            Ok(())
        },
        whole: BLOCK_BYTES,
        stop: None,
    };
    let end = run(threads, steps).map_err(|failure| text(&failure));
    (plain, end)
}

/// The sequential writer of the format, on one thread.
fn seal_alone(plain: &[u8]) -> Vec<u8> {
    let (sealer, header) = header_and_sealer();
    let (mut stream, mut plain, mut sealer) = (header.to_vec(), plain.to_vec(), StreamSealer::new(sealer));
    let (chunks, rest) = plain.as_chunks_mut::<CHUNK_PLAINTEXT_BYTES>();
    for chunk in chunks {
        let tag = sealer.seal(chunk).unwrap();
        stream.extend_from_slice(chunk);
        stream.extend_from_slice(&tag);
    }
    let tag = sealer.finish(rest).unwrap();
    stream.extend_from_slice(rest);
    stream.extend_from_slice(&tag);
    stream
}

/// The sequential reader of the format, on one thread.
fn open_alone(stream: &[u8]) -> (Vec<u8>, Result<(), String>) {
    let mut opener = StreamOpener::new(opener(stream));
    let (mut plain, mut body) = (Vec::new(), stream[HEADER_BYTES..].to_vec());
    let (chunks, rest) = body.as_chunks_mut::<CHUNK_SEALED_BYTES>();
    for chunk in chunks {
        match opener.open(chunk) {
            Ok(chunk) => plain.extend_from_slice(chunk),
            Err(error) => return (plain, Err(error.to_string())),
        }
    }
    let end = opener.finish(rest).map(|last| plain.extend_from_slice(last));
    (plain, end.map_err(|error| error.to_string()))
}

fn agree(plain: &[u8], threads: usize, crumbs: usize) {
    let stream = seal(threads, plain, crumbs);
    assert!(stream == seal_alone(plain), "{} bytes, {threads} threads", plain.len());
    assert_eq!(Some(stream.len() as u64), sealed_len(plain.len() as u64));
    for (opened, end) in [open(threads, &stream, crumbs), open_alone(&stream)] {
        assert!(end == Ok(()) && opened == plain, "{} bytes, {threads} threads: {end:?}", plain.len());
    }
}

#[test]
fn threads_and_one_thread_agree_around_every_border() {
    let chunk = CHUNK_PLAINTEXT_BYTES;
    for border in [0, chunk, 15 * chunk, BLOCK_PLAINTEXT, BLOCK_PLAINTEXT + chunk, 3 * BLOCK_PLAINTEXT] {
        for length in [border.saturating_sub(1), border, border + 1] {
            for threads in [1, 2, 4] {
                agree(&sample(length), threads, usize::MAX);
            }
        }
    }
}

fn counter(read: usize, blocks: usize) -> impl FnMut(&mut [u8]) -> Result<usize, Failure> {
    let mut next = 0;
    move |block| {
        next += 1;
        block[..8].copy_from_slice(&(next as u64).to_le_bytes());
        match next {
            n if n == read => Err(failure(format!("read {n}"))),
            n => Ok(if n < blocks { 8 } else { 0 }),
        }
    }
}

/// Failures at these steps, counted from 1; what was written before, and which failure was told.
fn with_failures(threads: usize, read: usize, work: u64, write: u64) -> (Vec<u64>, String) {
    let mut written = Vec::new();
    let steps = Steps {
        read: counter(read, 40),
        work: |block: &mut Block| {
            // The odd ones take longer, so that threads overtake each other.
            std::thread::sleep(Duration::from_millis(block.number % 2 * 2));
            let number = block.number + 1;
            if number >= work {
                Err(failure(format!("work {number}")))
            } else {
                block.ready = 8;
                Ok(())
            }
        },
        write: |block: &Block| {
            let number = block.number + 1;
            if number == write {
                return Err(failure(format!("write {number}")));
            }
            written.push(number);
            Ok(())
        },
        whole: 8,
        stop: None,
    };
    let failure = run(threads, steps).map_or_else(|failure| text(&failure), |()| "none".to_owned());
    (written, failure)
}

#[test]
fn the_first_failure_in_the_order_of_the_input_ends_it() {
    for threads in [1, 2, 4, 8] {
        for (read, work, write, last, told) in [
            (99, 99, 99, 40, "none"),
            (99, 5, 99, 4, "work 5"),
            (5, 99, 99, 4, "read 5"),
            (99, 99, 5, 4, "write 5"),
            (9, 5, 7, 4, "work 5"),
            (5, 9, 7, 4, "read 5"),
            (9, 8, 5, 4, "write 5"),
            (1, 99, 99, 0, "read 1"),
        ] {
            let (written, failure) = with_failures(threads, read, work, write);
            assert_eq!(failure, told, "{threads} threads");
            assert_eq!(written, (1..=last).collect::<Vec<_>>(), "{threads} threads, {told}");
        }
    }
}

#[test]
fn nobody_waits_for_an_input_after_a_failure() {
    let (mut reader, stop) = io::pipe().unwrap();
    let (done, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut next = 0;
        let steps = Steps {
            read: |_: &mut [u8]| {
                next += 1;
                if next == 1 {
                    return Ok(8);
                }
                // As long as nobody drops the other end.
                reader.read(&mut [0]).map_err(|error| failure(error.to_string()))
            },
            work: |_: &mut Block| Err(failure("damaged")),
            write: |_: &Block| Ok(()),
            whole: 8,
            stop: Some(stop),
        };
        done.send(run(4, steps).map_err(|failure| text(&failure))).unwrap();
    });
    assert_eq!(ended.recv_timeout(Duration::from_secs(20)).unwrap(), Err("damaged".to_owned()));
    thread.join().unwrap();
}

#[test]
fn every_thread_has_one_block_and_no_more_than_asked_for_are_there() {
    for threads in [1, 3] {
        let seen = Mutex::new(std::collections::HashSet::new());
        let steps = Steps {
            read: counter(999, 60),
            work: |_: &mut Block| {
                std::thread::sleep(Duration::from_millis(1));
                lock(&seen).insert(thread::current().id());
                Ok(())
            },
            write: |_: &Block| Ok(()),
            whole: 8,
            stop: None,
        };
        run(threads, steps).unwrap();
        assert_eq!(lock(&seen).len(), threads);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn threads_and_one_thread_agree(length in 0..4 * BLOCK_PLAINTEXT, threads in 1_usize..6, crumbs in 1_usize..70_000) {
        agree(&sample(length), threads, crumbs.max(length / 2000));
    }

    #[test]
    fn what_one_thread_refuses_all_refuse_with_the_same_words(
        length in 0..3 * BLOCK_PLAINTEXT,
        threads in 1_usize..6,
        at: prop::sample::Index,
        bit in 0_u8..8,
        cut: bool,
    ) {
        let mut stream = seal_alone(&sample(length));
        let place = HEADER_BYTES + at.index(stream.len() - HEADER_BYTES);
        if cut { stream.truncate(place) } else { stream[place] ^= 1 << bit }
        let (prefix, end) = open(threads, &stream, usize::MAX);
        let (expected, expected_end) = open_alone(&stream);
        prop_assert!(end.is_err() && end == expected_end, "{:?} {:?}", end, expected_end);
        prop_assert!(prefix == expected, "{} and {} bytes", prefix.len(), expected.len());
    }
}

#[test]
fn a_failed_block_keeps_nothing_behind_the_failure() {
    let plain = sample(BLOCK_PLAINTEXT - 100);
    let stream = seal_alone(&plain);
    let mut bytes = Zeroizing::new(vec![0; BLOCK_BYTES]);
    let body = &stream[HEADER_BYTES..];
    bytes[..body.len()].copy_from_slice(body);
    bytes[3 * CHUNK_SEALED_BYTES + 7] ^= 1;
    let mut block = Block { number: 0, bytes, filled: body.len(), ready: 0 };
    let error = open_block(&opener(&stream), &mut block).unwrap_err();
    assert_eq!(error, StreamError::Chunk { index: 3 });
    assert_eq!(block.ready, 3 * CHUNK_PLAINTEXT_BYTES);
    assert!(block.bytes[..block.ready] == plain[..block.ready]);
    assert!(block.bytes[3 * CHUNK_SEALED_BYTES..].iter().all(|byte| *byte == 0));
}

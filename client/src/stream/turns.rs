//! Blocks of one input on several threads: each reads the next one in turn, works on it beside the
//! others, and writes it in turn.
//!
//! What is written is what one thread would write, and of several failures the first in the order of
//! the input counts. It must never read or write out of turn, or go on after a failure.

use std::{
    io::PipeWriter,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use zeroize::Zeroizing;

use super::BLOCK_BYTES;
use crate::failure::Failure;

/// A block on its way.
pub(super) struct Block {
    /// From 0, in the order of the input.
    pub(super) number: u64,
    /// Room for [`BLOCK_BYTES`].
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// What the reader made of it; less than a whole block is the last one.
    pub(super) filled: usize,
    /// How much of it may be written.
    pub(super) ready: usize,
}

/// What is done with blocks.
pub(super) struct Steps<R, D, W> {
    /// Fills a block from the input, and says how far.
    pub(super) read: R,
    /// Works on it. On a failure [`Block::ready`] still says what may be written.
    pub(super) work: D,
    /// Takes it.
    pub(super) write: W,
    /// What [`Steps::read`] calls a whole block.
    pub(super) whole: usize,
    /// Dropped at a failure, so that nobody waits for an input that is not wanted any more.
    pub(super) stop: Option<PipeWriter>,
}

struct Reading<R> {
    read: R,
    next: u64,
    ended: bool,
}

struct Writing<W> {
    write: W,
    next: u64,
    stop: Option<PipeWriter>,
    failure: Option<Failure>,
}

struct Line<R, D, W> {
    reading: Mutex<Reading<R>>,
    writing: Mutex<Writing<W>>,
    turn: Condvar,
    work: D,
    whole: usize,
}

/// Takes the input through the steps to its end, on at most this many threads, this one included.
pub(super) fn run<R, D, W>(threads: usize, steps: Steps<R, D, W>) -> Result<(), Failure>
where
    R: FnMut(&mut [u8]) -> Result<usize, Failure> + Send,
    D: Fn(&mut Block) -> Result<(), Failure> + Sync,
    W: FnMut(&Block) -> Result<(), Failure> + Send,
{
    let Steps { read, work, write, whole, stop } = steps;
    let line = Line {
        reading: Mutex::new(Reading { read, next: 0, ended: false }),
        writing: Mutex::new(Writing { write, next: 0, stop, failure: None }),
        turn: Condvar::new(),
        work,
        whole,
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // With fewer threads than asked for it only takes longer.
            if thread::Builder::new().spawn_scoped(scope, || line.work_along()).is_err() {
                break;
            }
        }
        line.work_along();
    });
    let writing = line.writing.into_inner().unwrap_or_else(PoisonError::into_inner);
    writing.failure.map_or(Ok(()), Err)
}

impl<R, D, W> Line<R, D, W>
where
    R: FnMut(&mut [u8]) -> Result<usize, Failure>,
    D: Fn(&mut Block) -> Result<(), Failure>,
    W: FnMut(&Block) -> Result<(), Failure>,
{
    /// What every thread does.
    fn work_along(&self) {
        let bytes = Zeroizing::new(vec![0; BLOCK_BYTES]);
        let mut block = Block { number: 0, bytes, filled: 0, ready: 0 };
        while let Some(read) = self.read_next(&mut block) {
            let worked = read.and_then(|()| (self.work)(&mut block));
            if !self.write_in_turn(&block, worked) {
                return;
            }
        }
    }

    /// `None` at the end of the input.
    fn read_next(&self, block: &mut Block) -> Option<Result<(), Failure>> {
        let mut reading = lock(&self.reading);
        if mem::replace(&mut reading.ended, true) {
            return None;
        }
        (block.number, block.filled, block.ready) = (reading.next, 0, 0);
        reading.next += 1;
        let read = (reading.read)(&mut block.bytes).map(|filled| block.filled = filled);
        // After a failure nothing more is read.
        reading.ended = read.is_err() || block.filled < self.whole;
        Some(read)
    }

    /// Whether there is anything left to do.
    fn write_in_turn(&self, block: &Block, worked: Result<(), Failure>) -> bool {
        let mut writing = lock(&self.writing);
        while writing.next != block.number && writing.failure.is_none() {
            writing = self.turn.wait(writing).unwrap_or_else(PoisonError::into_inner);
        }
        if writing.failure.is_some() {
            return false;
        }
        writing.next += 1;
        let written = if block.ready > 0 { (writing.write)(block) } else { Ok(()) };
        // What could not be written hides what would have come after it.
        writing.failure = written.and(worked).err();
        if writing.failure.is_some() {
            writing.stop = None;
        }
        self.turn.notify_all();
        writing.failure.is_none()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

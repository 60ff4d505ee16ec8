//! Streams at full speed: blocks of chunks on all cores, in constant memory, written in order.
//!
//! Every rule of the format stays with `keyagent_common::stream`; here is only who does what when.
//! It must never hold more than one block per thread, write a block before all blocks before it, or
//! keep plaintext in a buffer that is not wiped.

mod bulk;
mod opening;
mod range;
mod sealing;
mod turns;

use std::{num::NonZeroU8, thread};

use clap::Args;
use keyagent_common::stream::CHUNK_SEALED_BYTES;

pub(crate) use opening::{Source, open_stream};
pub(crate) use range::{Range, RangeArguments, open_range};
pub(crate) use sealing::seal_stream;

/// Chunks that one thread takes at once: they stay in its cache on their way from reading to writing.
const CHUNKS_AT_ONCE: usize = 16;
/// The same, in sealed bytes.
const BLOCK_BYTES: usize = CHUNKS_AT_ONCE * CHUNK_SEALED_BYTES;
/// More threads than these only wait for each other: reading and writing go in turns.
const MOST_BY_DEFAULT: usize = 4;

/// How streams are worked on.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct StreamArguments {
    /// Threads for inputs above 1 MiB, 1 to 16 [default: one per core, at most 4]
    #[arg(long, value_name = "NUMBER", value_parser = at_most_sixteen)]
    threads: Option<NonZeroU8>,
}

impl StreamArguments {
    /// How many threads to use, at least 1.
    pub(crate) fn threads(self) -> usize {
        self.threads.map_or_else(
            || thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_BY_DEFAULT)),
            |threads| usize::from(threads.get()),
        )
    }
}

fn at_most_sixteen(text: &str) -> Result<NonZeroU8, String> {
    let number = text.parse::<NonZeroU8>().ok().filter(|number| number.get() <= 16);
    number.ok_or_else(|| "a number from 1 to 16".to_owned())
}

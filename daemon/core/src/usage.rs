//! How much each key version was used: counts that survive any crash and are never too low
//! (docs/FORMATS.md, section "Usage counters").
//!
//! What is on the disk runs ahead of what was counted: before a count would pass the number that is stored, a larger
//! one is stored. So a crash can only make a count too high, and then it says so. Counts live in memory
//! ([`Counts`]), the file is written by [`Journal`] through a [`CounterFile`]. Must never let a count be believed
//! that may be too low: what cannot be read or written is "not known", never zero.

mod counts;
mod entry;
mod journal;
mod key;
mod recovered;
#[cfg(test)]
mod tests;

pub use counts::{Counts, Direction, Used};
pub use entry::{ENTRY_BYTES, HEADER_BYTES, MAGIC};
pub use journal::{CounterFile, Everything, Journal, NotReplaced, RETRY_SECONDS, Rewrite};
pub use key::CounterKey;
pub use recovered::{Finding, Recovered, Unreadable, read};

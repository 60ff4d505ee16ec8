//! Files that are whole but not yet there: several are made to last and to appear together.
//!
//! A file system writes its journal for each sync; a thousand small files would wait two thousand times. It must never
//! say of a file that it is there before that is so, and never keep one back at a failure of another.

use crate::{
    console::Console,
    failure::Failure,
    output::{Output, finish_all},
};

/// Most files that wait, each with a descriptor, and most bytes in them.
const MOST_FILES: usize = 64;
const MOST_BYTES: u64 = 64 << 20;

/// Outputs in the order in which they were made, and what is said of each when it is there.
#[derive(Default)]
pub(crate) struct Pending {
    outputs: Vec<Output>,
    words: Vec<String>,
    bytes: u64,
}

impl Pending {
    /// Takes an output that is whole; those that wait appear when there are enough.
    pub(crate) fn push(
        &mut self,
        output: Output,
        words: Option<String>,
        bytes: u64,
        console: &Console,
    ) -> Result<(), Failure> {
        self.outputs.push(output);
        self.words.extend(words);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.outputs.len() >= MOST_FILES || self.bytes >= MOST_BYTES {
            self.finish(console)
        } else {
            Ok(())
        }
    }

    /// Everything that waits appears.
    pub(crate) fn finish(&mut self, console: &Console) -> Result<(), Failure> {
        let Self { outputs, words, .. } = std::mem::take(self);
        finish_all(outputs)?;
        for words in words {
            console.say(&words);
        }
        Ok(())
    }
}

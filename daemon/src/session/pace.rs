//! When a connection reads at once, waits first, or lets the others of its worker go ahead.

use tokio::task::yield_now;

use super::{Ended, link::Link};

/// Whether to read at once or to wait first.
///
/// A client on the same core runs as soon as its reply is written, so its next request is there before the
/// worker could go to sleep. After a few wrong guesses in a row the next one is put off, twice as long each time: a
/// client on another core, which is never that fast, costs next to nothing.
#[derive(Default)]
pub(super) struct Pace {
    /// The socket was found empty.
    empty: bool,
    /// It was, and is read once more all the same.
    guessing: bool,
    /// Reads since the last wait.
    in_a_row: u8,
    /// Waits before the next guess.
    holds_back: u8,
    /// Wrong guesses since the last right one.
    wrong: u8,
}

impl Pace {
    /// Then the other connections of the worker get their turn.
    const MOST_IN_A_ROW: u8 = 32;
    /// As many wrong guesses cost nothing but themselves: about half are right when a client is fast.
    const FREE_OF_CHARGE: u8 = 3;
    /// So many more double the wait.
    const DOUBLINGS: u8 = 6;

    /// Waits if nothing can be there.
    pub(super) async fn keep(&mut self, link: &mut Link<'_>) -> Result<(), Ended> {
        if self.empty {
            link.wait_for_input().await?;
        } else if self.in_a_row >= Self::MOST_IN_A_ROW {
            yield_now().await;
        } else {
            return Ok(());
        }
        (self.empty, self.guessing, self.in_a_row) = (false, false, 0);
        Ok(())
    }

    /// What was answered took long, or more of it waits: the others first.
    pub(super) fn let_others(&mut self) {
        self.in_a_row = Self::MOST_IN_A_ROW;
    }

    /// Input was left in the socket, and no event will tell of it.
    pub(super) fn more_is_there(&mut self) {
        (self.empty, self.guessing) = (false, false);
        self.let_others();
    }

    /// There was nothing, or nothing more than the last time.
    pub(super) fn found_nothing(&mut self) {
        if self.guessing {
            if self.wrong >= Self::FREE_OF_CHARGE {
                self.holds_back = 1 << (self.wrong - Self::FREE_OF_CHARGE);
            }
            self.wrong = (self.wrong + 1).min(Self::FREE_OF_CHARGE + Self::DOUBLINGS);
        }
        (self.empty, self.guessing) = (true, false);
    }

    /// `drained`: the read took less than there was room for, so the socket is empty now.
    pub(super) fn found_something(&mut self, drained: bool) {
        if self.guessing {
            self.wrong = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.guessing = drained && self.holds_back == 0 && self.in_a_row < Self::MOST_IN_A_ROW;
        self.empty = drained && !self.guessing;
        self.holds_back = self.holds_back.saturating_sub(1);
    }
}

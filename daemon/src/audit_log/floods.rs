//! Requests in vain by the thousand: beyond a number in a second, a user's are counted, and written as sums.
//!
//! Only of users who do not oversee the agent. Must never count what the log would have refused to take: a request
//! that is neither written nor counted is to be answered as one that could not be recorded.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use keyagent_core::{
    audit::record::{Event, Peer, Via},
    ops::OperationError,
};

use super::line::{Line, Manner};

/// Requests in vain of one user that get lines of their own, in [`PERIOD`].
pub(super) const LINES_IN_PERIOD: u32 = 50;
/// The time in which they are counted.
const PERIOD: Duration = Duration::from_secs(1);
/// Most users who are told apart; what further ones ask is written line by line.
const MAX_USERS: usize = 4096;
/// Most sums that wait to be written; what would need another one is written line by line.
const MAX_SUMS: usize = 1024;

/// Who asked for what in vain, and why it was in vain.
type Kind = (u32, &'static str, Option<u16>);

/// What is counted, behind the lock of the log.
#[derive(Default)]
pub(super) struct Floods {
    /// When a user's period began, and how many lines were written in it.
    users: BTreeMap<u32, (Instant, u32)>,
    /// When users whose period is over were last forgotten.
    tidied: Option<Instant>,
    sums: BTreeMap<Kind, Sum>,
}

/// Requests of one kind; what else is known is of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    kind: Kind,
    count: u64,
    peer: Peer,
    unit: Option<String>,
    socket: Option<String>,
    error: String,
}

impl Floods {
    /// Whether a line is to be counted instead of written; one that is not has its place in this period.
    pub(super) fn is_over(&mut self, line: &Line<'_>, now: Instant) -> bool {
        let Some(kind @ (uid, ..)) = kind(line) else { return false };
        if !self.users.contains_key(&uid) && self.users.len() >= MAX_USERS {
            let is_over = |began: Instant| now.saturating_duration_since(began) >= PERIOD;
            if self.tidied.is_none_or(is_over) {
                self.users.retain(|_, (began, _)| !is_over(*began));
                self.tidied = Some(now);
            }
            if self.users.len() >= MAX_USERS {
                return false;
            }
        }
        let (began, lines) = self.users.entry(uid).or_insert((now, 0));
        if now.saturating_duration_since(*began) >= PERIOD {
            (*began, *lines) = (now, 0);
        }
        *lines = lines.saturating_add(1);
        *lines > LINES_IN_PERIOD && (self.sums.len() < MAX_SUMS || self.sums.contains_key(&kind))
    }

    /// Counts a line that was not written; of a batch, each of its items.
    pub(super) fn count(&mut self, line: &Line<'_>) {
        let Some(kind @ (uid, operation, _)) = kind(line) else { return };
        let Event::Operation { details, .. } = line.event else { return self.add(line, kind, 1, None) };
        if details.outcomes.is_empty() {
            return self.add(line, kind, 1, None);
        }
        for outcome in details.outcomes {
            let code = outcome.failure.map(|failure| failure.code() as u16);
            let error = outcome.failure.map(OperationError::what);
            self.add(line, (uid, operation, code), outcome.count, error);
        }
    }

    /// With an error of its own, or that of the line.
    fn add(&mut self, line: &Line<'_>, kind: Kind, more: u64, error: Option<&str>) {
        let Some(peer) = line.peer else { return };
        let before = self.sums.get(&kind).map_or(0, |sum| sum.count);
        let sum = Sum {
            kind,
            count: before.saturating_add(more),
            peer,
            unit: line.via.unit.map(str::to_owned),
            socket: line.via.socket.map(str::to_owned),
            error: error.or(line.error).unwrap_or_default().to_owned(),
        };
        self.sums.insert(kind, sum);
    }

    /// The sums, as they wait to be written.
    pub(super) fn sums(&self) -> Vec<Sum> {
        self.sums.values().cloned().collect()
    }

    /// They are written.
    pub(super) fn forget_sums(&mut self) {
        self.sums.clear();
    }
}

impl Sum {
    /// Its line.
    pub(super) fn line(&self) -> Line<'_> {
        let (_, operation, code) = self.kind;
        Line {
            peer: Some(self.peer),
            via: Via { unit: self.unit.as_deref(), socket: self.socket.as_deref(), ..Via::default() },
            error: Some(&self.error),
            ..Line::own(Event::RequestRefused { operation, code, count: self.count })
        }
    }
}

/// `None` for what is never counted.
fn kind(line: &Line<'_>) -> Option<Kind> {
    let peer = line.peer.filter(|_| line.manner == Manner::Plain && line.error.is_some())?;
    let code = match line.event {
        Event::Operation { details, .. } => details.code,
        _ => None,
    };
    Some((peer.uid, line.event.name(), code))
}

//! What an operator chooses about the audit log. Plain values: reading a configuration is done elsewhere.

use std::time::Duration;

pub(crate) use keyagent_config::{Durability, Journald, WhenFull};

/// Least bytes of a file before it is rotated: below it there would be more files than lines.
const LEAST_ROTATE_BYTES: u64 = 4 << 10;

/// The settings of an [`super::AuditLog`]; may be changed while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// When a record counts as written.
    pub(crate) durability: Durability,
    /// Bytes from which on a file is rotated.
    pub(crate) rotate_bytes: u64,
    /// Age of its first line from which on a file is rotated, if it has more than that line; `None` for no such age.
    pub(crate) rotate_age: Option<Duration>,
    /// How long a rotated file is kept after its last line.
    pub(crate) keep: Duration,
    /// Bytes of all files together.
    pub(crate) budget_bytes: u64,
    /// Share of the budget from which on the operator is warned.
    pub(crate) warn_percent: u8,
    /// What happens when the budget is used up.
    pub(crate) when_full: WhenFull,
    /// What is sent to the journal as well.
    pub(crate) journald: Journald,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Write,
            rotate_bytes: 64 << 20,
            rotate_age: None,
            keep: Duration::from_hours(400 * 24),
            budget_bytes: 1 << 30,
            warn_percent: 80,
            when_full: WhenFull::DeleteOldest,
            journald: Journald::Off,
        }
    }
}

impl LogSettings {
    /// Bytes from which on the current file is rotated: at most half the budget, since only rotated
    /// files can be deleted.
    pub(super) fn rotate_at(&self) -> u64 {
        self.rotate_bytes.min(self.budget_bytes / 2).max(LEAST_ROTATE_BYTES)
    }
}

/// Microseconds of a duration, as far as they can be counted.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

//! The current file of the log and its chain: builds a group, writes it, and moves on once it is there.
//!
//! Always behind the lock of [`super::AuditLog`]. Must never move the chain on for a group that is not in a file,
//! and never cut anything but the remains of a group that was not acknowledged.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use keyagent_core::audit::{
    chain::{Chain, SealedGroup},
    record::Record,
};
use keyagent_sys::memory::LockedArena;

use super::{
    Standing,
    archive::{Archive, Stamp, stamp},
    floods::Floods,
    journal::{self, Copies},
    line::{Line, Manner},
    settings::{Durability, LogSettings, WhenFull, micros},
};
use crate::clock;

/// What overseers may still ask in vain, and alerts say, where requests are refused for want of room.
const RESERVED_BYTES: u64 = 1 << 20;

/// A line is seldom longer.
pub(super) const USUAL_LINE_BYTES: u64 = 512;

/// What could not be done, and why.
pub(super) type Failed = (&'static str, io::Error);

/// When a group must be on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// When the settings say so.
    AsSet,
    /// Before anything else happens.
    Now,
}

/// The current file and its chain.
pub(super) struct Writer {
    pub(super) file: File,
    /// Where the file is now; not `audit.log` only after a rotation failed half way.
    pub(super) path: PathBuf,
    pub(super) chain: Chain<LockedArena>,
    pub(super) segment: u64,
    pub(super) last_seq: u64,
    /// Bytes of the file that belong to complete groups.
    pub(super) length: u64,
    /// Number of the file's first line.
    pub(super) first_seq: u64,
    /// Time of the file's first line, if it has one.
    pub(super) first_time: Option<Stamp>,
    /// The files before this one.
    pub(super) archive: Archive,
    pub(super) settings: LogSettings,
    pub(super) group: Vec<u8>,
    /// Lines were written since the last pin.
    pub(super) unpinned: bool,
    /// A failed write could not be undone: nothing may be appended any more.
    pub(super) spoiled: bool,
    /// The folder got names that are not known to be on the disk yet.
    pub(super) folder_unsynced: bool,
    pub(super) rotation: Rotation,
    /// What is counted instead of written.
    pub(super) floods: Floods,
    /// Stands in for the clock.
    #[cfg(test)]
    pub(super) time: Option<u64>,
}

/// What is known of the next rotation.
#[derive(Default)]
pub(super) struct Rotation {
    /// Why the last attempt failed, until one succeeds.
    pub(super) failed: Option<String>,
    /// Whoever rotates was told that it is time.
    pub(super) announced: bool,
}

/// A group in `Writer::group` that is complete but not in a file yet.
pub(super) struct Built {
    sealed: SealedGroup,
    last_seq: u64,
    time: u64,
    /// Of the strongest of its lines.
    manner: Manner,
}

impl Writer {
    pub(super) fn standing(&self) -> Standing {
        Standing { segment: self.segment, seq: self.last_seq, mac: self.chain.last_mac() }
    }

    /// Whether the file is large enough for another one.
    pub(super) fn rotation_due(&self) -> bool {
        self.length >= self.settings.rotate_at() && !self.spoiled
    }

    /// Whether the file is old enough for another one. A file of one line waits for a second.
    pub(super) fn is_old(&self) -> bool {
        let (Some(age), Some(first_time)) = (self.settings.rotate_age, self.first_time) else { return false };
        let latest = stamp(self.now().saturating_sub(micros(age)));
        first_time <= latest && self.last_seq > self.first_seq && !self.spoiled
    }

    /// Appends one group to the current file; all of it is there afterwards, or none.
    pub(super) fn append<'l>(
        &mut self,
        lines: impl Iterator<Item = Line<'l>>,
        sync: Sync,
        copies: &mut Copies,
    ) -> Result<(), Failed> {
        self.check_usable()?;
        let built = self.build(lines, copies);
        if let Err(failed) = self.write(built.manner, sync) {
            copies.clear();
            return Err(failed);
        }
        self.length += self.group.len() as u64;
        self.move_on(built);
        Ok(())
    }

    /// Like [`Self::append`]; but where `may_count` and there is room, requests in vain that are too many are counted
    /// instead, once the others are there.
    pub(super) fn append_or_count<'l>(
        &mut self,
        lines: impl Iterator<Item = Line<'l>>,
        may_count: bool,
        copies: &mut Copies,
    ) -> Result<(), Failed> {
        let may_count = may_count
            && self.check_usable().is_ok()
            && self.check_budget(USUAL_LINE_BYTES, Manner::Plain).is_ok();
        if !may_count {
            return self.append(lines, Sync::AsSet, copies);
        }
        let (mut floods, mut counted, mut now) = (std::mem::take(&mut self.floods), Vec::new(), None);
        let mut written = lines
            .filter(|line| {
                let over = line.error.is_some()
                    && floods.is_over(line, *now.get_or_insert_with(std::time::Instant::now));
                if over {
                    counted.push(*line);
                }
                !over
            })
            .peekable();
        let result = match written.peek() {
            Some(_) => self.append(written, Sync::AsSet, copies),
            None => Ok(()),
        };
        if result.is_ok() {
            for line in &counted {
                floods.count(line);
            }
        }
        self.floods = floods;
        result
    }

    /// Writes `self.group` behind the file's last group.
    fn write(&mut self, manner: Manner, sync: Sync) -> Result<(), Failed> {
        self.check_budget(self.group.len() as u64, manner)?;
        if let Err(error) = self.file.write_all_at(&self.group, self.length) {
            // Undo: what was not acknowledged must not stand in the log.
            self.spoiled = self.file.set_len(self.length).is_err();
            return Err(("write", error));
        }
        if sync == Sync::Now || self.settings.durability == Durability::Fsync {
            self.sync()?;
        }
        Ok(())
    }

    pub(super) fn check_usable(&self) -> Result<(), Failed> {
        if self.spoiled {
            return Err(("repair", io::Error::other("an earlier write failed half way")));
        }
        Ok(())
    }

    /// Puts the lines and their mac into `self.group`.
    pub(super) fn build<'l>(&mut self, lines: impl Iterator<Item = Line<'l>>, copies: &mut Copies) -> Built {
        self.group.clear();
        let time = self.now();
        let (mut seq, mut manner) = (self.last_seq, Manner::Plain);
        for line in lines {
            seq += 1;
            manner = manner.max(line.manner());
            let record = Record {
                segment: self.segment,
                seq,
                unix_micros: time,
                event: line.event,
                provider: line.key,
                peer: line.peer,
                via: line.via,
                user_agent: line.client,
                error_message: line.error,
            };
            record.push_to_group(&mut self.group);
            if journal::is_wanted(self.settings.journald, &line) {
                copies.push(seq, &line);
            }
        }
        Built { sealed: self.chain.seal_group(&mut self.group), last_seq: seq, time, manner }
    }

    /// The group is in a file: the chain and the numbers follow.
    pub(super) fn move_on(&mut self, built: Built) {
        let Built { sealed, last_seq, time, .. } = built;
        self.chain.advance(sealed);
        self.last_seq = last_seq;
        self.unpinned = true;
        if self.first_time.is_none() {
            self.first_time = Some(stamp(time));
        }
    }

    /// Syncs the file, and its name where that is not done yet.
    pub(super) fn sync(&mut self) -> Result<(), Failed> {
        let synced = self.file.sync_data().and_then(|()| self.sync_folder());
        synced.map_err(|error| {
            // After a failed sync nobody knows what is on the disk: this log is at its end.
            self.spoiled = true;
            ("sync", error)
        })
    }

    /// The file, to be synced without the lock: what is written so far is on the disk then. Files before it were synced
    /// when they were rotated, and its name is by now.
    pub(super) fn file_to_sync(&mut self) -> Result<File, Failed> {
        if self.folder_unsynced {
            self.sync()?;
        }
        self.file.try_clone().map_err(|error| ("sync", error))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        if self.folder_unsynced {
            super::archive::sync_folder_of(&self.path)?;
            self.folder_unsynced = false;
        }
        Ok(())
    }

    /// Bytes of all files of the log.
    pub(super) fn total_bytes(&self) -> u64 {
        self.archive.bytes() + self.length
    }

    /// Whether `bytes` more fit, where nothing may be deleted to make room.
    pub(super) fn check_budget(&self, bytes: u64, manner: Manner) -> Result<(), Failed> {
        let LogSettings { when_full, budget_bytes, .. } = self.settings;
        // Where files may be deleted, those of the last day may not: for them there is as much room again.
        let most = match when_full {
            WhenFull::DeleteOldest => budget_bytes.saturating_mul(2),
            WhenFull::Refuse => budget_bytes,
        };
        let limit = match manner {
            Manner::Needed => return Ok(()),
            Manner::Plain | Manner::Request => most,
            Manner::Own => most.saturating_add(RESERVED_BYTES),
        };
        if self.total_bytes() + bytes <= limit {
            return Ok(());
        }
        let full = format!(
            "it takes {} bytes, its budget is {budget_bytes}, and nothing may be deleted yet",
            self.total_bytes()
        );
        Err((super::EXTEND, io::Error::new(io::ErrorKind::QuotaExceeded, full)))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests stop the clock of one log")]
    fn now(&self) -> u64 {
        clock::unix_micros()
    }

    #[cfg(test)]
    fn now(&self) -> u64 {
        self.time.unwrap_or_else(clock::unix_micros)
    }
}

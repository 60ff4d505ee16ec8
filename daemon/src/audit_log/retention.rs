//! How long the log is kept and how much room it may take: old files are deleted, and that is recorded first.
//!
//! A deletion goes in this order: the line `audit.retention` with the number of the oldest line that stays, on the
//! disk; then the files before that line, oldest first; then the folder is synced. So the oldest line present
//! is the one that the last such line names, or a crash came between: then older files are left over, and
//! [`AuditLog::finish_retention`] deletes them at the next start. Must never delete the current file, a file of
//! which a line is to stay, or one that the pin on the disk needs: the file of the pinned line, and all behind it.

use std::{io, sync::atomic::Ordering, time::Duration};

use keyagent_core::audit::record::Event;
use nix::sys::statvfs::statvfs;

use super::{
    AuditLog, AuditUnwritable,
    archive::{self, folder_of, rotated_path, stamp},
    journal::Copies,
    line::Line,
    rotation,
    settings::{WhenFull, micros},
    writer::{Sync, USUAL_LINE_BYTES, Writer},
};

/// Less free space than this is worth a warning, or less than a twentieth of the file system.
const LOW_DISK_BYTES: u64 = 64 << 20;

/// What is younger is not deleted for want of room, whatever is chosen for a full log.
const PROTECTED: Duration = Duration::from_hours(24);

/// The room that the log takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of all its files, those included that wait to be deleted.
    pub(crate) bytes: u64,
    /// Bytes it may take.
    pub(crate) budget_bytes: u64,
    /// Files, the current one included.
    pub(crate) files: u64,
    /// Number of the oldest line that is kept; one more than the last line in an empty log.
    pub(crate) oldest_seq: u64,
    /// Number of the last line.
    pub(crate) last_seq: u64,
    /// Share of the budget in use; more than 100 if it is exceeded.
    pub(crate) percent: u64,
    /// Bytes free for the daemon on the file system of the log; `None` if that cannot be found out.
    pub(crate) free_disk_bytes: Option<u64>,
    /// Records that the journal did not take.
    pub(crate) journal_dropped: u64,
    /// What an operator should know, worst first.
    pub(crate) warnings: Vec<Warning>,
}

/// One thing an operator should know about the room of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// Stable word: `audit_budget`, `audit_disk` or `audit_rotation`.
    pub(crate) kind: &'static str,
    /// In words.
    pub(crate) message: String,
}

impl AuditLog {
    /// Deletes what is older than it is kept, and what exceeds the budget if that may be deleted; how many files.
    /// To be called now and then and after a rotation, but neither while locked nor in a bridge: `now` in microseconds
    /// since 1970, `pinned_seq` the number of the line that the pin on the disk names, 0 if that is not known. The
    /// chain's key is used on the caller's stack.
    pub(crate) fn enforce_retention(&self, now: u64, pinned_seq: u64) -> Result<u64, AuditUnwritable> {
        let _turn = self.take_turn();
        let mut copies = Copies::default();
        let condemned = {
            let mut writer = self.lock();
            if pinned_seq < writer.first_seq && writer.archive.count() > 0 {
                self.tidy_later();
            }
            condemn(&mut writer, now, pinned_seq, &mut copies)
                .map_err(|(action, error)| self.unwritable(action, error))?;
            writer.archive.condemned()
        };
        if !copies.is_empty() {
            self.journal.send(&copies);
        }
        self.delete(&condemned)
    }

    /// What could be deleted is looked at again behind the next pin.
    pub(crate) fn tidy_later(&self) {
        self.tidying_waits.store(true, Ordering::Relaxed);
    }

    /// A pin was written.
    pub(crate) fn pinned(&self) {
        if self.tidying_waits.swap(false, Ordering::Relaxed) {
            self.rotation.notify_one();
        }
    }

    /// Deletes the files wholly before `first_seq`, the number that the last line `audit.retention` names: what a
    /// crash left of a deletion. To be called once after opening; records nothing, since it is recorded.
    pub(crate) fn finish_retention(&self, first_seq: u64) -> Result<u64, AuditUnwritable> {
        let _turn = self.take_turn();
        let condemned = {
            let mut writer = self.lock();
            for file in wholly_before(&writer, first_seq) {
                writer.archive.condemn(file);
            }
            writer.archive.condemned()
        };
        self.delete(&condemned)
    }

    /// Deletes condemned files, oldest first; what cannot be deleted now is tried again the next time.
    fn delete(&self, condemned: &[u64]) -> Result<u64, AuditUnwritable> {
        let mut deleted = 0;
        for first_seq in condemned {
            let removed = self
                .reached("delete a file")
                .and_then(|()| std::fs::remove_file(rotated_path(&self.path, *first_seq)));
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.unwritable("delete an old file of", error));
                }
                _ => {}
            }
            self.lock().archive.forget(*first_seq);
            deleted += 1;
        }
        if deleted > 0 {
            self.reached("sync the folder")
                .and_then(|()| archive::sync_folder_of(&self.path))
                .map_err(|error| self.unwritable("sync the folder of", error))?;
        }
        Ok(deleted)
    }

    /// The room that the log takes now.
    pub(crate) fn usage(&self) -> Usage {
        let (mut usage, settings, failed) = {
            let writer = self.lock();
            let bytes = writer.archive.bytes_on_disk() + writer.length;
            let budget_bytes = writer.settings.budget_bytes;
            let oldest = writer.archive.iter().next().map(|(first_seq, _)| first_seq);
            let usage = Usage {
                bytes,
                budget_bytes,
                files: writer.archive.count() as u64 + 1,
                oldest_seq: oldest.unwrap_or(writer.first_seq),
                last_seq: writer.last_seq,
                percent: bytes.saturating_mul(100) / budget_bytes.max(1),
                free_disk_bytes: None,
                journal_dropped: self.journal.dropped(),
                warnings: Vec::new(),
            };
            (usage, writer.settings, writer.rotation.failed.clone())
        };
        let disk = self.disk();
        usage.free_disk_bytes = disk.map(|(free, _)| free);
        if let Some((free, all)) = disk
            && free < LOW_DISK_BYTES.max(all / 20)
        {
            let message = format!("only {free} bytes are free on the file system of the audit log");
            usage.warnings.push(Warning { kind: "audit_disk", message });
        }
        if usage.percent >= settings.warn_percent.into() {
            let then = match settings.when_full {
                WhenFull::DeleteOldest => {
                    "files older than a day are deleted when it is used up, and at twice of it requests are refused"
                }
                WhenFull::Refuse => "requests are refused when it is used up",
            };
            let message = format!(
                "the audit log takes {} bytes, {} % of its budget; {then}",
                usage.bytes, usage.percent
            );
            usage.warnings.push(Warning { kind: "audit_budget", message });
        }
        usage.warnings.extend(failed.map(|message| Warning { kind: rotation::ALERT_KIND, message }));
        usage
    }

    /// Bytes free for the daemon, and all bytes, of the file system.
    fn disk(&self) -> Option<(u64, u64)> {
        let there = statvfs(folder_of(&self.path)).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(there.fragment_size());
        Some((bytes(there.blocks_available()), bytes(there.blocks())))
    }
}

/// Rotated files of which every line has a smaller number.
fn wholly_before(writer: &Writer, first_seq: u64) -> Vec<u64> {
    let starts: Vec<u64> = writer.archive.iter().map(|(start, _)| start).collect();
    let nexts = starts.iter().copied().skip(1).chain([writer.first_seq]);
    starts.iter().copied().zip(nexts).filter(|(_, next)| *next <= first_seq).map(|(start, _)| start).collect()
}

/// Chooses the files to delete, and records it durably before any of them is taken out of the log.
fn condemn(writer: &mut Writer, now: u64, pinned_seq: u64, copies: &mut Copies) -> Result<(), super::Failed> {
    let Some((kept, files, reason)) = choose(writer, now, pinned_seq) else { return Ok(()) };
    let event = Event::Retention { first_seq: kept, files: files.len() as u64, reason };
    writer.append(std::iter::once(Line::own(event)), Sync::Now, copies)?;
    for file in files {
        writer.archive.condemn(file);
    }
    Ok(())
}

/// Number of the first line that stays, the files that go, and why.
fn choose(writer: &Writer, now: u64, pinned_seq: u64) -> Option<(u64, Vec<u64>, &'static str)> {
    let settings = writer.settings;
    let mut excess = match settings.when_full {
        // What is deleted makes room for the line that says so as well.
        WhenFull::DeleteOldest if writer.total_bytes() > settings.budget_bytes => {
            writer.total_bytes() - settings.budget_bytes + USUAL_LINE_BYTES
        }
        WhenFull::DeleteOldest | WhenFull::Refuse => 0,
    };
    let oldest_kept = stamp(now.saturating_sub(micros(settings.keep)));
    let newest_deletable = stamp(now.saturating_sub(micros(PROTECTED)));
    let rotated: Vec<_> = writer.archive.iter().collect();
    // Lines are written in order of time: a file ended when the next one began.
    let nexts = rotated.iter().skip(1).map(|(seq, file)| (*seq, Some(file.first_time)));
    let nexts = nexts.chain([(writer.first_seq, writer.first_time)]);
    let (mut kept, mut files, mut reason) = (0, Vec::new(), "age");
    for ((first_seq, file), (next_seq, next_time)) in rotated.iter().zip(nexts) {
        let old = next_time.is_some_and(|time| time < oldest_kept);
        // Whoever can cause records must not be able to push the traces of today out of the log with them.
        let fresh = next_time.is_none_or(|time| time >= newest_deletable);
        // Without the file of the pinned line, and all behind it, the log would count as cut at the next start.
        let needed = next_seq > pinned_seq;
        if needed || !old && (excess == 0 || fresh) {
            break;
        }
        if !old {
            reason = "budget";
        }
        excess = excess.saturating_sub(file.bytes);
        kept = next_seq;
        files.push(*first_seq);
    }
    (!files.is_empty()).then_some((kept, files, reason))
}

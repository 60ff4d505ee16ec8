//! Another file for a log that grew: `audit.log` becomes a rotated file, and a new one continues its chain.
//!
//! In this order, so that a crash between any two steps leaves a log that verifies:
//!
//! 1. the old file is synced; most of that happens before, while requests go on;
//! 2. `audit.log.new` is made, gets the line `audit.file`, and is synced;
//! 3. `audit.log` is renamed to `audit-<first seq>.log`, and the folder synced;
//! 4. `audit.log.new` is renamed to `audit.log`, and the folder synced.
//!
//! After a crash behind step 3 there is no `audit.log`: the rotated files reach the pin, and the next start begins
//! a new one. `audit.log.new` never counts; opening the log removes it. What can fail for want of space comes
//! before anything is renamed. Must never refuse a request because it failed: the log goes on in the old file.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use keyagent_core::audit::record::Event;
use nix::fcntl::OFlag;

use super::{
    AuditLog, AuditUnwritable,
    archive::{Rotated, rotated_path, sync_folder_of},
    journal::Copies,
    line::Line,
    writer::{Failed, Sync, Writer},
};

/// The kind of the alert about a rotation that failed.
pub(crate) const ALERT_KIND: &str = "audit_rotation";

impl AuditLog {
    /// Rotates if the current file is large or old enough; whether it did. To be called when [`Self::rotation`]
    /// tells so, and once a minute; the chain's key is used on the caller's stack.
    ///
    /// A failure is recorded as an alert and returned once; then it is tried again at every call, silently, and
    /// stands in [`AuditLog::usage`] until one succeeds.
    pub(crate) fn rotate_when_due(&self) -> Result<bool, AuditUnwritable> {
        let _turn = self.take_turn();
        let old = {
            let mut writer = self.lock();
            writer.rotation.announced = writer.rotation_due();
            if !writer.rotation.announced && !writer.is_old() {
                return Ok(false);
            }
            writer.file.try_clone().map_err(|error| self.unwritable("rotate", error))?
        };
        // Outside the lock: requests go on while the disk works.
        if let Err(error) = old.sync_data() {
            self.lock().spoiled = true;
            return Err(self.unwritable("sync", error));
        }
        let mut copies = Copies::default();
        let mut writer = self.lock();
        let rotated = self.rotate(&mut writer, &mut copies);
        let result = match rotated {
            Ok(()) => {
                writer.rotation.failed = None;
                writer.rotation.announced = false;
                Ok(true)
            }
            Err(error) => alert(&mut writer, error, &mut copies),
        };
        drop(writer);
        self.journal.send(&copies);
        self.activity.notify_one();
        result.map_err(|(action, error)| self.unwritable(action, error))
    }

    /// Steps 1 to 4. On failure the log is where it was, perhaps under its new name.
    fn rotate(&self, writer: &mut Writer, copies: &mut Copies) -> io::Result<()> {
        let new_path = new_path(&self.path);
        let rotated = self.steps(writer, &new_path, copies);
        if rotated.is_err() {
            // The error that led here is the one to tell; opening the log removes it as well.
            let _ = std::fs::remove_file(&new_path);
            copies.clear();
        }
        rotated
    }

    fn steps(&self, writer: &mut Writer, new_path: &Path, copies: &mut Copies) -> io::Result<()> {
        self.reached("sync the old file")?;
        // A failed sync is the end of this log, not of its rotation only.
        writer.sync().map_err(|(_, error)| error)?;
        let rotated = rotated_path(&self.path, writer.first_seq);
        check_place(writer, &rotated)?;
        remove_new(&self.path)?;
        self.reached("create")?;
        let new = create(new_path)?;
        let first = writer.chain.file_line();
        let built = writer.build(std::iter::once(Line::own(first.event())), copies);
        self.reached("write")?;
        new.write_all_at(&writer.group, 0)?;
        self.reached("sync the new file")?;
        new.sync_all()?;
        self.put_in_place(writer, new_path, &rotated)?;
        let first_time = writer.first_time.unwrap_or([b'0'; 27]);
        writer.archive.add(writer.first_seq, Rotated { bytes: writer.length, first_time });
        writer.file = new;
        writer.length = writer.group.len() as u64;
        writer.first_seq = writer.last_seq + 1;
        writer.first_time = None;
        writer.move_on(built);
        Ok(())
    }

    /// The two renames.
    fn put_in_place(&self, writer: &mut Writer, new_path: &Path, rotated: &Path) -> io::Result<()> {
        self.reached("rename the old file")?;
        if writer.path != *rotated {
            std::fs::rename(&writer.path, rotated)?;
            writer.path = rotated.to_path_buf();
            writer.folder_unsynced = true;
        }
        let placed = self.reached("sync the folder").and_then(|()| sync_folder_of(rotated));
        let placed = placed.and_then(|()| {
            self.reached("rename the new file")?;
            std::fs::rename(new_path, &self.path)
        });
        if let Err(error) = placed {
            // Back to its name; if that fails too, the log goes on in the file as it is called now.
            if self.reached("rename back").and_then(|()| std::fs::rename(rotated, &self.path)).is_ok() {
                writer.path.clone_from(&self.path);
            }
            return Err(error);
        }
        writer.path.clone_from(&self.path);
        writer.folder_unsynced = true;
        // A failure here is met again by the next sync, before anything is pinned or called durable.
        if self.reached("sync the folder again").and_then(|()| sync_folder_of(&self.path)).is_ok() {
            writer.folder_unsynced = false;
        }
        // Only tests stop here.
        let _ = self.reached("end");
        Ok(())
    }
}

/// Where a new file is made; never read, removed when the log is opened.
fn new_path(audit_log: &Path) -> PathBuf {
    let mut name = audit_log.as_os_str().to_os_string();
    name.push(".new");
    PathBuf::from(name)
}

/// Removes what a crash between steps 2 and 4 left.
pub(super) fn remove_new(audit_log: &Path) -> io::Result<()> {
    match std::fs::remove_file(new_path(audit_log)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
}

/// Renaming must move the very file that is written to, and replace nothing.
fn check_place(writer: &Writer, rotated: &Path) -> io::Result<()> {
    let (there, held) = (std::fs::symlink_metadata(&writer.path)?, writer.file.metadata()?);
    if (there.dev(), there.ino()) != (held.dev(), held.ino()) {
        return Err(io::Error::other("another file stands in its place"));
    }
    if writer.path != *rotated && std::fs::symlink_metadata(rotated).is_ok() {
        let text = format!("{} is there already", rotated.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    Ok(())
}

/// Records that a rotation failed: once, until one succeeds.
fn alert(writer: &mut Writer, error: io::Error, copies: &mut Copies) -> Result<bool, Failed> {
    let message = format!("the audit log cannot be rotated: {error}");
    let known = writer.rotation.failed.replace(message.clone()).is_some();
    if known && !writer.spoiled {
        return Ok(false);
    }
    let event = Event::Alert { kind: ALERT_KIND, count: 1, message: &message };
    writer.append(std::iter::once(Line::own(event)), Sync::AsSet, copies)?;
    Err(("rotate", error))
}

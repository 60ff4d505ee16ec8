//! Maintenance: nothing new is sealed, everything old opens. It outlives a restart, as a file of the state
//! folder whose text is the reason.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    audit_log::AuditUnwritable,
    files::{self, FileError},
};

/// Longest file that is read.
const MAX_BYTES: u64 = 4096;

/// Whether it is on.
pub(crate) struct Maintenance {
    path: PathBuf,
    on: AtomicBool,
    reason: Mutex<String>,
}

impl Maintenance {
    /// As the state folder says.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let text = files::read_whole(path, MAX_BYTES)?;
        let reason = text.as_deref().map(|text| String::from_utf8_lossy(text).trim().to_owned());
        Ok(Self {
            path: path.to_path_buf(),
            on: AtomicBool::new(text.is_some()),
            reason: Mutex::new(reason.unwrap_or_default()),
        })
    }

    /// Whether new data may not be sealed.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Why it is on.
    pub(crate) fn reason(&self) -> String {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins or ends it, or gives it another reason; whether that changes anything. What is found to be possible is
    /// recorded by `record`, and only then done; the file before the memory, since an answer is a promise.
    pub(crate) fn set(
        &self,
        on: bool,
        reason: &str,
        record: impl FnOnce() -> Result<(), AuditUnwritable>,
    ) -> Result<bool, NotSet> {
        let mut kept = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let other_reason = on && !reason.is_empty() && *kept != reason;
        if self.is_on() == on && !other_reason {
            record()?;
            return Ok(false);
        }
        if on {
            let staged = files::stage(&self.path, format!("{reason}\n").as_bytes())?;
            record()?;
            staged.place()?;
        } else {
            record()?;
            match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError { action: "remove", path: self.path.clone(), error }.into());
                }
                _ => {}
            }
        }
        reason.clone_into(&mut kept);
        self.on.store(on, Ordering::Relaxed);
        Ok(true)
    }
}

/// It is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSet {
    /// The log did not take it.
    #[error(transparent)]
    Unrecorded(#[from] AuditUnwritable),
    /// The file could not be written or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_outlives_whoever_set_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maintenance");
        let first = Maintenance::read(&path).unwrap();
        let set = |maintenance: &Maintenance, on, reason| maintenance.set(on, reason, || Ok(())).unwrap();
        assert!(!first.is_on());
        assert!(set(&first, true, "new disk") && !set(&first, true, "new disk") && !set(&first, true, ""));
        let second = Maintenance::read(&path).unwrap();
        assert!(second.is_on());
        assert_eq!((second.reason(), first.reason()), ("new disk".into(), "new disk".into()));
        assert!(set(&second, true, "newer disk"), "another reason is news");
        assert_eq!((second.reason(), Maintenance::read(&path).unwrap().reason()), {
            let reason = String::from("newer disk");
            (reason.clone(), reason)
        });
        assert!(set(&second, false, "") && !set(&second, false, ""));
        assert!(!Maintenance::read(&path).unwrap().is_on() && !path.exists());
    }

    #[test]
    fn what_cannot_be_recorded_is_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maintenance");
        let maintenance = Maintenance::read(&path).unwrap();
        let refused = || Err(AuditUnwritable::for_tests());
        assert!(maintenance.set(true, "a", refused).is_err());
        assert!(!maintenance.is_on() && folder.path().read_dir().unwrap().next().is_none());
        maintenance.set(true, "a", || Ok(())).unwrap();
        assert!(maintenance.set(false, "", refused).is_err() && maintenance.set(true, "b", refused).is_err());
        assert!(maintenance.is_on() && path.exists() && maintenance.reason() == "a");
        // The line is there before the file is.
        maintenance.set(false, "", || Ok(())).unwrap();
        let mut early = true;
        let record = || {
            early = path.exists();
            Ok(())
        };
        assert!(maintenance.set(true, "a", record).unwrap() && !early);
    }
}

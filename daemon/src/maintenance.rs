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

use crate::files::{self, FileError};

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

    /// Begins or ends it; whether that changes anything. The file first: an answer is a promise.
    pub(crate) fn set(&self, on: bool, reason: &str) -> Result<bool, FileError> {
        let mut kept = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_on() == on {
            return Ok(false);
        }
        if on {
            files::replace(&self.path, format!("{reason}\n").as_bytes())?;
        } else {
            match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError { action: "remove", path: self.path.clone(), error });
                }
                _ => {}
            }
        }
        reason.clone_into(&mut kept);
        self.on.store(on, Ordering::Relaxed);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_outlives_whoever_set_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maintenance");
        let first = Maintenance::read(&path).unwrap();
        assert!(!first.is_on());
        assert!(first.set(true, "new disk").unwrap() && !first.set(true, "again").unwrap());
        let second = Maintenance::read(&path).unwrap();
        assert!(second.is_on());
        assert_eq!((second.reason(), first.reason()), ("new disk".into(), "new disk".into()));
        assert!(second.set(false, "").unwrap() && !second.set(false, "").unwrap());
        assert!(!Maintenance::read(&path).unwrap().is_on() && !path.exists());
    }
}

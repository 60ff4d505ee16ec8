//! Control groups as the system manager makes them: services below a slice.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{am_root, skipped};

/// Groups below a slice of their own; removed at the end.
pub(crate) struct Slice(PathBuf);

impl Slice {
    /// Where control groups of version 2 can be made; `None` after saying why not.
    pub(crate) fn new(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut fields = place.split(' ').skip(3);
            let whole = fields.next()? == "/";
            (whole && kind.starts_with("cgroup2 ")).then(|| PathBuf::from(fields.next().unwrap_or_default()))
        });
        let Some(mount) = mount.filter(|_| am_root()) else {
            skipped(test, "needs root and control groups of version 2");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = mount.join(format!("keyagent_e2e_{}_{number}.slice", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => Some(Self(folder)),
            Err(error) => {
                skipped(test, &format!("cannot make control groups: {error}"));
                None
            }
        }
    }

    /// The file that takes the processes of a group below, which is made if it is missing.
    pub(crate) fn door(&self, group: &str) -> PathBuf {
        let folder = self.0.join(group);
        fs::create_dir_all(&folder).unwrap();
        folder.join("cgroup.procs")
    }

    /// Puts a process into a group below.
    pub(crate) fn put(&self, process: u32, group: &str) {
        fs::write(self.door(group), process.to_string()).unwrap();
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        fn remove(folder: &Path) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&entry.path());
                }
            }
            // A process that ends just now keeps it for a moment.
            for _ in 0..100 {
                if fs::remove_dir(folder).is_ok() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        remove(&self.0);
    }
}

//! Which control group is which unit, remembered by the group's number.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::fd::BorrowedFd,
    sync::Arc,
};

use keyagent_sys::peer;

use super::unit;

/// Most groups that are remembered.
const MAX_REMEMBERED: usize = 256;
/// Longest `/proc/PID/cgroup` that is read: a path of 4 KiB for each hierarchy of version 1, and more.
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// The units of the control groups seen so far; also of those that are no unit.
///
/// Safe to remember for ever: the kernel numbers control groups with 64 bits and never uses a number twice, a group
/// of version 2 cannot be renamed or moved, and so a number stands for one path. A number is only remembered if
/// the process was in that group before and after its path was read.
#[derive(Default)]
pub(super) struct Units(BTreeMap<u64, Option<Arc<str>>>);

impl Units {
    /// The system unit a process is in, `pid` being its number; `None` whenever that is not certain.
    pub(super) fn unit_of(&mut self, process: BorrowedFd<'_>, pid: i32) -> Option<Arc<str>> {
        self.unit_by(process, || read_cgroups(pid))
    }

    fn unit_by(
        &mut self,
        process: BorrowedFd<'_>,
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> Option<Arc<str>> {
        let group = peer::cgroup_id(process);
        if let Some(known) = group.and_then(|group| self.0.get(&group)) {
            return known.clone();
        }
        let text = read().ok()?;
        // Only while the process lives is it certain that the number was its own.
        if !peer::is_alive(process) {
            return None;
        }
        let unit = unit::of_cgroups(&text).map(Arc::from);
        if let Some(group) = group
            && peer::cgroup_id(process) == Some(group)
        {
            self.remember(group, unit.clone());
        }
        unit
    }

    fn remember(&mut self, group: u64, unit: Option<Arc<str>>) {
        if self.0.len() >= MAX_REMEMBERED {
            // Those in use come back at the price of one file each; those that are gone do not.
            self.0.clear();
        }
        self.0.insert(group, unit);
    }
}

fn read_cgroups(pid: i32) -> io::Result<Vec<u8>> {
    if pid <= 0 {
        // It has no number in this namespace.
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut text = Vec::new();
    let length = File::open(format!("/proc/{pid}/cgroup"))?.take(MAX_TEXT_BYTES).read_to_end(&mut text)?;
    if length as u64 == MAX_TEXT_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests;

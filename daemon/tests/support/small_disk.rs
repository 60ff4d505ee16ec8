//! A small disk in memory: a mounted tmpfs. Only root can mount one.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use super::make_folder;

/// A mounted tmpfs; unmounted when dropped, so to be dropped before its folder is removed.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one over a folder, which is made; `None` where that is not possible.
    pub(crate) fn mount(path: &Path, kilobytes: u32) -> Option<Self> {
        make_folder(path, 0o700);
        let options = format!("size={kilobytes}k,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(path);
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(path.to_path_buf()))
    }

    /// Makes it another size; what is on it stays.
    pub(crate) fn resize(&self, kilobytes: u32) {
        let options = format!("remount,size={kilobytes}k");
        let output = Command::new("mount").args(["-o", &options]).arg(&self.0).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Leaves not a byte free.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    /// Takes the filler away.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

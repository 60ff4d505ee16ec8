//! What the surroundings say: who runs this and where the base folders are.
//!
//! It reads variables and asks whether the runtime folder exists; it must never create anything.

use std::path::PathBuf;

use directories::BaseDirs;
use keyagent_common::layout::BaseFolders;

/// The user whose rights this process has.
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The XDG base folders of the user; `None` when there is no home folder.
pub fn base_folders() -> Option<BaseFolders> {
    let folders = BaseDirs::new()?;
    Some(BaseFolders::User {
        config: folders.config_dir().to_path_buf(),
        data: folders.data_dir().to_path_buf(),
        state: folders.state_dir()?.to_path_buf(),
        runtime: runtime_folder(folders.runtime_dir().map(PathBuf::from)),
    })
}

fn runtime_folder(variable: Option<PathBuf>) -> Option<PathBuf> {
    let folder = variable.unwrap_or_else(|| PathBuf::from(format!("/run/user/{}", effective_uid())));
    folder.is_dir().then_some(folder)
}

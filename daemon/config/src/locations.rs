//! Which files are read, in which order.

use std::path::{Path, PathBuf};

use keyagent_common::layout::BaseFolders;

use crate::document::SourceKind;

/// The system's file.
pub const SYSTEM_FILE: &str = "/etc/keyagent/config.toml";

/// Name of the file in the configuration folder.
const FILE_NAME: &str = "keyagent/config.toml";

/// The files in the order they are read; a later one wins. All but a named one may be absent.
///
/// `named` is what `--config` or `$KEYAGENT_CONFIG` says; it replaces both others.
pub fn files(base: &BaseFolders, named: Option<&Path>) -> Vec<(SourceKind, PathBuf)> {
    if let Some(path) = named {
        return vec![(SourceKind::Named, path.to_path_buf())];
    }
    let mut files = vec![(SourceKind::System, PathBuf::from(SYSTEM_FILE))];
    if let BaseFolders::User { config, .. } = base {
        files.push((SourceKind::User, config.join(FILE_NAME)));
    }
    files
}

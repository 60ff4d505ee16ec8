//! Reading a master key from a file or a descriptor, plain or protected by a passphrase: for `unlock`
//! and for offline fingerprints.
//!
//! The key goes straight into a secret box; the text it came from is wiped. Nothing is ever written.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use keyagent_client::effective_uid;
use keyagent_common::{
    error::ErrorCode,
    key_text,
    protected_key::{self, ProtectedKey},
    report::Report,
};
use nix::fcntl::OFlag;
use secrecy::{ExposeSecretMut, SecretBox};
use zeroize::Zeroizing;

use crate::input::fill;

/// A master key; wiped when dropped.
pub(crate) type MasterKey = SecretBox<[u8; 32]>;

/// Room for the longest text of either kind and one byte more, which shows that it is too long.
const TEXT_BYTES: usize = protected_key::MAX_TEXT_BYTES + 1;

/// What a key file holds.
pub(crate) enum Content {
    /// The key itself.
    Plain(MasterKey),
    /// The key under a passphrase.
    Protected(Box<ProtectedKey>),
}

/// Why a file or folder is unsafe, and the command that mends it.
type Unsafe = (String, String);

/// Reads a key file of either kind whose rights are as they must be.
pub(crate) fn read_checked(path: &Path) -> Result<Content, Report> {
    examine(path)?;
    parse(open(path)?, &path.display().to_string())
}

/// Whether a file calls itself a protected key; not if it cannot be read.
pub(crate) fn holds_protected(path: &Path) -> bool {
    let text = open(path).and_then(|mut file| text(&mut file, ""));
    text.is_ok_and(|(text, count)| protected_key::is_protected(text.get(..count).unwrap_or_default()))
}

/// Reads a plain key file, whatever its rights.
pub(crate) fn read(path: &Path) -> Result<MasterKey, Report> {
    let name = path.display().to_string();
    match parse(open(path)?, &name)? {
        Content::Plain(key) => Ok(key),
        Content::Protected(_) => {
            Err(Report::new(ErrorCode::KeyMalformed, "the key in this file is protected by a passphrase")
                .fact("key", name)
                .fix("keyagent unlock --key-file FILE"))
        }
    }
}

/// Reads a plain key from a descriptor that whoever started this left open.
pub(crate) fn read_descriptor(number: u32) -> Result<MasterKey, Report> {
    let mut file = open_descriptor(number)?;
    let name = format!("descriptor {number}");
    let (text, count) = text(&mut file, &name)?;
    plain(text.get(..count).unwrap_or_default(), &name)
}

/// A descriptor that whoever started this left open.
pub(crate) fn open_descriptor(number: u32) -> Result<File, Report> {
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    File::open(&path).map_err(|error| unreadable(&path, &error))
}

/// The text of a plain key, as a key.
pub(crate) fn plain(text: &[u8], name: &str) -> Result<MasterKey, Report> {
    let mut key = MasterKey::init_with_mut(|_| {});
    key_text::parse(text, key.expose_secret_mut()).map_err(|error| unusable(name, &error))?;
    Ok(key)
}

/// What was given as a key is none.
pub(crate) fn unusable(name: &str, error: &dyn std::error::Error) -> Report {
    Report::new(ErrorCode::KeyMalformed, "the key file holds no usable key")
        .fact("key", name)
        .why(error.to_string())
}

fn open(path: &Path) -> Result<File, Report> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let file = file.map_err(|error| unreadable(path, &error))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(refused(path, "it is no regular file").fix("name the key file itself"));
    }
    Ok(file)
}

fn parse(mut file: File, name: &str) -> Result<Content, Report> {
    let (text, count) = text(&mut file, name)?;
    let text = text.get(..count).unwrap_or_default();
    if !protected_key::is_protected(text) {
        return plain(text, name).map(Content::Plain);
    }
    let protected = ProtectedKey::parse(text).map_err(|error| unusable(name, &error))?;
    Ok(Content::Protected(Box::new(protected)))
}

fn text(file: &mut File, name: &str) -> Result<(Zeroizing<[u8; TEXT_BYTES]>, usize), Report> {
    let mut text = Zeroizing::new([0; TEXT_BYTES]);
    let count = fill(file, &mut *text).map_err(|error| {
        Report::new(ErrorCode::InputOutput, "cannot read the key").fact("key", name).why(error.to_string())
    })?;
    Ok((text, count))
}

/// The rules for a key file and every folder above it (docs/THREAT-MODEL.md, "key file").
pub(crate) fn examine(path: &Path) -> Result<(), Report> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let metadata = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, &error))?;
    let shown = path.display();
    if let Some((why, fix)) = file_problem(&metadata, &shown.to_string()) {
        return Err(refused(&path, &why).fix(fix));
    }
    examine_folders(&path)
}

/// The rules for the folders above a key file; the file itself need not exist.
pub(crate) fn examine_folders(path: &Path) -> Result<(), Report> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for folder in path.ancestors().skip(1) {
        let metadata = fs::symlink_metadata(folder).map_err(|error| unreadable(folder, &error))?;
        if let Some((why, fix)) = folder_problem(&metadata, &folder.display().to_string()) {
            return Err(refused(&path, &why).fix(fix));
        }
    }
    Ok(())
}

fn file_problem(metadata: &Metadata, path: &str) -> Option<Unsafe> {
    if metadata.is_symlink() {
        return Some(("it is a symbolic link".into(), "name the key file itself".into()));
    }
    if !metadata.is_file() {
        return Some(("it is no regular file".into(), "name the key file itself".into()));
    }
    if metadata.nlink() != 1 {
        return Some((
            format!("it has {} names; each is a way to it", metadata.nlink()),
            format!("find / -samefile {path}"),
        ));
    }
    if !mine_or_roots(metadata) {
        return Some((
            format!("it belongs to uid {}", metadata.uid()),
            format!("chown {} {path}", effective_uid()),
        ));
    }
    let mode = metadata.mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        (
            format!("mode {mode:04o} lets others at it; treat it as exposed if this machine is shared"),
            format!("chmod 600 {path}"),
        )
    })
}

fn folder_problem(metadata: &Metadata, path: &str) -> Option<Unsafe> {
    if metadata.is_symlink() {
        return Some((format!("{path} is a symbolic link"), "name the real path".into()));
    }
    if !mine_or_roots(metadata) {
        return Some((
            format!("the folder {path} belongs to uid {}", metadata.uid()),
            "keep the key in a folder of your own".into(),
        ));
    }
    let writable = metadata.mode() & 0o022 != 0;
    writable.then(|| (format!("others can write to the folder {path}"), format!("chmod go-w {path}")))
}

fn mine_or_roots(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == effective_uid()
}

fn refused(path: &Path, why: &str) -> Report {
    Report::new(ErrorCode::KeyPermissions, "the key file is not safe to use")
        .fact("file", path.display().to_string())
        .why(why)
}

fn unreadable(path: &Path, error: &io::Error) -> Report {
    let code = match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::KeyMissing,
        io::ErrorKind::PermissionDenied => ErrorCode::KeyPermissions,
        _ => ErrorCode::InputOutput,
    };
    Report::new(code, "cannot read the key").fact("file", path.display().to_string()).why(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_for_others_and_a_link_are_refused() {
        let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "8f1d3c5b7a9988776655443322110fe1d2c3b4a5968778695a4b3c2d1e0f1234\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(examine(&path).unwrap_err().code, ErrorCode::KeyPermissions);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path).is_ok());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(examine(&link).is_err() && read(&link).is_err());
        fs::hard_link(&path, folder.path().join("second")).unwrap();
        assert_eq!(examine(&path).unwrap_err().code, ErrorCode::KeyPermissions);
        assert!(matches!(parse(open(&path).unwrap(), "k"), Ok(Content::Plain(_))));
        fs::write(folder.path().join("sealed"), "kp2.x").unwrap();
        assert_eq!(read(&folder.path().join("sealed")).unwrap_err().code, ErrorCode::KeyMalformed);
        fs::write(folder.path().join("bad"), "x").unwrap();
        assert_eq!(read(&folder.path().join("bad")).unwrap_err().code, ErrorCode::KeyMalformed);
        assert_eq!(read(&folder.path().join("none")).unwrap_err().code, ErrorCode::KeyMissing);
    }
}

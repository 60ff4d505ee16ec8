//! The files of a rotation: the key in use, the next one and the replaced one beside it, and the one that is kept.
//!
//! Each step is on the disk when it returns. Must never overwrite a key of which there is no other file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use keyagent_common::{error::ErrorCode, kdf, key_text, protected_key, report::Report};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::plan::Print;
use crate::{
    daemon_process::exists,
    failure::{Failure, cannot_create},
    key_file::{self, Content, MasterKey},
    temporary::Temporary,
};

/// Where the next key waits: `key.next` beside `key`.
pub(super) fn next_beside(key_file: &Path) -> PathBuf {
    beside(key_file, ".next")
}

/// Where the replaced key stays until the rotation is finished: `key.replaced` beside `key`.
pub(super) fn replaced_beside(key_file: &Path) -> PathBuf {
    beside(key_file, ".replaced")
}

fn beside(key_file: &Path, ending: &str) -> PathBuf {
    let mut path = key_file.as_os_str().to_os_string();
    path.push(ending);
    path.into()
}

/// Refuses a key file beside which the same key lies in its other form: the agent reads both, and they would differ.
pub(super) fn check_alone(key_file: &Path) -> Result<(), Report> {
    let protected = protected_key::beside(key_file);
    let plain = key_file.to_str().and_then(|path| path.strip_suffix(".protected")).map(PathBuf::from);
    match [Some(protected), plain].into_iter().flatten().find(|path| exists(path)) {
        None => Ok(()),
        Some(other) => Err(Report::new(ErrorCode::KeySourcesDisagree, "the master key lies in two files")
            .fact("file", key_file.display().to_string())
            .fact("file", other.display().to_string())
            .why("both are read at the start, and after a rotation they would hold different keys")
            .fix("move one of them away, then: keyagent master rotate")),
    }
}

/// What a file holds, if there is one, and its fingerprint.
pub(super) fn read(path: &Path) -> Result<Option<(Content, Print)>, Report> {
    if !exists(path) {
        return Ok(None);
    }
    let content = key_file::read_checked(path)?;
    let print = print_of(&content);
    Ok(Some((content, print)))
}

fn print_of(content: &Content) -> Print {
    match content {
        Content::Plain(key) => kdf::master_fingerprint(key.expose_secret()),
        Content::Protected(key) => key.fingerprint,
    }
}

/// The text of a plain key file: 64 hexadecimal digits and a newline.
pub(super) fn plain_text(key: &MasterKey) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(key_text::MAX_TEXT_BYTES));
    for byte in key.expose_secret() {
        for nibble in [byte >> 4, byte & 15] {
            text.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        }
    }
    text.push(b'\n');
    text
}

/// Writes a key where there was none, on the disk with its name. It gets the owner of `like`, which it will replace.
pub(super) fn write_new(path: &Path, text: &[u8], like: Option<&Path>) -> Result<(), Failure> {
    write(path, text, like, false)
}

fn write(path: &Path, text: &[u8], like: Option<&Path>, replace: bool) -> Result<(), Failure> {
    let refuse = |error: io::Error| cannot_create(path, error.to_string());
    key_file::examine_folders(path)?;
    let mut file = Temporary::beside(path).map_err(refuse)?;
    file.write_all(text).map_err(refuse)?;
    if let Some(like) = like {
        let metadata = fs::symlink_metadata(like).map_err(refuse)?;
        file.resemble(&metadata).map_err(refuse)?;
    }
    Ok(file.persist(path, replace).map_err(refuse)?)
}

/// Copies a key to where it is to be kept, unless it is there already.
pub(super) fn keep(key_file: &Path, copy: &Path, print: &Print) -> Result<(), Failure> {
    if let Some((_, found)) = read(copy)? {
        if found == *print {
            return Ok(());
        }
        return Err(cannot_create(copy, "it holds another key").fix("choose another place").into());
    }
    write_new(copy, &text_of(key_file)?, None)
}

/// Puts a key that waits in the place of the one in the key file, and reads back what stands there now. Before that
/// the one in the key file is in the file `aside`, on the disk: nothing is overwritten that is in one file alone.
///
/// A copy and a rename, for links and exchanges are not to be had on every file system, and a key file with two names
/// is refused at the start.
pub(super) fn install(waiting: &Path, key_file: &Path, aside: &Path, print: &Print) -> Result<(), Failure> {
    let refuse = |error: io::Error| cannot_create(key_file, error.to_string());
    set_aside(key_file, aside)?;
    fs::rename(waiting, key_file).map_err(refuse)?;
    sync_folder(key_file).map_err(refuse)?;
    match read(key_file)? {
        Some((_, found)) if found == *print => Ok(()),
        _ => Err(Report::new(ErrorCode::KeyMalformed, "the next master key is not what was read back")
            .fact("file", key_file.display().to_string())
            .fact("before", aside.display().to_string())
            .why("somebody else wrote there, or the disk is at fault")
            .fix("keyagent doctor; the key from before still opens the keyring")
            .into()),
    }
}

/// The same text as in the key file, in another file beside it.
fn set_aside(key_file: &Path, aside: &Path) -> Result<(), Failure> {
    let Some((_, print)) = read(key_file)? else { return Ok(()) };
    let text = text_of(key_file)?;
    let there = match read(aside)? {
        None => false,
        // An earlier try got this far; the same key may have got another passphrase since.
        Some((_, found)) if found == print => {
            if text_of(aside)? == text {
                return Ok(sync_folder(aside).map_err(|error| cannot_create(aside, error.to_string()))?);
            }
            true
        }
        Some(_) => {
            return Err(cannot_create(aside, "it holds another key")
                .fix("move it away, then: keyagent master rotate")
                .into());
        }
    };
    write(aside, &text, Some(key_file), there)
}

fn text_of(key_file: &Path) -> Result<Zeroizing<Vec<u8>>, Report> {
    let text = fs::read(key_file).map(Zeroizing::new);
    text.map_err(|error| crate::failure::cannot_read(&key_file.display().to_string(), &error))
}

/// Removes the file of a next or replaced key that nothing depends on.
pub(super) fn forget(next: &Path) -> Result<(), Failure> {
    let refuse = |error: io::Error| {
        Report::new(ErrorCode::InputOutput, "cannot remove the file of a master key")
            .fact("file", next.display().to_string())
            .why(error.to_string())
    };
    fs::remove_file(next).map_err(refuse)?;
    Ok(sync_folder(next).map_err(refuse)?)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

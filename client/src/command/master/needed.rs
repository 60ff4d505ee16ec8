//! What of a rotation is refused before anything is done, and what is not removed after all.
//!
//! Looks and touches nothing.

use std::path::Path;

use keyagent_common::{error::ErrorCode, fingerprint, report::Report};

use super::plan::{Print, Step};
use crate::{
    failure::{Failure, usage},
    key_file::Content,
};

/// What the key file, the file of the next key and that of the replaced one hold.
type Contents<'a> = [Option<&'a Content>; 3];

fn is_protected(content: Option<&Content>) -> bool {
    matches!(content, Some(Content::Protected(_)))
}

/// Refuses passphrases where no key has one: whoever gives one believes that it protects something.
///
/// `given` is one for the keys there are, `another` one for the next key.
pub(super) fn passphrases(contents: &Contents<'_>, given: bool, another: bool) -> Result<(), Failure> {
    if contents.iter().any(|content| is_protected(*content)) || !(given || another) {
        return Ok(());
    }
    if another {
        return Err(usage("the key in use is not protected by a passphrase, and a rotation does not change that")
            .why("the next key would have been written without one, too")
            .fix("leave --new-passphrase out; only a new agent's key can get one so far: keyagent init --protect passphrase")
            .into());
    }
    Err(usage("no key of this rotation is protected by a passphrase")
        .why("the one that was given would not be looked at")
        .fix("leave --passphrase-fd out")
        .into())
}

/// Refuses a next key that is protected where the one in use is not, or the other way round: the agent reads the file
/// of the one in use, and could not read that of the other.
pub(super) fn same_kind(contents: &Contents<'_>, steps: &[Step], next: &Path) -> Result<(), Report> {
    let [Some(current), Some(waiting), _] = *contents else { return Ok(()) };
    let (now, then) = (is_protected(Some(current)), is_protected(Some(waiting)));
    if now == then || !steps.contains(&Step::Install) {
        return Ok(());
    }
    let is = |protected| if protected { "is protected by a passphrase" } else { "is not protected" };
    Err(Report::new(
        ErrorCode::KeySourcesDisagree,
        "the next master key is not protected as the one in use is",
    )
    .fact("file", next.display().to_string())
    .why(format!("the key in use {}, the next one {}", is(now), is(then)))
    .fix("move it away; if a rotation is unfinished: keyagent master rotate --abandon"))
}

/// A file is not removed: it is the only one with a key that opens the keyring.
pub(super) fn only_file(path: &Path, print: &Print) -> Report {
    Report::new(
        ErrorCode::WrongState,
        "a file of a master key is not removed: the agent still needs that key",
    )
    .fact("file", path.display().to_string())
    .fact("master", fingerprint::full(print))
    .why("the key file does not hold it, as it should by now")
    .fix("look with keyagent status, then: keyagent master rotate")
}

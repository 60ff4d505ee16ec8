//! Where the master keys of an agent are: the file of the one in use, and where the next one waits.

use std::path::{Path, PathBuf};

use super::files;
use crate::{
    agent_status::AgentStatus,
    failure::{Failure, usage},
};

/// Name of the master key in a folder of credentials, which nobody can replace while the agent runs.
const CREDENTIAL: &str = "keyagent.master-key";

/// Where the keys are, and how the agent gets them.
pub(super) struct Place {
    /// The key file in use, if there is one to read.
    pub(super) key_file: Option<PathBuf>,
    /// Where the next key is until it is in use.
    pub(super) next: PathBuf,
    /// Where the replaced key stays until the rotation is finished; none if somebody else installs the next one.
    pub(super) replaced: Option<PathBuf>,
    /// The agent reads this very file again by itself.
    pub(super) read_by_agent: bool,
}

/// Where the keys of this agent are.
pub(super) fn place(
    named: Option<&Path>,
    by_hand: Option<&Path>,
    status: &AgentStatus,
) -> Result<Place, Failure> {
    let source = status.get("master_source").map(PathBuf::from).filter(|path| path.is_absolute());
    let is_credential = |path: &Path| path.file_name().is_some_and(|name| name == CREDENTIAL);
    let named = named.map(std::path::absolute).transpose();
    let named = named.map_err(|error| usage("not a usable path").why(error.to_string()))?;
    if let Some(next) = by_hand {
        let read_by_agent = named.is_none();
        let next =
            std::path::absolute(next).map_err(|error| usage("not a usable path").why(error.to_string()))?;
        return Ok(Place { key_file: named, next, replaced: None, read_by_agent });
    }
    let needs_a_hand = |why: &str| {
        usage("the next master key has to be put in its place by hand")
            .fact("source", status.shown("master_source"))
            .why(why.to_owned())
            .fix("keyagent master rotate --new-key-file FILE")
    };
    let key_file = match (named, &source) {
        (Some(named), _) => named,
        (None, None) => return Err(needs_a_hand("the agent did not read its key from a file").into()),
        (None, Some(path)) if is_credential(path) => {
            return Err(needs_a_hand("a credential does not change while the agent runs").into());
        }
        (None, Some(path)) => path.clone(),
    };
    files::check_alone(&key_file)?;
    let protected = crate::key_file::holds_protected(&key_file);
    let read_by_agent = source.as_deref() == Some(&key_file) && !protected;
    let (next, replaced) = (files::next_beside(&key_file), Some(files::replaced_beside(&key_file)));
    Ok(Place { key_file: Some(key_file), next, replaced, read_by_agent })
}

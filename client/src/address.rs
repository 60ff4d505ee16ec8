//! Where the agent may listen, in order, and what was found at each place.
//!
//! It names places; connecting to them is [`crate::Connection`]'s work.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use keyagent_common::layout::{self, BaseFolders, MAX_SOCKET_PATH_BYTES};

use crate::{environment, error::Error};

/// The environment variable that names the socket.
const VARIABLE: &str = "KEYAGENT_SOCK";

/// Where to look for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The places, in order; never empty.
    pub(crate) places: Vec<PathBuf>,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Given,
    Variable,
    Search,
}

/// One place that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The path, or the variable that was looked at.
    pub place: String,
    /// What was there.
    pub found: Found,
}

/// What was found where a socket could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The variable is not set.
    NotSet,
    /// No file of that name.
    NoSuchFile,
    /// A socket file that no process listens on.
    Stale,
    /// A process listens, but takes no further connection.
    Overloaded,
    /// The rights of the file or a folder do not allow it.
    PermissionDenied,
    /// A file of another kind.
    NotASocket,
    /// The path cannot be a socket's.
    PathTooLong,
    /// Anything else, in the words of the system.
    Other(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSet => "not set",
            Self::NoSuchFile => "no such file",
            Self::Stale => "file exists, nobody listens (stale)",
            Self::Overloaded => "listens, but takes no further connection",
            Self::PermissionDenied => "permission denied",
            Self::NotASocket => "not a socket",
            Self::PathTooLong => "path too long for a socket",
            Self::Other(text) => text,
        })
    }
}

impl Address {
    /// Exactly this socket; relative paths start at the working folder.
    pub fn exactly(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::named(path.into(), Origin::Given)
    }

    /// `$KEYAGENT_SOCK` if it is set, else the default places of this user and of the system.
    pub fn search() -> Result<Self, Error> {
        Self::search_in(std::env::var_os(VARIABLE), environment::base_folders().as_ref())
    }

    fn search_in(variable: Option<OsString>, base: Option<&BaseFolders>) -> Result<Self, Error> {
        if let Some(path) = variable.filter(|value| !value.is_empty()).map(PathBuf::from) {
            if path.is_relative() {
                return Err(Error::SocketVariableRelative { path });
            }
            return Self::named(path, Origin::Variable);
        }
        let base = base.unwrap_or(&BaseFolders::System);
        let places = layout::socket_search(None, base, environment::effective_uid());
        Ok(Self { places, origin: Origin::Search })
    }

    fn named(path: PathBuf, origin: Origin) -> Result<Self, Error> {
        if too_long(&path) {
            return Err(Error::SocketPathTooLong { path });
        }
        Ok(Self { places: vec![path], origin })
    }

    /// Whether a person or a variable named the socket; nothing is then started or searched.
    pub fn is_named(&self) -> bool {
        self.origin != Origin::Search
    }

    /// The socket that a person or a variable named.
    pub fn named_path(&self) -> Option<&Path> {
        self.places.first().filter(|_| self.is_named()).map(PathBuf::as_path)
    }

    /// The first rows of the list of attempts.
    pub(crate) fn preface(&self) -> Vec<Attempt> {
        match self.origin {
            Origin::Search => vec![Attempt { place: format!("${VARIABLE}"), found: Found::NotSet }],
            Origin::Given | Origin::Variable => Vec::new(),
        }
    }

    /// How a place is shown.
    pub(crate) fn label(&self, path: &Path) -> String {
        match self.origin {
            Origin::Search => path.display().to_string(),
            Origin::Given => format!("{} (--socket)", path.display()),
            Origin::Variable => format!("{} (${VARIABLE})", path.display()),
        }
    }
}

/// Whether a path cannot be a socket's.
pub(crate) fn too_long(path: &Path) -> bool {
    path.as_os_str().len() > MAX_SOCKET_PATH_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_ends_the_search_and_must_be_absolute() {
        let address = Address::search_in(Some("/x/agent.sock".into()), None).unwrap();
        assert_eq!(address.named_path(), Some(Path::new("/x/agent.sock")));
        assert!(address.preface().is_empty());
        assert!(matches!(
            Address::search_in(Some("x.sock".into()), None),
            Err(Error::SocketVariableRelative { .. })
        ));
    }

    #[test]
    fn an_empty_variable_is_an_absent_one() {
        let address = Address::search_in(Some("".into()), None).unwrap();
        assert!(!address.is_named() && address.named_path().is_none());
        assert_eq!(address.places.last().unwrap(), Path::new("/run/keyagent/agent.sock"));
    }

    #[test]
    fn the_longest_path_is_107_bytes() {
        assert!(Address::exactly(format!("/{}", "a".repeat(106))).is_ok());
        assert!(matches!(
            Address::exactly(format!("/{}", "a".repeat(107))),
            Err(Error::SocketPathTooLong { .. })
        ));
    }
}

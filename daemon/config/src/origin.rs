//! Where a value comes from.

use std::{fmt, path::PathBuf};

use keyagent_common::report::escape;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of a file.
    File {
        /// The file, as the caller named it.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
    },
    /// A variable of the environment, by name.
    Environment(&'static str),
    /// A flag of the command line, by name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", escape(&path.display().to_string())),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => write!(f, "{name}"),
        }
    }
}

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name such as `lock.idle`, `listen.agent.mode` or `rule.billing.keys`.
    pub name: String,
    /// The value as a person writes it in the file, without quotes; lists in brackets.
    pub value: String,
    /// Where it was said.
    pub origin: Origin,
}

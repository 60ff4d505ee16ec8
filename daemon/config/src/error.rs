//! Why a configuration is refused: file and line, what, why, and what to write instead.

use std::path::PathBuf;

use keyagent_common::{
    error::ErrorCode,
    report::{Report, escape},
};

use crate::origin::Origin;

/// Why a configuration is refused. Holds text of the file, which holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// More bytes than any configuration needs.
    #[error("the file is too large")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text is not TOML.
    #[error("this is not TOML: {message}")]
    Syntax {
        /// Where.
        at: Origin,
        /// What the parser says.
        message: String,
    },
    /// A field that this version does not know.
    #[error("unknown field {field:?} in {table}")]
    UnknownField {
        /// Where.
        at: Origin,
        /// The field as written.
        field: String,
        /// The table it stands in, such as `[lock]`.
        table: String,
        /// The nearest field that there is.
        suggestion: Option<&'static str>,
        /// All fields that there are.
        known: &'static [&'static str],
    },
    /// A field that must be there is missing.
    #[error("{field:?} is missing in {table}")]
    Missing {
        /// Where its table begins.
        at: Origin,
        /// The field.
        field: &'static str,
        /// The table.
        table: String,
        /// What to write.
        fix: String,
    },
    /// A value of another type or one that is not allowed.
    #[error("{field} cannot be {value}")]
    Value {
        /// Where.
        at: Origin,
        /// Name of the setting, such as `lock.idle`.
        field: String,
        /// The value as written.
        value: String,
        /// Why not.
        why: String,
        /// What to write instead.
        fix: String,
    },
    /// The same name or path stands twice.
    #[error("{what} stands twice")]
    Twice {
        /// Where the second one is.
        at: Origin,
        /// What.
        what: String,
        /// Where the first one is.
        first: Origin,
    },
    /// No such user or group on this machine.
    #[error("{table}: there is no {kind} {name:?}")]
    NoSuchName {
        /// Where.
        at: Origin,
        /// The table it stands in, such as `rule "billing"`.
        table: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Users or groups cannot be looked up.
    #[error("{table}: the {kind} {name:?} cannot be looked up")]
    LookUpFailed {
        /// Where.
        at: Origin,
        /// The table it stands in.
        table: String,
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// What the system says.
        why: String,
    },
    /// The rules cannot be enforced as they stand.
    #[error("{table}: {field} cannot be enforced")]
    Policy {
        /// Where.
        at: Origin,
        /// The table, such as `rule "billing"`.
        table: String,
        /// The field.
        field: &'static str,
        /// Why not.
        why: String,
        /// What to write instead.
        fix: String,
    },
}

impl ConfigurationError {
    /// What a person is told.
    pub fn report(&self) -> Report {
        let report =
            Report::new(ErrorCode::Configuration, escape(&format!("refusing the configuration: {self}")));
        let report = match self.place() {
            Some(Origin::Environment(name)) => report.fact("variable", *name),
            Some(Origin::Flag(name)) => report.fact("flag", *name),
            Some(place) => report.fact("file", place.to_string()),
            None => report,
        };
        match self {
            Self::TooLarge { path, bytes } => report
                .fact("file", path.display().to_string())
                .why(format!("it has {bytes} bytes; at most {} are read", crate::MAX_FILE_BYTES)),
            Self::Syntax { .. } => report.fix("docs/POLICY.md shows a whole file"),
            Self::UnknownField { suggestion, known, .. } => {
                let report = report.why("a field that is not understood could be one that takes rights away");
                match suggestion {
                    Some(word) => report.fix(format!("did you mean {word}?")),
                    None => report.fix(format!("known here: {}", known.join(", "))),
                }
            }
            Self::Missing { fix, .. } => report.fix(fix),
            Self::Value { why, fix, .. } | Self::Policy { why, fix, .. } => report.why(why).fix(fix),
            Self::Twice { first, .. } => report.why(format!("the first one is {first}")),
            Self::NoSuchName { kind, .. } => {
                report.why("a rule for nobody is a rule that does not do what it says").fix(format!(
                    "getent {} lists them; a number needs no name: {}",
                    data_base(kind),
                    number(kind)
                ))
            }
            Self::LookUpFailed { kind, why, .. } => {
                report.why(why).fix(format!("a number needs no look-up: {}", number(kind)))
            }
        }
    }

    /// Where it is; a file that is too large has no line.
    pub fn place(&self) -> Option<&Origin> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Syntax { at, .. }
            | Self::UnknownField { at, .. }
            | Self::Missing { at, .. }
            | Self::Value { at, .. }
            | Self::Twice { at, .. }
            | Self::NoSuchName { at, .. }
            | Self::LookUpFailed { at, .. }
            | Self::Policy { at, .. } => Some(at),
        }
    }
}

fn data_base(kind: &str) -> &'static str {
    if kind == "user" { "passwd" } else { "group" }
}

fn number(kind: &str) -> &'static str {
    if kind == "user" { "uid = 1000" } else { "gid = 1000" }
}

//! Why a configuration is refused: file and line, what, why, and what to write instead.

use keyagent_common::{
    error::ErrorCode,
    report::{Report, escape},
};

use crate::{document::MAX_FILE_BYTES, origin::Origin};

/// Why a configuration is refused. Holds text of the file, which holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct ConfigurationError {
    /// Where.
    pub at: Origin,
    /// What.
    pub problem: Box<Problem>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// More bytes than any configuration needs.
    #[error("the file is too large")]
    TooLarge {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text is not TOML.
    #[error("this is not TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A field that this version does not know.
    #[error("unknown field {field:?} in {table}")]
    UnknownField {
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
        /// What.
        what: String,
        /// Where the first one is.
        first: Origin,
    },
    /// No such user or group on this machine.
    #[error("{table}: there is no {kind} {name:?}")]
    NoSuchName {
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
    pub(crate) fn new(at: Origin, problem: Problem) -> Self {
        Self { at, problem: Box::new(problem) }
    }

    /// What a person is told.
    pub fn report(&self) -> Report {
        let what = format!("refusing the configuration: {}", self.problem);
        let report = Report::new(ErrorCode::Configuration, escape(&what));
        let report = match &self.at {
            Origin::Default => report,
            Origin::File { .. } => report.fact("file", self.at.to_string()),
            Origin::Environment(name) => report.fact("variable", *name),
            Origin::Flag(name) => report.fact("flag", *name),
        };
        self.problem.explain(report)
    }
}

impl Problem {
    /// Adds why, and what to write instead.
    fn explain(&self, report: Report) -> Report {
        match self {
            Self::TooLarge { bytes } => {
                report.why(format!("it has {bytes} bytes; at most {MAX_FILE_BYTES} are read"))
            }
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
                let (list, number) = if *kind == "user" { ("passwd", "uid") } else { ("group", "gid") };
                report
                    .why("a rule about nobody does not do what it says")
                    .fix(format!("getent {list} lists them; a number needs no name: {number} = 1000"))
            }
            Self::LookUpFailed { kind, why, .. } => {
                let number = if *kind == "user" { "uid" } else { "gid" };
                report.why(why).fix(format!("a number needs no look-up: {number} = 1000"))
            }
        }
    }
}

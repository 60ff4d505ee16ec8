//! How a command ends when it does not succeed.
//!
//! A failure holds what a person is told; never a payload and never a backtrace.

use std::{io, path::Path};

use keyagent_client::Error;
use keyagent_common::{error::ErrorCode, report::Report};

/// A failure on its way to stderr.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A row of the error table with its text.
    Report(Box<Report>),
    /// What another program of keyagent said already.
    Passed(Passed),
}

/// The words and the exit code of another program.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) text: String,
    pub(crate) exit_code: u8,
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        error.report().into()
    }
}

/// The command line asks for something that cannot be.
pub(crate) fn usage(what: impl Into<String>) -> Report {
    Report::new(ErrorCode::Usage, what)
}

/// Reading failed on the way.
pub(crate) fn cannot_read(name: &str, error: &io::Error) -> Report {
    let code = if error.kind() == io::ErrorKind::NotFound {
        ErrorCode::InputMissing
    } else {
        ErrorCode::InputOutput
    };
    Report::new(code, "cannot read the input").fact("input", name).why(error.to_string())
}

/// Writing failed on the way.
pub(crate) fn cannot_write(name: &str, error: &io::Error) -> Report {
    let report = Report::new(ErrorCode::InputOutput, "cannot write the output").fact("output", name);
    match error.kind() {
        io::ErrorKind::BrokenPipe => report.why("the reader closed the pipe before everything was written"),
        _ => report.why(error.to_string()),
    }
}

/// The output cannot come into being.
pub(crate) fn cannot_create(path: &Path, why: impl Into<String>) -> Report {
    Report::new(ErrorCode::CannotCreate, "cannot create the output file")
        .fact("file", path.display().to_string())
        .why(why)
}

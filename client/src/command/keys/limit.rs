//! What a text about a key may be, by the rules of the daemon: said here before anything is sent.

use keyagent_common::op::MAX_REASON_BYTES;
use keyagent_core::{
    change::MAX_NOTE_BYTES,
    keyring::{Label, MAX_LABEL_BYTES},
};

use crate::failure::{Failure, usage};

/// A reason for the record, possibly empty.
pub(crate) fn reason(text: &str) -> Result<&str, Failure> {
    const { assert!(MAX_REASON_BYTES == MAX_LABEL_BYTES, "one rule for both") };
    if text.is_empty() || Label::Purpose.admits(text) { Ok(text) } else { Err(one_line("reason", text)) }
}

/// A label; an empty text takes it away.
pub(super) fn label(label: Label, text: &str) -> Result<&str, Failure> {
    if text.is_empty() || label.admits(text) {
        return Ok(text);
    }
    if label != Label::Environment {
        return Err(one_line(label.as_str(), text));
    }
    Err(usage("not an environment")
        .fact("text", text)
        .why("it is one word of a-z, 0-9, '.', '_' and '-', at most 64 characters")
        .fix("such as: --environment production")
        .into())
}

/// A note, possibly empty.
pub(super) fn note(text: &str) -> Result<&str, Failure> {
    if text.len() <= MAX_NOTE_BYTES {
        return Ok(text);
    }
    Err(usage("the note is too long")
        .why(format!("it has {} bytes; there is room for {MAX_NOTE_BYTES}", text.len()))
        .into())
}

fn one_line(what: &str, text: &str) -> Failure {
    let report = if text.len() > MAX_LABEL_BYTES {
        usage(format!("the {what} is too long"))
            .why(format!("it has {} bytes; there is room for {MAX_LABEL_BYTES}", text.len()))
    } else {
        usage(format!("the {what} is not one printable line"))
            .why("line ends and control characters would change what a log or a terminal shows")
    };
    report.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_would_refuse_is_refused_here() {
        let (long, longest) = ("x".repeat(257), "x".repeat(256));
        assert!(reason("").is_ok() && reason("ticket 4711, Größe").is_ok() && reason(&longest).is_ok());
        assert!(reason(&long).is_err() && reason("a\nb").is_err() && reason("\u{202e}").is_err());
        assert!(label(Label::Environment, "production").is_ok() && label(Label::Environment, "").is_ok());
        assert!(
            label(Label::Environment, "Production").is_err() && label(Label::Environment, "a b").is_err()
        );
        assert!(label(Label::Url, &longest).is_ok() && label(Label::Url, &long).is_err());
        assert!(note(&"x".repeat(1024)).is_ok() && note(&"x".repeat(1025)).is_err());
    }
}

//! Everything that can go wrong between a client and the agent, each with its row of the error table.
//!
//! It holds paths and the agent's own words; never a payload.

use std::{io, path::PathBuf, time::Duration};

use keyagent_common::{
    context::ContextError, envelope::EnvelopeError, error::ErrorCode, op::PROTOCOL_VERSION, report::Report,
};

use crate::address::Attempt;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at any place.
    #[error("cannot reach the agent")]
    Unreachable {
        /// Every place and what was there.
        attempts: Vec<Attempt>,
    },
    /// The path of the socket is longer than 107 bytes.
    #[error("the path of the socket is too long")]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// `$KEYAGENT_SOCK` is relative.
    #[error("$KEYAGENT_SOCK is not an absolute path")]
    SocketVariableRelative {
        /// The path.
        path: PathBuf,
    },
    /// Somebody listens who is not trusted; nothing was sent.
    #[error("refusing to talk to the process that listens on the socket")]
    Untrusted {
        /// The socket.
        path: PathBuf,
        /// Whom it belongs to.
        why: String,
    },
    /// No answer in time.
    #[error("the agent did not answer in time")]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The connection ended before the reply was complete.
    #[error("the agent closed the connection before it had answered")]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// Another process opened the connection; nothing was sent.
    #[error("the connection belongs to the process that this one was forked from")]
    Forked {
        /// The socket.
        path: PathBuf,
    },
    /// Reading or writing the socket failed.
    #[error("the connection to the agent failed")]
    Transport {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What came back is no reply of this protocol.
    #[error("what answered does not speak the protocol of keyagent")]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        what: String,
    },
    /// The daemon speaks other protocol versions.
    #[error("agent and client do not speak the same protocol version")]
    Versions {
        /// Version of the daemon program.
        server: String,
        /// Lowest and highest protocol version of the daemon.
        server_protocol: (u16, u16),
    },
    /// The request does not fit into a frame.
    #[error("the request is too large")]
    TooLarge,
    /// The text or bytes given cannot be ciphertext; nothing was sent.
    #[error("not a ciphertext of keyagent")]
    NotCiphertext(#[source] EnvelopeError),
    /// The names and values given are no context; nothing was sent.
    #[error("not a usable context")]
    Context(#[source] ContextError),
    /// The ticket is none of this pipeline, or was used before.
    #[error("there is no reply for this ticket")]
    NoReply,
    /// The agent refused or failed.
    #[error("{}", .0.what)]
    Agent(AgentError),
}

/// An error that the agent reported, in its own words. They are not escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentError {
    /// Number in the error table; an unknown one comes from a newer daemon.
    pub number: u16,
    /// The operation that was asked for.
    pub operation: &'static str,
    /// What happened.
    pub what: String,
    /// Why; may be empty.
    pub why: String,
    /// The command that mends it; may be empty.
    pub fix: String,
}

impl Error {
    /// The row of the error table.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } | Self::Closed { .. } | Self::Forked { .. } => {
                ErrorCode::AgentUnreachable
            }
            Self::SocketPathTooLong { .. } | Self::SocketVariableRelative { .. } => ErrorCode::Configuration,
            Self::Untrusted { .. } => ErrorCode::UntrustedAgent,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Transport { .. } => ErrorCode::InputOutput,
            Self::Protocol { .. } => ErrorCode::Malformed,
            Self::Versions { .. } => ErrorCode::ProtocolMismatch,
            Self::TooLarge => ErrorCode::TooLarge,
            Self::NotCiphertext(_) => ErrorCode::NotCiphertext,
            Self::Context(_) => ErrorCode::InvalidRequest,
            Self::NoReply => ErrorCode::Internal,
            Self::Agent(error) => ErrorCode::from_number(error.number).unwrap_or(ErrorCode::ProtocolMismatch),
        }
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> u8 {
        self.code().exit_code()
    }

    /// What mends it, in words or as a command to type; empty if nothing is known to.
    pub fn hint(&self) -> String {
        self.report().fix
    }

    /// Whether the connection ended, so that a request without effects may be sent once more on a new one.
    pub(crate) fn is_dead_connection(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Transport { .. })
    }

    /// The error as a person reads it.
    pub fn report(&self) -> Report {
        let report = Report::new(self.code(), self.to_string());
        match self {
            Self::Unreachable { attempts } => unreachable_report(report, attempts),
            Self::SocketPathTooLong { path } => report
                .fact("path", path.display().to_string())
                .why(format!("it has {} bytes; the kernel takes at most 107", path.as_os_str().len()))
                .fix("choose a shorter path with --socket or KEYAGENT_SOCK"),
            Self::SocketVariableRelative { path } => report
                .fact("value", path.display().to_string())
                .why("a relative path would mean another socket in every folder")
                .fix("set KEYAGENT_SOCK to a path that begins with /"),
            Self::Untrusted { path, why } => report
                .fact("socket", path.display().to_string())
                .fact("sent", "nothing")
                .why(why)
                .fix("find out who listens there: ss -xlp"),
            Self::Timeout { path, waited } => report
                .fact("socket", path.display().to_string())
                .fact("waited", format!("{} s", waited.as_secs_f64()))
                .fix("try again, or allow more time with --timeout"),
            Self::Closed { path } => report
                .fact("socket", path.display().to_string())
                .why("it has just stopped, or its policy gives this user no right at all")
                .fix("try again; if it stays so, ask who administers the agent"),
            Self::Forked { path } => report
                .fact("socket", path.display().to_string())
                .why("two processes that read one socket would take each other's plaintexts")
                .fix("open a connection in each process, or use Client, which does so"),
            Self::Transport { path, source } => {
                report.fact("socket", path.display().to_string()).why(source.to_string())
            }
            Self::Protocol { path, what } => report
                .fact("socket", path.display().to_string())
                .why(what)
                .fix("check what listens there: keyagent status"),
            Self::Versions { server, server_protocol: (lowest, highest) } => report
                .fact("agent", format!("version {server}, protocol {lowest} to {highest}"))
                .fact("client", format!("version {}, protocol {PROTOCOL_VERSION}", env!("CARGO_PKG_VERSION")))
                .fix(
                    "install the same version of keyagent and keyagentd, then: keyagent stop; keyagent start",
                ),
            Self::TooLarge => report.why("a message has at most 1 MiB, its context 8 KiB"),
            Self::NotCiphertext(error) => report.why(error.to_string()).fix("keyagent inspect FILE"),
            Self::Context(error) => report.why(error.to_string()),
            Self::NoReply => report.why("each reply can be taken once, from the replies to its own pipeline"),
            Self::Agent(error) => agent_report(report, error),
        }
    }
}

fn unreachable_report(report: Report, attempts: &[Attempt]) -> Report {
    let width = attempts.iter().map(|attempt| attempt.place.chars().count()).max().unwrap_or_default();
    let named = attempts.first().and_then(|attempt| attempt.place.strip_suffix(" (--socket)"));
    let fix = match named {
        Some(socket) => format!("keyagent start --socket {socket}"),
        None => "keyagent start          (or: systemctl --user enable --now keyagentd.service)".to_owned(),
    };
    attempts
        .iter()
        .fold(report, |report, Attempt { place, found }| {
            report.fact("tried", format!("{place:<width$}   {found}"))
        })
        .fix(fix)
}

fn agent_report(mut report: Report, error: &AgentError) -> Report {
    report.what = keyagent_common::report::escape(&error.what);
    match ErrorCode::from_number(error.number) {
        Some(ErrorCode::ProtocolMismatch) => {
            let client = format!("version {}, protocol {PROTOCOL_VERSION}", env!("CARGO_PKG_VERSION"));
            report = report.fact("client", client);
        }
        None => {
            let number = format!("{}, which this client does not know", error.number);
            report = report.fact("number", number).fact("client", env!("CARGO_PKG_VERSION"));
        }
        // Not the verb that was typed: whoever wrote the rule has to know the right it needs.
        Some(ErrorCode::Denied) if error.operation.starts_with("data_key") => {
            let asked = format!("{}: more than 1 MiB is sealed with a data key of its own", error.operation);
            report = report.fact("asked", asked);
        }
        Some(_) => {}
    }
    report.why(&error.why).fix(&error.fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Found;

    #[test]
    fn an_unreachable_agent_lists_every_try() {
        let attempts = vec![
            Attempt { place: "$KEYAGENT_SOCK".into(), found: Found::NotSet },
            Attempt { place: "/run/user/1000/keyagent/agent.sock".into(), found: Found::Stale },
            Attempt { place: "/run/keyagent/agent.sock".into(), found: Found::NoSuchFile },
        ];
        assert_eq!(
            Error::Unreachable { attempts }.report().to_text("keyagent"),
            "keyagent: cannot reach the agent\n\n  \
             tried  $KEYAGENT_SOCK                       not set\n         \
             /run/user/1000/keyagent/agent.sock   file exists, nobody listens (stale)\n         \
             /run/keyagent/agent.sock             no such file\n  \
             fix    keyagent start          (or: systemctl --user enable --now keyagentd.service)\n  \
             code 69 AGENT_UNREACHABLE\n"
        );
    }

    #[test]
    fn an_unknown_number_is_an_error_and_its_text_is_escaped() {
        let error = Error::Agent(AgentError {
            number: 57,
            operation: "encrypt",
            what: "too \u{1b}[31mhot\n".into(),
            why: "w".into(),
            fix: String::new(),
        });
        let text = error.report().to_text("keyagent");
        assert!(text.starts_with("keyagent: too \\u{1b}[31mhot\\u{a}\n"), "{text}");
        assert!(text.contains("57, which this client does not know"), "{text}");
        assert_eq!(error.exit_code(), 76);
    }
}

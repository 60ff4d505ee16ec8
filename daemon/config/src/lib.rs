//! From configuration text to typed settings and to the rules of the policy (docs/POLICY.md).
//!
//! No I/O: the text of the files, the environment and the flags come in as arguments, names of users and
//! groups are resolved by the caller. It must never read a file, and never drop a field it does not know.

mod configuration;
mod document;
mod error;
mod listen;
mod locations;
mod origin;
mod rate;
mod rules;
mod scalars;
mod settings;
mod suggest;
#[cfg(test)]
mod tests;
mod value;
mod warnings;

pub use configuration::{Configuration, Flags, Names};
pub use document::{MAX_FILE_BYTES, Source, SourceKind};
pub use error::{ConfigurationError, Problem};
pub use locations::{SYSTEM_FILE, files};
pub use origin::{Origin, Setting};
pub use settings::{
    AlertSettings, AuditSettings, Durability, Journald, Listener, LockSettings, LogFormat, Settings,
    SocketMode, WhenFull,
};
pub use warnings::Warning;

pub use keyagent_core::policy::{Mode, PolicySpec};

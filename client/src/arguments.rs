//! The command line as typed: verbs and the flags that every verb takes.
//!
//! No option takes a secret: what stands in argv can be read by every local process.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use keyagent_common::{context, name::KeyName};

use crate::{
    command,
    failure::{Failure, usage},
};

/// ssh-agent for application secrets: encrypt and decrypt without ever seeing a key.
#[derive(Debug, Parser)]
#[command(name = "keyagent", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that stand before or after every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub(crate) struct Globals {
    /// Write documents and errors as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Never ask a question
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Socket of the agent
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Longest time for one operation, such as 500ms or 5s [default: 5s]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Do not start an agent when none is running
    #[arg(long, global = true)]
    pub(crate) no_autostart: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which key, and what a ciphertext is bound to.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyArguments {
    /// Name of the key [default: default]
    #[arg(short, long, value_name = "NAME")]
    key: Option<String>,
    /// Bind to a public name and value; the same is needed to decrypt, or to find it again (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE")]
    context: Vec<OsString>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Encrypt files or standard input
    Encrypt(command::encrypt::Arguments),
    /// Decrypt files or standard input
    Decrypt(command::decrypt::Arguments),
    /// Move what an older version encrypted to the primary version of its key
    Rewrap(command::rewrap::Arguments),
    /// Say what a ciphertext is, without any key
    Inspect(command::inspect::Arguments),
    /// Sign and check JSON Web Tokens
    Jwt(command::jwt::Arguments),
    /// Write the tag of a value, for an index that does not show it
    Hmac(command::hmac::Arguments),
    /// Write random bytes
    Random(command::random::Arguments),
    /// Show what the agent is doing; exit 1 when it is locked
    Status,
    /// Start the agent in the background, or for the time of a command
    Start(command::start::Arguments),
    /// Stop the agent and wait until it is gone
    Stop,
    /// Wipe every key from the agent's memory
    Lock,
    /// Let the agent read its master key again
    Unlock(command::unlock::Arguments),
    /// Let the agent read configuration, policy and keyring again
    Reload,
    /// Seal nothing new for a while; what was sealed still opens
    Maintenance(command::maintenance::Arguments),
    /// Exit 0 if the agent can do its work, 1 otherwise
    Health,
    /// Tell what happens, as it happens, and run a command for what matters
    Watch(command::watch::Arguments),
    /// Write what the agent counts, in the text format of Prometheus
    Metrics(command::metrics::Arguments),
    /// List, make, rotate, configure, retire, disable and destroy keys
    Keys(command::keys::Arguments),
    /// Put keys into a backup, check one, take one in
    Backup(command::backup::Arguments),
    /// Rotate the master key
    Master(command::master::Arguments),
    /// Read, export and verify the audit log
    Audit(command::audit::Arguments),
    /// Write what the audit log says of a period, as a document
    Report(command::report::Arguments),
    /// Look for what is wrong; exit 1 when something failed
    Doctor(command::doctor::Arguments),
    /// Make the master key and the keyring
    Init(command::init::Arguments),
    /// Show the fingerprint of the master key in use, or of a key file
    Fingerprint(command::fingerprint::Arguments),
    /// Show the settings in force and where each was said
    Config(command::config::Arguments),
    /// Check the rules, or explain what they say
    Policy(command::policy::Arguments),
    /// Show the version
    Version,
    /// Explain a verb, or the exit codes
    Help(command::help::Arguments),
}

impl KeyArguments {
    /// Both places together: before and after the verb.
    pub(crate) fn merge(mut self, after: Self) -> Self {
        self.key = after.key.or(self.key);
        self.context.extend(after.context);
        self
    }

    /// The name of the key.
    pub(crate) fn key_name(&self) -> Result<KeyName<'_>, Failure> {
        let Some(name) = &self.key else { return Ok(KeyName::DEFAULT) };
        KeyName::parse(name)
            .map_err(|error| usage("not a key name").fact("key", name).why(error.to_string()).into())
    }

    /// The name of the key, where the usual one cannot be meant: what is needed is said in words.
    pub(crate) fn named(&self, needed: &str) -> Result<KeyName<'_>, Failure> {
        if self.key.is_none() {
            return Err(usage("--key NAME is needed").why(format!("this takes {needed}")).into());
        }
        self.key_name()
    }

    /// Refuses a context where nothing could be bound to it.
    pub(crate) fn no_context(&self, what: &str) -> Result<(), Failure> {
        if self.context.is_empty() {
            return Ok(());
        }
        Err(usage(format!("{what} has no context")).why("what belongs to it stands in it").into())
    }

    /// The canonical context bytes.
    pub(crate) fn context_bytes(&self) -> Result<Vec<u8>, Failure> {
        let refuse = |why: &dyn ToString| {
            usage("not a usable context")
                .why(why.to_string())
                .fix("keyagent encrypt --context table=cards --context row=17")
        };
        let mut pairs = Vec::new();
        for pair in &self.context {
            let bytes = pair.as_bytes();
            let split = bytes.iter().position(|byte| *byte == b'=').and_then(|at| bytes.split_at_checked(at));
            let (name, value) = split.ok_or_else(|| refuse(&"NAME=VALUE is needed"))?;
            let name = str::from_utf8(name).map_err(|_| refuse(&context::ContextError::Name))?;
            pairs.push((name, value.strip_prefix(b"=").unwrap_or(value)));
        }
        context::encode(pairs).map_err(|error| refuse(&error).into())
    }
}

/// `500ms`, `5s`, `2m`, or a number of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let number: f64 = digits.parse().map_err(|_| "a time is a number and ms, s or m".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        _ => return Err(format!("{unit:?} is no unit of time; use ms, s or m")),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time >= Duration::from_millis(1) && time <= Duration::from_hours(24) => Ok(time),
        _ => Err("a time is between 1 ms and one day".to_owned()),
    }
}

/// As [`parse_duration`], in hours and days too, from one second to ten years.
pub(crate) fn parse_long_duration(text: &str) -> Result<Duration, String> {
    const DAY: f64 = 86_400.0;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| "a time is a number and s, m, h or d".to_owned())?;
    let seconds = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * DAY,
        unit => return Err(format!("{unit:?} is no unit of time; use s, m, h or d")),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (1.0..=DAY * 3660.0).contains(&seconds) => Ok(time),
        _ => Err("a time is between 1 second and 10 years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn flags_are_taken_before_and_after_the_verb() {
        for words in [
            ["keyagent", "--socket", "/s", "-k", "a", "-c", "n=v", "encrypt", "--json"],
            ["keyagent", "encrypt", "--json", "--socket", "/s", "-k", "a", "-c", "n=v"],
        ] {
            let line = CommandLine::try_parse_from(words).unwrap();
            assert!(line.globals.json && line.globals.socket == Some("/s".into()));
            let Verb::Encrypt(arguments) = line.verb else { panic!() };
            let key = line.key.merge(arguments.key);
            assert_eq!(key.key_name().unwrap().as_str(), "a");
            assert_eq!(key.context_bytes().unwrap(), b"\x01\0\x01\0n\x01\0v");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for bad in ["", "s", "0s", "-1s", "5h", "NaN", "inf", "1e999"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_times_have_more_units() {
        assert_eq!(parse_long_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_long_duration("1.5h"), Ok(Duration::from_mins(90)));
        assert_eq!(parse_long_duration("30d"), Ok(Duration::from_hours(720)));
        for bad in ["", "h", "0s", "500ms", "-1d", "NaN", "inf", "11000d", "1y"] {
            assert!(parse_long_duration(bad).is_err(), "{bad}");
        }
    }
}

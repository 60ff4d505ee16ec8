//! `keyagent fingerprint`: which master key this is, from the running agent or from a key file offline; and with
//! `--keys` which versions the keys have, so that hosts can be compared.
//!
//! A fingerprint is public. One that is not the expected one is an error and never shown as if it were right.

use std::{ffi::OsString, fmt::Write, path::PathBuf};

use clap::Args;
use keyagent_client::Connection;
use keyagent_common::{
    error::ErrorCode,
    fingerprint, kdf,
    op::{Empty, Status},
    report::{Report, escape},
};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::{
    agent_status::AgentStatus,
    command::{OK, keys},
    console,
    failure::Failure,
    key_file,
    session::Session,
};

/// `keyagent fingerprint`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Of this key file, without an agent
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Also the id of every version of every key: equal on hosts with one keyring
    #[arg(long, conflicts_with = "key_file")]
    keys: bool,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    fingerprint: String,
    master_id: String,
    source: String,
    /// Only where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<VersionDocument>>,
}

#[derive(Serialize)]
struct VersionDocument {
    key: String,
    version: u32,
    /// None: it is destroyed.
    key_id: Option<String>,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let (bytes, source) = match &arguments.key_file {
        Some(path) => {
            let key = key_file::read(path)?;
            if let Err(report) = key_file::examine(path) {
                session.console.say(&format!("warning: {}: {}", report.what, report.why));
            }
            (kdf::master_fingerprint(key.expose_secret()), path.display().to_string())
        }
        None => of_agent(session)?,
    };
    check_expected(std::env::var_os("KEYAGENT_EXPECT_KEY_ID"), &bytes, &source)?;
    let keys = if arguments.keys { Some(versions(&mut session.connect()?)?) } else { None };
    let (full, short) = (fingerprint::full(&bytes), fingerprint::short(&bytes));
    if session.console.json {
        let schema = "keyagent.fingerprint/1";
        console::print_json(&Document { schema, fingerprint: full, master_id: short, source, keys })?;
        return Ok(OK);
    }
    let mut text = format!("{full} {short}\n");
    for VersionDocument { key, version, key_id } in keys.iter().flatten() {
        let id = key_id.as_deref().unwrap_or("destroyed");
        let _ = writeln!(text, "{} {version} {id}", escape(key));
    }
    console::print(&text)?;
    Ok(OK)
}

/// Every version of every key that the caller may know of.
fn versions(connection: &mut Connection) -> Result<Vec<VersionDocument>, Failure> {
    let document = |key: &str, version: keys::VersionDocument| VersionDocument {
        key: key.to_owned(),
        version: version.number,
        key_id: Some(version.key_id).filter(|id| !id.is_empty()),
    };
    let keys = keys::all(connection)?.into_iter();
    Ok(keys
        .flat_map(|key| key.versions.into_iter().map(move |version| document(&key.name, version)))
        .collect())
}

/// `KEYAGENT_EXPECT_KEY_ID` names the only key that is right here; empty is as not set.
fn check_expected(expected: Option<OsString>, found: &[u8; 16], source: &str) -> Result<(), Report> {
    let Some(expected) = expected.filter(|text| !text.is_empty()) else { return Ok(()) };
    let expected = expected.to_string_lossy();
    if fingerprint::matches(&expected, found) {
        return Ok(());
    }
    Err(Report::new(ErrorCode::WrongMasterKey, "this is not the expected master key")
        .fact("expect", expected.into_owned())
        .fact("found", format!("{}   {}", fingerprint::short(found), fingerprint::full(found)))
        .fact("source", source.to_owned())
        .why("KEYAGENT_EXPECT_KEY_ID names another key: this host has not the keyring of the others")
        .fix("install the right key file and keyring, or correct the variable"))
}

fn of_agent(session: &Session<'_>) -> Result<([u8; 16], String), Failure> {
    let mut connection = session.connect()?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let bytes = status.fingerprint().ok_or_else(|| {
        Report::new(ErrorCode::Locked, "the agent is locked")
            .why("a locked agent knows no master key")
            .fix("keyagent unlock          (or offline: keyagent fingerprint --key-file FILE)")
    })?;
    Ok((bytes, status.shown("master_source")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_than_the_expected_one_is_an_error_that_names_both() {
        let found = [7; 16];
        let check = |text: &str| check_expected(Some(text.into()), &found, "/key");
        assert!(check_expected(None, &found, "").is_ok() && check("").is_ok());
        assert!(check("BwcH-BwcH").is_ok() && check(&"07".repeat(16)).is_ok());
        let report = check("BwcH-BwcI").unwrap_err();
        let text = report.to_text("keyagent");
        assert!(text.contains("BwcH-BwcI") && text.contains(&"07".repeat(16)), "{text}");
        assert_eq!(report.code.exit_code(), 79);
    }
}

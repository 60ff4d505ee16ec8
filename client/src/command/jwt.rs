//! `keyagent jwt sign|verify -k NAME`: JSON Web Tokens with HS256, whose key never leaves the agent.
//!
//! Claims are signed byte for byte as they were given; nothing is believed of a token that the agent refused.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};
use keyagent_common::{
    error::ErrorCode,
    op::{MAX_LEEWAY_SECONDS, MAX_TOKEN_BYTES},
    report::Report,
};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    arguments::{KeyArguments, parse_long_duration},
    command::OK,
    console,
    failure::{Failure, usage},
    input::Input,
    session::Session,
};

/// `keyagent jwt`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Sign claims, a JSON object with exp; the token goes to standard output
    Sign(SignArguments),
    /// Check a token; its claims go to standard output, exit 65 if it is refused
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
struct SignArguments {
    #[command(flatten)]
    key: KeyArguments,
    /// Add iat now and exp so much later, such as 15m, 1h or 30d, where the claims do not say them
    #[arg(long, value_name = "TIME", value_parser = parse_long_duration)]
    expires_in: Option<Duration>,
    /// File with the claims; none or - is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    #[command(flatten)]
    key: KeyArguments,
    /// By how much a clock may be wrong, at most 5m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_leeway)]
    leeway: u32,
    /// File with the token; none or - is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct VerifyDocument<'a> {
    schema: &'static str,
    version: u32,
    current: bool,
    /// As text: it is what was signed, byte for byte.
    claims: &'a str,
}

pub(crate) fn run(
    session: &mut Session<'_>,
    before: KeyArguments,
    arguments: Arguments,
) -> Result<u8, Failure> {
    match arguments.verb {
        Verb::Sign(arguments) => sign(session, before, arguments),
        Verb::Verify(arguments) => verify(session, before, arguments),
    }
}

const KIND: &str = "a key for tokens, made with: keyagent keys create --class hs256 NAME";

fn sign(session: &mut Session<'_>, before: KeyArguments, arguments: SignArguments) -> Result<u8, Failure> {
    let key = before.merge(arguments.key);
    key.no_context("a token")?;
    let name = key.named(KIND)?;
    let claims = read(arguments.file.as_deref(), "the claims are too long")?;
    let claims = match arguments.expires_in {
        Some(time) => with_times(&claims, time, now())?,
        None => claims,
    };
    let token = session.data_connection()?.jwt_sign(name, &claims)?;
    console::print(&token)?;
    console::print("\n")?;
    Ok(OK)
}

fn verify(
    session: &mut Session<'_>,
    before: KeyArguments,
    arguments: VerifyArguments,
) -> Result<u8, Failure> {
    let key = before.merge(arguments.key);
    key.no_context("a token")?;
    let name = key.named(KIND)?;
    let token = read(arguments.file.as_deref(), "the token is too long")?;
    let token = str::from_utf8(&token).map_err(|_| no_token())?;
    let claims = session.data_connection()?.jwt_verify(name, token, arguments.leeway)?;
    session.console.detail(&format!(
        "signed by version {}{}",
        claims.version,
        if claims.current { "" } else { ", which is not the primary one" }
    ));
    let text = str::from_utf8(&claims.json).map_err(|_| no_token())?;
    if session.console.json {
        console::print_json(&VerifyDocument {
            schema: "keyagent.jwt_verify/1",
            version: claims.version,
            current: claims.current,
            claims: text,
        })?;
    } else {
        console::print(text)?;
        console::print("\n")?;
    }
    Ok(OK)
}

/// The whole input without one final newline.
fn read(file: Option<&Path>, too_long: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut input = Input::open(file)?;
    let name = input.name().to_owned();
    let bytes = input.look_ahead(MAX_TOKEN_BYTES + 2)?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.len() > MAX_TOKEN_BYTES {
        return Err(Report::new(ErrorCode::TooLarge, too_long)
            .fact("input", name)
            .why("a token has at most 16 KiB")
            .into());
    }
    Ok(Zeroizing::new(bytes.to_vec()))
}

/// The claims with `iat` and `exp` in front, where they do not stand there; every other byte as it was, so that no
/// number changes on the way.
fn with_times(claims: &[u8], time: Duration, now: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let refuse = |why: String| {
        Report::new(ErrorCode::InvalidRequest, "the claims are no JSON object")
            .why(why)
            .fix("printf '{\"sub\":\"ana\"}' | keyagent jwt sign -k NAME --expires-in 1h")
    };
    let said: Map<String, Value> =
        serde_json::from_slice(claims).map_err(|error| refuse(error.to_string()))?;
    let text = str::from_utf8(claims).map_err(|error| refuse(error.to_string()))?.trim_start();
    let rest = text.strip_prefix('{').ok_or_else(|| refuse("it does not begin with {".to_owned()))?;
    let mut all = String::with_capacity(claims.len() + 64);
    all.push('{');
    let times = [("iat", now), ("exp", now.saturating_add(time.as_secs()))];
    let missing: Vec<String> = times
        .iter()
        .filter(|(name, _)| !said.contains_key(*name))
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    all.push_str(&missing.join(","));
    if !missing.is_empty() && !said.is_empty() {
        all.push(',');
    }
    all.push_str(rest);
    Ok(Zeroizing::new(all.into_bytes()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn parse_leeway(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let time = if digits == "0" { Duration::ZERO } else { parse_long_duration(text)? };
    u32::try_from(time.as_secs())
        .ok()
        .filter(|seconds| *seconds <= MAX_LEEWAY_SECONDS)
        .ok_or_else(|| format!("a leeway is at most {MAX_LEEWAY_SECONDS} seconds"))
}

fn no_token() -> Report {
    usage("the input is no token").why("a token is text: three parts of base64url, joined by full stops")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(claims: &str) -> String {
        let bytes = with_times(claims.as_bytes(), Duration::from_mins(1), 1000).unwrap();
        str::from_utf8(&bytes).unwrap().to_owned()
    }

    #[test]
    fn times_are_added_where_they_are_missing_and_nothing_else_changes() {
        assert_eq!(with("{}"), r#"{"iat":1000,"exp":1060}"#);
        assert_eq!(with("{ }"), r#"{"iat":1000,"exp":1060 }"#);
        assert_eq!(with(r#"{"a":1}"#), r#"{"iat":1000,"exp":1060,"a":1}"#);
        assert_eq!(with(r#"{"exp":7}"#), r#"{"iat":1000,"exp":7}"#);
        assert_eq!(with(r#"{"iat":1,"exp":7}"#), r#"{"iat":1,"exp":7}"#);
        let exact = r#"{"n": 123456789012345678901234567890.5000, "a":[1,  2]}"#;
        assert!(with(exact).ends_with(&exact[1..]));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "1", "{", "{}x", "\"x\"", "null", "{'a':1}"] {
            assert!(with_times(bad.as_bytes(), Duration::from_secs(1), 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_leeway_is_at_most_five_minutes() {
        for (text, seconds) in [("0s", 0), ("0", 0), ("30s", 30), ("5m", 300)] {
            assert_eq!(parse_leeway(text), Ok(seconds), "{text}");
        }
        for bad in ["301s", "6m", "x", "-1s", ""] {
            assert!(parse_leeway(bad).is_err(), "{bad}");
        }
    }
}

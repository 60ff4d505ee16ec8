//! `keyagent report`: what the audit log says of a period, as a document for whoever examines it.
//!
//! It states what was recorded and what could not be seen; it never judges whether a control is met.

mod controls;
mod evidence;
mod markdown;

use clap::Args;
use keyagent_client::Connection;
use keyagent_common::op::{Empty, Status};

use super::audit::{ALL, filter, pages, pages::Span, verify};
use crate::{
    agent_status::AgentStatus,
    audit_line::AuditLine,
    command::{NEGATIVE, OK, keys},
    console,
    failure::{Failure, usage},
    session::Session,
    utc::{self, Edge},
};
use evidence::{Evidence, Period, Verification};

/// `keyagent report`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A quarter, such as 2026Q4
    #[arg(long, value_name = "QUARTER", required_unless_present = "since", conflicts_with_all = ["since", "until"])]
    quarter: Option<String>,
    /// Not before: 90d (ago), 2026-10-01 or 2026-10-01T00:00:00Z; UTC
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after; a day counts to its end [default: now]
    #[arg(long, value_name = "TIME", requires = "since")]
    until: Option<String>,
    /// Do not recompute the chain of the log
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    verify: verify::VerifyArguments,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let period = period(arguments, utc::now())?;
    let mut connection = session.connect()?;
    let mut evidence = gather(session, &mut connection, period)?;
    evidence.verification = verification(session, arguments);
    if session.console.json {
        console::print_json(&evidence)?;
    } else {
        console::print(&markdown::document(&evidence))?;
    }
    Ok(if evidence.verification.whole == Some(false) { NEGATIVE } else { OK })
}

fn period(arguments: &Arguments, now: u64) -> Result<Period, Failure> {
    if let Some(quarter) = &arguments.quarter {
        let (from, to) = utc::parse_quarter(quarter)
            .map_err(|why| usage("not a quarter").why(why).fix("keyagent report --quarter 2026Q4"))?;
        return Ok(Period::new(from, to, now));
    }
    let from = filter::time(arguments.since.as_deref(), now, Edge::Begin)?.unwrap_or(0);
    let to = filter::time(arguments.until.as_deref(), now, Edge::End)?.unwrap_or(now);
    if from > to {
        return Err(usage("--since is later than --until").into());
    }
    Ok(Period::new(from, to, now))
}

fn gather(session: &Session<'_>, connection: &mut Connection, period: Period) -> Result<Evidence, Failure> {
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let mut evidence = Evidence::new(period, &status);
    let span = Span { from_micros: evidence.from_micros, to_micros: evidence.to_micros, ..ALL };
    let extent = pages::read(connection, span, &mut |raw| {
        match pages::parse(session.console, raw) {
            Some(line) => evidence.add(&line),
            None => evidence.log.unreadable += 1,
        }
        Ok(())
    })?;
    let mut oldest = None;
    let first = Span { from_seq: extent.first_seq, to_seq: extent.first_seq, ..ALL };
    pages::read(connection, first, &mut |raw| {
        oldest = AuditLine::parse(raw).and_then(|line| line.unix_micros());
        Ok(())
    })?;
    evidence.set_extent(extent, oldest);
    // A locked agent knows no keys; its log can be read all the same.
    match keys::all(connection) {
        Ok(keys) => evidence.set_keys(keys),
        Err(Failure::Report(report)) => evidence.keys_unknown = Some(report.what),
        Err(failure) => return Err(failure),
    }
    Ok(evidence)
}

fn verification(session: &Session<'_>, arguments: &Arguments) -> Verification {
    if arguments.no_verify {
        return Verification::not_run("--no-verify was given");
    }
    match verify::verify(session, &arguments.verify) {
        Ok(verdict) => Verification { whole: Some(verdict.whole), why: None, found: verdict.document },
        Err(Failure::Report(report)) => Verification::not_run(&report.what),
        Err(Failure::Passed(passed)) => {
            let first = passed.text.lines().find(|line| !line.is_empty()).unwrap_or("keyagentd refused");
            Verification::not_run(first.strip_prefix("keyagentd: ").unwrap_or(first))
        }
    }
}

#[cfg(test)]
mod tests;

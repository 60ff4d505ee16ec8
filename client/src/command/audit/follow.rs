//! `keyagent audit tail`: the last lines, and with `-f` what is added.
//!
//! Following asks by number twice in a second; it ends with the reader of its output.

use std::{thread, time::Duration};

use clap::Args;
use keyagent_client::Connection;

use super::{ALL, pages, pages::Span, show};
use crate::{command::OK, failure::Failure, session::Session, stdio};

const POLL: Duration = Duration::from_millis(500);

/// `keyagent audit tail`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many lines
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    lines: u64,
    /// Go on with what is added, until interrupted
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let mut connection = session.connect()?;
    let mut last = end(&mut connection)?;
    let from_seq = last.saturating_add(1).saturating_sub(arguments.lines);
    if arguments.lines > 0 && last > 0 {
        let span = Span { from_seq, to_seq: last, ..ALL };
        let mut shown = |raw: &[u8]| show(session.console, raw);
        let done = pages::read(&mut connection, span, &mut shown);
        if arguments.follow && stdio::reader_is_gone() {
            return Ok(OK);
        }
        done?;
    }
    if !arguments.follow {
        return Ok(OK);
    }
    loop {
        thread::sleep(POLL);
        if stdio::reader_is_gone() {
            return Ok(OK);
        }
        let span = Span { from_seq: last + 1, ..ALL };
        let mut shown = |raw: &[u8]| show(session.console, raw);
        match pages::read(&mut connection, span, &mut shown) {
            Ok(extent) => last = last.max(extent.last_seq),
            Err(_) if stdio::reader_is_gone() => return Ok(OK),
            Err(error) => return Err(error),
        }
    }
}

/// Number of the newest line; 0 in an empty log.
fn end(connection: &mut Connection) -> Result<u64, Failure> {
    let nothing = Span { from_seq: u64::MAX, ..ALL };
    Ok(pages::read(connection, nothing, &mut |_| Ok(()))?.last_seq)
}

//! `keyagent random N`: random bytes of the operating system, as the agent's process draws them.
//!
//! Bytes are not written to a terminal; what was drawn is wiped.

use std::io::IsTerminal;

use clap::Args;
use keyagent_common::{envelope::encode_base64, op::MAX_RANDOM_BYTES};
use std::io::Write;
use zeroize::Zeroizing;

use crate::{
    command::{OK, hmac::to_hex},
    failure::{Failure, cannot_write, usage},
    session::Session,
    stdio::Stdout,
};

/// Most bytes that are drawn; more is the business of `/dev/urandom`.
const MOST: u32 = 1 << 20;

/// `keyagent random`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many bytes, 1 to 1048576
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    bytes: u32,
    /// Write hexadecimal digits
    #[arg(long, conflicts_with = "base64")]
    hex: bool,
    /// Write base64url without padding
    #[arg(long)]
    base64: bool,
}

pub(crate) fn run(session: &mut Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { bytes, hex, base64 } = *arguments;
    if !hex && !base64 && std::io::stdout().is_terminal() {
        return Err(usage("refusing to write random bytes to a terminal").fix("--hex or --base64").into());
    }
    if session.console.json {
        return Err(usage("random bytes are no document; without --json they come as they are")
            .fix("keyagent random N --hex")
            .into());
    }
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut drawn = Zeroizing::new(Vec::with_capacity(wanted));
    while drawn.len() < wanted {
        let left = u32::try_from(wanted - drawn.len()).unwrap_or(MOST);
        let more = session.data_connection()?.random(left.min(MAX_RANDOM_BYTES))?;
        if more.len() != usize::try_from(left.min(MAX_RANDOM_BYTES)).unwrap_or_default() {
            return Err(crate::seal::not_sealed(&"fewer bytes than were asked for").into());
        }
        drawn.extend_from_slice(&more);
    }
    let text = match (hex, base64) {
        (true, _) => Zeroizing::new(to_hex(&drawn)),
        (_, true) => Zeroizing::new(encode_base64(&drawn)),
        _ => return write(&drawn),
    };
    write(text.as_bytes())?;
    write(b"\n")
}

fn write(bytes: &[u8]) -> Result<u8, Failure> {
    Stdout.write_all(bytes).map_err(|error| cannot_write("standard output", &error))?;
    Ok(OK)
}

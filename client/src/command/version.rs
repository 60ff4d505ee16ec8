//! `keyagent version`: what this program is. Asks nobody.

use keyagent_common::op::PROTOCOL_VERSION;
use serde::Serialize;

use crate::{
    command::OK,
    console::{self, Console},
    failure::Failure,
};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    version: &'static str,
    protocol: u16,
}

pub(crate) fn run(console: &Console) -> Result<u8, Failure> {
    let document = Document {
        schema: "keyagent.version/1",
        version: env!("CARGO_PKG_VERSION"),
        protocol: PROTOCOL_VERSION,
    };
    if console.json {
        console::print_json(&document)?;
    } else {
        console::print(&format!("keyagent {} (protocol {})\n", document.version, document.protocol))?;
    }
    Ok(OK)
}

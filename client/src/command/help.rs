//! `keyagent help [VERB]` and `keyagent help exit-codes`.

use std::{collections::BTreeMap, fmt::Write};

use clap::{Args, CommandFactory};
use keyagent_common::error::ErrorCode;
use serde::Serialize;

use crate::{
    arguments::CommandLine,
    command::OK,
    console::{self, Console},
    failure::{Failure, usage},
};

const EXIT_CODES: &str = "exit-codes";

/// `keyagent help`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A verb, or exit-codes
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    codes: Vec<CodeDocument>,
}

#[derive(Serialize)]
struct CodeDocument {
    code: u8,
    name: &'static str,
    number: u16,
}

pub(crate) fn run(console: &Console, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.topic.as_deref() == Some(EXIT_CODES) {
        return exit_codes(console);
    }
    let mut command = CommandLine::command();
    command.build();
    let topic = match &arguments.topic {
        None => Some(&mut command),
        Some(verb) => command.find_subcommand_mut(verb),
    };
    let text = topic.map(|command| command.render_long_help().to_string());
    console::print(
        &text.ok_or_else(|| usage("no such topic").fix("keyagent help          keyagent help exit-codes"))?,
    )?;
    Ok(OK)
}

fn exit_codes(console: &Console) -> Result<u8, Failure> {
    let row =
        |code: &ErrorCode| CodeDocument { code: code.exit_code(), name: code.name(), number: *code as u16 };
    let codes: Vec<CodeDocument> = ErrorCode::ALL.iter().map(row).collect();
    if console.json {
        console::print_json(&Document { schema: "keyagent.exit-codes/1", codes })?;
        return Ok(OK);
    }
    let mut by_code: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for row in codes {
        by_code.entry(row.code).or_default().push(row.name);
    }
    let mut text = "EXIT  NAMES\n   0  success\n   1  negative answer (status: locked; health, doctor, audit verify: something failed)\n".to_owned();
    for (code, names) in by_code {
        let _ = writeln!(text, "{code:>4}  {}", names.join(", "));
    }
    console::print(&text)?;
    Ok(OK)
}

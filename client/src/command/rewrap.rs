//! `keyagent rewrap [FILE]...`: what an older version sealed becomes sealed by the primary one.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::{
    arguments::KeyArguments,
    command::{OK, encrypt::parse_context},
    console,
    failure::Failure,
    files::{FileArguments, Job, Naming},
    input::Input,
    output::{Content, Destination, Output},
    rewrap::{
        self, Moved, in_place,
        lines::{self, Counts},
    },
    session::Session,
};
use keyagent_common::context::Context;

/// `keyagent rewrap`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Take one ka1. or kd1. text on each line instead of one value or file
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// Write here; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(short, long)]
    force: bool,
    /// Replace each FILE by its new form; of a large file only 105 bytes are written over
    #[arg(long, conflicts_with_all = ["output", "force"])]
    in_place: bool,
    /// Files to read; none or - is standard input. Several files need --in-place
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    files: Vec<FileDocument>,
}

#[derive(Serialize)]
struct FileDocument {
    input: String,
    output: String,
    kind: &'static str,
    values: u64,
    changed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
}

/// The key is found by its id in the ciphertext; a `--key` is checked for its form and otherwise unused.
pub(crate) fn run(
    session: &mut Session<'_>,
    before: KeyArguments,
    arguments: Arguments,
) -> Result<u8, Failure> {
    let Arguments { lines, key, output, force, in_place, files } = arguments;
    let key = before.merge(key);
    key.key_name()?;
    let context = key.context_bytes()?;
    let context = parse_context(&context)?;
    let jobs = FileArguments::new(output, force, in_place, files).jobs(Naming::None)?;
    let mut document = Document { schema: "keyagent.rewrap/1", files: Vec::new() };
    for job in &jobs {
        let done = if lines { lines_of(session, context, job)? } else { one(session, context, job)? };
        tell(session, &done, jobs.len() > 1);
        document.files.push(done);
    }
    if session.console.json {
        console::say_json(&document);
    }
    Ok(OK)
}

fn one(session: &mut Session<'_>, context: Context<'_>, job: &Job) -> Result<FileDocument, Failure> {
    let Moved { kind, version, changed } = match &job.destination {
        Destination::InPlace { path } if in_place::is_stream(path) => {
            in_place::rewrap(session, context, path)?
        }
        destination => {
            let mut input = Input::open(job.input.as_deref())?;
            let mut output = Output::prepare(destination, content(&mut input)?, &input)?;
            let moved = rewrap::rewrap(session, context, &mut input, &mut output)?;
            finish(output, destination, moved.changed)?;
            moved
        }
    };
    let (input, output) = (job.input_name(), job.output_name());
    Ok(FileDocument { input, output, kind, values: 1, changed: changed.into(), version: Some(version) })
}

fn lines_of(session: &mut Session<'_>, context: Context<'_>, job: &Job) -> Result<FileDocument, Failure> {
    let mut input = Input::open(job.input.as_deref())?;
    let mut output = Output::prepare(&job.destination, Content::Armored, &input)?;
    let Counts { values, changed } = lines::rewrap(session, context, &mut input, &mut output)?;
    finish(output, &job.destination, changed > 0)?;
    let (input, output) = (job.input_name(), job.output_name());
    Ok(FileDocument { input, output, kind: "lines", values, changed, version: None })
}

/// A file that is current is not replaced by itself.
fn finish(output: Output, destination: &Destination, changed: bool) -> Result<(), Failure> {
    if changed || !matches!(destination, Destination::InPlace { .. }) { output.finish() } else { Ok(()) }
}

/// The output has the form of the input.
fn content(input: &mut Input) -> Result<Content, Failure> {
    let text = input.look_ahead(crate::recognise::TELLING_BYTES)?;
    let text = crate::recognise::recognise(text).is_some_and(crate::recognise::Form::is_text);
    Ok(if text { Content::Armored } else { Content::Sealed })
}

fn tell(session: &Session<'_>, done: &FileDocument, several: bool) {
    let FileDocument { input, kind, values, changed, version, .. } = done;
    let words = match version {
        None => format!("{input}: {changed} of {values} values moved, the others are current"),
        Some(version) if *changed > 0 => format!("{input}: {kind} moved to version {version}"),
        Some(version) => format!("{input}: {kind} is current, version {version}"),
    };
    if several {
        session.console.say(&words);
    } else {
        session.console.detail(&words);
    }
}

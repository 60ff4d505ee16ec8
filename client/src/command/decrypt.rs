//! `keyagent decrypt [FILE]...`: ciphertext of any form becomes what it was.

use crate::{
    arguments::KeyArguments,
    command::{OK, backup::OfflineArguments, encrypt::parse_context},
    console,
    failure::{Failure, usage},
    files::{FileArguments, FileDocument, FilesDocument, Job, Naming},
    input::Input,
    open::{self, OpenRequest},
    output::{Content, Output},
    pending::Pending,
    rewrap::in_place,
    session::Session,
    stream::{RangeArguments, StreamArguments},
};
use clap::Args;

/// `keyagent decrypt`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    range: RangeArguments,
    #[command(flatten)]
    stream: StreamArguments,
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    #[command(flatten)]
    offline: OfflineArguments,
    #[command(flatten)]
    files: FileArguments,
}

/// The key is found by its id in the ciphertext; a `--key` is checked for its form and otherwise unused.
pub(crate) fn run(
    session: &mut Session<'_>,
    before: KeyArguments,
    arguments: Arguments,
) -> Result<u8, Failure> {
    let key = before.merge(arguments.key);
    key.key_name()?;
    let context = key.context_bytes()?;
    let context = parse_context(&context)?;
    let (threads, range) = (arguments.stream.threads(), arguments.range.range());
    let request = OpenRequest { context, threads, range };
    let jobs = arguments.files.jobs(Naming::Strip)?;
    arguments.offline.begin(session)?;
    if range.is_some() && jobs.len() > 1 {
        return Err(usage("--offset and --length take a part of one file").into());
    }
    let mut document = FilesDocument { schema: "keyagent.decrypt/1", files: Vec::new() };
    let mut pending = Pending::default();
    for job in &jobs {
        let (done, output) = match open_one(session, &request, job) {
            Ok(done) => done,
            Err(failure) => {
                // What was done before stays done.
                pending.finish(session.console)?;
                return Err(failure);
            }
        };
        let words = (jobs.len() > 1).then(|| format!("{} -> {}", done.input, done.output));
        pending.push(output, words, done.plaintext_bytes, session.console)?;
        document.files.push(done);
    }
    pending.finish(session.console)?;
    if session.console.json {
        console::say_json(&document);
    }
    Ok(OK)
}

fn open_one(
    session: &mut Session<'_>,
    request: &OpenRequest<'_>,
    job: &Job,
) -> Result<(FileDocument, Output), Failure> {
    let mut input = Input::open(job.input.as_deref())?;
    let mut output = Output::prepare(&job.destination, Content::Plain, &input)?;
    let opened = open::open(session, request, &mut input, &mut output);
    let opened = opened.map_err(|failure| interrupted(job, failure))?;
    session.console.detail(&format!("{} of {} bytes", opened.kind, opened.plaintext_bytes));
    let document = FileDocument {
        input: job.input_name(),
        output: job.output_name(),
        kind: opened.kind,
        plaintext_bytes: opened.plaintext_bytes,
    };
    Ok((document, output))
}

/// What does not open because its rewrap was interrupted can be repaired.
fn interrupted(job: &Job, failure: Failure) -> Failure {
    match (failure, job.input.as_deref().map(in_place::journal_of).filter(|journal| journal.exists())) {
        (Failure::Report(report), Some(journal)) => {
            let fix = format!("keyagent rewrap --in-place {}", job.input_name());
            report
                .fact("rewrap", format!("was interrupted: {} lies there", journal.display()))
                .fix(fix)
                .into()
        }
        (failure, _) => failure,
    }
}

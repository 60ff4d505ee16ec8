//! `keyagent encrypt [FILE]...`: files or standard input become ciphertext.

use clap::Args;
use keyagent_common::{context::Context, error::ErrorCode, report::Report};

use crate::{
    arguments::KeyArguments,
    command::OK,
    console,
    failure::Failure,
    files::{FileArguments, FileDocument, FilesDocument, Job, Naming},
    input::Input,
    output::{Content, Output},
    pending::Pending,
    seal::{self, SealRequest},
    session::Session,
    stream::StreamArguments,
};

/// `keyagent encrypt`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write text (ka1. or ks1.) instead of bytes
    #[arg(short, long)]
    armor: bool,
    #[command(flatten)]
    stream: StreamArguments,
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    #[command(flatten)]
    files: FileArguments,
}

pub(crate) fn run(
    session: &mut Session<'_>,
    before: KeyArguments,
    arguments: Arguments,
) -> Result<u8, Failure> {
    let key = before.merge(arguments.key);
    let context = key.context_bytes()?;
    let context = parse_context(&context)?;
    let threads = arguments.stream.threads();
    let request = SealRequest { key: key.key_name()?, context, armor: arguments.armor, threads };
    let jobs = arguments.files.jobs(Naming::Append)?;
    let mut document = FilesDocument { schema: "keyagent.encrypt/1", files: Vec::new() };
    let mut pending = Pending::default();
    for job in &jobs {
        let (done, output) = match seal_one(session, &request, job) {
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

fn seal_one(
    session: &mut Session<'_>,
    request: &SealRequest<'_>,
    job: &Job,
) -> Result<(FileDocument, Output), Failure> {
    let content = if request.armor { Content::Armored } else { Content::Sealed };
    let mut input = Input::open(job.input.as_deref())?;
    let mut output = Output::prepare(&job.destination, content, &input)?;
    let sealed = seal::seal(session, request, &mut input, &mut output)?;
    session.console.detail(&format!(
        "{} of {} bytes, key version {}",
        sealed.kind, sealed.plaintext_bytes, sealed.version
    ));
    let document = FileDocument {
        input: job.input_name(),
        output: job.output_name(),
        kind: sealed.kind,
        plaintext_bytes: sealed.plaintext_bytes,
    };
    Ok((document, output))
}

/// The context that was just encoded.
pub(crate) fn parse_context(bytes: &[u8]) -> Result<Context<'_>, Report> {
    Context::parse(bytes).map_err(|error| {
        Report::new(ErrorCode::Internal, "the context was encoded wrongly").why(error.to_string())
    })
}

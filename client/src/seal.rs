//! Encrypting one input: up to 1 MiB as one message by the agent, beyond that as a stream.
//!
//! Plaintext is kept in buffers that are wiped; nothing plain is ever written.

use keyagent_common::{
    context::Context,
    envelope::{Envelope, Kind, OVERHEAD_BYTES, to_text},
    error::ErrorCode,
    frame::MAX_MESSAGE_BYTES,
    name::KeyName,
    op::{Encrypt, EncryptRequest},
    report::Report,
};

use crate::{failure::Failure, input::Input, output::Output, session::Session, stream};

/// What to seal with.
pub(crate) struct SealRequest<'a> {
    pub(crate) key: KeyName<'a>,
    pub(crate) context: Context<'a>,
    pub(crate) armor: bool,
    /// For a stream; at least 1.
    pub(crate) threads: usize,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// `message` or `stream`.
    pub(crate) kind: &'static str,
    pub(crate) plaintext_bytes: u64,
    pub(crate) version: u32,
}

/// Encrypts the input into the output; the output still has to be finished.
pub(crate) fn seal(
    session: &mut Session<'_>,
    request: &SealRequest<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Sealed, Failure> {
    if input.look_ahead(MAX_MESSAGE_BYTES + 1)?.len() > MAX_MESSAGE_BYTES {
        return stream::seal_stream(session, request, input, output);
    }
    let plaintext = input.look_ahead(0)?;
    let connection = session.data_connection()?;
    let call = EncryptRequest { key: request.key.as_str(), context: request.context.as_bytes(), plaintext };
    let reply = connection.call::<Encrypt>(&call)?;
    check_envelope(reply.envelope, plaintext.len())?;
    if request.armor {
        let mut text = to_text(reply.envelope).map_err(|error| not_sealed(&error))?;
        text.push('\n');
        output.write(text.as_bytes())?;
    } else {
        output.write(reply.envelope)?;
    }
    Ok(Sealed { kind: "message", plaintext_bytes: plaintext.len() as u64, version: reply.version })
}

/// A reply that is no ciphertext of the right size must never be taken for one.
fn check_envelope(envelope: &[u8], plaintext_bytes: usize) -> Result<(), Failure> {
    match Envelope::parse(envelope) {
        Ok(parsed) if parsed.kind == Kind::Message && envelope.len() == plaintext_bytes + OVERHEAD_BYTES => {
            Ok(())
        }
        _ => Err(not_sealed(&"the reply is no encrypted message of the right size").into()),
    }
}

/// What the agent gave cannot be used.
pub(crate) fn not_sealed(why: &dyn ToString) -> Report {
    Report::new(ErrorCode::Malformed, "the agent's reply is no ciphertext; nothing was written")
        .why(why.to_string())
}

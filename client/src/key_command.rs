//! A master key from the output of a command: of a password store, a token, a cloud's key service.
//!
//! The output is read into memory that is wiped and never shown; what the command says on stderr goes
//! to the terminal as it is.

use std::{
    ffi::OsString,
    process::{Child, ExitStatus, Stdio},
};

use keyagent_common::{error::ErrorCode, key_text, report::Report};
use secrecy::ExposeSecretMut;
use zeroize::Zeroizing;

use crate::{
    detached,
    failure::usage,
    input::fill,
    key_file::{self, MasterKey},
};

/// How messages call it: the words of the command could hold a secret.
const NAME: &str = "output of the command";
/// Room for the longest key text, and one byte that shows that it is too long.
const OUTPUT_BYTES: usize = key_text::MAX_TEXT_BYTES + 1;

/// Runs a command to its end and takes its output for the key.
pub(crate) fn run(words: &[OsString]) -> Result<MasterKey, Report> {
    let [program, arguments @ ..] = words else {
        return Err(usage("--command needs a command").fix("keyagent unlock --command -- PROGRAM ARGUMENTS"));
    };
    let failed = |error: std::io::Error| {
        Report::new(ErrorCode::KeyMissing, "the command that prints the key cannot be run")
            .why(error.to_string())
    };
    let mut command = detached::in_same_session(program);
    let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
    let read = match child.stdout.take() {
        Some(mut stdout) => fill(&mut stdout, &mut *output),
        None => Ok(0),
    };
    // Whoever goes on writing meets a closed pipe; who neither writes nor ends is waited for.
    let status = end(&mut child, matches!(read, Ok(OUTPUT_BYTES) | Err(_))).map_err(failed)?;
    let count = read.map_err(failed)?;
    if count == OUTPUT_BYTES {
        return Err(Report::new(ErrorCode::KeyMalformed, "the command prints more than a key")
            .fact("most", format!("{} bytes", key_text::MAX_TEXT_BYTES)));
    }
    if !status.success() {
        return Err(Report::new(ErrorCode::KeyMissing, "the command that prints the key failed")
            .fact("ended", status.to_string())
            .fix("run it by hand to see why"));
    }
    decode(output.get(..count).unwrap_or_default())
}

fn end(child: &mut Child, too_much: bool) -> std::io::Result<ExitStatus> {
    if too_much {
        child.kill()?;
    }
    child.wait()
}

/// 32 bytes as they are, or the text of a key; one final newline is not part of either.
fn decode(output: &[u8]) -> Result<MasterKey, Report> {
    let trimmed = output.strip_suffix(b"\n").unwrap_or(output);
    let raw: Result<&[u8; key_text::KEY_BYTES], _> = output.try_into().or_else(|_| trimmed.try_into());
    let Ok(raw) = raw else { return key_file::plain(output, NAME) };
    let mut key = MasterKey::init_with_mut(|_| {});
    key_text::check(raw).map_err(|error| key_file::unusable(NAME, &error))?;
    key.expose_secret_mut().copy_from_slice(raw);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const HEX: &[u8] = b"8f1d3c5b7a9988776655443322110fe1d2c3b4a5968778695a4b3c2d1e0f1234";

    #[test]
    fn bytes_and_texts_give_the_same_key() {
        let mut raw = hex::decode(HEX).unwrap();
        for output in [HEX, &[HEX, b"\n"].concat(), &raw, &[&raw[..], b"\n"].concat()] {
            assert_eq!(decode(output).unwrap().expose_secret()[..], raw);
        }
        raw[31] = b'\n';
        assert_eq!(decode(&raw).unwrap().expose_secret()[..], raw, "a final byte that looks like a newline");
        for bad in [&b""[..], b"\n", &HEX[1..], &[HEX, b"\n\n"].concat(), &raw[1..], &[7; 32]] {
            assert_eq!(decode(bad).unwrap_err().code, ErrorCode::KeyMalformed);
        }
    }
}

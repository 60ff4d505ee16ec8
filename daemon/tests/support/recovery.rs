//! Whether a state that a crash or fault left behind is sound: the detector of the crash tests.

use std::fs;

use keyagent_common::context::EMPTY;

use super::{Daemon, Finished, Home, client, eventually, log};

/// Which refusals are clean, with the fix that must then work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Every acknowledged value opens after a plain start.
    PlainStart,
    /// Killed while it was made: a refusal whose fix works is clean too.
    UnderConstruction,
    /// A keyring was replaced on purpose: the old log's pin may have to be waived.
    UnderReplacement,
}

/// Starts what is there, applying the fix that a refusal names where that is clean; everything acknowledged
/// must open and be recorded, and the next plain start must work.
pub(crate) fn recover(home: &Home, expect: Expect, acknowledged: &[Vec<u8>]) -> Result<(), String> {
    if let Ok(text) = fs::read_to_string(home.key())
        && (text.len() != 65 || !text.trim_end().bytes().all(|digit| digit.is_ascii_hexdigit()))
    {
        return Err("half a key".into());
    }
    let daemon = start(home, &[]).or_else(|refused| {
        let fix = clean_fix(&refused, expect).ok_or_else(|| format!("not clean: {refused:?}"))?;
        start(home, &[fix]).map_err(|refused| format!("{fix} does not help: {refused:?}"))
    })?;
    let mut connection = daemon.client();
    for envelope in acknowledged {
        connection.decrypt(EMPTY, envelope).map_err(|error| format!("an acknowledged value: {error}"))?;
    }
    connection.encrypt(EMPTY, b"and new ones").map_err(|error| error.to_string())?;
    drop(connection);
    daemon.terminate();
    log::try_verify(home)?;
    let encrypts = log::count(&log::unverified_lines(home), "encrypt");
    if encrypts < acknowledged.len() + 1 {
        return Err(format!("{encrypts} records of {} values", acknowledged.len() + 1));
    }
    start(home, &[]).map_err(|refused| format!("the next start: {refused:?}"))?.terminate();
    let left = fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().file_name());
    match left.into_iter().find(|name| name.as_encoded_bytes().ends_with(b".tmp")) {
        Some(name) => Err(format!("{name:?} was left")),
        None => Ok(()),
    }
}

fn clean_fix(refused: &Finished, expect: Expect) -> Option<&'static str> {
    let fixes = [
        ("code 78 KEY_MISSING\n", "--init"),
        ("code 78 KEYRING_MISSING\n", "--new-keyring"),
        ("code 65 AUDIT_TAMPERED\n", "--accept-rollback"),
        ("code 65 ROLLBACK\n", "--accept-rollback"),
    ];
    let allowed = match expect {
        Expect::PlainStart => 0,
        Expect::UnderConstruction => 2,
        Expect::UnderReplacement => 4,
    };
    let clean = fixes.iter().take(allowed).find(|(code, _)| refused.stderr.ends_with(code));
    clean.map(|(_, fix)| *fix)
}

/// A daemon that serves, or how it ended.
pub(crate) fn start(home: &Home, arguments: &[&str]) -> Result<Daemon, Finished> {
    let mut command = home.command();
    command.args(arguments);
    serve_or_end(Daemon::spawn(command, &home.socket()))
}

/// Waits until a daemon serves or has ended.
pub(crate) fn serve_or_end(mut daemon: Daemon) -> Result<Daemon, Finished> {
    let mut ended = false;
    eventually("it serves or ends", || {
        ended = daemon.has_ended();
        ended || client::answers(daemon.socket())
    });
    if ended { Err(daemon.wait()) } else { Ok(daemon) }
}

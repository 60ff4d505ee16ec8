//! `keyagentd --verify-audit`: the whole log against keyring and pin, in a process of its own that ends.
//!
//! Reads the master key as a start does, on the same locked stack, and takes no lock: a daemon may be running and
//! append, rotate and delete meanwhile; what it writes after this began is not looked at. Must never write, move or
//! make anything, and never say more of a line than its place.

use std::{fmt::Write as _, io, path::Path};

use keyagent_common::{error::ErrorCode, kdf, layout::Layout, report::Report};
use keyagent_core::{
    audit::{
        AuditRoot,
        verify::{AuditError, Expected, FoundBridges, Mark, Start, Verified, Verifier},
    },
    keyring::Keyring,
    pin::Pin,
};
use keyagent_sys::{
    memory::LockedArena,
    thread::{clear_vector_registers, scrub_stack},
};

use crate::{
    daemon::Setup,
    history::{self, LogFiles},
    report::quote,
    source::{Found, Sources},
    store,
};

/// Locked memory for the keys of one keyring.
const ARENA_BYTES: usize = 64 << 10;
/// A running daemon may commit, rotate or delete while this reads: only what is found every time is a finding.
const ATTEMPTS: u32 = 3;

/// What was found.
struct Findings {
    verified: Verified,
    pinned_seq: Option<u64>,
    problems: Vec<Problem>,
}

struct Problem {
    file: String,
    line: Option<u64>,
    seq: Option<u64>,
    what: String,
}

impl Problem {
    fn of_file(path: &Path, what: String) -> Self {
        Self { file: path.display().to_string(), line: None, seq: None, what }
    }
}

/// Prints one line of JSON; whether everything is in order.
pub(crate) fn run(setup: Setup) -> Result<bool, Report> {
    let Setup { layout, sources, lock_policy, expected_key_id, .. } = setup;
    let arena =
        LockedArena::new(ARENA_BYTES, lock_policy).map_err(|error| crate::memory_not_locked(&error))?;
    let findings = verify(&layout, sources, &arena, expected_key_id.as_deref());
    scrub_stack();
    clear_vector_registers();
    let findings = findings?;
    crate::say_on_stdout(&findings.to_json())?;
    Ok(findings.problems.is_empty())
}

#[inline(never)]
fn verify(
    layout: &Layout,
    sources: Sources,
    arena: &LockedArena,
    expected: Option<&str>,
) -> Result<Findings, Report> {
    let master = match sources.find(arena)? {
        Found::Plain(master, _) => master,
        Found::Protected { path, .. } => {
            return Err(Report::new(ErrorCode::KeyMissing, "the master key is protected by a passphrase")
                .fact("file", path.display().to_string())
                .why("keyagentd asks nobody for one")
                .fix("keyagent audit verify          (it asks, and hands the key over with --key-fd)"));
        }
    };
    let print = kdf::master_fingerprint(&master);
    store::check_expected(expected, &print)?;
    let mut attempts = 1;
    loop {
        let (keyring, root) =
            store::read(layout, arena, &master)?.ok_or_else(|| store::keyring_missing(layout, &print))?;
        match look(layout, &keyring, &root) {
            Ok(findings) if findings.problems.is_empty() || attempts == ATTEMPTS => return Ok(findings),
            Err(report) if attempts == ATTEMPTS => return Err(report),
            _ => attempts += 1,
        }
    }
}

/// One look: the pin first, so that whatever is read afterwards reaches at least as far.
fn look(
    layout: &Layout,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
) -> Result<Findings, Report> {
    let mut problems = Vec::new();
    let pin = match history::furthest_pin(layout, keyring, root) {
        Ok(pin) => Some(pin),
        Err(report) if matches!(report.code, ErrorCode::Rollback | ErrorCode::AuditTampered) => {
            let what = format!("{}: {}", report.what.trim_start_matches("refusing to start: "), report.why);
            problems.push(Problem::of_file(&layout.audit_pin, what));
            None
        }
        Err(report) => return Err(report),
    };
    let log = LogFiles::open(&layout.audit_log)
        .map_err(|error| history::log_unreadable(&layout.audit_log, &error))?;
    let (verified, error) = walk(&log, keyring, root, pin.as_ref())
        .map_err(|(path, error)| history::log_unreadable(path, &error))?;
    if let Some(AuditError { file, line, seq, why }) = error {
        let file = log.path(file).unwrap_or(&layout.audit_log).display().to_string();
        problems.push(Problem { file, line: Some(line), seq: Some(seq), what: why.to_string() });
    } else if let Some(pin) = &pin
        && !history::is_in_step(keyring, &verified, pin)
    {
        let what = format!("generation {} is not the one that the log names last", keyring.generation());
        problems.push(Problem::of_file(&layout.keyring, what));
    }
    Ok(Findings { verified, pinned_seq: pin.map(|pin| pin.seq), problems })
}

/// Twice if the log holds keys of bridges.
fn walk<'l>(
    log: &'l LogFiles,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
    pin: Option<&Pin>,
) -> Result<(Verified, Option<AuditError>), (&'l Path, io::Error)> {
    let mut bridges = FoundBridges::none();
    loop {
        let expected = Expected {
            root: Some(root),
            keyring_id: keyring.keyring_id(),
            pin,
            bridges: &bridges,
            own_bridge: None,
        };
        let mut verifier = Verifier::new(Start::Oldest, expected);
        log.push_to(&mut verifier)?;
        match verifier.found_bridges() {
            Some(found) => bridges = found,
            None => return Ok(verifier.finish_in_part()),
        }
    }
}

impl Findings {
    /// `keyagent.audit_verify/1`, in one line.
    fn to_json(&self) -> String {
        let Verified {
            files,
            lines,
            segments,
            first,
            last,
            after_pin,
            unauthenticated,
            unfinished_bytes,
            ..
        } = &self.verified;
        let number = |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
        let time = |mark: &Option<Mark>| {
            let text = mark.as_ref().map(|mark| quote(&String::from_utf8_lossy(&mark.timestamp)));
            text.unwrap_or("null".to_owned())
        };
        let ranges: Vec<String> = unauthenticated
            .iter()
            .map(|range| format!("{{\"first_seq\":{},\"last_seq\":{}}}", range.first_seq, range.last_seq))
            .collect();
        let problems: Vec<String> = self.problems.iter().map(Problem::to_json).collect();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{{\"schema\":\"keyagent.audit_verify/1\",\"ok\":{},\"files\":{files},\"lines\":{lines},\
             \"segments\":{segments},\"first_seq\":{},\"last_seq\":{},\"first_time\":{},\"last_time\":{},\
             \"pinned_seq\":{},\"after_pin\":{after_pin},\"unfinished_bytes\":{unfinished_bytes},\
             \"unauthenticated\":[{}],\"problems\":[{}]}}",
            self.problems.is_empty(),
            number(first.map(|mark| mark.seq)),
            number(last.map(|mark| mark.seq)),
            time(first),
            time(last),
            number(self.pinned_seq),
            ranges.join(","),
            problems.join(","),
        );
        text
    }
}

impl Problem {
    fn to_json(&self) -> String {
        let number = |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
        let Self { file, line, seq, what } = self;
        let (line, seq) = (number(*line), number(*seq));
        format!("{{\"file\":{},\"line\":{line},\"seq\":{seq},\"what\":{}}}", quote(file), quote(what))
    }
}

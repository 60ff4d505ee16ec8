//! The audit log as its owner can check it: opened with the master key, every mac recomputed.

use std::{fs, path::PathBuf};

use keyagent_core::{
    arena::HeapArena,
    audit::{
        AuditRoot,
        verify::{self, Start, Verified},
    },
    entropy::{Entropy, EntropyFailed},
    keyring::Keyring,
};
use serde_json::Value;

use super::Home;

/// The operating system's randomness, for keyrings that a test makes itself.
pub(crate) struct TestEntropy;

impl Entropy for TestEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        keyagent_sys::random::fill(out).map_err(|_| EntropyFailed)
    }
}

/// The keyring of a home, opened with its key file.
pub(crate) fn open_keyring(home: &Home) -> (Keyring<HeapArena>, AuditRoot<HeapArena>) {
    let bytes = fs::read(home.state_file("keyring")).unwrap();
    Keyring::open(&HeapArena, &bytes, &home.master()).unwrap()
}

/// Verifies the whole log against keyring and pin, as the daemon would at its next start.
pub(crate) fn verify(home: &Home) -> Verified {
    try_verify(home).unwrap()
}

/// The same; what is wrong, if anything is.
pub(crate) fn try_verify(home: &Home) -> Result<Verified, String> {
    let read = |name: &str| fs::read(home.state_file(name)).map_err(|error| format!("{name}: {error}"));
    let (keyring, root) =
        Keyring::open(&HeapArena, &read("keyring")?, &home.master()).map_err(|error| error.to_string())?;
    let pin = keyring.open_pin(&read("audit.pin")?).map_err(|error| error.to_string())?;
    let pins = [Some(&pin), keyring.pin()];
    let furthest = pins.into_iter().flatten().max_by_key(|pin| pin.seq);
    let files = log_files(home).into_iter().map(|path| fs::read(&path).map_err(|error| error.to_string()));
    let files: Vec<Vec<u8>> = files.collect::<Result<_, _>>()?;
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let verified = verify::verify(&files, Start::Oldest, &root, keyring.keyring_id(), furthest);
    let verified = verified.map_err(|error| error.to_string())?;
    if !verified.accepts_keyring(keyring.generation(), keyring.head_digest()) {
        return Err("keyring and log are out of step".into());
    }
    Ok(verified)
}

/// The files of the log, the oldest first.
pub(crate) fn log_files(home: &Home) -> Vec<PathBuf> {
    let current = home.state_file("audit.log");
    let folder = current.parent().unwrap();
    let mut rotated: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("audit-") && path.extension().is_some_and(|ending| ending == "log")
        })
        .collect();
    rotated.sort();
    rotated.push(current);
    rotated
}

/// Every line of the log, after [`verify`]; none may be unfinished.
pub(crate) fn lines(home: &Home) -> Vec<Value> {
    let verified = verify(home);
    assert_eq!(verified.unfinished_bytes, 0);
    let lines = unverified_lines(home);
    assert_eq!(lines.len() as u64, verified.lines);
    lines
}

/// Every line of the log, whatever its mac.
pub(crate) fn unverified_lines(home: &Home) -> Vec<Value> {
    unverified_lines_of(home, 0)
}

/// The same without the bytes that a crash left behind the last complete group.
pub(crate) fn unverified_lines_of(home: &Home, cut_bytes: u64) -> Vec<Value> {
    let files = log_files(home);
    let log: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    log[..log.len() - usize::try_from(cut_bytes).unwrap()]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// How many lines have this event.
pub(crate) fn count(lines: &[Value], event: &str) -> usize {
    lines.iter().filter(|line| line["event_type"] == event).count()
}

/// The events in order.
pub(crate) fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event_type"].as_str().unwrap()).collect()
}

//! Rotation: nothing lost, whatever fails or ends in between.

use std::sync::{Arc, atomic::AtomicU64};

use super::*;

/// Steps of one rotation, in order.
const STEPS: [&str; 9] = [
    "sync the old file",
    "create",
    "write",
    "sync the new file",
    "rename the old file",
    "sync the folder",
    "rename the new file",
    "sync the folder again",
    "end",
];

fn fill(log: &AuditLog) {
    while !log.lock().rotation_due() {
        append_many(log, 1);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_grew_is_followed_by_another_on_the_same_chain() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(small_files());
    assert!(!log.rotate_when_due().unwrap(), "too early");
    fill(&log);
    let before = log.standing();
    assert!(log.rotate_when_due().unwrap());
    assert_eq!(names(folder.path()), ["audit-00000000000000000001.log", "audit.log"]);
    let current = std::fs::read_to_string(log_path(folder.path())).unwrap();
    let line: serde_json::Value = serde_json::from_str(current.trim_end()).unwrap();
    assert_eq!(line["event_type"], "audit.file");
    assert_eq!(line["seq"], before.seq + 1);
    assert_eq!(line["metadata"]["segment"], 1);
    assert_eq!(line["metadata"]["group"], before.seq, "every group had one line");
    assert!(log.check().is_ok());
    // The pin reaches over the rotation, and the next file after a restart knows its beginning.
    assert_eq!(log.sync_for_pin().unwrap().unwrap().seq, before.seq + 1);
    drop(log);
    let log = open(folder.path());
    assert_eq!(log.lock().first_seq, before.seq + 1);
    assert_eq!(lines_in_order(folder.path()), log.standing().seq);
}

#[test]
fn a_file_that_is_old_is_followed_by_another_once_it_has_two_lines() {
    const BEGIN: u64 = 4_000_000_000_000_000;
    const HOUR: u64 = 3_600_000_000;
    let folder = folder();
    let log = open(folder.path());
    log.configure(LogSettings {
        rotate_age: Some(std::time::Duration::from_hours(1)),
        ..LogSettings::default()
    });
    log.lock().time = Some(BEGIN);
    assert!(!log.rotate_when_due().unwrap(), "one line only");
    append_many(&log, 1);
    assert!(log.rotate_when_due().unwrap(), "its first line is of today");
    append_many(&log, 1);
    log.lock().time = Some(BEGIN + HOUR - 1);
    assert!(!log.rotate_when_due().unwrap(), "too early");
    log.lock().time = Some(BEGIN + HOUR);
    assert!(log.rotate_when_due().unwrap());
    log.lock().time = Some(BEGIN + 9 * HOUR);
    assert!(!log.rotate_when_due().unwrap(), "nothing happened since");
    assert_eq!(lines_in_order(folder.path()), 5);
}

#[test]
fn four_threads_write_while_files_rotate_and_no_line_is_missing() {
    const ROTATIONS: u64 = 10;
    let folder = folder();
    let log = open(folder.path());
    log.configure(LogSettings { rotate_bytes: 16 << 10, ..LogSettings::default() });
    let (rotations, written) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (log, rotations, written) = (&log, &rotations, &written);
            scope.spawn(move || {
                for round in thread.. {
                    let lines = 1 + round % 3;
                    log.append(&[request(); 3][..lines]).unwrap();
                    written.fetch_add(lines as u64, Ordering::SeqCst);
                    if rotations.load(Ordering::SeqCst) == ROTATIONS {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
            });
        }
        while rotations.load(Ordering::SeqCst) < ROTATIONS {
            let rotated = log.rotate_when_due().unwrap();
            log.sync_for_pin().unwrap();
            rotations.fetch_add(rotated.into(), Ordering::SeqCst);
        }
    });
    let lines = 1 + written.load(Ordering::SeqCst) + ROTATIONS;
    assert_eq!(lines_in_order(folder.path()), lines);
    let rotated = archive::rotated_files(&log_path(folder.path())).unwrap();
    assert_eq!(rotated.len() as u64, ROTATIONS);
    drop(log);
    open(folder.path());
    assert_eq!(lines_in_order(folder.path()), lines + 1);
}

/// The end of the daemon between any two steps: the folder as it was before each of them.
#[test]
fn killed_before_any_step_the_next_start_goes_on() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(small_files());
    fill(&log);
    let written = log.standing().seq;
    let snapshots = Arc::new(Mutex::new(Vec::new()));
    let (source, taken) = (folder.path().to_path_buf(), Arc::clone(&snapshots));
    *log.steps.lock().unwrap() = Some(Box::new(move |step| {
        let copy = super::folder();
        for name in names(&source) {
            std::fs::copy(source.join(&name), copy.path().join(&name)).unwrap();
        }
        taken.lock().unwrap().push((step, copy));
        Ok(())
    }));
    assert!(log.rotate_when_due().unwrap());
    let snapshots = std::mem::take(&mut *snapshots.lock().unwrap());
    assert_eq!(snapshots.iter().map(|(step, _)| *step).collect::<Vec<_>>(), STEPS);
    for (step, copy) in snapshots {
        let log = open(copy.path());
        let seq = log.standing().seq;
        // The new segment's line, and the line of the new file if that got its name.
        assert!((written + 1..=written + 2).contains(&seq), "{step}: {seq}");
        append_many(&log, 2);
        assert_eq!(lines_in_order(copy.path()), seq + 2, "{step}");
        assert!(!names(copy.path()).contains(&"audit.log.new".into()), "{step}");
        log.configure(small_files());
        fill(&log);
        assert!(log.rotate_when_due().unwrap(), "{step}");
        assert!(log.check().is_ok(), "{step}");
        assert_eq!(lines_in_order(copy.path()), log.standing().seq, "{step}");
    }
}

#[test]
fn a_step_that_fails_costs_no_line_and_is_an_alert() {
    // From the second renaming on it cannot fail any more.
    for failing in &STEPS[..7] {
        let folder = folder();
        let log = open(folder.path());
        log.configure(small_files());
        fill(&log);
        let full = log.standing().seq;
        *log.steps.lock().unwrap() = Some(Box::new(move |step| {
            if step == *failing { Err(io::Error::other("as the test wants")) } else { Ok(()) }
        }));
        let error = log.rotate_when_due().unwrap_err();
        assert!(error.to_string().contains("as the test wants"), "{failing}: {error}");
        assert_eq!(names(folder.path()), ["audit.log"], "{failing}");
        // Told once; requests go on.
        assert!(!log.rotate_when_due().unwrap(), "{failing}");
        append_many(&log, 2);
        assert_eq!(log.usage().warnings[0].kind, "audit_rotation", "{failing}");
        assert_eq!(lines_in_order(folder.path()), full + 3, "{failing}");
        let text = String::from_utf8(whole(folder.path())).unwrap();
        assert_eq!(text.matches("\"event_type\":\"alert\"").count(), 1, "{failing}");
        assert!(log.check().is_ok());
        // Once it works again, all is as if nothing had been.
        *log.steps.lock().unwrap() = None;
        assert!(log.rotate_when_due().unwrap(), "{failing}");
        assert_eq!(log.usage().warnings, [], "{failing}");
        assert_eq!(lines_in_order(folder.path()), full + 4, "{failing}");
    }
}

#[test]
fn a_log_that_cannot_be_renamed_back_goes_on_under_its_new_name() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(small_files());
    fill(&log);
    *log.steps.lock().unwrap() = Some(Box::new(|step| match step {
        "rename the new file" | "rename back" => Err(io::Error::other("no")),
        _ => Ok(()),
    }));
    assert!(log.rotate_when_due().is_err());
    assert_eq!(names(folder.path()), ["audit-00000000000000000001.log"]);
    append_many(&log, 2);
    assert!(log.check().is_ok());
    log.sync_for_pin().unwrap().unwrap();
    let seq = log.standing().seq;
    assert_eq!(lines_in_order(folder.path()), seq);
    // A start at this point finds everything, and so does the next attempt.
    let copy = super::folder();
    let name = &names(folder.path())[0];
    std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    assert_eq!(open(copy.path()).standing().seq, seq + 1);
    assert_eq!(lines_in_order(copy.path()), seq + 1);
    *log.steps.lock().unwrap() = None;
    assert!(log.rotate_when_due().unwrap());
    assert_eq!(names(folder.path()), [name.as_str(), "audit.log"]);
    append_many(&log, 1);
    assert_eq!(lines_in_order(folder.path()), seq + 2);
}

#[test]
fn a_failure_does_not_wake_whoever_rotates_for_every_line() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(small_files());
    fill(&log);
    assert!(log.lock().rotation.announced);
    *log.steps.lock().unwrap() = Some(Box::new(|_| Err(io::Error::other("no"))));
    assert!(log.rotate_when_due().is_err());
    assert!(log.lock().rotation.announced, "the next line would announce it again");
}

#[test]
fn what_stands_in_the_place_of_a_rotated_file_is_not_replaced() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(small_files());
    fill(&log);
    let there = archive::rotated_path(&log_path(folder.path()), 1);
    std::fs::write(&there, b"kept").unwrap();
    assert!(log.rotate_when_due().unwrap_err().to_string().contains("is there already"));
    assert_eq!(std::fs::read(&there).unwrap(), b"kept");
    std::fs::remove_file(&there).unwrap();
    // Nor is a file renamed that is not the one written to.
    let path = log_path(folder.path());
    std::fs::rename(&path, folder.path().join("moved")).unwrap();
    std::fs::write(&path, b"another").unwrap();
    assert!(!log.rotate_when_due().unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"another");
    assert!(log.usage().warnings[0].message.contains("another file"));
}

#[test]
fn a_new_folder_name_that_was_not_synced_is_synced_before_the_pin() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(small_files());
    fill(&log);
    *log.steps.lock().unwrap() =
        Some(Box::new(
            |step| {
                if step == "sync the folder again" { Err(io::Error::other("no")) } else { Ok(()) }
            },
        ));
    assert!(log.rotate_when_due().unwrap());
    assert!(log.lock().folder_unsynced);
    log.sync_for_pin().unwrap().unwrap();
    assert!(!log.lock().folder_unsynced);
}

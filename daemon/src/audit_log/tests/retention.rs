//! Retention and budget, with a clock of the test's own.

use std::time::Duration;

use super::*;

const DAY: u64 = 86_400_000_000;
/// Later than any line that a test writes with the real clock.
const BEGIN: u64 = 4_000_000_000_000_000;

/// A log of `files` rotated files, one a day, and a current one.
fn log_of_days(folder: &Path, files: u64) -> AuditLog {
    let log = open(folder);
    log.configure(LogSettings { rotate_bytes: 4096, ..LogSettings::default() });
    for day in 0..files {
        log.lock().time = Some(BEGIN + day * DAY);
        while !log.lock().rotation_due() {
            append_many(&log, 1);
        }
        log.lock().time = Some(BEGIN + (day + 1) * DAY);
        assert!(log.rotate_when_due().unwrap());
    }
    log
}

/// As an unlocked daemon does whose pin follows the log.
fn enforce(log: &AuditLog, now: u64) -> Result<u64, AuditUnwritable> {
    log.enforce_retention(now, log.standing().seq)
}

fn starts(folder: &Path) -> Vec<u64> {
    archive::rotated_files(&log_path(folder)).unwrap().into_iter().map(|(start, _)| start).collect()
}

/// What the last line `audit.retention` says: `first_seq`, `files`, `reason`.
fn last_retention(folder: &Path) -> Option<(u64, u64, String)> {
    let text = String::from_utf8(whole(folder)).unwrap();
    let line = text.lines().rfind(|line| line.contains("\"event_type\":\"audit.retention\""))?;
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let data = &line["metadata"];
    let number = |name: &str| data[name].as_u64().unwrap();
    Some((number("first_seq"), number("files"), data["reason"].as_str().unwrap().into()))
}

#[test]
fn files_go_when_their_last_line_is_old_and_that_is_recorded() {
    let folder = folder();
    let log = log_of_days(folder.path(), 4);
    log.configure(LogSettings { keep: Duration::from_hours(48), ..LogSettings::default() });
    let before = starts(folder.path());
    // The first file ended after one day, so it goes after three.
    assert_eq!(enforce(&log, BEGIN + 3 * DAY).unwrap(), 0);
    assert_eq!(last_retention(folder.path()), None);
    assert_eq!(enforce(&log, BEGIN + 4 * DAY + 1).unwrap(), 2);
    assert_eq!(starts(folder.path()), before[2..]);
    assert_eq!(last_retention(folder.path()), Some((before[2], 2, "age".into())));
    assert_eq!(log.usage().oldest_seq, before[2]);
    assert_eq!(lines_in_order(folder.path()), log.standing().seq);
    // In the year after everything but the current file goes, and that stays for ever.
    assert_eq!(enforce(&log, BEGIN + 365 * DAY).unwrap(), 2);
    assert_eq!(enforce(&log, BEGIN + 999 * DAY).unwrap(), 0);
    assert_eq!((starts(folder.path()), log.usage().files), (vec![], 1));
    let current = log.lock().first_seq;
    assert_eq!(last_retention(folder.path()), Some((current, 2, "age".into())));
    assert!(log.check().is_ok());
    assert_eq!(lines_in_order(folder.path()), log.standing().seq);
    drop(log);
    assert_eq!(open(folder.path()).usage().oldest_seq, current);
}

#[test]
fn neither_the_file_of_the_pin_nor_one_behind_it_goes() {
    let folder = folder();
    let log = log_of_days(folder.path(), 4);
    log.configure(LogSettings { keep: Duration::from_secs(1), budget_bytes: 1, ..LogSettings::default() });
    let (before, late) = (starts(folder.path()), BEGIN + 99 * DAY);
    for pinned in [0, 1, before[1] - 1] {
        assert_eq!(log.enforce_retention(late, pinned).unwrap(), 0, "{pinned}");
    }
    assert_eq!(last_retention(folder.path()), None);
    assert_eq!(log.enforce_retention(late, before[1]).unwrap(), 1);
    assert_eq!(log.enforce_retention(late, before[3] - 1).unwrap(), 1);
    assert_eq!(starts(folder.path()), before[2..]);
    // It is tried again once the pin has followed, and not for ever.
    let is_told = || log.tidying_waits.load(Ordering::Relaxed);
    assert!(is_told());
    log.pinned();
    assert!(!is_told());
    assert_eq!(enforce(&log, late).unwrap(), 2);
    assert!(!is_told());
    assert_eq!(lines_in_order(folder.path()), log.standing().seq);
}

#[test]
fn over_the_budget_the_oldest_go_until_it_fits() {
    let folder = folder();
    let log = log_of_days(folder.path(), 5);
    let (before, usage) = (starts(folder.path()), log.usage());
    let budget_bytes = usage.bytes - 2000;
    log.configure(LogSettings { budget_bytes, ..LogSettings::default() });
    assert_eq!(log.usage().warnings[0].kind, "audit_budget");
    assert!(log.usage().percent > 100);
    assert_eq!(enforce(&log, BEGIN + 9 * DAY).unwrap(), 1);
    assert_eq!(last_retention(folder.path()), Some((before[1], 1, "budget".into())));
    assert!(log.usage().bytes <= budget_bytes);
    // No budget is small enough for the current file to go.
    log.configure(LogSettings { budget_bytes: 1, ..LogSettings::default() });
    assert_eq!(enforce(&log, BEGIN + 9 * DAY).unwrap(), 4);
    assert!(starts(folder.path()).is_empty());
    log.configure(LogSettings::default());
    append_many(&log, 2);
    assert!(log.check().is_ok());
}

#[test]
fn what_is_younger_than_a_day_is_not_pushed_out_and_at_twice_the_budget_requests_are_refused() {
    let folder = folder();
    let log = log_of_days(folder.path(), 5);
    let (before, bytes) = (starts(folder.path()), log.usage().bytes);
    let small = LogSettings { budget_bytes: bytes - 2000, ..LogSettings::default() };
    log.configure(small);
    assert_eq!(enforce(&log, BEGIN).unwrap(), 0, "at that time every file was of the last day");
    assert_eq!(starts(folder.path()), before);
    log.append_each([request()].into_iter()).unwrap();
    let most = 2 * small.budget_bytes;
    let refused = (0..10_000).find_map(|_| log.append_each([request()].into_iter()).err()).unwrap();
    assert_eq!(refused.action, EXTEND);
    assert!(log.usage().bytes <= most && log.usage().bytes > most - 2000);
    assert_eq!(enforce(&log, BEGIN + 9 * DAY).unwrap(), 5, "a day later they go");
}

#[test]
fn where_nothing_may_be_deleted_requests_are_refused_and_the_daemon_can_still_say_why() {
    let folder = folder();
    let log = log_of_days(folder.path(), 2);
    let before = starts(folder.path());
    let budget_bytes = log.usage().bytes + 1000;
    let refuse = LogSettings { budget_bytes, when_full: WhenFull::Refuse, ..LogSettings::default() };
    log.configure(refuse);
    let refused = (0..10).find_map(|_| log.append_each([request()].into_iter()).err()).unwrap();
    assert!(refused.to_string().contains("its budget is"), "{refused}");
    assert!(refused.fix().contains("audit.budget"), "{}", refused.fix());
    assert!(log.usage().bytes <= budget_bytes);
    let reported = log.check().unwrap_err();
    assert_eq!(reported.action, EXTEND);
    assert_eq!(enforce(&log, BEGIN).unwrap(), 0);
    assert_eq!(starts(folder.path()), before, "nothing is deleted for want of room");
    // Alerts have a reserve, which ends as well.
    let alert = Line::own(Event::Alert { kind: "a", count: 1, message: "b" });
    log.append(&[alert]).unwrap();
    let filled = (0..10_000).find_map(|_| log.append(&vec![alert; 64]).err()).unwrap();
    assert!(filled.to_string().contains("budget"));
    assert!(log.usage().bytes <= budget_bytes + (1 << 20));
    // What must be possible is, all the same.
    log.append(&vec![Line::own(Event::Lock { reason: Some("request") }); 64]).unwrap();
    assert!(log.usage().bytes > budget_bytes + (1 << 20));
    // Tidying by age makes room, although no line fits any more.
    log.configure(LogSettings { keep: Duration::from_secs(1), ..refuse });
    assert_eq!(enforce(&log, BEGIN + 9 * DAY).unwrap(), 2);
    // And a larger budget lets requests pass again.
    log.configure(LogSettings { budget_bytes: budget_bytes + (2 << 20), ..refuse });
    log.append_each([request()].into_iter()).unwrap();
}

#[test]
fn a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start() {
    for deleted in 0..=2 {
        let folder = folder();
        let log = log_of_days(folder.path(), 4);
        let before = starts(folder.path());
        log.configure(LogSettings { keep: Duration::from_hours(24), ..LogSettings::default() });
        let mut left = deleted;
        *log.steps.lock().unwrap() = Some(Box::new(move |_| {
            if left == 0 {
                return Err(io::Error::other("the end"));
            }
            left -= 1;
            Ok(())
        }));
        assert!(enforce(&log, BEGIN + 3 * DAY + 1).is_err());
        let (first_seq, files, _) = last_retention(folder.path()).unwrap();
        assert_eq!((first_seq, files), (before[2], 2));
        assert_eq!(starts(folder.path()), before[deleted..]);
        drop(log);
        let log = open(folder.path());
        assert_eq!(verify(folder.path(), false).kept_from, Some(first_seq));
        log.finish_retention(first_seq).unwrap();
        assert_eq!(starts(folder.path()), before[2..], "{deleted}");
        assert_eq!(log.usage().oldest_seq, first_seq);
        assert_eq!(log.finish_retention(first_seq).unwrap(), 0);
        assert_eq!(lines_in_order(folder.path()), log.standing().seq, "{deleted}");
    }
}

#[test]
fn a_file_that_cannot_be_deleted_now_is_deleted_later_without_another_line() {
    let folder = folder();
    let log = log_of_days(folder.path(), 3);
    let before = starts(folder.path());
    log.configure(LogSettings { keep: Duration::from_hours(24), ..LogSettings::default() });
    *log.steps.lock().unwrap() = Some(Box::new(|_| Err(io::Error::other("not now"))));
    let error = enforce(&log, BEGIN + 3 * DAY).unwrap_err();
    assert!(error.to_string().contains("not now"));
    let bytes = log.usage().bytes;
    *log.steps.lock().unwrap() = None;
    let lines = log.standing().seq;
    assert_eq!(enforce(&log, BEGIN + 3 * DAY).unwrap(), 1);
    assert_eq!(log.standing().seq, lines);
    assert!(log.usage().bytes < bytes, "what waits to be deleted takes room");
    assert_eq!(starts(folder.path()), before[1..]);
}

#[test]
fn the_warning_comes_long_before_the_budget_is_used_up() {
    let folder = folder();
    let log = open(folder.path());
    append_many(&log, 20);
    let bytes = log.usage().bytes;
    let budget = |budget_bytes| {
        log.configure(LogSettings { budget_bytes, warn_percent: 80, ..LogSettings::default() });
        log.usage().warnings.iter().any(|warning| warning.kind == "audit_budget")
    };
    assert!(!budget(bytes * 10 / 7));
    assert!(budget(bytes * 10 / 8));
    assert!(log.usage().free_disk_bytes.is_some_and(|free| free > 0));
}

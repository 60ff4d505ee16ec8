use std::{path::Path, time::Duration};

use keyagent_core::audit::record::{Details, Via};

use super::*;
use crate::audit_log::{
    AuditLog, LogSettings,
    tests::{folder, open, request},
};

/// A log with a journal of the test's own.
fn log_and_journal(folder: &Path, journald: Journald) -> (AuditLog, UnixDatagram) {
    let socket = folder.join("journal");
    let journal = UnixDatagram::bind(&socket).unwrap();
    journal.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut log = open(folder);
    log.journal = Sink::to(socket);
    log.configure(LogSettings { journald, ..LogSettings::default() });
    (log, journal)
}

fn received(journal: &UnixDatagram) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 65536];
    let count = journal.recv(&mut bytes).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

#[test]
fn every_record_is_sent_with_its_fields() {
    let folder = folder();
    let (log, journal) = log_and_journal(folder.path(), Journald::All);
    let via = Via { unit: Some("web.service"), ..Via::default() };
    let failed = Line { via, error: Some("does not open"), ..request() };
    log.append(&[request(), failed]).unwrap();
    let first = "MESSAGE=encrypt of default by user 1000\nPRIORITY=6\nSYSLOG_IDENTIFIER=keyagentd\n\
                 KEYAGENT_EVENT=encrypt\nKEYAGENT_KEY=default\nKEYAGENT_SEQ=2\nKEYAGENT_UID=1000\n\
                 KEYAGENT_SUCCESS=true\n";
    assert_eq!(String::from_utf8(received(&journal).unwrap()).unwrap(), first);
    let second = "MESSAGE=encrypt of default by user 1000: does not open\nPRIORITY=4\n\
                  SYSLOG_IDENTIFIER=keyagentd\nKEYAGENT_EVENT=encrypt\nKEYAGENT_KEY=default\n\
                  KEYAGENT_SEQ=3\nKEYAGENT_UID=1000\nKEYAGENT_UNIT=web.service\nKEYAGENT_SUCCESS=false\n";
    assert_eq!(String::from_utf8(received(&journal).unwrap()).unwrap(), second);
    assert_eq!(received(&journal), None);
    assert_eq!(log.usage().journal_dropped, 0);
}

#[test]
fn a_value_with_a_newline_cannot_make_a_field_of_its_own() {
    let folder = folder();
    let (log, journal) = log_and_journal(folder.path(), Journald::All);
    let error = "a\nKEYAGENT_SUCCESS=true";
    log.append(&[Line { error: Some(error), ..request() }]).unwrap();
    let text = format!("encrypt of default by user 1000: {error}");
    let mut expected = b"MESSAGE\n".to_vec();
    expected.extend_from_slice(&(text.len() as u64).to_le_bytes());
    expected.extend_from_slice(text.as_bytes());
    expected.extend_from_slice(b"\nPRIORITY=4\n");
    let datagram = received(&journal).unwrap();
    assert_eq!(&datagram[..expected.len()], expected);
    assert!(datagram.ends_with(b"\nKEYAGENT_SUCCESS=false\n"));
}

#[test]
fn alerts_and_refusals_alone_where_that_is_wanted() {
    let folder = folder();
    let (log, journal) = log_and_journal(folder.path(), Journald::Alerts);
    let denied = Details { code: Some(ErrorCode::Denied as u16), ..Details::default() };
    let does_not_open = Details { code: Some(ErrorCode::DoesNotOpen as u16), ..Details::default() };
    let operation =
        |details| Line { error: Some("no"), ..Line::own(Event::Operation { name: "decrypt", details }) };
    log.append(&[
        request(),
        operation(does_not_open),
        operation(denied),
        Line::own(Event::PeerRefused { uid: 7, count: 2 }),
        Line::own(Event::Alert { kind: "k", count: 1, message: "look here" }),
    ])
    .unwrap();
    let texts: Vec<String> = std::iter::from_fn(|| received(&journal))
        .map(|bytes| String::from_utf8(bytes).unwrap().lines().next().unwrap().into())
        .collect();
    assert_eq!(texts, ["MESSAGE=decrypt: no", "MESSAGE=peer.refused", "MESSAGE=alert: look here"]);
}

#[test]
fn off_sends_nothing_and_what_cannot_be_sent_is_counted_and_holds_nobody_up() {
    let folder = folder();
    let (log, journal) = log_and_journal(folder.path(), Journald::Off);
    log.append(&[request()]).unwrap();
    assert_eq!(received(&journal), None);
    // Nobody reads: the socket's buffer fills.
    log.configure(LogSettings { journald: Journald::All, ..LogSettings::default() });
    let begin = std::time::Instant::now();
    (0..2000).for_each(|_| log.append(&[request()]).unwrap());
    assert!(begin.elapsed() < Duration::from_secs(20));
    let dropped = log.usage().journal_dropped;
    assert!(dropped > 0);
    // Nobody is there.
    std::fs::remove_file(folder.path().join("journal")).unwrap();
    log.append(&[request()]).unwrap();
    assert_eq!(log.usage().journal_dropped, dropped + 1);
}

#[test]
fn what_is_not_in_the_log_is_not_sent() {
    let folder = folder();
    let (log, journal) = log_and_journal(folder.path(), Journald::All);
    let (_reader, pipe) = std::io::pipe().unwrap();
    log.lock().file = std::os::fd::OwnedFd::from(pipe).into();
    assert!(log.append(&[request()]).is_err());
    assert_eq!(received(&journal), None);
}

//! What is believed of a process, and remembered of its group.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    process::{Child, Command, Stdio},
};

use super::*;

const TEXT: &[u8] = b"0::/system.slice/x.service\n";

/// A child that has connected, its process, and this end of the connection; it ends when its input does.
fn connected(path: &std::path::Path) -> Option<(Child, OwnedFd, UnixStream)> {
    let listener = UnixListener::bind(path).unwrap();
    let script = "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])); <STDIN>";
    let mut command = Command::new("perl");
    let child = command.args(["-e", script]).arg(path).stdin(Stdio::piped()).spawn();
    let known = child.ok().and_then(|child| {
        let (served, _) = listener.accept().unwrap();
        Some((child, peer::pidfd(served.as_fd())?, served))
    });
    if known.is_none() {
        eprintln!("SKIPPED: units of other processes: needs perl and Linux 6.5");
    }
    known
}

#[test]
fn a_process_that_ends_meanwhile_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut child, process, served)) = connected(&folder.path().join("s")) else { return };
    // Control: alive, it is believed.
    let mut units = Units::default();
    assert_eq!(units.unit_by(process.as_fd(), || Ok(TEXT.to_vec())).as_deref(), Some("x.service"));
    assert_eq!(units.0.len(), usize::from(peer::cgroup_id(process.as_fd()).is_some()));
    // While its number is looked up it ends, and another process gets the number: its text is read.
    let mut units = Units::default();
    let unit = units.unit_by(process.as_fd(), || {
        drop(child.stdin.take());
        child.wait().unwrap();
        Ok(TEXT.to_vec())
    });
    assert_eq!(unit, None);
    assert!(units.0.is_empty());
    // And before it is looked up at all.
    assert_eq!(units.unit_by(process.as_fd(), || Ok(TEXT.to_vec())), None);
    let late = peer::pidfd(served.as_fd());
    assert_eq!(late.and_then(|late| units.unit_by(late.as_fd(), || Ok(TEXT.to_vec()))), None);
}

#[test]
fn what_is_remembered_is_not_read_again() {
    let (one, _two) = UnixStream::pair().unwrap();
    let Some(process) = peer::pidfd(one.as_fd()) else { return };
    if peer::cgroup_id(process.as_fd()).is_none() {
        eprintln!("SKIPPED: what_is_remembered_is_not_read_again: needs Linux 6.13");
        return;
    }
    let mut units = Units::default();
    assert_eq!(units.unit_by(process.as_fd(), || Err(io::ErrorKind::NotFound.into())), None);
    assert!(units.0.is_empty(), "what could not be read is not remembered");
    for text in [TEXT, b"0::/other.service\n"] {
        assert_eq!(units.unit_by(process.as_fd(), || Ok(text.to_vec())).as_deref(), Some("x.service"));
    }
}

#[test]
fn few_are_remembered() {
    let mut units = Units::default();
    for group in 0..10_000 {
        units.remember(group, None);
        assert!(units.0.len() <= MAX_REMEMBERED);
        assert!(units.0.contains_key(&group));
    }
}

#[test]
fn a_process_without_number_is_not_looked_up() {
    assert!(read_cgroups(0).is_err() && read_cgroups(-1).is_err());
    assert!(read_cgroups(i32::try_from(std::process::id()).unwrap()).is_ok());
}

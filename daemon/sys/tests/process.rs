//! What changes a whole process: hardening and the environment, each in a single-threaded process of its own.
//!
//! Without a harness: this program runs itself once per check, with the check's name in a variable.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test, though without a harness"
)]

use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use keyagent_sys::environment::{EnvironmentError, take_variable};
use keyagent_sys::harden::{forbid_dumps, ignore_signal, limit_malloc_arenas, sanitize_process};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::stat::{Mode, umask};

const ROLE: &str = "KEYAGENT_SYS_TEST_ROLE";
const SECRET: &str = "hunter2-of-the-environment";

/// Name, and what the child does; a child passes when it returns.
const CHECKS: [(&str, fn()); 8] = [
    ("nobody_can_dump_the_process", nobody_can_dump_the_process),
    ("an_undumpable_process_hides_from_its_user", an_undumpable_process_hides_from_its_user),
    ("inherited_things_are_gone", inherited_things_are_gone),
    ("closed_standard_streams_become_null", closed_standard_streams_become_null),
    ("ignored_signals_do_nothing", ignored_signals_do_nothing),
    ("the_process_forgets_the_value", the_process_forgets_the_value),
    ("a_long_value_is_forgotten_too", a_long_value_is_forgotten_too),
    ("malloc_takes_the_limit", || limit_malloc_arenas().unwrap()),
];

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        if role == "control_unignored_signal" {
            setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
            raise(Signal::SIGXFSZ).unwrap();
            return;
        }
        return CHECKS.iter().find(|(name, _)| *name == role).unwrap().1();
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, _) in CHECKS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let output = child(name);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n{error}", output.status);
        println!("check {name} ... ok {error}");
    }
    let control = child("control_unignored_signal").status;
    assert_eq!(control.signal(), Some(Signal::SIGXFSZ as i32), "control: the signal ends a process");
}

/// Runs one role. A shell before it leaves open what the parent of a daemon might, and closes standard input.
fn child(role: &str) -> Output {
    let script = "exec 5</dev/zero 7</dev/zero 8</dev/zero 9</dev/zero; umask 0; exec \"$0\" <&-";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).current_dir("/tmp");
    command.env(ROLE, role).env("KEYAGENT_KEY", SECRET).output().unwrap()
}

fn nobody_can_dump_the_process() {
    assert_eq!(prctl::get_dumpable(), Ok(true), "control: it was dumpable");
    forbid_dumps().unwrap();
    assert_eq!(prctl::get_dumpable(), Ok(false));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains("NoNewPrivs:\t1"));
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    forbid_dumps().unwrap();
}

/// The environment can still be taken, and descriptors closed, when /proc/self belongs to root.
fn an_undumpable_process_hides_from_its_user() {
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65_533)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65_533)).unwrap();
    }
    forbid_dumps().unwrap();
    assert!(
        std::fs::File::open("/proc/self/mem").is_err(),
        "the process itself may no longer open its memory"
    );
    sanitize_process(&[]).unwrap();
    let mut out = [0; 64];
    assert_eq!(take_variable("KEYAGENT_KEY", &mut out).unwrap(), Some(SECRET.len()));
}

fn inherited_things_are_gone() {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().unwrap();
    assert!([5, 7, 8, 9].iter().all(|number| open().contains(number)), "control: {:?}", open());
    sanitize_process(&[8, 7, 7, 1, 4000]).unwrap();
    assert_eq!(open(), [0, 1, 2, 7, 8]);
    assert_eq!(std::fs::read_link("/proc/self/fd/0").unwrap(), Path::new("/dev/null"));
    assert_eq!(nix::unistd::getcwd().unwrap(), Path::new("/"));
    assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGUSR1));
    assert_eq!(umask(Mode::empty()), Mode::from_bits_truncate(0o077));
}

/// Open descriptors, without the one that lists them.
fn open() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
    let lists = |path: &Path| std::fs::read_link(path).is_ok_and(|target| target.starts_with("/proc"));
    let numbers = entries.filter(|entry| !lists(&entry.path()));
    let mut numbers: Vec<_> =
        numbers.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// Rust's runtime reopens closed streams itself, so they are closed again here.
fn closed_standard_streams_become_null() {
    nix::unistd::close(0).unwrap();
    nix::unistd::close(1).unwrap();
    sanitize_process(&[]).unwrap();
    for number in [0, 1] {
        assert_eq!(std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap(), Path::new("/dev/null"));
    }
    assert_eq!(open(), [0, 1, 2]);
}

fn ignored_signals_do_nothing() {
    ignore_signal(Signal::SIGXFSZ as i32).unwrap();
    raise(Signal::SIGXFSZ).unwrap();
    assert_eq!(
        ignore_signal(9999).unwrap_err().to_string(),
        "signal(SIG_IGN) failed: EINVAL: Invalid argument"
    );
    assert!(ignore_signal(Signal::SIGKILL as i32).is_err());
}

fn shown() -> bool {
    String::from_utf8_lossy(&std::fs::read("/proc/self/environ").unwrap()).contains(SECRET)
}

fn the_process_forgets_the_value() {
    assert!(shown(), "control: the value is there before");
    let mut out = [0; 64];
    assert_eq!(take_variable("KEYAGENT_KEY", &mut out).unwrap(), Some(SECRET.len()));
    assert_eq!(&out[..SECRET.len()], SECRET.as_bytes());
    assert!(!shown());
    assert!(std::env::var_os("KEYAGENT_KEY").is_none());
    assert_eq!(take_variable("KEYAGENT_KEY", &mut out).unwrap(), None);
    assert!(std::env::var_os("PATH").is_some(), "other variables stay");
}

fn a_long_value_is_forgotten_too() {
    assert!(shown(), "control: the value is there before");
    let mut out = [0; 8];
    let error = take_variable("KEYAGENT_KEY", &mut out).unwrap_err();
    assert!(matches!(error, EnvironmentError::TooLong { bytes: 26, room: 8, .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"));
    assert_eq!(out, [0; 8]);
    assert!(!shown() && std::env::var_os("KEYAGENT_KEY").is_none());
}

//! Runs a program for an event: directly, one at a time, for 30 seconds at most.
//!
//! No shell and no text of the event in its arguments: what stands there came from elsewhere.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use super::EventDocument;
use crate::console::Console;

const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Runs it to its end; a failure is told, the watch goes on.
pub(super) fn run(console: &Console, program: &OsStr, words: &[OsString], event: &EventDocument) {
    let shown = program.to_string_lossy();
    match start(program, words, event).and_then(|child| wait(child, LIMIT)) {
        Ok(Some(status)) if status.success() => {}
        Ok(Some(status)) => console.say(&format!("{shown}: {status}")),
        Ok(None) => console.say(&format!("{shown} was ended after {} s", LIMIT.as_secs())),
        Err(error) => console.say(&format!("cannot run {shown}: {error}")),
    }
}

/// Its output goes to stderr: stdout carries the events.
fn start(program: &OsStr, words: &[OsString], event: &EventDocument) -> io::Result<Child> {
    Command::new(program)
        .args(words)
        .stdin(Stdio::from(line(event)?))
        .stdout(Stdio::from(io::stderr()))
        .env_remove("KEYAGENT_KEY")
        .env("KEYAGENT_EVENT_KIND", word(&event.kind))
        .env("KEYAGENT_EVENT_KEY", word(event.key.as_deref().unwrap_or_default()))
        .env("KEYAGENT_EVENT_SEVERITY", event.severity)
        .process_group(0)
        .spawn()
}

/// The event as one line in a file without a name: a program that does not read it holds nobody up.
fn line(event: &EventDocument) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"event", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(format!("{}\n", super::super::audit::export::json(event)).as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// Kinds and names of keys are plain words; whatever is not does not reach a variable.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "._-/".contains(*c)).collect()
}

/// How it ended; none if it had to be ended.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            // Its group: what it started itself ends with it.
            let _ = kill(Pid::from_raw(-child.id().cast_signed()), Signal::SIGKILL);
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::watch::tests::event;

    #[test]
    fn a_program_gets_the_event_on_its_input_and_in_variables_and_nothing_in_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let script = "cat > \"$0\"; printf '%s|%s|%s|%s' \"$KEYAGENT_EVENT_KIND\" \"$KEYAGENT_EVENT_KEY\" \
                      \"$KEYAGENT_EVENT_SEVERITY\" \"$#\" >> \"$0\"";
        let words = ["-c".into(), script.into(), out.clone().into_os_string()];
        let child = start(OsStr::new("sh"), &words, &event()).unwrap();
        assert!(wait(child, LIMIT).unwrap().unwrap().success());
        let text = std::fs::read_to_string(out).unwrap();
        let (line, rest) = text.split_once('\n').unwrap();
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((json["schema"].as_str(), json["number"].as_u64()), (Some("keyagent.event/1"), Some(7)));
        assert_eq!(json["message"].as_str(), Some("6 failures\u{1b}[2J"));
        assert_eq!(rest, "decryption_failures|billing|warning|0");
    }

    #[test]
    fn a_program_that_does_not_end_is_ended_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let words = ["-c".into(), "sleep 600 & echo $! > \"$0\"; wait".into(), out.clone().into_os_string()];
        let begin = Instant::now();
        let child = start(OsStr::new("sh"), &words, &event()).unwrap();
        assert!(wait(child, Duration::from_millis(500)).unwrap().is_none());
        assert!(begin.elapsed() < Duration::from_secs(10));
        let pid = std::fs::read_to_string(out).unwrap();
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.contains(") ") && !stat.contains(") Z ")
        };
        let gone = Instant::now() + Duration::from_secs(5);
        while lives() && Instant::now() < gone {
            thread::sleep(POLL);
        }
        assert!(!lives(), "what it started lives on");
    }

    #[test]
    fn words_have_no_blanks_and_no_control_characters() {
        assert_eq!(word("billing/cards"), "billing/cards");
        assert_eq!(word("a b\n$(x)\u{0}=é"), "abx");
        assert!(start(OsStr::new("/no/such/program"), &[], &event()).is_err());
    }
}

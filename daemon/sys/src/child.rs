//! Runs one test of this test binary again in a process of its own; for tests only.
//!
//! A test calls [`role`] first: in the child it gives the part to play, in the parent `None`.

use std::process::{Command, Output};

const VARIABLE: &str = "KEYAGENT_SYS_TEST_ROLE";

/// The part this process has to play, when it is a child.
pub(crate) fn role() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// The command that plays `role` of the test with the full name `test`, alone and on the main thread.
///
/// `wrapper` is put in front (`setpriv …`), or empty.
pub(crate) fn command(wrapper: &[&str], test: &str, role: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(VARIABLE, role);
    command
}

/// Runs it and returns what it wrote and how it ended.
pub(crate) fn run(test: &str, role: &str) -> Output {
    command(&[], test, role).output().unwrap()
}

/// Runs it and fails unless the child's test passed.
pub(crate) fn run_well(test: &str, role: &str) {
    passed(&run(test, role));
}

/// Fails unless exactly one test ran and passed.
pub(crate) fn passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "child: {}\n{text}\n{error}", output.status);
    assert!(text.contains("1 passed"), "the child ran no test:\n{text}");
}

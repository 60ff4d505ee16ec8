//! Our own scanner: builds the daemon as it is shipped, gives it work, and looks for every key it has.

pub(crate) mod aes;
pub(crate) mod needles;
pub(crate) mod scanner;
pub(crate) mod sha256;
pub(crate) mod traffic;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::support::{self, Home};

/// The daemon in the release profile, built once.
///
/// What is left on a stack depends on the optimiser, so only the profile that is shipped says anything:
/// in the test profile the daemon itself is compiled without optimisation. The build goes into the usual
/// target folder, where whoever built a release before finds it ready.
pub(crate) fn release_daemon() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&target_folder(), &[]))
}

/// The daemon with ordinary stacks and without any scrubbing, far from where anybody would look for a release.
pub(crate) fn control_daemon() -> PathBuf {
    build(&target_folder().join("control-unscrubbed"), &["--features", "control-unscrubbed"])
}

/// The folder of all profiles: the binary under test lies in one of them.
fn target_folder() -> PathBuf {
    Path::new(support::KEYAGENTD).ancestors().nth(2).unwrap().to_path_buf()
}

fn build(target: &Path, arguments: &[&str]) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "--package", "keyagentd", "--target-dir"])
        .arg(target)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let binary = target.join("release/keyagentd");
    assert!(binary.is_file(), "{} was not built", binary.display());
    binary
}

/// A daemon binary with the places of a home, and an environment with nothing else in it.
pub(crate) fn command(binary: &Path, home: &Home) -> Command {
    through(&[], binary, home)
}

/// The same started through another program, whose arguments come first.
pub(crate) fn through(program: &[&str], binary: &Path, home: &Home) -> Command {
    let mut command = match program {
        [] => Command::new(binary),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(binary);
            command
        }
    };
    command.env_clear().env("HOME", home.join("user")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.arg("--state-dir").arg(home.state()).arg("--socket").arg(home.socket());
    command
}

/// Whether memory can be scanned here; says loudly why not.
pub(crate) fn can_scan(test: &str, programs: &[&str]) -> bool {
    if !support::am_root() {
        support::skipped(test, "only root may read a process that forbids it");
        return false;
    }
    let missing = programs.iter().find(|program| !support::have(program));
    if let Some(program) = missing {
        support::skipped(test, &format!("{program} is not installed"));
    }
    missing.is_none()
}

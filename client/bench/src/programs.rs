//! Builds what is measured: the release daemon, a second one that records nothing, the release client.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Outcome, repository};

/// The target of the released client: one static file.
const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";

/// Paths of the programs.
pub(crate) struct Programs {
    /// As shipped.
    pub(crate) daemon: PathBuf,
    /// Built with a feature that no shipped daemon has.
    pub(crate) daemon_without_audit: PathBuf,
    /// The client, or why there is none.
    pub(crate) client: Result<Client, String>,
}

/// A client that was built.
pub(crate) struct Client {
    /// The program.
    pub(crate) path: PathBuf,
    /// How it is linked.
    pub(crate) linkage: &'static str,
}

impl Programs {
    /// Builds all of them; only the client may fail.
    pub(crate) fn build() -> Outcome<Self> {
        let root = repository();
        let target = target(&root);
        let without_audit = target.join("without-audit");
        cargo(&root, &target, &["-p", "keyagentd"])?;
        cargo(&root, &without_audit, &["-p", "keyagentd", "--features", "benchmark-without-audit"])?;
        Ok(Self {
            daemon: target.join("release/keyagentd"),
            daemon_without_audit: without_audit.join("release/keyagentd"),
            client: client(&root, &target),
        })
    }
}

/// The daemon alone.
pub(crate) fn daemon() -> Outcome<PathBuf> {
    let root = repository();
    let target = target(&root);
    cargo(&root, &target, &["-p", "keyagentd"])?;
    Ok(target.join("release/keyagentd"))
}

/// The client alone.
pub(crate) fn only_client() -> Result<Client, String> {
    let root = repository();
    client(&root, &target(&root))
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn client(root: &Path, target: &Path) -> Result<Client, String> {
    if cargo(root, target, &["-p", "keyagent-client", "--target", STATIC_TARGET]).is_ok() {
        let path = target.join(STATIC_TARGET).join("release/keyagent");
        return Ok(Client { path, linkage: "static musl" });
    }
    cargo(root, target, &["-p", "keyagent-client"])
        .map_err(|error| format!("the client does not build: {error}"))?;
    Ok(Client { path: target.join("release/keyagent"), linkage: "dynamic glibc: no musl target here" })
}

fn cargo(root: &Path, target: &Path, arguments: &[&str]) -> Outcome<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["build", "--release", "--quiet", "--target-dir"]).arg(target);
    if command.args(arguments).status()?.success() {
        Ok(())
    } else {
        Err(format!("cargo build {} failed", arguments.join(" ")).into())
    }
}

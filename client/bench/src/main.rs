//! The benchmark behind docs/PERFORMANCE.md: `cargo run --release -p keyagent-bench` prints its tables.
//!
//! One run builds the release daemon and client, starts bare references and real daemons on a fresh
//! private state, pins everything to one core, takes turns among them round by round, and prints ratios.
//! Must never touch an agent or a key that was there before, and is no test: it passes no judgement.

mod connection;
mod echo;
mod files;
mod growth;
mod idle;
mod machine;
mod measure;
mod one_shot;
mod parallel;
mod programs;
mod rounds;
mod server;
mod table;

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use machine::Machine;
use programs::Programs;
use server::{Daemon, Reference, Workplace};

/// What went wrong, for the person at the terminal.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// The argument that asks for P9 alone.
const GROWTH: &str = "growth";
/// The argument that asks for P5 and P7 alone.
const FILES: &str = "files";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyagent-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => measure_everything(),
        [part] if part == GROWTH => measure_growth(),
        [part] if part == FILES => measure_files(),
        // The references are processes of their own, as the daemon is.
        [role, socket] if role == echo::PERSISTENT => Ok(echo::serve_persistent(Path::new(socket))?),
        [role, socket] if role == echo::PER_REQUEST => Ok(echo::serve_per_request(Path::new(socket))?),
        _ => {
            Err("usage: keyagent-bench [growth|files]          (growth: P9 alone; files: P5 and P7 alone)"
                .into())
        }
    }
}

fn measure_everything() -> Outcome<()> {
    let programs = Programs::build()?;
    let before = Machine::examine()?;
    let place = Workplace::make()?;
    let files = files::measure(&place, &programs.daemon, programs.client.as_ref());
    // From here on, also for every process started.
    machine::pin_to_one_core()?;
    machine::raise_descriptor_limit()?;
    let persistent = Reference::start(&place, echo::PERSISTENT)?;
    let per_request = Reference::start(&place, echo::PER_REQUEST)?;
    let audited = Daemon::start(&place, "audited", &programs.daemon)?;
    let unaudited = Daemon::start(&place, "unaudited", &programs.daemon_without_audit)?;
    let rounds = rounds::run(&rounds::Sockets {
        persistent: &persistent.socket,
        per_request: &per_request.socket,
        audited: &audited.socket,
        unaudited: &unaudited.socket,
    })?;
    drop(unaudited);
    let one_shot = one_shot::measure(&place, &audited, programs.client.as_ref());
    let parallel = parallel::measure(&audited)?;
    let idle = idle::measure(&audited)?;
    drop(audited);
    let growth = growth::measure(&place, &programs.daemon)?;
    let after = machine::load()?;
    let more = [files::rows(&files), parallel::rows(&parallel)].concat();
    let text = table::text(&before, &after, &rounds, &one_shot, &idle, &growth, &more);
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// P9 alone: minutes less, for whoever works on it.
fn measure_growth() -> Outcome<()> {
    let daemon = programs::daemon()?;
    machine::pin_to_one_core()?;
    let place = Workplace::make()?;
    let sizes = growth::measure(&place, &daemon)?;
    Ok(io::stdout().lock().write_all(table::growth_alone(&sizes).as_bytes())?)
}

/// P5 and P7 alone.
fn measure_files() -> Outcome<()> {
    let program = programs::daemon()?;
    let place = Workplace::make()?;
    let files = files::measure(&place, &program, programs::only_client().as_ref());
    machine::pin_to_one_core()?;
    machine::raise_descriptor_limit()?;
    let daemon = Daemon::start(&place, "parallel", &program)?;
    let parallel = parallel::measure(&daemon)?;
    let rows = [files::rows(&files), parallel::rows(&parallel)].concat();
    Ok(io::stdout().lock().write_all((rows.join("\n") + "\n").as_bytes())?)
}

/// The root of the repository, two folders above this package.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

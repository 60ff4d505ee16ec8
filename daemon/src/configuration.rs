//! The configuration: its files read and checked, at start and again at every reload.
//!
//! Whoever can change these files decides who may use the keys, so nobody but root and this user may. What
//! fails leaves everything as it was.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use keyagent_common::{error::ErrorCode, layout::BaseFolders, op::WatchSeverity, report::Report};
use keyagent_config::{Configuration, Flags, MAX_FILE_BYTES, Names, Settings, Source, SourceKind};
use keyagent_core::{
    audit::record::Event,
    policy::{Mode, Policy},
};
use keyagent_sys::peer;
use nix::{
    fcntl::OFlag,
    unistd::{Group, User},
};

use crate::{
    access,
    alerts::Threshold,
    audit_log::{Line, LogSettings},
    endpoint::ListenSpec,
    files,
    state::Shared,
    store,
};

/// Environment variables that say the same as a setting.
const VARIABLES: [&str; 2] = ["KEYAGENT_KEY_FILE", "KEYAGENT_LOG"];

/// Where the configuration is found; the same at every reload.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Default folders.
    pub(crate) base: BaseFolders,
    /// `--config` or `KEYAGENT_CONFIG`.
    pub(crate) named: Option<PathBuf>,
    /// Of the command line.
    pub(crate) flags: Flags,
    /// Of the environment at start.
    pub(crate) variables: Vec<(&'static str, OsString)>,
}

/// What can change while the daemon runs, beside the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tunable {
    /// Lock after so long without an operation on data.
    pub(crate) idle: Option<Duration>,
    /// Lock so long after unlocking.
    pub(crate) absolute: Option<Duration>,
    /// When a key is to be rotated after somebody lost a right on it.
    pub(crate) rotation_due: Duration,
    /// When failures are an alert.
    pub(crate) failures: Threshold,
    /// How the audit log is kept.
    pub(crate) log: LogSettings,
}

/// A configuration that can be taken.
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    pub(crate) tunable: Tunable,
    pub(crate) policy: Arc<Policy>,
}

impl Places {
    /// The variables of this process's environment.
    pub(crate) fn variables() -> Vec<(&'static str, OsString)> {
        VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))).collect()
    }

    /// Reads everything; nothing of it is in use yet.
    pub(crate) fn load(&self) -> Result<Loaded, Report> {
        let mut sources = Vec::new();
        for (kind, path) in keyagent_config::files(&self.base, self.named.as_deref()) {
            match read_trusted(&path) {
                Ok(text) => sources.push(Source { path, text, kind }),
                Err(Unusable::Missing) if kind != SourceKind::Named => {}
                Err(Unusable::Failed(error))
                    if kind == SourceKind::System
                        && matches!(self.base, BaseFolders::User { .. })
                        && error.kind() == io::ErrorKind::PermissionDenied =>
                {
                    let shown = path.display();
                    crate::report::warn(&format!("{shown} is not for this user to read: left out"));
                }
                Err(unusable) => return Err(unusable.report(&path)),
            }
        }
        let mode = match self.base {
            BaseFolders::System => Mode::System,
            BaseFolders::User { .. } => Mode::User { owner: peer::effective_uid() },
        };
        let variables: Vec<(&str, &OsStr)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        let parsed = Configuration::parse(&sources, &variables, &self.flags, mode, &SystemNames);
        let Configuration { settings, policy, .. } = parsed.map_err(|error| error.report())?;
        let policy = Policy::build(policy).map_err(|error| {
            Report::new(ErrorCode::Configuration, "the policy cannot be enforced").why(error.to_string())
        })?;
        let tunable = tunable(&settings);
        Ok(Loaded { settings, tunable, policy: Arc::new(policy) })
    }
}

/// Reads the configuration again; what cannot change without a restart is told.
pub(crate) fn load(shared: &Shared) -> Result<Loaded, Report> {
    let loaded = shared.settings.places.load().map_err(|mut report| {
        report.what = format!("the old configuration stays in use: {}", report.what);
        report
    })?;
    if listeners(&loaded.settings, &shared.settings.layout.socket) != shared.settings.listeners {
        crate::report::warn(&"the sockets of the new configuration are made at the next start");
    }
    Ok(loaded)
}

/// Takes a configuration into use. `reloads` is held.
pub(crate) fn take(shared: &Shared, loaded: Loaded, reason: &str) -> Result<(), Report> {
    let Loaded { tunable, policy, .. } = loaded;
    // First, so that a larger budget has room for what follows.
    shared.audit.configure(tunable.log);
    let digest = *policy.digest();
    let changed = digest != *shared.policy().digest();
    if changed {
        // Recorded first: from the moment it holds, the log says so.
        let event = Event::PolicyChange { digest: &digest, reason: Some(reason) };
        shared.audit.append(&[Line::own(event)]).map_err(|error| store::unrecorded(&error))?;
        shared.set_policy(policy);
        shared.events.push("policy_change", WatchSeverity::Warning, "", format!("another policy: {reason}"));
    }
    shared.failure_alerts.set_threshold(tunable.failures);
    shared.set_tunable(tunable);
    Ok(())
}

/// What is said when only the lists of who has access to which key could not be brought up to date.
pub(crate) fn in_force_all_the_same(mut report: Report) -> Report {
    report.what =
        format!("the configuration is in use, but who lost access is not recorded: {}", report.what);
    report
}

/// The same where nobody waits for an answer; what fails is told on stderr and to watchers.
pub(crate) fn reload_quietly(shared: &Shared, reason: &str) {
    let _one_at_a_time = shared.reloads.lock().unwrap_or_else(PoisonError::into_inner);
    let done = load(shared)
        .and_then(|loaded| take(shared, loaded, reason))
        .and_then(|()| access::record(shared).map_err(in_force_all_the_same));
    if let Err(report) = done {
        shared.events.push("reload_failed", WatchSeverity::Warning, "", report.what.clone());
        crate::report::failure(&report);
    }
}

/// The sockets of a configuration.
pub(crate) fn listeners(settings: &Settings, default: &Path) -> Vec<ListenSpec> {
    let spec = |listener: &keyagent_config::Listener| ListenSpec {
        name: listener.name.as_str().into(),
        path: listener.path.clone().unwrap_or_else(|| default.to_path_buf()),
        mode: listener.mode.bits(),
        gid: listener.group,
    };
    settings.listeners.iter().map(spec).collect()
}

fn tunable(settings: &Settings) -> Tunable {
    let audit = &settings.audit;
    let log = LogSettings {
        durability: audit.durability,
        rotate_bytes: audit.rotate_size,
        rotate_age: audit.rotate_age,
        keep: audit.keep,
        budget_bytes: audit.budget,
        warn_percent: audit.warn_percent,
        when_full: audit.when_full,
        journald: audit.journald,
    };
    let tolerated = usize::try_from(settings.alerts.decryption_failures).unwrap_or(usize::MAX);
    Tunable {
        idle: settings.lock.idle,
        absolute: settings.lock.absolute,
        rotation_due: settings.rotation_due,
        failures: Threshold { tolerated, window: settings.alerts.window },
        log,
    }
}

/// Users and groups of this system, asked for when a configuration is loaded, never for a request.
struct SystemNames;

impl Names for SystemNames {
    fn user(&self, name: &str) -> Result<Option<u32>, String> {
        let found = User::from_name(name).map_err(|errno| errno.desc().to_owned())?;
        Ok(found.map(|user| user.uid.as_raw()))
    }

    fn group(&self, name: &str) -> Result<Option<u32>, String> {
        let found = Group::from_name(name).map_err(|errno| errno.desc().to_owned())?;
        Ok(found.map(|group| group.gid.as_raw()))
    }
}

/// Why a file is not read.
enum Unusable {
    Missing,
    Unsafe(String),
    Failed(io::Error),
}

impl Unusable {
    fn report(self, path: &Path) -> Report {
        let (what, why, fix) = match self {
            Self::Missing => ("the configuration file does not exist", String::new(), "check the path"),
            Self::Unsafe(why) => (
                "the configuration file could be changed by others",
                why,
                "let it and its folders belong to root or you, writable by nobody else (chmod go-w)",
            ),
            Self::Failed(error) => {
                ("the configuration file cannot be read", error.to_string(), "check its rights")
            }
        };
        let shown = path.display().to_string();
        Report::new(ErrorCode::Configuration, what).fact("file", shown).why(why).fix(fix)
    }
}

/// Reads a file that nobody but root and this user can change.
fn read_trusted(path: &Path) -> Result<String, Unusable> {
    let flags = OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits();
    let mut options = std::fs::OpenOptions::new();
    let file: File = match options.read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Missing),
        Err(error) => return Err(Unusable::Failed(error)),
    };
    let metadata = file.metadata().map_err(Unusable::Failed)?;
    let me = peer::effective_uid();
    if !metadata.is_file() {
        return Err(Unusable::Unsafe("it is not a regular file".into()));
    }
    if metadata.uid() != me && metadata.uid() != 0 {
        return Err(Unusable::Unsafe(format!("it belongs to another user (uid {})", metadata.uid())));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Unusable::Unsafe(format!(
            "others may write to it (mode {:04o})",
            metadata.mode() & 0o7777
        )));
    }
    files::check_private_folder(path.parent().unwrap_or(path), me)
        .map_err(|error| Unusable::Unsafe(error.to_string()))?;
    let mut text = String::new();
    let most = MAX_FILE_BYTES as u64 + 1;
    file.take(most).read_to_string(&mut text).map_err(Unusable::Failed)?;
    Ok(text)
}

//! Files, environment and flags together: the configuration in force.

use std::{ffi::OsStr, path::PathBuf};

use keyagent_core::policy::{Mode, Policy, PolicySpec, Who};

use crate::{
    document::{Document, Source, SourceKind},
    error::{ConfigurationError, Problem},
    listen::Listeners,
    origin::{Origin, Setting},
    rules::{self, Rules},
    scalars::{self, Layer, Scalars},
    settings::{LogFormat, Settings},
};

/// What may stand at the top of a file.
const TOP: &[&str] =
    &["daemon", "listen", "lock", "audit", "alerts", "policy", "admins", "operators", "rule"];

/// Looks up users and groups, at load time only: never while a request is decided.
pub trait Names {
    /// The number of a user; `None` when there is no such user; an error when that cannot be said.
    fn user(&self, name: &str) -> Result<Option<u32>, String>;
    /// The number of a group; `None` when there is no such group; an error when that cannot be said.
    fn group(&self, name: &str) -> Result<Option<u32>, String>;
}

/// Flags of the command line that say the same as a field; paths are absolute already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--key-file`
    pub key_file: Option<PathBuf>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--socket`: the path of the listener `agent`, which is added where the files name others only.
    pub socket: Option<PathBuf>,
    /// `--log`
    pub log: Option<LogFormat>,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Everything but the policy.
    pub settings: Settings,
    /// Who may do what; it has been built once, so [`Policy::build`] takes it.
    pub policy: PolicySpec,
    /// Every effective value and where it was said: single values, listeners, roles, rules in order.
    pub origins: Vec<Setting>,
    /// Changes exactly when the policy changes.
    pub digest: [u8; 32],
}

impl Configuration {
    /// Reads the files in order, then the environment, then the flags.
    ///
    /// `environment` holds name and value of the variables (others than `KEYAGENT_KEY_FILE` and `KEYAGENT_LOG`
    /// are not looked at). In system mode a [`SourceKind::User`] file is not looked at; in user mode only some
    /// sections of the [`SourceKind::System`] file are.
    pub fn parse(
        files: &[Source],
        environment: &[(&str, &OsStr)],
        flags: &Flags,
        mode: Mode,
        names: &dyn Names,
    ) -> Result<Self, ConfigurationError> {
        let user_mode = matches!(mode, Mode::User { .. });
        let files = files.iter().filter(|file| user_mode || file.kind != SourceKind::User);
        let parsed = files.map(|file| Ok((file.kind, Document::parse(file)?)));
        let parsed: Vec<_> = parsed.collect::<Result<_, ConfigurationError>>()?;
        let (mut layers, mut listeners, mut rules): (Vec<Layer<'_>>, _, _) =
            (Vec::new(), Listeners::new(names, user_mode), Rules::new(names));
        for (kind, document) in &parsed {
            let root = document.root(TOP)?;
            let layer = scalars::layer(&root, *kind, user_mode)?;
            // Sockets, roles and rules of the system's file are about the system's agent.
            if layer.whole {
                listeners.read(&root)?;
                rules.read(&root)?;
            }
            layers.push(layer);
        }
        let mut scalars = Scalars::new(layers, environment, flags);
        let mut settings = scalars.settings()?;
        let (list, found) = listeners.finish(flags);
        settings.listeners = list;
        let mut origins = scalars.found;
        origins.extend(found);
        let Rules { admins, operators, list: rules, found, .. } = rules.finish();
        let policy = PolicySpec { mode, admins, operators, rules };
        let digest = check(&policy, &found)?;
        origins.extend(found);
        Ok(Self { settings, policy, origins, digest })
    }

    /// The effective value of a setting by its name.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.origins.iter().find(|setting| setting.name == name)
    }
}

/// Asks the policy itself whether it can be enforced; its digest.
fn check(policy: &PolicySpec, found: &[Setting]) -> Result<[u8; 32], ConfigurationError> {
    let error = match Policy::build(policy.clone()) {
        Ok(policy) => return Ok(*policy.digest()),
        Err(error) => error,
    };
    let (title, table) = match &error.rule {
        Some(name) => (format!("rule {name:?}"), format!("rule.{name}")),
        None => of_role(policy).map_or(("the policy".to_owned(), "rule".to_owned()), |role| {
            (format!("[{role}]"), role.to_owned())
        }),
    };
    let at = rules::place(found, &table, error.field).unwrap_or(Origin::Default);
    let (field, why, fix) = (error.field, error.why, error.fix);
    Err(ConfigurationError::new(at, Problem::Policy { table: title, field, why, fix }))
}

/// The role that is refused without the rest.
fn of_role(policy: &PolicySpec) -> Option<&'static str> {
    let alone = |admins: &Who, operators: &Who| {
        let (admins, operators) = (admins.clone(), operators.clone());
        Policy::build(PolicySpec { mode: policy.mode, admins, operators, rules: Vec::new() }).is_err()
    };
    let nobody = Who::default();
    if alone(&policy.admins, &nobody) {
        return Some("admins");
    }
    alone(&nobody, &policy.operators).then_some("operators")
}

//! Single values: default, then the files in order, then the environment, then the flags; the last wins.
//!
//! A value that is overridden is checked all the same.

use std::{ffi::OsStr, path::Path};

use crate::{
    configuration::Flags,
    document::{SourceKind, Table},
    error::{ConfigurationError, Problem},
    origin::{Origin, Setting},
    settings::{
        AlertSettings, AuditSettings, Durability, Journald, LockSettings, LogFormat, Settings, WhenFull,
    },
    value::{Content, Given, Refusal, count, duration, duration_or_never, one_of, path, size},
};

/// The sections with single values and their fields.
pub(crate) const SECTIONS: [(&str, &[&str]); 5] = [
    ("daemon", &["key_file", "state_dir", "log"]),
    ("lock", &["idle", "absolute"]),
    (
        "audit",
        &[
            "durability",
            "rotate_size",
            "rotate_age",
            "keep",
            "budget",
            "warn_percent",
            "when_full",
            "journald",
        ],
    ),
    ("alerts", &["decryption_failures", "window"]),
    ("policy", &["rotation_due"]),
];

/// Where a path of the daemon is the system agent's alone.
const OF_ONE_AGENT: [&str; 2] = ["daemon.key_file", "daemon.state_dir"];

const LOG: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
/// Longer than anybody lives.
const LONGEST: &str = "36500d";

/// One file's tables of single values.
pub(crate) struct Layer<'d> {
    /// Whether what is good for one agent only is taken from it.
    pub(crate) whole: bool,
    /// The tables.
    pub(crate) tables: Vec<Table<'d>>,
}

/// Everything that can say a single value.
pub(crate) struct Scalars<'d> {
    layers: Vec<Layer<'d>>,
    outside: Vec<Given>,
    /// What was found, by name.
    pub(crate) found: Vec<Setting>,
}

/// The tables of single values in one file.
pub(crate) fn layer<'d>(
    root: &Table<'d>,
    kind: SourceKind,
    user_mode: bool,
) -> Result<Layer<'d>, ConfigurationError> {
    let tables = SECTIONS.iter().map(|(name, fields)| root.section(name, fields));
    let tables: Vec<Option<Table<'d>>> = tables.collect::<Result<_, _>>()?;
    Ok(Layer {
        whole: !(user_mode && kind == SourceKind::System),
        tables: tables.into_iter().flatten().collect(),
    })
}

impl<'d> Scalars<'d> {
    pub(crate) fn new(layers: Vec<Layer<'d>>, environment: &[(&str, &OsStr)], flags: &Flags) -> Self {
        Self { layers, outside: outside(environment, flags), found: Vec::new() }
    }

    /// Every setting but the listeners.
    pub(crate) fn settings(&mut self) -> Result<Settings, ConfigurationError> {
        let settings = Settings {
            key_file: self.optional("daemon.key_file", "the search for sources", path)?,
            state_dir: self.optional("daemon.state_dir", "the folders of the mode", path)?,
            log: self.one("daemon.log", "text", |given| one_of(given, &LOG))?,
            listeners: Vec::new(),
            lock: LockSettings {
                idle: self.one("lock.idle", "never", |given| duration_or_never(given, "1s", LONGEST))?,
                absolute: self
                    .one("lock.absolute", "never", |given| duration_or_never(given, "1s", LONGEST))?,
            },
            audit: self.audit()?,
            alerts: AlertSettings {
                decryption_failures: self
                    .one("alerts.decryption_failures", "5", |given| count(given, 1, 1_000_000))?,
                window: self.one("alerts.window", "1h", |given| duration(given, "1s", "7d"))?,
            },
            rotation_due: self.one("policy.rotation_due", "24h", |given| duration(given, "1s", "365d"))?,
        };
        self.check_budget(&settings.audit)?;
        Ok(settings)
    }

    fn audit(&mut self) -> Result<AuditSettings, ConfigurationError> {
        let durability = [("write", Durability::Write), ("fsync", Durability::Fsync)];
        let when_full = [("delete-oldest", WhenFull::DeleteOldest), ("refuse", WhenFull::Refuse)];
        let journald = [("off", Journald::Off), ("alerts", Journald::Alerts), ("all", Journald::All)];
        Ok(AuditSettings {
            durability: self.one("audit.durability", "write", |given| one_of(given, &durability))?,
            rotate_size: self.one("audit.rotate_size", "64MiB", |given| size(given, 64 << 10))?,
            rotate_age: self
                .one("audit.rotate_age", "never", |given| duration_or_never(given, "1m", LONGEST))?,
            keep: self.one("audit.keep", "400d", |given| duration(given, "1h", LONGEST))?,
            budget: self.one("audit.budget", "1GiB", |given| size(given, 128 << 10))?,
            warn_percent: self.one("audit.warn_percent", "80", |given| count(given, 1, 99))?,
            when_full: self.one("audit.when_full", "delete-oldest", |given| one_of(given, &when_full))?,
            journald: self.one("audit.journald", "off", |given| one_of(given, &journald))?,
        })
    }

    /// One value, with a default.
    fn one<T>(
        &mut self,
        name: &'static str,
        default: &str,
        parse: impl Fn(&Given) -> Result<T, Refusal>,
    ) -> Result<T, ConfigurationError> {
        let content = match default.parse() {
            Ok(number) => Content::Number(number),
            Err(_) => Content::Text(default.to_owned()),
        };
        let given = Given { name: name.to_owned(), shown: default.to_owned(), at: Origin::Default, content };
        let mut value = given.parse(&parse)?;
        let mut winner = given;
        for given in self.given(name) {
            value = given.parse(&parse)?;
            winner = given;
        }
        self.found.push(Setting { name: name.to_owned(), value: winner.shown, origin: winner.at });
        Ok(value)
    }

    /// One value that nobody has to set; `absent` is shown in its place.
    fn optional<T>(
        &mut self,
        name: &'static str,
        absent: &str,
        parse: impl Fn(&Given) -> Result<T, Refusal>,
    ) -> Result<Option<T>, ConfigurationError> {
        let (mut value, mut shown, mut origin) = (None, format!("({absent})"), Origin::Default);
        for given in self.given(name) {
            value = Some(given.parse(&parse)?);
            (shown, origin) = (given.shown, given.at);
        }
        self.found.push(Setting { name: name.to_owned(), value: shown, origin });
        Ok(value)
    }

    /// Whatever says this value, in order.
    fn given(&self, name: &'static str) -> Vec<Given> {
        let (section, field) = name.split_once('.').unwrap_or_default();
        let prefix = format!("{section}.");
        let layers = self.layers.iter().filter(|layer| layer.whole || !OF_ONE_AGENT.contains(&name));
        let tables = layers.flat_map(|layer| &layer.tables).filter(|table| table.prefix == prefix);
        let values = tables.filter_map(|table| table.get(field)).map(|value| Given::from(&value));
        values.chain(self.outside.iter().filter(|given| given.name == name).cloned()).collect()
    }

    /// A budget of less than two files would be used up by the file that is being written.
    fn check_budget(&self, audit: &AuditSettings) -> Result<(), ConfigurationError> {
        if audit.budget >= audit.rotate_size.saturating_mul(2) {
            return Ok(());
        }
        let found = |name: &str| self.found.iter().find(|setting| setting.name == name);
        let (budget, rotate) = (found("audit.budget"), found("audit.rotate_size"));
        let shown =
            |setting: Option<&Setting>| setting.map(|setting| setting.value.clone()).unwrap_or_default();
        // The one that somebody wrote is the one to change.
        let written =
            [budget, rotate].into_iter().flatten().find(|setting| setting.origin != Origin::Default);
        let field = written.map_or("audit.budget", |setting| setting.name.as_str()).to_owned();
        Err(ConfigurationError::new(
            written.map_or(Origin::Default, |setting| setting.origin.clone()),
            Problem::Value {
                value: shown(written),
                field,
                why: format!(
                    "budget ({}) is less than twice rotate_size ({}): the file being written would use it up",
                    shown(budget),
                    shown(rotate)
                ),
                fix: "budget = \"1GiB\", or a smaller rotate_size".to_owned(),
            },
        ))
    }
}

/// What variables and flags say; a variable that is set to nothing says nothing.
fn outside(environment: &[(&str, &OsStr)], flags: &Flags) -> Vec<Given> {
    let mut outside = Vec::new();
    let mut add = |name: &str, at: Origin, content: Content| {
        let shown = match &content {
            Content::Text(text) => text.clone(),
            Content::Path(path) => path.display().to_string(),
            _ => String::new(),
        };
        outside.push(Given { name: name.to_owned(), shown, at, content });
    };
    let variable = |name: &str| {
        environment.iter().find(|(known, value)| *known == name && !value.is_empty()).map(|found| found.1)
    };
    if let Some(value) = variable("KEYAGENT_KEY_FILE") {
        add(
            "daemon.key_file",
            Origin::Environment("KEYAGENT_KEY_FILE"),
            Content::Path(Path::new(value).into()),
        );
    }
    if let Some(value) = variable("KEYAGENT_LOG") {
        let text = value.to_string_lossy().into_owned();
        add("daemon.log", Origin::Environment("KEYAGENT_LOG"), Content::Text(text));
    }
    if let Some(path) = &flags.key_file {
        add("daemon.key_file", Origin::Flag("--key-file"), Content::Path(path.clone()));
    }
    if let Some(path) = &flags.state_dir {
        add("daemon.state_dir", Origin::Flag("--state-dir"), Content::Path(path.clone()));
    }
    if let Some(format) = flags.log {
        let word = LOG.iter().find(|(_, known)| *known == format).map_or("text", |(word, _)| *word);
        add("daemon.log", Origin::Flag("--log"), Content::Text(word.to_owned()));
    }
    outside
}

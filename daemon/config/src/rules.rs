//! `[[rule]]`, `[admins]` and `[operators]`: who may do what, names resolved to numbers.
//!
//! Whether a rule can be enforced is decided by the policy itself; here only its shape is read.

use keyagent_core::policy::{DelegateSpec, RuleSpec, Who};

use crate::{
    configuration::Names,
    document::{Table, Value},
    error::{ConfigurationError, Problem},
    origin::{Origin, Setting},
    rate::rate,
    value::{Content, Given, Refusal, name},
};

/// Fields that say who; singular and plural mean the same.
macro_rules! who_fields {
    ($($more:literal),*) => {
        &["user", "users", "group", "groups", "uid", "uids", "gid", "gids", "unit", "units", $($more),*]
    };
}

/// Fields of `[admins]` and `[operators]`.
const ROLE: &[&str] = who_fields!();
/// Fields of a rule.
const RULE: &[&str] = who_fields!(
    "socket",
    "sockets",
    "name",
    "keys",
    "allow",
    "rate",
    "require_context",
    "no_reveal",
    "delegate"
);
/// Fields of `delegate`.
const DELEGATE: &[&str] = who_fields!("keys");

/// Users or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Group,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

/// Roles and rules of all files together.
pub(crate) struct Rules<'n> {
    names: &'n dyn Names,
    pub(crate) admins: Who,
    pub(crate) operators: Who,
    pub(crate) list: Vec<RuleSpec>,
    pub(crate) found: Vec<Setting>,
}

impl<'n> Rules<'n> {
    pub(crate) fn new(names: &'n dyn Names) -> Self {
        Self { names, admins: Who::default(), operators: Who::default(), list: Vec::new(), found: Vec::new() }
    }

    /// Lists in order and without doubles, so that equal policies are equal.
    pub(crate) fn finish(mut self) -> Self {
        for rule in &mut self.list {
            let delegated = rule.delegate.as_mut().map(|delegate| &mut delegate.keys);
            let lists = [&mut rule.keys, &mut rule.allow, &mut rule.require_context];
            for texts in lists.into_iter().chain(delegated) {
                texts.sort_unstable();
                texts.dedup();
            }
        }
        let rules = self.list.iter_mut();
        let of_rules =
            rules.flat_map(|rule| [Some(&mut rule.who), rule.delegate.as_mut().map(|d| &mut d.callers)]);
        for who in of_rules.flatten().chain([&mut self.admins, &mut self.operators]) {
            for numbers in [&mut who.uids, &mut who.gids] {
                numbers.sort_unstable();
                numbers.dedup();
            }
            for texts in [&mut who.units, &mut who.sockets] {
                texts.sort_unstable();
                texts.dedup();
            }
        }
        self
    }

    /// Those of one file, after those of the files before it.
    pub(crate) fn read(&mut self, root: &Table<'_>) -> Result<(), ConfigurationError> {
        if let Some(table) = root.section("admins", ROLE)? {
            let who = self.who(&table)?;
            extend(&mut self.admins, who);
        }
        if let Some(table) = root.section("operators", ROLE)? {
            let who = self.who(&table)?;
            extend(&mut self.operators, who);
        }
        root.sections("rule")?.iter().try_for_each(|value| self.add(value))
    }

    fn add(&mut self, value: &Value<'_>) -> Result<(), ConfigurationError> {
        let title = value.peek("name").map_or("[[rule]]".to_owned(), |name| format!("rule {name:?}"));
        let prefix = value.peek("name").map_or("rule.".to_owned(), |name| format!("rule.{name}."));
        let table = value.table(title, prefix, RULE, "[[rule]] begins each one")?;
        let name_value = needed(&table, "name", "name = \"billing\"")?;
        let name = Given::from(&name_value).parse(name)?;
        let first = self.found.iter().find(|setting| setting.name == format!("rule.{name}"));
        if let Some(first) = first.map(|setting| setting.origin.clone()) {
            return Err(ConfigurationError::new(
                table.at,
                Problem::Twice { what: format!("rule {name:?}"), first },
            ));
        }
        let allow = texts(&needed(&table, "allow", "allow = [\"encrypt\", \"decrypt\"]")?)?;
        self.found.push(Setting {
            name: format!("rule.{name}"),
            value: format!("(rule {})", self.list.len() + 1),
            origin: table.at.clone(),
        });
        let who = self.who(&table)?;
        let delegate = table.get("delegate").map(|value| self.delegate(&value)).transpose()?;
        for field in ["keys", "allow", "rate", "require_context", "no_reveal"] {
            self.record(table.get(field));
        }
        self.list.push(RuleSpec {
            who,
            keys: optional_texts(&table, "keys")?,
            allow,
            rate: table.get("rate").map(|value| Given::from(&value).parse(rate)).transpose()?,
            require_context: optional_texts(&table, "require_context")?,
            no_reveal: table.get("no_reveal").map_or(Ok(false), |value| Given::from(&value).parse(truth))?,
            delegate,
            name,
        });
        Ok(())
    }

    fn delegate(&mut self, value: &Value<'_>) -> Result<DelegateSpec, ConfigurationError> {
        let title = format!("delegate of {}", value.table);
        let fix = "delegate = { users = [\"ana\"], keys = [\"billing/*\"] }";
        let table = value.table(title, format!("{}.", value.name), DELEGATE, fix)?;
        let callers = self.who(&table)?;
        self.record(table.get("keys"));
        Ok(DelegateSpec { callers, keys: optional_texts(&table, "keys")? })
    }

    /// Who a table is about.
    fn who(&mut self, table: &Table<'_>) -> Result<Who, ConfigurationError> {
        let mut who = Who::default();
        let fields = [
            ("user", Some(Kind::User)),
            ("uid", Some(Kind::User)),
            ("group", Some(Kind::Group)),
            ("gid", Some(Kind::Group)),
            ("unit", None),
            ("socket", None),
        ];
        for (singular, kind) in fields {
            for field in [singular.to_owned(), format!("{singular}s")] {
                let Some(value) = table.get(&field) else { continue };
                for element in value.elements() {
                    match kind {
                        Some(Kind::User) => who.uids.push(self.number(&element, singular, Kind::User)?),
                        Some(Kind::Group) => who.gids.push(self.number(&element, singular, Kind::Group)?),
                        None if singular == "unit" => who.units.push(text(&element)?),
                        None => who.sockets.push(text(&element)?),
                    }
                }
                self.record(Some(value));
            }
        }
        Ok(who)
    }

    /// `user` and `group` take names and numbers, `uid` and `gid` numbers alone.
    fn number(&self, value: &Value<'_>, field: &str, kind: Kind) -> Result<u32, ConfigurationError> {
        let is_text = matches!(Given::from(value).content, Content::Text(_));
        if is_text && field != kind.word() {
            let fix = format!("{} = {}", kind.word(), Given::from(value).quoted());
            return Err(value.refuse("it is a number; a name is looked up by another field", &fix));
        }
        id(value, kind, self.names)
    }

    fn record(&mut self, value: Option<Value<'_>>) {
        if let Some(value) = value {
            let shown = value.written();
            self.found.push(Setting { name: value.name, value: shown, origin: value.at });
        }
    }
}

/// The number of a user or group that is given by name or number.
pub(crate) fn id(value: &Value<'_>, kind: Kind, names: &dyn Names) -> Result<u32, ConfigurationError> {
    let given = Given::from(value);
    let fix = match kind {
        Kind::User => "user = \"ana\", or uid = 1000",
        Kind::Group => "group = \"billing\", or gid = 1000",
    };
    let name = match &given.content {
        Content::Text(name) => name,
        // The highest number means "no change" to the kernel and belongs to nobody.
        Content::Number(number) => match u32::try_from(*number) {
            Ok(number) if number < u32::MAX => return Ok(number),
            _ => return Err(value.refuse("no user and no group has this number", fix)),
        },
        other => {
            let why = format!("a name or a number is needed, not {}", other.kind());
            return Err(value.refuse(&why, fix));
        }
    };
    let found = match kind {
        Kind::User => names.user(name),
        Kind::Group => names.group(name),
    };
    let (at, table, name, kind) = (value.at.clone(), value.table.clone(), name.clone(), kind.word());
    match found {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(ConfigurationError::new(at, Problem::NoSuchName { table, kind, name })),
        Err(why) => Err(ConfigurationError::new(at, Problem::LookUpFailed { table, kind, name, why })),
    }
}

/// Where a field of a table stands, for what the policy itself refuses; the table's first line at least.
pub(crate) fn place(found: &[Setting], table: &str, field: &str) -> Option<Origin> {
    // Whom a table is about is said by fields of several names.
    let fields: &[&str] = match field {
        "uids" => &["uids", "uid", "users", "user"],
        "gids" => &["gids", "gid", "groups", "group"],
        "units" => &["units", "unit"],
        "sockets" => &["sockets", "socket"],
        "delegate.callers" => &["delegate.users", "delegate.groups", "delegate.units", "delegate.keys"],
        other => &[other],
    };
    let names = fields.iter().map(|field| format!("{table}.{field}")).chain([table.to_owned()]);
    let mut fitting = names.filter_map(|name| found.iter().find(|setting| setting.name == name));
    let within = format!("{table}.");
    let first = || found.iter().find(|setting| setting.name.starts_with(&within));
    fitting.next().or_else(first).map(|setting| setting.origin.clone())
}

fn needed<'d>(table: &Table<'d>, field: &'static str, fix: &str) -> Result<Value<'d>, ConfigurationError> {
    table.get(field).ok_or_else(|| {
        ConfigurationError::new(
            table.at.clone(),
            Problem::Missing { field, table: table.title.clone(), fix: fix.to_owned() },
        )
    })
}

fn optional_texts(table: &Table<'_>, field: &str) -> Result<Vec<String>, ConfigurationError> {
    table.get(field).map_or(Ok(Vec::new()), |value| texts(&value))
}

/// One text or a list of them.
fn texts(value: &Value<'_>) -> Result<Vec<String>, ConfigurationError> {
    value.elements().iter().map(text).collect()
}

fn text(value: &Value<'_>) -> Result<String, ConfigurationError> {
    let field = value.name.rsplit('.').next().unwrap_or_default();
    let example = match field {
        "unit" | "units" => "billing.service",
        "socket" | "sockets" => "agent",
        "allow" => "encrypt",
        "require_context" => "table",
        _ => "billing/*",
    };
    let fix = format!("{field} = [{example:?}]");
    Given::from(value).parse(|given| given.text(&fix).map(str::to_owned))
}

fn truth(given: &Given) -> Result<bool, Refusal> {
    match given.content {
        Content::Truth(truth) => Ok(truth),
        _ => Err(Refusal::new("true or false is needed", "no_reveal = true")),
    }
}

fn extend(who: &mut Who, more: Who) {
    who.uids.extend(more.uids);
    who.gids.extend(more.gids);
    who.units.extend(more.units);
    who.sockets.extend(more.sockets);
}

//! `keyagent policy check` and `policy explain`: whether the rules load, and what they say about one question.
//!
//! It asks no agent: an answer is about the files as they are now. Who belongs to which group comes from the
//! user database here, and from the kernel in the daemon.

use std::{ffi::CString, fmt::Write};

use clap::{ArgGroup, Args, Subcommand};
use keyagent_common::{name::KeyName, op::OperationCode, report::escape};
use keyagent_config::Configuration;
use keyagent_core::policy::{Explanation, Policy, Rate, Subject, Verdict};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use serde::Serialize;

use crate::{
    command::{
        NEGATIVE, OK,
        config::{Loaded, PlaceArguments, hexadecimal, load},
    },
    console::{self, Color, Console},
    failure::{Failure, usage},
};

/// `keyagent policy`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether the configuration loads, and what looks odd in its rules
    Check(PlaceArguments),
    /// Say whether a caller may do something, and why; exit 1 when it is denied
    Explain(Box<ExplainArguments>),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("caller").required(true)))]
struct ExplainArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// User by number
    #[arg(long, value_name = "N", group = "caller")]
    uid: Option<u32>,
    /// User by name
    #[arg(long, value_name = "NAME", group = "caller")]
    user: Option<String>,
    /// Primary group by number [default: the user's]
    #[arg(long, value_name = "N")]
    gid: Option<u32>,
    /// Another group by name or number (repeatable) [default: the user's]
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Systemd system unit that it runs in
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Socket that it comes through [default: the first]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Operation, such as encrypt
    #[arg(long, value_name = "OPERATION")]
    op: String,
    /// Name of a key; without it: of some key
    #[arg(short, long, value_name = "NAME")]
    key: Option<String>,
}

/// What the kernel would say about a caller.
struct Caller {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    unit: Option<String>,
    socket: String,
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    schema: &'static str,
    mode: &'static str,
    files: Vec<String>,
    rules: usize,
    policy_digest: String,
    warnings: Vec<WarningDocument<'a>>,
}

#[derive(Serialize)]
struct WarningDocument<'a> {
    rule: &'a str,
    origin: String,
    message: &'a str,
}

#[derive(Serialize)]
struct ExplainDocument<'a> {
    schema: &'static str,
    allowed: bool,
    may_connect: bool,
    role: &'static str,
    why: &'a str,
    rule: Option<&'a str>,
    origin: Option<String>,
    obligations: ObligationsDocument<'a>,
    rules: Vec<RuleDocument<'a>>,
    caller: CallerDocument<'a>,
    operation: &'static str,
    key: Option<&'a str>,
}

#[derive(Serialize)]
struct ObligationsDocument<'a> {
    rate: Option<String>,
    require_context: &'a [String],
    no_reveal: bool,
}

#[derive(Serialize)]
struct RuleDocument<'a> {
    rule: &'a str,
    origin: Option<String>,
    allows: bool,
    reason: String,
}

#[derive(Serialize)]
struct CallerDocument<'a> {
    uid: u32,
    gid: u32,
    groups: &'a [u32],
    unit: Option<&'a str>,
    listener: &'a str,
}

pub(crate) fn run(console: &Console, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::Check(place) => check(console, place),
        Verb::Explain(arguments) => explain(console, arguments),
    }
}

fn check(console: &Console, place: &PlaceArguments) -> Result<u8, Failure> {
    let Loaded { configuration, files, mode } = load(console, place)?;
    let warnings = configuration.warnings();
    let read: Vec<String> =
        files.iter().filter(|(_, read)| *read).map(|(path, _)| path.display().to_string()).collect();
    let rules = configuration.policy.rules.len();
    if console.json {
        let shown = warnings.iter().map(|warning| WarningDocument {
            rule: &warning.rule,
            origin: warning.origin.to_string(),
            message: &warning.message,
        });
        let policy_digest = hexadecimal(&configuration.digest);
        let (schema, warnings) = ("keyagent.policy-check/1", shown.collect());
        console::print_json(&CheckDocument { schema, mode, files: read, rules, policy_digest, warnings })?;
        return Ok(OK);
    }
    let mut text = String::new();
    for warning in &warnings {
        let word = console.paint(Color::Yellow, "warning");
        let _ = writeln!(
            text,
            "{word}  rule {:?}   {}\n         {}",
            warning.rule,
            warning.origin,
            escape(&warning.message)
        );
    }
    let files = if read.is_empty() { "no file".to_owned() } else { escape(&read.join(", ")) };
    let rules = if rules == 1 { "1 rule".to_owned() } else { format!("{rules} rules") };
    let word = console.paint(Color::Green, "ok");
    let _ = writeln!(text, "{word}       {rules}, {mode} mode   {files}");
    if console.talks() {
        console::print(&text)?;
    }
    Ok(OK)
}

fn explain(console: &Console, arguments: &ExplainArguments) -> Result<u8, Failure> {
    let operation = operation(&arguments.op)?;
    if let Some(key) = &arguments.key {
        KeyName::parse(key)
            .map_err(|error| usage("not a key name").fact("key", key).why(error.to_string()))?;
    }
    let Loaded { configuration, .. } = load(console, &arguments.place)?;
    let caller = Caller::of(arguments, &configuration)?;
    let policy = Policy::build(configuration.policy.clone()).map_err(|error| {
        keyagent_common::report::Report::new(
            keyagent_common::error::ErrorCode::Configuration,
            "the policy cannot be enforced",
        )
        .why(error.to_string())
    })?;
    let key = arguments.key.as_deref();
    let explanation = policy.explain(&caller.subject(), operation, key);
    let answer =
        Answer { configuration: &configuration, caller: &caller, operation, key, explanation: &explanation };
    if console.json {
        console::print_json(&answer.document())?;
    } else if console.talks() {
        console::print(&answer.text(console))?;
    }
    Ok(if explanation.allowed { OK } else { NEGATIVE })
}

fn operation(text: &str) -> Result<OperationCode, Failure> {
    let name = text.replace('-', "_");
    let found = OperationCode::ALL.iter().find(|operation| operation.name() == name);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = OperationCode::ALL.iter().map(|operation| operation.name()).collect();
        usage("there is no such operation")
            .fact("op", text)
            .fix(format!("one of {}", known.join(", ")))
            .into()
    })
}

impl Caller {
    fn of(arguments: &ExplainArguments, configuration: &Configuration) -> Result<Self, Failure> {
        let account = match (&arguments.user, arguments.uid) {
            (Some(name), _) => {
                let found = User::from_name(name).ok().flatten();
                Some(found.ok_or_else(|| usage("there is no such user").fact("user", name))?)
            }
            (None, Some(uid)) => User::from_uid(Uid::from_raw(uid)).ok().flatten(),
            (None, None) => None,
        };
        let uid = account.as_ref().map(|user| user.uid.as_raw()).or(arguments.uid).unwrap_or_default();
        let gid = arguments.gid.or_else(|| account.as_ref().map(|user| user.gid.as_raw())).unwrap_or(uid);
        let groups = match (arguments.group.as_slice(), &account) {
            ([], Some(user)) if arguments.gid.is_none() => {
                let name = CString::new(user.name.as_str()).unwrap_or_default();
                let groups = getgrouplist(&name, user.gid).unwrap_or_default();
                groups.into_iter().map(Gid::as_raw).filter(|group| *group != gid).collect()
            }
            (groups, _) => groups.iter().map(|group| group_id(group)).collect::<Result<_, _>>()?,
        };
        let listeners = &configuration.settings.listeners;
        let socket = match &arguments.listener {
            Some(name) if !listeners.iter().any(|listener| listener.name == *name) => {
                let known: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
                let report = usage("there is no such listener").fact("listener", name);
                return Err(report.fix(format!("one of {}", known.join(", "))).into());
            }
            Some(name) => name.clone(),
            None => listeners.first().map(|listener| listener.name.clone()).unwrap_or_default(),
        };
        Ok(Self { uid, gid, groups, unit: arguments.unit.clone(), socket })
    }

    fn subject(&self) -> Subject<'_> {
        let Self { uid, gid, groups, unit, socket } = self;
        Subject { uid: *uid, gid: *gid, groups, unit: unit.as_deref(), socket }
    }

    fn shown(&self) -> String {
        let groups: Vec<String> = [self.gid].iter().chain(&self.groups).map(u32::to_string).collect();
        let unit =
            self.unit.as_deref().map_or_else(|| "no system unit".to_owned(), |unit| format!("unit {unit}"));
        let listener = &self.socket;
        format!("uid {}, groups {}, {}, listener {listener}", self.uid, groups.join(" "), escape(&unit))
    }
}

fn group_id(text: &str) -> Result<u32, Failure> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let found = Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
    found.ok_or_else(|| usage("there is no such group").fact("group", text).into())
}

/// One question with what the policy says.
struct Answer<'a> {
    configuration: &'a Configuration,
    caller: &'a Caller,
    operation: OperationCode,
    key: Option<&'a str>,
    explanation: &'a Explanation,
}

impl Answer<'_> {
    fn origin(&self, rule: &str) -> Option<String> {
        self.configuration.setting(&format!("rule.{rule}")).map(|setting| setting.origin.to_string())
    }

    fn text(&self, console: &Console) -> String {
        let Explanation { allowed, rule, obligations, rules, why, .. } = self.explanation;
        let word = if *allowed {
            console.paint(Color::Green, "allowed")
        } else {
            console.paint(Color::Red, "denied ")
        };
        let key = self.key.map(|key| format!(" on key {key:?}")).unwrap_or_default();
        let mut text = format!("{word}  {}{key}\n", self.operation.name());
        let mut row = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<8} {}", escape(value));
        };
        row("caller", &self.caller.shown());
        row("why", why);
        if let Some(rule) = rule {
            row("rule", &format!("{rule:?}   {}", self.origin(rule).unwrap_or_default()));
        }
        if let Some(rate) = obligations.rate {
            row("rate", &rate_text(rate));
        }
        if !obligations.require_context.is_empty() {
            row("context", &format!("must name {}", obligations.require_context.join(", ")));
        }
        if obligations.no_reveal {
            row("reveal", "data_key answers without the plain key");
        }
        for verdict in rules.iter().filter(|_| !allowed) {
            let place = self.origin(&verdict.rule).unwrap_or_default();
            row("no", &format!("rule {:?}   {place}   {}", verdict.rule, self.reason(verdict.verdict)));
        }
        text
    }

    /// Why a rule does not allow the request.
    fn reason(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Allows => "allows it".to_owned(),
            Verdict::NotThisCaller("uids") => "about other users".to_owned(),
            Verdict::NotThisCaller("gids") => "about other groups".to_owned(),
            Verdict::NotThisCaller("units") => "about other units".to_owned(),
            Verdict::NotThisCaller("sockets") => "about other listeners".to_owned(),
            Verdict::NotThisCaller(field) => format!("not about this caller: {field}"),
            Verdict::NotThisOperation => format!("does not allow {}", self.operation.name()),
            Verdict::NotThisKey => "about other keys".to_owned(),
        }
    }

    fn document(&self) -> ExplainDocument<'_> {
        let Explanation { may_connect, role, allowed, rule, obligations, rules, why } = self.explanation;
        let verdicts = rules.iter().map(|verdict| RuleDocument {
            rule: &verdict.rule,
            origin: self.origin(&verdict.rule),
            allows: verdict.verdict == Verdict::Allows,
            reason: self.reason(verdict.verdict),
        });
        let Caller { uid, gid, groups, unit, socket } = self.caller;
        ExplainDocument {
            schema: "keyagent.policy-explain/1",
            allowed: *allowed,
            may_connect: *may_connect,
            role: role.name(),
            why,
            rule: rule.as_deref(),
            origin: rule.as_deref().and_then(|rule| self.origin(rule)),
            obligations: ObligationsDocument {
                rate: obligations.rate.map(rate_text),
                require_context: &obligations.require_context,
                no_reveal: obligations.no_reveal,
            },
            rules: verdicts.collect(),
            caller: CallerDocument { uid: *uid, gid: *gid, groups, unit: unit.as_deref(), listener: socket },
            operation: self.operation.name(),
            key: self.key,
        }
    }
}

/// As it is written in the file.
fn rate_text(rate: Rate) -> String {
    let unit = match rate.per_seconds {
        1 => "s".to_owned(),
        60 => "m".to_owned(),
        3600 => "h".to_owned(),
        86_400 => "d".to_owned(),
        seconds => format!("{seconds}s"),
    };
    format!("{}/{unit} burst {}", rate.count, rate.burst)
}

//! Every field, every refusal, the order of files, where values come from, and what the digest tells.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use keyagent_core::policy::{Rate, RuleSpec, Who};
use proptest::prelude::*;

use crate::*;

mod origins;
mod refusals;

pub(crate) struct Accounts;

impl Names for Accounts {
    fn user(&self, name: &str) -> Result<Option<u32>, String> {
        match name {
            "ana" => Ok(Some(1000)),
            "ben" => Ok(Some(1001)),
            "slow" => Err("the directory server does not answer".to_owned()),
            _ => Ok(None),
        }
    }

    fn group(&self, name: &str) -> Result<Option<u32>, String> {
        match name {
            "billing" => Ok(Some(50)),
            "slow" => Err("the directory server does not answer".to_owned()),
            _ => Ok(None),
        }
    }
}

pub(crate) const OWNER: Mode = Mode::User { owner: 1000 };

pub(crate) fn source(kind: SourceKind, text: &str) -> Source {
    let path = match kind {
        SourceKind::System => "/etc/keyagent/config.toml",
        SourceKind::User => "/home/ana/.config/keyagent/config.toml",
        SourceKind::Named => "/c.toml",
    };
    Source { path: PathBuf::from(path), text: text.to_owned(), kind }
}

pub(crate) fn parse(text: &str, mode: Mode) -> Result<Configuration, ConfigurationError> {
    Configuration::parse(&[source(SourceKind::Named, text)], &[], &Flags::default(), mode, &Accounts)
}

#[track_caller]
pub(crate) fn good(text: &str) -> Configuration {
    parse(text, Mode::System).unwrap_or_else(|error| panic!("{}", error.report().to_text("t")))
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn nothing_said_means_the_documented_defaults() {
    let system = good("");
    let listener = |mode| Listener { name: "agent".to_owned(), path: None, mode, group: None };
    let expected = Settings {
        key_file: None,
        state_dir: None,
        log: LogFormat::Text,
        listeners: vec![listener(SocketMode::Everybody)],
        lock: LockSettings { idle: None, absolute: None },
        audit: AuditSettings {
            durability: Durability::Write,
            rotate_size: 64 << 20,
            rotate_age: None,
            keep: hours(400 * 24),
            budget: 1 << 30,
            warn_percent: 80,
            when_full: WhenFull::DeleteOldest,
            journald: Journald::Off,
        },
        alerts: AlertSettings { decryption_failures: 5, window: hours(1) },
        rotation_due: hours(24),
    };
    assert_eq!(system.settings, expected);
    let user = parse("", OWNER).unwrap();
    assert_eq!(user.settings, Settings { listeners: vec![listener(SocketMode::Owner)], ..expected });
    assert_eq!((user.policy.rules.len(), user.policy.admins.is_empty()), (0, true));
    assert!(system.origins.iter().chain(&user.origins).all(|setting| setting.origin == Origin::Default));
}

#[test]
fn every_single_value_is_read() {
    let text = r#"
        [daemon]
        key_file = "/k/key"
        state_dir = "/s"
        log = "json"
        [lock]
        idle = "15m"
        absolute = "12h"
        [audit]
        durability = "fsync"
        rotate_size = "128KiB"
        rotate_age = "7d"
        keep = "30d"
        budget = 1048576
        warn_percent = 50
        when_full = "refuse"
        journald = "all"
        [alerts]
        decryption_failures = 9
        window = "90s"
        [policy]
        rotation_due = "2d"
    "#;
    let settings = good(text).settings;
    assert_eq!(
        (settings.key_file, settings.state_dir, settings.log),
        (Some(PathBuf::from("/k/key")), Some(PathBuf::from("/s")), LogFormat::Json)
    );
    let quarter = Duration::from_mins(15);
    assert_eq!(settings.lock, LockSettings { idle: Some(quarter), absolute: Some(hours(12)) });
    let expected = AuditSettings {
        durability: Durability::Fsync,
        rotate_size: 128 << 10,
        rotate_age: Some(hours(168)),
        keep: hours(720),
        budget: 1 << 20,
        warn_percent: 50,
        when_full: WhenFull::Refuse,
        journald: Journald::All,
    };
    assert_eq!(settings.audit, expected);
    let window = Duration::from_secs(90);
    assert_eq!(settings.alerts, AlertSettings { decryption_failures: 9, window });
    assert_eq!(settings.rotation_due, hours(48));
    assert_eq!(good("audit.journald = \"alerts\"").settings.audit.journald, Journald::Alerts);
}

#[test]
fn listeners_have_names_paths_modes_and_groups() {
    let text = r#"
        [[listen]]
        name = "agent"
        [[listen]]
        name = "apps"
        path = "/run/keyagent/apps.sock"
        mode = "0660"
        group = "billing"
        [[listen]]
        name = "admins"
        path = "/run/keyagent/admins.sock"
        mode = "0600"
    "#;
    let listeners = good(text).settings.listeners;
    let shown: Vec<_> = listeners
        .iter()
        .map(|each| (each.name.as_str(), each.path.is_some(), each.mode.bits(), each.group))
        .collect();
    assert_eq!(
        shown,
        [("agent", false, 0o666, None), ("apps", true, 0o660, Some(50)), ("admins", true, 0o600, None)]
    );
    assert_eq!(
        parse("[[listen]]\nname = \"a\"", OWNER).unwrap().settings.listeners[0].mode,
        SocketMode::Owner
    );
    let number = good("[[listen]]\nname = \"a\"\nmode = \"0660\"\ngroup = 7").settings.listeners;
    assert_eq!(number[0].group, Some(7));
}

#[test]
fn every_field_of_a_rule_is_read() {
    let text = r#"
        [admins]
        users = ["ana", 7]
        groups = "billing"
        [operators]
        uids = [8, 8, 3]
        gid = 9
        units = ["ops@*.service"]
        [[listen]]
        name = "agent"
        [[rule]]
        name = "billing"
        user = "ben"
        users = ["ana"]
        uid = 5
        uids = [6]
        group = "billing"
        groups = [4]
        gid = 3
        gids = [2]
        unit = "billing.service"
        units = ["b@*.service"]
        socket = "agent"
        sockets = ["apps"]
        keys = ["billing/*", "a"]
        allow = ["encrypt", "decrypt"]
        rate = "100/s burst 200"
        require_context = "table"
        no_reveal = false
        delegate = { users = ["ana"], units = "web.service", keys = "billing/*" }
        [[rule]]
        name = "sealer"
        uid = 12
        keys = "logs"
        allow = "data_key"
        no_reveal = true
    "#;
    let policy = good(text).policy;
    let who = |uids: &[u32], gids: &[u32], units: &[&str], sockets: &[&str]| Who {
        uids: uids.to_vec(),
        gids: gids.to_vec(),
        units: strings(units),
        sockets: strings(sockets),
    };
    assert_eq!(policy.admins, who(&[7, 1000], &[50], &[], &[]));
    assert_eq!(policy.operators, who(&[3, 8], &[9], &["ops@*.service"], &[]));
    let [rule, sealer] = policy.rules.as_slice() else { panic!("{:?}", policy.rules) };
    let expected = RuleSpec {
        name: "billing".to_owned(),
        who: who(
            &[5, 6, 1000, 1001],
            &[2, 3, 4, 50],
            &["b@*.service", "billing.service"],
            &["agent", "apps"],
        ),
        keys: strings(&["a", "billing/*"]),
        allow: strings(&["decrypt", "encrypt"]),
        rate: Some(Rate { count: 100, per_seconds: 1, burst: 200 }),
        require_context: strings(&["table"]),
        no_reveal: false,
        delegate: rule.delegate.clone(),
    };
    assert_eq!(*rule, expected);
    let delegate = rule.delegate.as_ref().unwrap();
    assert_eq!(delegate.callers, who(&[1000], &[], &["web.service"], &[]));
    assert_eq!(delegate.keys, ["billing/*"]);
    assert_eq!((sealer.no_reveal, sealer.rate, sealer.delegate.is_none()), (true, None, true));
}

#[test]
fn the_digest_changes_exactly_when_the_policy_does() {
    let rule = "[[rule]]\nname = \"a\"\nuser = \"ana\"\nkeys = [\"k\", \"l\"]\nallow = [\"encrypt\"]\n";
    let digest = |text: &str| good(text).digest;
    let same = digest(rule);
    for text in [
        format!("# words\n\n{rule}"),
        format!("{rule}[lock]\nidle = \"1h\"\n[[listen]]\nname = \"x\"\npath = \"/x\"\n"),
        rule.replace("user = \"ana\"", "uid = 1000"),
        rule.replace("user = \"ana\"", "uids = [1000, 1000]"),
        rule.replace("[\"k\", \"l\"]", "[\"l\", \"k\"]"),
        rule.replace("[\"encrypt\"]", "\"encrypt\""),
    ] {
        assert_eq!(digest(&text), same, "{text}");
    }
    let mut seen = vec![same, parse(rule, OWNER).unwrap().digest];
    for text in [
        String::new(),
        rule.replace("\"a\"\n", "\"b\"\n"),
        rule.replace("ana", "ben"),
        rule.replace("user = \"ana\"", "gid = 1000"),
        rule.replace("[\"k\", \"l\"]", "[\"k\"]"),
        rule.replace("encrypt", "decrypt"),
        format!("{rule}rate = \"1/s\"\n"),
        format!("{rule}rate = \"1/s burst 2\"\n"),
        format!("{rule}require_context = \"table\"\n"),
        format!("{rule}unit = \"a.service\"\n"),
        format!("{rule}socket = \"agent\"\n"),
        format!("{rule}delegate = {{ uid = 5, keys = \"k\" }}\n"),
        format!("{rule}[admins]\nuid = 5\n"),
        format!("{rule}[operators]\nuid = 5\n"),
        format!("{rule}{}", rule.replace("\"a\"\n", "\"b\"\n")),
        format!("{}{rule}", rule.replace("\"a\"\n", "\"b\"\n")),
    ] {
        let digest = digest(&text);
        assert!(!seen.contains(&digest), "{text}");
        seen.push(digest);
    }
}

#[test]
fn warnings_say_what_is_hardly_meant() {
    let warned = |text: &str, mode: Mode| -> Vec<String> {
        parse(text, mode)
            .unwrap()
            .warnings()
            .into_iter()
            .map(|warning| format!("{}: {}", warning.rule, warning.message))
            .collect()
    };
    let rule = |name: &str, more: &str| {
        format!("[[rule]]\nname = \"{name}\"\nkeys = \"k\"\nallow = \"decrypt\"\n{more}\n")
    };
    assert_eq!(warned(&rule("a", "uid = 5"), Mode::System), Vec::<String>::new());
    for (text, mode, expected) in [
        (rule("a", "uid = 5\nsocket = \"apps\""), Mode::System, "no listener is called \"apps\""),
        (rule("a", "uid = 5"), OWNER, "have mode 0600"),
        (rule("a", "uid = 1000"), OWNER, "may do everything anyway"),
        (rule("a", "uid = 0"), Mode::System, "may do everything anyway"),
        (rule("a", "uid = 5") + "[admins]\nuid = 5\n", Mode::System, "may do everything anyway"),
        (
            rule("a", "uid = 5") + &rule("b", "uid = 5\nrate = \"1/s\""),
            Mode::System,
            "rule \"a\" stands before",
        ),
    ] {
        let found = warned(&text, mode);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
    for more in ["rate = \"1/s\"", "require_context = \"table\"", "unit = \"a.service\""] {
        let text = rule("a", &format!("uid = 5\n{more}")) + &rule("b", "uid = 5");
        assert_eq!(
            warned(&text, Mode::System),
            Vec::<String>::new(),
            "a narrower rule hides nothing: {more}"
        );
    }
}

/// Text that looks like a configuration, with anything in it.
fn almost() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "[daemon]",
        "[[listen]]",
        "[lock]",
        "[audit]",
        "[[rule]]",
        "[admins]",
        "name",
        "path",
        "idle",
        "uid",
        "users",
        "keys",
        "allow",
        "rate",
        "delegate",
        "rule",
        "=",
        "\"a\"",
        "\"100/s\"",
        "\"15m\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "true",
        "0",
        "-1",
        "99999999999999999999",
        "1.5",
        "nan",
        "1979-05-27",
        "\n",
        " ",
        "#",
        "\"",
        "'''",
        "\u{0}",
        "\u{e9}",
        "\"/x\"",
        "\"**\"",
        "0x10",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse(&text, Mode::System).map_err(|error| error.report().to_text("t"));
    }

    #[test]
    fn no_text_that_is_almost_right_makes_it_panic(text in almost(), user in any::<bool>()) {
        let mode = if user { OWNER } else { Mode::System };
        match parse(&text, mode) {
            Ok(configuration) => drop(configuration.warnings()),
            Err(error) => prop_assert!(error.report().to_text("t").contains("code 78")),
        }
    }

    #[test]
    fn no_variable_makes_it_panic(value in any::<String>()) {
        let variables = [("KEYAGENT_LOG", OsStr::new(&value)), ("KEYAGENT_KEY_FILE", OsStr::new(&value))];
        let read = Configuration::parse(&[], &variables, &Flags::default(), OWNER, &Accounts);
        let good = ["", "text", "json"].contains(&value.as_str());
        prop_assert_eq!(read.is_ok(), good);
    }
}

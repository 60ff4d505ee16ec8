//! What does not load, and what is said about it.

use super::*;

/// Loads one rule, and gives the error's field and everything else it says.
fn refused(rule: RuleSpec) -> (&'static str, String) {
    let name = rule.name.clone();
    let error = Policy::build(system(vec![rule])).unwrap_err();
    assert_eq!(error.rule, Some(name));
    assert!(!error.why.is_empty() && !error.fix.is_empty(), "{error:?}");
    (error.field, format!("{error}; {}", error.fix))
}

fn good() -> RuleSpec {
    rule("good", uids(&[1001]), &["billing/*"], &["encrypt", "decrypt"])
}

#[track_caller]
fn expect(rule: RuleSpec, field: &str, said: &str) {
    let (found, text) = refused(rule);
    assert_eq!(found, field, "{text}");
    assert!(text.contains(said), "{text}");
}

#[test]
fn a_good_rule_loads() {
    assert!(Policy::build(system(vec![good()])).is_ok());
}

#[test]
fn a_rule_about_everybody() {
    expect(RuleSpec { who: Who::default(), ..good() }, "who", "about everybody");
    let door = Who { sockets: texts(&["app"]), ..Who::default() };
    expect(RuleSpec { who: door.clone(), ..good() }, "who", "add uids, gids or units");
    let spec = PolicySpec { admins: door, ..system(vec![]) };
    assert_eq!(Policy::build(spec).unwrap_err().field, "admins");
}

#[test]
fn ids_that_are_nobodys() {
    for id in [65_534, u32::MAX] {
        expect(RuleSpec { who: uids(&[1, id]), ..good() }, "uids", "nobody's id");
        expect(RuleSpec { who: Who { gids: vec![id], ..Who::default() }, ..good() }, "gids", "nobody's id");
        let delegate = Some(DelegateSpec { callers: uids(&[id]), keys: texts(&["**"]) });
        expect(RuleSpec { delegate, ..good() }, "uids", "nobody's id");
        let spec = PolicySpec { operators: uids(&[id]), ..system(vec![]) };
        assert_eq!(Policy::build(spec).unwrap_err().field, "uids");
        let spec = PolicySpec { mode: Mode::User { owner: id }, ..system(vec![]) };
        assert_eq!(Policy::build(spec).unwrap_err().field, "mode");
    }
}

#[test]
fn operations_that_are_none() {
    for (word, suggestion) in [("encypt", "\"encrypt\""), ("DATA", "one of"), ("key-list", "\"key_list\"")] {
        expect(RuleSpec { allow: texts(&["decrypt", word]), ..good() }, "allow", suggestion);
    }
    expect(RuleSpec { allow: vec![], ..good() }, "allow", "allows nothing");
    expect(RuleSpec { allow: texts(&["\u{1b}[2J"]), ..good() }, "allow", "\\\\u{1b}[2J");
}

#[test]
fn operations_that_concern_everybody() {
    for word in ["unlock", "reload", "maintenance", "audit_query"] {
        expect(RuleSpec { allow: texts(&[word]), ..good() }, "allow", "make it an operator");
    }
    expect(RuleSpec { allow: texts(&["stop"]), ..good() }, "allow", "make it an admin");
    expect(RuleSpec { allow: texts(&["hello"]), ..good() }, "allow", "leave it out");
    for word in ["status", "health", "lock", "watch"] {
        assert!(Policy::build(system(vec![rule("a", uids(&[1]), &[], &[word])])).is_ok(), "{word}");
    }
}

#[test]
fn keys_missing_or_without_use() {
    for word in ["data", "encrypt", "key_list", "key_create", "key_disable"] {
        expect(rule("a", uids(&[1]), &[], &[word, "health"]), "keys", "`**` stands for every key");
    }
    expect(rule("a", uids(&[1]), &["default"], &["health"]), "keys", "has a key");
}

#[test]
fn patterns_that_are_none() {
    let nine = ["a*"; 9].join("");
    let long = "a".repeat(129);
    for pattern in ["", "A", "a//b", "***", &nine, &long] {
        expect(RuleSpec { keys: texts(&[pattern]), ..good() }, "keys", "");
    }
    let units = Who { units: texts(&["billing"]), ..Who::default() };
    expect(RuleSpec { who: units, ..good() }, "units", "write the ending too");
}

#[test]
fn rates_of_nothing_and_where_there_is_none() {
    let some = Rate { count: 1, per_seconds: 60, burst: 1 };
    let nothing = [
        Rate { count: 0, ..some },
        Rate { per_seconds: 0, ..some },
        Rate { burst: 0, ..some },
        Rate { per_seconds: 86_401, ..some },
    ];
    for rate in nothing {
        expect(RuleSpec { rate: Some(rate), ..good() }, "rate", "");
    }
    let mixed = texts(&["encrypt", "key_list", "health"]);
    expect(RuleSpec { rate: Some(some), allow: mixed, ..good() }, "rate", "health, key_list");
    assert!(Policy::build(system(vec![RuleSpec { rate: Some(some), ..good() }])).is_ok());
}

#[test]
fn contexts_that_cannot_be_required() {
    let required = |names: &[&str]| RuleSpec { require_context: texts(names), ..good() };
    for names in [&["User"][..], &[""], &["a", "a"], &["a b"]] {
        expect(required(names), "require_context", "-c NAME=VALUE");
    }
    let many: Vec<String> = (0..17).map(|n| format!("n{n}")).collect();
    expect(RuleSpec { require_context: many, ..good() }, "require_context", "at most 16");
    let mixed = texts(&["encrypt", "key_disable"]);
    expect(RuleSpec { allow: mixed, ..required(&["user"]) }, "require_context", "rule of their own");
    assert!(Policy::build(system(vec![required(&["b", "a"])])).is_ok());
}

#[test]
fn a_hidden_key_that_could_be_seen() {
    let hidden = |allow: &[&str]| RuleSpec { no_reveal: true, allow: texts(allow), ..good() };
    expect(hidden(&["data_key", "decrypt"]), "no_reveal", "decrypt");
    expect(hidden(&["data_key", "data_key_open"]), "no_reveal", "data_key_open");
    expect(hidden(&["data"]), "no_reveal", "decrypt, data_key_open");
    expect(hidden(&["encrypt"]), "no_reveal", "allow data_key");
    assert!(Policy::build(system(vec![hidden(&["data_key", "encrypt"])])).is_ok());
}

#[test]
fn delegates_that_could_never_ask() {
    let with = |callers: Who, keys: &[&str]| Some(DelegateSpec { callers, keys: texts(keys) });
    let door = Who { sockets: texts(&["app"]), ..uids(&[1]) };
    expect(RuleSpec { delegate: with(door, &["**"]), ..good() }, "delegate.callers", "leave sockets out");
    let nobody = Who::default();
    expect(RuleSpec { delegate: with(nobody, &["**"]), ..good() }, "delegate.callers", "everybody");
    expect(RuleSpec { delegate: with(uids(&[1]), &[]), ..good() }, "delegate.keys", "names no keys");
    let agent = RuleSpec { delegate: with(uids(&[1]), &["**"]), ..rule("a", uids(&[1]), &[], &["health"]) };
    expect(agent, "delegate", "operations on data");
    let keyless = rule("a", uids(&[1]), &[], &["data", "key_list"]);
    expect(RuleSpec { delegate: with(uids(&[1]), &["**"]), ..keyless }, "keys", "key_list");
}

#[test]
fn names_twice_or_not_fit_for_a_log() {
    let error = Policy::build(system(vec![good(), good()])).unwrap_err();
    assert_eq!((error.field, error.rule.as_deref()), ("name", Some("good")));
    for name in ["", "a\nb", "\u{202e}a", &"a".repeat(65)] {
        assert_eq!(refused(RuleSpec { name: name.to_owned(), ..good() }).0, "name");
    }
    let socket = Who { sockets: texts(&[""]), ..uids(&[1]) };
    expect(RuleSpec { who: socket, ..good() }, "sockets", "1 to 64 bytes");
}

#[test]
fn lists_and_policies_that_are_too_long() {
    let many = || (1..=257_u32).collect::<Vec<_>>();
    let words = |count: usize| vec!["encrypt".to_owned(); count];
    expect(RuleSpec { who: uids(&many()), ..good() }, "uids", "257");
    expect(RuleSpec { who: Who { gids: many(), ..Who::default() }, ..good() }, "gids", "257");
    expect(RuleSpec { keys: vec!["a".to_owned(); 257], ..good() }, "keys", "257");
    expect(RuleSpec { allow: words(257), ..good() }, "allow", "257");
    let units = Who { units: vec!["a.service".to_owned(); 257], ..Who::default() };
    expect(RuleSpec { who: units, ..good() }, "units", "257");
    let sockets = Who { sockets: words(257), ..uids(&[1]) };
    expect(RuleSpec { who: sockets, ..good() }, "sockets", "257");
    let crossed = Who { uids: (1..=40).collect(), gids: (1..=40).collect(), ..Who::default() };
    expect(RuleSpec { who: crossed, ..good() }, "who", "1600 combinations");

    let rules = |count: u32, uids_each: u32| -> Vec<RuleSpec> {
        let uids_of = |n: u32| (1..=uids_each).map(|m| 1_000_000_000 + n * uids_each + m).collect();
        let who = |n| Who { uids: uids_of(n), ..Who::default() };
        (0..count).map(|n| rule(&format!("r{n}"), who(n), &["a"], &["data"])).collect()
    };
    let error = Policy::build(system(rules(1025, 1))).unwrap_err();
    assert_eq!((error.field, error.rule), ("rules", None));
    assert!(Policy::build(system(rules(1024, 1))).is_ok());
    let error = Policy::build(system(rules(20, 256))).unwrap_err();
    assert!(error.fix.contains("name the group"), "{error}");
}

//! What is allowed: a matrix by hand, and everything else against a second, naive implementation.

use keyagent_common::op::OperationCode as Op;

use super::*;

fn rights(policy: &Arc<Policy>, subject: &Subject<'_>) -> Option<Rights> {
    policy.rights(subject)
}

fn company() -> Arc<Policy> {
    let unit = Who { units: texts(&["web@*.service"]), ..Who::default() };
    let group_by_door = Who { gids: vec![500], sockets: texts(&["app"]), ..Who::default() };
    let mut spec = system(vec![
        rule("billing", uids(&[1001]), &["billing/*"], &["encrypt", "decrypt"]),
        rule("web", unit, &["web/**"], &["data", "health"]),
        rule("door", group_by_door, &["default"], &["encrypt"]),
        rule("keeper", uids(&[1002]), &["**"], &["key_list", "key_create", "watch"]),
        rule("probe", uids(&[1003]), &[], &["status", "lock"]),
    ]);
    spec.admins = uids(&[10]);
    spec.operators = uids(&[20]);
    Arc::new(Policy::build(spec).unwrap())
}

/// Who, what, on which keys yes and on which no.
#[test]
fn the_matrix_of_roles_operations_and_keys() {
    let policy = company();
    let web = Subject { unit: Some("web@1.service"), ..subject(33) };
    let through = |socket| Subject { groups: &[4, 500], socket, ..subject(44) };
    let every = ["default", "billing/cards", "billing/a/b", "web/a/b", "none"];
    let data = [Op::Encrypt, Op::Decrypt, Op::DataKey, Op::DataKeyOpen];
    let keys = [Op::KeyCreate, Op::KeyList, Op::KeyDisable, Op::KeyEnable];
    // Subject, operations on keys that are allowed, the keys on which they are.
    let rows: [(Subject<'_>, &[Op], &[&str]); 9] = [
        (subject(0), &[data, keys].concat(), &every),
        (subject(10), &[data, keys].concat(), &every),
        (subject(20), &[Op::KeyList, Op::KeyDisable, Op::KeyEnable], &every),
        (subject(1001), &[Op::Encrypt, Op::Decrypt], &["billing/cards"]),
        (web, &data, &["web/a/b"]),
        (through("app"), &[Op::Encrypt], &["default"]),
        (subject(1002), &[Op::KeyList, Op::KeyCreate], &every),
        (subject(1003), &[], &[]),
        (through("main"), &[], &[]),
    ];
    for (subject, operations, allowed_keys) in rows {
        let rights = rights(&policy, &subject);
        for operation in [data, keys].concat() {
            for key in every {
                let allowed = rights.as_ref().is_some_and(|rights| rights.may_on(operation, key));
                let wanted = operations.contains(&operation) && allowed_keys.contains(&key);
                assert_eq!(allowed, wanted, "{subject:?} {operation:?} {key}");
            }
        }
    }
}

#[test]
fn the_matrix_of_roles_and_operations_on_the_agent() {
    let policy = company();
    let agent = |rights: &Rights| -> Vec<&str> {
        let on_agent = Op::ALL.iter().filter(|op| operations::kind(**op) == operations::Kind::Agent);
        on_agent.filter(|op| rights.may(**op)).map(|op| op.name()).collect()
    };
    let of = |subject: &Subject<'_>| agent(&rights(&policy, subject).unwrap()).join(" ");
    let all = "hello status health stop lock unlock reload maintenance audit_query watch batch \
               backup_create backup_restore master_rotate";
    assert_eq!(of(&subject(0)), all);
    assert_eq!(of(&subject(10)), all);
    assert_eq!(
        of(&subject(20)),
        "hello status health lock unlock reload maintenance audit_query watch batch"
    );
    assert_eq!(of(&subject(1001)), "hello batch");
    assert_eq!(of(&subject(1002)), "hello watch batch");
    assert_eq!(of(&subject(1003)), "hello status lock batch");
    assert_eq!(of(&Subject { unit: Some("web@1.service"), ..subject(33) }), "hello health batch");
}

#[test]
fn whoever_has_nothing_may_not_connect() {
    let policy = company();
    assert!(rights(&policy, &subject(1)).is_none());
    assert!(rights(&policy, &Subject { unit: Some("web.service"), ..subject(1) }).is_none());
    let owner = Arc::new(Policy::owner_only(7));
    assert!(rights(&owner, &subject(7)).is_some_and(|rights| rights.role() == Role::Owner));
    for uid in [0, 8, 65_534, u32::MAX] {
        assert!(rights(&owner, &subject(uid)).is_none(), "root is nobody in user mode");
    }
    assert!(owner.is_settled_by(7) && !owner.is_settled_by(0));
    assert!(
        policy.is_settled_by(0) && !policy.is_settled_by(10),
        "an admin by configuration may cease to be one"
    );
    let unmapped = Arc::new(Policy::owner_only(65_534));
    assert!(rights(&unmapped, &subject(65_534)).is_none());
    let everyone = rule("all", Who { gids: vec![5], ..Who::default() }, &["**"], &["data"]);
    let everyone = Arc::new(Policy::build(system(vec![everyone])).unwrap());
    let of = |uid| rights(&everyone, &Subject { gid: 5, ..subject(uid) });
    assert!(of(65_533).is_some() && of(65_534).is_none() && of(u32::MAX).is_none());
}

#[test]
fn what_a_caller_may_know() {
    let policy = company();
    let of = |uid| rights(&policy, &subject(uid)).unwrap();
    assert!(of(1001).any_on("billing/cards") && of(1001).any_on("billing/none"));
    assert!(!of(1001).any_on("default") && !of(1001).covers_every_key() && !of(1001).sees_everything());
    assert!(of(20).any_on("default") && of(20).covers_every_key() && of(20).sees_everything());
    assert!(of(1002).covers_every_key() && !of(1002).sees_everything() && !of(1002).is_admin());
    assert!(of(1002).may_on_every_key(Op::KeyCreate) && !of(1002).may_on_every_key(Op::Encrypt));
    assert!(of(0).is_admin() && of(0).may_on_every_key(Op::KeyDisable));
    assert!(of(1001).may(Op::Encrypt) && !of(1001).may(Op::DataKey) && !of(20).may(Op::Encrypt));
    assert_eq!(of(1001).rule_names().collect::<Vec<_>>(), ["billing"]);
}

// --- against a second implementation

const WORDS: [&str; 10] = [
    "encrypt",
    "decrypt",
    "data_key",
    "data_key_open",
    "data",
    "key_list",
    "key_create",
    "key_disable",
    "status",
    "watch",
];
const KEYS: [&str; 7] = ["default", "a", "a/b", "a/b/c", "b", "b/a", "none"];
const PATTERNS: [&str; 7] = ["default", "a", "*", "**", "a/*", "a/**", "*/a"];

fn some<T: Clone + core::fmt::Debug + 'static>(
    all: &'static [T],
    most: usize,
) -> impl Strategy<Value = Vec<T>> {
    proptest::collection::vec(proptest::sample::select(all), 0..=most)
}

fn who() -> impl Strategy<Value = Who> {
    let units = some(&["x.service", "y@*.service"], 1);
    let sockets = some(&["main", "app"], 1);
    (some(&[1, 2, 3], 2), some(&[1, 2, 9], 1), units, sockets).prop_map(|(uids, gids, units, sockets)| Who {
        uids,
        gids,
        units: texts(&units),
        sockets: texts(&sockets),
    })
}

prop_compose! {
    fn any_spec()(
        admins in some(&[3], 1),
        operators in some(&[2, 3], 1),
        owner in proptest::option::of(1..4_u32),
        rules in proptest::collection::vec((who(), some(&PATTERNS, 2), some(&WORDS, 2)), 0..6),
    ) -> PolicySpec {
        // Rules that do not load are left out.
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(n, (who, keys, allow))| rule(&format!("r{n}"), who, &keys, &allow))
            .filter(|rule| Policy::build(system(vec![rule.clone()])).is_ok())
            .collect();
        let mode = owner.map_or(Mode::System, |owner| Mode::User { owner });
        PolicySpec { mode, admins: uids(&admins), operators: uids(&operators), rules }
    }
}

fn any_subject() -> impl Strategy<Value = Subject<'static>> {
    let groups = proptest::sample::select(vec![&[][..], &[1], &[2, 9]]);
    let unit =
        proptest::sample::select(vec![None, Some("x.service"), Some("y@1.service"), Some("y.service")]);
    let socket = proptest::sample::select(vec!["main", "app"]);
    (0..5_u32, 0..3_u32, groups, unit, socket).prop_map(|(uid, gid, groups, unit, socket)| Subject {
        uid,
        gid,
        groups,
        unit,
        socket,
    })
}

/// Patterns again, by recursion over the text.
fn fits(pattern: &str, name: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=name.len()).any(|n| fits(rest, &name[n..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        return (0..=name.len()).any(|n| !name[..n].contains('/') && fits(rest, &name[n..]));
    }
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some(a), Some(b)) => a == b && fits(&pattern[1..], &name[1..]),
        _ => false,
    }
}

fn named(who: &Who, subject: &Subject<'_>) -> bool {
    let gid = |gid: &u32| *gid == subject.gid || subject.groups.contains(gid);
    let unit = |unit: &String| subject.unit.is_some_and(|name| fits(unit, name));
    !(who.uids.is_empty() && who.gids.is_empty() && who.units.is_empty())
        && (who.uids.is_empty() || who.uids.contains(&subject.uid))
        && (who.gids.is_empty() || who.gids.iter().any(gid))
        && (who.units.is_empty() || who.units.iter().any(unit))
        && (who.sockets.is_empty() || who.sockets.iter().any(|socket| socket == subject.socket))
}

/// The decision, written down a second time; `None`: may not connect.
fn reference(spec: &PolicySpec, subject: &Subject<'_>, operation: Op, key: &str) -> Option<bool> {
    let name = operation.name();
    let number = operation as u16;
    let on_agent = !(16..45).contains(&number);
    let on_data = (16..32).contains(&number) && name != "batch";
    let for_admins = ["stop", "key_create", "key_configure", "key_destroy"].contains(&name) || number >= 45;
    let implied = match spec.mode {
        Mode::User { owner } => subject.uid == owner,
        Mode::System => subject.uid == 0,
    };
    if implied || named(&spec.admins, subject) {
        return Some(true);
    }
    let mine: Vec<&RuleSpec> = spec.rules.iter().filter(|rule| named(&rule.who, subject)).collect();
    let operator = named(&spec.operators, subject);
    if mine.is_empty() && !operator {
        return None;
    }
    if operator && !on_data && !for_admins || name == "hello" || name == "batch" {
        return Some(true);
    }
    let allows = |rule: &&RuleSpec| {
        rule.allow.iter().any(|word| word == name || (on_data && word == "data"))
            && (on_agent || rule.keys.iter().any(|pattern| name == "random" || fits(pattern, key)))
    };
    Some(mine.iter().any(allows))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_decision_is_the_naive_one_and_is_explained(spec in any_spec(), subject in any_subject()) {
        let policy = Arc::new(Policy::build(spec.clone()).unwrap());
        let rights = policy.rights(&subject);
        for operation in OperationCode::ALL.iter().copied() {
            let mut on_some = false;
            for key in KEYS {
                let decision = rights.as_ref().map(|rights| match operations::kind(operation) {
                    operations::Kind::Agent => rights.may(operation),
                    _ => rights.may_on(operation, key),
                });
                prop_assert_eq!(decision, reference(&spec, &subject, operation, key), "{:?} {}", operation, key);
                let explained = policy.explain(&subject, operation, Some(key));
                prop_assert_eq!(explained.may_connect, rights.is_some());
                prop_assert_eq!(explained.allowed, decision.unwrap_or(false));
                on_some |= explained.allowed;
                if let Some(rule) = &explained.rule {
                    let first = explained.rules.iter().find(|rule| rule.verdict == Verdict::Allows).unwrap();
                    prop_assert_eq!(&first.rule, rule);
                }
            }
            let may = rights.as_ref().is_some_and(|rights| rights.may(operation));
            prop_assert_eq!(policy.explain(&subject, operation, None).allowed, may);
            prop_assert!(may || !on_some);
        }
    }

    /// A subject disappears from the list exactly when nothing is left that names it.
    #[test]
    fn whoever_may_use_data_is_among_the_subjects(spec in any_spec(), uid in 1..4_u32) {
        let policy = Arc::new(Policy::build(spec.clone()).unwrap());
        for key in KEYS {
            let subjects = policy.subjects_of_key(key);
            prop_assert!(subjects.is_sorted_by(|a, b| a < b));
            let alone = format!("uid:{uid}");
            let on_data = |rule: &&RuleSpec| {
                rule.allow.iter().any(|word| WORDS[..5].contains(&word.as_str()))
                    && rule.keys.iter().any(|pattern| fits(pattern, key))
                    && rule.who.uids.contains(&uid) && rule.who.gids.is_empty() && rule.who.units.is_empty()
            };
            let wanted = spec.admins.uids.contains(&uid) || spec.rules.iter().any(|rule| on_data(&rule));
            prop_assert_eq!(subjects.contains(&alone), wanted);
        }
    }
}

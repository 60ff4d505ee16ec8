use alloc::{borrow::ToOwned, format, vec};

use keyagent_common::op::OperationCode;
use proptest::prelude::*;

use super::*;

mod decisions;
mod refusals;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn uids(uids: &[u32]) -> Who {
    Who { uids: uids.to_vec(), ..Who::default() }
}

fn rule(name: &str, who: Who, keys: &[&str], allow: &[&str]) -> RuleSpec {
    RuleSpec { name: name.to_owned(), who, keys: texts(keys), allow: texts(allow), ..RuleSpec::default() }
}

fn system(rules: Vec<RuleSpec>) -> PolicySpec {
    PolicySpec { mode: Mode::System, admins: Who::default(), operators: Who::default(), rules }
}

fn subject(uid: u32) -> Subject<'static> {
    Subject { uid, gid: uid, groups: &[], unit: None, socket: "main" }
}

#[test]
fn subjects_of_a_key_are_sorted_combined_and_only_those_with_a_right_on_data() {
    let both = Who { gids: vec![5, 6], units: texts(&["x.service"]), ..Who::default() };
    let door = Who { uids: vec![1001], sockets: texts(&["app"]), ..Who::default() };
    let bridge = DelegateSpec { callers: uids(&[7]), keys: texts(&["tenant/*"]) };
    let mut spec = system(vec![
        rule("combined", both, &["billing/*"], &["decrypt"]),
        rule("twice", uids(&[1001]), &["**"], &["encrypt"]),
        rule("door", door, &["billing/cards"], &["data"]),
        rule("brakes only", uids(&[2000]), &["**"], &["key_disable", "key_list"]),
        RuleSpec { delegate: Some(bridge), ..rule("bridge", uids(&[3000]), &[], &["data"]) },
        rule("health", uids(&[4000]), &[], &["health"]),
    ]);
    spec.admins = uids(&[50]);
    spec.operators = uids(&[60]);
    let policy = Policy::build(spec).unwrap();
    assert_eq!(
        policy.subjects_of_key("billing/cards"),
        ["gid:5+unit:x.service", "gid:6+unit:x.service", "uid:1001", "uid:50"]
    );
    assert_eq!(policy.subjects_of_key("tenant/a"), ["uid:1001", "uid:3000", "uid:50"]);
    assert_eq!(Policy::owner_only(7).subjects_of_key("default"), Vec::<String>::new());
}

#[test]
fn equal_policies_have_equal_digests_and_different_ones_do_not() {
    let base = || system(vec![rule("a", uids(&[5]), &["**"], &["data"])]);
    let digest = |spec: PolicySpec| *Policy::build(spec).unwrap().digest();
    assert_eq!(digest(base()), digest(base()));
    let mut seen = alloc::collections::BTreeSet::from([digest(base())]);
    let changes: [fn(&mut PolicySpec); 6] = [
        |spec| spec.rules[0].name.push('b'),
        |spec| spec.rules[0].keys = texts(&["*"]),
        |spec| spec.rules[0].rate = Some(Rate { count: 1, per_seconds: 1, burst: 1 }),
        |spec| spec.rules[0].require_context = texts(&["user"]),
        |spec| spec.admins.uids.push(9),
        |spec| spec.mode = Mode::User { owner: 1 },
    ];
    for change in changes {
        let mut spec = base();
        change(&mut spec);
        assert!(seen.insert(digest(spec)));
    }
    assert!(seen.insert(*Policy::owner_only(5).digest()) && seen.insert(*Policy::owner_only(6).digest()));
}

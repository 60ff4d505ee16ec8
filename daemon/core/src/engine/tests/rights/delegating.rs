//! Asking for somebody else: both rights, what of the named caller counts, who pays, what is recorded.

use super::*;
use crate::{caller::Asserted, policy::DelegateSpec};

/// A bridge (3000) that may ask on `tenant/**` for some users in group 50, and users with rules of their own.
fn bridged() -> Arc<Policy> {
    let callers = Who { gids: vec![50], ..uids(&[0, 10, 20, 1001, 1002, 1003]) };
    let delegate = Some(DelegateSpec { callers, keys: texts(&["tenant/**"]) });
    policy(vec![
        RuleSpec { delegate, ..rule("bridge", 3000, &["default"], &["encrypt", "decrypt"]) },
        rule("user", 1001, &["tenant/a", "billing/*"], &["encrypt", "data_key"]),
        rule("other user", 1002, &["**"], &["data"]),
        rule("no bridge", 4000, &["**"], &["data"]),
    ])
}

/// Asks `operation` on `key` as `uid`, on behalf of a user in a group.
fn on_behalf(policy: &Arc<Policy>, uid: u32, (of, gid): (u32, u32), operation: char, key: &str) -> Outcome {
    let engine = braked(&[]);
    let rights = policy.rights(&subject(uid)).unwrap();
    let mut asking = Asking::new(&engine, &rights);
    asking.caller.on_behalf_of = Some(Asserted { uid: of, gid, unit: None });
    match operation {
        'e' => asking.encrypt(key, EMPTY),
        'k' => asking.data_key(key),
        _ => asking.decrypt(&sealed(&engine, key).0),
    }
}

#[test]
fn a_delegate_and_the_caller_it_names_both_need_the_right() {
    let policy = bridged();
    let code = |uid, of, operation, key| on_behalf(&policy, uid, of, operation, key).0;
    let (code_of, _, rule) = on_behalf(&policy, 3000, (1001, 50), 'e', "tenant/a");
    assert_eq!((code_of, rule.as_deref()), (DONE, Some("user")));
    assert_eq!(code(3000, (1001, 50), 'd', "tenant/a"), ErrorCode::Denied, "the user has no such right");
    assert_eq!(code(3000, (1002, 50), 'd', "tenant/a"), DONE);
    assert_eq!(code(3000, (1002, 50), 'k', "tenant/a"), ErrorCode::Denied, "the bridge has no such right");
    assert_eq!(code(3000, (1001, 50), 'e', "billing/cards"), ErrorCode::Denied, "not one of its keys");
    assert_eq!(code(3000, (1002, 50), 'e', "default"), ErrorCode::Denied, "its own keys are not for others");
    assert_eq!(code(3000, (1001, 51), 'e', "tenant/a"), ErrorCode::Denied, "not one of its callers");
    assert_eq!(code(3000, (1003, 50), 'e', "tenant/a"), ErrorCode::Denied, "a user without a rule");
    assert_eq!(code(4000, (1001, 50), 'e', "tenant/a"), ErrorCode::Denied, "no delegate");
    assert_eq!(code(3000, (65_534, 50), 'e', "tenant/a"), ErrorCode::Denied, "nobody");
    for role in [0, 10, 20] {
        assert_eq!(code(3000, (role, 50), 'e', "tenant/a"), ErrorCode::Denied, "roles are not lent");
    }
    assert_eq!(code(10, (1001, 50), 'e', "billing/cards"), DONE, "an admin may ask as anybody");
    assert_eq!(
        code(10, (1001, 50), 'd', "billing/cards"),
        ErrorCode::Denied,
        "and is then no more than that"
    );
    assert_eq!(code(20, (1002, 50), 'e', "default"), ErrorCode::Denied, "an operator has no right on data");
}

#[test]
fn what_a_delegate_may_know_is_what_both_may_know() {
    let policy = bridged();
    let code = |uid, of, key| on_behalf(&policy, uid, of, 'e', key).0;
    assert_eq!(code(3000, (1002, 50), "tenant/none"), ErrorCode::UnknownKey);
    assert_eq!(code(3000, (1001, 50), "tenant/none"), ErrorCode::Denied);
    assert_eq!(code(3000, (1002, 50), "none"), ErrorCode::Denied);
    assert_eq!(code(3000, (1002, 51), "tenant/none"), ErrorCode::Denied);
    assert_eq!(code(10, (1001, 50), "billing/none"), ErrorCode::UnknownKey);
    assert_eq!(code(10, (1001, 50), "none"), ErrorCode::Denied);
}

/// Two bridges on `default`: 3001 for user 1001, 3002 for whoever is in a unit, 3003 for group 60, 3004 by two
/// rules; and rules about users, groups, units and combinations of them.
fn limited() -> Arc<Policy> {
    let units = Who { units: texts(&["web@*.service"]), ..Who::default() };
    let group = Who { gids: vec![60], ..Who::default() };
    let both = Who { uids: vec![1001], ..units.clone() };
    let bridge = |name: &str, uid, callers: &Who| RuleSpec {
        delegate: Some(DelegateSpec { callers: callers.clone(), keys: texts(&["**"]) }),
        ..rule(name, uid, &[], &["data"])
    };
    let about =
        |name: &str, who: &Who, key: &str| RuleSpec { who: who.clone(), ..rule(name, 1, &[key], &["data"]) };
    policy(vec![
        bridge("for a user", 3001, &uids(&[1001])),
        bridge("for a unit", 3002, &units),
        bridge("for a group", 3003, &group),
        bridge("first", 3004, &uids(&[1001])),
        bridge("second", 3004, &units),
        about("user", &uids(&[1001, 1002]), "default"),
        about("unit", &units, "tenant/a"),
        about("group", &group, "billing/cards"),
        about("user in unit", &both, "billing/cards"),
    ])
}

#[test]
fn what_a_delegate_may_not_choose_does_not_count() {
    let (engine, policy) = (braked(&[]), limited());
    let served = |bridge, (uid, gid, unit): (u32, u32, Option<&str>)| -> Vec<&str> {
        let rights = policy.rights(&subject(bridge)).unwrap();
        let mut asking = Asking::new(&engine, &rights);
        asking.caller.on_behalf_of = Some(Asserted { uid, gid, unit });
        KEYS.into_iter().filter(|key| asking.encrypt(key, EMPTY).0 == DONE).collect()
    };
    let web = Some("web@1.service");
    // Whoever may name a user cannot pick a group or a unit beside it, nor the other way round.
    assert_eq!(served(3001, (1001, 60, web)), ["default"]);
    assert_eq!(served(3002, (1001, 60, web)), ["tenant/a"]);
    assert_eq!(served(3002, (1001, 60, None)), [""; 0]);
    assert_eq!(served(3003, (1001, 60, web)), ["billing/cards"]);
    assert_eq!(served(3003, (1001, 61, web)), [""; 0]);
    // Two rules let it name the one or the other, not somebody who is both.
    assert_eq!(served(3004, (1001, 1, web)), ["default", "tenant/a"]);
    // The same holds for what may be known.
    let rights = policy.rights(&subject(3001)).unwrap();
    let mut asking = Asking::new(&engine, &rights);
    asking.caller.on_behalf_of = Some(Asserted { uid: 1001, gid: 60, unit: web });
    let refused = asking.encrypt("tenant/a", EMPTY);
    assert_eq!((refused.0, &refused), (ErrorCode::Denied, &asking.encrypt("none", EMPTY)));
    // An admin may be anybody; an id that is nobody's is never somebody.
    assert_eq!(served(10, (1001, 60, web)), KEYS);
    assert_eq!(served(10, (1002, 60, None)), ["billing/cards", "default"]);
    assert_eq!(served(3002, (65_534, 60, web)), [""; 0]);
}

#[test]
fn the_record_names_the_group_where_it_decides() {
    let policy = limited();
    let group = |bridge, uid, gid| {
        let rights = policy.rights(&subject(bridge)).unwrap();
        Caller { on_behalf_of: Some(Asserted { uid, gid, unit: None }), ..caller(&rights) }.named_group()
    };
    assert_eq!(group(3003, 1001, 60), Some(60));
    assert_eq!((group(3001, 1001, 60), group(3003, 1001, 61)), (None, None));
    assert_eq!((group(10, 1001, 60), group(10, 1001, 61)), (Some(60), None));
    let alone = policy.rights(&subject(10)).unwrap();
    assert_eq!(caller(&alone).named_group(), None);
}

/// Notes who was to pay.
#[derive(Default)]
struct Bill(Vec<(u16, Payer)>);

impl Meter for Bill {
    fn take(&mut self, rule: u16, _: &Rate, payer: Payer) -> bool {
        self.0.push((rule, payer));
        true
    }
}

#[test]
fn uids_that_no_rule_names_share_a_rate_and_delegates_pay_with_their_own() {
    let engine = braked(&[]);
    let rate = Some(Rate { count: 1, per_seconds: 1, burst: 1 });
    let group = |gid| Who { gids: vec![gid], ..Who::default() };
    let delegate = Some(DelegateSpec { callers: uids(&[1001]), keys: texts(&["**"]) });
    let policy = policy(vec![
        RuleSpec { rate, ..rule("user", 1001, &["**"], &["data"]) },
        RuleSpec { rate, who: group(60), ..rule("group", 1, &["**"], &["data"]) },
        RuleSpec { rate, delegate: delegate.clone(), ..rule("bridge", 3000, &[], &["data"]) },
        RuleSpec { rate, delegate, who: group(70), ..rule("bridges", 1, &[], &["data"]) },
    ]);
    let bill = |uid, gid, on_behalf_of| {
        let rights = policy.rights(&Subject { gid, ..subject(uid) }).unwrap();
        let caller = Caller { on_behalf_of, ..caller(&rights) };
        let key = engine.keyring().find("default").unwrap();
        let permission = caller.permission::<Encrypt>(key).unwrap();
        let mut bill = Bill::default();
        let _grant = permission.settle(Context::parse(EMPTY).unwrap(), &mut bill).ok().unwrap();
        bill.0
    };
    let named = Some(Asserted { uid: 1001, gid: 1, unit: None });
    assert_eq!(bill(1001, 1, None), [(0, Payer::User(1001))]);
    for uid in [100_000, 165_535] {
        assert_eq!(bill(uid, 60, None), [(1, Payer::Everybody)], "however many uids somebody has");
        assert_eq!(bill(uid, 70, named), [(3, Payer::Everybody), (0, Payer::Delegates(3))]);
    }
    assert_eq!(bill(3000, 1, named), [(2, Payer::User(3000)), (0, Payer::User(3000))]);
    assert_eq!(bill(10, 1, named), [(0, Payer::User(10))]);
}

#[test]
fn obligations_of_both_hold_where_one_asks_for_another() {
    let engine = braked(&[]);
    let delegate = Some(DelegateSpec { callers: uids(&[1001]), keys: texts(&["**"]) });
    let rate = Some(Rate { count: 1, per_seconds: 1, burst: 1 });
    let bridge = RuleSpec { delegate, rate, no_reveal: true, ..rule("bridge", 3000, &[], &["data_key"]) };
    let user = RuleSpec { rate, ..rule("user", 1001, &["**"], &["data_key"]) };
    let policy = policy(vec![bridge, user]);
    let rights = policy.rights(&subject(3000)).unwrap();
    let mut asking = Asking::new(&engine, &rights);
    asking.caller.on_behalf_of = Some(Asserted { uid: 1001, gid: 1, unit: None });
    for (tokens, code, rule) in
        [(0, ErrorCode::RateLimited, "bridge"), (1, ErrorCode::RateLimited, "user"), (2, DONE, "user")]
    {
        asking.purse = Purse(tokens);
        let (found, body, by) = asking.data_key("default");
        assert_eq!((found, by.as_deref()), (code, Some(rule)), "{tokens}");
        if code == DONE {
            assert!(
                codec::decode::<DataKeyReply<'_>>(&body).unwrap().plain.is_empty(),
                "hidden by one of both"
            );
        }
    }
    let denied = asking.encrypt("default", EMPTY);
    assert_eq!((denied.0, denied.2), (ErrorCode::Denied, None));
}

use keyagent_common::op::KeyEntry;

use super::{
    super::shown::tests::{key, version},
    *,
};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn reply() -> KeyShowReply<'static> {
    let versions = vec![version(1, 3, NOW - 41 * DAY), version(2, 2, NOW - 60)];
    let usage = |number, exact, used_at, grace_ends_at| VersionUsage {
        number,
        encryptions: 1_204,
        decryptions: 7,
        encrypted_at: 0,
        decrypted_at: used_at,
        exact,
        grace_ends_at,
    };
    KeyShowReply {
        key: KeyEntry {
            name: "openai",
            environment: "production",
            due_at: NOW + 12 * DAY,
            due_reason: "scheduled",
            rotates: true,
            access: vec!["uid:1", "uid:2"],
            versions,
            ..key()
        },
        policy: RotationPolicy {
            enabled: true,
            interval_days: 90,
            grace_period_days: 30,
            next_rotation_at: NOW + 12 * DAY,
            last_rotation_at: 0,
            auto_retire: false,
        },
        purpose: "chat\u{1b}[2J",
        owner: "",
        url: "",
        usage: vec![usage(1, false, NOW - 41 * DAY, NOW - DAY), usage(2, true, 0, 0)],
        generation: 9,
    }
}

#[test]
fn a_sheet_says_all_that_an_operator_asks_for() {
    let text = Sheet::new(&reply(), NOW).text("active", false, NOW);
    assert_eq!(
        text,
        "name        openai\n\
         class       01 message\n\
         standing    active\n\
         created     2027-01-15 08:00:00Z\n\
         environment production\n\
         purpose     chat\\u{1b}[2J\n\
         due         2027-01-27 08:00:00Z (in 12 d, scheduled)\n\
         policy      enabled            true\n            \
         interval_days      90\n            \
         grace_period_days  30\n            \
         next_rotation_at   2027-01-27 08:00:00Z\n            \
         last_rotation_at   never\n            \
         auto_retire        false\n\
         access      uid:1\n            \
         uid:2\n\
         versions    1  grace        2027-01-15 08:00:00Z  key id BwcHBwcHBwcH…  scheduled\n               \
         encryptions at most 1 204 · decryptions at most 7 · last used 2026-12-05 08:00:00Z · \
         grace was over 2027-01-14 08:00:00Z\n               \
         can be retired: unused for 41 days → keyagent keys retire openai 1\n            \
         2  primary      2027-01-15 08:00:00Z  key id BwcHBwcHBwcH…  scheduled\n               \
         encryptions 1 204 · decryptions 7 · never used\n"
    );
    assert!(
        Sheet::new(&reply(), NOW)
            .text("active", true, NOW)
            .contains(&format!("key id {}Bwc  scheduled\n", "BwcH".repeat(10)))
    );
}

#[test]
fn versions_that_were_not_told_are_told_of() {
    let shown = |numbers: [u32; 2]| {
        let mut reply = reply();
        reply.key.versions = numbers.map(|number| version(number, 3, 0)).to_vec();
        Sheet::new(&reply, NOW).text("active", false, NOW)
    };
    let text = shown([41, 42]);
    assert!(text.contains("versions    older versions are not shown\n            41  grace"), "{text}");
    assert!(!shown([1, 2]).contains("not shown"));
}

#[test]
fn documents_have_the_fields_that_scripts_rely_on() {
    let document = serde_json::to_value(Sheet::new(&reply(), NOW)).unwrap();
    let fields = |value: &serde_json::Value| {
        let mut fields: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        fields.join(" ")
    };
    assert_eq!(document["schema"], "keyagent.key/1");
    assert_eq!(
        fields(&document),
        "access class created_at due_at due_reason environment generation name note owner policy purpose \
         rotates schema standing standing_reason url usage versions"
    );
    assert_eq!(
        fields(&document["policy"]),
        "auto_retire enabled grace_period_days interval_days last_rotation_at next_rotation_at"
    );
    assert_eq!(
        fields(&document["versions"][0]),
        "can_be_retired created_at key_id number reason state unused_days used_at"
    );
    assert_eq!(
        fields(&document["usage"][0]),
        "decrypted_at decryptions encrypted_at encryptions exact grace_ends_at number"
    );
    let lost =
        VersionUsage { encryptions: u64::MAX, decryptions: u64::MAX, exact: false, ..reply().usage[1] };
    let lost = Sheet::new(&KeyShowReply { usage: vec![lost], ..reply() }, NOW);
    assert!(
        lost.text("active", false, NOW)
            .contains("encryptions not known · decryptions not known · last use not known\n")
    );
    assert!(serde_json::to_value(lost).unwrap()["usage"][0]["encryptions"].is_null());
    let stranger = KeyShowReply { usage: Vec::new(), ..reply() };
    assert!(serde_json::to_value(Sheet::new(&stranger, NOW)).unwrap()["usage"].is_null());
}

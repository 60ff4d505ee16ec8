//! Policies, labels and notes.

use super::{
    rotating::{on, rotated, rotation},
    *,
};
use crate::keyring::Label;

const NOTHING: Settings<'static> = Settings {
    enabled: None,
    interval_days: None,
    grace_period_days: None,
    auto_retire: None,
    environment: None,
    purpose: None,
    owner: None,
    url: None,
    note: None,
};

fn set(
    keyring: &mut Keyring<HeapArena>,
    key: &str,
    settings: Settings<'_>,
    now: u64,
) -> Result<Configured, ChangeError> {
    let (draft, configured) = configure(keyring, name(key), &settings, now)?;
    commit(keyring, draft);
    Ok(configured)
}

fn labels(keyring: &Keyring<HeapArena>, key: &str) -> [String; 4] {
    Label::ALL.map(|label| keyring.find(key).unwrap().label(label).to_owned())
}

#[test]
fn what_is_said_is_kept_and_only_changes_are_told() {
    let mut keyring = keyring();
    let before = keyring.keys().to_vec();
    let all = Settings {
        enabled: Some(true),
        interval_days: Some(90),
        grace_period_days: Some(30),
        auto_retire: Some(true),
        environment: Some("production"),
        purpose: Some("Karten, für Ana"),
        owner: Some("ana@example.org"),
        url: Some("https://wiki.example.org/keys"),
        note: Some("two\nlines"),
    };
    let configured = set(&mut keyring, "a", all, NOW).unwrap();
    let names = [
        "enabled",
        "interval_days",
        "grace_period_days",
        "auto_retire",
        "environment",
        "owner",
        "purpose",
        "url",
        "note",
    ];
    assert_eq!(configured.changed, names);
    assert_eq!(
        labels(&keyring, "a"),
        ["production", "ana@example.org", "Karten, für Ana", "https://wiki.example.org/keys"]
    );
    let key = keyring.find("a").unwrap();
    let policy =
        (key.policy.enabled, key.policy.interval_days, key.policy.grace_period_days, key.policy.auto_retire);
    assert_eq!((policy, key.note.as_str()), ((true, 90, 30, true), "two\nlines"));
    assert_eq!(key.policy.next_rotation_at, configured.next_rotation_at);
    let again = set(&mut keyring, "a", all, NOW + 50 * DAY).unwrap();
    assert_eq!(again, Configured { changed: vec![], next_rotation_at: configured.next_rotation_at });
    assert_eq!(set(&mut keyring, "a", NOTHING, NOW).unwrap().changed, Vec::<&str>::new());
    let one = set(&mut keyring, "a", Settings { owner: Some("bob"), ..NOTHING }, NOW).unwrap();
    assert_eq!(one.changed, ["owner"]);
    let empty =
        Settings { environment: Some(""), purpose: Some(""), owner: Some(""), url: Some(""), ..NOTHING };
    set(&mut keyring, "a", Settings { note: Some(""), ..empty }, NOW).unwrap();
    let off = Settings { enabled: Some(false), interval_days: Some(0), auto_retire: Some(false), ..NOTHING };
    let configured = set(&mut keyring, "a", Settings { grace_period_days: Some(0), ..off }, NOW).unwrap();
    assert_eq!(configured.next_rotation_at, 0);
    assert_eq!(keyring.keys(), before);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut keyring = keyring();
    let mut error = |settings| set(&mut keyring, "a", settings, NOW).err();
    let long = "x".repeat(257);
    for (label, bad) in [
        ("environment", Settings { environment: Some("Production"), ..NOTHING }),
        ("environment", Settings { environment: Some("a b"), ..NOTHING }),
        ("environment", Settings { environment: Some(&long[..65]), ..NOTHING }),
        ("purpose", Settings { purpose: Some("a\nb"), ..NOTHING }),
        ("owner", Settings { owner: Some(&long), ..NOTHING }),
        ("url", Settings { url: Some("\u{202e}"), ..NOTHING }),
        ("interval_days", Settings { enabled: Some(true), ..NOTHING }),
        ("interval_days", Settings { interval_days: Some(MAX_DAYS + 1), ..NOTHING }),
        ("grace_period_days", Settings { auto_retire: Some(true), ..NOTHING }),
        ("grace_period_days", Settings { grace_period_days: Some(u32::MAX), ..NOTHING }),
    ] {
        match error(bad) {
            Some(ChangeError::Life(LifeError::UnfitSetting { setting, .. })) => assert_eq!(setting, label),
            other => panic!("{bad:?}: {other:?}"),
        }
    }
    let note = "n".repeat(MAX_NOTE_BYTES + 1);
    assert_eq!(error(Settings { note: Some(&note), ..NOTHING }), Some(ChangeError::NoteTooLong));
    let most = Settings { environment: Some(&long[..64]), purpose: Some(&long[..256]), ..NOTHING };
    assert_eq!(error(Settings { note: Some(&note[..MAX_NOTE_BYTES]), ..most }), None);
    assert_eq!(set(&mut keyring, "nobody", NOTHING, NOW).err(), Some(ChangeError::NoSuchKey));
}

#[test]
fn saying_it_again_puts_no_rotation_off() {
    let mut keyring = keyring();
    let every = |days| Settings { enabled: Some(true), interval_days: Some(days), ..NOTHING };
    let off = Settings { enabled: Some(false), ..NOTHING };
    let first = set(&mut keyring, "a", every(90), NOW).unwrap().next_rotation_at;
    for later in [1, 80 * DAY, 500 * DAY] {
        assert_eq!(set(&mut keyring, "a", off, NOW + later).unwrap().next_rotation_at, 0);
        assert_eq!(set(&mut keyring, "a", every(90), NOW + later).unwrap().next_rotation_at, first);
    }
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW + 40 * DAY);
    let next = set(&mut keyring, "a", every(10), NOW + 200 * DAY).unwrap().next_rotation_at;
    assert!((NOW + 49 * DAY..=NOW + 50 * DAY).contains(&next), "overdue at once, counted from the last one");
    // The last rotation was made by a clock that was wrong.
    let next = set(&mut keyring, "a", every(20), NOW).unwrap().next_rotation_at;
    assert!((NOW + 19 * DAY..=NOW + 20 * DAY).contains(&next));
}

/// `a` and `b/c`, of other classes, with equal secrets.
fn twins(secret: &[u8], other: &[u8]) -> Keyring<HeapArena> {
    let mut keyring = keyring();
    let mut draft = keyring.draft();
    let mut entropy = Counting(3);
    for (key, class) in [("x", Class::Hs256), ("y", Class::LegacyText)] {
        draft.add_key(name(key), class, &mut entropy, NOW).unwrap();
    }
    draft.add_version("x", Reason::Manual, &mut entropy, NOW).unwrap();
    draft.replace_secret("x", 2, secret, &mut entropy).unwrap();
    draft.replace_secret("y", 1, other, &mut entropy).unwrap();
    commit(&mut keyring, draft);
    keyring
}

fn environment(text: &str) -> Settings<'_> {
    Settings { environment: Some(text), ..NOTHING }
}

#[test]
fn one_secret_serves_one_environment() {
    for other in [&b"hunter2"[..], b"hunter2\0"] {
        let mut keyring = twins(b"hunter2", other);
        set(&mut keyring, "y", environment("test"), NOW).unwrap();
        let error = set(&mut keyring, "x", environment("production"), NOW).err();
        let same = |other: &str| Some(ChangeError::Life(LifeError::SameSecret { other: other.to_owned() }));
        assert_eq!(error, same("y"));
        set(&mut keyring, "a", environment("production"), NOW).unwrap();
        set(&mut keyring, "x", environment("test"), NOW).unwrap();
        assert_eq!(set(&mut keyring, "y", environment("production"), NOW).err(), same("x"));
        set(&mut keyring, "y", environment(""), NOW).unwrap();
        set(&mut keyring, "x", environment("production"), NOW).unwrap();
        assert_eq!(set(&mut keyring, "y", environment("test"), NOW).err(), same("x"));
    }
    let mut keyring = twins(b"hunter2", b"hunter3");
    set(&mut keyring, "y", environment("test"), NOW).unwrap();
    set(&mut keyring, "x", environment("production"), NOW).unwrap();
    set(&mut keyring, "x", environment("test"), NOW).unwrap();
}

/// `a` with a version in grace, and so many long notes that not a byte more has room.
fn full() -> Keyring<HeapArena> {
    let mut keyring = keyring();
    set(&mut keyring, "a", Settings { owner: Some("bob"), ..NOTHING }, NOW).unwrap();
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW);
    let (mut draft, mut entropy) = (keyring.draft(), Counting(5));
    for number in 0..1200 {
        draft.add_key(name(&format!("c/{number}")), Class::Message, &mut entropy, NOW).unwrap();
    }
    let notes = |draft: &mut Draft<HeapArena>, bytes: usize| {
        for (number, key) in draft.keys_mut().filter(|key| key.name.starts_with("c/")).enumerate() {
            key.note = "n".repeat(bytes.saturating_sub(number * 60_000).min(60_000));
        }
    };
    let (mut fits, mut does_not) = (0, 1200 * 60_000);
    while does_not - fits > 1 {
        let bytes = usize::midpoint(fits, does_not);
        notes(&mut draft, bytes);
        *if draft.check_room().is_ok() { &mut fits } else { &mut does_not } = bytes;
    }
    notes(&mut draft, fits);
    draft.check_room().unwrap();
    keyring.confirm(draft.prepare(None, &mut entropy).unwrap()).unwrap();
    keyring
}

#[test]
fn a_full_keyring_takes_what_makes_it_no_longer() {
    let mut keyring = full();
    let full = Some(ChangeError::Keyring(KeyringError::Full));
    let mut set = |settings| set(&mut keyring, "a", settings, NOW).err();
    assert_eq!(set(Settings { owner: Some("bobby"), ..NOTHING }), full);
    assert_eq!(set(Settings { note: Some("n"), ..NOTHING }), full);
    assert_eq!(
        set(Settings { owner: Some("eve"), enabled: Some(true), interval_days: Some(9), ..NOTHING }),
        None
    );
    let how = rotation(Reason::Compromise, Takeover::RefuseOld);
    assert_eq!(rotate(&keyring, name("a"), how, NOW, &mut Counting(2)).err(), full);
    for compromised in [false, true] {
        let (draft, moved) = disable_version(&keyring, on("a", 1, NOW), compromised).unwrap();
        assert!(moved.is_change(), "stopping a version needs no room");
        commit(&mut keyring, draft);
    }
    let draft = destroy(&keyring, on("a", 1, NOW), &|_, _| None, false).unwrap().0;
    commit(&mut keyring, draft);
    let shorter = Settings { note: Some("shorter"), ..NOTHING };
    let draft = configure(&keyring, name("c/0"), &shorter, NOW).unwrap().0;
    keyring.confirm(draft.prepare(None, &mut Counting(2)).unwrap()).unwrap();
    assert!(rotate(&keyring, name("a"), how, NOW, &mut Counting(2)).is_ok());
}

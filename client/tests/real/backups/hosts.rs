//! Several hosts with one keyring: what differs is refused, and a new version reaches all before one uses it.

use super::*;

#[test]
fn three_hosts_have_equal_fingerprints_and_ids() {
    let (a, stick) = (furnished(), Stick::new());
    a.created(&stick, "a", "");
    for new in [Place::new(), Place::new()] {
        new.restored(&stick, "a", "");
        assert_eq!(
            new.run(&["fingerprint"], b"").expect(0).line(),
            a.run(&["fingerprint"], b"").expect(0).line()
        );
        assert_eq!(new.versions(), a.versions());
        let expected = new.sh("KEYAGENT_EXPECT_KEY_ID=$(keyagent fingerprint | cut -d' ' -f1); export \
                               KEYAGENT_EXPECT_KEY_ID; keyagent stop; keyagent start");
        expected.expect(0);
    }
}

#[test]
fn a_key_that_differs_keeps_everything_out() {
    let (a, stick) = (furnished(), Stick::new());
    a.created(&stick, "a", "");
    let b = Place::started();
    b.sh("keyagent keys create openai; printf here | keyagent encrypt -a -k openai > value").expect(0);
    let (generation, versions) = (b.generation(), b.versions());
    let refused = b.backup(&format!("restore {} --yes", stick.shown("a"))).refused(73, "KEY_DIFFERS");
    assert!(refused.stderr.contains("default"), "{}", refused.stderr);
    let table = String::from_utf8(refused.stdout).unwrap();
    assert!(table.contains("differs    +0        openai   (another key has this name here)"), "{table}");
    assert_eq!((b.generation(), b.versions()), (generation, versions));
    assert_eq!(b.run(&["decrypt", "value"], b"").expect(0).stdout, b"here");
    // Those that do not differ can be had by name.
    a.created(&stick, "cards", "billing/cards");
    b.restored(&stick, "cards", "");
    assert_eq!(b.versions().len(), 3);
}

/// Something was sealed with it: it stays, whatever its backup says.
#[test]
fn a_default_that_was_used_is_not_replaced() {
    let (a, stick) = (furnished(), Stick::new());
    a.created(&stick, "a", "");
    let b = Place::started();
    let sealed = b.sh("printf here | keyagent encrypt -a").expect(0);
    b.backup(&format!("restore {} --yes", stick.shown("a"))).refused(73, "KEY_DIFFERS");
    assert_eq!(b.run(&["decrypt"], &sealed.stdout).expect(0).stdout, b"here");
    // One that was not used gives way, also under another master key.
    let c = Place::started();
    let done = c.restored(&stick, "a", "");
    assert!(done.text().contains("replaced   +1        default"), "{}", done.text());
    assert_eq!(c.versions(), a.versions());
    assert_ne!(c.run(&["fingerprint"], b"").expect(0).line(), a.run(&["fingerprint"], b"").expect(0).line());
}

#[test]
fn a_dry_run_changes_nothing_and_a_second_restore_neither() {
    let (a, b, stick) = (furnished(), Place::started(), Stick::new());
    a.created(&stick, "a", "");
    let (generation, keyring) = (b.generation(), fs::read(b.keyring()).unwrap());
    let looked = b.backup(&format!("restore {} --dry-run", stick.shown("a"))).expect(0);
    assert!(
        looked.text().contains("added      +2        openai") && looked.stderr.contains("nothing was done")
    );
    b.backup(&format!("restore {}", stick.shown("a"))).refused(64, "USAGE");
    assert_eq!((b.generation(), &fs::read(b.keyring()).unwrap()), (generation, &keyring));
    b.restored(&stick, "a", "");
    let (generation, keyring) = (b.generation(), fs::read(b.keyring()).unwrap());
    let again = b.restored(&stick, "a", "");
    assert_eq!(again.text(), "OUTCOME    VERSIONS  KEY\n3 of 3 keys are the same here\n");
    assert_eq!((b.generation(), fs::read(b.keyring()).unwrap()), (generation, keyring));
}

/// The runbook: stage on one host, restore on the others, promote one after the other. What any host seals opens on
/// every other, at every step.
#[test]
fn a_staged_version_travels_and_is_promoted_host_by_host() {
    let (a, stick) = (furnished(), Stick::new());
    a.created(&stick, "first", "");
    let (b, c) = (Place::new(), Place::new());
    b.restored(&stick, "first", "");
    c.restored(&stick, "first", "");
    let hosts = [&a, &b, &c];
    let mut step = 0;
    let mut everyone_opens = || {
        step += 1;
        for sealer in hosts {
            let sealed = sealer.sh("printf x | keyagent encrypt -a -k openai").expect(0);
            for opener in hosts {
                assert_eq!(opener.run(&["decrypt"], &sealed.stdout).expect(0).stdout, b"x", "step {step}");
            }
        }
    };
    everyone_opens();
    a.sh("keyagent keys rotate openai --stage").expect(0);
    everyone_opens();
    a.created(&stick, "staged", "openai --without-master");
    for host in [&b, &c] {
        let done = host.restored(&stick, "staged", "");
        assert!(done.text().contains("extended   +1        openai"), "{}", done.text());
        everyone_opens();
    }
    for host in hosts {
        host.sh("keyagent keys promote openai").expect(0);
        everyone_opens();
    }
    let ids = |place: &Place| {
        place.versions().into_iter().map(|version| (version.2, version.3)).collect::<Vec<_>>()
    };
    assert_eq!(ids(&a), ids(&b));
    assert_eq!(ids(&a), ids(&c));
}

#[test]
fn a_new_primary_arrives_staged_or_primary_as_asked() {
    let (a, stick) = (furnished(), Stick::new());
    a.created(&stick, "first", "");
    let (b, c) = (Place::new(), Place::new());
    b.restored(&stick, "first", "");
    c.restored(&stick, "first", "");
    a.sh("keyagent keys rotate openai").expect(0);
    a.created(&stick, "second", "");
    b.restored(&stick, "second", "");
    c.restored(&stick, "second", "--promote");
    let states = |place: &Place| -> Vec<String> {
        place
            .versions()
            .into_iter()
            .filter(|version| version.0 == "openai")
            .map(|version| version.2)
            .collect()
    };
    assert_eq!(states(&b), ["grace", "primary", "staged"]);
    assert_eq!(states(&c), ["grace", "grace", "primary"]);
    assert_eq!(states(&c), states(&a));
}

#[test]
fn a_braked_key_arrives_braked() {
    let (a, stick) = (furnished(), Stick::new());
    a.sh("keyagent keys disable openai --compromised --reason 'lost laptop'").expect(0);
    a.created(&stick, "a", "");
    let b = Place::new();
    b.restored(&stick, "a", "");
    b.sh("printf x | keyagent encrypt -k openai").refused(79, "KEY_COMPROMISED");
    assert!(b.run(&["keys", "show", "openai"], b"").expect(0).text().contains("lost laptop"));
}

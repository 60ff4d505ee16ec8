//! Files that were written in part: cut at every byte, with nothing, zeros or garbage behind. A start ignores what
//! never counted, cuts off what a crash explains, and refuses the rest; never is half a keyring used.
//!
//! By default each cut is looked at and a few are started with; in the full campaign a daemon starts on each.

use std::{fs, ops::Range};

use keyagent_common::context::EMPTY;

use crate::{
    examine::{Expected, Loss, describe},
    life::{Origin, Sealed},
    support::{Home, bounded, finish, log::open_keyring, long_campaign, snapshot},
};

/// What may stand behind a cut.
fn tails() -> [(&'static str, Vec<u8>); 3] {
    let garbage = (0..700_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    [("nothing", Vec::new()), ("zeros", vec![0; 512]), ("garbage", garbage)]
}

/// Lengths of a cut at which a daemon is started: all, or the ends and some in between.
fn started_at(lengths: Range<usize>, step: usize) -> Vec<usize> {
    let step = bounded(step, 1);
    let some = lengths.clone().step_by(step);
    if long_campaign() { some.collect() } else { some.chain(lengths.last()).collect() }
}

/// Nothing was done, and nothing is lost.
fn unchanged<'o>(origin: &'o Origin, sealed: &'o [Sealed]) -> Expected<'o> {
    Expected { origin, acknowledged: 0, unrecorded: &[], one_more: false, sealed, loss: Loss::Process }
}

/// The keyring that would come next.
fn next_keyring(origin: &Origin) -> Vec<u8> {
    let home = origin.copy();
    let daemon = home.start();
    daemon.client().create_key("next").unwrap();
    daemon.terminate();
    fs::read(home.state_file("keyring")).unwrap()
}

#[test]
fn what_never_got_its_name_is_ignored_and_removed() {
    let origin = Origin::of_keys();
    let there = |name: &str| fs::read(origin.copy().state_file(name)).unwrap();
    let leftovers = [
        ("keyring.tmp", next_keyring(&origin), 400),
        ("audit.pin.tmp", there("audit.pin"), 100),
        ("counters.tmp", there("counters"), 500),
        ("counters.next", there("counters"), 500),
        ("counters.next.tmp", there("counters"), 500),
        ("initialized.tmp", there("initialized"), 50),
        ("audit.log.new", there("audit.log")[..700].to_vec(), 500),
    ];
    let mut starts = 0;
    for (name, whole, step) in &leftovers {
        for (tail, behind) in tails() {
            for length in started_at(0..whole.len() + 1, *step) {
                let home = origin.copy();
                fs::write(home.state_file(name), [&whole[..length], &behind].concat()).unwrap();
                crate::support::chmod(&home.state_file(name), 0o600);
                starts += 1;
                unchanged(&origin, origin.sealed())
                    .examine(&home)
                    .unwrap_or_else(|why| panic!("{name} cut at {length}, then {tail}: {why}"));
            }
        }
    }
    println!("{starts} starts");
}

#[test]
fn a_torn_keyring_is_refused_at_every_byte() {
    let origin = Origin::of_keys();
    let (home, next) = (origin.copy(), next_keyring(&origin));
    let now = fs::read(home.state_file("keyring")).unwrap();
    let put = |bytes: &[u8]| fs::write(home.state_file("keyring"), bytes).unwrap();
    let (before, mut torn) = (describe(&home).unwrap(), 0);
    put(&next);
    let after = describe(&home).unwrap();
    assert_ne!(before, after);
    for whole in [&now, &next] {
        for (tail, behind) in tails() {
            for length in (0..=whole.len()).step_by(bounded(3, 1)) {
                if length == whole.len() && behind.is_empty() {
                    continue;
                }
                put(&[&whole[..length], &behind].concat());
                torn += 1;
                assert!(describe(&home).is_err(), "cut at {length}, then {tail}: accepted");
            }
        }
    }
    // The beginning of one, the end of the other.
    for length in (0..next.len()).step_by(bounded(3, 1)) {
        let mixed = [&next[..length], now.get(length..).unwrap_or_default()].concat();
        put(&mixed);
        torn += 1;
        let accepted = describe(&home).is_ok();
        assert!(!accepted || mixed == now || mixed == next, "{length} bytes of the next: accepted");
    }
    let mut starts = 0;
    for length in started_at(0..now.len(), now.len() / 5) {
        put(&now[..length]);
        let state = snapshot(&home.state());
        starts += 1;
        home.refuses(&[], 65, "DAMAGED");
        assert_eq!(snapshot(&home.state()), state);
    }
    put(&now);
    unchanged(&origin, origin.sealed()).examine(&home).unwrap();
    println!("{torn} torn keyrings, {starts} starts");
}

#[test]
fn the_end_of_the_log_may_be_torn_at_every_byte() {
    let origin = Origin::of_keys();
    let (killed, values, lengths) = killed_before_the_pin(&origin);
    let whole = fs::read(killed.state_file("audit.log")).unwrap();
    let mut starts = 0;
    for (tail, behind) in tails() {
        for length in started_at(lengths.clone(), lengths.len() / 12) {
            let home = Home::with_key(&fs::read_to_string(killed.key()).unwrap());
            crate::support::copy_files(&killed.state(), &home.state());
            fs::write(home.state_file("audit.log"), [&whole[..length], &behind].concat()).unwrap();
            starts += 1;
            unchanged(&origin, &values)
                .examine(&home)
                .unwrap_or_else(|why| panic!("cut at {length} of {lengths:?}, then {tail}: {why}"));
        }
    }
    // What a pin or the keyring names must be there.
    for missing in [1, lengths.start / 2] {
        let home = Home::with_key(&fs::read_to_string(killed.key()).unwrap());
        crate::support::copy_files(&killed.state(), &home.state());
        fs::write(home.state_file("audit.log"), &whole[..lengths.start - missing]).unwrap();
        let refused = finish(&mut home.command());
        assert_eq!(refused.code, Some(65), "{missing} bytes of what is pinned are missing: {refused:?}");
    }
    println!("{} bytes behind the pin, {starts} starts", lengths.len());
}

/// A daemon that was killed when its log had lines behind the pin; the values in them, and which bytes they are.
fn killed_before_the_pin(origin: &Origin) -> (Home, Vec<Sealed>, Range<usize>) {
    for _ in 0..20 {
        let home = origin.copy();
        let daemon = home.start();
        let pin = || fs::read(home.state_file("audit.pin")).unwrap();
        let pinned = pin();
        let mut client = daemon.client();
        let mut values = origin.sealed().to_vec();
        for _ in 0..3 {
            let envelope = client.encrypt(EMPTY, b"behind the pin").unwrap();
            values.push(Sealed { envelope, key: "default", version: 1 });
        }
        daemon.kill();
        if pin() == pinned {
            let lengths = pinned_bytes(&home)..fs::read(home.state_file("audit.log")).unwrap().len();
            return (home, values, lengths);
        }
    }
    panic!("the pin is always quicker");
}

/// How much of the log is pinned.
fn pinned_bytes(home: &Home) -> usize {
    let (keyring, _) = open_keyring(home);
    let pin = keyring.open_pin(&fs::read(home.state_file("audit.pin")).unwrap()).unwrap();
    let log = fs::read_to_string(home.state_file("audit.log")).unwrap();
    log.split_inclusive('\n').take(usize::try_from(pin.seq).unwrap()).map(str::len).sum()
}

#[test]
fn a_torn_pin_is_refused_at_every_byte() {
    let origin = Origin::of_keys();
    let home = origin.copy();
    let (keyring, _) = open_keyring(&home);
    let whole = fs::read(home.state_file("audit.pin")).unwrap();
    let mut torn = 0;
    for (tail, behind) in tails() {
        for length in 0..=whole.len() {
            let bytes = [&whole[..length], &behind].concat();
            torn += 1;
            assert_eq!(keyring.open_pin(&bytes).is_ok(), bytes == whole, "cut at {length}, then {tail}");
        }
    }
    for length in started_at(0..whole.len(), 40) {
        fs::write(home.state_file("audit.pin"), &whole[..length]).unwrap();
        let refused = finish(&mut home.command());
        assert_eq!(refused.code, Some(65), "{refused:?}");
        assert!(refused.stderr.contains("--accept-rollback"), "{}", refused.stderr);
    }
    fs::write(home.state_file("audit.pin"), &whole).unwrap();
    unchanged(&origin, origin.sealed()).examine(&home).unwrap();
    println!("{torn} torn pins");
}

#[test]
fn torn_counts_of_use_keep_nobody_from_working() {
    let origin = Origin::of_keys();
    let whole = fs::read(origin.copy().state_file("counters")).unwrap();
    let mut starts = 0;
    for (tail, behind) in tails() {
        for length in started_at(0..whole.len() + 1, whole.len() / 5) {
            let home = origin.copy();
            fs::write(home.state_file("counters"), [&whole[..length], &behind].concat()).unwrap();
            starts += 1;
            Expected { loss: Loss::Counts, ..unchanged(&origin, origin.sealed()) }
                .examine(&home)
                .unwrap_or_else(|why| panic!("cut at {length}, then {tail}: {why}"));
        }
    }
    println!("{starts} starts");
}

#[test]
fn the_detector_objects_to_half_a_keyring() {
    let origin = Origin::of_keys();
    let home = origin.copy();
    // A store that took a torn file for one without keys.
    fs::remove_file(home.state_file("keyring")).unwrap();
    home.start_with(&["--new-keyring"]).terminate();
    let seen = unchanged(&origin, origin.sealed()).examine(&home);
    assert!(seen.is_err());
}

//! Which states open, seal and are refused.

use super::*;

#[test]
fn a_staged_version_opens_and_never_seals() {
    let mut here = Bench::new();
    let mut there = Bench::new();
    // The same version reaches both hosts; the other one promotes first.
    let staged = here.rotate("m", Takeover::Staged);
    there.keyring = here.keyring.clone();
    there.engine.adopt(here.keyring.clone());
    there.change("m", staged, How::Promote);
    let (sealed, (plain, data_key)) =
        (there.seal("m", EMPTY, b"new").unwrap(), there.data_key("m", EMPTY, Kind::DataKey));
    assert_eq!(here.open(EMPTY, &sealed).unwrap(), b"new");
    assert_eq!(here.open_data_key(EMPTY, &data_key).unwrap(), plain);
    let own = here.seal("m", EMPTY, b"own").unwrap();
    assert_eq!(here.keyring.version_by_id(Envelope::parse(&own).unwrap().key_id).unwrap().1.number, 1);
    // Here the staged one is no primary: what it sealed moves to the one that is.
    let (version, changed, moved) = here.rewrap(EMPTY, &sealed).unwrap();
    assert_eq!((version, changed), (1, true));
    assert_eq!(there.open(EMPTY, &moved).unwrap(), b"new");
}

#[test]
fn every_state_is_served_or_refused_by_name() {
    let mut bench = Bench::new();
    let old = bench.seal("m", EMPTY, b"old").unwrap();
    let (_, data_key) = bench.data_key("m", EMPTY, Kind::StreamKey);
    bench.rotate("m", Takeover::Grace);
    assert_eq!(bench.open(EMPTY, &old).unwrap(), b"old");
    for (there, back, failure, code) in [
        (How::Retire, How::Reinstate, OperationError::VersionRetired, ErrorCode::VersionRetired),
        (How::Disable, How::Enable, OperationError::VersionDisabled, ErrorCode::VersionStopped),
        (How::Compromise, How::Enable, OperationError::VersionCompromised, ErrorCode::VersionStopped),
    ] {
        bench.change("m", 1, there);
        assert_eq!(failure.code(), code);
        for maintenance in [false, true] {
            bench.maintenance = maintenance;
            assert_eq!(bench.open(EMPTY, &old), Err(failure), "{there:?}");
            assert_eq!(bench.open_data_key(EMPTY, &data_key), Err(failure), "{there:?}");
            assert_eq!(bench.rewrap(EMPTY, &old), Err(failure), "{there:?}");
            assert_eq!(bench.rewrap(EMPTY, &data_key), Err(failure), "{there:?}");
        }
        bench.maintenance = false;
        assert!(!failure.why().is_empty() && !failure.fix().is_empty());
        bench.change("m", 1, back);
        assert_eq!(bench.open(EMPTY, &old).unwrap(), b"old", "{back:?}");
    }
    assert!(OperationError::VersionRetired.fix().contains("keyagent keys reinstate NAME VERSION"));
    // A brake on the key is told before the state of a version.
    bench.change("m", 1, How::Retire);
    bench.brake("m", Brake::Disabled);
    assert_eq!(bench.open(EMPTY, &old), Err(OperationError::KeyDisabled));
}

#[test]
fn a_destroyed_version_is_an_unknown_id() {
    let mut bench = Bench::new();
    let old = bench.seal("m", EMPTY, b"old").unwrap();
    bench.rotate("m", Takeover::Grace);
    bench.change("m", 1, How::Retire);
    let (draft, _) = change::destroy(
        &bench.keyring,
        VersionChange { name: named("m"), version: 1, reason: "test", now_unix: NOW },
        &|_, _| None,
        false,
    )
    .unwrap();
    bench.commit(draft);
    assert_eq!(bench.open(EMPTY, &old), Err(OperationError::UnknownKeyId));
    assert_eq!(bench.rewrap(EMPTY, &old), Err(OperationError::UnknownKeyId));
}

#[test]
fn primary_versions_are_kept_first_then_grace_then_staged() {
    let mut bench = Bench::new();
    bench.rotate("m", Takeover::Grace);
    bench.rotate("m", Takeover::Staged);
    bench.rotate("default", Takeover::Grace);
    // Two primaries of class 1, two in grace, one staged; classes 2 and 3 keep no state.
    for (most, kept) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (100, 5)] {
        let engine = Engine::keeping(most, &HeapArena, bench.keyring.clone()).unwrap();
        assert_eq!(engine.states.count(), kept);
        let of = |key: &str, number| {
            let version = bench.keyring.find(key).unwrap().version(number).unwrap();
            engine.states.keeps(version.key_id().unwrap())
        };
        let kept = [of("default", 2), of("m", 2), of("default", 1), of("m", 1), of("m", 3)];
        let wanted: Vec<bool> = (0..5).map(|place| place < most).collect();
        assert_eq!(kept[..], wanted, "{most}");
    }
}

//! `rewrap` of every kind.

use super::*;

#[test]
fn every_kind_moves_to_the_primary_version_and_opens_as_before() {
    let mut bench = Bench::new();
    let context = context::encode([("row", &b"7"[..])]).unwrap();
    let (stream, application) =
        (bench.data_key("m", &context, Kind::StreamKey), bench.data_key("m", &context, Kind::DataKey));
    let texts = [vec![], b"a".to_vec(), vec![5; 30_000]];
    let messages: Vec<_> = texts.iter().map(|text| bench.seal("m", &context, text).unwrap()).collect();
    bench.rotate("m", Takeover::Grace);
    for (old, text) in messages.iter().zip(&texts) {
        let (version, changed, new) = bench.rewrap(&context, old).unwrap();
        assert_eq!((version, changed, new.len(), new[0]), (2, true, old.len(), 1));
        assert_ne!(new[1..], old[1..]);
        let id = *Envelope::parse(&new).unwrap().key_id;
        assert_eq!(bench.keyring.version_by_id(&id).unwrap().1.number, 2);
        assert_eq!(&bench.open(&context, &new).unwrap(), text);
        assert_eq!(bench.rewrap(&context, &new).unwrap(), (2, false, new.clone()), "a no-op when current");
        let (_, _, again) = bench.rewrap(&context, old).unwrap();
        assert_ne!(Envelope::parse(&again).unwrap().nonce, Envelope::parse(&new).unwrap().nonce);
    }
    for ((plain, old), kind) in [(stream, Kind::StreamKey), (application, Kind::DataKey)] {
        let (version, changed, new) = bench.rewrap(&context, &old).unwrap();
        assert_eq!((version, changed, new.len(), new[0]), (2, true, 105, kind as u8));
        assert_eq!(bench.open_data_key(&context, &new).unwrap(), plain);
        assert_eq!(bench.open(&context, &new), Err(OperationError::DoesNotOpen), "still no message");
    }
}

#[test]
fn what_does_not_open_is_not_moved_and_leaves_nothing() {
    let mut bench = Bench::new();
    let context = context::encode([("row", &b"7"[..])]).unwrap();
    let old = bench.seal("m", &context, b"secret words").unwrap();
    let (_, data_key) = bench.data_key("m", &context, Kind::DataKey);
    let current_of = |bench: &mut Bench| bench.seal("m", &context, b"secret words").unwrap();
    bench.rotate("m", Takeover::Grace);
    let current = current_of(&mut bench);
    for envelope in [&old, &current, &data_key] {
        assert_eq!(bench.rewrap(EMPTY, envelope), Err(OperationError::DoesNotOpen), "another context");
        for bit in (0..8).chain(33 * 8..envelope.len() * 8) {
            let mut changed = envelope.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(bench.rewrap(&context, &changed), Err(OperationError::DoesNotOpen), "bit {bit}");
        }
        for length in 0..envelope.len() {
            assert_eq!(bench.rewrap(&context, &envelope[..length]), Err(OperationError::DoesNotOpen));
        }
    }
    assert_eq!(bench.rewrap(b"", &old), Err(OperationError::InvalidContext));
}

/// The first bytes differ from call to call, then there are none.
struct Dry;

impl Entropy for Dry {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyFailed> {
        Err(EntropyFailed)
    }
}

#[test]
fn a_failure_between_opening_and_sealing_leaves_no_plaintext_in_the_buffer() {
    let mut bench = Bench::new();
    let old = bench.seal("m", EMPTY, b"needle in the reply buffer").unwrap();
    bench.rotate("m", Takeover::Grace);
    let body = codec::frame(5, 0, &RewrapRequest { context: EMPTY, envelope: &old }).unwrap();
    let mut associated_data = Vec::new();
    let mut work = Work {
        entropy: &mut Dry,
        associated_data: &mut associated_data,
        meter: &mut Purse(0),
        maintenance: false,
        now_unix: NOW,
    };
    let mut bytes = vec![0; 4096];
    let mut replies = ReplyBuffer::new(&mut bytes);
    let request = Request { operation: OperationCode::Rewrap, id: 5, body: &body[HEADER_BYTES..] };
    let rights = owner();
    let facts = bench.engine.handle(&caller(&rights), request, &mut work, &mut replies).unwrap();
    assert_eq!(facts.failure, Some(OperationError::Internal));
    assert!(!bytes.windows(6).any(|window| window == b"needle"));
}

#[test]
fn maintenance_stops_a_real_rewrap_and_a_brake_every_one() {
    let mut bench = Bench::new();
    let old = bench.seal("m", EMPTY, b"x").unwrap();
    bench.rotate("m", Takeover::Grace);
    let current = bench.seal("m", EMPTY, b"x").unwrap();
    bench.maintenance = true;
    assert_eq!(bench.rewrap(EMPTY, &old), Err(OperationError::Maintenance));
    assert_eq!(bench.rewrap(EMPTY, &current), Ok((2, false, current.clone())));
    bench.maintenance = false;
    bench.brake("m", Brake::Compromised);
    for envelope in [&old, &current] {
        assert_eq!(bench.rewrap(EMPTY, envelope), Err(OperationError::KeyCompromised));
    }
}

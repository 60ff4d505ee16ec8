//! `random`: a right, and no key.

use super::*;

fn random(bench: &mut Bench, bytes: u32) -> Result<Vec<u8>, OperationError> {
    let body = bench.ask(OperationCode::Random, &RandomRequest { bytes })?;
    Ok(codec::decode::<RandomReply<'_>>(&body).unwrap().random.to_vec())
}

#[test]
fn as_many_as_were_asked_for_and_they_differ() {
    let mut bench = Bench::new();
    bench.maintenance = true;
    for bytes in [1, 2, 32, 4096] {
        let (one, other) = (random(&mut bench, bytes).unwrap(), random(&mut bench, bytes).unwrap());
        assert_eq!(one.len(), usize::try_from(bytes).unwrap());
        assert_ne!(one, other);
    }
    for bytes in [0, 4097, u32::MAX] {
        assert_eq!(random(&mut bench, bytes), Err(OperationError::InvalidRandomLength));
    }
    assert_eq!(bench.ask(OperationCode::Random, &Empty {}), Err(OperationError::Malformed));
}

//! One key, one algorithm: every operation on a key of every class.

use super::*;

#[test]
fn an_operation_serves_its_own_class_alone() {
    let mut bench = Bench::new();
    let future = r#"{"exp":1800000600}"#;
    let token = bench.sign("t", future).unwrap();
    for (key, class) in [("m", Class::Message), ("i", Class::Index), ("t", Class::Hs256)] {
        let outcomes = [
            (Class::Message, bench.seal(key, EMPTY, b"x").err()),
            (
                Class::Message,
                bench.ask(OperationCode::DataKey, &DataKeyRequest { key, context: EMPTY, kind: 2 }).err(),
            ),
            (Class::Index, bench.tags(look_up(key, EMPTY, b"x")).err()),
            (Class::Hs256, bench.sign(key, future).err()),
            (Class::Hs256, bench.verify(key, &token).err()),
        ];
        for (place, (wanted, failure)) in outcomes.into_iter().enumerate() {
            let expected = (wanted != class).then_some(OperationError::WrongClass);
            assert_eq!(failure, expected, "{place} {key}");
        }
    }
    assert_eq!(OperationError::WrongClass.code(), ErrorCode::WrongClass);
}

#[test]
fn an_envelope_that_names_a_key_of_another_class_is_refused() {
    let mut bench = Bench::new();
    let sealed = bench.seal("m", EMPTY, b"x").unwrap();
    for key in ["i", "t"] {
        let id = *bench.keyring.find(key).unwrap().primary().unwrap().key_id().unwrap();
        let mut forged = sealed.clone();
        forged[1..33].copy_from_slice(&id);
        assert_eq!(bench.open(EMPTY, &forged), Err(OperationError::WrongClass), "{key}");
        assert_eq!(bench.rewrap(EMPTY, &forged), Err(OperationError::WrongClass), "{key}");
    }
}

use super::*;

fn range(offset: i64, length: Option<u64>) -> Range {
    Range { offset, length }
}

#[test]
fn a_range_is_what_lies_within() {
    for (offset, length, size, expected) in [
        (0, None, 0, (0, 0)),
        (0, None, 10, (0, 10)),
        (3, None, 10, (3, 10)),
        (3, Some(4), 10, (3, 7)),
        (3, Some(0), 10, (3, 3)),
        (3, Some(u64::MAX), 10, (3, 10)),
        (10, Some(1), 10, (10, 10)),
        (i64::MAX, Some(u64::MAX), 10, (10, 10)),
        (-4, None, 10, (6, 10)),
        (-4, Some(2), 10, (6, 8)),
        (-40, Some(2), 10, (0, 2)),
        (i64::MIN, None, 10, (0, 10)),
    ] {
        assert_eq!(range(offset, length).within(size), expected, "{offset} {length:?} {size}");
    }
}

#[test]
fn only_a_range_with_both_ends_before_a_byte_ends_by_it() {
    assert!(range(0, Some(5)).ends_by(5) && range(5, Some(0)).ends_by(5));
    assert!(!range(0, Some(6)).ends_by(5) && !range(6, Some(0)).ends_by(5));
    assert!(!range(0, None).ends_by(u64::MAX) && !range(-1, Some(1)).ends_by(u64::MAX));
    assert!(!range(i64::MAX, Some(u64::MAX)).ends_by(u64::MAX - 1));
}

#[test]
fn slices_are_those_of_the_bytes() {
    let bytes = b"0123456789";
    assert_eq!(range(2, Some(3)).slice(bytes), b"234");
    assert_eq!(range(-3, None).slice(bytes), b"789");
    assert_eq!(range(20, None).slice(bytes), b"");
    assert_eq!(RangeArguments { offset: None, length: None }.range(), None);
    assert_eq!(RangeArguments { offset: None, length: Some(3) }.range(), Some(range(0, Some(3))));
}

use super::*;

const NOW: u64 = 1_795_314_005_000_000;

fn at(text: &str) -> Result<u64, NotATime> {
    parse(text, NOW, Edge::Begin)
}

#[test]
fn times_that_are_right() {
    for (text, micros) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-22T02:20:05Z", NOW),
        ("2026-11-22T02:20:05.5Z", NOW + 500_000),
        ("2026-11-22T02:20:05.123456789Z", NOW + 123_456),
        ("2026-11-22T03:20:05+01:00", NOW),
        ("2026-11-21T20:50:05-05:30", NOW),
        ("2026-11-22", NOW - (2 * 3600 + 20 * 60 + 5) * MICROS),
        ("2024-02-29", 1_709_164_800 * MICROS),
        ("9999-12-31T23:59:59.999999Z", LAST),
        ("24h", NOW - 86_400 * MICROS),
        ("0s", NOW),
        ("90m", NOW - 5400 * MICROS),
        ("2w", NOW - 14 * 86_400 * MICROS),
        ("007d", NOW - 7 * 86_400 * MICROS),
    ] {
        assert_eq!(at(text), Ok(micros), "{text}");
    }
    let end = parse("2026-11-22", NOW, Edge::End).unwrap();
    assert_eq!(rfc3339(end), "2026-11-22T23:59:59.999999Z");
    assert_eq!(parse("2026-11-22T02:20:05Z", 0, Edge::End), Ok(NOW), "a time has no other end");
}

#[test]
fn times_that_are_wrong() {
    for text in [
        "",
        "h",
        "-1h",
        "+1h",
        "1.5h",
        "24",
        "24H",
        "1y",
        "24h ",
        " 24h",
        "99999999999999999999h",
        "600000h",
        "18446744073709551615w",
        "2026-11-31",
        "2023-02-29",
        "2100-02-29",
        "1969-12-31",
        "0000-01-01",
        "2026-00-10",
        "2026-13-01",
        "2026-01-00",
        "2026-1-1",
        "26-01-01",
        "2026/01/01",
        "2026-01-01 ",
        "2026-11-22T02:20:05",
        "2026-11-22t02:20:05Z",
        "2026-11-22T02:20:05z",
        "2026-11-22 02:20:05Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T02:60:00Z",
        "2026-11-22T02:20:60Z",
        "2026-11-22T2:20:05Z",
        "2026-11-22T02:20:05.Z",
        "2026-11-22T02:20:05.1234567890Z",
        "2026-11-22T02:20:05,5Z",
        "2026-11-22T02:20:05+1:00",
        "2026-11-22T02:20:05+24:00",
        "2026-11-22T02:20:05+0100",
        "2026-11-22T02:20:05Z ",
        "2026-11-22T02:20:05ZZ",
        "２０２６-11-22",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "20\u{0}6-11-22",
        "é",
    ] {
        assert!(at(text).is_err(), "{text:?}: {:?}", at(text));
    }
}

#[test]
fn quarters() {
    let (begin, end) = parse_quarter("2026Q4").unwrap();
    assert_eq!(
        (rfc3339(begin), rfc3339(end)),
        ("2026-10-01T00:00:00.000000Z".to_owned(), "2026-12-31T23:59:59.999999Z".to_owned())
    );
    let quarters =
        ["2026Q1", "2026Q2", "2026Q3", "2026Q4", "2027Q1"].map(|text| parse_quarter(text).unwrap());
    for pair in quarters.windows(2) {
        assert_eq!(pair[0].1 + 1, pair[1].0, "no gap and no overlap");
    }
    for bad in [
        "", "2026", "Q4", "2026Q0", "2026Q5", "2026q4", "2026Q44", "26Q4", "1969Q4", "+026Q1", "2026-Q4",
        "2026Q",
    ] {
        assert!(parse_quarter(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_shown_is_read_again() {
    for micros in [0, 1, NOW, NOW + 999_999, 951_868_800 * MICROS, 4_107_542_399_000_000, LAST] {
        assert_eq!(at(&rfc3339(micros)), Ok(micros));
        assert_eq!(at(&shown(micros).replace(' ', "T")), Ok(micros / MICROS * MICROS));
    }
    assert_eq!(shown(u64::MAX), "9999-12-31 23:59:59Z");
    for day in (0..3_000_000).step_by(97) {
        let (year, month, of_month) = civil_from_days(day);
        let expected = (year <= 10_000).then_some(day);
        assert_eq!(days_from_civil(year, month, of_month), expected);
    }
}

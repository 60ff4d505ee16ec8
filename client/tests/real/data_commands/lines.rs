//! `rewrap --lines`: ten thousand values, mixed with what is current and what is wrong.

use std::fs;

use keyagent_client::{Address, Client, ContextBytes, KeyName};

use super::{super::place::Place, rotated};

/// Values of the primary version, made through the library.
fn values(place: &Place, count: usize) -> Vec<String> {
    let mut client = Client::new(Address::exactly(place.socket()).unwrap());
    let context = ContextBytes::new([("row", "1")]).unwrap();
    let plains: Vec<String> = (0..count).map(|number| format!("value {number}")).collect();
    let items: Vec<_> = plains.iter().map(|plain| (context.get(), plain.as_bytes())).collect();
    let sealed = client.encrypt_many(KeyName::parse("app").unwrap(), &items).unwrap();
    sealed.into_iter().map(|sealed| keyagent_client::to_text(&sealed.unwrap()).unwrap()).collect()
}

#[test]
fn ten_thousand_lines_move_in_order() {
    let (place, _) = rotated();
    let old = values(&place, 9_999);
    place.run(&["keys", "rotate", "app"], b"").expect(0);
    let current = values(&place, 1);
    let mut lines = old.clone();
    lines.insert(5_000, current[0].clone());
    lines.insert(7, String::new());
    fs::write(place.work("column"), lines.join("\n") + "\n").unwrap();
    let done = place.run(&["rewrap", "--lines", "-v", "-c", "row=1", "-o", "moved", "column"], b"").expect(0);
    assert!(
        done.stderr.contains("column: 9999 of 10000 values moved, the others are current"),
        "{}",
        done.stderr
    );
    let moved = fs::read_to_string(place.work("moved")).unwrap();
    assert!(moved.ends_with('\n'));
    let moved: Vec<&str> = moved.lines().collect();
    assert_eq!(moved.len(), lines.len());
    assert!(moved[7].is_empty() && moved[5_001] == current[0]);
    assert_eq!(moved.iter().zip(&lines).filter(|(new, old)| new != old).count(), 9_999);
    place.run(&["keys", "retire", "app", "2"], b"").expect(0);
    for at in [0, 6, 8, 1_024, 5_000, 5_002, 10_000] {
        let number = at - usize::from(at > 7) - usize::from(at > 5_001);
        let opened = place.run(&["decrypt", "-c", "row=1"], moved[at].as_bytes()).expect(0).text();
        assert_eq!(opened, format!("value {number}"), "{at}");
    }
    // In place, and nothing to do the second time.
    fs::write(place.work("column"), moved.join("\n")).unwrap();
    place.run(&["rewrap", "--lines", "--in-place", "-c", "row=1", "column"], b"").expect(0);
    assert_eq!(fs::read_to_string(place.work("column")).unwrap(), moved.join("\n"), "without a last newline");
}

#[test]
fn lines_that_fail_stay_and_are_grouped() {
    let (place, retired) = rotated();
    place.run(&["keys", "retire", "app", "1"], b"").expect(0);
    let old = values(&place, 3);
    place.run(&["keys", "rotate", "app"], b"").expect(0);
    let other = if old[2].as_bytes()[90] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &old[2][..90], &old[2][91..]);
    let lines = [&old[0], &retired, "hello", &retired, &changed, &format!("{}\r", old[1]), &old[1]]
        .map(str::to_owned);
    let input = lines.join("\n") + "\n";
    let done = place.run(&["rewrap", "--lines", "-c", "row=1"], input.as_bytes());
    let output: Vec<&str> = str::from_utf8(&done.stdout).unwrap().split('\n').collect();
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(output[at] == line, ![0, 6].contains(&at), "{at}");
    }
    let text = &done.stderr;
    for expected in [
        "keyagent: 5 of 7 values cannot be moved; a file is written only if all of them can\n",
        "(VERSION_RETIRED): lines 2 4\n",
        "(NOT_CIPHERTEXT): lines 3 6\n",
        "(DOES_NOT_OPEN): line 5\n",
        &super::key_id(&place, retired.as_bytes()),
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    done.refused(79, "VERSION_RETIRED");
    fs::write(place.work("column"), &input).unwrap();
    place
        .run(&["rewrap", "--lines", "--in-place", "-c", "row=1", "column"], b"")
        .refused(79, "VERSION_RETIRED");
    place
        .run(&["rewrap", "--lines", "-o", "out", "-c", "row=1", "column"], b"")
        .refused(79, "VERSION_RETIRED");
    assert_eq!(fs::read_to_string(place.work("column")).unwrap(), input);
    assert!(!place.work("out").exists());
    place.run(&["rewrap", "--lines", "-c", "row=2"], old[0].as_bytes()).refused(65, "DOES_NOT_OPEN");
    assert!(place.run(&["rewrap", "--lines"], b"").expect(0).stdout.is_empty());
}

use alloc::{format, string::String, vec::Vec};

use proptest::prelude::*;

use super::*;

fn names(json: &[u8]) -> Result<Vec<String>, NotJson> {
    let mut names = Vec::new();
    read_object(json, &mut |name, _| names.push(name.characters().collect()))?;
    Ok(names)
}

#[test]
fn reads_what_the_standard_allows() {
    for (good, wanted) in [
        ("{}", &[][..]),
        (" \t\r\n{ \n} ", &[]),
        (r#"{"a":1}"#, &["a"]),
        (
            r#"{"a":-0.5e+10,"b":[1,[],{}],"c":{"a":{"a":null}},"d":true,"e":false}"#,
            &["a", "b", "c", "d", "e"],
        ),
        (r#"{"":0,"\"":0,"\\":0,"\/":0,"\b\f\n\r\t":0}"#, &["", "\"", "\\", "/", "\u{8}\u{c}\n\r\t"]),
        (r#"{"\u00e4\ud83d\ude00":"\uFFFF"}"#, &["ä😀"]),
        (r#"{"ä😀":[{"a":0},{"a":0}],"\u0000":0}"#, &["ä😀", "\0"]),
        (r#"{ "a" : [ 1 , 2 ] , "b" : "c" }"#, &["a", "b"]),
    ] {
        assert_eq!(names(good.as_bytes()).unwrap(), wanted, "{good}");
        serde_json::from_str::<serde_json::Value>(good).unwrap();
    }
}

#[test]
fn refuses_everything_else() {
    for bad in [
        "",
        " ",
        "{",
        "}",
        "{}}",
        "{}x",
        "[]",
        "1",
        "null",
        "\"a\"",
        "\u{feff}{}",
        "{a:1}",
        "{'a':1}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":1;"b":2}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":1e+}"#,
        r#"{"a":--1}"#,
        r#"{"a":-}"#,
        r#"{"a":0x1}"#,
        r#"{"a":NaN}"#,
        r#"{"a":Infinity}"#,
        r#"{"a":True}"#,
        r#"{"a":nul}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[,]}"#,
        r#"{"a":[1 2]}"#,
        r#"{"a":[}"#,
        r#"{"a":"b}"#,
        r#"{"a":"\"}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\u12G4"}"#,
        r#"{"a":"\u+123"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\ud800x"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\0\"}",
        "{\"a\u{1f}\":1}",
        "{\"a\":1/**/}",
        "{\"a\":1}//",
        "{\"a\":\u{a0}1}",
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"b":{"a":1,"a":1}}"#,
        r#"{"b":[{"\ud83d\ude00":1,"😀":1}]}"#,
        r#"{"/":1,"\/":1}"#,
    ] {
        assert_eq!(names(bad.as_bytes()), Err(NotJson), "{bad}");
    }
    for bytes in [&b"{\"\xff\":1}"[..], b"{\"\xed\xa0\x80\":1}", b"{\"a\":1}\0"] {
        assert_eq!(names(bytes), Err(NotJson));
    }
}

#[test]
fn nesting_ends() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let mixed = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    for of in [&nested as &dyn Fn(usize) -> String, &mixed] {
        assert!(names(of(16).as_bytes()).is_ok());
        assert_eq!(names(of(17).as_bytes()), Err(NotJson));
        assert_eq!(names(of(5000).as_bytes()), Err(NotJson));
    }
}

#[test]
fn thousands_of_names_take_no_thousands_of_times() {
    let many: Vec<String> = (0..4000).map(|number| format!("\"{number}\":0")).collect();
    assert_eq!(names(format!("{{{}}}", many.join(",")).as_bytes()).unwrap().len(), 4000);
    let twice = format!("{{{},\"77\":0}}", many.join(","));
    assert_eq!(names(twice.as_bytes()), Err(NotJson));
}

/// What this reads is what another reader reads, and all of it.
fn agrees(json: &str) -> bool {
    let read = serde_json::from_str::<serde_json::Value>(json);
    match names(json.as_bytes()) {
        Ok(mut names) => {
            let Ok(serde_json::Value::Object(members)) = read else { return false };
            let mut other: Vec<&String> = members.keys().collect();
            names.sort();
            other.sort();
            names.iter().eq(other)
        }
        // It refuses more: names that stand there twice, deep nesting, numbers out of range are not told apart here.
        Err(NotJson) => true,
    }
}

proptest! {
    #[test]
    fn never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
        let _ = names(&bytes);
    }

    #[test]
    fn whatever_is_read_is_read_alike_elsewhere(json in r#"(\{|\}|\[|\]|"|:|,|\\u00e4|\\|[a-c0-2]| |"[ab]":|-|\.|e|true|null){0,24}"#) {
        prop_assert!(agrees(&json), "{}", json);
        let wrapped = format!("{{{json}}}");
        prop_assert!(agrees(&wrapped), "{}", wrapped);
    }

    #[test]
    fn whatever_is_written_elsewhere_is_read(names_and_values in proptest::collection::btree_map(".{0,6}", ".{0,6}", 0..6)) {
        let written = serde_json::to_string(&names_and_values).unwrap();
        let read = names(written.as_bytes()).unwrap();
        prop_assert!(read.iter().eq(names_and_values.keys()));
    }
}

use alloc::string::ToString;

use proptest::prelude::*;

use super::*;

fn fits(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern, Names::Keys).unwrap().matches(name)
}

#[test]
fn stars_stay_within_a_part_and_double_stars_do_not() {
    for (pattern, fitting, others) in [
        ("default", &["default"][..], &["default2", "defaul", "", "default/a"][..]),
        (
            "billing/*",
            &["billing/cards", "billing/a.b"],
            &["billing", "billing/a/b", "billing2/a", "x/billing/a"],
        ),
        ("billing/**", &["billing/cards", "billing/a/b"], &["billing", "billin/a"]),
        ("**", &["a", "a/b/c"], &[]),
        ("*", &["a", "default"], &["a/b"]),
        ("*/*", &["a/b"], &["a", "a/b/c"]),
        ("**/key", &["a/key", "a/b/key"], &["key", "a/keys", "a/xkey/b"]),
        ("a*c", &["ac", "abc", "abcc"], &["a/c", "ab", "abcd"]),
        ("a**c", &["ac", "a/c", "a/b/c/c"], &["ab", "a/b"]),
        ("*-*/x**", &["a-b/x", "-/xyz/z"], &["ab/x", "a/b-c/x"]),
    ] {
        for name in fitting {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for name in others {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}

#[test]
fn units_are_matched_like_names_of_one_part() {
    let unit = |text: &str| Pattern::parse(text, Names::Units).unwrap();
    assert!(unit("billing@*.service").matches("billing@eu-1.service"));
    assert!(!unit("billing@*.service").matches("billing.service"));
    assert!(unit("app-*").matches("app-1.scope"));
    assert!(unit(r"a\x2db.service").matches(r"a\x2db.service"));
}

#[test]
fn what_can_fit_nothing_or_is_too_long_is_no_pattern() {
    let nine = ["a*"; 9].join("");
    let long = "a".repeat(MAX_BYTES + 1);
    for bad in [
        "", "***", "a***b", "A*", "ä*", "a b", "/a*", "a*/", "a//*", "..", "a/../b", "a?", "[a]", &nine,
        &long,
    ] {
        assert!(Pattern::parse(bad, Names::Keys).is_err(), "{bad}");
    }
    for bad in ["", "billing", "billing.socket", "a/b.service", "a b.service", "ü.service", "a+b.service"] {
        assert!(Pattern::parse(bad, Names::Units).is_err(), "{bad}");
    }
    let eight = ["a*"; 8].join("");
    assert!(Pattern::parse(&eight, Names::Keys).is_ok());
    assert!(Pattern::parse(&["a**"; 8].join(""), Names::Keys).is_ok());
    assert!(Pattern::parse(&("a".repeat(63) + "/" + &"b".repeat(64)), Names::Keys).is_ok());
}

/// The worst a rule may hold against the worst a name may be: one step for each byte of the name, and each
/// step looks at no more entries than the pattern has different letters.
#[test]
fn adversarial_input_takes_one_step_for_each_byte() {
    let alphabet = "abcdefghijklmnopqrstuvwxyz0123456789._-/";
    let patterns = [
        "a*".repeat(8),
        "a**".repeat(8),
        ["*a**a"; 4].join("") + "b",
        "*".to_string() + &"a".repeat(126) + "*",
        "**".to_string() + &"a".repeat(120) + "**b",
        "*".to_string() + &alphabet[..36] + &alphabet[..36] + "**",
    ];
    let names = ["a".repeat(128), "a/".repeat(64), alphabet.repeat(3), "a".repeat(127) + "b"];
    for text in &patterns {
        let Shape::Automaton(automaton) = Pattern::parse(text, Names::Keys).unwrap().shape else {
            panic!("{text} is no automaton")
        };
        assert!(automaton.reached.len() <= alphabet.len());
        for name in &names {
            let (mut states, mut steps) = (1, 0);
            for byte in name.bytes() {
                states = automaton.step(states, byte);
                steps += 1;
            }
            assert_eq!(steps, name.len());
            assert_eq!(states & automaton.end != 0, automaton.matches(name));
            assert_eq!(automaton.matches(name), reference(text.as_bytes(), name.as_bytes()), "{text} {name}");
        }
    }
}

/// By the definition, tried out for every place a star could end: a table of pattern by name.
fn reference(pattern: &[u8], name: &[u8]) -> bool {
    let mut fits = alloc::vec![false; name.len() + 1];
    fits[0] = true;
    let mut rest = pattern;
    while let Some((&first, others)) = rest.split_first() {
        let across = rest.starts_with(b"**");
        let mut next = alloc::vec![false; name.len() + 1];
        for start in (0..=name.len()).filter(|start| fits[*start]) {
            if first == b'*' {
                for end in start..=name.len() {
                    next[end] |= across || !name[start..end].contains(&b'/');
                }
            } else if name.get(start) == Some(&first) {
                next[start + 1] = true;
            }
        }
        fits = next;
        rest = if across { &others[1..] } else { others };
    }
    fits[name.len()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_automaton_agrees_with_the_definition(pattern in "([ab/]|\\*|\\*\\*){1,10}", name in "[ab/]{0,12}") {
        if let Ok(compiled) = Pattern::parse(&pattern, Names::Keys) {
            prop_assert_eq!(compiled.matches(&name), reference(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn no_text_at_all_makes_it_fail(pattern: String, name: String) {
        for names in [Names::Keys, Names::Units] {
            if let Ok(compiled) = Pattern::parse(&pattern, names) {
                compiled.matches(&name);
            }
        }
    }
}

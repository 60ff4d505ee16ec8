extern crate std;

use alloc::format;
use std::{println, time::Instant};

use super::*;
use crate::change;

#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn how_long_large_keyrings_take() {
    for count in [1_000, 10_000] {
        let keyring = create(1);
        let mut entropy = Counting(2, 0);
        let mut draft = keyring.draft();
        let begun = Instant::now();
        for number in 0..count - 1 {
            let name = format!("tenant/{number:05}");
            draft.add_key(KeyName::parse(&name).unwrap(), Class::Message, &mut entropy, NOW).unwrap();
        }
        let made = begun.elapsed();
        let begun = Instant::now();
        let prepared = draft.prepare(None, &mut entropy).unwrap();
        let prepare = begun.elapsed();
        let begun = Instant::now();
        let again = open(&prepared.bytes).unwrap();
        let opened = begun.elapsed();
        let begun = Instant::now();
        let copy = again.draft();
        let copied = begun.elapsed();
        assert_eq!(again.keys().len(), count);
        assert_eq!(copy.prepare(None, &mut entropy).unwrap().generation, 2);
        let length = prepared.bytes.len();
        println!(
            "{count} keys, {length} bytes: made {made:?}, draft {copied:?}, prepare {prepare:?}, open {opened:?}"
        );
        let subjects = |_: &str| (1000..1020).map(|uid| format!("uid:{uid}")).collect();
        let begun = Instant::now();
        let (listed, changes) = change::record_access(&again, subjects, NOW, 0).unwrap().unwrap();
        let listing = begun.elapsed();
        let begun = Instant::now();
        let length = listed.prepare(None, &mut entropy).unwrap().bytes.len();
        let prepare = begun.elapsed();
        let begun = Instant::now();
        let all = change::disable(&again, change::Selection::All, Brake::Disabled, "x", NOW).unwrap().1;
        assert_eq!((changes.len(), all.len()), (count, count));
        println!(
            "  with lists of 20: {length} bytes, listed {listing:?}, prepare {prepare:?}; all braked {:?}",
            begun.elapsed()
        );
    }
}

//! A backup of the first version of the format, kept for ever: it must open with every later version of the program.
//!
//! Its keys are published here. It was made on 2026-11-22 by a host with a rotated and a staged version, an index key,
//! and a disabled key for tokens.

use super::*;

const BYTES: &[u8] = include_bytes!("version1.kabackup");
const KEPT_PASSPHRASE: &str = "a passphrase that is kept";
const SEALED: &str = "ka1.Aeo3JuWaPtXf1tIWKK88v4wflxsZMStsBv2U0aD31bg98gP4b8iWjurHKToksoTDjf5ISggRa0oUl0ABNjzOZ9uXpChRKMmyUOqBaaIGwTL4JUaeN-Ae";

#[test]
fn a_backup_of_the_first_version_opens_for_ever() {
    let (place, stick) = (Place::new(), Stick::new());
    fs::write(stick.path("a"), BYTES).unwrap();
    place.backup_with(&format!("restore {} --yes", stick.shown("a")), KEPT_PASSPHRASE).expect(0);
    assert_eq!(
        place.run(&["fingerprint"], b"").expect(0).line(),
        "0a7ea712a3f0c7e537a6dc1446373bb4 Cn6n-EqPw"
    );
    let row =
        |(name, number, state, id): (String, u64, String, String)| format!("{name} {number} {state} {id}");
    assert_eq!(
        place.versions().into_iter().map(row).collect::<Vec<_>>(),
        [
            "billing/cards 1 grace tza-xybrnaEGNq0ALmy7BTTLWL59QhitT8g7NnKBv_g",
            "billing/cards 2 primary 6jcm5Zo-1d_W0hYorzy_jB-XGxkxK2wG_ZTRoPfVuD0",
            "billing/cards 3 staged 3CLbs9rK1Z73Fsi2yXZ4ziHcO3ULb0nWDWMP1BFO7AE",
            "default 1 primary Rdyxl-HTE3MAoHhf8ehi6n4GFI0oUTk45jF5bT_havs",
            "mail 1 primary ZPHAa9X1PzkrVoRZLqsrV1Eool7CgZ0bXWJjxaJvqwQ",
            "tokens 1 primary BqT_Mr_UBHfL_8tmxp3f3u1GPnpYDTzkiPKMKmpX1Ic",
        ]
    );
    let opened = place.run(&["decrypt", "-c", "table=cards"], SEALED.as_bytes()).expect(0);
    assert_eq!(opened.stdout, b"from version 1");
    let shown = place.run(&["keys", "show", "billing/cards"], b"").expect(0).text();
    assert!(["production", "Ana", "für Karten"].iter().all(|word| shown.contains(word)), "{shown}");
    let tokens = place.run(&["keys", "show", "tokens"], b"").expect(0).text();
    assert!(tokens.contains("disabled") && tokens.contains("a test"), "{tokens}");
}

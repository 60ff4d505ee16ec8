//! The policy that docs/POLICY.md begins with, taken from the document itself, with the users it names.

use std::{fs, process::Command};

use keyagent_common::{
    context::{self, EMPTY},
    error::ErrorCode,
    op::{Empty, Status},
};

use super::stage::{Person, Stage};
use crate::support::{chmod, skipped, slice::Slice};

const DOCUMENT: &str = include_str!("../../../../docs/POLICY.md");
const ANA: u32 = 2001;
const MAILER: u32 = 2002;
const SHOP: u32 = 2003;

/// The first block of TOML.
fn example() -> &'static str {
    let (_, rest) = DOCUMENT.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0
}

/// A shell script that runs what follows where these users exist, and where nobody else notices.
fn with_users(stage: &Stage) -> String {
    let users = [("ana", ANA), ("mailer", MAILER)];
    let mut script = String::new();
    for (file, tail) in [("passwd", ":/:/bin/false\n"), ("group", "\n")] {
        let mut text = fs::read_to_string(format!("/etc/{file}")).unwrap();
        for (name, id) in users {
            // The group of a user has the same number.
            let group = if file == "passwd" { format!("{id}:") } else { String::new() };
            text += &[name, ":x:", &id.to_string(), ":", &group, tail].concat();
        }
        let path = stage.home.join(file);
        fs::write(&path, text).unwrap();
        chmod(&path, 0o644);
        script += &["mount --bind '", path.to_str().unwrap(), "' /etc/", file, " && "].concat();
    }
    script + "exec \"$@\""
}

#[test]
fn the_example_of_the_document_does_what_it_says() {
    const NAME: &str = "the_example_of_the_document_does_what_it_says";
    let Some(slice) = Slice::new(NAME) else { return };
    let Some(mut stage) = Stage::not_started(NAME, example()) else { return };
    let script = with_users(&stage);
    let words = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let known = Command::new(words[0]).args(&words[1..]).args(["id", "-u", "mailer"]).output();
    if !known.is_ok_and(|output| output.stdout == format!("{MAILER}\n").as_bytes()) {
        return skipped(NAME, "cannot put another list of users in place");
    }
    // Here nobody has those names.
    assert!(stage.refuses().stderr.contains("ana"));
    stage.start_through(&words);
    let mut ana = stage.user(ANA);
    for key in ["shop/cards", "mail"] {
        ana.create_key(key).unwrap();
    }
    let password = ana.encrypt_under("mail", EMPTY, b"password").unwrap();
    // The shop: its own keys, each value bound to its table.
    let mut shop = stage.client(&Person::in_unit(SHOP, &slice, "shop.service"));
    let table = context::encode([("table", &b"cards"[..])]).unwrap();
    let card = shop.encrypt_under("shop/cards", &table, b"4111").unwrap();
    assert_eq!(shop.decrypt(&table, &card).unwrap(), b"4111");
    let denied = ErrorCode::Denied;
    assert_eq!(shop.encrypt_under("shop/cards", EMPTY, b"4111"), Err(denied));
    assert_eq!(shop.decrypt(EMPTY, &password), Err(denied));
    assert_eq!(shop.encrypt_under("mail", &table, b"x"), Err(denied));
    assert_eq!(shop.create_key("shop/more").unwrap_err(), denied);
    assert_eq!(shop.ask::<Status>(&Empty {}).error(), denied);
    // A key that does not exist yet, made by the admin.
    assert_eq!(shop.encrypt_under("shop/more", &table, b"x"), Err(ErrorCode::UnknownKey));
    ana.create_key("shop/more").unwrap();
    shop.encrypt_under("shop/more", &table, b"x").unwrap();
    // The mailer: opens its password, and not often.
    let mut mailer = stage.user(MAILER);
    let opened = (0..25).map(|_| mailer.decrypt(EMPTY, &password));
    let outcomes: Vec<_> = opened.map(|outcome| outcome.map(|_| ())).collect();
    assert_eq!(outcomes[..20], [Ok(()); 20]);
    assert_eq!(outcomes[24], Err(ErrorCode::RateLimited));
    assert_eq!(mailer.encrypt_under("mail", EMPTY, b"x"), Err(denied));
    assert_eq!(mailer.decrypt(&table, &card), Err(denied));
    // Nobody else; not even the shop's user outside its unit.
    for person in [Person::of(SHOP), Person::of(2004), Person::in_unit(2004, &slice, "mailer.service")] {
        assert!(stage.turns_away(&person), "{person:?}");
    }
    ana.lock().unwrap();
    ana.unlock(&[]).unwrap();
    stage.stop();
    let rules: Vec<_> = stage.lines("decrypt").iter().map(|line| line["metadata"]["rule"].clone()).collect();
    assert_eq!((rules[0].as_str(), rules[2].as_str()), (Some("shop"), Some("mailer")));
}

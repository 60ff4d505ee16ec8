use super::*;

#[test]
fn a_key_that_differs_keeps_the_whole_page_out() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    b.make("tokens", Class::Hs256);
    let pages = a.pages("");
    let before = b.keyring.clone();
    assert_eq!(b.differs(&pages[0]), "another key has this name here");
    assert_eq!(before.keys(), b.keyring.keys());
}

#[test]
fn a_version_that_differs_is_named() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    b.restore(&a.pages(""), false);
    a.rotate("index", Takeover::Grace);
    b.rotate("index", Takeover::Grace);
    let pages = a.pages("index");
    assert_eq!(b.differs(&pages[0]), "its version 2 is another one here");
}

#[test]
fn a_used_default_or_one_among_other_keys_gives_way_to_nobody() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    let pages = a.pages("");
    let request = RestoreRequest {
        backup_key: &KEY,
        page: &pages[0],
        dry_run: false,
        promote: false,
        default_is_unused: false,
        now_unix: NOW,
    };
    let used = restore(&b.keyring, &request, &mut Counting(1)).unwrap();
    assert!(used.draft.is_none() && used.keys[0].taken == Taken::Differs);
    b.make("other", Class::Message);
    assert_eq!(b.differs(&pages[0]), "another key has this name here");
    let mut c = Host::new(8, 3);
    c.rotate("default", Takeover::Grace);
    assert_eq!(c.differs(&pages[0]), "another key has this name here");
}

#[test]
fn one_secret_never_serves_two_classes_or_environments() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    let (index, tokens) = (a.secret("index", 1), a.secret("tokens", 1));
    b.make("other", Class::Message);
    let mut draft = b.keyring.draft();
    draft.replace_secret("other", 1, &index, &mut b.entropy).unwrap();
    b.commit(draft);
    let pages = a.pages("index");
    assert_eq!(b.differs(&pages[0]), "its version 1 has a secret of the key other");
    // Whoever only tries secrets is not told whose one is.
    let looked = b.ask(&pages[0], false, false).unwrap().keys.remove(0);
    assert_eq!(
        (looked.taken, &*looked.why),
        (Taken::Differs, "its version 1 has a secret of another key here")
    );

    let mut c = Host::new(7, 3);
    c.make("test/tokens", Class::Hs256);
    let mut draft = c.keyring.draft();
    draft.replace_secret("test/tokens", 1, &tokens, &mut c.entropy).unwrap();
    c.commit(draft);
    let label =
        |environment| change::Settings { environment: Some(environment), ..change::Settings::default() };
    c.configure("test/tokens", &label("test"));
    let unlabelled = a.pages("tokens");
    assert!(
        c.ask(&unlabelled[0], false, true).unwrap().draft.is_some(),
        "a key without a label is not compared"
    );
    a.configure("tokens", &label("production"));
    let labelled = a.pages("tokens");
    assert_eq!(c.differs(&labelled[0]), "its version 1 has a secret of the key test/tokens");
    c.configure("test/tokens", &label("production"));
    assert!(c.ask(&labelled[0], false, true).unwrap().draft.is_some());
}

#[test]
fn one_id_never_stands_under_two_names() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    b.make("other", Class::Index);
    let mut draft = b.keyring.draft();
    draft.replace_secret("other", 1, &a.secret("index", 1), &mut b.entropy).unwrap();
    b.commit(draft);
    let pages = a.pages("index");
    assert_eq!(b.differs(&pages[0]), "its version 1 is version 1 of the key other here");
}

#[test]
fn every_changed_bit_of_a_page_is_refused() {
    let (mut a, mut b) = (Host::new(1, 1), Host::new(9, 2));
    let page = a.pages("").remove(0);
    for place in 0..page.len() * 8 {
        let mut bytes = page.clone();
        bytes[place / 8] ^= 1 << (place % 8);
        assert!(b.ask(&bytes, false, true).is_err(), "bit {place}");
    }
    for length in 0..page.len() {
        assert!(b.ask(&page[..length], false, true).is_err(), "{length}");
    }
    assert!(b.ask(&[&page[..], &[0]].concat(), false, true).is_err());
    let request = RestoreRequest {
        backup_key: &[0x43; 32],
        page: &page,
        dry_run: false,
        promote: false,
        default_is_unused: true,
        now_unix: NOW,
    };
    let refused = restore(&b.keyring, &request, &mut Counting(1)).map(|_| ());
    assert_eq!(refused, Err(BackupError::DoesNotOpen));
    assert!(b.ask(&page, false, true).is_ok());
}

#[test]
fn a_page_is_that_of_one_backup_and_one_place() {
    let (mut a, mut b) = (Host::new(1, 1), Host::new(9, 2));
    let page = a.pages("").remove(0);
    a.make("later", Class::Message);
    let later = a.pages("").remove(0);
    // The body of one behind the header of the other.
    let swapped = [&later[..HEADER_BYTES], &page[HEADER_BYTES..]].concat();
    assert_eq!(b.ask(&swapped, false, true).map(|_| ()), Err(BackupError::DoesNotOpen));
}

/// What only somebody with the backup key can make is looked at all the same.
#[test]
fn a_forged_body_is_refused() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    let page = a.pages("index").remove(0);
    let keys = BackupKeys::derive(&KEY);
    let parsed = Page::parse(&page).unwrap();
    let body = keys.open_page(&parsed).unwrap();
    let parts = read_body(&body).unwrap();
    let part = &parts[0];
    let mut forge = |change: &dyn Fn(&mut keyagent_common::backup::page::KeyPart<'_>)| {
        let mut part = part.clone();
        change(&mut part);
        let mut forged = Vec::new();
        part.write_head(u16::try_from(part.versions.len()).unwrap(), &mut forged).unwrap();
        part.versions.iter().for_each(|version| version.write(&mut forged).unwrap());
        let sealed = keys.seal_page(&parsed.header, forged, &mut Counting(3)).unwrap();
        b.ask(&sealed, false, true).map(|done| done.draft.is_some())
    };
    assert_eq!(forge(&|_| {}), Ok(true));
    let malformed = |result: Result<bool, BackupError>| assert!(result.is_err(), "{result:?}");
    malformed(forge(&|part| part.name = "../x"));
    malformed(forge(&|part| part.class = 9));
    // A secret is sealed for its uid, number, class and id.
    malformed(forge(&|part| part.class = 1));
    malformed(forge(&|part| part.uid = [1; 16]));
    malformed(forge(&|part| part.versions[0].number = 2));
    malformed(forge(&|part| part.versions[0].number = 0));
    for number in [4097, u32::MAX] {
        assert_eq!(
            forge(&|part| part.versions[0].number = number),
            Err(BackupError::Malformed("a version has a number that no version has"))
        );
    }
    malformed(forge(&|part| part.versions[0].state = 9));
    malformed(forge(&|part| part.versions[0].state = 5));
    malformed(forge(&|part| part.versions[0].state = 7));
    malformed(forge(&|part| part.versions[0].state = 1));
    malformed(forge(&|part| part.versions[0].reason = 9));
    malformed(forge(&|part| part.versions[0].secret = None));
    malformed(forge(&|part| part.attributes = vec![("brake", b"on")]));
    // What is not known here is left out.
    assert_eq!(forge(&|part| part.attributes = vec![("access", b"x"), ("audit.archive", b"y")]), Ok(true));
}

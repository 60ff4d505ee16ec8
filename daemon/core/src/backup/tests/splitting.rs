use super::*;
use crate::change::VersionChange;

#[test]
fn many_keys_fill_many_pages() {
    let (mut a, mut b) = (Host::new(1, 1), Host::new(9, 2));
    let mut draft = a.keyring.draft();
    for number in 0..600 {
        draft.add_key(name(&format!("key/{number:04}")), Class::Message, &mut a.entropy, NOW).unwrap();
    }
    a.commit(draft);
    let pages = a.pages("");
    assert!(pages.len() > 2, "{}", pages.len());
    assert!(pages.iter().all(|page| page.len() <= BODY_BYTES + HEADER_BYTES + 40));
    assert!(pages.split_last().unwrap().1.iter().all(|page| page.len() > BODY_BYTES - 400));
    assert_eq!(b.restore(&pages, false).len(), 601);
    same_keys(&a, &b);
}

fn with_long_key(versions: u32) -> Host {
    let mut host = Host::new(1, 1);
    for text in ["a", "z"] {
        host.make(text, Class::Message);
    }
    let mut draft = host.keyring.draft();
    for _ in 1..versions {
        let number = draft.add_version("a", Reason::Scheduled, &mut host.entropy, NOW).unwrap();
        let state = if number.is_multiple_of(8) { State::Retired } else { State::Grace };
        draft.key_mut("a").unwrap().set_state(number, state, None, NOW + u64::from(number)).unwrap();
    }
    host.commit(draft);
    host.rotate("a", Takeover::Grace);
    host
}

#[test]
fn a_key_of_many_versions_goes_over_several_pages() {
    let (mut a, mut b) = (with_long_key(1200), Host::new(9, 2));
    let pages = a.pages("");
    assert!(pages.len() > 3, "{}", pages.len());
    let restored = b.restore(&pages, false);
    let added: u32 = restored.iter().filter(|(name, ..)| name == "a").map(|(.., added)| added).sum();
    assert_eq!(added, 1201);
    same_keys(&a, &b);
    let again = b.restore(&pages, false);
    assert!(again.iter().all(|(_, taken, _)| *taken == Taken::Same));
    // Without its first page, which has the primary, the key is not begun.
    let mut c = Host::new(7, 3);
    assert_eq!(c.differs(&pages[1]), "the first of its versions were not restored");
    let looked = c.ask(&pages[1], false, false).unwrap();
    assert!(
        looked.draft.is_none() && looked.keys[0].taken == Taken::Added,
        "a look takes pages in any order"
    );
    c.restore(&pages, false);
    same_keys(&a, &c);
}

#[test]
fn the_most_versions_fit() {
    let (mut a, mut b) = (with_long_key(4095), Host::new(9, 2));
    let pages = a.pages("a");
    b.restore(&pages, false);
    assert_eq!(b.keyring.find("a").unwrap().versions.len(), 4096);
    assert_eq!(b.states("a"), a.states("a"));
}

fn wanted(after: &[u8]) -> Wanted<'_> {
    Wanted { backup_key: &KEY, names: "", after }
}

#[test]
fn a_page_is_only_had_behind_the_one_before() {
    let mut a = with_long_key(900);
    let first = create_page(&a.keyring, wanted(&[]), &mut Counting(1)).unwrap();
    let create =
        |wanted: Wanted<'_>| create_page(&a.keyring, wanted, &mut Counting(1)).map(|page| page.index);
    assert_eq!(create(wanted(&first.next)), Ok(1));
    for place in 0..first.next.len() {
        let mut forged = first.next.clone();
        forged[place] ^= 1;
        assert_eq!(create(wanted(&forged)), Err(BackupError::BadCursor), "{place}");
        assert_eq!(create(wanted(&first.next[..place.max(1)])), Err(BackupError::BadCursor));
    }
    // Not with another key, nor of other keys.
    assert_eq!(create(Wanted { backup_key: &[1; 32], ..wanted(&first.next) }), Err(BackupError::BadCursor));
    assert_eq!(create(Wanted { names: "a", ..wanted(&first.next) }), Err(BackupError::BadCursor));
    let change = VersionChange { name: name("a"), version: 8, reason: "", now_unix: NOW };
    let (draft, _) = change::reinstate(&a.keyring, change).unwrap();
    a.commit(draft);
    let changed = create_page(&a.keyring, wanted(&first.next), &mut Counting(1)).map(|page| page.index);
    assert_eq!(changed, Err(BackupError::ChangedMeanwhile));
}

//! Backups that several people open together: any three of five shares restore, no two do.

use std::fs;

use super::place::{Place, files};

/// A backup by shares on one machine, and an empty machine with the backup and nothing else.
fn backed_up() -> (Place, Place) {
    let (place, other) = (Place::started(), Place::new());
    place.sh("keyagent keys create billing; printf 4111 | keyagent encrypt -k billing -o card.ka").expect(0);
    place.sh("mkdir ../safe; keyagent backup create -o ../safe/ring.kabackup --shares 3/5").expect(0);
    for name in ["ring.kabackup", "ring.kabackup.share1", "ring.kabackup.share3", "ring.kabackup.share5"] {
        fs::copy(place.work("../safe").join(name), other.work(name)).unwrap();
    }
    fs::copy(place.work("card.ka"), other.work("card.ka")).unwrap();
    (place, other)
}

#[test]
fn three_of_five_restore_and_two_do_not() {
    let (place, other) = backed_up();
    let two = "--share ring.kabackup.share5 --share ring.kabackup.share1";
    let refused = other.sh(&format!("keyagent backup restore ring.kabackup {two} --yes"));
    let refused = refused.refused(79, "BACKUP_NOT_OPENED");
    assert!(refused.stderr.contains("2 of the 3 shares"), "{}", refused.stderr);
    assert!(!files(other.home()).iter().any(|file| file.ends_with("keyring")), "nothing was begun");
    // The same one twice is no second one.
    other
        .sh(&format!("keyagent backup check ring.kabackup {two} --share ring.kabackup.share1"))
        .refused(79, "BACKUP_NOT_OPENED");
    other.sh("keyagent backup check ring.kabackup --identity card.ka").refused(64, "USAGE");

    let three = format!("{two} --share ring.kabackup.share3");
    let held = other.sh(&format!("keyagent backup check ring.kabackup {three}")).expect(0);
    assert!(held.text().contains("billing"), "{}", held.text());
    other.sh(&format!("keyagent backup restore ring.kabackup {three} --yes")).expect(0);
    assert_eq!(other.sh("keyagent decrypt card.ka").expect(0).stdout, b"4111");
    let print = |place: &Place| place.sh("keyagent fingerprint").expect(0).text();
    assert_eq!(print(&place), print(&other));
}

#[test]
fn a_share_of_another_backup_or_a_mistyped_one_is_named() {
    let (place, other) = backed_up();
    place.sh("cd ../safe; keyagent backup create -o again.kabackup --shares 3/5").expect(0);
    fs::copy(place.work("../safe/again.kabackup.share2"), other.work("foreign")).unwrap();
    let three = "--share ring.kabackup.share5 --share ring.kabackup.share1 --share";
    let refused = other.sh(&format!("keyagent backup check ring.kabackup {three} foreign"));
    let refused = refused.refused(79, "BACKUP_NOT_OPENED");
    assert!(refused.stderr.contains("share 2 is of another backup"), "{}", refused.stderr);
    let mut text = fs::read(other.work("ring.kabackup.share3")).unwrap();
    text[20] = if text[20] == b'A' { b'B' } else { b'A' };
    fs::write(other.work("mistyped"), text).unwrap();
    let refused =
        other.sh(&format!("keyagent backup check ring.kabackup {three} mistyped")).refused(64, "USAGE");
    assert!(refused.stderr.contains("checksum"), "{}", refused.stderr);
}

#[test]
fn a_backup_appears_only_when_its_shares_are_there() {
    let place = Place::started();
    place.sh("mkdir ../safe; touch ../safe/b.kabackup.share4").expect(0);
    let refused = place.sh("keyagent backup create -o ../safe/b.kabackup --shares 3/5");
    refused.refused(73, "CANNOT_CREATE");
    assert_eq!(files(&place.work("../safe")).len(), 1, "neither backup nor shares");
    // Killed at each file that it puts in place: a backup is never there without all shares.
    for nth in 1..=6 {
        place.sh("rm -f ../safe/*").expect(0);
        let script = format!(
            "strace -qq -o /dev/null -f -e trace=linkat -e inject=linkat:signal=KILL:when={nth} \
             keyagent backup create -o ../safe/b.kabackup --shares 3/5 2>/dev/null"
        );
        place.sh(&script);
        let left = files(&place.work("../safe"));
        let backup = left.iter().any(|file| file.ends_with("b.kabackup"));
        assert!(!backup || left.len() == 6, "{nth}: {left:?}");
    }
    place.sh("rm -f ../safe/*; keyagent backup create -o ../safe/b.kabackup --shares 3/5").expect(0);
    assert_eq!(files(&place.work("../safe")).len(), 6);
    place.sh("keyagent backup create -o /proc/nope/x --shares 3/5").refused(73, "CANNOT_CREATE");
    place.sh("keyagent backup create -o - --shares 3/5").refused(64, "USAGE");
}

#[test]
fn a_sheet_says_what_to_do_and_its_share_can_be_typed_again() {
    let (place, other) = backed_up();
    let sheet = other.sh("keyagent backup sheet ring.kabackup").expect(0).text();
    assert!(sheet.contains("any 3 of its 5 shares") && !sheet.contains("kas1."), "{sheet}");
    assert!(sheet.lines().all(|line| line.chars().count() <= 80), "{sheet}");
    let print = place.sh("keyagent fingerprint").expect(0).text();
    assert!(sheet.contains(print.split_whitespace().last().unwrap()), "{sheet}");
    let sheet = other.sh("keyagent backup sheet ring.kabackup --share ring.kabackup.share3").expect(0).text();
    let typed: String = sheet
        .lines()
        .skip_while(|line| !line.starts_with("    kas1."))
        .take_while(|line| !line.is_empty())
        .flat_map(str::split_whitespace)
        .collect();
    fs::write(other.work("typed"), typed).unwrap();
    other
        .sh("keyagent backup check ring.kabackup --share ring.kabackup.share1 --share typed --share ring.kabackup.share5")
        .expect(0);
    place.sh("cd ../safe; keyagent backup create -o again.kabackup --shares 3/5").expect(0);
    place
        .sh("cd ../safe; keyagent backup sheet again.kabackup --share ring.kabackup.share1")
        .refused(64, "USAGE");
}

#[test]
fn a_backup_under_a_passphrase_can_be_shared_afterwards() {
    let place = Place::started();
    place.sh("mkdir ../safe ../people; printf 'five words are a passphrase' > phrase").expect(0);
    place.sh("keyagent backup create -o ../safe/b.kabackup --passphrase-fd 3 3< phrase").expect(0);
    place
        .sh("keyagent backup shares ../safe/b.kabackup --shares 2/3 -o ../people --passphrase-fd 3 3< phrase")
        .expect(0);
    let shares = files(&place.work("../people"));
    assert_eq!(shares.len(), 3);
    place.sh("keyagent backup check ../safe/b.kabackup --share ../people/b.kabackup.share1 --share ../people/b.kabackup.share3").expect(0);
    // Never over shares that there are: they are somebody's.
    place
        .sh("keyagent backup shares ../safe/b.kabackup --shares 2/3 -o ../people --passphrase-fd 3 3< phrase")
        .refused(73, "CANNOT_CREATE");
    for numbers in ["1/3", "4/3", "2/33", "3", "a/b"] {
        let done = place.sh(&format!("keyagent backup create -o x --shares {numbers}"));
        assert_eq!(done.code, 64, "{numbers}");
    }
}

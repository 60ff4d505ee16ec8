use alloc::{vec, vec::Vec};

use super::{
    page::{KeyPart, PageHeader, PolicyPart, SealedSecret, VersionPart, read_body, version_bytes},
    *,
};
use crate::protected_key::Parameters;

const KEY: [u8; 32] = [7; 32];
const ORIGIN: Origin = Origin { keyring_id: [1; 16], epoch: 2, generation: 3 };

fn page(index: u32, last: bool) -> Vec<u8> {
    let header = PageHeader { origin: ORIGIN, index, last };
    [&header.bytes()[..], &[8; 24], b"sealed", &[9; 16]].concat()
}

fn passphrase() -> Protection<'static> {
    Protection::Passphrase(PassphraseProtection {
        parameters: Parameters::DEFAULT,
        salt: [1; 16],
        nonce: [2; 24],
        sealed: [3; 32],
        tag: [4; 16],
    })
}

fn file(protection: &Protection<'_>, master: bool, pages: &[Vec<u8>]) -> Result<Vec<u8>, BackupError> {
    let contents = Contents {
        origin: ORIGIN,
        created_at: 4,
        master: [5; 16],
        whole: true,
        keys: 1,
        key_ids: &[[1; 32], [2; 32]],
        protection,
        sealed_master: master.then_some(&[6; SEALED_MASTER_BYTES]),
        pages,
    };
    assemble(&contents, &KEY)
}

#[test]
fn a_file_reads_as_it_was_written() {
    for (protection, master) in
        [(passphrase(), true), (Protection::Recipients(b"age"), false), (Protection::Shares(b""), true)]
    {
        let bytes = file(&protection, master, &[page(0, false), page(1, true)]).unwrap();
        let backup = Backup::parse(&bytes).unwrap();
        assert_eq!((backup.origin, backup.created_at, backup.master), (ORIGIN, 4, [5; 16]));
        assert_eq!((backup.id, backup.whole, backup.keys), (id(&KEY), true, 1));
        assert_eq!((backup.key_ids, &backup.protection), ([[1; 32], [2; 32]].as_slice(), &protection));
        assert_eq!(backup.sealed_master.is_some(), master);
        assert_eq!(backup.pages, [page(0, false), page(1, true)]);
        assert_eq!(backup.verify(&KEY), Ok(()));
        assert_eq!(backup.verify(&[8; 32]), Err(BackupError::AnotherKey));
    }
}

/// Changes bytes, then makes the checksum right again.
fn repaired(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len().saturating_sub(32);
    let checksum = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn no_bit_can_be_changed_with_or_without_a_right_checksum() {
    let whole = file(&passphrase(), true, &[page(0, false), page(1, true)]).unwrap();
    for place in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[place / 8] ^= 1 << (place % 8);
        assert!(Backup::parse(&bytes).is_err(), "bit {place}");
        if place / 8 < whole.len() - 32 {
            let bytes = repaired(bytes);
            let opened = Backup::parse(&bytes).and_then(|backup| backup.verify(&KEY));
            assert!(opened.is_err(), "bit {place} with a right checksum");
        }
    }
}

#[test]
fn nothing_can_be_cut_or_added() {
    let whole = file(&passphrase(), true, &[page(0, true)]).unwrap();
    for length in 0..whole.len() {
        assert!(Backup::parse(&whole[..length]).is_err(), "{length}");
        let bytes = if length < 32 { continue } else { repaired(whole[..length].to_vec()) };
        let opened = Backup::parse(&bytes).and_then(|backup| backup.verify(&KEY));
        assert!(opened.is_err(), "{length} with a right checksum");
    }
    let longer = repaired([&whole[..], &[0]].concat());
    assert!(Backup::parse(&longer).and_then(|backup| backup.verify(&KEY)).is_err());
}

#[test]
fn pages_stand_in_their_order_and_none_is_missing() {
    let (first, second, third) = (page(0, false), page(1, false), page(2, true));
    let all =
        |pages: &[&Vec<u8>]| file(&passphrase(), false, &pages.iter().copied().cloned().collect::<Vec<_>>());
    assert!(all(&[&first, &second, &third]).is_ok());
    for wrong in [
        vec![],
        vec![&first],
        vec![&first, &second],
        vec![&first, &third],
        vec![&second, &first, &third],
        vec![&first, &second, &third, &third],
    ] {
        assert!(all(&wrong).is_err());
    }
    let foreign = PageHeader { origin: Origin { generation: 4, ..ORIGIN }, index: 0, last: true };
    assert!(file(&passphrase(), false, &[[&foreign.bytes()[..], &[0; 40]].concat()]).is_err());
}

#[test]
fn what_is_no_backup_is_named() {
    assert_eq!(Backup::parse(b"").unwrap_err(), BackupError::NotABackup);
    assert_eq!(Backup::parse(b"keyagent/keyring").unwrap_err(), BackupError::NotABackup);
    assert_eq!(Backup::parse(b"keyagent/backup\x02").unwrap_err(), BackupError::UnknownVersion(2));
    assert!(is_backup(b"keyagent/backup\x02") && !is_backup(b"keyagent/stream\x01"));
}

#[test]
fn a_body_reads_as_it_was_written() {
    let secret = SealedSecret { key_id: &[1; 32], nonce: &[2; 24], sealed: &[3; 40], tag: &[4; 16] };
    let alive = VersionPart {
        number: 2,
        state: 5,
        state_before: 3,
        since: 6,
        created_at: 7,
        reason: 5,
        secret: Some(secret),
    };
    let gone = VersionPart { number: 1, state: 7, state_before: 0, secret: None, ..alive };
    let part = KeyPart {
        uid: [5; 16],
        class: 3,
        name: "billing/cards",
        created_at: 9,
        policy: PolicyPart {
            enabled: true,
            interval_days: 90,
            grace_period_days: 30,
            next_rotation_at: 1,
            last_rotation_at: 2,
            auto_retire: false,
        },
        note: "für Karten",
        attributes: vec![("brake", b"disabled"), ("url", b"https://example.org")],
        primary: [1; 32],
        total: 4,
        before: 2,
        versions: vec![alive, gone],
    };
    let mut body = Vec::new();
    for _ in 0..2 {
        part.write_head(2, &mut body).unwrap();
        let head = body.len();
        alive.write(&mut body).unwrap();
        assert_eq!(body.len() - head, version_bytes(Some(40)));
        gone.write(&mut body).unwrap();
        assert_eq!(body.len() - head, version_bytes(Some(40)) + version_bytes(None));
    }
    assert_eq!(read_body(&body).unwrap(), [part.clone(), part.clone()]);
    assert_eq!(read_body(&[]).unwrap(), []);
    for length in 1..body.len() {
        assert!(length == body.len() / 2 || read_body(&body[..length]).is_err(), "{length}");
    }
    let mut more = Vec::new();
    KeyPart { total: 3, ..part }.write_head(2, &mut more).unwrap();
    alive.write(&mut more).unwrap();
    gone.write(&mut more).unwrap();
    assert!(read_body(&more).is_err(), "more versions than there are");
}

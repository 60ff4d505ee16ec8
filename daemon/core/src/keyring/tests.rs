use alloc::{string::ToString, vec};

use proptest::prelude::*;

use super::{key::Stored, *};
use crate::{arena::HeapArena, layout::Reader, test_vectors};

mod rotation;
mod round_trip;
mod scale;

const MASTER: [u8; 32] = [0x11; 32];
const NOW: u64 = 1_795_302_600;

/// Distinct, repeatable bytes.
struct Counting(u8, u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        for chunk in out.chunks_mut(32) {
            self.1 += 1;
            let bytes = Sha256::digest([&[self.0][..], &self.1.to_le_bytes()].concat());
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyFailed> {
        Err(EntropyFailed)
    }
}

fn create(seed: u8) -> Keyring<HeapArena> {
    Keyring::create(&HeapArena, &MASTER, &mut Counting(seed, 0), NOW).unwrap().0
}

fn open(bytes: &[u8]) -> Result<Keyring<HeapArena>, KeyringError> {
    Keyring::open(&HeapArena, bytes, &MASTER).map(|(keyring, _)| keyring)
}

/// A keyring of two keys and a pin, and its file.
fn written(seed: u8) -> (Keyring<HeapArena>, Vec<u8>) {
    let mut keyring = create(seed);
    let mut entropy = Counting(seed, 1 << 32);
    let mut draft = keyring.draft();
    draft.add_key(KeyName::parse("billing/cards").unwrap(), Class::Message, &mut entropy, NOW).unwrap();
    let pin = Pin { segment: 1, seq: 2, mac: [3; 32], generation: 0, head_digest: [0; 32] };
    let prepared = draft.prepare(Some(&pin), &mut entropy).unwrap();
    let bytes = prepared.bytes.clone();
    keyring.confirm(prepared).unwrap();
    (keyring, bytes)
}

#[test]
fn reproduces_the_published_slot() {
    let vectors = test_vectors::formats();
    let master = test_vectors::array(&vectors["master"]["master"]);
    let root: [u8; 32] = test_vectors::array(&vectors["root"]["root"]);
    let slot = &vectors["slot"];
    let keyring_id = test_vectors::array(&slot["keyring_id"]);
    let identity = Identity { keyring_id, epoch: 1 };
    let nonce = test_vectors::array(&slot["nonce"]);
    let sealed = secrets::seal_slot(&master, &identity, &nonce, &root).unwrap();
    assert_eq!(hex::encode(sealed), slot["slot"]);
}

#[test]
fn reproduces_the_published_record_and_subkeys() {
    let vectors = test_vectors::formats();
    let roots = &vectors["root"];
    let subkeys = Subkeys::derive(&HeapArena, &test_vectors::array(&roots["root"])).unwrap();
    assert_eq!(hex::encode(*subkeys.head), roots["head"]);
    assert_eq!(hex::encode(*subkeys.pin), roots["pin"]);
    assert_eq!(hex::encode(*subkeys.context_hash), roots["context hash"]);
    assert_eq!(hex::encode(*subkeys.reuse), roots["reuse"]);
    let keyring_id = test_vectors::array(&vectors["slot"]["keyring_id"]);
    let identity = Identity { keyring_id, epoch: 1 };
    let record = &vectors["record"];
    let owner = Owner { uid: test_vectors::array(&record["uid"]), version: 3, class: Class::Message };
    let secret: [u8; 32] = test_vectors::array(&vectors["kdf"]["secret"]);
    let nonce = test_vectors::array(&vectors["slot"]["nonce"]);
    let id = kdf::key_id(&secret, 1);
    let sealed = secrets::seal_record_with(&subkeys.record, &identity, &owner, &id, &nonce, &secret).unwrap();
    assert_eq!(hex::encode(&sealed.bytes), record["record"]);
}

#[test]
fn survives_the_file() {
    let (keyring, bytes) = written(1);
    let (again, _) = Keyring::open(&HeapArena, &bytes, &MASTER).unwrap();
    assert_eq!(again.keys(), keyring.keys());
    assert_eq!((again.generation(), again.epoch(), again.created_at()), (1, 1, NOW));
    assert_eq!(again.head_digest(), keyring.head_digest());
    assert_eq!(again.keyring_id(), keyring.keyring_id());
    assert_eq!(again.pin().unwrap().seq, 2);
    assert_eq!(again.keys().len(), 2);
    let key = again.find("billing/cards").unwrap();
    let version = key.primary().unwrap();
    let found = again.version_by_id(version.key_id().unwrap()).unwrap();
    assert_eq!(found, (key, version));
    assert!(again.find("billing").is_none());
    assert!(again.version_by_id(&[0; 32]).is_none());
    assert!(again.version_by_id(&again.contents.canary.key_id).is_none());
    again.check_canary().unwrap();
    let mut sealed = *b"secret";
    let tag = keyring.load_cipher(&HeapArena, version).unwrap().seal_in_place(&[9; 24], b"", &mut sealed);
    let cipher = again.load_cipher(&HeapArena, version).unwrap();
    cipher.open_in_place(&[9; 24], b"", &mut sealed, &tag.unwrap()).unwrap();
    assert_eq!(&sealed, b"secret");
}

#[test]
fn every_changed_bit_is_refused() {
    let (_, mut bytes) = written(1);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    open(&bytes).unwrap();
}

#[test]
fn every_cut_and_every_tail_is_refused() {
    let (_, bytes) = written(1);
    assert_eq!(open(b"").err(), Some(KeyringError::NotAKeyring));
    for length in 1..bytes.len() {
        let error = open(&bytes[..length]).err();
        let missing = KeyringError::Damaged("a record is missing");
        assert!([Some(KeyringError::Truncated), Some(missing)].contains(&error), "{length}: {error:?}");
    }
    assert!(open(&[&bytes[..], &[0]].concat()).is_err());
    let last_record = &bytes[bytes.len() - 127..];
    assert!(open(&[&bytes[..], last_record].concat()).is_err());
}

#[test]
fn records_cannot_be_swapped_or_taken_from_an_older_file() {
    let (mut keyring, bytes) = written(1);
    let (front, records) = bytes.split_at(bytes.len() - 3 * 127);
    let swapped = [front, &records[127..254], &records[..127], &records[254..]].concat();
    assert!(matches!(open(&swapped), Err(KeyringError::Damaged(_))));
    let prepared = keyring.draft().prepare(None, &mut Counting(5, 0)).unwrap();
    let newer = prepared.bytes.clone();
    keyring.confirm(prepared).unwrap();
    let old_head = [&newer[..48], &bytes[48..]].concat();
    assert!(matches!(open(&old_head), Err(KeyringError::Damaged(_))));
    assert_eq!(open(&newer).unwrap().generation(), 2);
}

#[test]
fn errors_tell_wrong_key_damage_and_foreign_files_apart() {
    let (_, bytes) = written(1);
    let error = Keyring::open(&HeapArena, &bytes, &[0x22; 32]).err().unwrap();
    let expected = vec![kdf::master_fingerprint(&MASTER)];
    let got = kdf::master_fingerprint(&[0x22; 32]);
    assert_eq!(error, KeyringError::WrongKey { expected, got });
    assert!(error.to_string().contains(&hex::encode(got)));
    let changed = |place: usize, value: u8| {
        let mut changed = bytes.clone();
        changed[place] = value;
        open(&changed).err().unwrap()
    };
    assert_eq!(changed(0, b'K'), KeyringError::NotAKeyring);
    assert_eq!(changed(16, 2), KeyringError::UnsupportedVersion(2));
    assert_eq!(changed(18, 0), KeyringError::Damaged("not 1 to 8 slots"));
    assert_eq!(changed(18, 9), KeyringError::Damaged("not 1 to 8 slots"));
    let slot = KeyringError::Damaged("the slot of this master key does not open");
    assert_eq!(changed(48 + 16, !bytes[64]), slot);
    let mut large = bytes.clone();
    large.resize(file::MAX_FILE_BYTES + 1, 0);
    assert_eq!(open(&large).err(), Some(KeyringError::Damaged("longer than 64 MiB")));
}

#[test]
fn one_master_gives_every_host_the_same_default_key() {
    let (first, second) = (create(1), create(2));
    assert_ne!(first.keyring_id(), second.keyring_id());
    let version = |keyring: &Keyring<HeapArena>| keyring.find("default").unwrap().versions[0].clone();
    let (mine, theirs) = (version(&first), version(&second));
    assert_eq!(mine.key_id(), theirs.key_id());
    let mut sealed = *b"secret";
    let cipher = first.load_cipher(&HeapArena, &mine).unwrap();
    let tag = cipher.seal_in_place(&[1; 24], b"ad", &mut sealed).unwrap();
    let cipher = second.load_cipher(&HeapArena, &theirs).unwrap();
    cipher.open_in_place(&[1; 24], b"ad", &mut sealed, &tag).unwrap();
    assert_eq!(&sealed, b"secret");
}

#[test]
fn a_commit_advances_only_when_confirmed_and_only_once() {
    let (mut keyring, _) = written(1);
    let before = keyring.clone();
    let mut entropy = Counting(3, 0);
    let one = keyring.draft().prepare(None, &mut entropy).unwrap();
    let two = keyring.draft().prepare(None, &mut entropy).unwrap();
    assert_eq!((keyring.generation(), one.generation), (1, 2));
    let digest = one.head_digest;
    keyring.confirm(one).unwrap();
    assert_eq!((keyring.generation(), *keyring.head_digest()), (2, digest));
    assert_eq!(keyring.confirm(two), Err(KeyringError::Stale));
    assert_eq!(before.generation(), 1);
    assert!(keyring.draft().prepare(None, &mut NoEntropy).is_err());
}

#[test]
fn versions_live_and_die() {
    let (mut keyring, _) = written(1);
    let mut entropy = Counting(3, 0);
    let mut draft = keyring.draft();
    assert_eq!(draft.add_version("default", Reason::Scheduled, &mut entropy, NOW), Ok(2));
    let key = draft.key_mut("default").unwrap();
    key.versions[0].state = State::Destroyed;
    key.versions[1].state = State::Primary;
    key.name = "a".into();
    let prepared = draft.prepare(None, &mut entropy).unwrap();
    let again = open(&prepared.bytes).unwrap();
    keyring.confirm(prepared).unwrap();
    assert_eq!(again.keys(), keyring.keys());
    let key = again.find("a").unwrap();
    assert_eq!(key.primary().unwrap().number, 2);
    assert_eq!(key.versions[0].key_id(), None);
    let error = again.load_cipher(&HeapArena, &key.versions[0]).err();
    assert_eq!(error, Some(KeyringError::NotAMessageKey));
    let mut draft = keyring.draft();
    draft.key_mut("a").unwrap().versions[0].state = State::Grace;
    assert!(matches!(draft.prepare(None, &mut entropy), Err(KeyringError::Rule(_))));
    let mut draft = keyring.draft();
    draft.key_mut("a").unwrap().class = Class::Index;
    assert!(matches!(draft.prepare(None, &mut entropy), Err(KeyringError::Rule(_))));
    let mut draft = keyring.draft();
    draft.remove_key("a").unwrap();
    assert_eq!(draft.remove_key("a"), Err(KeyringError::NoSuchKey));
    let name = KeyName::parse("billing/cards").unwrap();
    let taken = draft.add_key(name, Class::Message, &mut entropy, NOW).err();
    assert_eq!(taken, Some(KeyringError::Name));
    assert_eq!(open(&draft.prepare(None, &mut entropy).unwrap().bytes).unwrap().keys().len(), 1);
}

#[test]
fn other_classes_seal_no_messages() {
    let (keyring, _) = written(1);
    let mut entropy = Counting(3, 0);
    for class in [Class::Index, Class::Hs256, Class::VaultGcm, Class::AgeX25519, Class::LegacyText] {
        let mut draft = keyring.draft();
        draft.add_key(KeyName::parse("x").unwrap(), class, &mut entropy, NOW).unwrap();
        let again = open(&draft.prepare(None, &mut entropy).unwrap().bytes).unwrap();
        let version = again.find("x").unwrap().primary().unwrap();
        let refused = again.load_cipher(&HeapArena, version).err();
        assert_eq!(refused, Some(KeyringError::NotAMessageKey), "{class:?}");
    }
}

#[test]
fn equal_key_ids_are_refused() {
    let (keyring, _) = written(1);
    let Working { identity, subkeys, .. } = &*keyring.working;
    let owner = Owner { uid: [7; 16], version: 1, class: Class::Message };
    let mut entropy = Counting(3, 0);
    let seal = |secret: &[u8]| -> Stored {
        secrets::seal_record(subkeys, identity, &owner, secret, &mut Counting(4, 0)).unwrap()
    };
    let mut secret = [0; 32];
    kdf::derive(&MASTER, "default key", &[], &mut secret);
    let mut draft = keyring.draft();
    let key = draft.add_key(KeyName::parse("x").unwrap(), Class::Message, &mut entropy, NOW).unwrap();
    key.uid = [7; 16];
    key.versions[0] = Version::new(1, State::Primary, Reason::None, NOW, seal(&secret));
    let error = draft.prepare(None, &mut entropy).err();
    assert_eq!(error, Some(KeyringError::Rule("two versions with one key id")));
}

#[test]
fn a_record_whose_id_names_another_secret_is_refused() {
    let (keyring, _) = written(1);
    let Working { identity, subkeys, .. } = &*keyring.working;
    let owner = Owner { uid: [7; 16], version: 1, class: Class::Message };
    let forged =
        secrets::seal_record_with(&subkeys.record, identity, &owner, &[8; 32], &[9; 24], &[1; 32]).unwrap();
    let record = file::Record::read(&mut Reader(&forged.bytes)).unwrap();
    let opened = secrets::with_secret(&subkeys.record, identity, &record, |_, _| ());
    assert_eq!(opened, Err(KeyringError::Damaged("a key id does not name its secret")));
    for length in [0, 31, 33, 1024] {
        let secret = vec![1; length];
        let sealed = secrets::seal_record(subkeys, identity, &owner, &secret, &mut Counting(1, 1));
        assert_eq!(sealed.err(), Some(KeyringError::SecretLength));
    }
}

#[test]
fn keyed_hashes_and_pins_follow_the_keyring() {
    let (keyring, bytes) = written(1);
    let again = open(&bytes).unwrap();
    let hash = keyring.context_value_hash(&[1; 16], "table", b"users");
    assert_eq!(hash, again.context_value_hash(&[1; 16], "table", b"users"));
    assert_ne!(hash, again.context_value_hash(&[2; 16], "table", b"users"));
    assert_ne!(hash, again.context_value_hash(&[1; 16], "tableu", b"sers"));
    let mac = hmac(&keyring.working.subkeys.context_hash, &[&[1; 16], b"table\0users"]);
    assert_eq!(hash, mac[..16]);
    assert_eq!(keyring.reuse_tag(b"ab\0\0"), keyring.reuse_tag(b"ab"));
    let long = [7; 65];
    assert_eq!(keyring.reuse_tag(&long), keyring.reuse_tag(&Sha256::digest(long)));
    assert_ne!(keyring.reuse_tag(b"ab"), create(2).reuse_tag(b"ab"));
    let pin = *keyring.pin().unwrap();
    assert_eq!(again.open_pin(&keyring.seal_pin(&pin)), Ok(pin));
    assert_eq!(create(2).open_pin(&keyring.seal_pin(&pin)), Err(PinError::DoesNotVerify));
}

#[test]
fn the_audit_root_is_that_of_the_file() {
    use crate::audit::chain::{Chain, NO_PREVIOUS_MAC};
    let (keyring, made) = Keyring::create(&HeapArena, &MASTER, &mut Counting(1, 0), NOW).unwrap();
    let bytes = keyring.draft().prepare(None, &mut Counting(2, 0)).unwrap().bytes;
    let (_, read) = Keyring::open(&HeapArena, &bytes, &MASTER).unwrap();
    let group = |root| {
        let id = keyring.keyring_id();
        let chain = Chain::begin(&HeapArena, root, id, 1, &[0; 16], NO_PREVIOUS_MAC).unwrap();
        let mut lines = Vec::from(b"{");
        let _ = chain.seal_group(&mut lines);
        lines
    };
    assert_eq!(group(&made), group(&read));
}

proptest! {
    #[test]
    fn never_panics_on_arbitrary_bytes(tail: Vec<u8>, slots in 0u16..10, whole: bool) {
        let mut bytes = Vec::new();
        if !whole {
            let header = file::Header { slot_count: slots, keyring_id: [0; 16], epoch: 1, generation: 1 };
            file::write_header(&mut bytes, &header);
        }
        bytes.extend(tail);
        prop_assert!(open(&bytes).is_err());
        if let Ok(file) = File::parse(&bytes) {
            let _ = file.records();
        }
    }

    #[test]
    fn default_is_the_same_whatever_the_entropy(a: u8, b: u8) {
        let id = |seed| create(seed).find("default").unwrap().versions[0].key_id().copied();
        prop_assert_eq!(id(a), id(b));
    }
}

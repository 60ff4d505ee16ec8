use alloc::{format, string::String, vec, vec::Vec};

use keyagent_common::{
    backup::page::{BODY_BYTES, HEADER_BYTES, Page, read_body},
    name::KeyName,
};

use super::{seal::BackupKeys, *};
use crate::{
    arena::HeapArena,
    change::{self, Rotation, Takeover},
    entropy::Entropy,
    keyring::{Class, Draft, Keyring, Reason, State},
};

mod merging;
mod refusing;
mod splitting;

const KEY: [u8; 32] = [0x42; 32];
const NOW: u64 = 1_795_302_600;

/// Distinct, repeatable bytes.
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A keyring on disk, with the master key it opens with.
struct Host {
    keyring: Keyring<HeapArena>,
    master: [u8; 32],
    entropy: Counting,
    /// Nothing was sealed with `default`.
    unused: bool,
}

impl Host {
    fn new(master: u8, seed: u64) -> Self {
        let mut entropy = Counting(seed << 40);
        let master = core::array::from_fn(|place| master ^ u8::try_from(place * 7).unwrap());
        let keyring = Keyring::create(&HeapArena, &master, &mut entropy, NOW).unwrap().0;
        let mut host = Self { keyring, master, entropy, unused: true };
        let first = host.keyring.draft();
        host.commit(first);
        host
    }

    fn commit(&mut self, draft: Draft<HeapArena>) {
        let prepared = draft.prepare(None, &mut self.entropy).unwrap();
        let (again, _) = Keyring::open(&HeapArena, &prepared.bytes, &self.master).unwrap();
        self.keyring.confirm(prepared).unwrap();
        assert_eq!(again.keys(), self.keyring.keys());
    }

    fn make(&mut self, text: &str, class: Class) {
        let mut draft = self.keyring.draft();
        draft.add_key(name(text), class, &mut self.entropy, NOW).unwrap();
        self.commit(draft);
    }

    fn rotate(&mut self, text: &str, takeover: Takeover) {
        let rotation = Rotation { reason: Reason::Manual, takeover, lift: None };
        let (draft, _) =
            change::rotate(&self.keyring, name(text), rotation, NOW + 5, &mut self.entropy).unwrap();
        self.commit(draft);
    }

    fn configure(&mut self, text: &str, settings: &change::Settings<'_>) {
        let (draft, _) = change::configure(&self.keyring, name(text), settings, NOW).unwrap();
        self.commit(draft);
    }

    fn pages(&mut self, names: &str) -> Vec<Vec<u8>> {
        let (mut pages, mut after) = (Vec::new(), Vec::new());
        loop {
            let wanted = Wanted { backup_key: &KEY, names, after: &after };
            let page = create_page(&self.keyring, wanted, &mut self.entropy).unwrap();
            assert_eq!(usize::try_from(page.index), Ok(pages.len()));
            pages.push(page.bytes);
            after = page.next;
            if after.is_empty() {
                return pages;
            }
        }
    }

    fn ask(
        &mut self,
        page: &[u8],
        promote: bool,
        earnest: bool,
    ) -> Result<Restoration<HeapArena>, BackupError> {
        let request = RestoreRequest {
            backup_key: &KEY,
            page,
            dry_run: !earnest,
            promote,
            default_is_unused: self.unused,
            now_unix: NOW + 9,
        };
        restore(&self.keyring, &request, &mut self.entropy)
    }

    /// Looks at all pages, then takes them in; what became of each key, part by part.
    fn restore(&mut self, pages: &[Vec<u8>], promote: bool) -> Vec<(String, Taken, u32)> {
        for page in pages {
            let before = self.keyring.clone();
            assert!(
                self.ask(page, promote, false).unwrap().keys.iter().all(|key| key.taken != Taken::Differs)
            );
            assert_eq!(before.keys(), self.keyring.keys());
        }
        let mut all = Vec::new();
        for page in pages {
            let done = self.ask(page, promote, true).unwrap();
            all.extend(done.keys.into_iter().map(|key| (key.name, key.taken, key.added)));
            if let Some(draft) = done.draft {
                self.commit(draft);
            }
        }
        all
    }

    fn differs(&mut self, page: &[u8]) -> String {
        let done = self.ask(page, false, true).unwrap();
        assert!(done.draft.is_none(), "{:?}", done.keys);
        done.keys.into_iter().find(|key| key.taken == Taken::Differs).unwrap().why
    }

    fn states(&self, text: &str) -> Vec<(u32, State)> {
        let key = self.keyring.find(text).unwrap();
        key.versions.iter().map(|version| (version.number, version.state)).collect()
    }

    fn secret(&self, text: &str, number: u32) -> Vec<u8> {
        let version = self.keyring.find(text).unwrap().version(number).unwrap();
        self.keyring.with_secret(version, |_, secret| secret.to_vec()).unwrap()
    }
}

fn name(text: &str) -> KeyName<'_> {
    KeyName::parse(text).unwrap()
}

/// What of a key has to be the same on every host.
fn same_keys(one: &Host, other: &Host) {
    let shown = |host: &Host| -> Vec<_> {
        let keys = host.keyring.keys().iter();
        keys.map(|key| {
            let versions = key.versions.iter();
            let versions = versions.map(|version| {
                (version.number, version.state, version.created_at, version.reason, version.key_id().copied())
            });
            let key_facts =
                (key.name.clone(), key.uid, key.class, key.created_at, key.policy, key.note.clone());
            (key_facts, key.attributes.clone(), versions.collect::<Vec<_>>())
        })
        .collect()
    };
    assert_eq!(shown(one), shown(other));
}

fn rich() -> Host {
    let mut host = Host::new(1, 1);
    for (text, class) in
        [("billing/cards", Class::Message), ("index", Class::Index), ("tokens", Class::Hs256)]
    {
        host.make(text, class);
    }
    let settings = change::Settings {
        enabled: Some(true),
        interval_days: Some(90),
        grace_period_days: Some(30),
        environment: Some("production"),
        owner: Some("Ana"),
        note: Some("für Karten"),
        ..change::Settings::default()
    };
    host.configure("billing/cards", &settings);
    host.rotate("billing/cards", Takeover::Grace);
    host.rotate("billing/cards", Takeover::RefuseOld);
    host.rotate("billing/cards", Takeover::Staged);
    host.rotate("default", Takeover::Grace);
    host
}

#[test]
fn everything_arrives_on_a_host_with_nothing() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    let pages = a.pages("");
    assert_eq!(pages.len(), 1);
    assert_eq!(
        b.restore(&pages, false),
        [
            ("default".into(), Taken::Replaced, 2),
            ("billing/cards".into(), Taken::Added, 4),
            ("index".into(), Taken::Added, 1),
            ("tokens".into(), Taken::Added, 1)
        ]
    );
    same_keys(&a, &b);
    for key in a.keyring.keys() {
        for version in &key.versions {
            assert_eq!(a.secret(&key.name, version.number), b.secret(&key.name, version.number));
        }
    }
    let again = b.restore(&pages, true);
    assert!(again.iter().all(|(_, taken, added)| (*taken, *added) == (Taken::Same, 0)), "{again:?}");
    same_keys(&a, &b);
}

#[test]
fn some_keys_can_be_had_alone() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    let pages = a.pages("billing/cards\ntokens");
    let restored = b.restore(&pages, false);
    assert_eq!(restored, [("billing/cards".into(), Taken::Added, 4), ("tokens".into(), Taken::Added, 1)]);
    assert_eq!(b.keyring.keys().len(), 3);
    assert_ne!(a.secret("default", 1), b.secret("default", 1));
    let wanted = |names| Wanted { backup_key: &KEY, names, after: &[] };
    let create = |names| create_page(&a.keyring, wanted(names), &mut Counting(1)).map(|_| ());
    assert_eq!(create("none"), Err(BackupError::NoSuchKey("none".into())));
    assert_eq!(create("tokens\nbilling/cards"), Err(BackupError::NamesNotAscending));
    assert_eq!(create("tokens\ntokens"), Err(BackupError::NamesNotAscending));
}

/// Neither what goes over the wire nor what a client can open of it holds a secret.
#[test]
fn no_secret_stands_in_a_page_or_in_its_body() {
    let mut a = rich();
    let pages = a.pages("");
    let keys = BackupKeys::derive(&KEY);
    let bodies = pages.iter().map(|page| keys.open_page(&Page::parse(page).unwrap()).unwrap());
    let seen: Vec<Vec<u8>> = pages.iter().cloned().chain(bodies).collect();
    let mut searched = 0;
    for key in a.keyring.keys() {
        for version in &key.versions {
            let secret = a.secret(&key.name, version.number);
            for part in secret.windows(8) {
                searched += 1;
                assert!(
                    !seen.iter().any(|bytes| bytes.windows(8).any(|window| window == part)),
                    "{}",
                    key.name
                );
            }
        }
    }
    assert!(searched > 150);
    // The search finds what is there.
    let id = a.keyring.find("index").unwrap().versions[0].key_id().unwrap();
    assert!(seen[1].windows(32).any(|window| window == id));
}

#[test]
fn a_brake_arrives_and_one_that_is_here_stays() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    let all = change::Selection::All;
    let (draft, _) =
        change::disable(&a.keyring, all, crate::keyring::Brake::Compromised, "lost laptop", NOW).unwrap();
    a.commit(draft);
    let pages = a.pages("");
    b.restore(&pages, false);
    same_keys(&a, &b);
    assert_eq!(b.keyring.find("tokens").unwrap().brake_reason(), "lost laptop");
    // Released on one host only, it is not put on again by an old backup, but told.
    let (draft, _) = change::enable(&b.keyring, all, true, "found").unwrap();
    b.commit(draft);
    let done = b.ask(&pages[0], false, true).unwrap();
    assert!(done.draft.is_none() && done.keys.iter().all(|key| key.why == "compromised there, not here"));
}

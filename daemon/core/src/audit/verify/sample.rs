//! A small log for tests: three segments in three files, the second segment a bridge.

use alloc::{vec, vec::Vec};

use super::{AuditError, Expected, FoundBridges, Start, Verified, Verifier};
use crate::{
    arena::HeapArena,
    audit::{
        AuditRoot,
        bridge::BridgeSecret,
        chain::{Chain, NO_PREVIOUS_MAC},
        record::{Bridging, Details, Event, Record, Via},
    },
    entropy::{Entropy, EntropyFailed},
    pin::Pin,
};

pub(super) const ID: [u8; 16] = [9; 16];
pub(super) const DIGEST: [u8; 32] = [0xd1; 32];
pub(super) const OPERATION: Event<'_> = Event::Operation { name: "encrypt", details: DETAILS };
const DETAILS: Details<'_> = Details {
    key_id: None,
    version: None,
    bytes: None,
    count: None,
    code: None,
    reason: None,
    note: None,
    from: None,
    to: None,
    replaced: None,
    changed: None,
    force: false,
    brake: None,
    lift_compromised: false,
    context: &[],
    outcomes: &[],
};
const SALT: [u8; 16] = [0x50; 16];

struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        self.0 += 1;
        out.fill(self.0);
        Ok(())
    }
}

pub(super) fn root() -> AuditRoot<HeapArena> {
    AuditRoot::derive(&HeapArena, &[1; 32]).unwrap()
}

/// A rotated file or the current one.
#[derive(Clone)]
pub(super) struct LogFile {
    pub(super) named: Option<u64>,
    pub(super) bytes: Vec<u8>,
}

/// Writes a log.
pub(super) struct Writer {
    pub(super) files: Vec<LogFile>,
    pub(super) seq: u64,
    first_seq: u64,
    chain: Option<Chain<HeapArena>>,
    segment: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        let files = vec![LogFile { named: None, bytes: Vec::new() }];
        Self { files, seq: 0, first_seq: 1, chain: None, segment: 0 }
    }

    pub(super) fn group(&mut self, events: &[Event<'_>]) {
        let mut bytes = Vec::new();
        for event in events {
            self.seq += 1;
            let record = Record {
                segment: self.segment,
                seq: self.seq,
                unix_micros: 1_795_302_600_123_456 + self.seq,
                event: *event,
                provider: None,
                peer: None,
                via: Via::default(),
                user_agent: None,
                error_message: None,
            };
            record.push_to_group(&mut bytes);
        }
        let chain = self.chain.as_mut().unwrap();
        let sealed = chain.seal_group(&mut bytes);
        chain.advance(sealed);
        self.files.last_mut().unwrap().bytes.extend_from_slice(&bytes);
    }

    /// A segment under the keyring's root.
    pub(super) fn segment(&mut self, bridging: Bridging<'_>) {
        let mac = self.mac();
        self.segment += 1;
        self.chain = Some(Chain::begin(&HeapArena, &root(), &ID, self.segment, &SALT, mac).unwrap());
        self.first_line(&SALT, mac, bridging);
    }

    /// A segment begun while locked.
    pub(super) fn bridge(&mut self, unauthenticated_from: Option<u64>) -> BridgeSecret<HeapArena> {
        let mac = self.mac();
        self.segment += 1;
        let secret = BridgeSecret::random(&HeapArena, &mut Fixed(0x60), &ID, self.segment).unwrap();
        self.chain = Some(Chain::begin_bridge(&HeapArena, &secret, mac).unwrap());
        self.first_line(secret.salt(), mac, Bridging { bridge: true, key: None, unauthenticated_from });
        secret
    }

    /// The segment behind a bridge, with the bridge's key.
    pub(super) fn segment_behind(&mut self, secret: &BridgeSecret<HeapArena>) {
        let sealed = root().seal_bridge(secret, &mut Fixed(0x70)).unwrap();
        self.segment(Bridging { key: Some(&sealed), ..Bridging::default() });
    }

    fn first_line(&mut self, salt: &[u8; 16], mac: [u8; 32], bridging: Bridging<'_>) {
        let event =
            Event::Segment { salt, host: "h", epoch: 1, previous_mac: &mac, keyring_id: &ID, bridging };
        self.group(&[event]);
    }

    pub(super) fn rotate(&mut self) {
        self.files.last_mut().unwrap().named = Some(self.first_seq);
        self.files.push(LogFile { named: None, bytes: Vec::new() });
        self.first_seq = self.seq + 1;
        let line = self.chain.as_ref().unwrap().file_line();
        self.group(&[line.event()]);
    }

    fn mac(&self) -> [u8; 32] {
        self.chain.as_ref().map_or(NO_PREVIOUS_MAC, Chain::last_mac)
    }

    pub(super) fn pin(&self) -> Pin {
        Pin { segment: self.segment, seq: self.seq, mac: self.mac(), generation: 4, head_digest: DIGEST }
    }
}

/// Fourteen lines, and pins of line 9 (the end of the first segment) and of the last line.
pub(super) fn log() -> (Vec<LogFile>, Pin, Pin) {
    let mut log = Writer::new();
    log.segment(Bridging::default());
    log.group(&[OPERATION, OPERATION]);
    log.group(&[Event::KeyringIntent { generation: 4, digest: &DIGEST }]);
    log.group(&[Event::KeyringCommit { generation: 4, digest: &DIGEST }, OPERATION]);
    log.rotate();
    log.group(&[OPERATION, OPERATION]);
    let early = log.pin();
    let secret = log.bridge(None);
    log.rotate();
    log.group(&[Event::PeerRefused { uid: 7, count: 3 }]);
    log.segment_behind(&secret);
    log.group(&[OPERATION]);
    let last = log.pin();
    (log.files, early, last)
}

/// How a verdict is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Strictly,
    AfterCrash,
}

pub(super) fn expected<'e>(
    root: &'e AuditRoot<HeapArena>,
    pin: Option<&'e Pin>,
    bridges: &'e FoundBridges,
) -> Expected<'e, HeapArena> {
    Expected { root: Some(root), keyring_id: &ID, pin, bridges, own_bridge: None }
}

/// Walks files with their names, twice where bridges ask for it.
pub(super) fn check(
    files: &[LogFile],
    start: Start,
    expected: Expected<'_, HeapArena>,
    manner: Manner,
) -> Result<Verified, AuditError> {
    let mut bridges = FoundBridges::default();
    loop {
        let mut verifier = Verifier::new(start, Expected { bridges: &bridges, ..expected });
        for file in files {
            verifier.begin_file(file.named);
            verifier.push(&file.bytes);
        }
        match verifier.found_bridges() {
            Some(found) => bridges = found,
            None if manner == Manner::Strictly => return verifier.finish_strictly(),
            None => return verifier.finish_after_crash(),
        }
    }
}

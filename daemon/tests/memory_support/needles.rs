//! What is looked for: every key of a daemon, in every form that gives it away.

use std::{collections::BTreeMap, fs, path::Path};

use keyagent_common::{envelope::HEADER_BYTES, kdf};
use keyagent_core::cipher;
use serde_json::Value;

use super::{aes, sha256, traffic::Traffic};
use crate::support::{hex, unhex};

/// How many of the last messages and data keys are looked for.
const LAST: usize = 16;

/// A secret to look for.
#[derive(Debug, Clone)]
pub(crate) struct Needle {
    pub(crate) name: String,
    key: [u8; 32],
    used_by: UsedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UsedBy {
    /// Expanded by AES-256, for GCM.
    Cipher,
    /// The key of an HMAC or of the key derivation.
    Mac,
}

/// One form of a needle.
pub(crate) struct Form {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Needle {
    pub(crate) fn cipher(name: impl Into<String>, key: [u8; 32]) -> Self {
        Self { name: name.into(), key, used_by: UsedBy::Cipher }
    }

    pub(crate) fn mac(name: impl Into<String>, key: [u8; 32]) -> Self {
        Self { name: name.into(), key, used_by: UsedBy::Mac }
    }

    /// Halves, reversed, as text, every round key, GCM's H; for a mac key also what HMAC makes of it.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let mut forms = Vec::new();
        let mut add = |kind, bytes: &[u8]| forms.push(Form { kind, bytes: bytes.to_vec() });
        let mut halves = |kinds: [&'static str; 2], bytes: &[u8]| {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            add(kinds[0], first);
            add(kinds[1], second);
        };
        halves(["first half", "second half"], &self.key);
        let mut reversed = self.key;
        reversed.reverse();
        halves(["reversed, first half", "reversed, second half"], &reversed);
        let digits = hex(&self.key);
        halves(["hex, first half", "hex, second half"], digits.as_bytes());
        halves(["HEX, first half", "HEX, second half"], digits.to_uppercase().as_bytes());
        // The last digit of 32 bytes depends on the padding.
        let text = <base64ct::Base64 as base64ct::Encoding>::encode_string(&self.key);
        halves(["base64, first half", "base64, second half"], &text.as_bytes()[..42]);
        let text = <base64ct::Base64Url as base64ct::Encoding>::encode_string(&self.key);
        halves(["base64url, first half", "base64url, second half"], &text.as_bytes()[..42]);
        // The first two round keys are the halves.
        for round_key in &aes::expand(&self.key)[2..] {
            add("round key", round_key);
        }
        let hash_key = aes::encrypt(&self.key, [0; 16]);
        add("H", &hash_key);
        add("H, reversed", &u128::from_be_bytes(hash_key).to_le_bytes());
        add("H for POLYVAL", &polyval_form(hash_key));
        if self.used_by == UsedBy::Mac {
            let pads = [0x36, 0x5c].map(|pad| self.key.map(|byte| byte ^ pad));
            for bytes in &pads {
                add("HMAC pad", &bytes[..16]);
                add("HMAC pad", &bytes[16..]);
            }
            for state in sha256::hmac_states(&self.key) {
                add("HMAC state", &state[..16]);
                add("HMAC state", &state[16..]);
            }
        }
        forms
    }
}

/// GCM's hash key as POLYVAL takes it: reversed and multiplied by x (RFC 8452, appendix A).
fn polyval_form(hash_key: [u8; 16]) -> [u8; 16] {
    let value = u128::from_be_bytes(hash_key);
    let reduced = if value >> 127 == 1 { (0xc2_u128 << 120) | 1 } else { 0 };
    ((value << 1) ^ reduced).to_le_bytes()
}

/// Every needle of a daemon: of the master, the root, the log so far, and the last requests.
pub(crate) struct Needles {
    pub(crate) all: Vec<Needle>,
    /// The key that will make the next mac of the log: what a locked daemon keeps.
    pub(crate) next_audit_key: String,
}

/// Derives all of them from the master key and the files of a state folder, as docs/FORMATS.md says.
pub(crate) fn of_daemon(master: &[u8; 32], state: &Path, traffic: &Traffic) -> Needles {
    let keyring = fs::read(state.join("keyring")).unwrap();
    let root = open_root(master, &keyring);
    let default = derive(master, "default key", &[]);
    let secrets = open_records(&derive(&root, "record", &[]), &keyring);
    let messages: BTreeMap<[u8; 32], [u8; 32]> =
        secrets.iter().map(|(id, secret, _)| (*id, derive(secret, "message", &[]))).collect();
    let audit_root = derive(&root, "audit", &[]);
    let mut all = vec![
        Needle::mac("master", *master),
        Needle::mac("root", root),
        Needle::cipher("slot", derive(master, "slot", &[])),
        Needle::mac("default", default),
        Needle::mac("audit", audit_root),
    ];
    assert!(secrets.iter().any(|(_, secret, _)| *secret == default), "the records are read rightly");
    for (number, (id, secret, class)) in secrets.iter().enumerate() {
        // The first is the canary's.
        if *secret != default {
            all.push(Needle::mac(format!("secret {number}"), *secret));
        }
        match class {
            1 => all.push(Needle::cipher(format!("message {number}"), messages[id])),
            2 => all.push(Needle::mac(format!("blind index {number}"), derive(secret, "blind index", &[]))),
            // Of class 3: the secret itself makes the signature.
            _ => {}
        }
    }
    for label in ["record", "head"] {
        all.push(Needle::cipher(label, derive(&root, label, &[])));
    }
    for label in ["pin", "context hash", "reuse", "counters", "audit bridge", "audit archive"] {
        all.push(Needle::mac(label, derive(&root, label, &[])));
    }
    for (number, sealed) in traffic.sealed.iter().rev().take(LAST).enumerate() {
        let nonce: [u8; 24] = sealed.envelope[33..57].try_into().unwrap();
        let Some(message) = messages.get(&sealed.envelope[1..33]) else { continue };
        let key = aes::xaes_message_key(message, &nonce);
        if let (Some(first), Some(plain)) =
            (sealed.envelope[HEADER_BYTES..].first_chunk(), sealed.plaintext.first_chunk::<16>())
            && sealed.plaintext.len() >= 16
        {
            assert_eq!(aes::first_block(&key, &nonce, first), *plain, "the needle is the right key");
        }
        all.push(Needle::cipher(format!("key of message {number} from the end"), key));
        if let Some(plain) = sealed.plaintext.first_chunk::<32>() {
            all.push(Needle::cipher(format!("plaintext {number} from the end"), *plain));
        }
    }
    for (number, key) in traffic.data_keys.iter().rev().take(LAST).enumerate() {
        all.push(Needle::cipher(format!("data key {number} from the end"), *key));
    }
    let keyring_id: [u8; 16] = keyring[20..36].try_into().unwrap();
    let log = fs::read(state.join("audit.log")).unwrap();
    let bridge = derive(&root, "audit bridge", &[]);
    let audit_keys = follow_chain(&audit_root, &bridge, &keyring_id, &log);
    let last = audit_keys.len() - 1;
    for (number, key) in audit_keys.iter().enumerate() {
        if number < 2 || number + 8 > last {
            all.push(Needle::mac(format!("audit key {number}"), *key));
        }
    }
    Needles { all, next_audit_key: format!("audit key {last}") }
}

/// What a master key with only one slot, and the root in it, give away; each name begins with `whose`.
pub(crate) fn of_root(whose: &str, master: &[u8; 32], state: &Path) -> Vec<Needle> {
    let root = open_root(master, &fs::read(state.join("keyring")).unwrap());
    let mut all = vec![
        Needle::mac(format!("{whose} master"), *master),
        Needle::mac(format!("{whose} root"), root),
        Needle::cipher(format!("{whose} slot"), derive(master, "slot", &[])),
    ];
    for label in ["record", "head"] {
        all.push(Needle::cipher(format!("{whose} {label}"), derive(&root, label, &[])));
    }
    for label in ["pin", "context hash", "reuse", "counters", "audit", "audit bridge", "audit archive"] {
        all.push(Needle::mac(format!("{whose} {label}"), derive(&root, label, &[])));
    }
    all
}

fn derive(secret: &[u8; 32], label: &str, extra: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    kdf::derive(secret, label, extra, &mut out);
    out
}

/// Opens the only slot of a keyring file (docs/FORMATS.md, section 3).
fn open_root(master: &[u8; 32], keyring: &[u8]) -> [u8; 32] {
    let (id_and_epoch, slot) = (&keyring[20..40], &keyring[48..48 + 88]);
    let (fingerprint, nonce) = (&slot[..16], slot[16..40].try_into().unwrap());
    let mut root: [u8; 32] = slot[40..72].try_into().unwrap();
    let associated = [b"keyagent/v1 slot\0", id_and_epoch, fingerprint].concat();
    let key = derive(master, "slot", &[]);
    cipher::open_with(&key, nonce, &associated, &mut root, slot[72..88].try_into().unwrap()).unwrap();
    root
}

/// Key id, secret and class of every record of a keyring file, the canary's first.
fn open_records(record_key: &[u8; 32], keyring: &[u8]) -> Vec<([u8; 32], [u8; 32], u8)> {
    let id_and_epoch = &keyring[20..40];
    let slots = usize::from(u16::from_le_bytes(keyring[18..20].try_into().unwrap()));
    let head = 48 + 88 * slots;
    let body = u32::from_le_bytes(keyring[head..head + 4].try_into().unwrap());
    let mut rest = &keyring[head + 44 + usize::try_from(body).unwrap()..];
    let mut secrets = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(u16::from_le_bytes(rest[77..79].try_into().unwrap()));
        let (record, behind) = rest.split_at(95 + length);
        let associated = [b"keyagent/v1 record\0".as_slice(), id_and_epoch, &record[..53]].concat();
        let mut secret: [u8; 32] = record[79..111].try_into().unwrap();
        let (nonce, tag) = (record[53..77].try_into().unwrap(), record[111..127].try_into().unwrap());
        cipher::open_with(record_key, nonce, &associated, &mut secret, tag).unwrap();
        secrets.push((record[21..53].try_into().unwrap(), secret, record[20]));
        rest = behind;
    }
    secrets
}

/// The first key of a bridge: the line that begins the segment behind it states it, sealed; none before that.
fn bridge_key(sealing: &[u8; 32], place: &[u8], behind: &[u8]) -> Option<[u8; 32]> {
    let name = b"\"bridge_key\":\"";
    let begin = behind.windows(name.len()).position(|part| part == name)? + name.len();
    let stated = unhex(std::str::from_utf8(&behind[begin..begin + 144]).unwrap());
    let mut key: [u8; 32] = stated[24..56].try_into().unwrap();
    let associated = [b"keyagent/v1 audit bridge\0".as_slice(), place].concat();
    let (nonce, tag) = (stated[..24].try_into().unwrap(), stated[56..].try_into().unwrap());
    cipher::open_with(sealing, nonce, &associated, &mut key, tag).unwrap();
    Some(key)
}

/// Every key of the chain, the next one last; each mac of the log is checked, so the keys are the right ones. Nobody
/// knows those of a bridge that is not finished.
fn follow_chain(
    audit_root: &[u8; 32],
    sealing: &[u8; 32],
    keyring_id: &[u8; 16],
    log: &[u8],
) -> Vec<[u8; 32]> {
    let (mut keys, mut key, mut previous) = (Vec::new(), [0; 32], [0; 32]);
    let mut group_start = 0;
    let mut position = 0;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        if line.windows(13).any(|part| part == b"audit.segment") {
            if !keys.is_empty() {
                // The last key of the segment before makes no mac any more, but may still lie about.
                keys.push(key);
            }
            let value: Value = serde_json::from_slice(line).unwrap();
            let metadata = &value["metadata"];
            let segment = metadata["segment"].as_u64().unwrap().to_le_bytes();
            let salt = unhex(metadata["salt"].as_str().unwrap());
            let place = [&keyring_id[..], &segment, &salt].concat();
            key = if metadata["bridge"] == true {
                let Some(key) = bridge_key(sealing, &place, &log[position + line.len()..]) else {
                    return keys;
                };
                key
            } else {
                derive(audit_root, "audit segment", &place)
            };
        }
        position += line.len();
        let end = line.windows(8).position(|part| part == b",\"mac\":\"");
        let Some(end) = end else { continue };
        let covered = &log[group_start..position - line.len() + end];
        let mac = sha256::hmac(&key, &[&[1], &previous[..], covered].concat());
        assert_eq!(line[end + 8..end + 72], *hex(&mac).as_bytes(), "the needle is the right key");
        keys.push(key);
        (key, previous) = (sha256::hmac(&key, &[2]), mac);
        group_start = position;
    }
    keys.push(key);
    keys
}

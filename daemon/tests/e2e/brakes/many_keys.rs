//! Far more keys than their expanded states would find locked memory for.

use std::{fs, path::Path};

use keyagent_common::{context::EMPTY, error::ErrorCode, name::KeyName, op::CheckResult};
use keyagent_core::{
    arena::HeapArena,
    entropy::{Entropy, EntropyFailed},
    keyring::{Class, Keyring},
};

use crate::support::{Home, log};

const KEYS: usize = 2000;

struct System;

impl Entropy for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        keyagent_sys::random::fill(out).map_err(|_| EntropyFailed)
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("tenant/{number:04}")
}

/// Adds keys to a keyring on disk. The log knows nothing of it.
pub(crate) fn add_keys(path: &Path, master: &[u8; 32]) {
    let (keyring, _) = Keyring::open(&HeapArena, &fs::read(path).unwrap(), master).unwrap();
    let mut draft = keyring.draft();
    for number in 0..KEYS {
        let name = name(number);
        draft.add_key(KeyName::parse(&name).unwrap(), Class::Message, &mut System, 1_795_000_000).unwrap();
    }
    let prepared = draft.prepare(keyring.pin(), &mut System).unwrap();
    fs::write(path, prepared.bytes).unwrap();
}

#[test]
fn thousands_of_keys_start_serve_and_change_in_the_same_locked_memory() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let locked_bytes = client.status("memory_bytes");
    let of_default = client.encrypt(EMPTY, b"before").unwrap();
    daemon.terminate();
    add_keys(&home.state_file("keyring"), &home.master());
    home.start_with(&["--accept-rollback"]).terminate();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.status("keys"), (KEYS + 1).to_string());
    assert_eq!(client.status("memory_bytes"), locked_bytes);
    let numbers = [0, 1, KEYS / 2, KEYS - 2, KEYS - 1];
    let sealed = numbers.map(|number| client.encrypt_under(&name(number), EMPTY, b"x").unwrap());
    let opens = |client: &mut crate::support::Client| {
        assert!(sealed.iter().all(|envelope| client.decrypt(EMPTY, envelope).is_ok()));
        assert_eq!(client.decrypt(EMPTY, &of_default).unwrap(), b"before");
    };
    opens(&mut client);
    // Changes find the room they need.
    client.create_key("zz/one/more").unwrap();
    client.encrypt_under("zz/one/more", EMPTY, b"x").unwrap();
    opens(&mut client);
    for key in [name(0), name(KEYS - 1)] {
        assert_eq!(client.disable(&key).unwrap().changed, 1);
        assert_eq!(client.encrypt_under(&key, EMPTY, b"x"), Err(ErrorCode::KeyDisabled));
        assert_eq!(client.enable(&key, false).unwrap().changed, 1);
    }
    opens(&mut client);
    let (result, words) = (client.health(), "canary");
    assert_eq!(result.check(words).0, CheckResult::Ok, "{result:?}");
    assert!(result.check(words).1.contains("as does "), "a key of its own is tried: {result:?}");
    // The kill switch: every key by its name, up to a number.
    assert_eq!(client.disable("").unwrap().changed as usize, KEYS + 2);
    assert_eq!(client.decrypt(EMPTY, &sealed[4]), Err(ErrorCode::KeyDisabled));
    assert_eq!(client.enable("", false).unwrap().changed as usize, KEYS + 2);
    opens(&mut client);
    client.lock().unwrap();
    client.unlock(&[]).unwrap();
    opens(&mut client);
    daemon.terminate();
    let lines = log::lines(&home);
    let all = lines
        .iter()
        .filter(|line| line["event_type"] == "key_disable" && line["metadata"]["count"].as_u64() != Some(1));
    let (sum, each): (Vec<_>, Vec<_>) = all.partition(|line| line["provider"].is_null());
    assert_eq!((sum.len(), each.len()), (1, 1000));
    assert_eq!(sum[0]["metadata"]["count"], KEYS + 2);
    assert_eq!(each[999]["provider"], name(998));
    let daemon = home.start();
    opens(&mut daemon.client());
}

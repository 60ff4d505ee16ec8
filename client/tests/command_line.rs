//! What the command line does by itself, without any agent.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests; clippy knows only functions marked #[test]"
)]

mod support;

use std::{fs, path::Path, process::Output};

use support::{code, stderr, stdout};

fn keyagent(folder: &Path, words: &[&str], input: &[u8]) -> Output {
    let mut command = support::keyagent(folder);
    command.args(words).current_dir(folder);
    support::run(command, input)
}

fn vectors() -> serde_json::Value {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../common/vectors/formats.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn usage_errors_are_64_and_suggest() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["encryt"][..], &[], &["status", "--sokcet", "x"], &["encrypt", "--timeout", "1 year"]] {
        let output = keyagent(folder.path(), words, b"");
        assert_eq!((code(&output), output.stdout.len()), (64, 0), "{words:?}");
    }
    assert!(stderr(&keyagent(folder.path(), &["encryt"], b"")).contains("'encrypt'"));
    let output = keyagent(folder.path(), &["encryt", "--json"], b"");
    let json: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!((json["code"].as_u64(), json["name"].as_str()), (Some(64), Some("USAGE")));
    assert_eq!(code(&keyagent(folder.path(), &["encrypt", "-k", "No Name"], b"")), 64);
    assert_eq!(code(&keyagent(folder.path(), &["encrypt", "-c", "novalue"], b"")), 64);
    assert_eq!(code(&keyagent(folder.path(), &["encrypt", "-c", "a=1", "-c", "a=2"], b"")), 64);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    for words in
        [&["--help"][..], &["help"], &["help", "encrypt"], &["--version"], &["version"], &["encrypt", "-h"]]
    {
        let output = keyagent(folder.path(), words, b"");
        assert!(code(&output) == 0 && !output.stdout.is_empty() && output.stderr.is_empty(), "{words:?}");
    }
    let table = stdout(&keyagent(folder.path(), &["help", "exit-codes"], b""));
    for code in keyagent_common::error::ErrorCode::ALL {
        assert!(table.contains(code.name()), "{code}");
    }
}

#[test]
fn a_secret_as_an_argument_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let output = keyagent(folder.path(), &["encrypt", "hunter2"], b"");
    assert_eq!(code(&output), 66);
    assert!(!stderr(&output).contains("hunter2") && stderr(&output).contains("pipe"), "{}", stderr(&output));
}

#[test]
fn an_output_that_exists_or_is_the_input_is_refused_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "plain").unwrap();
    fs::write(folder.path().join("b"), "other").unwrap();
    std::os::unix::fs::symlink("b", folder.path().join("link")).unwrap();
    for (words, exit) in [
        (&["encrypt", "a", "-o", "b"][..], 73),
        (&["encrypt", "a", "-o", "a", "--force"], 64),
        (&["encrypt", "a", "-o", "./a"], 64),
        (&["encrypt", "a", "-o", "link", "--force"], 73),
        (&["encrypt", "a", "-o", ".", "--force"], 73),
        (&["encrypt", "a", "b", "-o", "c"], 64),
        (&["decrypt", "a", "b"], 64),
        (&["encrypt", "."], 66),
    ] {
        assert_eq!(code(&keyagent(folder.path(), words, b"")), exit, "{words:?}");
    }
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"other");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing was made");
}

#[test]
fn an_unreachable_agent_leaves_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let output = keyagent(folder.path(), &["encrypt", "--no-autostart", "-o", "out"], b"x");
    assert_eq!(code(&output), 69);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_ciphertext_is_told_apart_without_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors();
    let envelopes = vectors["envelope"].as_array().unwrap();
    for (input, exit, word) in [
        (&b"hello"[..], 65, "NOT_CIPHERTEXT"),
        (b"", 65, "NOT_CIPHERTEXT"),
        (b"\x01short", 65, "NOT_CIPHERTEXT"),
        (b"\x02abc", 65, "NOT_CIPHERTEXT"),
        (b"ka1.AQ", 65, "DOES_NOT_OPEN"),
        (b"ka1.A A", 65, "DOES_NOT_OPEN"),
        (b"ks1.AAAA", 65, "DOES_NOT_OPEN"),
        (b"ks1.!", 65, "DOES_NOT_OPEN"),
        (b"keyagent/stream\x02", 65, "version 2"),
        (b"keyagent/stream\x01 cut off", 65, "DOES_NOT_OPEN"),
    ] {
        for verb in ["decrypt", "inspect"] {
            let output = keyagent(folder.path(), &[verb], input);
            assert_eq!((code(&output), output.stdout.len()), (exit, 0), "{verb} {input:?}");
            assert!(stderr(&output).contains(word), "{verb} {input:?}: {}", stderr(&output));
        }
    }
    for case in envelopes.iter().filter(|case| case["text"].as_str().unwrap().starts_with("kd1.")) {
        let bytes = hex::decode(case["envelope"].as_str().unwrap()).unwrap();
        for input in [bytes, case["text"].as_str().unwrap().into()] {
            let output = keyagent(folder.path(), &["decrypt"], &input);
            assert!(code(&output) == 65 && stderr(&output).contains("data_key_open"), "{}", stderr(&output));
        }
    }
}

#[test]
fn inspect_says_the_same_of_bytes_and_text() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors();
    for case in vectors["envelope"].as_array().unwrap() {
        let bytes = hex::decode(case["envelope"].as_str().unwrap()).unwrap();
        let text = case["text"].as_str().unwrap();
        let newline = format!("{text}\n");
        let documents = [&bytes[..], text.as_bytes(), newline.as_bytes()].map(|input| {
            let output = keyagent(folder.path(), &["inspect", "--json"], input);
            let mut json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
            assert_eq!(json["plaintext_bytes"].as_u64().unwrap(), bytes.len() as u64 - 73);
            json["form"].take();
            json
        });
        assert!(documents[0] == documents[1] && documents[1] == documents[2]);
        assert_eq!(code(&keyagent(folder.path(), &["inspect"], newline.repeat(2).as_bytes())), 65);
    }
}

#[test]
fn a_stream_is_inspected_by_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = b"keyagent/stream\x01\x02".to_vec();
    stream.resize(177 + 16_400 + 116, 9);
    let output = keyagent(folder.path(), &["inspect", "--json"], &stream);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((json["plaintext_bytes"].as_u64(), json["chunks"].as_u64()), (Some(16_384 + 100), Some(2)));
    stream.truncate(177 + 16_400);
    assert_eq!(code(&keyagent(folder.path(), &["inspect"], &stream)), 65);
}

#[test]
fn a_key_file_has_a_fingerprint_without_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors();
    let master = vectors["master"]["master"].as_str().unwrap();
    fs::write(folder.path().join("key"), format!("{master}\n")).unwrap();
    let output = keyagent(folder.path(), &["fingerprint", "--key-file", "key"], b"");
    if code(&output) == 0 {
        assert!(stdout(&output).starts_with(vectors["master"]["fingerprint"].as_str().unwrap()));
    } else {
        assert!(stderr(&output).contains("published"), "{}", stderr(&output));
    }
    fs::write(folder.path().join("key"), "short\n").unwrap();
    assert_eq!(code(&keyagent(folder.path(), &["fingerprint", "--key-file", "key"], b"")), 78);
}

#[test]
fn init_refuses_to_touch_what_exists() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join(".config/keyagent/key");
    fs::create_dir_all(key.parent().unwrap()).unwrap();
    fs::write(&key, "mine").unwrap();
    let output = keyagent(folder.path(), &["init", "--no-input"], b"");
    assert_eq!(code(&output), 73, "{}", stderr(&output));
    assert!(stderr(&output).ends_with("code 73 ALREADY_INITIALIZED\n"));
    assert_eq!(fs::read(&key).unwrap(), b"mine");
}

#[test]
fn doctor_fails_where_nothing_is_set_up() {
    let folder = tempfile::tempdir().unwrap();
    let output = keyagent(folder.path(), &["doctor"], b"");
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).starts_with("RESULT   CHECK             MESSAGE\n"), "{}", stdout(&output));
    let output = keyagent(folder.path(), &["doctor", "--json"], b"");
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((json["schema"].as_str(), json["failed"].as_bool()), (Some("keyagent.doctor/1"), Some(true)));
}

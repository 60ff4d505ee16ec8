//! Where the master key comes from: every source, two that disagree, texts that are no key.

use std::{fs, os::unix::fs::symlink, path::Path};

use base64ct::{Base64, Base64Url, Base64UrlUnpadded, Encoding};
use keyagent_common::{context, error::ErrorCode, fingerprint, kdf};

use crate::support::{
    self, Home, am_root, chmod, finish, have, make_folder, process::Daemon, skipped, snapshot,
};

const CREDENTIAL: &str = "keyagent.master-key";

fn short_print(key: &str) -> String {
    fingerprint::short(&kdf::master_fingerprint(&support::unhex(key).try_into().unwrap()))
}

#[test]
fn the_environment_variable_is_used_and_scrubbed() {
    let home = Home::new();
    let key = support::random_key();
    let mut command = home.command_without_key();
    command.env("KEYAGENT_KEY", &key).arg("--new-keyring");
    let daemon = Daemon::start(command, &home.socket());
    if am_root() {
        let environment = fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        assert!(environment.contains("HOME="), "the detector sees the environment: {environment:?}");
        assert!(!environment.contains(&key[..16]) && !environment.contains(&key[48..]));
    } else {
        skipped("the_environment_variable_is_used_and_scrubbed", "only root may read /proc/PID/environ");
    }
    let mut client = daemon.client();
    client.encrypt(context::EMPTY, b"x").unwrap();
    assert!(!client.lock().unwrap().unlockable_here);
    assert_eq!(client.unlock(&[]), Err(ErrorCode::NotUnlockable));
    assert_eq!(ErrorCode::NotUnlockable.exit_code(), 78);
    assert!(client.unlock(&support::unhex(&key)).unwrap().changed);
    let said = daemon.terminate();
    assert!(said.contains("KEYAGENT_KEY") && !said.contains(&key), "{said}");
}

#[test]
fn a_descriptor_ends_the_search() {
    let home = Home::with_key(&support::random_key());
    let script = "exec 5<\"$KEY_OF_TEST\"; exec \"$0\" \"$@\" --key-fd 5";
    for arguments in [&["--new-keyring"][..], &[]] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, support::KEYAGENTD]);
        command.env_clear().env("HOME", home.join("user")).env("KEY_OF_TEST", home.key());
        command.arg("--state-dir").arg(home.state()).arg("--socket").arg(home.socket()).args(arguments);
        let daemon = Daemon::start(command, &home.socket());
        let mut client = daemon.client();
        assert_eq!(client.status("master_source"), "a descriptor");
        assert!(!client.lock().unwrap().unlockable_here);
        daemon.terminate();
    }
    // One that is not open, and a standard stream.
    for number in ["9", "0"] {
        home.must_refuse(home.command_without_key().args(["--key-fd", number]), 64, "USAGE");
    }
}

#[test]
fn a_named_file_ends_the_search_and_must_exist() {
    let home = Home::initialized();
    let mut command = home.command_without_key();
    command.env("KEYAGENT_KEY_FILE", home.key());
    let daemon = Daemon::start(command, &home.socket());
    assert_eq!(daemon.client().status("master_source"), home.key().to_str().unwrap());
    daemon.terminate();
    let other = support::random_key();
    let mut command = home.command();
    command.env("KEYAGENT_KEY", &other);
    // Named: the variable is not looked at, only scrubbed.
    let said = Daemon::start(command, &home.socket()).terminate();
    assert!(!said.contains(&other));
    fs::remove_file(home.key()).unwrap();
    let mut command = home.command();
    home.must_refuse(command.env("KEYAGENT_KEY", &other), 78, "KEY_MISSING");
}

#[test]
fn init_makes_no_second_key_beside_a_named_source() {
    let home = Home::new();
    let mut command = home.command();
    command.env("KEYAGENT_KEY", support::random_key()).arg("--init");
    home.must_refuse(&mut command, 73, "ALREADY_INITIALIZED");
    let mut command = home.command();
    home.must_refuse(command.args(["--init", "--credentials-dir", "/run"]), 73, "ALREADY_INITIALIZED");
    assert!(snapshot(home.path()).is_empty());
}

fn credentials(home: &Home, key: &str) -> std::path::PathBuf {
    let folder = home.join("credentials");
    make_folder(&folder, 0o700);
    fs::write(folder.join(CREDENTIAL), key).unwrap();
    chmod(&folder.join(CREDENTIAL), 0o400);
    folder
}

fn start_with_credentials(home: &Home, folder: &Path) -> Daemon {
    let mut command = home.command_without_key();
    command.env("CREDENTIALS_DIRECTORY", folder).arg("--new-keyring");
    Daemon::start(command, &home.socket())
}

#[test]
fn a_credential_folder_has_rules_of_its_own() {
    let home = Home::new();
    let folder = credentials(&home, &support::random_key());
    let daemon = start_with_credentials(&home, &folder);
    let mut client = daemon.client();
    assert_eq!(client.status("master_source"), folder.join(CREDENTIAL).to_str().unwrap());
    assert!(client.lock().unwrap().unlockable_here);
    assert!(client.unlock(&[]).unwrap().changed);
    daemon.terminate();
    for mode in [0o404, 0o444, 0o420, 0o460, 0o402, 0o4400] {
        chmod(&folder.join(CREDENTIAL), mode);
        let mut command = home.command_without_key();
        home.must_refuse(command.arg("--credentials-dir").arg(&folder), 77, "KEY_PERMISSIONS");
    }
    // systemd and container runtimes: my own group may read.
    chmod(&folder.join(CREDENTIAL), 0o440);
    start_with_credentials(&home, &folder).terminate();
    // A folder without the credential is an absent source; one that leads nowhere is not.
    fs::remove_file(folder.join(CREDENTIAL)).unwrap();
    let mut command = home.command_without_key();
    home.must_refuse(command.arg("--credentials-dir").arg(&folder), 78, "KEY_MISSING");
    symlink("gone", folder.join(CREDENTIAL)).unwrap();
    let mut command = home.command_without_key();
    home.must_refuse(command.arg("--credentials-dir").arg(&folder), 77, "KEY_PERMISSIONS");
}

#[test]
fn a_systemd_credential_with_an_access_list_is_read() {
    const NAME: &str = "a_systemd_credential_with_an_access_list_is_read";
    if !am_root() || !have("setfacl") {
        return skipped(NAME, "needs root and setfacl (package acl)");
    }
    let home = Home::new();
    let folder = credentials(&home, &support::random_key());
    let file = folder.join(CREDENTIAL);
    // The group is nobody's of ours: what shows in its bits is the mask of the list.
    std::os::unix::fs::chown(&file, None, Some(12345)).unwrap();
    chmod(&file, 0o440);
    let mut command = home.command_without_key();
    home.must_refuse(command.arg("--credentials-dir").arg(&folder), 77, "KEY_PERMISSIONS");
    chmod(&file, 0o400);
    assert_eq!(finish(std::process::Command::new("setfacl").args(["-m", "u:1:r"]).arg(&file)).code, Some(0));
    start_with_credentials(&home, &folder).terminate();
}

#[test]
fn kubernetes_links_resolve_beneath_the_folder_only() {
    let home = Home::new();
    let folder = credentials(&home, &support::random_key());
    make_folder(&folder.join("..2026_11_21"), 0o755);
    fs::rename(folder.join(CREDENTIAL), folder.join("..2026_11_21").join(CREDENTIAL)).unwrap();
    symlink("..2026_11_21", folder.join("..data")).unwrap();
    symlink(format!("..data/{CREDENTIAL}"), folder.join(CREDENTIAL)).unwrap();
    start_with_credentials(&home, &folder).terminate();
    // A link that leaves the folder is refused even if the target would be fine.
    let outside = home.join("outside");
    fs::copy(folder.join(CREDENTIAL), &outside).unwrap();
    chmod(&outside, 0o600);
    for target in ["../outside", outside.to_str().unwrap()] {
        fs::remove_file(folder.join(CREDENTIAL)).unwrap();
        symlink(target, folder.join(CREDENTIAL)).unwrap();
        let mut command = home.command_without_key();
        home.must_refuse(command.arg("--credentials-dir").arg(&folder), 77, "KEY_PERMISSIONS");
    }
}

#[test]
fn sources_that_disagree_are_shown_and_refused() {
    let home = Home::new();
    let (one, two) = (support::random_key(), support::random_key());
    let folder = credentials(&home, &one);
    let default = home.join("user/.config/keyagent/key");
    make_folder(default.parent().unwrap(), 0o700);
    fs::write(&default, &two).unwrap();
    chmod(&default, 0o600);
    let mut command = home.command_without_key();
    command.arg("--credentials-dir").arg(&folder).arg("--new-keyring");
    let refused = home.must_refuse(&mut command, 78, "KEY_SOURCES_DISAGREE");
    assert!(refused.stderr.contains(&short_print(&one)) && refused.stderr.contains(&short_print(&two)));
    let mut command = home.command_without_key();
    command.env("KEYAGENT_KEY", &one).arg("--new-keyring");
    let refused = home.must_refuse(&mut command, 78, "KEY_SOURCES_DISAGREE");
    assert!(!refused.stderr.contains(&one) && !refused.stderr.contains(&two));
    // A malformed source beside a good one is an error, not an absent one.
    let mut command = home.command_without_key();
    home.must_refuse(command.env("KEYAGENT_KEY", "short").arg("--new-keyring"), 78, "KEY_MALFORMED");
    assert!(!home.state_file("keyring").exists());
    // Three that agree are one.
    fs::write(&default, &one).unwrap();
    let mut command = home.command_without_key();
    command.env("KEYAGENT_KEY", one.to_uppercase()).arg("--credentials-dir").arg(&folder);
    command.arg("--new-keyring");
    Daemon::start(command, &home.socket()).terminate();
}

#[test]
fn texts_that_are_no_key_are_refused_from_every_source() {
    let good = support::random_key();
    let ascending = support::hex(&(0..32).collect::<Vec<u8>>());
    let bad = [
        String::new(),
        "\n".into(),
        good[1..].into(),
        format!("{good}\n\n"),
        format!("{good}\r\n"),
        format!(" {}", &good[1..]),
        format!("{}g", &good[1..]),
        "0".repeat(64),
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into(),
        ascending,
        "k7Jm9XpL4zR2vN8qYwE5uT3hS6gF1aD0bC4xM7oP2nA=".into(),
    ];
    let home = Home::new();
    for text in &bad {
        home.write_key(text);
        let refused = home.refuses(&["--new-keyring"], 78, "KEY_MALFORMED");
        assert!(text.len() < 16 || !refused.stderr.contains(&text[2..12]), "{}", refused.stderr);
        let mut command = home.command_without_key();
        home.must_refuse(command.env("KEYAGENT_KEY", text).arg("--new-keyring"), 78, "KEY_MALFORMED");
    }
    assert!(!home.state_file("keyring").exists());
    // Every documented form of a good key is the same key.
    let key = support::unhex(&good);
    let forms = [
        good.clone(),
        format!("{}\n", good.to_uppercase()),
        Base64::encode_string(&key),
        Base64Url::encode_string(&key),
        Base64UrlUnpadded::encode_string(&key),
    ];
    for form in forms {
        home.write_key(&form);
        home.start_with(&["--new-keyring"]).terminate();
    }
}

//! Backups, as people make, check and restore them: hosts with homes of their own, and the age and SSH that they have.

mod damage;
mod drill;
mod hosts;
mod kept;
mod pages;
mod recipients;

use std::{fs, path::PathBuf};

use super::place::{Done, Place};

const PASSPHRASE: &str = "correct horse battery staple";

/// A folder that hosts share, as a stick does.
struct Stick(tempfile::TempDir);

impl Stick {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

impl Place {
    /// `keyagent backup` with these words and the passphrase.
    fn backup(&self, words: &str) -> Done {
        self.backup_with(words, PASSPHRASE)
    }

    fn backup_with(&self, words: &str, passphrase: &str) -> Done {
        fs::write(self.work("passphrase"), passphrase).unwrap();
        self.sh(&format!("exec keyagent backup {words} --passphrase-fd 3 3< passphrase"))
    }

    fn created(&self, stick: &Stick, file: &str, names: &str) -> Done {
        self.backup(&format!("create {names} -o {}", stick.shown(file))).expect(0)
    }

    fn restored(&self, stick: &Stick, file: &str, flags: &str) -> Done {
        self.backup(&format!("restore {} --yes {flags}", stick.shown(file))).expect(0)
    }

    /// Names, numbers, states and ids of all versions.
    fn versions(&self) -> Vec<(String, u64, String, String)> {
        let list = self.run(&["keys", "list", "--json"], b"").expect(0);
        let document: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
        let mut all = Vec::new();
        for key in document["keys"].as_array().unwrap() {
            for version in key["versions"].as_array().unwrap() {
                let text = |name: &str| version[name].as_str().unwrap_or_default().to_owned();
                let (name, number) = (key["name"].as_str().unwrap(), version["number"].as_u64().unwrap());
                all.push((name.to_owned(), number, text("state"), text("key_id")));
            }
        }
        all
    }

    fn generation(&self) -> u64 {
        let status = self.run(&["status", "--json"], b"").expect(0);
        let document: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        document["generation"].as_u64().unwrap()
    }
}

/// A host with keys of two names, one of them rotated.
fn furnished() -> Place {
    let place = Place::started();
    place
        .sh("keyagent keys create openai; keyagent keys create billing/cards; keyagent keys rotate openai")
        .expect(0);
    place
}

#[test]
fn a_backup_is_private_checked_and_never_put_over_another() {
    let (place, stick) = (furnished(), Stick::new());
    let said = place.created(&stick, "a.kabackup", "");
    assert!(
        said.text().contains("the whole keyring: 3 keys, 4 versions; with the master key"),
        "{}",
        said.text()
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(stick.path("a.kabackup")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o7777, 0o600);
    let before = fs::read(stick.path("a.kabackup")).unwrap();
    place.backup(&format!("create -o {}", stick.shown("a.kabackup"))).refused(73, "CANNOT_CREATE");
    assert_eq!(fs::read(stick.path("a.kabackup")).unwrap(), before);
    // Nothing is left of those that were refused.
    assert_eq!(fs::read_dir(stick.0.path()).unwrap().count(), 1);
    let checked = place.backup(&format!("check {}", stick.shown("a.kabackup"))).expect(0);
    for (name, number, state, id) in place.versions() {
        let row = checked.text().lines().any(|line| {
            line.split_whitespace().collect::<Vec<_>>()
                == [&name, &number.to_string(), &state, &id].map(String::as_str)
        });
        assert!(row, "{name} {number}: {}", checked.text());
    }
    // Without the passphrase: what it says of itself, and no name of a key.
    let outside = place
        .sh(&format!("keyagent backup check {0}; keyagent inspect {0}", stick.shown("a.kabackup")))
        .expect(0);
    assert!(
        outside.text().contains("epoch 1") && outside.stderr.contains("nothing was opened"),
        "{outside:?}"
    );
    assert!(
        !outside.text().contains("openai") && outside.text().contains("kind        backup"),
        "{outside:?}"
    );
    let inspected = place.run(&["inspect", "--json", &stick.shown("a.kabackup")], b"").expect(0);
    let document: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(
        (document["kind"].as_str(), document["key_ids"].as_array().unwrap().len()),
        (Some("backup"), 4)
    );
    let bytes = fs::read(stick.path("a.kabackup")).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"openai"), "names are sealed");
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let (place, stick) = (furnished(), Stick::new());
    place.created(&stick, "a", "");
    let file = stick.shown("a");
    place.backup_with(&format!("check {file}"), "another passphrase").refused(79, "BACKUP_NOT_OPENED");
    place
        .backup_with(&format!("restore {file} --yes"), "another passphrase")
        .refused(79, "BACKUP_NOT_OPENED");
    place.backup_with(&format!("create -o {}", stick.shown("b")), "short").refused(64, "USAGE");
    assert!(!stick.path("b").exists());
}

#[test]
fn key_and_backup_are_kept_apart() {
    let (place, stick) = (furnished(), Stick::new());
    let beside = place.key().with_file_name("b").display().to_string();
    let refused = place.backup(&format!("create -o {beside}")).refused(73, "CANNOT_CREATE");
    assert!(refused.stderr.contains("same folder"), "{}", refused.stderr);
    assert!(!place.key().with_file_name("b").exists());
    let doctor = |place: &Place| place.run(&["doctor"], b"").expect(0).text();
    let warned = doctor(&place);
    assert!(warned.contains("none was ever made here"), "{warned}");
    place.created(&stick, "a", "");
    let good = doctor(&place);
    assert!(good.contains("made today") && !good.contains("beside the key file"), "{good}");
    place.backup(&format!("create -o {beside} --allow-same-folder")).expect(0);
    let warned = doctor(&place);
    assert!(warned.contains("b lies beside the key file"), "{warned}");
    let report = place.run(&["report", "--since", "1d", "--no-verify"], b"").expect(0).text();
    assert!(report.contains("The last backup of the period was made"), "{report}");
}

#[test]
fn without_the_master_key_it_says_so_loudly_and_a_named_one_must_be_it() {
    let (place, stick) = (furnished(), Stick::new());
    place.sh("mv ~/.config/keyagent/key elsewhere").expect(0);
    let said = place.created(&stick, "a", "");
    assert!(
        said.stderr.contains("WITHOUT THE MASTER KEY") && said.text().contains("WITHOUT the master key"),
        "{said:?}"
    );
    place.backup(&format!("create -o {} --without-master", stick.shown("b"))).expect(0);
    let with = place.backup(&format!("create -o {} --key-file elsewhere", stick.shown("c"))).expect(0);
    assert!(with.text().contains("with the master key") && !with.stderr.contains("WITHOUT"), "{with:?}");
    let other = Place::initialized();
    let wrong = other.key().display().to_string();
    place
        .backup(&format!("create -o {} --key-file {wrong}", stick.shown("d")))
        .refused(79, "WRONG_MASTER_KEY");
    assert!(!stick.path("d").exists());
    // It restores no machine by itself.
    let new = Place::new();
    new.backup(&format!("restore {} --yes", stick.shown("a"))).refused(78, "KEY_MISSING");
    assert!(!new.key().exists() && !new.keyring().exists());
}

#[test]
fn some_keys_are_backed_up_by_name() {
    let (place, stick) = (furnished(), Stick::new());
    let said = place.created(&stick, "a", "openai --without-master");
    assert!(said.text().contains("some keys of the keyring: 1 keys, 2 versions"), "{}", said.text());
    place.backup(&format!("create nobody -o {}", stick.shown("b"))).refused(79, "UNKNOWN_KEY");
    place.backup(&format!("create ../x -o {}", stick.shown("b"))).refused(64, "USAGE");
    assert!(!stick.path("b").exists());
    let other = Place::started();
    let done = other.restored(&stick, "a", "");
    assert!(done.text().contains("added      +2        openai"), "{}", done.text());
    assert_eq!(other.versions().len(), 3);
}

//! Backups for age and SSH keys, with the programs of age and OpenSSH as peers.

use std::{io::Write, process::Stdio};

use keyagent_common::backup::{Backup, Contents, Protection, assemble};

use super::*;
use crate::place::skipped;

/// Whether a program is installed.
fn have(name: &str) -> bool {
    ["/usr/bin", "/usr/local/bin", "/bin"]
        .iter()
        .any(|folder| fs::metadata(format!("{folder}/{name}")).is_ok())
}

fn have_all(test: &str) -> bool {
    let missing: Vec<&str> =
        ["age", "age-keygen", "ssh-keygen"].into_iter().filter(|name| !have(name)).collect();
    if !missing.is_empty() {
        skipped(test, &format!("{} not installed", missing.join(", ")));
    }
    missing.is_empty()
}

/// A host whose backup goes to two age keys and an SSH key.
fn addressed(stick: &Stick) -> Place {
    let place = furnished();
    place
        .sh("age-keygen -o one 2> /dev/null; age-keygen -o two 2> /dev/null; age-keygen -o stranger 2> /dev/null; \
             ssh-keygen -q -t ed25519 -N '' -f ssh; ssh-keygen -q -t ed25519 -N 'pass of ssh' -f locked; \
             { echo '# those who may'; echo; age-keygen -y two; cat locked.pub; } > recipients")
        .expect(0);
    place
        .sh(&format!(
            "keyagent backup create -o {} --to \"$(age-keygen -y one)\" --to \"$(cat ssh.pub)\" -R recipients",
            stick.shown("a")
        ))
        .expect(0);
    place
}

#[test]
fn each_recipient_opens_it_and_nobody_else() {
    if !have_all("each_recipient_opens_it_and_nobody_else") {
        return;
    }
    let stick = Stick::new();
    let place = addressed(&stick);
    let file = stick.shown("a");
    for identity in ["one", "two", "ssh"] {
        let opened = place.sh(&format!("keyagent backup check {file} --identity {identity}")).expect(0);
        assert!(opened.text().contains("openai"), "{identity}: {}", opened.text());
    }
    fs::write(place.work("pass"), "pass of ssh").unwrap();
    place.sh(&format!("keyagent backup check {file} --identity locked --passphrase-fd 3 3< pass")).expect(0);
    fs::write(place.work("pass"), "another one").unwrap();
    place
        .sh(&format!("keyagent backup check {file} --identity locked --passphrase-fd 3 3< pass"))
        .refused(79, "BACKUP_NOT_OPENED");
    place.sh(&format!("keyagent backup check {file} --identity stranger")).refused(79, "BACKUP_NOT_OPENED");
    place.sh(&format!("keyagent backup check {file} --identity ssh.pub")).refused(64, "USAGE");
    place.sh(&format!("keyagent backup check {file} --open")).refused(64, "USAGE");
    let new = Place::new();
    let identity = place.work("ssh").display().to_string();
    new.sh(&format!("keyagent backup restore {file} --identity {identity} --yes")).expect(0);
    assert_eq!(new.versions(), place.versions());
}

/// The program age opens the key in the file, and what it wraps is opened here.
#[test]
fn age_itself_opens_and_makes_the_wrapped_key() {
    if !have_all("age_itself_opens_and_makes_the_wrapped_key") {
        return;
    }
    let stick = Stick::new();
    let place = addressed(&stick);
    let bytes = fs::read(stick.path("a")).unwrap();
    let backup = Backup::parse(&bytes).unwrap();
    let Protection::Recipients(wrapped) = &backup.protection else { panic!("{:?}", backup.protection) };
    let age = |words: &[&str], input: &[u8]| {
        let mut command = place.program("age");
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "age {words:?}");
        output.stdout
    };
    for identity in ["one", "ssh"] {
        let key: [u8; 32] = age(&["-d", "-i", identity], wrapped).try_into().unwrap();
        assert_eq!(backup.verify(&key), Ok(()));
        // The other way round: for somebody who was no recipient.
        let stranger = place.sh("age-keygen -y stranger").expect(0).line();
        let rewrapped = age(&["-r", &stranger], &key);
        let pages: Vec<Vec<u8>> = backup.pages.iter().map(|page| page.to_vec()).collect();
        let contents = Contents {
            origin: backup.origin,
            created_at: backup.created_at,
            master: backup.master,
            whole: backup.whole,
            keys: backup.keys,
            key_ids: backup.key_ids,
            protection: &Protection::Recipients(&rewrapped),
            sealed_master: backup.sealed_master,
            pages: &pages,
        };
        fs::write(stick.path("b"), assemble(&contents, &key).unwrap()).unwrap();
        place.sh(&format!("keyagent backup check {} --identity stranger", stick.shown("b"))).expect(0);
        place
            .sh(&format!("keyagent backup check {} --identity one", stick.shown("b")))
            .refused(79, "BACKUP_NOT_OPENED");
    }
}

#[test]
fn what_is_no_recipient_is_refused_and_never_repeated() {
    let (place, stick) = (furnished(), Stick::new());
    let secret = format!("AGE-SECRET-KEY-1{}", "Q".repeat(58));
    fs::write(place.work("recipients"), format!("# mine\n{secret}\n")).unwrap();
    fs::write(place.work("nobody"), "# nobody\n\n").unwrap();
    let file = stick.shown("a");
    for words in [
        format!("--to {secret}"),
        "-R recipients".into(),
        "--to age1xyz".into(),
        "--to 'ssh-dss x'".into(),
        "--to me".into(),
        "-R nobody".into(),
    ] {
        let refused = place.sh(&format!("keyagent backup create -o {file} {words}")).refused(64, "USAGE");
        assert!(!refused.stderr.contains("QQQQ"), "{}", refused.stderr);
    }
    assert!(!stick.path("a").exists());
}

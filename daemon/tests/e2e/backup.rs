//! Backups over the socket: what a page needs, what is recorded, what a change meanwhile does, and that a page is
//! taken in whole or not at all.

use std::{
    fs,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use keyagent_common::{
    backup::page::Page,
    codec,
    context::EMPTY,
    error::ErrorCode,
    op::{
        BackupCreate, BackupCreateReply, BackupCreateRequest, BackupRestore, BackupRestoreReply,
        BackupRestoreRequest, RestoreOutcome,
    },
};

use crate::support::{Client, Home, agent::words, bounded, client, log};

const KEY: [u8; 32] = [0x42; 32];

fn ask(client: &mut Client, keys: &str, after: &[u8]) -> client::Reply {
    client.ask::<BackupCreate>(&BackupCreateRequest { backup_key: &KEY, keys, after })
}

/// All pages of a backup.
fn pages(client: &mut Client, keys: &str) -> Vec<Vec<u8>> {
    let (mut pages, mut after) = (Vec::new(), Vec::new());
    loop {
        let body = ask(client, keys, &after).success().unwrap();
        let reply: BackupCreateReply<'_> = codec::decode(&body).unwrap();
        pages.push(reply.page.to_vec());
        after = reply.next.to_vec();
        if after.is_empty() {
            return pages;
        }
    }
}

fn send(client: &mut Client, page: &[u8], dry_run: bool) -> client::Reply {
    client.ask::<BackupRestore>(&BackupRestoreRequest { backup_key: &KEY, page, dry_run, promote: false })
}

fn outcomes(reply: client::Reply) -> Vec<(String, RestoreOutcome, u32)> {
    let body = reply.success().unwrap();
    let reply: BackupRestoreReply<'_> = codec::decode(&body).unwrap();
    reply.keys.iter().map(|key| (key.name.to_owned(), key.outcome, key.added)).collect()
}

#[test]
fn keys_go_from_one_daemon_to_another_and_both_record_it() {
    let (home, other) = (Home::initialized(), Home::initialized());
    let (a, b) = (home.start(), other.start());
    let (mut from, mut to) = (a.client(), b.client());
    from.create_key("openai").unwrap();
    let sealed = from.encrypt_under("openai", EMPTY, b"secret").unwrap();
    assert_eq!(from.status("backup_at"), "");
    let all = pages(&mut from, "");
    assert_ne!(from.status("backup_at"), "");
    assert_eq!(from.status("backup_generation"), from.status("generation"));
    assert!(fs::read_to_string(home.state_file("backup.stamp")).unwrap().starts_with("keyagent backup "));
    assert_eq!(to.decrypt(EMPTY, &sealed), Err(ErrorCode::UnknownKeyId));
    let generation = to.status("generation");
    let wanted =
        [("default".into(), RestoreOutcome::Replaced, 1), ("openai".into(), RestoreOutcome::Added, 1)];
    assert_eq!(outcomes(send(&mut to, &all[0], true)), wanted);
    assert_eq!(to.status("generation"), generation, "a dry run changes nothing");
    assert_eq!(outcomes(send(&mut to, &all[0], false)), wanted);
    assert_eq!(to.decrypt(EMPTY, &sealed).unwrap(), b"secret");
    let again = outcomes(send(&mut to, &all[0], false));
    assert!(again.iter().all(|(_, outcome, _)| *outcome == RestoreOutcome::Same), "{again:?}");
    drop((from, to));
    a.terminate();
    b.terminate();
    // After a restart the keys are there.
    let b = other.start();
    assert_eq!(b.client().decrypt(EMPTY, &sealed).unwrap(), b"secret");
    b.terminate();
    log::verify(&home);
    log::verify(&other);
    let (created, restored) = (log::lines(&home), log::lines(&other));
    let created: Vec<_> = created.iter().filter(|line| line["event_type"] == "backup_create").collect();
    assert_eq!((created.len(), &created[0]["metadata"]["count"]), (1, &2.into()));
    let name = created[0]["metadata"]["reason"].as_str().unwrap().split(' ').nth(1).unwrap().to_owned();
    let restored: Vec<_> = restored.iter().filter(|line| line["event_type"] == "backup_restore").collect();
    let keys: Vec<_> = restored.iter().map(|line| line["provider"].as_str()).collect();
    assert_eq!(keys, [None, None, Some("default"), Some("openai"), None]);
    assert_eq!(restored[0]["metadata"]["reason"], "dry run");
    assert!(restored[1]["metadata"]["reason"].as_str().unwrap().contains(&name), "both logs name one backup");
}

/// Whoever has the backup key makes pages with any number, and each answer says something of the keys here.
#[test]
fn every_look_at_a_page_is_recorded() {
    let (home, other) = (Home::initialized(), Home::initialized());
    let (a, b) = (home.start(), other.start());
    let (mut from, mut to) = (a.client(), b.client());
    for number in 0..300 {
        from.create_key(&format!("customers/{number:04}")).unwrap();
    }
    let all = pages(&mut from, "");
    assert!(all.len() > 1);
    for page in [&all[1], &all[1], &all[0]] {
        send(&mut to, page, true).success().unwrap();
    }
    drop(to);
    b.terminate();
    let lines = log::lines(&other);
    let looks = lines.iter().filter(|line| line["event_type"] == "backup_restore");
    assert_eq!(looks.filter(|line| line["metadata"]["reason"] == "dry run").count(), 3);
}

#[test]
fn what_is_not_asked_rightly_is_refused_and_recorded() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let page = pages(&mut client, "").remove(0);
    let error = |reply: client::Reply| reply.error();
    assert_eq!(error(ask(&mut client, "none", &[])), ErrorCode::UnknownKey);
    assert_eq!(error(ask(&mut client, "default\ndefault", &[])), ErrorCode::InvalidRequest);
    assert_eq!(error(ask(&mut client, "", &[7; 36])), ErrorCode::InvalidRequest);
    let short = BackupCreateRequest { backup_key: &[1; 31], keys: "", after: &[] };
    assert_eq!(client.ask::<BackupCreate>(&short).error(), ErrorCode::InvalidRequest);
    assert_eq!(error(send(&mut client, &page[..page.len() - 1], false)), ErrorCode::BackupNotOpened);
    assert_eq!(error(send(&mut client, b"something else", false)), ErrorCode::BackupDamaged);
    let other = BackupRestoreRequest { backup_key: &[1; 32], page: &page, dry_run: true, promote: false };
    assert_eq!(client.ask::<BackupRestore>(&other).error(), ErrorCode::BackupNotOpened);
    client.lock().unwrap();
    assert_eq!(error(ask(&mut client, "", &[])), ErrorCode::Locked);
    assert_eq!(error(send(&mut client, &page, false)), ErrorCode::Locked);
    drop(client);
    daemon.terminate();
    let lines = log::lines(&home);
    let failed = |event: &str| {
        lines.iter().filter(|line| line["event_type"] == event && line["success"] == false).count()
    };
    assert_eq!((failed("backup_create"), failed("backup_restore")), (5, 4));
}

/// Sealed something: what the backup calls `default` is refused, and so is the page with it.
#[test]
fn a_used_default_stays_and_keeps_its_page_out() {
    let (home, other) = (Home::initialized(), Home::initialized());
    let (a, b) = (home.start(), other.start());
    let (mut from, mut to) = (a.client(), b.client());
    from.create_key("openai").unwrap();
    let page = pages(&mut from, "").remove(0);
    let sealed = to.encrypt(EMPTY, b"here").unwrap();
    let (generation, keyring) = (to.status("generation"), fs::read(other.state_file("keyring")).unwrap());
    let looked = outcomes(send(&mut to, &page, true));
    assert_eq!(looked[0], ("default".into(), RestoreOutcome::Differs, 0));
    let refused = send(&mut to, &page, false);
    assert!(words(&refused).contains("another key has this name here"), "{}", words(&refused));
    assert_eq!(refused.error(), ErrorCode::KeyDiffers);
    assert_eq!(to.status("generation"), generation);
    assert_eq!(fs::read(other.state_file("keyring")).unwrap(), keyring);
    assert_eq!(to.decrypt(EMPTY, &sealed).unwrap(), b"here");
    assert_eq!(to.keys().len(), 1);
    // A restart does not make it unused.
    drop(to);
    b.terminate();
    let b = other.start();
    assert_eq!(send(&mut b.client(), &page, false).error(), ErrorCode::KeyDiffers);
}

#[test]
fn many_keys_take_many_pages_of_one_state() {
    let (home, other) = (Home::initialized(), Home::initialized());
    let (a, b) = (home.start(), other.start());
    let (mut from, mut to) = (a.client(), b.client());
    let count = bounded(300, 1500);
    for number in 0..count {
        from.create_key(&format!("customers/{number:04}")).unwrap();
    }
    let sealed = from.encrypt_under("customers/0007", EMPTY, b"seven").unwrap();
    let first = ask(&mut from, "", &[]).success().unwrap();
    let next = codec::decode::<BackupCreateReply<'_>>(&first).unwrap().next.to_vec();
    assert!(!next.is_empty());
    from.create_key("meanwhile").unwrap();
    assert_eq!(ask(&mut from, "", &next).error(), ErrorCode::Busy, "the keyring is another one now");
    let all = pages(&mut from, "");
    assert!(all.len() > 1 && all.iter().all(|page| page.len() < 48 << 10), "{}", all.len());
    let headers: Vec<_> = all.iter().map(|page| Page::parse(page).unwrap().header).collect();
    assert!(headers.iter().all(|header| header.origin == headers[0].origin));
    let began = Instant::now();
    let taken: usize = all.iter().map(|page| outcomes(send(&mut to, page, false)).len()).sum();
    eprintln!("{taken} keys in {} pages taken in within {:?}", all.len(), began.elapsed());
    assert_eq!(taken, count + 2);
    assert_eq!(to.decrypt(EMPTY, &sealed).unwrap(), b"seven");
    assert_eq!(to.status("keys"), (count + 2).to_string());
}

/// Whatever somebody seals with `default` while a backup's takes its place opens afterwards: with the old one, which
/// then stayed, or with the new one.
#[test]
fn nothing_that_is_sealed_meanwhile_is_lost() {
    let home = Home::initialized();
    let a = home.start();
    let page = pages(&mut a.client(), "").remove(0);
    let (mut replaced, mut stayed) = (0, 0);
    for round in 0..bounded(8, 60) {
        let other = Home::initialized();
        let b = other.start();
        let (begin, mut to, mut other_client) = (Barrier::new(2), b.client(), b.client());
        let (refused, sealed) = thread::scope(|scope| {
            let sealing = scope.spawn(|| {
                begin.wait();
                thread::sleep(Duration::from_micros(300 * round));
                // Refused for a moment, if it comes in between.
                (0..20).filter_map(|_| other_client.encrypt(EMPTY, b"meanwhile").ok()).collect::<Vec<_>>()
            });
            begin.wait();
            let done = send(&mut to, &page, false).success();
            (done.err(), sealing.join().unwrap())
        });
        match refused {
            None => replaced += 1,
            Some(code) => {
                assert_eq!(code, ErrorCode::KeyDiffers);
                stayed += 1;
            }
        }
        for value in &sealed {
            assert_eq!(to.decrypt(EMPTY, value).as_deref(), Ok(&b"meanwhile"[..]), "round {round}");
        }
        assert!(to.encrypt(EMPTY, b"afterwards").is_ok(), "default is served again");
    }
    eprintln!("{replaced} times replaced, {stayed} times not");
}

//! A locked agent: what locks it, what it answers, and how long wrong keys wait.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    op::{Empty, OperationCode, Unlock, UnlockRequest},
};

use crate::{
    as_user,
    support::{Client, Daemon, Home, am_root, client, log, random_key, skipped, unhex},
};

/// How long until it is locked; panics when that takes longer than `most`.
fn time_until_locked(
    client: &mut Client,
    most: Duration,
    mut meanwhile: impl FnMut(&mut Client),
) -> Duration {
    let began = Instant::now();
    while client.status("state") == "unlocked" {
        assert!(began.elapsed() < most, "it does not lock by itself");
        meanwhile(client);
        sleep(Duration::from_millis(50));
    }
    began.elapsed()
}

fn start(home: &Home, text: &str) -> Daemon {
    let config = home.configure(text);
    home.start_with(&["--config", config.to_str().unwrap()])
}

#[test]
fn an_idle_agent_locks_itself_however_often_it_is_looked_at() {
    let home = Home::initialized();
    let daemon = start(&home, "[lock]\nidle = \"2s\"\n");
    let mut client = daemon.client();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        client.encrypt(EMPTY, b"in use").unwrap();
        sleep(Duration::from_millis(100));
    }
    let took = time_until_locked(&mut client, Duration::from_secs(10), |client| drop(client.health()));
    assert!(took > Duration::from_millis(1500), "{took:?}");
    daemon.terminate();
    let lines = log::lines(&home);
    let locks: Vec<_> = lines.iter().filter(|line| line["event_type"] == "lock").collect();
    assert_eq!(locks.len(), 1);
    assert_eq!(locks[0]["metadata"]["reason"], "idle");
}

#[test]
fn after_its_time_an_agent_locks_itself_however_busy_it_is() {
    let home = Home::initialized();
    let daemon = start(&home, "[lock]\nabsolute = \"2s\"\n");
    let mut client = daemon.client();
    for _ in 0..2 {
        // Refused once it is locked.
        let busy = |client: &mut Client| drop(client.encrypt(EMPTY, b"busy"));
        let took = time_until_locked(&mut client, Duration::from_secs(10), busy);
        assert!(took > Duration::from_secs(1), "{took:?}");
        client.unlock(&[]).unwrap();
    }
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn a_reload_sets_the_times_anew() {
    let home = Home::initialized();
    let daemon = start(&home, "");
    let mut client = daemon.client();
    assert_eq!(client.status("lock_idle_seconds"), "");
    home.configure("[lock]\nidle = \"1s\"\n");
    client.reload().unwrap();
    assert_eq!(client.status("lock_idle_seconds"), "1");
    time_until_locked(&mut client, Duration::from_secs(10), |_| {});
    client.unlock(&[]).unwrap();
    home.configure("[lock]\nidle = \"never\"\n");
    client.reload().unwrap();
    sleep(Duration::from_millis(2500));
    assert_eq!(client.status("state"), "unlocked");
    daemon.terminate();
}

#[test]
fn a_locked_agent_answers_exactly_six_operations() {
    const ANSWERED: [OperationCode; 6] = [
        OperationCode::Hello,
        OperationCode::Status,
        OperationCode::Health,
        OperationCode::Unlock,
        OperationCode::AuditQuery,
        OperationCode::Stop,
    ];
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.lock().unwrap();
    let mut ask = |operation: OperationCode| {
        client.send(&codec::frame(7, operation as u16, &Empty {}).unwrap()).unwrap();
        client.expect()
    };
    let others = OperationCode::ALL.iter().filter(|operation| !ANSWERED.contains(operation));
    let mut refused = 0;
    for operation in others {
        assert_eq!(ask(*operation).error(), ErrorCode::Locked, "{operation:?}");
        refused += 1;
    }
    assert_eq!(refused, OperationCode::ALL.len() - ANSWERED.len());
    for operation in ANSWERED {
        // An empty body is none of some of them: what counts is that they are not refused for the lock.
        assert_ne!(ask(operation).code, ErrorCode::Locked as u16, "{operation:?}");
    }
    assert_eq!(daemon.wait().code, Some(0));
    let lines = log::lines(&home);
    let locked = lines.iter().filter(|line| line["metadata"]["code"] == ErrorCode::Locked as u16);
    assert_eq!(locked.count(), refused, "each refusal is recorded once");
}

#[test]
fn wrong_keys_of_an_operator_have_to_wait_and_nobody_else_does() {
    const NAME: &str = "wrong_keys_of_an_operator_have_to_wait_and_nobody_else_does";
    const OPERATOR: u32 = 54_322;
    const ANOTHER: u32 = 54_323;
    if !am_root() {
        return skipped(NAME, "needs root to become another user");
    }
    let home = Home::initialized();
    let daemon = start(&home, "[operators]\nuids = [54322, 54323]\n");
    as_user::open_for_all(&home);
    let mut client = daemon.client();
    client.lock().unwrap();
    let wrong = unhex(&random_key());
    let attempt = |id: u32, master: &[u8]| client::request::<Unlock>(id, &UnlockRequest { master });
    let right = home.master();
    let frames: Vec<_> = (1..5).map(|id| attempt(id, &wrong)).chain([attempt(5, &right)]).collect();
    let (refused, busy) = (ErrorCode::WrongMasterKey as u16, ErrorCode::Busy as u16);
    let codes = as_user::send(daemon.socket(), OPERATOR, &frames);
    assert_eq!(codes, [refused, refused, refused, busy, busy], "even the right key waits");
    let again = as_user::send(daemon.socket(), OPERATOR, &[attempt(1, &[])]);
    assert_eq!(again, [busy], "and another connection");
    // Neither does another operator, nor the owner, however often the key is wrong.
    assert_eq!(as_user::send(daemon.socket(), ANOTHER, &[attempt(1, &wrong)]), [refused]);
    for _ in 0..5 {
        assert_eq!(client.unlock(&wrong), Err(ErrorCode::WrongMasterKey));
    }
    assert!(client.unlock(&right).unwrap().changed);
    client.lock().unwrap();
    sleep(Duration::from_millis(1100));
    assert_eq!(as_user::send(daemon.socket(), OPERATOR, &[attempt(1, &right)]), [0]);
    daemon.terminate();
    let lines = log::lines(&home);
    let (done, failed): (Vec<_>, Vec<_>) =
        lines.iter().filter(|line| line["event_type"] == "unlock").partition(|line| line["success"] == true);
    assert_eq!((done.len(), failed.len()), (2, 12));
}

/// An agent that is unlocked makes nothing of a key: it compares.
#[test]
fn a_key_for_an_unlocked_agent_is_compared_and_nothing_else() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let (keyring, aside) = (home.state_file("keyring"), home.state_file("aside"));
    std::fs::rename(&keyring, &aside).unwrap();
    assert!(!client.unlock(&home.master()).unwrap().changed, "the keyring is not read again");
    assert_eq!(client.unlock(&unhex(&random_key())), Err(ErrorCode::WrongMasterKey));
    std::fs::rename(&aside, &keyring).unwrap();
    client.encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
    log::lines(&home);
}

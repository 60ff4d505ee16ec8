//! The life of keys: versions staged, promoted, retired, reinstated, stopped, destroyed. What was acknowledged holds
//! from the reply on, over restarts and kills, and each operation has exactly one record.

mod crowds;
mod meanwhile;
mod scheduler;
mod shown;
mod table;

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    op::{
        KeyConfigure, KeyConfigureReply, KeyConfigureRequest, KeyDestroy, KeyDestroyReply, KeyDestroyRequest,
        KeyDisable, KeyDisableRequest, KeyEnable, KeyEnableRequest, KeyPromote, KeyReinstate, KeyRetire,
        KeyRotate, KeyRotateReply, KeyRotateRequest, KeyShow, KeyShowReply, KeyShowRequest, KeyStanding,
        Operation, Takeover, VersionReply, VersionRequest,
    },
};
use keyagent_core::keyring::State;

use crate::support::{Client, Home, agent::words, client::Reply, log};

/// Nothing of a key is changed.
pub(crate) const NOTHING: KeyConfigureRequest<'static> = KeyConfigureRequest {
    key: "default",
    enabled: None,
    interval_days: None,
    grace_period_days: None,
    auto_retire: None,
    environment: None,
    purpose: None,
    owner: None,
    url: None,
    note: None,
};
/// As in docs/FORMATS.md, section 3.
const COMPROMISE: u8 = 2;
const MANUAL: u8 = 5;

/// What `key_destroy` answered.
#[derive(Debug, PartialEq, Eq)]
struct Destroyed {
    versions: Vec<u32>,
    needed: Vec<u32>,
    from_master: bool,
}

impl Client {
    fn rotate_for(&mut self, key: &str, reason: u8, takeover: Takeover) -> Result<KeyRotateReply, ErrorCode> {
        let request = KeyRotateRequest { key, reason, takeover, lift: KeyStanding::Active, note: "a test" };
        let body = self.ask::<KeyRotate>(&request).success()?;
        Ok(codec::decode(&body).unwrap())
    }

    /// `key_rotate` by hand.
    pub(crate) fn rotate(&mut self, key: &str, takeover: Takeover) -> Result<KeyRotateReply, ErrorCode> {
        self.rotate_for(key, MANUAL, takeover)
    }

    fn of_version<O>(&mut self, key: &str, version: u32) -> Result<VersionReply, ErrorCode>
    where
        O: for<'a> Operation<Request<'a> = VersionRequest<'a>>,
    {
        let body = self.ask::<O>(&VersionRequest { key, version, reason: "a test" }).success()?;
        Ok(codec::decode(&body).unwrap())
    }

    /// `key_promote`, `key_retire`, `key_reinstate`.
    pub(crate) fn promote(&mut self, key: &str, version: u32) -> Result<VersionReply, ErrorCode> {
        self.of_version::<KeyPromote>(key, version)
    }

    pub(crate) fn retire(&mut self, key: &str, version: u32) -> Result<VersionReply, ErrorCode> {
        self.of_version::<KeyRetire>(key, version)
    }

    pub(crate) fn reinstate(&mut self, key: &str, version: u32) -> Result<VersionReply, ErrorCode> {
        self.of_version::<KeyReinstate>(key, version)
    }

    fn stop_version(&mut self, key: &str, version: u32, compromised: bool) -> Reply {
        self.ask::<KeyDisable>(&KeyDisableRequest { key, version, compromised, reason: "a test" })
    }

    fn start_version(&mut self, key: &str, version: u32, lift_compromised: bool) -> Reply {
        self.ask::<KeyEnable>(&KeyEnableRequest { key, version, lift_compromised, reason: "a test" })
    }

    fn destroy(&mut self, key: &str, version: u32, force: bool) -> Result<Destroyed, ErrorCode> {
        let request = KeyDestroyRequest { key, version, force, reason: "a test" };
        let body = self.ask::<KeyDestroy>(&request).success()?;
        let reply = codec::decode::<KeyDestroyReply<'_>>(&body).unwrap();
        let needed = reply.needed.iter().map(|needed| needed.version).collect();
        Ok(Destroyed { versions: reply.destroyed, needed, from_master: reply.from_master })
    }

    /// `key_configure`: what has another value now, and when the key rotates next.
    pub(crate) fn configure_key(
        &mut self,
        request: &KeyConfigureRequest<'_>,
    ) -> Result<(Vec<String>, u64), ErrorCode> {
        let body = self.ask::<KeyConfigure>(request).success()?;
        let reply = codec::decode::<KeyConfigureReply<'_>>(&body).unwrap();
        Ok((reply.changed.iter().map(ToString::to_string).collect(), reply.next_rotation_at))
    }

    /// `key_show`: what is there, as `look` takes it.
    fn show<R>(&mut self, key: &str, look: impl FnOnce(KeyShowReply<'_>) -> R) -> Result<R, ErrorCode> {
        let body = self.ask::<KeyShow>(&KeyShowRequest { key }).success()?;
        Ok(look(codec::decode(&body).unwrap()))
    }

    /// The states of a key's versions, in order.
    pub(crate) fn states(&mut self, key: &str) -> Vec<State> {
        let states = |shown: KeyShowReply<'_>| -> Vec<State> {
            shown.key.versions.iter().map(|version| State::from_byte(version.state).unwrap()).collect()
        };
        self.show(key, states).unwrap()
    }
}

#[test]
fn a_version_is_staged_promoted_retired_and_reinstated() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("k").unwrap();
    let first = client.encrypt_under("k", EMPTY, b"1").unwrap();
    let staged = client.rotate("k", Takeover::Staged).unwrap();
    assert_eq!((staged.version, staged.replaced, staged.replaced_state), (2, 0, 0));
    assert_eq!(client.rotate("k", Takeover::Staged), Err(ErrorCode::WrongState), "one at a time");
    // New data is sealed with the version before.
    let still = client.encrypt_under("k", EMPTY, b"still").unwrap();
    assert_eq!(still[1..33], first[1..33]);
    let promoted = client.promote("k", 0).unwrap();
    assert_eq!((promoted.version, promoted.replaced, promoted.key_id), (2, 1, staged.key_id));
    let second = client.encrypt_under("k", EMPTY, b"2").unwrap();
    assert_eq!(second[1..33], staged.key_id);
    assert_eq!(client.promote("k", 0), Err(ErrorCode::WrongState), "nothing is staged");
    let again = client.promote("k", 2).unwrap();
    assert_eq!((again.from, again.to, again.replaced), (2, 2, 0), "it is so already");
    let mut others: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    let opens = |client: &mut Client, envelope: &[u8]| client.decrypt(EMPTY, envelope);
    for other in &mut others {
        assert_eq!(opens(other, &first).unwrap(), b"1");
    }
    client.retire("k", 1).unwrap();
    for other in &mut others {
        assert_eq!(opens(other, &first), Err(ErrorCode::VersionRetired), "at once, on every connection");
        assert_eq!(opens(other, &second).unwrap(), b"2");
    }
    assert_eq!(ErrorCode::VersionRetired.exit_code(), 79);
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(opens(&mut client, &first), Err(ErrorCode::VersionRetired));
    client.reinstate("k", 1).unwrap();
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(opens(&mut client, &first).unwrap(), b"1");
    assert_eq!(opens(&mut client, &still).unwrap(), b"still");
    assert_eq!(client.states("k"), [State::Grace, State::Primary]);
    daemon.terminate();
    let lines = log::lines(&home);
    let of = |event: &str| {
        let of = lines.iter().filter(|line| line["event_type"] == event);
        of.map(|line| {
            let metadata = &line["metadata"];
            assert_eq!(line["provider"], "k");
            [&metadata["version"], &metadata["from"], &metadata["to"]].map(ToString::to_string).join(" ")
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(of("key_rotate"), [r#"2 null "staged""#, "null null null"]);
    let promotions = [r#"2 "staged" "primary""#, "null null null", r#"2 "primary" "primary""#];
    assert_eq!(of("key_promote"), promotions);
    assert_eq!(of("key_retire"), [r#"1 "grace" "retired""#]);
    assert_eq!(of("key_reinstate"), [r#"1 "retired" "grace""#]);
    let rotated = lines.iter().find(|line| line["event_type"] == "key_rotate").unwrap();
    assert_eq!(
        (&rotated["metadata"]["reason"], &rotated["metadata"]["note"]),
        (&"manual".into(), &"a test".into())
    );
}

#[test]
fn a_staged_version_opens_what_another_host_sealed_with_it() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.rotate("default", Takeover::Staged).unwrap();
    daemon.terminate();
    // The other host has the same keyring and promotes first.
    let other = Home::with_key(&std::fs::read_to_string(home.key()).unwrap());
    crate::support::copy_files(&home.state(), &other.state());
    let (here, there) = (home.start(), other.start());
    assert_eq!(there.client().promote("default", 0).unwrap().version, 2);
    let by_the_new = there.client().encrypt(EMPTY, b"by the new one").unwrap();
    let by_the_old = here.client().encrypt(EMPTY, b"by the old one").unwrap();
    assert_ne!(by_the_new[1..33], by_the_old[1..33]);
    for daemon in [&here, &there] {
        assert_eq!(daemon.client().decrypt(EMPTY, &by_the_new).unwrap(), b"by the new one");
        assert_eq!(daemon.client().decrypt(EMPTY, &by_the_old).unwrap(), b"by the old one");
    }
}

#[test]
fn in_an_emergency_the_old_version_is_refused_with_the_reply() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let leaked = client.encrypt(EMPTY, b"1").unwrap();
    let done = client.rotate_for("default", COMPROMISE, Takeover::RefuseOld).unwrap();
    assert_eq!((done.replaced, done.replaced_state), (1, State::Compromised as u8));
    assert_eq!(client.decrypt(EMPTY, &leaked), Err(ErrorCode::VersionStopped));
    client.encrypt(EMPTY, b"new data goes on").unwrap();
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.decrypt(EMPTY, &leaked), Err(ErrorCode::VersionStopped));
    let reply = client.start_version("default", 1, false);
    assert_eq!(reply.error(), ErrorCode::WrongState);
    assert!(words(&reply).contains("--lift-compromised"), "{}", words(&reply));
    assert_eq!(client.start_version("default", 1, true).code, 0);
    assert_eq!(client.decrypt(EMPTY, &leaked).unwrap(), b"1");
}

#[test]
fn what_is_destroyed_is_gone_and_its_name_stays_taken() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("k").unwrap();
    let first = client.encrypt_under("k", EMPTY, b"1").unwrap();
    client.rotate("k", Takeover::Grace).unwrap();
    let second = client.encrypt_under("k", EMPTY, b"2").unwrap();
    assert_eq!(client.destroy("k", 1, true), Err(ErrorCode::WrongState), "it still opens data");
    for (envelope, value) in [(&first, b"1"), (&second, b"2")] {
        assert_eq!(client.decrypt(EMPTY, envelope).unwrap(), value);
    }
    client.retire("k", 1).unwrap();
    assert_eq!(client.destroy("k", 1, false), Err(ErrorCode::StillNeeded), "it opened data just now");
    let gone = client.destroy("k", 1, true).unwrap();
    assert_eq!(gone, Destroyed { versions: vec![1], needed: vec![1], from_master: false });
    let again = client.destroy("k", 1, false).unwrap();
    assert_eq!(again, Destroyed { versions: vec![], needed: vec![], from_master: false });
    assert_eq!(client.decrypt(EMPTY, &first), Err(ErrorCode::UnknownKeyId));
    // The whole key: only while it is stopped, and never `default`.
    assert_eq!(client.destroy("k", 0, true), Err(ErrorCode::WrongState));
    assert_eq!(client.destroy("default", 0, true), Err(ErrorCode::WrongState));
    client.disable("k").unwrap();
    let whole = KeyDestroyRequest { key: "k", version: 0, force: false, reason: "" };
    let reply = client.ask::<KeyDestroy>(&whole);
    assert_eq!(reply.error(), ErrorCode::StillNeeded);
    assert!(words(&reply).contains("keyagent keys destroy k --whole-key --force"), "{}", words(&reply));
    assert_eq!(client.destroy("k", 0, true).unwrap().versions, [2]);
    assert_eq!(client.decrypt(EMPTY, &second), Err(ErrorCode::UnknownKeyId));
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    for envelope in [&first, &second] {
        assert_eq!(client.decrypt(EMPTY, envelope), Err(ErrorCode::UnknownKeyId));
    }
    assert_eq!(client.states("k"), [State::Destroyed, State::Destroyed]);
    assert_eq!(client.create_key("k"), Err(ErrorCode::KeyExists));
    assert_eq!(client.rotate("k", Takeover::Grace), Err(ErrorCode::WrongState));
    assert_eq!(client.enable("k", true), Err(ErrorCode::WrongState));
    // Whoever has the master key can make this one again, and is told so.
    client.rotate("default", Takeover::Grace).unwrap();
    client.retire("default", 1).unwrap();
    assert!(client.destroy("default", 1, true).unwrap().from_master);
    daemon.terminate();
    let lines = log::lines(&home);
    let forced: Vec<_> = lines.iter().filter(|line| line["event_type"] == "key_destroy").collect();
    assert_eq!(forced.len(), 9, "each attempt is one line");
    let of = |line: &serde_json::Value| (line["success"] == true, line["metadata"]["force"] == true);
    let seen: Vec<_> = forced.iter().map(|line| of(line)).collect();
    let [done, tried] = [true, false];
    assert_eq!(
        seen,
        [
            (tried, true),
            (tried, false),
            (done, true),
            (done, false),
            (tried, true),
            (tried, true),
            (tried, false),
            (done, true),
            (done, true)
        ]
    );
}

#[test]
fn the_kill_switch_brings_back_what_stood_before() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    for key in ["one", "two"] {
        client.create_key(key).unwrap();
    }
    client.disable("one").unwrap();
    assert_eq!(client.disable("").unwrap().changed, 2);
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.disable("two").unwrap().changed, 1, "this one is to stay");
    assert_eq!(client.enable("", false).unwrap().changed, 1);
    client.encrypt(EMPTY, b"x").unwrap();
    for key in ["one", "two"] {
        assert_eq!(client.encrypt_under(key, EMPTY, b"x"), Err(ErrorCode::KeyDisabled));
        assert_eq!(client.enable(key, false).unwrap().changed, 1);
        client.encrypt_under(key, EMPTY, b"x").unwrap();
    }
    assert!(client.watch(0, 0).unwrap().events.iter().any(|(.., text)| text.contains("as they were before")));
}

#[test]
fn a_refusal_says_what_to_type() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("k").unwrap();
    client.rotate("k", Takeover::Staged).unwrap();
    let refused = |reply: Reply, code, typed: &str| {
        assert_eq!(reply.error(), code, "{}", words(&reply));
        assert!(words(&reply).contains(typed), "{typed}: {}", words(&reply));
    };
    let version = |version| VersionRequest { key: "k", version, reason: "" };
    let code = ErrorCode::WrongState;
    refused(client.ask::<KeyRetire>(&version(1)), code, "keyagent keys rotate k");
    refused(client.ask::<KeyRetire>(&version(2)), code, "keyagent keys disable k --version 2");
    refused(client.ask::<KeyRetire>(&version(9)), code, "keyagent keys show k");
    refused(client.stop_version("k", 1, true), code, "keyagent keys rotate k --emergency");
    let staged = KeyRotateRequest {
        key: "k",
        reason: MANUAL,
        takeover: Takeover::Staged,
        lift: KeyStanding::Active,
        note: "",
    };
    refused(client.ask::<KeyRotate>(&staged), code, "keyagent keys promote k 2");
    let request = KeyRotateRequest { takeover: Takeover::Grace, ..staged };
    for bad in [
        KeyRotateRequest { reason: 0, ..request },
        KeyRotateRequest { reason: 9, ..request },
        KeyRotateRequest { note: "a\nb", ..request },
        KeyRotateRequest { key: "No Name", ..request },
    ] {
        assert_eq!(client.ask::<KeyRotate>(&bad).error(), ErrorCode::InvalidRequest, "{bad:?}");
    }
    let unknown = KeyRotateRequest { key: "nothing", ..request };
    assert_eq!(client.ask::<KeyRotate>(&unknown).error(), ErrorCode::UnknownKey);
    client.brake("k", true);
    let lifts = KeyRotateRequest { lift: KeyStanding::Disabled, ..request };
    assert_eq!(client.ask::<KeyRotate>(&lifts).error(), ErrorCode::KeyCompromised);
    let lifts = KeyRotateRequest { lift: KeyStanding::Compromised, ..request };
    let reply = client.ask::<KeyRotate>(&lifts).success().unwrap();
    let reply: KeyRotateReply = codec::decode(&reply).unwrap();
    assert_eq!((reply.lifted, reply.version), (KeyStanding::Compromised, 3));
    client.encrypt_under("k", EMPTY, b"x").unwrap();
}

//! `rewrap`, `hmac`, `jwt_sign`, `jwt_verify`, `random` and `batch` on a live daemon: what comes back, what is refused,
//! and what the log says of it.

mod batches;
mod large;

use keyagent_common::{
    codec,
    context::{self, EMPTY},
    error::ErrorCode,
    op::{
        Batch, BatchReply, BatchRequest, DataKeyOpen, DataKeyOpenReply, DataKeyOpenRequest, DataKeyReply,
        HmacReply, HmacRequest, HmacTag, JwtSign, JwtSignReply, JwtSignRequest, JwtVerify, JwtVerifyReply,
        JwtVerifyRequest, KeyCreate, KeyCreateRequest, Maintenance, MaintenanceRequest, Operation, Random,
        RandomReply, RandomRequest, Rewrap, RewrapReply, RewrapRequest, Takeover,
    },
};

use crate::support::{Client, Home, client::Reply, log};

impl Client {
    fn create_of(&mut self, key: &str, class: u8) {
        assert_eq!(self.ask::<KeyCreate>(&KeyCreateRequest { key, class, note: "" }).code, 0);
    }

    fn rewrap(&mut self, context: &[u8], envelope: &[u8]) -> Result<(u32, bool, Vec<u8>), ErrorCode> {
        let body = self.ask::<Rewrap>(&RewrapRequest { context, envelope }).success()?;
        let reply = codec::decode::<RewrapReply<'_>>(&body).unwrap();
        Ok((reply.version, reply.changed, reply.envelope.to_vec()))
    }

    fn look_up(&mut self, key: &str, value: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, ErrorCode> {
        let request = HmacRequest { key, context: EMPTY, value, tag_bytes: 16, every_version: true };
        let body = self.ask::<HmacTag>(&request).success()?;
        let reply = codec::decode::<HmacReply<'_>>(&body).unwrap();
        Ok(reply.tags.iter().map(|tag| (tag.version, tag.tag.to_vec())).collect())
    }

    fn sign(&mut self, key: &str, claims: &str) -> Result<String, ErrorCode> {
        let request = JwtSignRequest { key, claims: claims.as_bytes() };
        let body = self.ask::<JwtSign>(&request).success()?;
        Ok(codec::decode::<JwtSignReply<'_>>(&body).unwrap().token.to_owned())
    }

    fn verify(&mut self, key: &str, token: &str) -> Result<(u32, bool, String), ErrorCode> {
        let request = JwtVerifyRequest { key, token, leeway_seconds: 0 };
        let body = self.ask::<JwtVerify>(&request).success()?;
        let reply = codec::decode::<JwtVerifyReply<'_>>(&body).unwrap();
        Ok((reply.version, reply.current, String::from_utf8(reply.claims.to_vec()).unwrap()))
    }

    fn random(&mut self, bytes: u32) -> Result<Vec<u8>, ErrorCode> {
        let body = self.ask::<Random>(&RandomRequest { bytes }).success()?;
        Ok(codec::decode::<RandomReply<'_>>(&body).unwrap().random.to_vec())
    }

    /// Replies to the items.
    fn batch<O: Operation>(&mut self, items: &[O::Request<'_>]) -> Result<Vec<Reply>, ErrorCode> {
        let items = frames::<O>(items);
        let request = BatchRequest { operation: O::CODE as u16, items: &items };
        Ok(results(&self.ask::<Batch>(&request).success()?))
    }
}

/// Request frames with the ids 0, 1, 2 and so on.
fn frames<O: Operation>(items: &[O::Request<'_>]) -> Vec<u8> {
    let frames = (0..).zip(items).map(|(id, item)| crate::support::client::request::<O>(id, item));
    frames.flatten().collect()
}

/// The replies in the body of a reply to a batch, in order.
fn results(body: &[u8]) -> Vec<Reply> {
    use keyagent_common::frame::{HEADER_BYTES, Header};
    let mut rest = codec::decode::<BatchReply<'_>>(body).unwrap().results;
    let mut replies = Vec::new();
    while !rest.is_empty() {
        let header = Header::parse(rest).unwrap().unwrap();
        let body = rest[HEADER_BYTES..header.frame_bytes()].to_vec();
        assert_eq!(header.request_id as usize, replies.len());
        replies.push(Reply { id: header.request_id, code: header.code, body });
        rest = &rest[header.frame_bytes()..];
    }
    replies
}

/// A time that a token made now has not reached.
fn claims(text: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!(r#"{{"exp":{},"text":"{text}"}}"#, now + 600)
}

#[test]
fn values_and_data_keys_move_to_the_version_that_is_primary_now() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let row = context::encode([("row", &b"7"[..])]).unwrap();
    let old = client.encrypt(&row, b"needle-of-a-value").unwrap();
    let made = client.data_key(2).unwrap();
    let made = codec::decode::<DataKeyReply<'_>>(&made).unwrap();
    client.rotate("default", Takeover::Grace).unwrap();
    let (version, changed, new) = client.rewrap(&row, &old).unwrap();
    assert_eq!((version, changed, new.len()), (2, true, old.len()));
    assert_eq!(client.decrypt(&row, &new).unwrap(), b"needle-of-a-value");
    assert_eq!(client.rewrap(&row, &new), Ok((2, false, new.clone())));
    assert_eq!(client.rewrap(EMPTY, &old), Err(ErrorCode::DoesNotOpen));
    let (_, _, data_key) = client.rewrap(EMPTY, made.envelope).unwrap();
    let open = DataKeyOpenRequest { context: EMPTY, envelope: &data_key };
    let opened = client.ask::<DataKeyOpen>(&open).success().unwrap();
    assert_eq!(codec::decode::<DataKeyOpenReply<'_>>(&opened).unwrap().plain, made.plain);
    let on = MaintenanceRequest { on: true, reason: "a test" };
    assert_eq!(client.ask::<Maintenance>(&on).code, 0);
    assert_eq!(client.rewrap(&row, &old), Err(ErrorCode::Maintenance));
    assert_eq!(client.rewrap(&row, &new), Ok((2, false, new.clone())));
    daemon.terminate();
    let lines = log::lines(&home);
    let rewraps: Vec<_> = lines.iter().filter(|line| line["event_type"] == "rewrap").collect();
    assert_eq!(rewraps.len(), 6);
    assert_eq!(rewraps[0]["metadata"]["version"], 1, "the version that sealed it");
    assert_eq!(rewraps[0]["metadata"]["bytes"], old.len());
    assert!(!serde_json::to_string(&lines).unwrap().contains("needle-of-a-value"));
}

#[test]
fn retired_and_stopped_versions_are_told_by_name_and_open_again() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let old = client.encrypt(EMPTY, b"x").unwrap();
    client.rotate("default", Takeover::Grace).unwrap();
    client.retire("default", 1).unwrap();
    assert_eq!(client.decrypt(EMPTY, &old), Err(ErrorCode::VersionRetired));
    assert_eq!(client.rewrap(EMPTY, &old), Err(ErrorCode::VersionRetired));
    client.reinstate("default", 1).unwrap();
    assert_eq!(client.decrypt(EMPTY, &old).unwrap(), b"x");
    daemon.terminate();
    let lines = log::lines(&home);
    let refused =
        lines.iter().find(|line| line["event_type"] == "decrypt" && line["success"] == false).unwrap();
    assert_eq!((&refused["metadata"]["version"], &refused["metadata"]["code"]), (&1.into(), &25.into()));
}

#[test]
fn keys_of_every_class_serve_their_own_operations_over_a_restart() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_of("index", 2);
    client.create_of("tokens", 3);
    let first = client.look_up("index", b"anna@example.org").unwrap();
    let token = client.sign("tokens", &claims("first")).unwrap();
    client.rotate("index", Takeover::Grace).unwrap();
    client.rotate("tokens", Takeover::Grace).unwrap();
    daemon.terminate();
    let daemon = home.start();
    let mut client = daemon.client();
    let both = client.look_up("index", b"anna@example.org").unwrap();
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    let (version, current, said) = client.verify("tokens", &token).unwrap();
    assert_eq!((version, current), (1, false));
    assert!(said.contains("first"));
    for bit in (0..token.len() * 8).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(changed) = String::from_utf8(changed) else { continue };
        assert_eq!(client.verify("tokens", &changed), Err(ErrorCode::TokenRefused), "bit {bit}");
    }
    let wrong = Err(ErrorCode::WrongClass);
    assert_eq!(client.encrypt_under("index", EMPTY, b"x"), wrong);
    assert_eq!(client.encrypt_under("tokens", EMPTY, b"x"), wrong);
    assert_eq!(client.look_up("default", b"x").map(|_| ()), Err(ErrorCode::WrongClass));
    assert_eq!(client.sign("index", &claims("x")).map(|_| ()), Err(ErrorCode::WrongClass));
    assert_eq!(client.verify("default", &token).map(|_| ()), Err(ErrorCode::WrongClass));
    assert_eq!(client.sign("tokens", r#"{"exp":1}"#).map(|_| ()), Err(ErrorCode::InvalidRequest));
    daemon.terminate();
    let lines = log::lines(&home);
    assert_eq!((log::count(&lines, "hmac"), log::count(&lines, "jwt_sign")), (3, 3));
    let all = serde_json::to_string(&lines).unwrap();
    assert!(!all.contains("anna") && !all.contains(&token));
}

#[test]
fn random_bytes_come_in_any_number_up_to_the_limit() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut seen = std::collections::BTreeSet::new();
    for bytes in [16, 64, 65, 4096, 4096] {
        assert!(seen.insert(client.random(bytes).unwrap()));
    }
    for bytes in [0, 4097] {
        assert_eq!(client.random(bytes), Err(ErrorCode::InvalidRequest));
    }
    // Many in one burst: their replies are longer than a worker's output.
    let request: Vec<u8> = (0..100)
        .flat_map(|id| crate::support::client::request::<Random>(id, &RandomRequest { bytes: 4096 }))
        .collect();
    client.send(&request).unwrap();
    for id in 0..100 {
        let reply = client.expect();
        assert_eq!((reply.id, reply.code), (id, 0));
        assert!(seen.insert(codec::decode::<RandomReply<'_>>(&reply.body).unwrap().random.to_vec()));
    }
    daemon.terminate();
    let lines = log::lines(&home);
    assert_eq!(log::count(&lines, "random"), 107);
    assert!(
        lines.iter().filter(|line| line["event_type"] == "random").all(|line| line["provider"].is_null())
    );
}

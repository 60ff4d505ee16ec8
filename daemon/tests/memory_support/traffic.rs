//! Ten thousand mixed requests, good and bad, alone and pipelined, of 1 byte to 1 MiB.

mod derived;

use keyagent_common::{
    codec, context,
    envelope::Kind,
    error::ErrorCode,
    frame::MAX_MESSAGE_BYTES,
    op::{
        AuditQuery, AuditQueryRequest, DataKey, DataKeyOpen, DataKeyOpenReply, DataKeyOpenRequest,
        DataKeyReply, DataKeyRequest, Encrypt, EncryptReply, EncryptRequest, OnBehalfOf,
    },
};

use crate::support::{Client, Daemon, client};

/// Connections in use, so that every worker has work.
const CONNECTIONS: usize = 4;
/// Keys in use, made by the first run.
const KEYS: [&str; 5] = ["default", "billing/cards", "openai", "tenants/a", "tenants/b"];
/// The one that is refused and served again.
const BRAKED: &str = "braked";
/// How much is remembered.
const REMEMBERED: usize = 64;

/// What was asked for, and what came back.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Requests answered.
    pub(crate) requests: usize,
    /// Of them, those that failed on purpose.
    pub(crate) refused: usize,
    /// Of them, operations on the agent and on its keys.
    pub(crate) on_the_agent: usize,
    /// Of them, those that came in a burst with others.
    pub(crate) pipelined: usize,
    /// Rotations of keys.
    rotations: usize,
    /// The last messages.
    pub(crate) sealed: Vec<Sealed>,
    /// The last data keys.
    pub(crate) data_keys: Vec<[u8; 32]>,
    random: Random,
}

/// An envelope and what is in it.
pub(crate) struct Sealed {
    pub(crate) envelope: Vec<u8>,
    pub(crate) plaintext: Vec<u8>,
}

/// Xorshift: which request comes next has to vary, not to be unforeseeable.
struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

impl Traffic {
    /// Sends at least so many requests; every answer is checked.
    pub(crate) fn run(&mut self, daemon: &Daemon, requests: usize) {
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| daemon.client()).collect();
        let until = self.requests + requests;
        for key in KEYS.into_iter().skip(1).chain([BRAKED]) {
            let made = clients[0].create_key(key);
            assert!(made.is_ok() || made == Err(ErrorCode::KeyExists), "{made:?}");
        }
        derived::make_keys(&mut clients[0]);
        while self.requests < until {
            let client = &mut clients[self.random.below(CONNECTIONS)];
            let pair = self.requests.to_string();
            let context = match self.random.below(2) {
                0 => context::EMPTY.to_vec(),
                _ => context::encode([("app", &b"memory"[..]), ("n", pair.as_bytes())]).unwrap(),
            };
            match self.random.below(44) {
                40 => self.on_the_agent(client),
                41..=43 => self.derived(client, &context),
                0..=21 => self.message(client, &context),
                22..=31 => self.data_key(client, &context),
                32..=37 => self.refusals(client, &context),
                _ => self.burst(client, &context),
            }
            // Few keys are looked for, so few have to be remembered.
            let (messages, keys) = (self.sealed.len(), self.data_keys.len());
            self.sealed.drain(..messages.saturating_sub(REMEMBERED));
            self.data_keys.drain(..keys.saturating_sub(REMEMBERED));
        }
    }

    fn plaintext(&mut self) -> Vec<u8> {
        let length = match self.random.below(200) {
            0 => MAX_MESSAGE_BYTES,
            1..=3 => 70_000 + self.random.below(200_000),
            4..=60 => 1 + self.random.below(31),
            _ => 32 + self.random.below(4000),
        };
        let mut text = vec![0; length];
        keyagent_sys::random::fill(&mut text).unwrap();
        text
    }

    fn message(&mut self, client: &mut Client, context: &[u8]) {
        let plaintext = self.plaintext();
        let key = KEYS[self.random.below(KEYS.len())];
        let envelope = client.encrypt_under(key, context, &plaintext).unwrap();
        assert!(client.decrypt(context, &envelope).unwrap() == plaintext);
        self.requests += 2;
        self.sealed.push(Sealed { envelope, plaintext });
    }

    fn data_key(&mut self, client: &mut Client, context: &[u8]) {
        let kind = [Kind::StreamKey, Kind::DataKey][self.random.below(2)] as u8;
        let key = KEYS[self.random.below(KEYS.len())];
        let body = client.ask::<DataKey>(&DataKeyRequest { key, context, kind }).success();
        let body = body.unwrap();
        let made = codec::decode::<DataKeyReply<'_>>(&body).unwrap();
        let request = DataKeyOpenRequest { context, envelope: made.envelope };
        let opened = client.ask::<DataKeyOpen>(&request).success().unwrap();
        assert_eq!(codec::decode::<DataKeyOpenReply<'_>>(&opened).unwrap().plain, made.plain);
        self.requests += 2;
        self.remember(&made);
    }

    fn remember(&mut self, made: &DataKeyReply<'_>) {
        self.data_keys.push(made.plain.try_into().unwrap());
        let (envelope, plaintext) = (made.envelope.to_vec(), made.plain.to_vec());
        self.sealed.push(Sealed { envelope, plaintext });
    }

    fn refusals(&mut self, client: &mut Client, context: &[u8]) {
        let plaintext = self.plaintext();
        let envelope = client.encrypt(context, &plaintext).unwrap();
        let other = context::encode([("other", &b""[..])]).unwrap();
        let mut changed = envelope.clone();
        *changed.last_mut().unwrap() ^= 1;
        let mut foreign = envelope.clone();
        foreign[5] ^= 1;
        for (result, expected) in [
            (client.decrypt(&other, &envelope), ErrorCode::DoesNotOpen),
            (client.decrypt(context, &changed), ErrorCode::DoesNotOpen),
            (client.decrypt(context, &foreign), ErrorCode::UnknownKeyId),
            (client.decrypt(b"junk", &envelope), ErrorCode::InvalidRequest),
            (client.encrypt_under("no-such-key", context, b"x"), ErrorCode::UnknownKey),
        ] {
            assert_eq!(result.unwrap_err(), expected);
        }
        let request = DataKeyOpenRequest { context, envelope: &envelope };
        assert_eq!(client.ask::<DataKeyOpen>(&request).error(), ErrorCode::DoesNotOpen);
        self.requests += 7;
        self.refused += 6;
        self.sealed.push(Sealed { envelope, plaintext });
    }

    /// Brakes, a look at everything, and a request for somebody else.
    fn on_the_agent(&mut self, client: &mut Client) {
        client.enable(BRAKED, true).unwrap();
        let plaintext = self.plaintext();
        let envelope = client.encrypt_under(BRAKED, context::EMPTY, &plaintext).unwrap();
        let compromised = self.random.below(2) == 0;
        assert_eq!(client.brake(BRAKED, compromised).code, 0);
        let refused = client.decrypt(context::EMPTY, &envelope).unwrap_err();
        assert!(matches!(refused, ErrorCode::KeyDisabled | ErrorCode::KeyCompromised));
        self.sealed.push(Sealed { envelope, plaintext });
        let everything = AuditQueryRequest {
            from_seq: 0,
            to_seq: u64::MAX,
            from_micros: 0,
            to_micros: u64::MAX,
            max_bytes: 1 << 20,
        };
        client.ask::<AuditQuery>(&everything).success().unwrap();
        client.watch(0, 1).unwrap();
        client.reload().unwrap();
        client.health();
        client.keys();
        // The owner may ask for anybody, and lends nothing: nobody else has a right here.
        let request = EncryptRequest { key: "default", context: context::EMPTY, plaintext: &[7; 100] };
        let somebody = OnBehalfOf { uid: 54_321, gid: 54_321, unit: "web.service" };
        client.ask_for::<Encrypt>(&somebody, &request);
        self.requests += 10;
        self.refused += 1;
        self.on_the_agent += 8;
    }

    /// What is remembered opens.
    pub(crate) fn opens(&self, daemon: &Daemon) {
        let mut client = daemon.client();
        client.enable(BRAKED, true).unwrap();
        for (number, Sealed { envelope, plaintext }) in self.sealed.iter().enumerate() {
            // Messages of an empty context: which ones those are is not remembered.
            match client.decrypt(context::EMPTY, envelope) {
                Ok(opened) => assert!(opened == *plaintext, "{number}"),
                Err(error) => assert_eq!(error, ErrorCode::DoesNotOpen),
            }
        }
    }

    /// Frames in one write: every third asks for a data key.
    fn burst(&mut self, client: &mut Client, context: &[u8]) {
        let count = [2, 16, 64, 200][self.random.below(4)];
        let mut plaintexts = Vec::new();
        let mut frames = Vec::new();
        for id in 0..count {
            let mut plaintext = vec![0; 1 + self.random.below(500)];
            keyagent_sys::random::fill(&mut plaintext).unwrap();
            let frame = if id % 3 == 0 {
                client::request::<DataKey>(id, &DataKeyRequest { key: "default", context, kind: 3 })
            } else {
                let request = EncryptRequest { key: "default", context, plaintext: &plaintext };
                client::request::<Encrypt>(id, &request)
            };
            frames.extend(frame);
            plaintexts.push(plaintext);
        }
        client.send(&frames).unwrap();
        for (id, plaintext) in (0..).zip(plaintexts) {
            let reply = client.expect();
            assert_eq!(reply.id, id);
            let body = reply.success().unwrap();
            if id % 3 == 0 {
                self.remember(&codec::decode::<DataKeyReply<'_>>(&body).unwrap());
            } else {
                let envelope = codec::decode::<EncryptReply<'_>>(&body).unwrap().envelope.to_vec();
                self.sealed.push(Sealed { envelope, plaintext });
            }
            self.requests += 1;
            self.pipelined += 1;
        }
    }
}

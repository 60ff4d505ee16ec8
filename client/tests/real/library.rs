//! The library with the real agent: everything that a program calls.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyagent_client::{
    Address, Client, Context, ContextBytes, Error, ErrorCode, KeyName, Kind, Options, Pipeline, op,
};
use nix::sys::signal::{Signal, kill};
use secrecy::ExposeSecret;

use super::place::{Place, gone, noise};

fn client(place: &Place) -> Client {
    Client::new(Address::exactly(place.socket()).unwrap())
}

fn context(row: &str) -> ContextBytes {
    ContextBytes::new([("table", "cards"), ("row", row)]).unwrap()
}

#[test]
fn every_call_does_what_it_says() {
    let place = Place::started();
    for (class, name) in [("message", "app"), ("index", "mail"), ("hs256", "web")] {
        place.run(&["keys", "create", "--class", class, name], b"").expect(0);
    }
    let (mut client, row) = (client(&place), context("17"));
    let key = KeyName::parse("app").unwrap();
    let text = client.encrypt_text(key, row.get(), b"secret").unwrap();
    assert_eq!(&client.decrypt_text(row.get(), &text).unwrap()[..], b"secret");
    let error = client.decrypt_text(context("18").get(), &text).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DoesNotOpen);
    assert_eq!(client.decrypt_text(row.get(), "ka1.hello").unwrap_err().code(), ErrorCode::NotCiphertext);
    let pair = client.data_key(key, row.get(), Kind::DataKey).unwrap();
    let opened = client.data_key_open(row.get(), &pair.envelope).unwrap();
    assert_eq!(opened.expose_secret(), pair.plain.expose_secret());
    let unknown = client.encrypt(KeyName::parse("none").unwrap(), row.get(), b"x").unwrap_err();
    assert!(unknown.code() == ErrorCode::UnknownKey && !unknown.hint().is_empty(), "{unknown:?}");
    let tag = client.hmac(KeyName::parse("mail").unwrap(), Context::empty(), b"ana", 16).unwrap();
    assert_eq!((tag.version, tag.bytes.len()), (1, 24));
    let web = KeyName::parse("web").unwrap();
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
    let claims = format!("{{\"exp\":{expires}}}");
    let token = client.jwt_sign(web, claims.as_bytes()).unwrap();
    let verified = client.jwt_verify(web, &token, 0).unwrap();
    assert!(verified.current && verified.version == 1 && verified.json[..] == *claims.as_bytes());
    assert_eq!(client.jwt_verify(web, "a.b.c", 0).err().unwrap().code(), ErrorCode::TokenRefused);
    assert_eq!(client.random(4096).unwrap().len(), 4096);
    // A new version, and what is moved to it.
    place.run(&["keys", "rotate", "app"], b"").expect(0);
    place.run(&["keys", "rotate", "mail"], b"").expect(0);
    let old = keyagent_client::from_text(&text).unwrap();
    let moved = client.rewrap(row.get(), &old).unwrap();
    assert!(moved.changed && moved.version == 2 && moved.envelope.len() == old.len());
    let again = client.rewrap(row.get(), &moved.envelope).unwrap();
    assert!(!again.changed && again.envelope == moved.envelope);
    let tags =
        client.hmac_every_version(KeyName::parse("mail").unwrap(), Context::empty(), b"ana", 16).unwrap();
    assert!(tags.len() == 2 && tags[1] == tag && tags[0].version == 2);
    assert_eq!(client.health().unwrap(), "healthy");
    assert!(client.status().unwrap().contains(&("state".to_owned(), "unlocked".to_owned())));
    place.run(&["lock"], b"").expect(0);
    assert_eq!(client.decrypt(row.get(), &old).unwrap_err().code(), ErrorCode::Locked);
    assert_eq!(client.health().unwrap(), "locked");
}

#[test]
fn batches_answer_each_item_whatever_their_number_and_size() {
    let place = Place::started();
    let mut client = client(&place);
    let row = context("17");
    let wrong = context("18");
    // Numbers around what one batch holds, and sizes around what one frame holds.
    for (count, size) in
        [(0, 1), (1, 1), (1023, 10), (1024, 10), (1025, 10), (5000, 10), (40, 100_000), (3, 1 << 20)]
    {
        let plains: Vec<Vec<u8>> = (0..count).map(|_| noise(size)).collect();
        let items: Vec<_> = plains.iter().map(|plain| (row.get(), &plain[..])).collect();
        let sealed: Vec<Vec<u8>> =
            client.encrypt_many(KeyName::DEFAULT, &items).unwrap().into_iter().map(Result::unwrap).collect();
        let mut items: Vec<_> = sealed.iter().map(|sealed| (row.get(), &sealed[..])).collect();
        for item in items.iter_mut().step_by(7) {
            item.0 = wrong.get();
        }
        let opened = client.decrypt_many(&items).unwrap();
        assert_eq!(opened.len(), count);
        for (at, (opened, plain)) in opened.iter().zip(&plains).enumerate() {
            match opened {
                Ok(opened) => assert!(at % 7 != 0 && opened[..] == plain[..], "{at} of {count}"),
                Err(error) => assert!(at % 7 == 0 && error.code() == ErrorCode::DoesNotOpen, "{at}: {error}"),
            }
        }
        let moved = client.rewrap_many(&items).unwrap();
        assert_eq!(
            moved.iter().filter(|moved| moved.as_ref().is_ok_and(|moved| !moved.changed)).count(),
            count - count.div_ceil(7)
        );
    }
    let large = vec![0; (1 << 20) + 100_000];
    let items = [(row.get(), &b"a"[..]), (row.get(), &large[..]), (row.get(), b"b")];
    let answers = client.encrypt_many(KeyName::DEFAULT, &items).unwrap();
    assert!(answers[0].is_ok() && matches!(answers[1], Err(Error::TooLarge)) && answers[2].is_ok());
}

#[test]
fn five_thousand_requests_of_every_kind_in_one_pipeline() {
    let place = Place::started();
    let mut client = client(&place);
    let row = context("17");
    let sealed = client.encrypt(KeyName::DEFAULT, row.get(), b"secret").unwrap();
    let mut pipeline = Pipeline::new();
    let (mut encrypts, mut decrypts, mut randoms) = (Vec::new(), Vec::new(), Vec::new());
    let context = row.get().as_bytes();
    for number in 0..5000_u32 {
        let plaintext = &number.to_le_bytes()[..];
        match number % 3 {
            0 => encrypts.push(pipeline.push::<op::Encrypt>(&op::EncryptRequest {
                key: "default",
                context,
                plaintext,
            })),
            1 => decrypts
                .push(pipeline.push::<op::Decrypt>(&op::DecryptRequest { context, envelope: &sealed })),
            _ => randoms.push((
                number % 4096,
                pipeline.push::<op::Random>(&op::RandomRequest { bytes: number % 4096 }),
            )),
        }
    }
    assert_eq!(pipeline.len(), 5000);
    let mut replies = client.run(pipeline).unwrap();
    let mut envelopes = Vec::new();
    for ticket in encrypts {
        envelopes.push(replies.take(ticket.unwrap()).unwrap());
    }
    for ticket in decrypts {
        let ticket = ticket.unwrap();
        assert_eq!(&replies.take(ticket).unwrap()[..], b"secret");
        assert!(matches!(replies.take(ticket), Err(Error::NoReply)), "each once");
    }
    for (bytes, ticket) in randoms {
        match replies.take(ticket.unwrap()) {
            Ok(random) => assert_eq!(random.len(), bytes as usize),
            Err(error) => assert!(bytes == 0 && error.code() == ErrorCode::InvalidRequest, "{error}"),
        }
    }
    for (place, envelope) in envelopes.iter().enumerate() {
        let opened = client.decrypt(row.get(), envelope).unwrap();
        assert_eq!(opened[..], (u32::try_from(place).unwrap() * 3).to_le_bytes());
    }
    assert!(client.run(Pipeline::new()).is_ok());
}

#[test]
fn a_pipeline_of_large_messages_never_waits_for_itself() {
    let place = Place::started();
    let mut client = client(&place);
    let plain = noise(1 << 20);
    let mut pipeline = Pipeline::new();
    let request = op::EncryptRequest { key: "default", context: &[0, 0], plaintext: &plain };
    let tickets: Vec<_> = (0..40).map(|_| pipeline.push::<op::Encrypt>(&request).unwrap()).collect();
    let mut replies = client.run(pipeline).unwrap();
    let mut served = 0;
    for ticket in tickets {
        match replies.take(ticket) {
            Ok(envelope) => {
                assert!(client.decrypt(Context::empty(), &envelope).unwrap()[..] == plain);
                served += 1;
            }
            Err(error) => assert_eq!(error.code(), ErrorCode::Busy, "{error}"),
        }
    }
    assert!(served > 0);
}

#[test]
fn an_agent_that_was_restarted_is_found_again() {
    let place = Place::started();
    let mut client = client(&place);
    let sealed = client.encrypt(KeyName::DEFAULT, Context::empty(), b"secret").unwrap();
    let first = client.server().unwrap().instance;
    for hard in [false, true] {
        if hard {
            let pid = place.pid();
            kill(pid, Signal::SIGKILL).unwrap();
            assert!(gone(pid, Duration::from_secs(5)));
        } else {
            place.run(&["stop"], b"").expect(0);
        }
        let error = client.decrypt(Context::empty(), &sealed).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AgentUnreachable, "{error}");
        place.run(&["start"], b"").expect(0);
        assert_eq!(&client.decrypt(Context::empty(), &sealed).unwrap()[..], b"secret");
        assert_ne!(client.server().unwrap().instance, first);
        // The same while a connection is open that the old agent had accepted.
        place.run(&["stop"], b"").expect(0);
        place.run(&["start"], b"").expect(0);
        let items = [(Context::empty(), &sealed[..]); 3];
        assert!(client.decrypt_many(&items).unwrap().iter().all(Result::is_ok));
        place.run(&["stop"], b"").expect(0);
        place.run(&["start"], b"").expect(0);
        assert!(
            !client.connection().unwrap().key_list("", 10).unwrap().keys.is_empty(),
            "what is not repeated finds it dead before it asks"
        );
    }
}

#[test]
fn an_agent_that_stands_still_costs_one_deadline_and_no_answer_is_mixed_up() {
    let place = Place::started();
    let address = Address::exactly(place.socket()).unwrap();
    let mut client = Client::with_options(address, Options { timeout: Duration::from_millis(300) });
    let sealed =
        |text: &[u8], client: &mut Client| client.encrypt(KeyName::DEFAULT, Context::empty(), text).unwrap();
    let (one, two) = (sealed(b"one", &mut client), sealed(b"two", &mut client));
    let pid = place.pid();
    kill(pid, Signal::SIGSTOP).unwrap();
    let begin = std::time::Instant::now();
    let error = client.decrypt(Context::empty(), &one).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    kill(pid, Signal::SIGCONT).unwrap();
    client.set_timeout(Duration::from_secs(5));
    for _ in 0..10 {
        assert_eq!(&client.decrypt(Context::empty(), &two).unwrap()[..], b"two");
    }
}

//! The asynchronous client with a fake agent: many tasks, one connection, deadlines, a connection that dies.
#![allow(clippy::unwrap_used, reason = "tests; clippy knows only functions marked #[test]")]

mod support;

use std::{sync::Arc, time::Duration};

use keyagent_client::{Address, AsyncClient, Context, ErrorCode, KeyName, Options};
use keyagent_common::{
    codec,
    op::{EncryptReply, EncryptRequest, OperationCode},
};
use support::{FakeAgent, Request, hello, reply};

/// An envelope that ends with what was asked to seal.
fn sealed(request: &Request) -> Vec<u8> {
    let asked: EncryptRequest<'_> = codec::decode(&request.body).unwrap();
    let envelope = [&[1; 73][..], asked.plaintext].concat();
    reply(request, 0, &EncryptReply { version: 1, envelope: &envelope })
}

fn client(agent: &FakeAgent, timeout: Duration) -> AsyncClient {
    AsyncClient::new(Address::exactly(agent.socket()).unwrap(), Options { timeout })
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn a_thousand_tasks_share_one_connection_and_get_their_own_answers() {
    let mut greetings = 0;
    let agent = FakeAgent::new(move |request| {
        if request.code == OperationCode::Hello as u16 {
            greetings += 1;
            assert_eq!(greetings, 1);
            return hello(request);
        }
        sealed(request)
    });
    run(async move {
        let client = Arc::new(client(&agent, Duration::from_secs(5)));
        let mut tasks = Vec::new();
        for number in 0..1000_usize {
            let client = Arc::clone(&client);
            tasks.push(tokio::spawn(async move {
                let plain = [number.to_le_bytes().to_vec(), vec![7; number * 37]].concat();
                let sealed = client.encrypt(KeyName::DEFAULT, Context::empty(), &plain).await.unwrap();
                assert!(sealed[73..] == plain, "{number}");
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_connection_that_died_is_opened_again_once() {
    let mut answered = 0;
    let agent = FakeAgent::new(move |request| {
        if request.code == OperationCode::Hello as u16 {
            return hello(request);
        }
        answered += 1;
        // The second and all from the fourth on find the connection closed.
        if answered == 2 || answered > 3 { Vec::new() } else { sealed(request) }
    });
    run(async move {
        let client = client(&agent, Duration::from_secs(5));
        for _ in 0..2 {
            client.encrypt(KeyName::DEFAULT, Context::empty(), b"x").await.unwrap();
        }
        let error = client.encrypt(KeyName::DEFAULT, Context::empty(), b"x").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::AgentUnreachable);
    });
}

#[test]
fn a_reply_that_comes_too_late_is_nobodys() {
    let mut answered = 0;
    let agent = FakeAgent::new(move |request| {
        if request.code == OperationCode::Hello as u16 {
            return hello(request);
        }
        answered += 1;
        if answered == 1 {
            std::thread::sleep(Duration::from_millis(600));
        }
        sealed(request)
    });
    run(async move {
        let client = client(&agent, Duration::from_millis(400));
        let error = client.encrypt(KeyName::DEFAULT, Context::empty(), b"late").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout);
        let sealed = client.encrypt(KeyName::DEFAULT, Context::empty(), b"own").await.unwrap();
        assert_eq!(&sealed[73..], b"own");
    });
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    let agent = FakeAgent::new(|request| {
        if request.code == OperationCode::Hello as u16 {
            return hello(request);
        }
        let other = Request { id: request.id + 7, ..request.clone() };
        sealed(&other)
    });
    run(async move {
        let client = client(&agent, Duration::from_secs(5));
        let error = client.encrypt(KeyName::DEFAULT, Context::empty(), b"x").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::AgentUnreachable);
    });
}

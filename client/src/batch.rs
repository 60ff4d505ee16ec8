//! Many requests of one operation in one request, with a result for each and one record in the log for all.
//!
//! It splits by what the daemon announced, and sends one by one to a daemon that knows no batches.

use keyagent_common::{
    codec,
    context::Context,
    frame::{HEADER_BYTES, Header, MAX_BODY_BYTES},
    name::KeyName,
    op::{
        Batch, BatchRequest, Decrypt, DecryptRequest, Encrypt, EncryptRequest, FEATURE_BATCH, Rewrap,
        RewrapRequest,
    },
};
use zeroize::Zeroizing;

use crate::{
    Client, Connection, Error,
    answer::{self, DataOperation, Rewrapped, Unusable},
    pipeline::refused,
};

/// What stands around the items in a batch's frame, and around its results.
const AROUND_ITEMS: usize = 16;
/// Room for the reply to an item that is refused.
const REFUSAL_BYTES: usize = 1024;

/// An answer for each request, in order.
pub type Answers<T> = Vec<Result<T, Error>>;

/// Requests that go into one batch.
struct Group {
    items: Zeroizing<Vec<u8>>,
    count: usize,
}

impl Connection {
    /// Performs requests of one operation in as few round trips as the limits allow; an answer for each, in order.
    ///
    /// The outer error means that the connection failed or the agent refused the batch as a whole.
    pub fn many<O: DataOperation>(
        &mut self,
        requests: &[O::Request<'_>],
    ) -> Result<Answers<O::Output>, Error> {
        let mut answers = Vec::with_capacity(requests.len());
        while let Some(rest) = requests.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            answers.extend(self.some::<O>(rest)?);
        }
        Ok(answers)
    }

    /// Answers to at least the first of these requests.
    pub(crate) fn some<O: DataOperation>(
        &mut self,
        requests: &[O::Request<'_>],
    ) -> Result<Answers<O::Output>, Error> {
        let server = self.hello()?;
        let most = usize::try_from(server.limits.in_flight).unwrap_or(usize::MAX).max(1);
        let requests = requests.get(..most).unwrap_or(requests);
        if server.features & FEATURE_BATCH == 0 || requests.len() < 2 {
            return self.one_by_one::<O>(requests);
        }
        let group = gather::<O>(requests);
        if group.count < 2 {
            return self.one_by_one::<O>(requests.get(..1).unwrap_or_default());
        }
        let request = BatchRequest { operation: O::CODE as u16, items: &group.items };
        let results = split::<O>(self.call::<Batch>(&request)?.results, group.count);
        results.map_err(|unusable| self.unusable(unusable))
    }
}

/// The first requests that fit, as frames, and their replies whatever they are.
fn gather<O: DataOperation>(requests: &[O::Request<'_>]) -> Group {
    let most = MAX_BODY_BYTES - AROUND_ITEMS;
    let sizes = requests
        .iter()
        .map(|request| codec::encoded_bytes(request).map_or(usize::MAX, |bytes| HEADER_BYTES + bytes));
    let (mut count, mut total, mut replies) = (0, 0_usize, 0_usize);
    for size in sizes {
        total = total.saturating_add(size);
        replies = replies.saturating_add(O::reply_bytes(size.min(most)).max(REFUSAL_BYTES));
        if total > most || replies > most {
            break;
        }
        count += 1;
    }
    // Never larger than this, so that no copy of a plaintext is left behind by growing.
    let mut items = Zeroizing::new(Vec::with_capacity(total.min(most)));
    for (id, request) in (0..).zip(requests.iter().take(count)) {
        if let Ok(frame) = codec::frame(id, O::CODE as u16, request) {
            items.extend_from_slice(&frame);
        }
    }
    Group { items, count }
}

/// The answers in the reply to a batch: exactly one for each item, in order.
fn split<O: DataOperation>(mut results: &[u8], count: usize) -> Result<Answers<O::Output>, Unusable> {
    const VIOLATION: Unusable = Unusable::Violation("a reply to a batch that does not answer its items");
    let mut answers = Vec::with_capacity(count);
    for place in 0..count {
        let header = Header::parse(results).ok().flatten().ok_or(VIOLATION)?;
        let (frame, rest) = results.split_at_checked(header.frame_bytes()).ok_or(VIOLATION)?;
        if header.on_behalf_of || usize::try_from(header.request_id) != Ok(place) {
            return Err(VIOLATION);
        }
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        let answer = match header.code {
            0 => answer::owned::<O>(body),
            code => Err(refused(O::CODE, code, body)),
        };
        answers.push(match answer {
            Ok(output) => Ok(output),
            Err(Unusable::Refused(error)) => Err(Error::Agent(error)),
            Err(violation) => return Err(violation),
        });
        results = rest;
    }
    if results.is_empty() { Ok(answers) } else { Err(VIOLATION) }
}

/// The same methods for [`Connection`] and [`Client`].
macro_rules! many_methods {
    ($type:ty) => {
        impl $type {
            /// Seals messages under one key, each with a context of its own; an answer for each, in order.
            pub fn encrypt_many(
                &mut self,
                key: KeyName<'_>,
                items: &[(Context<'_>, &[u8])],
            ) -> Result<Answers<Vec<u8>>, Error> {
                let key = key.as_str();
                let requests = items.iter().map(|&(context, plaintext)| {
                    let context = context.as_bytes();
                    EncryptRequest { key, context, plaintext }
                });
                self.many::<Encrypt>(&requests.collect::<Vec<_>>())
            }

            /// Opens kind-01 envelopes; an answer for each, in order.
            pub fn decrypt_many(
                &mut self,
                items: &[(Context<'_>, &[u8])],
            ) -> Result<Answers<Zeroizing<Vec<u8>>>, Error> {
                let requests = items.iter().map(|&(context, envelope)| {
                    let context = context.as_bytes();
                    DecryptRequest { context, envelope }
                });
                self.many::<Decrypt>(&requests.collect::<Vec<_>>())
            }

            /// Moves envelopes to the primary versions of their keys; an answer for each, in order.
            pub fn rewrap_many(
                &mut self,
                items: &[(Context<'_>, &[u8])],
            ) -> Result<Answers<Rewrapped>, Error> {
                let requests = items.iter().map(|&(context, envelope)| {
                    let context = context.as_bytes();
                    RewrapRequest { context, envelope }
                });
                self.many::<Rewrap>(&requests.collect::<Vec<_>>())
            }
        }
    };
}

many_methods!(Connection);
many_methods!(Client);

//! Reads `common/vectors/messages.json`: every message decodes to its fields and encodes to its bytes,
//! every failing frame is refused, and for the reason it names (docs/PROTOCOL.md, "Vectors").
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;

use keyagent_common::{
    codec::{self, BorrowDecode, CodecError, Encode},
    context::Context,
    envelope::{DATA_KEY_BYTES, Envelope, Kind},
    error::ErrorCode,
    frame::{FrameError, HEADER_BYTES, Header},
    name::KeyName,
    op::{
        Check, CheckResult, DataKey, DataKeyOpen, DataKeyOpenReply, DataKeyOpenRequest, DataKeyReply,
        DataKeyRequest, Decrypt, DecryptReply, DecryptRequest, Empty, Encrypt, EncryptReply, EncryptRequest,
        ErrorReply, Field, Health, HealthReply, Hello, HelloReply, HelloRequest, Limits, Lock, LockReply,
        MAX_CLIENT_NAME_BYTES, Operation, OperationCode, PROTOCOL_VERSION, Reload, ReloadReply, Status,
        StatusReply, Stop, Unlock, UnlockReply, UnlockRequest,
    },
};
use serde_json::{Value, json};

/// Vectors that were published stay; these numbers only grow.
const MESSAGES: usize = 37;
const FAILING: usize = 136;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/messages.json")).unwrap()
}

fn cases(list: &str) -> Vec<Value> {
    vectors()[list].as_array().unwrap().clone()
}

fn frame(case: &Value) -> Vec<u8> {
    hex::decode(case["frame"].as_str().unwrap()).unwrap()
}

/// A decoded value as the vectors write it.
trait Shown {
    fn shown(&self) -> Value;
}

macro_rules! shown_as_they_are {
    ($($type:ty),*) => {$(impl Shown for $type { fn shown(&self) -> Value { json!(self) } })*};
}
shown_as_they_are!(u8, u16, u32, u64, bool, &str);

impl Shown for &[u8] {
    fn shown(&self) -> Value {
        hex::encode(self).into()
    }
}

impl Shown for [u8; 16] {
    fn shown(&self) -> Value {
        hex::encode(self).into()
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> Value {
        self.iter().map(Shown::shown).collect()
    }
}

impl Shown for CheckResult {
    fn shown(&self) -> Value {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
        .into()
    }
}

/// Every field by name; the pattern without `..` makes the compiler ask for new ones.
macro_rules! shown_by_field {
    ($($type:ident { $($field:ident),* })*) => {$(
        impl Shown for shown_by_field!(@type $type) {
            fn shown(&self) -> Value {
                let $type { $($field),* } = self;
                json!({ $(stringify!($field): $field.shown()),* })
            }
        }
    )*};
    (@type Limits) => { Limits };
    (@type LockReply) => { LockReply };
    (@type UnlockReply) => { UnlockReply };
    (@type ReloadReply) => { ReloadReply };
    (@type Empty) => { Empty };
    (@type $type:ident) => { $type<'_> };
}
shown_by_field! {
    Empty {}
    HelloRequest { protocol_min, protocol_max, client }
    HelloReply { protocol, protocol_min, protocol_max, server, instance, features, limits }
    Limits { frame_length, message, context, in_flight }
    StatusReply { fields }
    Field { name, value }
    HealthReply { status, error, checks }
    Check { name, result, message }
    LockReply { changed, unlockable_here }
    UnlockRequest { master }
    UnlockReply { changed, fingerprint }
    ReloadReply { generation, policy, policy_changed }
    EncryptRequest { key, context, plaintext }
    EncryptReply { version, envelope }
    DecryptRequest { context, envelope }
    DecryptReply { version, current, plaintext }
    DataKeyRequest { key, context, kind }
    DataKeyReply { version, plain, envelope }
    DataKeyOpenRequest { context, envelope }
    DataKeyOpenReply { version, current, plain }
    ErrorReply { what, why, fix }
}

/// The fields of a body, and the frame that encoding them again gives.
type Read = (Value, Vec<u8>);

fn read_as<'a, T: BorrowDecode<'a, ()> + Encode + Shown>(
    header: Header,
    body: &'a [u8],
) -> Result<Read, CodecError> {
    let value: T = codec::decode(body)?;
    let again = codec::frame(header.request_id, header.code, &value).unwrap();
    Ok((value.shown(), again.to_vec()))
}

fn read_operation<'a, O: Operation>(
    direction: &str,
    header: Header,
    body: &'a [u8],
) -> Result<Read, CodecError>
where
    O::Request<'a>: Shown,
    O::Reply<'a>: Shown,
{
    match direction {
        "request" => read_as::<O::Request<'a>>(header, body),
        "reply" => read_as::<O::Reply<'a>>(header, body),
        other => panic!("no direction {other}"),
    }
}

fn operation(name: &str) -> OperationCode {
    *OperationCode::ALL
        .iter()
        .find(|code| code.name() == name)
        .unwrap_or_else(|| panic!("no operation {name}"))
}

/// A new operation stops the compiler here until it has vectors.
fn read(message: &str, direction: &str, header: Header, body: &[u8]) -> Result<Read, CodecError> {
    if message == "error" {
        return read_as::<ErrorReply<'_>>(header, body);
    }
    match operation(message) {
        OperationCode::Hello => read_operation::<Hello>(direction, header, body),
        OperationCode::Status => read_operation::<Status>(direction, header, body),
        OperationCode::Health => read_operation::<Health>(direction, header, body),
        OperationCode::Stop => read_operation::<Stop>(direction, header, body),
        OperationCode::Lock => read_operation::<Lock>(direction, header, body),
        OperationCode::Unlock => read_operation::<Unlock>(direction, header, body),
        OperationCode::Reload => read_operation::<Reload>(direction, header, body),
        OperationCode::Encrypt => read_operation::<Encrypt>(direction, header, body),
        OperationCode::Decrypt => read_operation::<Decrypt>(direction, header, body),
        OperationCode::DataKey => read_operation::<DataKey>(direction, header, body),
        OperationCode::DataKeyOpen => read_operation::<DataKeyOpen>(direction, header, body),
    }
}

#[test]
fn every_message_decodes_to_its_fields_and_encodes_to_its_bytes() {
    for case in cases("messages") {
        let (bytes, name) = (frame(&case), &case["name"]);
        let header = Header::parse(&bytes[..HEADER_BYTES]).unwrap().unwrap();
        assert_eq!(header.frame_bytes(), bytes.len(), "{name}");
        assert_eq!(json!(header.request_id), case["request_id"], "{name}");
        assert_eq!(json!(header.code), case["code"], "{name}");
        let (message, direction) = (case["message"].as_str().unwrap(), case["direction"].as_str().unwrap());
        if direction == "request" {
            assert_eq!(header.code, operation(message) as u16, "{name}");
        } else {
            assert_eq!(header.code == 0, message != "error", "{name}");
        }
        let (fields, again) = read(message, direction, header, &bytes[HEADER_BYTES..]).unwrap();
        assert_eq!(fields, case["fields"], "{name}");
        assert_eq!(hex::encode(again), case["frame"], "{name}");
    }
}

/// The rule that a frame breaks, in the order in which a receiver asks; `None` if it breaks none.
fn reason(case: &Value) -> Option<&'static str> {
    let bytes = frame(case);
    let header = match Header::parse(bytes.get(..HEADER_BYTES).unwrap_or(&bytes)) {
        Err(FrameError::TooLong) => return Some("frame.too_long"),
        Err(FrameError::TooShort) => return Some("frame.too_short"),
        Err(FrameError::UnknownFlags) => return Some("frame.unknown_flags"),
        Ok(None) => return Some("frame.incomplete"),
        Ok(Some(header)) if header.frame_bytes() > bytes.len() => return Some("frame.incomplete"),
        Ok(Some(header)) => header,
    };
    assert_eq!(header.frame_bytes(), bytes.len(), "one frame a vector: {}", case["name"]);
    let direction = case["direction"].as_str().unwrap();
    if direction == "request" && OperationCode::from_number(header.code).is_none() {
        return Some("operation.unknown");
    }
    match read(case["message"].as_str().unwrap(), direction, header, &bytes[HEADER_BYTES..]) {
        Err(CodecError::Malformed) => Some("body.malformed"),
        Err(CodecError::Trailing) => Some("body.trailing"),
        Err(CodecError::NoRoom) => panic!("decoding needs no room"),
        Ok(_) if direction == "request" => {
            content(operation(case["message"].as_str().unwrap()), &bytes[HEADER_BYTES..])
        }
        Ok(_) => None,
    }
}

/// What the daemon refuses in a request that decodes.
fn content(operation: OperationCode, body: &[u8]) -> Option<&'static str> {
    let bad_key = |key: &str| KeyName::parse(key).is_err().then_some("request.key");
    let bad_context = |context: &[u8]| Context::parse(context).is_err().then_some("request.context");
    let bad_kind = |kind, good: &[Kind]| !Kind::from_byte(kind).is_some_and(|kind| good.contains(&kind));
    let bad_envelope = |envelope: &[u8], good: &[Kind]| {
        let fits = Envelope::parse(envelope).is_ok_and(|envelope| good.contains(&envelope.kind));
        (!fits).then_some("request.envelope")
    };
    match operation {
        OperationCode::Hello => {
            let hello: HelloRequest<'_> = codec::decode(body).unwrap();
            let named = (1..=MAX_CLIENT_NAME_BYTES).contains(&hello.client.len())
                && hello.client.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            if !named {
                return Some("request.client");
            }
            let spoken = (hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL_VERSION);
            (!spoken).then_some("request.version")
        }
        OperationCode::Unlock => {
            let master = codec::decode::<UnlockRequest<'_>>(body).unwrap().master;
            (!matches!(master.len(), 0 | 32)).then_some("request.master")
        }
        OperationCode::Encrypt => {
            let request: EncryptRequest<'_> = codec::decode(body).unwrap();
            bad_key(request.key).or_else(|| bad_context(request.context))
        }
        OperationCode::Decrypt => {
            let request: DecryptRequest<'_> = codec::decode(body).unwrap();
            bad_envelope(request.envelope, &[Kind::Message]).or_else(|| bad_context(request.context))
        }
        OperationCode::DataKey => {
            let request: DataKeyRequest<'_> = codec::decode(body).unwrap();
            let kind = bad_kind(request.kind, &[Kind::StreamKey, Kind::DataKey]).then_some("request.kind");
            bad_key(request.key).or_else(|| bad_context(request.context)).or(kind)
        }
        OperationCode::DataKeyOpen => {
            let request: DataKeyOpenRequest<'_> = codec::decode(body).unwrap();
            let length = (request.envelope.len() != DATA_KEY_BYTES).then_some("request.envelope");
            let kinds = [Kind::StreamKey, Kind::DataKey];
            bad_envelope(request.envelope, &kinds).or(length).or_else(|| bad_context(request.context))
        }
        OperationCode::Status
        | OperationCode::Health
        | OperationCode::Stop
        | OperationCode::Lock
        | OperationCode::Reload => None,
    }
}

#[test]
fn every_failing_frame_is_refused_for_its_reason() {
    for case in cases("failing") {
        assert_eq!(reason(&case).map(Value::from), Some(case["reason"].clone()), "{}", case["name"]);
    }
}

#[test]
fn the_control_finds_nothing_wrong_with_good_frames() {
    for case in cases("messages") {
        assert_eq!(reason(&case), None, "{}", case["name"]);
    }
}

#[test]
fn every_answer_is_a_row_of_the_error_table_that_travels() {
    for case in cases("failing").iter().filter(|case| !case["answer"].is_null()) {
        let error = case["answer"]["error"].as_str().unwrap();
        let row = ErrorCode::ALL.iter().find(|code| code.name() == error).expect(error);
        assert!((*row as u16) < 100, "{error}");
        let about_the_connection = case["reason"].as_str().unwrap().starts_with("frame.");
        assert_eq!(case["answer"]["request_id"] == 0, about_the_connection, "{}", case["name"]);
    }
}

#[test]
fn every_cut_of_every_body_is_refused() {
    for case in cases("messages") {
        let bytes = frame(&case);
        for cut in 0..bytes.len() - HEADER_BYTES {
            let header = Header { body_bytes: cut, request_id: 1, code: 0, on_behalf_of: false };
            let (message, direction) =
                (case["message"].as_str().unwrap(), case["direction"].as_str().unwrap());
            let result = read(message, direction, header, &bytes[HEADER_BYTES..HEADER_BYTES + cut]);
            assert_eq!(result, Err(CodecError::Malformed), "{}, {cut}", case["name"]);
        }
    }
}

#[test]
fn all_messages_are_covered_and_the_failing_vectors_are_more() {
    let (messages, failing) = (cases("messages"), cases("failing"));
    assert_eq!((messages.len(), failing.len()), (MESSAGES, FAILING));
    assert!(failing.len() >= messages.len());
    let covered = |list: &[Value]| -> BTreeSet<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        list.iter().map(|case| (text(&case["direction"]), text(&case["message"]))).collect()
    };
    let (good, bad) = (covered(&messages), covered(&failing));
    for direction in ["request", "reply"] {
        for code in OperationCode::ALL {
            let message = (direction.to_owned(), code.name().to_owned());
            assert!(good.contains(&message) && bad.contains(&message), "{message:?}");
        }
    }
    assert!(good.contains(&("reply".into(), "error".into())));
    let names: BTreeSet<&str> =
        messages.iter().chain(&failing).map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), MESSAGES + FAILING, "every name once");
}

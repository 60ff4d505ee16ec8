//! Reads `common/vectors/messages.json`: every message decodes to its fields and encodes to its bytes,
//! every failing frame is refused, and for the reason it names (docs/PROTOCOL.md, "Vectors").
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail")]

mod shown;

use std::collections::BTreeSet;

use keyagent_common::{
    codec::{self, BorrowDecode, CodecError, Encode},
    context::Context,
    envelope::{DATA_KEY_BYTES, Envelope, Kind},
    error::ErrorCode,
    frame::{FrameError, HEADER_BYTES, Header},
    name::KeyName,
    op::*,
};
use serde_json::{Value, json};
use shown::Shown;

/// Vectors that were published stay; these numbers only grow.
const MESSAGES: usize = 138;
const FAILING: usize = 346;
/// Longest note of a key.
const MAX_NOTE_BYTES: usize = 1024;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/messages.json")).unwrap()
}

fn cases(list: &str) -> Vec<Value> {
    vectors()[list].as_array().unwrap().clone()
}

fn frame(case: &Value) -> Vec<u8> {
    hex::decode(case["frame"].as_str().unwrap()).unwrap()
}

/// The fields of a body, and the frame that encoding them again gives.
type Read = (Value, Vec<u8>);

/// Fields and bytes of what stands in front, and the rest.
type Split<'b> = (Option<Value>, &'b [u8], &'b [u8]);

/// What a flag puts in front of a request.
fn split_on_behalf_of(header: Header, body: &[u8]) -> Result<Split<'_>, CodecError> {
    if !header.on_behalf_of {
        return Ok((None, &[], body));
    }
    // uid, gid, and the length of the unit's name.
    let length = body.get(8..16).ok_or(CodecError::Malformed)?;
    let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
    let end = length.checked_add(16).ok_or(CodecError::Malformed)?;
    let (caller, rest) = body.split_at_checked(end).ok_or(CodecError::Malformed)?;
    let decoded: OnBehalfOf<'_> = codec::decode(caller)?;
    let mut again = [0; 256];
    let used = codec::encode(&decoded, &mut again)?;
    assert_eq!(again[..used], *caller);
    Ok((Some(decoded.shown()), caller, rest))
}

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
    let (_, caller, body) = split_on_behalf_of(header, body)?;
    let (fields, mut again) = read_body(message, direction, header, body)?;
    let body_bytes = again.len() - HEADER_BYTES + caller.len();
    again.splice(
        ..HEADER_BYTES,
        Header { body_bytes, ..header }.encode().unwrap().iter().chain(caller).copied(),
    );
    Ok((fields, again))
}

fn read_body(message: &str, direction: &str, header: Header, body: &[u8]) -> Result<Read, CodecError> {
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
        OperationCode::Maintenance => read_operation::<Maintenance>(direction, header, body),
        OperationCode::AuditQuery => read_operation::<AuditQuery>(direction, header, body),
        OperationCode::Watch => read_operation::<Watch>(direction, header, body),
        OperationCode::KeyCreate => read_operation::<KeyCreate>(direction, header, body),
        OperationCode::KeyList => read_operation::<KeyList>(direction, header, body),
        OperationCode::KeyDisable => read_operation::<KeyDisable>(direction, header, body),
        OperationCode::KeyEnable => read_operation::<KeyEnable>(direction, header, body),
        OperationCode::Rewrap => read_operation::<Rewrap>(direction, header, body),
        OperationCode::Hmac => read_operation::<HmacTag>(direction, header, body),
        OperationCode::JwtSign => read_operation::<JwtSign>(direction, header, body),
        OperationCode::JwtVerify => read_operation::<JwtVerify>(direction, header, body),
        OperationCode::Random => read_operation::<Random>(direction, header, body),
        OperationCode::Batch => read_operation::<Batch>(direction, header, body),
        OperationCode::KeyShow => read_operation::<KeyShow>(direction, header, body),
        OperationCode::KeyConfigure => read_operation::<KeyConfigure>(direction, header, body),
        OperationCode::KeyRotate => read_operation::<KeyRotate>(direction, header, body),
        OperationCode::KeyPromote => read_operation::<KeyPromote>(direction, header, body),
        OperationCode::KeyRetire => read_operation::<KeyRetire>(direction, header, body),
        OperationCode::KeyReinstate => read_operation::<KeyReinstate>(direction, header, body),
        OperationCode::KeyDestroy => read_operation::<KeyDestroy>(direction, header, body),
        OperationCode::BackupCreate => read_operation::<BackupCreate>(direction, header, body),
        OperationCode::BackupRestore => read_operation::<BackupRestore>(direction, header, body),
        OperationCode::MasterRotate => read_operation::<MasterRotate>(direction, header, body),
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
        let (caller, ..) = split_on_behalf_of(header, &bytes[HEADER_BYTES..]).unwrap();
        assert_eq!(caller.unwrap_or_default(), case["on_behalf_of"], "{name}");
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
            let (caller, _, body) = split_on_behalf_of(header, &bytes[HEADER_BYTES..]).unwrap();
            let operation = operation(case["message"].as_str().unwrap());
            if caller.is_some() && !is_on_data(operation) {
                return Some("request.on_behalf_of");
            }
            content(operation, body)
        }
        Ok(_) => None,
    }
}

/// Only these may be asked for on behalf of somebody else.
fn is_on_data(operation: OperationCode) -> bool {
    use OperationCode as Op;
    matches!(
        operation,
        Op::Encrypt
            | Op::Decrypt
            | Op::DataKey
            | Op::DataKeyOpen
            | Op::Rewrap
            | Op::Hmac
            | Op::JwtSign
            | Op::JwtVerify
            | Op::Random
            | Op::Batch
    )
}

fn bad_key(key: &str) -> Option<&'static str> {
    KeyName::parse(key).is_err().then_some("request.key")
}

/// Names no key, or every key by the empty name.
fn bad_key_or_all(key: &str) -> Option<&'static str> {
    if key.is_empty() { None } else { bad_key(key) }
}

fn bad_reason(reason: &str) -> Option<&'static str> {
    let fits = reason.len() <= MAX_REASON_BYTES && !reason.chars().any(char::is_control);
    (!fits).then_some("request.reason")
}

/// The same for what an overseer sends.
fn overseer_content(operation: OperationCode, body: &[u8]) -> Option<&'static str> {
    match operation {
        OperationCode::Maintenance => {
            bad_reason(codec::decode::<MaintenanceRequest<'_>>(body).unwrap().reason)
        }
        OperationCode::KeyCreate => {
            let request: KeyCreateRequest<'_> = codec::decode(body).unwrap();
            let class = (!(1..=3).contains(&request.class)).then_some("request.class");
            let note = (request.note.len() > MAX_NOTE_BYTES).then_some("request.note");
            bad_key(request.key).or(class).or(note)
        }
        OperationCode::KeyDisable => {
            let request: KeyDisableRequest<'_> = codec::decode(body).unwrap();
            bad_key_or_all(request.key).or_else(|| bad_reason(request.reason))
        }
        OperationCode::KeyEnable => {
            let request: KeyEnableRequest<'_> = codec::decode(body).unwrap();
            bad_key_or_all(request.key).or_else(|| bad_reason(request.reason))
        }
        OperationCode::KeyShow => bad_key(codec::decode::<KeyShowRequest<'_>>(body).unwrap().key),
        OperationCode::KeyConfigure => bad_key(codec::decode::<KeyConfigureRequest<'_>>(body).unwrap().key),
        OperationCode::KeyRotate => {
            let request: KeyRotateRequest<'_> = codec::decode(body).unwrap();
            bad_key(request.key).or_else(|| bad_reason(request.note))
        }
        OperationCode::KeyPromote | OperationCode::KeyRetire | OperationCode::KeyReinstate => {
            let request: VersionRequest<'_> = codec::decode(body).unwrap();
            bad_key(request.key).or_else(|| bad_reason(request.reason))
        }
        OperationCode::KeyDestroy => {
            let request: KeyDestroyRequest<'_> = codec::decode(body).unwrap();
            bad_key(request.key).or_else(|| bad_reason(request.reason))
        }
        _ => None,
    }
}

/// What the daemon refuses in a request that decodes.
fn content(operation: OperationCode, body: &[u8]) -> Option<&'static str> {
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
        OperationCode::Rewrap => {
            let request: RewrapRequest<'_> = codec::decode(body).unwrap();
            let kinds = [Kind::Message, Kind::StreamKey, Kind::DataKey];
            bad_envelope(request.envelope, &kinds).or_else(|| bad_context(request.context))
        }
        OperationCode::Hmac => {
            let request: HmacRequest<'_> = codec::decode(body).unwrap();
            bad_key(request.key).or_else(|| bad_context(request.context))
        }
        OperationCode::JwtSign => bad_key(codec::decode::<JwtSignRequest<'_>>(body).unwrap().key),
        OperationCode::JwtVerify => bad_key(codec::decode::<JwtVerifyRequest<'_>>(body).unwrap().key),
        OperationCode::Maintenance
        | OperationCode::KeyCreate
        | OperationCode::KeyDisable
        | OperationCode::KeyEnable
        | OperationCode::KeyShow
        | OperationCode::KeyConfigure
        | OperationCode::KeyRotate
        | OperationCode::KeyPromote
        | OperationCode::KeyRetire
        | OperationCode::KeyReinstate
        | OperationCode::KeyDestroy => overseer_content(operation, body),
        OperationCode::Status
        | OperationCode::Health
        | OperationCode::Stop
        | OperationCode::Lock
        | OperationCode::Reload
        | OperationCode::AuditQuery
        | OperationCode::Watch
        | OperationCode::KeyList
        | OperationCode::Random
        | OperationCode::Batch
        | OperationCode::BackupCreate
        | OperationCode::BackupRestore
        | OperationCode::MasterRotate => None,
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
            let on_behalf_of = !case["on_behalf_of"].is_null();
            let header = Header { body_bytes: cut, request_id: 1, code: 0, on_behalf_of };
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

//! What a verifier reads of one line. Every member is looked at, and none twice.

use super::{KeyringMark, Mark};
use crate::audit::{
    bridge::{Place, SEALED_BYTES, SealedBridge},
    scan::{Malformed, Members, Value, hex},
};

/// One line.
pub(super) struct Facts {
    pub(super) mark: Mark,
    /// The segment that its id names.
    pub(super) segment: u64,
    pub(super) has_mac: bool,
    pub(super) what: What,
}

/// The events that a verifier minds.
pub(super) enum What {
    Segment(Segment),
    File(File),
    Retention { first_seq: u64 },
    Intent(KeyringMark),
    Commit(KeyringMark),
    Other,
}

/// `audit.segment`
pub(super) struct Segment {
    pub(super) place: Place,
    pub(super) previous_mac: [u8; 32],
    pub(super) bridge: bool,
    pub(super) bridge_key: Option<SealedBridge>,
    pub(super) unauthenticated_from: Option<u64>,
}

/// `audit.file`
pub(super) struct File {
    pub(super) place: Place,
    pub(super) group: u64,
    pub(super) previous_mac: [u8; 32],
    pub(super) bridge: bool,
}

/// Reads a line.
pub(super) fn read(line: &[u8]) -> Result<Facts, Malformed> {
    let mut members = Members::of(line);
    let Some((b"seq", Value::Number(seq))) = members.next().transpose()? else { return Err(Malformed) };
    let Some((b"id", Value::Text(id))) = members.next().transpose()? else { return Err(Malformed) };
    let segment = segment_of(id, seq).ok_or(Malformed)?;
    let (mut time, mut event, mut metadata, mut has_mac) = (None, None, None, false);
    for member in members {
        match member? {
            (b"timestamp", Value::Text(text)) if time.is_none() => time = Some(text),
            (b"event_type", Value::Text(text)) if event.is_none() => event = Some(text),
            (b"metadata", Value::Object(object)) if metadata.is_none() => metadata = Some(object),
            (b"mac", Value::Text(_)) if !has_mac => has_mac = true,
            (b"seq" | b"id" | b"timestamp" | b"event_type" | b"metadata" | b"mac", _) => {
                return Err(Malformed);
            }
            _ => {}
        }
    }
    let timestamp = time.and_then(|text| text.try_into().ok()).ok_or(Malformed)?;
    let what = read_event(seq, event.ok_or(Malformed)?, metadata.ok_or(Malformed)?)?;
    Ok(Facts { mark: Mark { seq, timestamp }, segment, has_mac, what })
}

/// An id is `segment-seq`, both decimal.
fn segment_of(id: &[u8], seq: u64) -> Option<u64> {
    let (segment, number) = core::str::from_utf8(id).ok()?.split_once('-')?;
    (number.parse() == Ok(seq)).then(|| segment.parse().ok())?
}

fn read_event(seq: u64, event: &[u8], metadata: &[u8]) -> Result<What, Malformed> {
    let mark = || {
        let (generation, digest) = (number(metadata, b"generation")?, hex(text(metadata, b"digest")?)?);
        Ok(KeyringMark { seq, generation, digest })
    };
    match event {
        b"audit.segment" => read_segment(metadata).map(What::Segment),
        b"audit.file" => Ok(What::File(File {
            place: read_place(metadata)?,
            group: number(metadata, b"group")?,
            previous_mac: hex(text(metadata, b"previous_mac")?)?,
            bridge: find(metadata, b"bridge").is_some(),
        })),
        b"audit.retention" => Ok(What::Retention { first_seq: number(metadata, b"first_seq")? }),
        b"keyring.intent" => mark().map(What::Intent),
        b"keyring.commit" => mark().map(What::Commit),
        _ => Ok(What::Other),
    }
}

fn read_segment(metadata: &[u8]) -> Result<Segment, Malformed> {
    let sealed = |_| {
        let bytes: [u8; SEALED_BYTES] = hex(text(metadata, b"bridge_key")?)?;
        Ok(SealedBridge { segment: number(metadata, b"bridge_segment")?, bytes })
    };
    let from = b"unauthenticated_from";
    Ok(Segment {
        place: read_place(metadata)?,
        previous_mac: hex(text(metadata, b"previous_mac")?)?,
        bridge: find(metadata, b"bridge").is_some(),
        bridge_key: find(metadata, b"bridge_key").map(sealed).transpose()?,
        unauthenticated_from: find(metadata, from).map(|_| number(metadata, from)).transpose()?,
    })
}

fn read_place(metadata: &[u8]) -> Result<Place, Malformed> {
    Ok(Place {
        keyring_id: hex(text(metadata, b"keyring_id")?)?,
        segment: number(metadata, b"segment")?,
        salt: hex(text(metadata, b"salt")?)?,
    })
}

fn find<'l>(object: &'l [u8], name: &[u8]) -> Option<Value<'l>> {
    let mut members = Members::of(object).filter_map(Result::ok);
    members.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn number(object: &[u8], name: &[u8]) -> Result<u64, Malformed> {
    if let Some(Value::Number(value)) = find(object, name) { Ok(value) } else { Err(Malformed) }
}

fn text<'l>(object: &'l [u8], name: &[u8]) -> Result<&'l [u8], Malformed> {
    if let Some(Value::Text(value)) = find(object, name) { Ok(value) } else { Err(Malformed) }
}

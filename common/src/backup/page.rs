//! A page: keys with their versions, sealed by the daemon under a key that only the backup key gives.
//!
//! The body is sealed as a whole, and every secret in it once more by itself: whoever reads the body (the client,
//! to say what a backup holds) sees names and states, and no secret.

use alloc::vec::Vec;

use super::{
    BackupError, ORIGIN_BYTES, Origin,
    fields::{Reader, join, length},
};

/// Bytes of a page's header.
pub const HEADER_BYTES: usize = ORIGIN_BYTES + 5;
/// Most bytes of a page.
pub const MAX_BYTES: usize = 48 << 10;
/// What writers fill a body to, in bytes; at least one version always fits.
pub const BODY_BYTES: usize = 40 << 10;
/// Most bytes of what is said about a key, its versions aside.
pub const MAX_KEY_BYTES: usize = 24 << 10;

const PAGE_AD: &[u8; 24] = b"keyagent/v1 backup page\0";
const RECORD_AD: &[u8; 26] = b"keyagent/v1 backup record\0";

/// Which page of which backup, in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Of which keyring, in which state.
    pub origin: Origin,
    /// Counted from 0.
    pub index: u32,
    /// Whether no other follows.
    pub last: bool,
}

/// A page, split.
#[derive(Debug, Clone, Copy)]
pub struct Page<'b> {
    /// Which one it is.
    pub header: PageHeader,
    /// XAES nonce.
    pub nonce: &'b [u8; 24],
    /// The sealed body.
    pub body: &'b [u8],
    /// Its tag.
    pub tag: &'b [u8; 16],
}

impl PageHeader {
    /// As it stands before the nonce.
    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        join(&[&self.origin.bytes(), &self.index.to_le_bytes(), &[u8::from(self.last)]])
    }

    /// `"keyagent/v1 backup page" || 00 ||` the header.
    pub fn associated_data(&self) -> [u8; 24 + HEADER_BYTES] {
        join(&[PAGE_AD, &self.bytes()])
    }
}

impl<'b> Page<'b> {
    /// Splits a page.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, BackupError> {
        if bytes.len() > MAX_BYTES {
            return Err(BackupError::Malformed("a page is longer than 48 KiB"));
        }
        let mut reader = Reader(bytes);
        let origin = Origin { keyring_id: *reader.array()?, epoch: reader.u32()?, generation: reader.u64()? };
        let header = PageHeader { origin, index: reader.u32()?, last: reader.flag()? };
        let nonce = reader.array()?;
        let (body, tag) = reader.0.split_last_chunk().ok_or(BackupError::Truncated)?;
        Ok(Self { header, nonce, body, tag })
    }
}

/// What is said about a key. Times are seconds since 1970, 0 for never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart<'b> {
    /// Random; tells a key from a later one of the same name.
    pub uid: [u8; 16],
    /// Class of docs/FORMATS.md, section 6.
    pub class: u8,
    /// Its name, unchecked.
    pub name: &'b str,
    /// When it was made.
    pub created_at: u64,
    /// When it is rotated.
    pub policy: PolicyPart,
    /// Free text.
    pub note: &'b str,
    /// Brake, owed rotation and labels, as the keyring has them.
    pub attributes: Vec<(&'b str, &'b [u8])>,
    /// Id of the primary version; zeros if all are destroyed. The primary is the first version of the first part.
    pub primary: [u8; 32],
    /// Versions of the key in all pages.
    pub total: u32,
    /// Versions of it in the pages before.
    pub before: u32,
    /// Versions of it here: the next ones by number behind the primary.
    pub versions: Vec<VersionPart<'b>>,
}

/// When a key is rotated (docs/FORMATS.md, section 3 "Policy").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyPart {
    /// By itself.
    pub enabled: bool,
    /// Days from one rotation to the next.
    pub interval_days: u32,
    /// Days that an old version stays in grace.
    pub grace_period_days: u32,
    /// The next one.
    pub next_rotation_at: u64,
    /// The last one.
    pub last_rotation_at: u64,
    /// Versions retire by themselves.
    pub auto_retire: bool,
}

/// A version. States and reasons are the bytes of docs/FORMATS.md, section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionPart<'b> {
    /// Counted from 1.
    pub number: u32,
    /// Where it stands in its life.
    pub state: u8,
    /// Where a stopped one stood before; else 0.
    pub state_before: u8,
    /// Since when it is in its state; 0 if that is not known.
    pub since: u64,
    /// When it was made.
    pub created_at: u64,
    /// Why it was made.
    pub reason: u8,
    /// Its secret; none when destroyed.
    pub secret: Option<SealedSecret<'b>>,
}

/// A secret, sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedSecret<'b> {
    /// Id of the version.
    pub key_id: &'b [u8; 32],
    /// XAES nonce.
    pub nonce: &'b [u8; 24],
    /// The sealed secret, 1 to 1024 bytes.
    pub sealed: &'b [u8],
    /// Its tag.
    pub tag: &'b [u8; 16],
}

/// Bytes of a version whose secret has this length; none when destroyed.
pub const fn version_bytes(secret_bytes: Option<usize>) -> usize {
    match secret_bytes {
        None => VERSION_HEAD_BYTES,
        Some(bytes) => VERSION_HEAD_BYTES + 72 + bytes,
    }
}

const VERSION_HEAD_BYTES: usize = 4 + 1 + 1 + 8 + 8 + 1 + 2;

/// `"keyagent/v1 backup record" || 00 ||` origin, uid, version, class, key id.
pub fn record_associated_data(
    origin: &Origin,
    uid: &[u8; 16],
    version: u32,
    class: u8,
    key_id: &[u8; 32],
) -> [u8; 26 + ORIGIN_BYTES + 53] {
    join(&[RECORD_AD, &origin.bytes(), uid, &version.to_le_bytes(), &[class], key_id])
}

impl KeyPart<'_> {
    /// Writes what is said about the key, and that `versions` follow; then come these, by [`VersionPart::write`].
    pub fn write_head(&self, versions: u16, out: &mut Vec<u8>) -> Result<(), BackupError> {
        out.extend_from_slice(&self.uid);
        out.push(self.class);
        out.push(length(self.name.len())?);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.created_at.to_le_bytes());
        let PolicyPart { enabled, interval_days, grace_period_days, .. } = self.policy;
        out.push(u8::from(enabled));
        out.extend_from_slice(&interval_days.to_le_bytes());
        out.extend_from_slice(&grace_period_days.to_le_bytes());
        out.extend_from_slice(&self.policy.next_rotation_at.to_le_bytes());
        out.extend_from_slice(&self.policy.last_rotation_at.to_le_bytes());
        out.push(u8::from(self.policy.auto_retire));
        out.extend_from_slice(&length::<u16>(self.note.len())?.to_le_bytes());
        out.extend_from_slice(self.note.as_bytes());
        out.push(length(self.attributes.len())?);
        for (name, value) in &self.attributes {
            out.push(length(name.len())?);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&length::<u16>(value.len())?.to_le_bytes());
            out.extend_from_slice(value);
        }
        out.extend_from_slice(&self.primary);
        out.extend_from_slice(&self.total.to_le_bytes());
        out.extend_from_slice(&self.before.to_le_bytes());
        out.extend_from_slice(&versions.to_le_bytes());
        Ok(())
    }
}

impl VersionPart<'_> {
    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), BackupError> {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[self.state, self.state_before]);
        out.extend_from_slice(&self.since.to_le_bytes());
        out.extend_from_slice(&self.created_at.to_le_bytes());
        out.push(self.reason);
        let secret_bytes = self.secret.map_or(0, |secret| secret.sealed.len());
        out.extend_from_slice(&length::<u16>(secret_bytes)?.to_le_bytes());
        if let Some(SealedSecret { key_id, nonce, sealed, tag }) = self.secret {
            for field in [key_id.as_slice(), nonce, sealed, tag] {
                out.extend_from_slice(field);
            }
        }
        Ok(())
    }
}

/// Reads an opened body: every byte is accounted for. Names, classes and states are left to the reader.
pub fn read_body(body: &[u8]) -> Result<Vec<KeyPart<'_>>, BackupError> {
    let mut reader = Reader(body);
    let mut parts = Vec::new();
    while !reader.0.is_empty() {
        parts.push(read_key(&mut reader)?);
    }
    Ok(parts)
}

fn read_key<'b>(reader: &mut Reader<'b>) -> Result<KeyPart<'b>, BackupError> {
    let (uid, class) = (*reader.array()?, reader.u8()?);
    let name_bytes = reader.u8()?;
    let (name, created_at) = (reader.text(name_bytes.into())?, reader.u64()?);
    let policy = PolicyPart {
        enabled: reader.flag()?,
        interval_days: reader.u32()?,
        grace_period_days: reader.u32()?,
        next_rotation_at: reader.u64()?,
        last_rotation_at: reader.u64()?,
        auto_retire: reader.flag()?,
    };
    let note_bytes = reader.u16()?;
    let note = reader.text(note_bytes.into())?;
    let mut attributes = Vec::new();
    for _ in 0..reader.u8()? {
        let name_bytes = reader.u8()?;
        let name = reader.text(name_bytes.into())?;
        let value_bytes = reader.u16()?;
        attributes.push((name, reader.bytes(value_bytes.into())?));
    }
    let (primary, total, before) = (*reader.array()?, reader.u32()?, reader.u32()?);
    let mut versions = Vec::new();
    for _ in 0..reader.u16()? {
        versions.push(read_version(reader)?);
    }
    let here = u32::try_from(versions.len()).unwrap_or(u32::MAX);
    if here == 0 || before.checked_add(here).is_none_or(|given| given > total) {
        return Err(BackupError::Malformed("the versions of a key do not add up"));
    }
    Ok(KeyPart { uid, class, name, created_at, policy, note, attributes, primary, total, before, versions })
}

fn read_version<'b>(reader: &mut Reader<'b>) -> Result<VersionPart<'b>, BackupError> {
    let (number, state, state_before) = (reader.u32()?, reader.u8()?, reader.u8()?);
    let (since, created_at, reason) = (reader.u64()?, reader.u64()?, reader.u8()?);
    let secret = match reader.u16()? {
        0 => None,
        bytes => Some(SealedSecret {
            key_id: reader.array()?,
            nonce: reader.array()?,
            sealed: reader.bytes(bytes.into())?,
            tag: reader.array()?,
        }),
    };
    Ok(VersionPart { number, state, state_before, since, created_at, reason, secret })
}

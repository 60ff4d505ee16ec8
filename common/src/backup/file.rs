//! The file: what it is of, in the clear; the protected backup key; the master key; the pages; code and checksum.

use alloc::vec::Vec;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    BackupError, KEY_BYTES, MAX_FILE_BYTES, Origin, Protection, SEALED_MASTER_BYTES, WHOLE_LABEL,
    fields::{Reader, length},
    id,
    page::Page,
};
use crate::kdf;

/// Every backup begins with this; a byte with the version follows.
const MAGIC: &[u8; 15] = b"keyagent/backup";
const VERSION: u8 = 1;
const HOLDS_ALL_KEYS: u8 = 1;
const HOLDS_MASTER: u8 = 2;
/// Bytes of the code, and of the checksum.
const DIGEST_BYTES: usize = 32;

/// A backup, split. Nothing in it is authentic before [`Self::verify`].
#[derive(Debug, Clone)]
pub struct Backup<'b> {
    /// Of which keyring, in which state.
    pub origin: Origin,
    /// When it was made, in seconds since 1970, by the clock of whoever made it.
    pub created_at: u64,
    /// Fingerprint of the keyring's master key.
    pub master: [u8; 16],
    /// Its public name; commits to the backup key.
    pub id: [u8; 32],
    /// Whether it holds every key of the keyring.
    pub whole: bool,
    /// How many keys it holds.
    pub keys: u32,
    /// Ids of the key versions it holds, ascending.
    pub key_ids: &'b [[u8; 32]],
    /// How the backup key is kept.
    pub protection: Protection<'b>,
    /// The master key, sealed: nonce, key, tag.
    pub sealed_master: Option<&'b [u8; SEALED_MASTER_BYTES]>,
    /// The pages, in order, each in step with the header.
    pub pages: Vec<&'b [u8]>,
    coded: &'b [u8],
    code: &'b [u8; DIGEST_BYTES],
}

/// What goes into a file.
#[derive(Debug, Clone)]
pub struct Contents<'c> {
    /// Of which keyring, in which state.
    pub origin: Origin,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Fingerprint of the keyring's master key.
    pub master: [u8; 16],
    /// Whether it holds every key of the keyring.
    pub whole: bool,
    /// How many keys it holds.
    pub keys: u32,
    /// Ids of the key versions it holds, strictly ascending.
    pub key_ids: &'c [[u8; 32]],
    /// How the backup key is kept.
    pub protection: &'c Protection<'c>,
    /// The master key, sealed: nonce, key, tag.
    pub sealed_master: Option<&'c [u8; SEALED_MASTER_BYTES]>,
    /// The pages, in order.
    pub pages: &'c [Vec<u8>],
}

/// Whether bytes call themselves a backup, of whatever version.
pub fn is_backup(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC)
}

/// The bytes of a file, read back before they are returned.
pub fn assemble(contents: &Contents<'_>, backup_key: &[u8; KEY_BYTES]) -> Result<Vec<u8>, BackupError> {
    let Contents { origin, created_at, master, whole, keys, key_ids, protection, sealed_master, pages } =
        contents;
    let mut out = Vec::from(MAGIC.as_slice());
    out.push(VERSION);
    out.extend_from_slice(&origin.bytes());
    out.extend_from_slice(&created_at.to_le_bytes());
    out.extend_from_slice(master);
    out.extend_from_slice(&id(backup_key));
    let master_flag = if sealed_master.is_some() { HOLDS_MASTER } else { 0 };
    out.push(if *whole { HOLDS_ALL_KEYS } else { 0 } | master_flag);
    out.extend_from_slice(&keys.to_le_bytes());
    out.extend_from_slice(&length::<u32>(key_ids.len())?.to_le_bytes());
    out.extend_from_slice(&length::<u32>(pages.len())?.to_le_bytes());
    out.extend_from_slice(key_ids.as_flattened());
    protection.write(&mut out)?;
    if let Some(sealed) = sealed_master {
        out.extend_from_slice(sealed.as_slice());
    }
    for page in *pages {
        out.extend_from_slice(&length::<u32>(page.len())?.to_le_bytes());
        out.extend_from_slice(page);
    }
    let code: [u8; DIGEST_BYTES] = whole_code(backup_key, &out).finalize().into_bytes().into();
    out.extend_from_slice(&code);
    let checksum: [u8; DIGEST_BYTES] = Sha256::digest(&out).into();
    out.extend_from_slice(&checksum);
    Backup::parse(&out)?.verify(backup_key)?;
    Ok(out)
}

impl<'b> Backup<'b> {
    /// Splits a file once its checksum was found right. Every byte is accounted for.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, BackupError> {
        let mut reader = Reader(bytes);
        if reader.array().ok() != Some(MAGIC) {
            return Err(BackupError::NotABackup);
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(BackupError::UnknownVersion(version));
        }
        if bytes.len() > MAX_FILE_BYTES {
            return Err(BackupError::Malformed("longer than 96 MiB"));
        }
        let (summed, checksum) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(BackupError::Truncated)?;
        if <[u8; DIGEST_BYTES]>::from(Sha256::digest(summed)) != *checksum {
            return Err(BackupError::Checksum);
        }
        let (coded, code) = summed.split_last_chunk::<DIGEST_BYTES>().ok_or(BackupError::Truncated)?;
        let header_bytes = MAGIC.len() + 1;
        Self::read(Reader(coded.get(header_bytes..).ok_or(BackupError::Truncated)?), coded, code)
    }

    fn read(
        mut reader: Reader<'b>,
        coded: &'b [u8],
        code: &'b [u8; DIGEST_BYTES],
    ) -> Result<Self, BackupError> {
        let origin = Origin { keyring_id: *reader.array()?, epoch: reader.u32()?, generation: reader.u64()? };
        let (created_at, master, id) = (reader.u64()?, *reader.array()?, *reader.array()?);
        let flags = reader.u8()?;
        if flags & !(HOLDS_ALL_KEYS | HOLDS_MASTER) != 0 {
            return Err(BackupError::Malformed("a flag that is not known here"));
        }
        let (keys, id_count, page_count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let id_bytes = usize::try_from(id_count).ok().and_then(|count| count.checked_mul(32));
        let (key_ids, _) = reader.bytes(id_bytes.ok_or(BackupError::Truncated)?)?.as_chunks::<32>();
        if !key_ids.is_sorted_by(|one, next| one < next) {
            return Err(BackupError::Malformed("the key ids are not strictly ascending"));
        }
        let protection = Protection::read(&mut reader)?;
        let sealed_master = if flags & HOLDS_MASTER == 0 { None } else { Some(reader.array()?) };
        let mut pages = Vec::new();
        for index in 0..page_count {
            let bytes = usize::try_from(reader.u32()?).map_err(|_| BackupError::Truncated)?;
            let page = reader.bytes(bytes)?;
            let header = Page::parse(page)?.header;
            if header.origin != origin || header.index != index || header.last != (index + 1 == page_count) {
                return Err(BackupError::Malformed("a page is not in its place"));
            }
            pages.push(page);
        }
        if !reader.0.is_empty() || pages.is_empty() {
            return Err(BackupError::Malformed("there is no page, or bytes follow the last one"));
        }
        let whole = flags & HOLDS_ALL_KEYS != 0;
        Ok(Self {
            origin,
            created_at,
            master,
            id,
            whole,
            keys,
            key_ids,
            protection,
            sealed_master,
            pages,
            coded,
            code,
        })
    }

    /// Whether this is the key of the backup, and every byte of it was written by somebody who had it.
    pub fn verify(&self, backup_key: &[u8; KEY_BYTES]) -> Result<(), BackupError> {
        if id(backup_key) != self.id {
            return Err(BackupError::AnotherKey);
        }
        whole_code(backup_key, self.coded).verify_slice(self.code).map_err(|_| BackupError::Changed)
    }
}

fn whole_code(backup_key: &[u8; KEY_BYTES], bytes: &[u8]) -> Hmac<Sha256> {
    let mut key = Zeroizing::new([0; 32]);
    kdf::derive(backup_key, WHOLE_LABEL, &[], &mut *key);
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*key) else {
        unreachable!("HMAC accepts keys of any length (RFC 2104)")
    };
    mac.update(bytes);
    mac
}

//! Keys of earlier epochs, sealed under the root in use, so that lines from before a rotation of the master key can
//! be checked (docs/FORMATS.md, section 4 "Epochs").
//!
//! Which epoch a segment belongs to is decided by its number alone, which the keyring's head authenticates: a line
//! may say what it likes. Opened keys are on the stack for as long as one key is derived from them, never longer.

use alloc::vec::Vec;

use keyagent_common::kdf;
use zeroize::Zeroizing;

use super::{AuditRoot, bridge::Place, segment_key_of};
use crate::{
    arena::Arena,
    cipher::{self, DoesNotOpen, NONCE_BYTES, SealError, TAG_BYTES},
    entropy::{Entropy, EntropyFailed},
    layout::{Reader, Short, join},
    pin::{Pin, PinError},
};

/// Most epochs that are kept; the oldest goes first.
pub(crate) const MAX_EPOCHS: usize = 256;
/// Bytes of an epoch: span 28, nonce 24, sealed keys 128, tag 16.
pub(crate) const EPOCH_BYTES: usize = SPAN_BYTES + NONCE_BYTES + KEYS_BYTES + TAG_BYTES;
const SPAN_BYTES: usize = 28;
const KEYS_BYTES: usize = 4 * 32;
const LABEL: &[u8] = b"keyagent/v1 audit archive\0";
const AD_BYTES: usize = LABEL.len() + 20 + SPAN_BYTES;

/// `KDF(R, ..)` with the labels `audit`, `audit bridge`, `pin` and `counters`, in this order.
pub(crate) type EpochKeys = Zeroizing<[u8; KEYS_BYTES]>;

/// Which epoch, and what of the log belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Epoch of the keyring.
    pub(crate) epoch: u32,
    /// Its first segment.
    pub(crate) first_segment: u64,
    /// Its last segment; one less than the first if it had none.
    pub(crate) last_segment: u64,
    /// Generation of its last keyring: the next one begins the next epoch.
    pub(crate) generation: u64,
}

/// An epoch as it stands in the archive.
#[derive(Clone, Copy)]
struct Sealed<'b> {
    span: Span,
    span_bytes: &'b [u8; SPAN_BYTES],
    nonce: &'b [u8; NONCE_BYTES],
    keys: &'b [u8; KEYS_BYTES],
    tag: &'b [u8; TAG_BYTES],
}

/// An archive cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveError {
    /// No random bytes.
    Entropy(EntropyFailed),
    /// The cipher refused.
    Seal(SealError),
    /// An epoch before does not open.
    DoesNotOpen,
}

/// The archive of a keyring: which epochs there are, all but their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Archive {
    keyring_id: [u8; 16],
    /// Of the root under which the keys are sealed.
    epoch: u32,
    bytes: Vec<u8>,
}

/// Where the key of a segment comes from.
enum Origin<'b> {
    Current,
    Earlier(Sealed<'b>),
    /// Its epoch is no longer kept.
    Gone,
}

/// The key of a segment cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoKey;

impl<'b> Sealed<'b> {
    fn read(reader: &mut Reader<'b>) -> Result<Self, Short> {
        let span_bytes = reader.array::<SPAN_BYTES>()?;
        let mut fields = Reader(span_bytes);
        let span = Span {
            epoch: fields.u32()?,
            first_segment: fields.u64()?,
            last_segment: fields.u64()?,
            generation: fields.u64()?,
        };
        Ok(Self { span, span_bytes, nonce: reader.array()?, keys: reader.array()?, tag: reader.array()? })
    }
}

fn read(bytes: &[u8]) -> impl DoubleEndedIterator<Item = Sealed<'_>> {
    bytes.chunks(EPOCH_BYTES).filter_map(|epoch| Sealed::read(&mut Reader(epoch)).ok())
}

/// The epochs of an archive, oldest first.
pub(crate) fn spans(bytes: &[u8]) -> impl DoubleEndedIterator<Item = Span> {
    read(bytes).map(|sealed| sealed.span)
}

/// Whether bytes can be an archive: 1 to 256 epochs, each the one after the one before, in numbers and in segments.
pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    let whole = !bytes.is_empty()
        && bytes.len().is_multiple_of(EPOCH_BYTES)
        && bytes.len() <= MAX_EPOCHS * EPOCH_BYTES;
    let follows = |one: &Span, next: &Span| {
        one.epoch.checked_add(1) == Some(next.epoch)
            && one.last_segment.checked_add(1) == Some(next.first_segment)
            && one.generation < next.generation
    };
    let sound = |span: Span| {
        let Span { epoch, first_segment, last_segment, .. } = span;
        epoch > 0 && first_segment > 0 && first_segment <= last_segment.saturating_add(1)
    };
    let spans: Vec<Span> = spans(bytes).collect();
    whole && spans.iter().all(|span| sound(*span)) && spans.is_sorted_by(follows)
}

/// Seals the keys of an epoch under the archive key of a later one.
fn seal(
    archive_key: &[u8; 32],
    keyring_id: &[u8; 16],
    sealed_in: u32,
    span: &[u8; SPAN_BYTES],
    mut keys: EpochKeys,
    entropy: &mut dyn Entropy,
) -> Result<[u8; EPOCH_BYTES], ArchiveError> {
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce).map_err(ArchiveError::Entropy)?;
    let ad = associated_data(keyring_id, sealed_in, span);
    let tag = cipher::seal_with(archive_key, &nonce, &ad, &mut *keys).map_err(ArchiveError::Seal)?;
    Ok(join(&[span, &nonce, &*keys, &tag]))
}

fn open(
    archive_key: &[u8; 32],
    keyring_id: &[u8; 16],
    sealed_in: u32,
    sealed: &Sealed<'_>,
) -> Result<EpochKeys, DoesNotOpen> {
    let mut keys = Zeroizing::new(*sealed.keys);
    let ad = associated_data(keyring_id, sealed_in, sealed.span_bytes);
    cipher::open_with(archive_key, sealed.nonce, &ad, &mut *keys, sealed.tag)?;
    Ok(keys)
}

/// `"keyagent/v1 audit archive" || 00 || keyring id || epoch of the sealing root || span`.
fn associated_data(keyring_id: &[u8; 16], sealed_in: u32, span: &[u8; SPAN_BYTES]) -> [u8; AD_BYTES] {
    join(&[LABEL, keyring_id, &sealed_in.to_le_bytes(), span])
}

impl Span {
    fn to_bytes(self) -> [u8; SPAN_BYTES] {
        let Self { epoch, first_segment, last_segment, generation } = self;
        join(&[
            &epoch.to_le_bytes(),
            &first_segment.to_le_bytes(),
            &last_segment.to_le_bytes(),
            &generation.to_le_bytes(),
        ])
    }
}

/// What ends with a rotation of the root.
pub(crate) struct Ending<'r> {
    /// Id of the keyring.
    pub(crate) keyring_id: &'r [u8; 16],
    /// Epoch of the root that is replaced.
    pub(crate) epoch: u32,
    /// Generation of its last keyring.
    pub(crate) generation: u64,
    /// The last segment of the log under it.
    pub(crate) last_segment: u64,
    /// The root that is replaced.
    pub(crate) root: &'r [u8; 32],
    /// The archive under it; empty if there is none.
    pub(crate) archive: &'r [u8],
}

/// The archive under the next root: everything that the one before held, and the epoch that ends.
pub(crate) fn rotate(
    ending: &Ending<'_>,
    next_root: &[u8; 32],
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, ArchiveError> {
    let Ending { keyring_id, epoch, generation, last_segment, root, archive } = *ending;
    let (old_key, new_key) = (archive_key(root), archive_key(next_root));
    let sealed_in = epoch.saturating_add(1);
    let mut out = Vec::with_capacity(archive.len() + EPOCH_BYTES);
    let count = read(archive).count();
    let mut first_segment = 1;
    for sealed in read(archive).skip((count + 1).saturating_sub(MAX_EPOCHS)) {
        let keys = open(&old_key, keyring_id, epoch, &sealed).map_err(|_| ArchiveError::DoesNotOpen)?;
        out.extend_from_slice(&seal(&new_key, keyring_id, sealed_in, sealed.span_bytes, keys, entropy)?);
    }
    if let Some(last) = spans(archive).next_back() {
        first_segment = last.last_segment.saturating_add(1);
    }
    let span = Span { epoch, first_segment, last_segment, generation }.to_bytes();
    out.extend_from_slice(&seal(&new_key, keyring_id, sealed_in, &span, keys_of(root), entropy)?);
    Ok(out)
}

/// What is kept of a root that is replaced.
fn keys_of(root: &[u8; 32]) -> EpochKeys {
    let mut keys = Zeroizing::new([0; KEYS_BYTES]);
    for (place, label) in keys.chunks_mut(32).zip(["audit", "audit bridge", "pin", "counters"]) {
        kdf::derive(root, label, &[], place);
    }
    keys
}

fn archive_key(root: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    kdf::derive(root, "audit archive", &[], &mut *key);
    key
}

/// One of the keys of an epoch.
fn part(keys: &EpochKeys, number: usize) -> &[u8; 32] {
    const NONE: &[u8; 32] = &[0; 32];
    keys.as_chunks::<32>().0.get(number).unwrap_or(NONE)
}

impl Archive {
    /// What the head of a keyring holds.
    pub(super) fn new(keyring_id: [u8; 16], epoch: u32, bytes: Vec<u8>) -> Self {
        Self { keyring_id, epoch, bytes }
    }

    fn origin(&self, segment: u64) -> Origin<'_> {
        let mut epochs = read(&self.bytes);
        if read(&self.bytes).next().is_some_and(|oldest| segment < oldest.span.first_segment) {
            return Origin::Gone;
        }
        epochs.find(|epoch| segment <= epoch.span.last_segment).map_or(Origin::Current, Origin::Earlier)
    }
}

impl<A: Arena> AuditRoot<A> {
    /// The key of an earlier epoch, for `then`.
    fn with_part<R>(
        &self,
        sealed: &Sealed<'_>,
        number: usize,
        then: impl FnOnce(&[u8; 32]) -> R,
    ) -> Result<R, NoKey> {
        let Archive { keyring_id, epoch, .. } = &self.archive;
        let keys = open(&self.archive_key, keyring_id, *epoch, sealed).map_err(|_| NoKey)?;
        Ok(then(part(&keys, number)))
    }

    /// The first key of a segment that is not a bridge, of whatever epoch, written to `out`.
    pub(super) fn segment_key(&self, place: &Place, out: &mut [u8; 32]) -> Result<(), NoKey> {
        match self.archive.origin(place.segment) {
            Origin::Current => segment_key_of(&self.root, place, out),
            Origin::Earlier(sealed) => {
                self.with_part(&sealed, 0, |root| segment_key_of(root, place, out))?;
            }
            Origin::Gone => return Err(NoKey),
        }
        Ok(())
    }

    /// The key under which the first keys of bridges are sealed into a segment, for `then`.
    pub(super) fn with_bridge_key<R>(
        &self,
        segment: u64,
        then: impl FnOnce(&[u8; 32]) -> R,
    ) -> Result<R, NoKey> {
        match self.archive.origin(segment) {
            Origin::Current => Ok(then(&self.bridge)),
            Origin::Earlier(sealed) => self.with_part(&sealed, 1, then),
            Origin::Gone => Err(NoKey),
        }
    }

    /// The epoch before, if `generation` is that of the very keyring that began the epoch in use.
    fn just_ended(&self, generation: u64) -> Option<Sealed<'_>> {
        let last = read(&self.archive.bytes).next_back()?;
        let adjoins = last.span.epoch.checked_add(1) == Some(self.archive.epoch)
            && last.span.generation.checked_add(1) == Some(generation);
        adjoins.then_some(last)
    }

    /// Reads an `audit.pin` of the epoch before. That counts only for the very keyring that began the epoch in use,
    /// whose generation this must be: a daemon may have been killed before it wrote a pin of its own, and no other
    /// keyring is put in place before that was made good.
    pub fn open_pin_before(&self, generation: u64, file: &[u8]) -> Result<Pin, PinError> {
        let sealed = self.just_ended(generation).ok_or(PinError::DoesNotVerify)?;
        let opened = self.with_part(&sealed, 2, |key| Pin::open(key, file));
        let pin = opened.map_err(|NoKey| PinError::DoesNotVerify)??;
        if pin.generation > sealed.span.generation {
            return Err(PinError::DoesNotVerify);
        }
        Ok(pin)
    }

    /// The subkey `counters` of the epoch before, for `then`, under the rule of [`Self::open_pin_before`].
    pub fn with_counters_key_before<R>(
        &self,
        generation: u64,
        then: impl FnOnce(&[u8; 32]) -> R,
    ) -> Option<R> {
        self.with_part(&self.just_ended(generation)?, 3, then).ok()
    }
}

#[cfg(test)]
mod tests;

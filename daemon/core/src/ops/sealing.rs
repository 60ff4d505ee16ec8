//! Sealing into and opening out of a reply, in place: what the operations on messages and data keys share.

use keyagent_common::{
    context::Context,
    envelope::{self, DATA_KEY_BYTES, Envelope, HEADER_BYTES, Kind, OVERHEAD_BYTES, PREFIX_BYTES, TAG_BYTES},
};

use super::{OperationError, Work};
use crate::{arena::Arena, cipher::MessageCipher};

/// Seals `plaintext` into `place`, which is exactly as long as the envelope.
pub(super) fn seal<A: Arena>(
    key: (&MessageCipher<A>, &[u8; 32]),
    kind: Kind,
    context: Context<'_>,
    work: &mut Work<'_>,
    plaintext: &[u8],
    place: &mut [u8],
) -> Result<(), OperationError> {
    seal_from(key, kind, context, work, Plaintext::Apart(plaintext), place)
}

/// Seals what lies in the place of the plaintext ([`text_of`]) already.
pub(super) fn seal_in_place<A: Arena>(
    key: (&MessageCipher<A>, &[u8; 32]),
    kind: Kind,
    context: Context<'_>,
    work: &mut Work<'_>,
    place: &mut [u8],
) -> Result<(), OperationError> {
    seal_from(key, kind, context, work, Plaintext::InPlace, place)
}

/// What is to be sealed.
#[derive(Clone, Copy)]
enum Plaintext<'p> {
    /// It lies elsewhere.
    Apart(&'p [u8]),
    /// It lies where the ciphertext shall be.
    InPlace,
}

fn seal_from<A: Arena>(
    (cipher, key_id): (&MessageCipher<A>, &[u8; 32]),
    kind: Kind,
    context: Context<'_>,
    work: &mut Work<'_>,
    plaintext: Plaintext<'_>,
    place: &mut [u8],
) -> Result<(), OperationError> {
    let mut nonce = [0; 24];
    work.entropy.fill(&mut nonce).map_err(|_| OperationError::Internal)?;
    let header = envelope::header(kind, key_id, &nonce);
    let prefix: &[u8; PREFIX_BYTES] = header.first_chunk().ok_or(OperationError::Internal)?;
    envelope::associated_data(prefix, context.as_bytes(), work.associated_data);
    let (head, body) = place.split_at_mut_checked(HEADER_BYTES).ok_or(OperationError::Internal)?;
    let (text, tag_place) = body.split_last_chunk_mut::<TAG_BYTES>().ok_or(OperationError::Internal)?;
    head.copy_from_slice(&header);
    let sealed = match plaintext {
        Plaintext::Apart(plaintext) => cipher.seal_into(&nonce, work.associated_data, plaintext, text),
        Plaintext::InPlace => cipher.seal_in_place(&nonce, work.associated_data, text),
    };
    *tag_place = sealed.map_err(|_| OperationError::Internal)?;
    Ok(())
}

/// Where the plaintext lies in the place of an envelope.
pub(super) fn text_of(place: &mut [u8]) -> Result<&mut [u8], OperationError> {
    let end = place.len().checked_sub(TAG_BYTES).ok_or(OperationError::Internal)?;
    place.get_mut(HEADER_BYTES..end).ok_or(OperationError::Internal)
}

/// Whether an envelope of this kind and length in bytes holds a data key.
pub(super) fn is_data_key(kind: Kind, sealed_bytes: usize) -> bool {
    matches!(kind, Kind::StreamKey | Kind::DataKey) && sealed_bytes == DATA_KEY_BYTES
}

/// Bytes of the plaintext of an envelope.
pub(super) fn plaintext_bytes(sealed: &[u8]) -> Result<usize, OperationError> {
    sealed.len().checked_sub(OVERHEAD_BYTES).ok_or(OperationError::DoesNotOpen)
}

/// Opens `sealed` into `place`, which is exactly as long as the plaintext; on failure `place` is zero.
pub(super) fn open<A: Arena>(
    cipher: &MessageCipher<A>,
    sealed: &[u8],
    context: Context<'_>,
    work: &mut Work<'_>,
    place: &mut [u8],
) -> Result<(), OperationError> {
    let parsed = Envelope::parse(sealed).map_err(|_| OperationError::DoesNotOpen)?;
    if place.len() != parsed.ciphertext.len() {
        return Err(OperationError::Internal);
    }
    envelope::associated_data(parsed.prefix, context.as_bytes(), work.associated_data);
    place.copy_from_slice(parsed.ciphertext);
    let opened = cipher.open_in_place(parsed.nonce, work.associated_data, place, parsed.tag);
    opened.map_err(|_| OperationError::DoesNotOpen)
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use keyagent_common::{context, kdf};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        arena::HeapArena,
        entropy::{Entropy, EntropyFailed},
        policy::{Meter, Payer, Rate},
        test_vectors,
    };

    struct Unmetered;

    impl Meter for Unmetered {
        fn take(&mut self, _: u16, _: &Rate, _: Payer) -> bool {
            true
        }
    }

    /// Gives a published nonce, so that a published envelope comes out.
    struct Fixed([u8; 24]);

    impl Entropy for Fixed {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
            out.copy_from_slice(&self.0[..out.len()]);
            Ok(())
        }
    }

    fn sealed(secret: &[u8; 32], nonce: [u8; 24], context: &[u8], text: &[u8]) -> Vec<u8> {
        let cipher = MessageCipher::new(&HeapArena, secret).unwrap();
        let (mut entropy, mut associated_data) = (Fixed(nonce), Vec::new());
        let mut work = Work {
            entropy: &mut entropy,
            associated_data: &mut associated_data,
            meter: &mut Unmetered,
            maintenance: false,
            now_unix: 0,
        };
        let mut place = vec![0; text.len() + OVERHEAD_BYTES];
        let context = Context::parse(context).unwrap();
        seal((&cipher, &kdf::key_id(secret, 1)), Kind::Message, context, &mut work, text, &mut place)
            .unwrap();
        place
    }

    fn opened(secret: &[u8; 32], context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OperationError> {
        let cipher = MessageCipher::new(&HeapArena, secret).unwrap();
        let (mut entropy, mut associated_data) = (Fixed([0; 24]), Vec::new());
        let mut work = Work {
            entropy: &mut entropy,
            associated_data: &mut associated_data,
            meter: &mut Unmetered,
            maintenance: false,
            now_unix: 0,
        };
        let mut place = vec![7; plaintext_bytes(sealed)?];
        let context = Context::parse(context).map_err(|_| OperationError::InvalidContext)?;
        let result = open(&cipher, sealed, context, &mut work, &mut place);
        assert!(
            result.is_ok() || place.iter().all(|byte| *byte == 0 || *byte == 7),
            "no plaintext after a failure"
        );
        result.map(|()| place)
    }

    #[test]
    fn envelopes_equal_the_published_vectors() {
        let vectors = test_vectors::formats();
        let secret = test_vectors::array(&vectors["kdf"]["secret"]);
        let cases = vectors["envelope"].as_array().unwrap();
        assert_eq!(cases.len(), 7);
        for case in cases {
            let context = hex::decode(case["context_encoded"].as_str().unwrap()).unwrap();
            let text = hex::decode(case["plaintext"].as_str().unwrap()).unwrap();
            let envelope = sealed(&secret, test_vectors::array(&case["nonce"]), &context, &text);
            assert_eq!(hex::encode(&envelope), case["envelope"]);
            assert_eq!(opened(&secret, &context, &envelope), Ok(text));
        }
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_refused(text in proptest::collection::vec(any::<u8>(), 0..40), secret: [u8; 32], nonce: [u8; 24], bit: prop::sample::Index) {
            let mut envelope = sealed(&secret, nonce, context::EMPTY, &text);
            let bit = bit.index(envelope.len() * 8);
            envelope[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(opened(&secret, context::EMPTY, &envelope), Err(OperationError::DoesNotOpen));
        }

        #[test]
        fn another_context_is_refused(text: Vec<u8>, secret: [u8; 32], nonce: [u8; 24], a in "[a-z]{1,3}", b in "[a-z]{1,3}", c in "[a-z]{1,3}") {
            let joined = |name: &str, value: &str| context::encode([(name, value.as_bytes())]).unwrap();
            let (ab, bc) = (alloc::format!("{a}{b}"), alloc::format!("{b}{c}"));
            let envelope = sealed(&secret, nonce, &joined(&ab, &c), &text);
            prop_assert_eq!(opened(&secret, &joined(&a, &bc), &envelope), Err(OperationError::DoesNotOpen));
            prop_assert_eq!(opened(&secret, context::EMPTY, &envelope), Err(OperationError::DoesNotOpen));
            prop_assert_eq!(opened(&secret, &joined(&ab, &c), &envelope), Ok(text));
        }
    }
}

//! What several targets share.

use keyagent_common::context::Context;
use keyagent_common::stream::*;

/// The data key of the stream vectors: their streams are seeds that open.
pub const DATA_KEY: [u8; 32] = {
    let mut key = [0x60; 32];
    let mut i = 0;
    while i < 32 {
        key[i] += i as u8;
        i += 1;
    }
    key
};

/// A whole stream with an empty context.
pub fn seal(sealed_key: &[u8; SEALED_KEY_BYTES], salt: &[u8; SALT_BYTES], plaintext: &[u8]) -> Vec<u8> {
    let (sealer, header) = Sealer::new(&DATA_KEY, sealed_key, salt, Context::empty()).unwrap();
    let mut sealer = StreamSealer::new(sealer);
    let (mut stream, mut copy) = (header.to_vec(), plaintext.to_vec());
    let (chunks, rest) = copy.as_chunks_mut::<CHUNK_PLAINTEXT_BYTES>();
    for chunk in chunks {
        let tag = sealer.seal(chunk).unwrap();
        stream.extend_from_slice(chunk);
        stream.extend_from_slice(&tag);
    }
    let tag = sealer.finish(rest).unwrap();
    stream.extend_from_slice(rest);
    stream.extend_from_slice(&tag);
    stream
}

/// A whole stream with an empty context, opened as from a pipe.
pub fn open(stream: &[u8]) -> Result<Vec<u8>, StreamError> {
    let header = StreamHeader::parse(stream)?;
    let mut opener = StreamOpener::new(Opener::new(&DATA_KEY, &header, Context::empty())?);
    let (mut plaintext, mut body) = (Vec::new(), stream[HEADER_BYTES..].to_vec());
    let (chunks, rest) = body.as_chunks_mut::<CHUNK_SEALED_BYTES>();
    for chunk in chunks {
        plaintext.extend_from_slice(opener.open(chunk)?);
    }
    plaintext.extend_from_slice(opener.finish(rest)?);
    Ok(plaintext)
}

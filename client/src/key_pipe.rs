//! A pipe through which a program that is started from here gets a master key.
//!
//! The key is text in the pipe, in the kernel's memory, and nowhere else; the pipe is the one
//! descriptor that a child inherits.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use keyagent_common::{error::ErrorCode, key_text::MAX_TEXT_BYTES, report::Report};
use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    unistd::pipe2,
};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::key_file::MasterKey;

/// The end to read from; every program started while it lives inherits it.
pub(crate) struct KeyPipe(OwnedFd);

impl KeyPipe {
    /// The number for `--key-fd`.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A pipe with the text of this key in it and nothing behind.
pub(crate) fn holding(master: &MasterKey) -> Result<KeyPipe, Report> {
    let refuse = |why: String| Report::new(ErrorCode::InputOutput, "cannot hand on the key").why(why);
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| refuse(errno.to_string()))?;
    let text = hexadecimal(master);
    // A pipe takes this at once, whoever reads it later.
    File::from(writer).write_all(&*text).map_err(|error| refuse(error.to_string()))?;
    fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| refuse(errno.to_string()))?;
    Ok(KeyPipe(reader))
}

/// The text of a key file: 64 digits and a newline.
pub(crate) fn hexadecimal(master: &MasterKey) -> Zeroizing<[u8; MAX_TEXT_BYTES]> {
    let mut text = Zeroizing::new([b'\n'; MAX_TEXT_BYTES]);
    let nibbles = master.expose_secret().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (digit, nibble) in text.iter_mut().zip(nibbles) {
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key_file, passphrase};

    #[test]
    fn a_key_comes_out_as_it_went_in() {
        let master = passphrase::new_master().unwrap();
        let pipe = holding(&master).unwrap();
        let number = u32::try_from(pipe.number()).unwrap();
        let read = key_file::read_descriptor(number).unwrap();
        assert_eq!(read.expose_secret(), master.expose_secret());
    }
}

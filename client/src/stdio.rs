//! Standard input and output without buffers of their own.
//!
//! `std::io::stdout` buffers by line, keeps plaintext in memory that is not wiped and hides a closed
//! descriptor. Nothing here may do so.

use std::io::{self, Read, Write};

/// Standard input; every read is a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stdin;

/// Standard output; every write is a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stdout;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(io::stdin(), buffer)?)
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

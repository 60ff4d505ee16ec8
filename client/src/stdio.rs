//! Standard input and output without buffers of their own.
//!
//! `std::io::stdout` buffers by line, keeps plaintext in memory that is not wiped and hides a closed
//! descriptor. Nothing here may do so.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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

/// Whether standard output leads to nobody: a pipe whose reader has gone.
pub(crate) fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLNVAL;
    poll(&mut asked, PollTimeout::ZERO).is_ok()
        && asked.iter().any(|found| found.revents().is_some_and(|events| events.intersects(gone)))
}

//! Where data comes from: a file or standard input, read as it is.
//!
//! What was read is kept in buffers that are wiped. A first argument that names no file is never
//! repeated when it could be a secret.

use std::{
    fs::{File, Metadata},
    io::{self, IsTerminal, PipeReader, PipeWriter, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use keyagent_common::{error::ErrorCode, report::Report};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroizing;

use crate::{
    failure::{Failure, cannot_read, usage},
    stdio::Stdin,
};

const FIRST_BUFFER_BYTES: usize = 16 << 10;

/// An opened input, with what was already read from it.
pub(crate) struct Input {
    source: Source,
    name: String,
    metadata: Option<Metadata>,
    ahead: Zeroizing<Vec<u8>>,
    taken: usize,
    /// Closed at the other end when nobody wants the input any more.
    stop: Option<PipeReader>,
}

enum Source {
    Stdin,
    File(File),
}

/// Device and number of a regular file.
pub(crate) type Identity = (u64, u64);

impl Input {
    /// Opens a file, or standard input for none and `-`.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            Some(path) if path.as_os_str() != "-" => Self::open_file(path),
            None if io::stdin().is_terminal() => Err(nothing_piped().into()),
            _ => {
                let metadata =
                    nix::unistd::dup(io::stdin()).ok().map(File::from).and_then(|file| file.metadata().ok());
                Ok(Self::new(Source::Stdin, "standard input".to_owned(), metadata))
            }
        }
    }

    fn open_file(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_such_file(path),
            _ => Report::new(ErrorCode::InputMissing, "cannot open the input")
                .fact("input", &name)
                .why(error.to_string()),
        })?;
        let metadata = file.metadata().map_err(|error| cannot_read(&name, &error))?;
        if metadata.is_dir() {
            return Err(Report::new(ErrorCode::InputMissing, "the input is a folder")
                .fact("input", name)
                .into());
        }
        Ok(Self::new(Source::File(file), name, Some(metadata)))
    }

    fn new(source: Source, name: String, metadata: Option<Metadata>) -> Self {
        Self { source, name, metadata, ahead: Zeroizing::default(), taken: 0, stop: None }
    }

    /// How errors call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Which regular file it is.
    pub(crate) fn identity(&self) -> Option<Identity> {
        identity(self.metadata.as_ref()?)
    }

    /// What is known of it; nothing for some kinds of standard input.
    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Bytes of a regular file, as it was when it was opened.
    pub(crate) fn length(&self) -> Option<u64> {
        self.metadata.as_ref().filter(|metadata| metadata.is_file()).map(Metadata::len)
    }

    /// A named regular file and its length now, for reading anywhere in it.
    pub(crate) fn regular_file(&self) -> Option<(&File, u64)> {
        let Source::File(file) = &self.source else { return None };
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        Some((file, metadata.len()))
    }

    /// Lets a read that waits for a pipe or terminal be ended by dropping what is returned; `None` where
    /// no read waits while another thread could want it to end.
    pub(crate) fn interruptible(&mut self, threads: usize) -> Result<Option<PipeWriter>, Failure> {
        if threads < 2 || self.metadata.as_ref().is_some_and(Metadata::is_file) {
            return Ok(None);
        }
        let (reader, writer) = io::pipe().map_err(|error| {
            Report::new(ErrorCode::Internal, "the system gives no pipe").why(error.to_string())
        })?;
        self.stop = Some(reader);
        Ok(Some(writer))
    }

    /// Reads ahead until this many bytes are there or the input ends; what is there, without taking it.
    pub(crate) fn look_ahead(&mut self, wanted: usize) -> Result<&[u8], Failure> {
        while self.ahead.len() < wanted {
            let filled = self.ahead.len();
            self.grow(wanted);
            let room = self.ahead.get_mut(filled..).unwrap_or_default();
            let asked = room.len();
            let count = match &mut self.source {
                Source::Stdin => fill(&mut Stdin, room),
                Source::File(file) => fill(file, room),
            };
            let count = count.map_err(|error| cannot_read(&self.name, &error))?;
            self.ahead.truncate(filled + count);
            if count < asked {
                break;
            }
        }
        Ok(&self.ahead)
    }

    /// Room for more, at most up to `wanted`, in a new buffer so that the old one is wiped.
    fn grow(&mut self, wanted: usize) {
        let size = wanted.min(FIRST_BUFFER_BYTES.max(self.ahead.len() * 4));
        let mut larger = Zeroizing::new(Vec::with_capacity(size));
        larger.extend_from_slice(&self.ahead);
        larger.resize(size, 0);
        self.ahead = larger;
    }

    /// Takes bytes that were read ahead.
    pub(crate) fn skip(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.ahead.len());
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ahead = self.ahead.get(self.taken..).unwrap_or_default();
        if !ahead.is_empty() {
            let count = ahead.read(buffer)?;
            self.taken += count;
            return Ok(count);
        }
        if let Some(stop) = &self.stop {
            match &self.source {
                Source::Stdin => wait(io::stdin().as_fd(), stop)?,
                Source::File(file) => wait(file.as_fd(), stop)?,
            }
        }
        match &mut self.source {
            Source::Stdin => Stdin.read(buffer),
            Source::File(file) => file.read(buffer),
        }
    }
}

/// Returns when a read would not wait; an error when nobody wants it any more.
fn wait(source: BorrowedFd<'_>, stop: &PipeReader) -> io::Result<()> {
    let mut asked = [PollFd::new(source, PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::empty())];
    // An interrupted system call is tried again by whoever fills a buffer.
    poll(&mut asked, PollTimeout::NONE)?;
    let [_, stop] = asked;
    if stop.any().unwrap_or(true) { Err(io::Error::other("nobody wants it any more")) } else { Ok(()) }
}

/// Refuses a name behind which there is nothing.
pub(crate) fn check_exists(path: &Path) -> Result<(), Failure> {
    if std::fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(no_such_file(path).into());
    }
    Ok(())
}

/// Reads until the buffer is full or the input ends; the number of bytes.
pub(crate) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        if room.is_empty() {
            return Ok(filled);
        }
        match input.read(room) {
            Ok(0) => return Ok(filled),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Device and number, for a regular file only: nobody loses data by reading and writing one terminal.
pub(crate) fn identity(metadata: &Metadata) -> Option<Identity> {
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

fn nothing_piped() -> Report {
    usage("nothing to read: no file is named and standard input is a terminal")
        .fact("usage", "keyagent encrypt [FILE]...        keyagent decrypt [FILE]...")
        .fix("printf %s \"$VALUE\" | keyagent encrypt --armor")
}

fn no_such_file(path: &Path) -> Report {
    let text = path.display().to_string();
    let shown = if looks_like_a_path(path) {
        text
    } else {
        format!(
            "an argument of {} characters, not repeated here in case it is a secret",
            text.chars().count()
        )
    };
    Report::new(ErrorCode::InputMissing, "there is no such input file")
        .fact("input", shown)
        .why("arguments name files; a value in an argument can be read by every local process")
        .fix("pipe a value in: printf %s \"$VALUE\" | keyagent encrypt --armor")
}

/// A name in a folder that exists, or with a short extension.
fn looks_like_a_path(path: &Path) -> bool {
    let extension = path.extension().is_some_and(|extension| extension.len() <= 4);
    let folder = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && folder.is_dir());
    extension || folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_could_be_a_secret_is_not_repeated() {
        for secret in ["hunter2", "sk-live-0123456789", "eyJhbGciOiJIUzI1NiJ9.e30.aaaaaaaaaaaa"] {
            let text = no_such_file(Path::new(secret)).to_text("keyagent");
            assert!(!text.contains(secret), "{text}");
        }
        assert!(no_such_file(Path::new("a.pem")).to_text("keyagent").contains("a.pem"));
        assert!(no_such_file(Path::new("/tmp/nothing")).to_text("keyagent").contains("/tmp/nothing"));
    }

    #[test]
    fn looking_ahead_takes_nothing_and_reads_any_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let content: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(&path, &content).unwrap();
        let mut input = Input::open(Some(&path)).unwrap();
        assert_eq!(input.look_ahead(4).unwrap().len(), 4);
        assert_eq!(input.look_ahead(100_000).unwrap(), &content[..100_000]);
        input.skip(4);
        let mut all = Vec::new();
        input.read_to_end(&mut all).unwrap();
        assert_eq!(all, content[4..]);
    }
}

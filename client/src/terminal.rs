//! The terminal: questions whose answer is not shown, and bytes that would steer it.
//!
//! While something is typed unseen, signals wait: whatever comes, the terminal shows again what is
//! typed before anything else happens. The guard must see every byte that goes to the terminal, in
//! order, before it goes there.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, raise},
        signalfd::{SfdFlags, SignalFd},
        termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
    },
};

/// What would end or stop the process while the terminal does not show what is typed.
const WAITING: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTSTP];

/// The terminal of this process, for questions; not what its output goes to.
pub(crate) struct Terminal(File);

/// What came of a hidden question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// So many bytes, without the newline that ended them.
    Line(usize),
    /// More than there was room for.
    TooLong,
    /// The end of the input before a newline.
    End,
    /// A signal; the terminal is as it was.
    Interrupted(Signal),
}

impl Terminal {
    /// The controlling terminal, or standard input if that is a terminal without being one's own.
    pub(crate) fn open() -> Option<Self> {
        let flags = OFlag::O_NOCTTY.bits();
        let own = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/tty");
        let standard = || {
            let stdin = io::stdin();
            if stdin.is_terminal() { nix::unistd::dup(stdin).ok().map(File::from) } else { None }
        };
        own.ok().or_else(standard).map(Self)
    }

    /// Asks, and reads one line that is not shown into `buffer`; its last byte stays free.
    pub(crate) fn ask_hidden(&mut self, question: &str, buffer: &mut [u8]) -> io::Result<Answer> {
        loop {
            match self.ask_once(question, buffer)? {
                Answer::Interrupted(Signal::SIGTSTP) => raise(Signal::SIGTSTP)?,
                answer => return Ok(answer),
            }
        }
    }

    fn ask_once(&mut self, question: &str, buffer: &mut [u8]) -> io::Result<Answer> {
        let signals = Held::new()?;
        let hidden = Hidden::new(&self.0)?;
        (&self.0).write_all(question.as_bytes())?;
        let answer = read_line(&self.0, &signals.arrived, buffer);
        drop(hidden);
        if !matches!(answer, Ok(Answer::Line(_))) {
            // The newline was not typed, so the cursor still stands behind the question.
            let _ = (&self.0).write_all(b"\n");
        }
        answer
    }
}

fn read_line(mut terminal: &File, signals: &SignalFd, buffer: &mut [u8]) -> io::Result<Answer> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        if room.is_empty() {
            return Ok(Answer::TooLong);
        }
        match wait(terminal, signals)? {
            Event::Signal(signal) => return Ok(Answer::Interrupted(signal)),
            Event::Nothing => continue,
            Event::Typed => {}
        }
        match terminal.read(room) {
            Ok(0) => return Ok(Answer::End),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A terminal gives at most one line at a time.
        if let Some(length) = filled.checked_sub(1).filter(|last| buffer.get(*last) == Some(&b'\n')) {
            return Ok(Answer::Line(length));
        }
    }
}

/// What was waited for.
enum Event {
    Signal(Signal),
    Typed,
    Nothing,
}

fn wait(terminal: &File, signals: &SignalFd) -> io::Result<Event> {
    let mut sources =
        [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
    match poll(&mut sources, PollTimeout::NONE) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Event::Nothing),
        Err(errno) => return Err(errno.into()),
    }
    if let Some(arrived) = signals.read_signal()? {
        return Ok(Event::Signal(Signal::try_from(arrived.ssi_signo.cast_signed())?));
    }
    let [_, typed] = sources;
    Ok(if typed.any().unwrap_or(true) { Event::Typed } else { Event::Nothing })
}

/// Signals that wait in a descriptor; delivered as ever when dropped.
struct Held {
    arrived: SignalFd,
    before: SigSet,
}

impl Held {
    fn new() -> io::Result<Self> {
        let set: SigSet = WAITING.into_iter().collect();
        let before = set.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        match SignalFd::with_flags(&set, flags) {
            Ok(arrived) => Ok(Self { arrived, before }),
            Err(errno) => {
                before.thread_set_mask()?;
                Err(errno.into())
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// A terminal that does not show what is typed; as it was when dropped.
struct Hidden<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Hidden<'t> {
    fn new(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG);
        // What was typed before the question was not meant for it.
        tcsetattr(terminal, SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // The rest of a line that nobody waits for any more must not reach the shell.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// Remembers the last byte, so that a character split between two pieces is seen.
#[derive(Debug, Default)]
pub(crate) struct ControlGuard {
    previous: u8,
}

impl ControlGuard {
    /// Whether these bytes contain a control character other than tab, line feed and carriage return.
    pub(crate) fn finds_control(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|&byte| {
            // U+0080 to U+009F are C2 80 to C2 9F in UTF-8.
            let second_set = self.previous == 0xc2 && (0x80..=0x9f).contains(&byte);
            self.previous = byte;
            second_set || byte == 0x7f || byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_passes_and_control_does_not() {
        for good in ["", "a\tb\r\n", "ä€😀 Â", "Å"] {
            assert!(!ControlGuard::default().finds_control(good.as_bytes()), "{good:?}");
        }
        for bad in ["\0", "\x1b[2J", "\x7f", "\u{9b}31m", "a\x08"] {
            assert!(ControlGuard::default().finds_control(bad.as_bytes()), "{bad:?}");
        }
        let mut guard = ControlGuard::default();
        assert!(!guard.finds_control(&[0xc2]) && guard.finds_control(&[0x9b]));
    }
}

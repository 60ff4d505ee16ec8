//! A terminal, and somebody who types.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::openpty,
    sys::termios::{LocalFlags, tcgetattr},
    unistd::Pid,
};

use crate::place::{Place, client};

const LIMIT: Duration = Duration::from_secs(20);
/// Ends the line on a terminal.
pub(crate) const ENTER: &str = "\r";

/// A command in a session of its own with a terminal in front of it.
pub(crate) struct OnTerminal {
    keyboard: File,
    /// The terminal itself, to see how it is set.
    terminal: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl OnTerminal {
    pub(crate) fn new(place: &Place, words: &[&str]) -> Self {
        let pty = openpty(None, None).unwrap();
        let mut command = place.program("setsid");
        command.arg("--ctty").arg(client()).args(words);
        let end = || pty.slave.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        drop(command);
        let keyboard = File::from(pty.master);
        let (mut screen, seen) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let place = Arc::clone(&seen);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                place.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { keyboard, terminal: pty.slave, seen, child }
    }

    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until the screen shows this so many times.
    pub(crate) fn expect(&self, text: &str, times: usize) {
        let end = Instant::now() + LIMIT;
        while self.screen().matches(text).count() < times {
            assert!(Instant::now() < end, "no {text:?} on the screen: {:?}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn shows_what_is_typed(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                thread::sleep(Duration::from_millis(50));
                return status;
            }
            assert!(Instant::now() < end, "it goes on: {:?}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

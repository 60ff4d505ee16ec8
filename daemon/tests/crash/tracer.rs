//! Stands between a running daemon and the kernel: sees every system call of every thread before it happens, and
//! may kill the daemon there or answer in the kernel's place. Must never change what it does not decide about.
//!
//! Calls are counted over all threads: `strace -e inject` counts each thread for itself and passes over the calls
//! of one thread that another thread makes earlier. ptrace on 64-bit x86, by root: the daemon is not dumpable.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};

use crate::support::{Daemon, am_root};

/// A system call that is about to happen.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Number of the call on this machine.
    pub(crate) number: i64,
    /// Its six arguments.
    pub(crate) arguments: [u64; 6],
    process: Pid,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It happens.
    Go,
    /// SIGKILL for the daemon; it does not happen.
    Kill,
    /// It does not happen, and fails with this number.
    Fail(Errno),
}

/// Looks at calls.
pub(crate) trait Observer: Send + 'static {
    /// While every thread of the daemon stands still, before the first call.
    fn begin(&mut self) {}

    /// Before a call.
    fn before(&mut self, call: &Call) -> Verdict;

    /// After a call that happened.
    fn after(&mut self, _call: &Call, _returned: i64) {}
}

impl Call {
    /// An argument as the kernel gets it.
    pub(crate) fn argument(&self, index: usize) -> u64 {
        self.arguments[index]
    }

    /// What a descriptor of the daemon stands for: a path, or `socket:[..]` and the like.
    pub(crate) fn descriptor(&self, index: usize) -> Option<PathBuf> {
        let number = i32::try_from(self.argument(index).cast_signed()).ok()?;
        fs::read_link(format!("/proc/{}/fd/{number}", self.process)).ok()
    }

    /// Where a descriptor of the daemon leads.
    pub(crate) fn behind(&self, descriptor: i64) -> PathBuf {
        format!("/proc/{}/fd/{descriptor}", self.process).into()
    }

    /// Position of a descriptor.
    pub(crate) fn position(&self, index: usize) -> u64 {
        let path = format!("/proc/{}/fdinfo/{}", self.process, self.argument(index));
        let text = fs::read_to_string(path).unwrap();
        let position = text.lines().find_map(|line| line.strip_prefix("pos:")).unwrap();
        position.trim().parse().unwrap()
    }

    /// Bytes of the daemon's memory.
    pub(crate) fn memory(&self, address: u64, length: usize) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let memory = fs::File::open(format!("/proc/{}/mem", self.process)).unwrap();
        let mut bytes = vec![0; length];
        memory.read_exact_at(&mut bytes, address).unwrap();
        bytes
    }

    /// The path at which an argument points, below the folder that another argument names where it is relative.
    pub(crate) fn path(&self, folder: Option<usize>, index: usize) -> PathBuf {
        let mut text = Vec::new();
        let mut address = self.argument(index);
        loop {
            // Never across a page that may not be there.
            let step = 64 - usize::try_from(address % 64).unwrap();
            let piece = self.memory(address, step);
            match piece.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&piece[..end]);
                    break;
                }
                None => text.extend(piece),
            }
            address += step as u64;
        }
        let path = PathBuf::from(String::from_utf8(text).unwrap());
        match folder.and_then(|folder| self.descriptor(folder)) {
            Some(folder) if path.is_relative() => folder.join(path),
            _ => path,
        }
    }

    /// The paths that the call is about: by name or by descriptor. None where it is about no file.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match self.number {
            libc::SYS_openat | libc::SYS_unlinkat | libc::SYS_mkdirat | libc::SYS_openat2 => {
                vec![self.path(Some(0), 1)]
            }
            libc::SYS_open | libc::SYS_creat | libc::SYS_unlink | libc::SYS_mkdir | libc::SYS_rmdir => {
                vec![self.path(None, 0)]
            }
            libc::SYS_rename | libc::SYS_link => vec![self.path(None, 0), self.path(None, 1)],
            libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => {
                vec![self.path(Some(0), 1), self.path(Some(2), 3)]
            }
            libc::SYS_statx | libc::SYS_newfstatat => {
                let path = self.path(Some(0), 1);
                // An empty one stands for the descriptor itself.
                vec![if path.as_os_str().is_empty() { self.descriptor(0).unwrap_or_default() } else { path }]
            }
            libc::SYS_write
            | libc::SYS_pwrite64
            | libc::SYS_writev
            | libc::SYS_pwritev
            | libc::SYS_fsync
            | libc::SYS_fdatasync
            | libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_close
            | libc::SYS_read
            | libc::SYS_pread64
            | libc::SYS_fstat
            | libc::SYS_flock
            | libc::SYS_sendfile => self.descriptor(0).into_iter().collect(),
            libc::SYS_copy_file_range => self.descriptor(2).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it may change what a disk holds.
    pub(crate) fn may_change_files(&self) -> bool {
        matches!(
            self.number,
            libc::SYS_write
                | libc::SYS_pwrite64
                | libc::SYS_writev
                | libc::SYS_pwritev
                | libc::SYS_fsync
                | libc::SYS_fdatasync
                | libc::SYS_ftruncate
                | libc::SYS_fallocate
                | libc::SYS_rename
                | libc::SYS_renameat
                | libc::SYS_renameat2
                | libc::SYS_link
                | libc::SYS_linkat
                | libc::SYS_unlink
                | libc::SYS_unlinkat
                | libc::SYS_mkdir
                | libc::SYS_mkdirat
                | libc::SYS_rmdir
                | libc::SYS_copy_file_range
                | libc::SYS_sendfile
        ) || (matches!(self.number, libc::SYS_open | libc::SYS_openat) && self.creates())
    }

    /// Whether it opens a file that it may make.
    pub(crate) fn creates(&self) -> bool {
        let flags = match self.number {
            libc::SYS_openat => self.argument(2),
            libc::SYS_open => self.argument(1),
            _ => return false,
        };
        flags & u64::from(libc::O_CREAT.cast_unsigned()) != 0
    }

    /// Whether it is about something below a folder.
    pub(crate) fn is_below(&self, folder: &Path) -> bool {
        self.paths().iter().any(|path| path.starts_with(folder))
    }
}

/// Whether daemons can be traced here.
pub(crate) fn available() -> bool {
    am_root() && cfg!(target_arch = "x86_64")
}

/// A daemon under observation, until it ends.
///
/// Until then nobody may wait for the daemon's process: the stops are reported to whoever waits first.
pub(crate) struct Traced<O>(JoinHandle<O>);

impl<O: Observer> Traced<O> {
    /// Attaches to every thread of a daemon.
    pub(crate) fn attach(daemon: &Daemon, observer: O) -> Self {
        let leader = Pid::from_raw(daemon.pid().try_into().unwrap());
        let (sender, attached) = mpsc::channel();
        let tracer = thread::spawn(move || {
            let mut tracer = Tracer { leader, observer, threads: HashMap::new() };
            tracer.attach();
            sender.send(()).unwrap();
            tracer.run();
            tracer.observer
        });
        attached.recv().unwrap();
        Self(tracer)
    }

    /// Waits until the daemon has ended; what the observer saw. The daemon's process is still to be waited for.
    pub(crate) fn end(self) -> O {
        self.0.join().unwrap()
    }
}

/// Where a thread is.
#[derive(Debug, Clone)]
enum Place {
    /// Outside of calls.
    Outside,
    /// In a call that happens.
    Inside(Call),
    /// In a call that was taken away from the kernel.
    Failing(Errno),
}

struct Tracer<O> {
    leader: Pid,
    observer: O,
    threads: HashMap<Pid, Place>,
}

impl<O: Observer> Tracer<O> {
    fn attach(&mut self) {
        let options =
            Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        for entry in fs::read_dir(format!("/proc/{}/task", self.leader)).unwrap() {
            let name = entry.unwrap().file_name();
            let thread = Pid::from_raw(name.to_str().unwrap().parse().unwrap());
            ptrace::seize(thread, options).unwrap();
            ptrace::interrupt(thread).unwrap();
            let stopped = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
            assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{stopped:?}");
            self.threads.insert(thread, Place::Outside);
        }
        self.observer.begin();
        for thread in self.threads.keys() {
            ptrace::syscall(*thread, None).unwrap();
        }
    }

    fn run(&mut self) {
        // Only what this thread traces: other threads of the tests wait for children of their own.
        let any = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let peek = any | WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        loop {
            let seen = waitid(Id::All, peek).unwrap();
            if matches!(seen, WaitStatus::Exited(who, _) | WaitStatus::Signaled(who, ..) if who == self.leader)
            {
                // Left for whoever started it.
                return;
            }
            let who = seen.pid().unwrap();
            let stopped = match waitpid(who, Some(any)) {
                Ok(stopped) => stopped,
                // Killed between the two looks.
                Err(Errno::ECHILD) => continue,
                Err(error) => panic!("{error}"),
            };
            let resumed = match stopped {
                WaitStatus::PtraceSyscall(thread) => self.at_a_call(thread),
                WaitStatus::Stopped(thread, signal) => ptrace::syscall(thread, signal),
                WaitStatus::PtraceEvent(thread, ..) => {
                    self.threads.entry(thread).or_insert(Place::Outside);
                    ptrace::syscall(thread, None)
                }
                _ => Ok(()),
            };
            // ESRCH: killed meanwhile.
            assert!(matches!(resumed, Ok(()) | Err(Errno::ESRCH)), "{resumed:?}");
        }
    }

    fn at_a_call(&mut self, thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        let next = match self.threads.insert(thread, Place::Outside) {
            None | Some(Place::Outside) => {
                assert_eq!(registers.rax.cast_signed(), -i64::from(libc::ENOSYS), "not before a call");
                let call = Call {
                    number: registers.orig_rax.cast_signed(),
                    arguments: [
                        registers.rdi,
                        registers.rsi,
                        registers.rdx,
                        registers.r10,
                        registers.r8,
                        registers.r9,
                    ],
                    process: self.leader,
                };
                match self.observer.before(&call) {
                    Verdict::Go => Place::Inside(call),
                    Verdict::Kill => {
                        kill(self.leader, Signal::SIGKILL)?;
                        return Ok(());
                    }
                    Verdict::Fail(errno) => {
                        registers.orig_rax = u64::MAX;
                        ptrace::setregs(thread, registers)?;
                        Place::Failing(errno)
                    }
                }
            }
            Some(Place::Inside(call)) => {
                self.observer.after(&call, registers.rax.cast_signed());
                Place::Outside
            }
            Some(Place::Failing(errno)) => {
                registers.rax = (-i64::from(errno as i32)).cast_unsigned();
                ptrace::setregs(thread, registers)?;
                Place::Outside
            }
        };
        self.threads.insert(thread, next);
        ptrace::syscall(thread, None)
    }
}

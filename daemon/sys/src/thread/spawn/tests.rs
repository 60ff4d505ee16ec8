//! Threads on locked stacks as the kernel sees them.

use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;

use nix::sys::signal::Signal;

use super::*;
use crate::{child, smaps};

const STACK: usize = 256 * 1024;

/// Read from /proc: nix 0.31's `prctl::get_name` gives nothing in an optimised build (it lets C write into a constant).
fn own_name() -> String {
    std::fs::read_to_string("/proc/thread-self/comm").unwrap().trim_end().to_owned()
}

/// Runs `work` on a locked stack and returns its result.
fn on_locked_stack<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread =
        spawn_on_locked_stack("worker", STACK, LockPolicy::Required, move || sender.send(work()).unwrap())
            .unwrap();
    let result = receiver.recv().unwrap();
    thread.join().unwrap();
    result
}

#[test]
fn the_stack_is_locked_undumped_and_wiped_on_fork() {
    on_locked_stack(|| {
        let local = 1u8;
        let address = std::ptr::from_ref(std::hint::black_box(&local)).addr();
        assert!(smaps::has(address, &["lo", "dd", "wf"]), "{:?}", smaps::of(address));
    });
    let local = 1u8;
    let control = std::ptr::from_ref(std::hint::black_box(&local)).addr();
    assert!(!smaps::has(control, &["lo"]), "an ordinary stack must not look locked");
}

#[test]
fn thread_local_storage_lies_on_it_too() {
    thread_local!(static LOCAL: std::cell::Cell<[u8; 64]> = const { std::cell::Cell::new([1; 64]) });
    on_locked_stack(|| {
        let address = LOCAL.with(|local| std::ptr::from_ref(std::hint::black_box(local)).addr());
        assert!(smaps::has(address, &["lo", "dd"]), "{:?}", smaps::of(address));
    });
}

#[test]
fn it_has_its_name_and_blocks_every_signal() {
    let before = SigSet::thread_get_mask().unwrap();
    let (name, mask) = on_locked_stack(|| (own_name(), SigSet::thread_get_mask().unwrap()));
    assert_eq!(name, "worker");
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGCHLD] {
        assert!(mask.contains(signal));
    }
    assert_eq!(SigSet::thread_get_mask().unwrap(), before);
}

#[test]
fn names_are_cut_and_checked() {
    let (sender, receiver) = mpsc::channel();
    let work = move || sender.send(own_name()).unwrap();
    let thread = spawn_on_locked_stack("fourteen-bytesäöü", STACK, LockPolicy::Required, work).unwrap();
    assert_eq!(receiver.recv().unwrap(), "fourteen-bytes");
    drop(thread);
    let error = spawn_on_locked_stack("a\0b", STACK, LockPolicy::Required, || {}).unwrap_err();
    assert_eq!(error, ThreadError::Name);
}

#[test]
fn a_small_stack_is_an_error() {
    // musl takes any size down to 2 KiB.
    if cfg!(target_env = "gnu") {
        let error = spawn_on_locked_stack("small", 4096, LockPolicy::Required, || {}).unwrap_err();
        assert_eq!(error.to_string(), "pthread_attr_setstack failed: EINVAL: Invalid argument");
    }
    let error = spawn_on_locked_stack("none", 0, LockPolicy::Required, || {}).unwrap_err();
    assert_eq!(error, ThreadError::Stack(LockError::Size { bytes: 0 }));
}

#[test]
fn dropping_waits_for_the_end_and_unmaps() {
    let (sender, receiver) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let thread = spawn_on_locked_stack("waits", STACK, LockPolicy::Required, move || {
        wait.recv().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        sender.send("done").unwrap();
    })
    .unwrap();
    assert_eq!(thread.backing(), Backing::LockedPages);
    go.send(()).unwrap();
    drop(thread);
    assert_eq!(receiver.try_recv(), Ok("done"));
}

#[test]
fn the_scrub_clears_what_a_call_left() {
    /// Leaves a pattern on the stack below its caller, and tells where.
    #[inline(never)]
    fn leave_pattern() -> usize {
        let mut pattern = [0u8; 4096];
        for (index, byte) in pattern.iter_mut().enumerate() {
            *byte = 0xC3 ^ u8::try_from(index % 7).unwrap();
        }
        std::ptr::from_ref(std::hint::black_box(&pattern)).addr()
    }
    /// Bytes of the pattern that are still at `address`, read through the kernel, which disturbs no stack.
    fn left(address: usize) -> usize {
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut seen = vec![0u8; 4096];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut seen, address as u64).unwrap();
        seen.iter()
            .enumerate()
            .filter(|(index, byte)| **byte == 0xC3 ^ u8::try_from(index % 7).unwrap())
            .count()
    }
    let (without, with) = on_locked_stack(|| {
        let without = left(leave_pattern());
        let address = leave_pattern();
        crate::thread::scrub_stack();
        (without, left(address))
    });
    assert!(without > 1000, "the detector itself must find leftovers, found {without}");
    // Reading it back uses some of that stack again, and may hit the pattern's bytes by chance.
    assert!(with < 64, "{with} bytes of 4096 left");
}

#[test]
fn an_overflow_hits_the_guard_page_and_a_panic_aborts() {
    const NAME: &str = "thread::spawn::tests::an_overflow_hits_the_guard_page_and_a_panic_aborts";
    #[expect(unconditional_recursion, reason = "overflowing the stack is the test")]
    fn deeper(level: &[u64; 128]) -> u64 {
        let next = std::hint::black_box([level[0] + 1; 128]);
        deeper(&next) + next[1]
    }
    let Some(role) = child::role() else {
        let overflow = child::run(NAME, "overflow");
        assert_eq!(overflow.status.signal(), Some(libc::SIGSEGV), "{}", overflow.status);
        let panic = child::run(NAME, "panic");
        assert_eq!(panic.status.signal(), Some(libc::SIGABRT), "{}", panic.status);
        return;
    };
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
    let work = move || {
        if role == "panic" {
            panic!("on purpose")
        } else {
            std::hint::black_box(deeper(&[0; 128]));
        }
    };
    spawn_on_locked_stack("dies", STACK, LockPolicy::Required, work).unwrap().join().unwrap();
}

//! Regions as the kernel sees them: flags, guard pages, forks, limits.

#![expect(unsafe_code, reason = "touching a guard page and forking on purpose")]

use std::os::unix::process::ExitStatusExt;

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::*;
use crate::{child, smaps};

const PAGE: usize = 4096;

#[test]
fn secret_pages_are_locked_and_undumped_and_not_inherited() {
    let region = Region::secret(10_000, LockPolicy::Required).unwrap();
    assert_eq!((region.len(), region.start().addr() % PAGE), (3 * PAGE, 0));
    assert!(region.as_slice().iter().all(|byte| *byte == 0));
    if region.backing() != Backing::MemfdSecret {
        eprintln!("SKIPPED: no memfd_secret here ({})", region.backing());
        return;
    }
    assert!(smaps::has(region.start().addr(), &["lo", "dd", "dc"]), "{:?}", smaps::of(region.start().addr()));
    assert_eq!(smaps::of(region.start().addr()).0, "rw-s");
    // Not even this process's own /proc/self/mem can read the pages.
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let read = std::os::unix::fs::FileExt::read_at(&memory, &mut [0; 8], region.start().addr() as u64);
    assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO));
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    assert!(!open.into_iter().any(|target| target.to_string_lossy().contains("secretmem")));
}

#[test]
fn locked_pages_are_locked_and_undumped_and_wiped_on_fork() {
    let region = Region::locked(1, LockPolicy::Required).unwrap();
    assert_eq!((region.len(), region.backing()), (PAGE, Backing::LockedPages));
    assert!(smaps::has(region.start().addr(), &["lo", "dd", "wf"]), "{:?}", smaps::of(region.start().addr()));
}

#[test]
fn locked_pages_cost_memory_from_their_first_touch_on() {
    const NAME: &str = "memory::region::tests::locked_pages_cost_memory_from_their_first_touch_on";
    if child::role().is_none() {
        return child::run_well(NAME, "touch");
    }
    let resident = |region: &Region| smaps::resident(region.start().addr());
    let mut region = Region::locked(64 * PAGE, LockPolicy::Required).unwrap();
    assert!(smaps::has(region.start().addr(), &["lo"]), "locked all the same");
    assert_eq!(resident(&region), 0);
    region.as_mut_slice()[5 * PAGE] = 1;
    assert_eq!(resident(&region), PAGE);
}

#[test]
fn both_sides_are_guarded() {
    for region in [Region::secret(PAGE, LockPolicy::Required), Region::locked(PAGE, LockPolicy::Required)] {
        let region = region.unwrap();
        let start = region.start().addr();
        for guard in [start - PAGE, start - 1, start + region.len(), start + region.len() + PAGE - 1] {
            assert_eq!(smaps::of(guard).0[..3], *"---");
        }
        assert_eq!(smaps::of(start).0[..2], *"rw");
    }
}

#[test]
fn a_guard_page_kills_whoever_touches_it() {
    const NAME: &str = "memory::region::tests::a_guard_page_kills_whoever_touches_it";
    let Some(role) = child::role() else {
        for role in ["secret below", "secret above", "locked below", "locked above"] {
            let output = child::run(NAME, role);
            assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{role}: {}", output.status);
        }
        return child::run_well(NAME, "control: inside");
    };
    // The child dies on purpose: without a core file.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    let make = if role.starts_with("secret") { Region::secret } else { Region::locked };
    let region = make(PAGE, LockPolicy::Required).unwrap();
    let at = match role.rsplit_once(' ').unwrap().1 {
        "below" => region.start().wrapping_sub(1),
        "above" => region.start().wrapping_add(region.len()),
        _ => region.start(),
    };
    // SAFETY: outside the region this is a deliberate fault, which ends the process; inside, an ordinary write.
    unsafe { at.write_volatile(1) };
}

#[test]
fn a_forked_child_finds_nothing() {
    const NAME: &str = "memory::region::tests::a_forked_child_finds_nothing";
    if child::role().is_none() {
        return child::run_well(NAME, "fork");
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    for make in [Region::secret, Region::locked] {
        let mut region = make(PAGE, LockPolicy::Required).unwrap();
        region.as_mut_slice().fill(0x5A);
        // SAFETY: one thread runs (re-executed), and the child only reads memory and exits.
        let outcome = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
            ForkResult::Child => {
                let empty = region.as_slice().iter().all(|byte| *byte == 0);
                // SAFETY: ends the child at once, without its parent's cleanup.
                unsafe { libc::_exit(i32::from(!empty)) }
            }
        };
        match region.backing() {
            // The pages do not exist in the child.
            Backing::MemfdSecret => {
                assert!(matches!(outcome, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{outcome:?}");
            }
            _ => assert!(matches!(outcome, WaitStatus::Exited(_, 0)), "{outcome:?}"),
        }
        assert!(region.as_slice().iter().all(|byte| *byte == 0x5A));
    }
}

#[test]
fn a_refused_lock_is_an_error_or_announced() {
    const NAME: &str = "memory::region::tests::a_refused_lock_is_an_error_or_announced";
    if child::role().is_none() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: only root can become an ordinary user for this test");
            return;
        }
        let drop_root = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", "--inh-caps=-all"];
        let control = child::command(&drop_root, NAME, "control").output().unwrap();
        child::passed(&control);
        return child::passed(&child::command(&drop_root, NAME, "tiny").output().unwrap());
    }
    if child::role().as_deref() == Some("control") {
        assert!(
            Region::locked(PAGE, LockPolicy::Required).is_ok(),
            "an ordinary user may lock a page by default"
        );
        return;
    }
    setrlimit(Resource::RLIMIT_MEMLOCK, 8192, 8192).unwrap();
    for make in [Region::secret, Region::locked] {
        let error = make(65_536, LockPolicy::Required).unwrap_err();
        let text = "mlock of 65536 bytes failed: ENOMEM: Out of memory (RLIMIT_MEMLOCK is 8192 bytes)";
        assert_eq!(error.to_string(), text);
        assert!(matches!(error, LockError::Lock { errno: Errno::ENOMEM, limit: Some(8192), .. }));
        let mut region = make(65_536, LockPolicy::AllowUnlocked).unwrap();
        assert_eq!(
            (region.backing(), region.backing().to_string().as_str()),
            (Backing::Unlocked, "unlocked")
        );
        assert!(smaps::has(region.start().addr(), &["dd", "wf"]));
        assert!(!smaps::has(region.start().addr(), &["lo"]));
        region.as_mut_slice().fill(1);
    }
    // One page still fits below the limit.
    assert_eq!(Region::locked(PAGE, LockPolicy::Required).unwrap().backing(), Backing::LockedPages);
}

#[test]
fn nonsense_sizes_are_errors() {
    for bytes in [0, usize::MAX, usize::MAX - PAGE, usize::MAX / 2] {
        for make in [Region::secret, Region::locked] {
            assert_eq!(make(bytes, LockPolicy::AllowUnlocked).unwrap_err(), LockError::Size { bytes });
        }
    }
    let error = Region::locked(1 << 50, LockPolicy::AllowUnlocked).unwrap_err();
    assert!(matches!(error, LockError::Map { call: "mmap", errno: Errno::ENOMEM, .. }), "{error}");
}

#[test]
fn a_dropped_region_is_unmapped() {
    const NAME: &str = "memory::region::tests::a_dropped_region_is_unmapped";
    if child::role().is_none() {
        return child::run_well(NAME, "drop");
    }
    let locked = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    for make in [Region::secret, Region::locked] {
        let region = make(64 * PAGE, LockPolicy::Required).unwrap();
        assert!(locked() >= 256);
        drop(region);
        assert_eq!(locked(), 0);
    }
}

//! The machine in general terms, and what is asked of it: one core, many descriptors.

use std::{fs, io, thread::available_parallelism};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};

/// Descriptors for 10 000 connections and a little more; the daemons inherit the limit.
const DESCRIPTORS: u64 = 12_000;
/// The processor features that decide about the speed of the ciphers and hashes in use.
const FEATURES: [&str; 7] = ["aes", "pclmulqdq", "avx2", "avx512f", "vaes", "vpclmulqdq", "sha_ni"];

/// What a reader needs to know about the machine.
pub(crate) struct Machine {
    /// Cores that this process might use.
    pub(crate) cores: usize,
    /// Version of the kernel, without the distributor's suffix.
    pub(crate) kernel: String,
    /// Those of [`FEATURES`] that the processor has.
    pub(crate) features: Vec<&'static str>,
    /// Load averages before anything was measured.
    pub(crate) load: String,
}

impl Machine {
    /// Looks into /proc.
    pub(crate) fn examine() -> io::Result<Self> {
        let processor = fs::read_to_string("/proc/cpuinfo")?;
        let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        let has = |feature: &&str| flags.split_whitespace().any(|flag| flag == *feature);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
        let features = FEATURES.into_iter().filter(has).collect();
        Ok(Self { cores: available_parallelism()?.get(), kernel, features, load: load()? })
    }
}

/// The three load averages.
pub(crate) fn load() -> io::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// Keeps this process, and every process it starts, on the last core it may use.
pub(crate) fn pin_to_one_core() -> nix::Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut one = CpuSet::new();
    if let Some(last) = (0..CpuSet::count()).rfind(|core| allowed.is_set(*core).unwrap_or(false)) {
        one.set(last)?;
    }
    sched_setaffinity(Pid::from_raw(0), &one)
}

/// Raises the limit of descriptors as far as is needed, or as far as is allowed.
pub(crate) fn raise_descriptor_limit() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = DESCRIPTORS.max(soft);
    // Only a privileged process may raise the hard limit; without it fewer connections are held.
    setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard))
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard))
}

//! Crash and fault tests of the store: killed before every system call, refused at every call, torn at every byte,
//! on a full disk, without power, and by many at once. Each detector also sees a broken store, and must object.
//!
//! Bounded by default; with `KEYAGENT_LONG=1` (set by .ci/long) every point and every state. What needs root, 64-bit
//! x86 or tmpfs says `SKIPPED: <test>: <why>` on stderr where they are missing. How they work: docs/TESTING.md.

#[cfg(test)]
mod examine;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod full;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod life;
#[cfg(test)]
mod power;
#[cfg(test)]
mod races;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod torn;
#[cfg(test)]
mod tracer;

//! End-to-end tests of keyagentd: the real binary, its socket, its files, its signals; no mocks.
//!
//! One binary, so that it is linked once and its waits overlap. Bounded by default; `KEYAGENT_LONG=1`
//! (set by .ci/long) runs every kill point, every fault and the long floods. What needs root, strace,
//! setfacl or user namespaces says `SKIPPED: <test>: <why>` on stderr where they are missing.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod as_user;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod back_pressure;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod brakes;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod derived;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod full_log;
#[cfg(test)]
mod helper;
#[cfg(test)]
mod kept_store;
#[cfg(test)]
mod key_file;
#[cfg(test)]
mod life;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod locked_start;
#[cfg(test)]
mod master;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod pin;
#[cfg(test)]
mod policy;
mod protocol;
#[cfg(test)]
mod rollback;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod sources;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod unwritable;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod values;
#[cfg(test)]
mod verify_audit;
#[cfg(test)]
mod watching;

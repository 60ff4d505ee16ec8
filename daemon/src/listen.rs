//! Accepting: the peer is read from the kernel, and admitted, before a byte of its request is.
//!
//! Must never end the daemon because one accept failed, and never spin where descriptors run out.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use interprocess::{local_socket::traits::tokio::Listener as _, os::unix::uds_local_socket::tokio::Listener};
use keyagent_core::audit::record::Event;
use keyagent_sys::{limits, peer, thread::scrub_stack};
use tokio::{sync::mpsc::UnboundedSender, time::sleep};

use crate::{
    audit_log::Line,
    seats::Seats,
    state::{Counters, Shared},
    worker::Accepted,
};

/// Most connections at once, whatever the limit of descriptors.
const MAX_CONNECTIONS: usize = 16_384;
/// Descriptors kept free for files and runtimes.
pub(crate) const RESERVED_DESCRIPTORS: usize = 64;
/// Pause after an accept that failed for want of something.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Refused peers are summed up into one line of the log in this time.
const REFUSAL_PERIOD: Duration = Duration::from_secs(1);

/// How many connections may be open at once.
pub(crate) fn max_connections() -> usize {
    let descriptors =
        limits::descriptor_limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    MAX_CONNECTIONS.min(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).max(1)
}

/// Accepts for ever, spreading connections over the workers.
pub(crate) async fn accept_all(
    shared: Arc<Shared>,
    listener: Listener,
    workers: Vec<UnboundedSender<Accepted>>,
) {
    let seats = Arc::new(Seats::new(max_connections()));
    let overflow = peer::overflow_ids();
    for worker in workers.iter().cycle() {
        // One connection a turn; a refused one does not count.
        loop {
            let Ok(socket) = listener.accept().await.and_then(OwnedFd::try_from) else {
                // EMFILE, ENFILE, ENOMEM or a peer that left: the listener itself stays good.
                sleep(BACK_OFF).await;
                continue;
            };
            let Ok(credentials) = peer::credentials(socket.as_fd()) else { continue };
            let mapped = credentials.uid != overflow.0 && credentials.gid != overflow.1;
            if !mapped || !shared.settings.policy.admits(credentials.uid) {
                refuse(&shared, credentials.uid);
                continue;
            }
            let Some(seat) = seats.take(credentials.uid) else {
                // Full: the peer sees its connection end and may try again.
                continue;
            };
            if worker.send(Accepted { socket, peer: credentials, seat }).is_err() {
                return;
            }
            break;
        }
    }
}

/// Refused connections by uid, written to the log at most once in a period.
#[derive(Default)]
pub(crate) struct Refusals {
    counts: BTreeMap<u32, u64>,
    written: Option<Instant>,
}

impl Refusals {
    fn count(&mut self, uid: u32) -> bool {
        // Distinct uids are as few as users; the cap is for safety.
        if self.counts.len() < 1024 || self.counts.contains_key(&uid) {
            *self.counts.entry(uid).or_default() += 1;
        }
        self.written.is_none_or(|at| at.elapsed() >= REFUSAL_PERIOD)
    }
}

fn refuse(shared: &Shared, uid: u32) {
    Counters::add(&shared.counters.denied, 1);
    let due = shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).count(uid);
    if due {
        write_refusals(shared);
    }
}

/// Writes what was refused since the last time; the counts wait if the log cannot be written.
pub(crate) fn write_refusals(shared: &Shared) {
    let mut refusals = shared.refusals.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<Line<'_>> = refusals
        .counts
        .iter()
        .map(|(uid, count)| Line {
            error: Some("not allowed to connect"),
            ..Line::own(Event::PeerRefused { uid: *uid, count: *count })
        })
        .collect();
    match shared.audit.append(&lines) {
        Ok(()) => refusals.counts.clear(),
        // Refused all the same.
        Err(error) => crate::report::warn(&error),
    }
    refusals.written = Some(Instant::now());
    scrub_stack();
}

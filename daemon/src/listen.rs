//! Accepting: the peer is read from the kernel, and admitted, before a byte of its request is.
//!
//! Must never end the daemon because one accept failed, never spin where descriptors run out, and never let one
//! socket's callers keep those of another waiting.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    future::poll_fn,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use interprocess::os::unix::uds_local_socket::tokio::Listener;
use keyagent_core::{
    audit::record::{Event, Via},
    policy::Rights,
};
use keyagent_sys::{limits, thread::scrub_stack};
use tokio::{sync::mpsc::UnboundedSender, time::sleep};

use crate::{
    audit_log::Line,
    endpoint::Door,
    principal::{Identifier, Principal, Unidentified},
    seats::{Seat, Seats},
    state::{Counters, Shared},
};

/// Most connections at once, whatever the limit of descriptors.
const MAX_CONNECTIONS: usize = 16_384;
/// Descriptors kept free for files and runtimes.
pub(crate) const RESERVED_DESCRIPTORS: usize = 64;
/// Pause after an accept that failed for want of something.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Refused peers are summed up into one line of the log in this time.
const REFUSAL_PERIOD: Duration = Duration::from_secs(1);
/// Most lines in this time: one user may have tens of thousands of numbers.
const REFUSAL_LINES: usize = 8;
/// Most numbers that are told apart until then.
const REFUSED_USERS: usize = 1024;

/// How many connections may be open at once.
pub(crate) fn max_connections() -> usize {
    let descriptors =
        limits::descriptor_limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    MAX_CONNECTIONS.min(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).max(1)
}

/// An accepted connection on its way to a worker.
pub(crate) struct Accepted {
    /// The socket.
    pub(crate) socket: OwnedFd,
    /// As the kernel told at accept.
    pub(crate) principal: Arc<Principal>,
    /// What the policy gives it.
    pub(crate) rights: Rights,
    /// Its share of the connection limits.
    pub(crate) seat: Seat,
}

/// The listening sockets, asked in turn.
pub(crate) struct Doors {
    doors: Vec<(Arc<str>, Listener)>,
    /// Asked first the next time.
    next: usize,
}

impl Doors {
    /// Registers the sockets with the runtime this is called in.
    pub(crate) fn open(doors: Vec<Door>) -> io::Result<Self> {
        let open = |door: Door| Ok((door.name, Listener::try_from(door.listener)?));
        Ok(Self { doors: doors.into_iter().map(open).collect::<io::Result<_>>()?, next: 0 })
    }

    /// The next connection and the name of its socket; none comes twice in a row from one socket while somebody
    /// waits at another.
    async fn accept(&mut self) -> io::Result<(Arc<str>, OwnedFd)> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(Arc<str>, OwnedFd)>> {
        let count = self.doors.len();
        for place in (self.next..count).chain(0..self.next) {
            let Some((name, listener)) = self.doors.get(place) else { break };
            if let Poll::Ready(accepted) = listener.inner().poll_accept(context) {
                self.next = (place + 1) % count;
                let (stream, _) = accepted?;
                return Poll::Ready(Ok((Arc::clone(name), OwnedFd::from(stream.into_std()?))));
            }
        }
        Poll::Pending
    }
}

/// Accepts for ever whom `admit` gives rights, spreading connections over the workers.
///
/// `admit` is only asked about peers that the kernel identifies; without rights a connection ends unread.
pub(crate) async fn accept_all(
    shared: Arc<Shared>,
    mut doors: Doors,
    workers: Vec<UnboundedSender<Accepted>>,
    admit: impl Fn(&Principal) -> Option<Rights>,
) {
    let seats = Arc::new(Seats::new(max_connections()));
    let mut identifier = Identifier::new();
    let needs_groups = |uid| !shared.policy().is_settled_by(uid);
    for worker in workers.iter().cycle() {
        // One connection a turn; a refused one does not count.
        loop {
            let Ok((name, socket)) = doors.accept().await else {
                // EMFILE, ENFILE, ENOMEM or a peer that left: the listener itself stays good.
                sleep(BACK_OFF).await;
                continue;
            };
            let (principal, rights) = match identifier.identify(socket.as_fd(), &name, needs_groups) {
                Ok(principal) => {
                    let rights = admit(&principal);
                    (principal, rights)
                }
                Err(Unidentified::Unmapped(principal)) => (principal, None),
                Err(Unidentified::Unknown(_)) => continue,
            };
            let Some(rights) = rights else {
                refuse(&shared, &principal);
                continue;
            };
            let Some(seat) = seats.take(principal.uid, rights.sees_everything()) else {
                // Full: the peer sees its connection end and may try again.
                continue;
            };
            let accepted = Accepted { socket, principal: Arc::new(principal), rights, seat };
            if worker.send(accepted).is_err() {
                return;
            }
            break;
        }
    }
}

/// Refused connections by uid, written to the log at most once in a period.
#[derive(Default)]
pub(crate) struct Refusals {
    refused: BTreeMap<u32, Refused>,
    /// Of further uids.
    beyond: u64,
    written: Option<Instant>,
}

/// The refused connections of one uid.
struct Refused {
    count: u64,
    /// Of the last one.
    unit: Option<Arc<str>>,
    /// The same.
    socket: Arc<str>,
}

impl Refusals {
    fn count(&mut self, principal: &Principal) -> bool {
        if self.refused.len() < REFUSED_USERS || self.refused.contains_key(&principal.uid) {
            let count = self.refused.get(&principal.uid).map_or(0, |refused| refused.count) + 1;
            let Principal { unit, socket, .. } = principal;
            self.refused
                .insert(principal.uid, Refused { count, unit: unit.clone(), socket: Arc::clone(socket) });
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
        self.written.is_none_or(|at| at.elapsed() >= REFUSAL_PERIOD)
    }

    /// A line for each of those who were refused most often, and one for all others.
    fn lines(&self) -> Vec<Line<'_>> {
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_by_key(|(_, refused)| Reverse(refused.count));
        let (told, others) = refused.split_at(refused.len().min(REFUSAL_LINES));
        let mut lines: Vec<Line<'_>> = told
            .iter()
            .map(|(uid, refused)| Line {
                error: Some(NOT_ALLOWED),
                via: Via { unit: refused.unit.as_deref(), socket: Some(&refused.socket), ..Via::default() },
                ..Line::own(Event::PeerRefused { uid: **uid, count: refused.count })
            })
            .collect();
        if !others.is_empty() {
            let users = others.len() as u64;
            let count = others.iter().map(|(_, refused)| refused.count).sum::<u64>() + self.beyond;
            let event = Event::PeersRefused { users, count };
            lines.push(Line { error: Some(NOT_ALLOWED), ..Line::own(event) });
        }
        lines
    }

    fn clear(&mut self) {
        self.refused.clear();
        self.beyond = 0;
    }
}

/// What a line about a refused connection says.
const NOT_ALLOWED: &str = "not allowed to connect";

fn refuse(shared: &Shared, principal: &Principal) {
    Counters::add(&shared.counters.denied, 1);
    let due = shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).count(principal);
    if due {
        write_refusals(shared);
    }
}

/// Writes what was refused since the last time; it waits if the log cannot be written.
pub(crate) fn write_refusals(shared: &Shared) {
    let mut refusals = shared.refusals.lock().unwrap_or_else(PoisonError::into_inner);
    match shared.audit.append(&refusals.lines()) {
        Ok(()) => refusals.clear(),
        // Refused all the same.
        Err(error) => shared.audit.complain(&error),
    }
    refusals.written = Some(Instant::now());
    scrub_stack();
}

#[cfg(test)]
mod tests;

//! Who a connection belongs to: resolved once at accept, by the kernel's word, before a byte is read.
//!
//! Must never use a name, a message or an address that the peer chose, and must never guess: what the kernel
//! does not say is not there, so that no rule about it matches. The principal is who connected: whoever is handed
//! the connected socket by that process is served as it (docs/THREAT-MODEL.md).

mod unit;
mod units;

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use keyagent_core::policy::Subject;
use keyagent_sys::peer::{self, Peer, PeerError};

use units::Units;

/// The one who connected, and through which door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Effective user id.
    pub(crate) uid: u32,
    /// Effective group id.
    pub(crate) gid: u32,
    /// Process id; advisory, since numbers are used again.
    pub(crate) pid: i32,
    /// Supplementary groups, ascending, without the one that stands for unmapped groups; none where they were not
    /// asked for.
    pub(crate) groups: Box<[u32]>,
    /// Systemd system unit of its control group; `None` whenever that is not certain.
    pub(crate) unit: Option<Arc<str>>,
    /// Name of the listening socket.
    pub(crate) socket: Arc<str>,
}

impl Principal {
    /// As the policy sees it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        let Self { uid, gid, ref groups, ref unit, ref socket, .. } = *self;
        Subject { uid, gid, groups, unit: unit.as_deref(), socket }
    }
}

/// Why somebody is not served, whatever the policy says.
#[derive(Debug)]
pub(crate) enum Unidentified {
    /// The kernel does not say who it is.
    Unknown(#[expect(dead_code, reason = "told by Debug alone")] PeerError),
    /// Its user or group has no number in this namespace, so it could be anybody.
    Unmapped(Principal),
}

/// Asks the kernel about peers; remembers which control group belongs to which unit.
pub(crate) struct Identifier {
    overflow_user: u32,
    overflow_group: u32,
    units: Units,
}

impl Identifier {
    /// Reads the overflow ids, once.
    pub(crate) fn new() -> Self {
        let (overflow_user, overflow_group) = peer::overflow_ids();
        Self { overflow_user, overflow_group, units: Units::default() }
    }

    /// Who has connected to the listening socket with this name; the groups only of whom `needs_groups` names by
    /// uid: for whom may do everything it is a system call for nothing.
    pub(crate) fn identify(
        &mut self,
        connection: BorrowedFd<'_>,
        socket: &Arc<str>,
        needs_groups: impl FnOnce(u32) -> bool,
    ) -> Result<Principal, Unidentified> {
        let Peer { uid, gid, pid } = peer::credentials(connection).map_err(Unidentified::Unknown)?;
        let groups = if needs_groups(uid) {
            known_groups(peer::groups(connection).map_err(Unidentified::Unknown)?, self.overflow_group)
        } else {
            Box::default()
        };
        let process = peer::pidfd(connection);
        let unit = process.and_then(|process| self.units.unit_of(process.as_fd(), pid));
        let principal = Principal { uid, gid, pid, groups, unit, socket: Arc::clone(socket) };
        if uid == self.overflow_user || gid == self.overflow_group {
            return Err(Unidentified::Unmapped(principal));
        }
        Ok(principal)
    }
}

/// Ascending, each once, without those that have no number here.
fn known_groups(mut groups: Vec<u32>, overflow: u32) -> Box<[u32]> {
    groups.retain(|group| *group != overflow);
    groups.sort_unstable();
    groups.dedup();
    groups.into_boxed_slice()
}

#[cfg(test)]
mod tests;

//! A line to write, before it has its numbers and its time.

use keyagent_core::audit::{
    bridge::SealedBridge,
    chain::Chain,
    record::{Bridging, Event, Peer, Via},
};
use keyagent_sys::memory::LockedArena;

/// What room a line may use. A group has that of the strongest of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manner {
    /// A request of somebody who does not oversee the agent: within the budget. In vain, and one of very many,
    /// it is counted instead of written ([`super::floods`]).
    Plain,
    /// A request within the budget; lines that strangers cause.
    Request,
    /// Alerts, and what an overseer asked in vain: also within the reserve behind the budget.
    Own,
    /// What must be possible for the sake of order, whatever others filled the log with: what an overseer or the
    /// daemon itself does, and what keeps the log together. As long as the disk takes it.
    Needed,
}

/// One line to write; its numbers and time are added when it is.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    /// What happened.
    pub(crate) event: Event<'a>,
    /// The key concerned.
    pub(crate) key: Option<&'a str>,
    /// Who asked.
    pub(crate) peer: Option<Peer>,
    /// Through what the request came, and by which right.
    pub(crate) via: Via<'a>,
    /// What the client calls itself.
    pub(crate) client: Option<&'a str>,
    /// What went wrong.
    pub(crate) error: Option<&'a str>,
    /// What room it may use, if it tells of a success.
    pub(crate) manner: Manner,
}

impl<'a> Line<'a> {
    /// A line of the daemon's own.
    pub(crate) fn own(event: Event<'a>) -> Self {
        let manner = match event {
            Event::Alert { .. } => Manner::Own,
            Event::PeerRefused { .. } | Event::PeersRefused { .. } => Manner::Request,
            _ => Manner::Needed,
        };
        Self { event, key: None, peer: None, via: Via::default(), client: None, error: None, manner }
    }

    /// What room it may use.
    pub(super) fn manner(&self) -> Manner {
        match self.event {
            // Its requests were answered as recorded.
            Event::RequestRefused { .. } => Manner::Needed,
            _ if self.error.is_some() => self.manner.min(Manner::Own),
            _ => self.manner,
        }
    }
}

/// What the first line of a segment states beside its numbers.
#[derive(Clone, Copy)]
pub(crate) struct SegmentIdentity<'a> {
    /// Name of this host.
    pub(crate) host: &'a str,
    /// Epoch of the keyring.
    pub(crate) epoch: u32,
    /// Id of the keyring.
    pub(crate) keyring_id: &'a [u8; 16],
}

impl<'a> SegmentIdentity<'a> {
    /// The line; `bridging` is the default unless the segment is a bridge or follows one.
    pub(crate) fn first_line_bridging(
        self,
        salt: &'a [u8; 16],
        previous_mac: &'a [u8; 32],
        bridging: Bridging<'a>,
    ) -> Line<'a> {
        let Self { host, epoch, keyring_id } = self;
        Line::own(Event::Segment { salt, host, epoch, previous_mac, keyring_id, bridging })
    }
}

/// What a running log needs to begin its next segment.
pub(crate) struct NextSegment {
    /// Its chain, for the segment number that was asked for.
    pub(crate) chain: Chain<LockedArena>,
    /// Its salt.
    pub(crate) salt: [u8; 16],
    /// It is a bridge itself.
    pub(crate) bridge: bool,
    /// The sealed first key of the segment just before, if that was a bridge.
    pub(crate) bridge_key: Option<SealedBridge>,
    /// Number of the first line that nothing authenticates, if there are such lines just before.
    pub(crate) unauthenticated_from: Option<u64>,
}

impl NextSegment {
    /// A segment that has nothing to do with bridges.
    pub(crate) fn plain(chain: Chain<LockedArena>, salt: [u8; 16]) -> Self {
        Self { chain, salt, bridge: false, bridge_key: None, unauthenticated_from: None }
    }
}

/// What a segment's first line says of bridges.
pub(super) fn bridging(
    bridge: bool,
    key: Option<&SealedBridge>,
    unauthenticated_from: Option<u64>,
) -> Bridging<'_> {
    Bridging { bridge, key, unauthenticated_from }
}

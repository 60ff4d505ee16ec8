//! Who asks: what the kernel said at accept, what that gives, and what the client calls itself.

use crate::policy::{Rights, Subject};

/// The peer of a connection. Kernel facts and the rights they give; everything else is for the record.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// User id by `SO_PEERCRED`.
    pub uid: u32,
    /// Group id by `SO_PEERCRED`.
    pub gid: u32,
    /// Process id by `SO_PEERCRED`; advisory, since ids are used again.
    pub pid: i32,
    /// Systemd system unit by the control group at accept.
    pub unit: Option<&'a str>,
    /// Name of the socket it came through.
    pub socket: &'a str,
    /// What the client said in `hello`; a claim, never used for a decision.
    pub client: &'a str,
    /// What the policy gives to this peer.
    pub rights: &'a Rights,
    /// For whom it asks this time, if its frame says so. Operations on data alone may be asked for others.
    pub on_behalf_of: Option<Asserted<'a>>,
}

/// A caller by the word of a delegate: it can only narrow what the delegate may do.
#[derive(Debug, Clone, Copy)]
pub struct Asserted<'a> {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Systemd system unit.
    pub unit: Option<&'a str>,
}

impl<'a> Asserted<'a> {
    /// As it was named, as if it came through the delegate's own socket. What of it counts depends on the rule
    /// through which it is asked for.
    pub(crate) fn subject(&self, socket: &'a str) -> Subject<'a> {
        Subject { uid: self.uid, gid: self.gid, groups: &[], unit: self.unit, socket }
    }
}

impl Caller<'_> {
    /// The named group, where it decides anything: then the record has to say it.
    pub fn named_group(&self) -> Option<u32> {
        let asserted = self.on_behalf_of?;
        self.rights.weighs_group(&asserted.subject(self.socket)).then_some(asserted.gid)
    }
}

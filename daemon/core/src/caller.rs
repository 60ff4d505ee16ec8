//! Who asks: what the kernel said at accept, and what the client calls itself.

/// The peer of a connection. The uid is the identity; everything else is for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller<'a> {
    /// User id by `SO_PEERCRED`.
    pub uid: u32,
    /// Group id by `SO_PEERCRED`.
    pub gid: u32,
    /// Process id by `SO_PEERCRED`; advisory, since ids are used again.
    pub pid: i32,
    /// What the client said in `hello`; a claim, never used for a decision.
    pub client: &'a str,
}

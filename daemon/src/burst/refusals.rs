//! What is said to requests that do not follow the protocol.

use keyagent_common::op::ErrorReply;

pub(super) const HELLO_REQUIRED: ErrorReply<'static> = ErrorReply {
    what: "the connection did not begin with hello",
    why: "the first request must be hello, status or stop",
    fix: "",
};
pub(super) const UNKNOWN_OPERATION: ErrorReply<'static> = ErrorReply {
    what: "this agent does not know the operation",
    why: "the client is newer than the agent, or it is no keyagent client",
    fix: "keyagent version; restart the agent after an update",
};
pub(super) const NO_BUFFER: ErrorReply<'static> = ErrorReply {
    what: "the agent has no buffer free for a message of this size",
    why: "other clients with large messages hold all of them",
    fix: "try again",
};
pub(super) const BROKEN_FRAME: ErrorReply<'static> = ErrorReply {
    what: "the frame does not follow the protocol",
    why: "its length or its flags are not those of a request",
    fix: "",
};

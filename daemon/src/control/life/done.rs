//! What the log says of a change in the life of one key.

use keyagent_core::{
    audit::record::{Details, Event},
    caller::Caller,
};

use crate::{audit_log::Line, commit::line_of, control::Recorded};

/// A change of one key, with what making it returned.
pub(super) struct Done<'a, R> {
    /// Who asked; `None` where the daemon did it by itself.
    pub(super) caller: Option<&'a Caller<'a>>,
    /// Name of the operation.
    pub(super) operation: &'static str,
    /// Name of the key.
    pub(super) key: &'a str,
    /// Id of the version it was about.
    pub(super) key_id: Option<[u8; 32]>,
    /// What has another value now, separated by blanks.
    pub(super) changed: Option<String>,
    /// The rest of the line.
    pub(super) details: Details<'a>,
    /// For the answer.
    pub(super) result: R,
}

impl<'a, R> Done<'a, R> {
    /// The same with another result.
    pub(super) fn with<S>(self, result: S) -> Done<'a, S> {
        let Self { caller, operation, key, key_id, changed, details, .. } = self;
        Done { caller, operation, key, key_id, changed, details, result }
    }
}

impl<R> Recorded for Done<'_, R> {
    fn lines(&self) -> Vec<Line<'_>> {
        let Self { caller, operation, key, key_id, changed, details, .. } = self;
        let details = Details { key_id: key_id.as_ref(), changed: changed.as_deref(), ..*details };
        let event = Event::Operation { name: operation, details };
        let line = caller.map_or_else(|| Line::own(event), |caller| line_of(caller, event));
        vec![Line { key: Some(key), ..line }]
    }
}

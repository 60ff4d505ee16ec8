//! What the log says of a change in the life of one key.

use keyagent_core::{
    audit::record::{Details, Event},
    caller::Caller,
};

use crate::{audit_log::Line, commit::line_of, control::Recorded};

/// A change of one key, with what making it returned.
pub(crate) struct Done<'a, R> {
    /// Who asked; `None` where the daemon did it by itself.
    pub(crate) caller: Option<&'a Caller<'a>>,
    /// Name of the operation.
    pub(crate) operation: &'static str,
    /// Name of the key.
    pub(crate) key: &'a str,
    /// Id of the version it was about.
    pub(crate) key_id: Option<[u8; 32]>,
    /// What has another value now, separated by blanks.
    pub(crate) changed: Option<String>,
    /// The rest of the line.
    pub(crate) details: Details<'a>,
    /// For the answer.
    pub(crate) result: R,
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

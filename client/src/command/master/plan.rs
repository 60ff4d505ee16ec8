//! What is left to do of a rotation, by what agent and files say: so that it goes on wherever it was interrupted.
//!
//! Decides and touches nothing.

use keyagent_common::{error::ErrorCode, fingerprint, report::Report};

/// A fingerprint of a master key.
pub(super) type Print = [u8; 16];

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the next key, on the disk before anything depends on it.
    Make,
    /// Let both keys open the keyring.
    Begin,
    /// Put the next key in the place of the one in use, which stays in a file of its own.
    Install,
    /// Another new root, which the next key alone opens.
    Finish,
    /// Put the replaced key back in its place; the next one waits again.
    PutBack,
    /// Another new root, which the key in use alone opens.
    Abandon,
    /// Remove the file of the next key.
    Forget,
    /// Remove the file of the replaced key.
    Discard,
}

impl Step {
    /// For people, and in documents.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Make => "make the next master key",
            Self::Begin => "seal the keyring under a new root that both master keys open",
            Self::Install => "put the next master key in the place of the one in use",
            Self::Finish => "seal it under another new root that the next master key alone opens",
            Self::PutBack => "put the replaced master key back in its place",
            Self::Abandon => "seal it under another new root that the master key in use alone opens",
            Self::Forget => "remove the file of the next master key",
            Self::Discard => "remove the file of the replaced master key",
        }
    }
}

/// What there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The master key that the agent has.
    pub(super) in_use: Print,
    /// The next one, if a rotation is unfinished.
    pub(super) next: Option<Print>,
    /// What the key file holds; none where there is none for this command to read.
    pub(super) file: Option<Print>,
    /// What the file of the next key holds.
    pub(super) next_file: Option<Print>,
    /// What the file of the replaced key holds.
    pub(super) replaced: Option<Print>,
    /// Somebody else puts the next key in its place.
    pub(super) installed_by_hand: bool,
}

/// The steps that are left, in their order; none if there is nothing to do.
pub(super) fn rotation(seen: &Seen) -> Result<Vec<Step>, Report> {
    let Seen { in_use, next, file, next_file, replaced, installed_by_hand } = *seen;
    let then: &[Step] = if installed_by_hand { &[] } else { &[Step::Install, Step::Finish, Step::Discard] };
    match (next, next_file) {
        // Finished, but for the key that it replaced. The agent is asked once more before that one goes.
        (None, _) if file == Some(in_use) && replaced.is_some_and(|print| print != in_use) => {
            Ok(vec![Step::Finish, Step::Discard])
        }
        (None, Some(made)) if made == in_use => {
            if installed_by_hand {
                Ok(Vec::new())
            } else {
                Err(left_over(&made))
            }
        }
        (None, made) => {
            check_file(file, in_use)?;
            let first: &[Step] = if made.is_none() { &[Step::Make, Step::Begin] } else { &[Step::Begin] };
            Ok([first, then].concat())
        }
        (Some(next), made) => {
            if file == Some(next) {
                let discard = replaced.map(|_| Step::Discard);
                Ok([Some(Step::Finish), discard].into_iter().flatten().collect())
            } else if made == Some(next) {
                Ok(if installed_by_hand { vec![Step::Finish] } else { then.to_vec() })
            } else {
                Err(lost(&next))
            }
        }
    }
}

/// The steps of giving a rotation up.
pub(super) fn abandonment(seen: &Seen) -> Result<Vec<Step>, Report> {
    let Seen { in_use, next, file, next_file, replaced, .. } = *seen;
    let forget = next_file.map(|_| Step::Forget);
    // A copy of the key that is in its place.
    let discard = replaced.filter(|print| file == Some(*print)).map(|_| Step::Discard);
    match next {
        None if next_file == Some(in_use) => Err(left_over(&in_use)),
        None => Ok([forget, discard].into_iter().flatten().collect()),
        Some(next) if file == Some(next) => {
            if replaced.is_some_and(|print| print != next) {
                return Ok(vec![Step::PutBack, Step::Abandon, Step::Forget]);
            }
            Err(Report::new(ErrorCode::WrongMasterKey, "the key file holds the next master key already")
                .fact("next", fingerprint::full(&next))
                .why("without it the agent could not start again")
                .fix("keyagent master rotate          (or put the old key back first, if there is a copy)"))
        }
        Some(_) => Ok([Some(Step::Abandon), forget, discard].into_iter().flatten().collect()),
    }
}

fn check_file(file: Option<Print>, in_use: Print) -> Result<(), Report> {
    match file {
        Some(print) if print != in_use => {
            Err(Report::new(ErrorCode::WrongMasterKey, "the key file is not that of the agent")
                .fact("agent", fingerprint::full(&in_use))
                .fact("file", fingerprint::full(&print))
                .why("the next key would take the place of another one")
                .fix("name the agent's key file: keyagent master rotate --key-file FILE"))
        }
        _ => Ok(()),
    }
}

fn left_over(print: &Print) -> Report {
    Report::new(ErrorCode::WrongMasterKey, "the file of the next master key holds the one in use")
        .fact("master", fingerprint::full(print))
        .why("it was not made by a rotation that this command could finish")
        .fix("move that file away, then: keyagent master rotate")
}

fn lost(next: &Print) -> Report {
    Report::new(ErrorCode::KeyMissing, "a rotation is unfinished, and its next master key is not here")
        .fact("next", fingerprint::full(next))
        .why("it is neither in the key file nor in the file of the next key")
        .fix("name its file: keyagent master rotate --new-key-file FILE          (or give it up: --abandon)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Print = [1; 16];
    const NEW: Print = [2; 16];
    const OTHER: Print = [3; 16];

    fn seen(next: Option<Print>, file: Print, next_file: Option<Print>) -> Seen {
        Seen { in_use: OLD, next, file: Some(file), next_file, replaced: None, installed_by_hand: false }
    }

    #[test]
    fn it_goes_on_wherever_it_was_interrupted() {
        use Step::{Begin, Discard, Finish, Install, Make};
        let all = rotation(&seen(None, OLD, None)).unwrap();
        assert_eq!(all, [Make, Begin, Install, Finish, Discard]);
        // Behind each step in turn.
        assert_eq!(rotation(&seen(None, OLD, Some(NEW))).unwrap(), [Begin, Install, Finish, Discard]);
        assert_eq!(rotation(&seen(Some(NEW), OLD, Some(NEW))).unwrap(), [Install, Finish, Discard]);
        let copied = Seen { replaced: Some(OLD), ..seen(Some(NEW), OLD, Some(NEW)) };
        assert_eq!(rotation(&copied).unwrap(), [Install, Finish, Discard]);
        let installed = Seen { replaced: Some(OLD), ..seen(Some(NEW), NEW, None) };
        assert_eq!(rotation(&installed).unwrap(), [Finish, Discard]);
        let finished = Seen { in_use: NEW, next: None, ..installed };
        assert_eq!(rotation(&finished).unwrap(), [Finish, Discard]);
        assert_eq!(rotation(&seen(Some(NEW), NEW, None)).unwrap(), [Finish]);
        // The agent was started again in between, and has the next one.
        let started = Seen { in_use: NEW, ..seen(Some(NEW), NEW, None) };
        assert_eq!(rotation(&started).unwrap(), [Finish]);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let code = |seen: &Seen| rotation(seen).unwrap_err().code;
        assert_eq!(code(&seen(None, OTHER, None)), ErrorCode::WrongMasterKey);
        assert_eq!(code(&seen(None, OLD, Some(OLD))), ErrorCode::WrongMasterKey);
        assert_eq!(code(&seen(Some(NEW), OLD, None)), ErrorCode::KeyMissing);
        assert_eq!(code(&seen(Some(NEW), OLD, Some(OTHER))), ErrorCode::KeyMissing);
    }

    #[test]
    fn whoever_installs_it_by_hand_is_waited_for() {
        let by_hand = |in_use, next, next_file| Seen {
            in_use,
            file: None,
            installed_by_hand: true,
            ..seen(next, OLD, next_file)
        };
        assert_eq!(rotation(&by_hand(OLD, None, None)).unwrap(), [Step::Make, Step::Begin]);
        assert_eq!(rotation(&by_hand(OLD, None, Some(NEW))).unwrap(), [Step::Begin]);
        assert_eq!(rotation(&by_hand(OLD, Some(NEW), Some(NEW))).unwrap(), [Step::Finish]);
        assert_eq!(rotation(&by_hand(NEW, None, Some(NEW))).unwrap(), []);
    }

    #[test]
    fn giving_up_needs_the_old_key_in_its_place() {
        assert_eq!(abandonment(&seen(None, OLD, None)).unwrap(), []);
        assert_eq!(abandonment(&seen(None, OLD, Some(NEW))).unwrap(), [Step::Forget]);
        let both = abandonment(&seen(Some(NEW), OLD, Some(NEW))).unwrap();
        assert_eq!(both, [Step::Abandon, Step::Forget]);
        assert_eq!(abandonment(&seen(Some(NEW), OLD, None)).unwrap(), [Step::Abandon]);
        let copied = Seen { replaced: Some(OLD), ..seen(Some(NEW), OLD, Some(NEW)) };
        assert_eq!(abandonment(&copied).unwrap(), [Step::Abandon, Step::Forget, Step::Discard]);
        let given_up = Seen { next: None, next_file: None, ..copied };
        assert_eq!(abandonment(&given_up).unwrap(), [Step::Discard]);
        let installed = Seen { replaced: Some(OLD), ..seen(Some(NEW), NEW, None) };
        let back = [Step::PutBack, Step::Abandon, Step::Forget];
        assert_eq!(abandonment(&installed).unwrap(), back);
        // What is finished cannot be given up; the old key stays where it is.
        assert_eq!(abandonment(&Seen { in_use: NEW, next: None, ..installed }).unwrap(), []);
        let error = abandonment(&seen(Some(NEW), NEW, None)).unwrap_err();
        assert_eq!(error.code, ErrorCode::WrongMasterKey);
    }
}

//! How much of a key is told: an answer fits, however many versions the key has, and whatever else is said of it.

use keyagent_common::{codec::Encode, error::ErrorCode, op::ErrorReply};
use keyagent_core::{
    keyring::{Key, State, Version},
    reply::{NoRoom, ReplyBuffer},
};

/// Most versions of a key in one answer (docs/PROTOCOL.md, `key_list`).
const MOST_VERSIONS: usize = 256;
/// Most bytes of the list of who has access to a key: with all else that is said of one it fits into an answer.
const MOST_ACCESS_BYTES: usize = 24 << 10;
/// Ends a list of who has access that is not all of it; no subject is called so.
const OTHERS: &str = "and others";

/// Those versions that are told, by number: the primary and what is staged, then what is in
/// grace, then all others; of equal ones the newest.
pub(in crate::control) fn versions(key: &Key) -> Vec<&Version> {
    newest(key, MOST_VERSIONS)
}

fn newest(key: &Key, most: usize) -> Vec<&Version> {
    let rank = |version: &&Version| match version.state {
        State::Primary | State::Staged => 0_u8,
        State::Grace => 1,
        State::Retired | State::Disabled | State::Compromised | State::Destroyed => 2,
    };
    let mut told: Vec<&Version> = key.versions.iter().rev().collect();
    if told.len() > most {
        told.sort_by_key(rank);
        told.truncate(most);
    }
    told.sort_unstable_by_key(|version| version.number);
    told
}

/// Who has access, as far as it fits.
pub(in crate::control) fn access<'k>(subjects: impl Iterator<Item = &'k str>) -> Vec<&'k str> {
    let (mut told, mut left) = (Vec::new(), MOST_ACCESS_BYTES);
    for subject in subjects {
        // Each has its length before it.
        let Some(rest) = left.checked_sub(subject.len() + size_of::<u64>()) else {
            told.push(OTHERS);
            break;
        };
        left = rest;
        told.push(subject);
    }
    told
}

/// Answers; what is too long all the same is refused, and the connection goes on.
pub(in crate::control) fn tell<T: Encode>(
    id: u32,
    reply: &T,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    replies.success(id, reply).or_else(|NoRoom| replies.error(id, ErrorCode::TooLarge, &TOO_LONG))
}

const TOO_LONG: ErrorReply<'static> = ErrorReply {
    what: "the answer is too long",
    why: "more is said of a key than fits one answer",
    fix: "shorten its note: keyagent keys configure",
};

#[cfg(test)]
mod tests {
    use keyagent_common::name::KeyName;
    use keyagent_core::{
        arena::HeapArena,
        entropy::{Entropy, EntropyFailed},
        keyring::{Keyring, Reason},
    };

    use super::*;

    struct Counting(u64);

    impl Entropy for Counting {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
            for chunk in out.chunks_mut(8) {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
            }
            Ok(())
        }
    }

    fn numbers(states: &[State], most: usize) -> Vec<u32> {
        let (keyring, _) = Keyring::create(&HeapArena, &[7; 32], &mut Counting(1), 1).unwrap();
        let (name, mut draft) = (KeyName::DEFAULT.as_str(), keyring.draft());
        for _ in 1..states.len() {
            draft.push_version(name, Reason::Manual, &mut Counting(2), 1).unwrap();
        }
        let key = draft.key_mut(name).unwrap();
        for (version, state) in key.versions.iter_mut().zip(states) {
            version.state = *state;
        }
        newest(key, most).iter().map(|version| version.number).collect()
    }

    #[test]
    fn what_opens_is_told_before_what_does_not_and_new_before_old() {
        use State::{Destroyed, Grace, Primary, Retired, Staged};
        let states = [Primary, Grace, Staged, Retired, Destroyed, Grace, Retired];
        assert_eq!(numbers(&states, 7), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(numbers(&states, 6), [1, 2, 3, 5, 6, 7]);
        assert_eq!(numbers(&states, 4), [1, 2, 3, 6]);
        assert_eq!(numbers(&states, 3), [1, 3, 6]);
        assert_eq!(numbers(&[&[Grace; 9][..], &[Primary]].concat(), 4), [7, 8, 9, 10]);
    }

    #[test]
    fn a_list_of_very_many_says_that_there_are_others() {
        assert_eq!(access(["uid:1", "uid:2"].into_iter()), ["uid:1", "uid:2"]);
        let many = access(std::iter::repeat_n("uid:1000", 5000));
        assert_eq!((many.len(), many[1535], many[1536]), (1537, "uid:1000", "and others"));
    }

    #[test]
    fn what_does_not_fit_is_an_answer_too() {
        let mut bytes = [0; 400];
        let mut replies = ReplyBuffer::new(&mut bytes);
        tell(1, &vec![7_u8; 500], &mut replies).unwrap();
        assert_eq!(replies.frames()[8..10], (ErrorCode::TooLarge as u16).to_le_bytes());
        assert_eq!(tell(2, &vec![7_u8; 20], &mut replies), Ok(()));
    }
}

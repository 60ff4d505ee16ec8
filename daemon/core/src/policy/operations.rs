//! Operations as sets and words.

use alloc::{format, string::String, vec::Vec};

use keyagent_common::op::OperationCode;

/// The word for every operation on data.
pub(super) const DATA_GROUP: &str = "data";

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The agent as a whole.
    Agent,
    /// A key as a thing: made, listed, braked.
    Keys,
    /// Data under a key.
    Data,
}

/// The kind of an operation.
pub(super) const fn kind(operation: OperationCode) -> Kind {
    match operation {
        OperationCode::Hello
        | OperationCode::Status
        | OperationCode::Health
        | OperationCode::Stop
        | OperationCode::Lock
        | OperationCode::Unlock
        | OperationCode::Reload
        | OperationCode::Maintenance
        | OperationCode::AuditQuery
        | OperationCode::Watch
        | OperationCode::BackupCreate
        | OperationCode::BackupRestore
        | OperationCode::MasterRotate
        | OperationCode::Batch => Kind::Agent,
        OperationCode::KeyCreate
        | OperationCode::KeyList
        | OperationCode::KeyDisable
        | OperationCode::KeyEnable
        | OperationCode::KeyShow
        | OperationCode::KeyConfigure
        | OperationCode::KeyRotate
        | OperationCode::KeyPromote
        | OperationCode::KeyRetire
        | OperationCode::KeyReinstate
        | OperationCode::KeyDestroy => Kind::Keys,
        OperationCode::Encrypt
        | OperationCode::Decrypt
        | OperationCode::DataKey
        | OperationCode::DataKeyOpen
        | OperationCode::Rewrap
        | OperationCode::Hmac
        | OperationCode::JwtSign
        | OperationCode::JwtVerify
        | OperationCode::Random => Kind::Data,
    }
}

/// Whether a right is all that it needs: then the right on any key will do.
pub(super) const fn is_without_key(operation: OperationCode) -> bool {
    matches!(operation, OperationCode::Random)
}

/// A set of operations: one bit for each number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Operations(u64);

const _: () = {
    let mut rest = OperationCode::ALL;
    while let [first, others @ ..] = rest {
        assert!((*first as u16) < 64, "an operation has no bit");
        rest = others;
    }
};

impl Operations {
    /// Everybody who may connect may say hello, and send batches: each of their items needs its own right.
    pub(super) const HELLO: Self = Self::of(&[OperationCode::Hello, OperationCode::Batch]);
    /// Everything there is.
    pub(super) const ALL: Self = Self::of(OperationCode::ALL);
    /// What an operator may do.
    pub(super) const OPERATOR: Self = Self::of(&[
        OperationCode::Hello,
        OperationCode::Batch,
        OperationCode::Status,
        OperationCode::Health,
        OperationCode::Lock,
        OperationCode::Unlock,
        OperationCode::Reload,
        OperationCode::Maintenance,
        OperationCode::AuditQuery,
        OperationCode::Watch,
        OperationCode::KeyList,
        OperationCode::KeyShow,
        OperationCode::KeyRotate,
        OperationCode::KeyPromote,
        OperationCode::KeyRetire,
        OperationCode::KeyReinstate,
        OperationCode::KeyDisable,
        OperationCode::KeyEnable,
    ]);
    /// What a rule may give of the agent.
    pub(super) const AGENT_BY_RULE: Self =
        Self::of(&[OperationCode::Status, OperationCode::Health, OperationCode::Lock, OperationCode::Watch]);
    /// What opens something, so that a key or a message comes out.
    pub(super) const OPENING: Self = Self::of(&[OperationCode::Decrypt, OperationCode::DataKeyOpen]);

    /// A set of these.
    pub(super) const fn of(operations: &[OperationCode]) -> Self {
        let (mut rest, mut bits) = (operations, 0);
        while let [first, others @ ..] = rest {
            bits |= 1 << (*first as u16);
            rest = others;
        }
        Self(bits)
    }

    /// All of one kind.
    pub(super) fn of_kind(wanted: Kind) -> Self {
        let mut set = Self::default();
        for operation in OperationCode::ALL.iter().filter(|operation| kind(**operation) == wanted) {
            set = set.with(Self::of(&[*operation]));
        }
        set
    }

    /// Both together.
    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub(super) const fn shared_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is here and not there.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether this one is in it.
    pub(super) const fn contains(self, operation: OperationCode) -> bool {
        self.0 & (1 << (operation as u16)) != 0
    }

    /// Whether nothing is in it.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in it, in order of number.
    pub(super) fn iter(self) -> impl Iterator<Item = OperationCode> {
        OperationCode::ALL.iter().copied().filter(move |operation| self.contains(*operation))
    }

    /// The words of what is in it.
    pub(super) fn words(self) -> String {
        self.iter().map(OperationCode::name).collect::<Vec<_>>().join(", ")
    }
}

/// The operations of a word; else a sentence that helps.
pub(super) fn parse(word: &str) -> Result<Operations, String> {
    if word == DATA_GROUP {
        return Ok(Operations::of_kind(Kind::Data));
    }
    match OperationCode::ALL.iter().find(|operation| operation.name() == word) {
        Some(operation) => Ok(Operations::of(&[*operation])),
        None => Err(suggestion(word)),
    }
}

fn suggestion(word: &str) -> String {
    let known = || OperationCode::ALL.iter().map(|operation| operation.name()).chain([DATA_GROUP]);
    match known().map(|name| (distance(word, name), name)).min() {
        Some((distance, name)) if distance <= name.len() / 2 => format!("write {name:?}"),
        _ => format!("write one of: {}", known().collect::<Vec<_>>().join(", ")),
    }
}

/// Fewest insertions, deletions and replacements of a byte that make one word the other; long words are
/// cut first, so that the work is bounded.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (place, byte) in a.bytes().take(64).enumerate() {
        let (mut diagonal, mut left) = (place, place + 1);
        for (cell, other) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *cell;
            *cell = (diagonal + usize::from(byte != other)).min(above + 1).min(left + 1);
            (diagonal, left) = (above, *cell);
        }
        if let Some(first) = row.first_mut() {
            *first = place + 1;
        }
    }
    row.last().copied().unwrap_or_default() + a.len().saturating_sub(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        for (word, nearest) in [
            ("encrpyt", "encrypt"),
            ("Decrypt", "decrypt"),
            ("datakey", "data_key"),
            ("data-key-open", "data_key_open"),
            ("keys_list", "key_list"),
            ("dta", "data"),
        ] {
            assert_eq!(parse(word), Err(format!("write {nearest:?}")));
        }
        assert!(parse("everything").unwrap_err().starts_with("write one of: hello, status"));
        assert!(parse(&"x".repeat(100_000)).is_err());
    }

    #[test]
    fn distances_are_right() {
        for (a, b, wanted) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), wanted, "{a} {b}");
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let data = Operations::of_kind(Kind::Data);
        assert_eq!(
            data.words(),
            "encrypt, decrypt, rewrap, data_key, data_key_open, hmac, jwt_sign, jwt_verify, random"
        );
        assert!(data.shared_with(Operations::OPERATOR).is_empty());
        assert!(!Operations::OPERATOR.contains(OperationCode::Stop));
        for admins in [
            OperationCode::KeyCreate,
            OperationCode::KeyConfigure,
            OperationCode::KeyDestroy,
            OperationCode::BackupCreate,
            OperationCode::BackupRestore,
            OperationCode::MasterRotate,
        ] {
            assert!(!Operations::OPERATOR.contains(admins), "{}", admins.name());
        }
        assert_eq!(Operations::ALL.iter().count(), OperationCode::ALL.len());
    }
}

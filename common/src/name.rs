//! Key names, parsed once at the edge.

use core::fmt;

/// Most bytes of a key name.
pub const MAX_BYTES: usize = 128;

/// A validated key name such as `default`, `openai` or `billing/cards`: one or more parts of
/// `[a-z0-9._-]{1,64}` joined by `/`, no part `.` or `..`, at most [`MAX_BYTES`] bytes in all.
///
/// A name is data, never a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName<'a>(&'a str);

/// The text is no key name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key name has parts of a-z, 0-9, '.', '_' and '-' (1 to 64 characters) joined by '/', 128 characters in all"
)]
pub struct NotAKeyName;

impl<'a> KeyName<'a> {
    /// The key that `init` makes and that is used where none is named.
    pub const DEFAULT: KeyName<'static> = KeyName("default");

    /// Checks a text against the rules.
    pub fn parse(text: &'a str) -> Result<Self, NotAKeyName> {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let part = |p: &str| (1..=64).contains(&p.len()) && p != "." && p != ".." && p.bytes().all(allowed);
        if text.len() <= MAX_BYTES && text.split('/').all(part) { Ok(Self(text)) } else { Err(NotAKeyName) }
    }

    /// The text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for KeyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_and_refuses_paths() {
        for good in ["default", "openai", "billing/cards", "a.b-c_d/0", "..."] {
            assert_eq!(KeyName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        let deep = ["abcdefgh"; 17].join("/");
        for bad in [
            "", "/", "a/", "/a", "a//b", "..", "../x", "a/../b", ".", "A", "ä", "a b", "a\n", "a\0", &long,
            &deep,
        ] {
            assert_eq!(KeyName::parse(bad), Err(NotAKeyName), "{bad:?}");
        }
    }
}

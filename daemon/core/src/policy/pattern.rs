//! Patterns of key and unit names: `*` stands for anything within one part (no `/`), `**` for anything.
//!
//! A pattern is a small automaton whose states are the bits of one number, so that matching takes exactly
//! one step for each byte of the name, whatever the pattern: nothing goes back, nothing recurses.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use keyagent_common::name::KeyName;

/// Most bytes of a pattern.
pub(super) const MAX_BYTES: usize = 128;
/// Most `*` and `**` in a pattern.
pub(super) const MAX_STARS: usize = 8;
/// Every name.
pub(super) const EVERYTHING: &str = "**";

/// What a pattern's names look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Names of keys.
    Keys,
    /// Names of systemd units that hold processes.
    Units,
}

/// Why a text is no pattern, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadPattern {
    pub(super) why: String,
    pub(super) fix: String,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Box<str>,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// Without stars.
    Literal,
    /// So many bytes, then `**`.
    Prefix(usize),
    /// Anything else.
    Automaton(Automaton),
}

/// State n means: the first n letters of the pattern are behind us. A star makes a state stay where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Automaton {
    /// For each letter of the pattern, the states that are reached with it.
    reached: Box<[(u8, u128)]>,
    /// States that stay with any byte but `/`.
    stay_within: u128,
    /// States that stay with any byte.
    stay_across: u128,
    /// The last state.
    end: u128,
}

impl Pattern {
    /// Compiles a pattern of keys or units.
    pub(super) fn parse(text: &str, names: Names) -> Result<Self, BadPattern> {
        let bad =
            |why: &str, fix: &str| BadPattern { why: format!("{text:?} {why}"), fix: String::from(fix) };
        if text.is_empty() {
            return Err(bad("is empty", "write a name or a pattern; `**` stands for every name"));
        }
        if text.len() > MAX_BYTES {
            return Err(BadPattern {
                why: format!("a pattern has at most {MAX_BYTES} bytes, this one has {}", text.len()),
                fix: String::from("shorten it with `*`"),
            });
        }
        if text.contains("***") {
            return Err(bad("has three stars in a row", "write `*` (within one part) or `**` (anything)"));
        }
        let pieces = pieces(text);
        let stars = pieces.iter().filter(|piece| !matches!(piece, Piece::Letter(_))).count();
        if stars > MAX_STARS {
            return Err(bad("has more than 8 stars", "use fewer `*`, or several patterns"));
        }
        match names {
            Names::Keys => check_key_pattern(text, stars, bad)?,
            Names::Units => check_unit_pattern(text, bad)?,
        }
        let shape = match text.strip_suffix(EVERYTHING) {
            _ if stars == 0 => Shape::Literal,
            Some(before) if stars == 1 => Shape::Prefix(before.len()),
            _ => Shape::Automaton(Automaton::new(&pieces)),
        };
        Ok(Self { text: Box::from(text), shape })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether every name fits.
    pub(super) fn is_everything(&self) -> bool {
        self.shape == Shape::Prefix(0)
    }

    /// Whether a name fits.
    pub(super) fn matches(&self, name: &str) -> bool {
        match &self.shape {
            Shape::Literal => *name == *self.text,
            Shape::Prefix(length) => name.as_bytes().get(..*length) == self.text.as_bytes().get(..*length),
            Shape::Automaton(automaton) => automaton.matches(name),
        }
    }
}

impl Automaton {
    /// At most 127 letters, since there is at least one star: state 127 is the highest bit.
    fn new(pieces: &[Piece]) -> Self {
        let mut reached: Vec<(u8, u128)> = Vec::new();
        let (mut state, mut stay_within, mut stay_across) = (1_u128, 0, 0);
        for piece in pieces {
            match piece {
                Piece::Within => stay_within |= state,
                Piece::Across => {
                    stay_within |= state;
                    stay_across |= state;
                }
                Piece::Letter(letter) => {
                    state <<= 1;
                    match reached.iter_mut().find(|(known, _)| known == letter) {
                        Some((_, states)) => *states |= state,
                        None => reached.push((*letter, state)),
                    }
                }
            }
        }
        Self { reached: reached.into_boxed_slice(), stay_within, stay_across, end: state }
    }

    fn matches(&self, name: &str) -> bool {
        name.bytes().fold(1, |states, byte| self.step(states, byte)) & self.end != 0
    }

    /// The states after one more byte.
    fn step(&self, states: u128, byte: u8) -> u128 {
        let reached = self.reached.iter().find(|(letter, _)| *letter == byte).map_or(0, |(_, to)| *to);
        let stay = if byte == b'/' { self.stay_across } else { self.stay_within };
        ((states << 1) & reached) | (states & stay)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Letter(u8),
    Within,
    Across,
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for byte in text.bytes() {
        match (byte, pieces.last_mut()) {
            (b'*', Some(last @ Piece::Within)) => *last = Piece::Across,
            (b'*', _) => pieces.push(Piece::Within),
            _ => pieces.push(Piece::Letter(byte)),
        }
    }
    pieces
}

fn check_key_pattern(
    text: &str,
    stars: usize,
    bad: impl Fn(&str, &str) -> BadPattern,
) -> Result<(), BadPattern> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'*');
    let never = text.starts_with('/') || text.ends_with('/') || text.contains("//");
    if !text.bytes().all(allowed) || never || (stars == 0 && KeyName::parse(text).is_err()) {
        return Err(bad(
            "fits no key name",
            "a key name has parts of a-z, 0-9, '.', '_' and '-' joined by '/', such as `billing/*`",
        ));
    }
    Ok(())
}

fn check_unit_pattern(text: &str, bad: impl Fn(&str, &str) -> BadPattern) -> Result<(), BadPattern> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@*".contains(&b);
    if !text.bytes().all(allowed) {
        return Err(bad("fits no unit name", "write it as `systemctl list-units` shows it"));
    }
    if ![".service", ".scope", "*"].iter().any(|ending| text.ends_with(ending)) {
        return Err(bad(
            "fits no unit that holds a process",
            "such units end in `.service` or `.scope`; write the ending too",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Reads JSON (RFC 8259): one object, in one pass, without a copy of anything.
//!
//! Strict: UTF-8, no byte order mark, nothing behind the object, no lone surrogates, at most [`MAX_DEPTH`] levels, and
//! no name twice in an object, however it is written (`"a"` is `"\u0061"`). Must never take what another reader could
//! read otherwise.

use alloc::vec::Vec;
use core::str;

/// Deepest nesting: the object itself is the first level.
pub(super) const MAX_DEPTH: u8 = 16;

/// The bytes are no object of the form this reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson;

/// A string between its quotes, as it stands there; its escapes were checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'j>(&'j str);

/// The value of a member.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'j> {
    /// A string.
    Text(Text<'j>),
    /// A number as it stands there.
    Number(&'j str),
    /// `true`, `false`, `null`, an array or an object.
    Other,
}

impl<'j> Text<'j> {
    /// Its characters, escapes resolved.
    pub(super) fn characters(self) -> impl Iterator<Item = char> + 'j {
        let mut rest = self.0.chars();
        core::iter::from_fn(move || match rest.next()? {
            '\\' => Some(match rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let (unit, behind) = hex_unit(rest.as_str())?;
                    let (character, behind) = surrogates(unit, behind)?;
                    rest = behind.chars();
                    character
                }
                itself => itself,
            }),
            character => Some(character),
        })
    }

    /// Whether it says exactly this.
    pub(super) fn is(self, text: &str) -> bool {
        self.characters().eq(text.chars())
    }
}

/// Shows every member of the outermost object to `see`, in order, once its value is read. Members may have been shown
/// although the whole is refused in the end.
pub(super) fn read_object<'j>(
    bytes: &'j [u8],
    see: &mut dyn FnMut(Text<'j>, Value<'j>),
) -> Result<(), NotJson> {
    let text = str::from_utf8(bytes).map_err(|_| NotJson)?;
    let mut reader = Reader { rest: text, names: Vec::new() };
    reader.skip_space();
    reader.object(MAX_DEPTH, see)?;
    reader.skip_space();
    if reader.rest.is_empty() { Ok(()) } else { Err(NotJson) }
}

struct Reader<'j> {
    rest: &'j str,
    /// Names of the objects that are open, of one behind those of the other.
    names: Vec<Text<'j>>,
}

impl<'j> Reader<'j> {
    fn object(&mut self, depth: u8, see: &mut dyn FnMut(Text<'j>, Value<'j>)) -> Result<(), NotJson> {
        let depth = depth.checked_sub(1).ok_or(NotJson)?;
        let first_name = self.names.len();
        self.expect("{")?;
        self.skip_space();
        if self.take("}") {
            return Ok(());
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.names.push(name);
            self.skip_space();
            self.expect(":")?;
            let value = self.value(depth)?;
            see(name, value);
            if self.take("}") {
                return self.end_names(first_name);
            }
            self.expect(",")?;
        }
    }

    /// Refuses names of the object that ends which stand there twice, and forgets them.
    fn end_names(&mut self, first: usize) -> Result<(), NotJson> {
        let names = self.names.get_mut(first..).ok_or(NotJson)?;
        names.sort_unstable_by(|a, b| a.characters().cmp(b.characters()));
        let unique = names.is_sorted_by(|a, b| a.characters().lt(b.characters()));
        self.names.truncate(first);
        if unique { Ok(()) } else { Err(NotJson) }
    }

    fn array(&mut self, depth: u8) -> Result<(), NotJson> {
        let depth = depth.checked_sub(1).ok_or(NotJson)?;
        self.expect("[")?;
        self.skip_space();
        if self.take("]") {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            if self.take("]") {
                return Ok(());
            }
            self.expect(",")?;
        }
    }

    /// A value, and white space on both sides.
    fn value(&mut self, depth: u8) -> Result<Value<'j>, NotJson> {
        self.skip_space();
        let value = match self.rest.as_bytes().first().ok_or(NotJson)? {
            b'"' => Value::Text(self.string()?),
            b'{' => {
                self.object(depth, &mut |_, _| ())?;
                Value::Other
            }
            b'[' => {
                self.array(depth)?;
                Value::Other
            }
            b'-' | b'0'..=b'9' => Value::Number(self.number()?),
            _ if self.take("true") || self.take("false") || self.take("null") => Value::Other,
            _ => return Err(NotJson),
        };
        self.skip_space();
        Ok(value)
    }

    fn string(&mut self) -> Result<Text<'j>, NotJson> {
        self.expect("\"")?;
        let text = self.rest;
        let mut at = text;
        loop {
            let plain = at.find(['"', '\\']).ok_or(NotJson)?;
            let (before, behind) = at.split_at_checked(plain).ok_or(NotJson)?;
            if before.bytes().any(|byte| byte < b' ') {
                return Err(NotJson);
            }
            if let Some(rest) = behind.strip_prefix('"') {
                let inside = text.len() - behind.len();
                self.rest = rest;
                return Ok(Text(text.get(..inside).ok_or(NotJson)?));
            }
            at = escape(behind).ok_or(NotJson)?;
        }
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<&'j str, NotJson> {
        let begin = self.rest;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            self.digits()?;
        }
        begin.get(..begin.len() - self.rest.len()).ok_or(NotJson)
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let rest = self.rest.trim_start_matches(|character: char| character.is_ascii_digit());
        let found = rest.len() < self.rest.len();
        self.rest = rest;
        if found { Ok(()) } else { Err(NotJson) }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, token: &str) -> bool {
        let behind = self.rest.strip_prefix(token);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), NotJson> {
        if self.take(token) { Ok(()) } else { Err(NotJson) }
    }
}

/// What follows the escape at the front.
fn escape(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\\')?;
    if let Some(hex) = text.strip_prefix('u') {
        let (unit, behind) = hex_unit(hex)?;
        return Some(surrogates(unit, behind)?.1);
    }
    text.strip_prefix(['"', '\\', '/', 'b', 'f', 'n', 'r', 't'])
}

/// Four hexadecimal digits at the front, and what follows them.
fn hex_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, behind) = text.split_at_checked(4)?;
    let value = digits.chars().try_fold(0, |value, digit| Some(value << 4 | digit.to_digit(16)?))?;
    Some((value, behind))
}

/// The character of one UTF-16 unit, or of two if the second one follows as an escape.
fn surrogates(unit: u32, behind: &str) -> Option<(char, &str)> {
    if let Some(character) = char::from_u32(unit) {
        return Some((character, behind));
    }
    let (low, behind) = hex_unit(behind.strip_prefix("\\u")?)?;
    let is_pair = (0xd800..0xdc00).contains(&unit) && (0xdc00..0xe000).contains(&low);
    let character = is_pair.then(|| 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?;
    Some((char::from_u32(character)?, behind))
}

#[cfg(test)]
mod tests;

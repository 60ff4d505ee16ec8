//! Reads the members of our own audit lines: the JSON that [`super::record`] writes, and no other.
//!
//! No white space, no arrays, no fractions, objects nested at most [`DEPTH`] deep. Must never accept
//! a line in part: the iterator ends in an error unless the object ends with the bytes.

/// Deepest nesting that is read: line, metadata, context.
const DEPTH: u8 = 3;

/// The bytes are no object of the form the daemon writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'l> {
    /// A string as it stands between its quotes, escapes included.
    Text(&'l [u8]),
    /// A decimal number without sign, fraction or leading zero.
    Number(u64),
    /// An object, braces included; its inside was checked.
    Object(&'l [u8]),
    /// `true`, `false` or `null`.
    Word,
}

/// The members of one object in order.
pub(super) struct Members<'l> {
    rest: &'l [u8],
    depth: u8,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Middle,
    End,
}

impl<'l> Members<'l> {
    /// The members of `line`: an object and nothing after it.
    pub(super) fn of(line: &'l [u8]) -> Self {
        Self { rest: line, depth: DEPTH, state: State::Begin }
    }

    fn step(&mut self) -> Result<Option<(&'l [u8], Value<'l>)>, Malformed> {
        if self.state == State::Begin {
            self.expect(b'{')?;
            if self.rest.first() == Some(&b'}') {
                self.rest = self.rest.get(1..).ok_or(Malformed)?;
                return Ok(None);
            }
        } else {
            let (next, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            match next {
                b'}' => return Ok(None),
                b',' => {}
                _ => return Err(Malformed),
            }
        }
        let name = self.text()?;
        self.expect(b':')?;
        let value = self.value()?;
        self.state = State::Middle;
        Ok(Some((name, value)))
    }

    fn value(&mut self) -> Result<Value<'l>, Malformed> {
        match self.rest.first().ok_or(Malformed)? {
            b'"' => Ok(Value::Text(self.text()?)),
            b'{' => self.object(),
            b'0'..=b'9' => self.number(),
            _ => {
                let words: [&[u8]; 3] = [b"true", b"false", b"null"];
                let mut found = words.iter().filter_map(|word| self.rest.strip_prefix(*word));
                self.rest = found.next().ok_or(Malformed)?;
                Ok(Value::Word)
            }
        }
    }

    fn object(&mut self) -> Result<Value<'l>, Malformed> {
        let depth = self.depth.checked_sub(1).ok_or(Malformed)?;
        let mut inner = Members { rest: self.rest, depth, state: State::Begin };
        while inner.step()?.is_some() {}
        let length = self.rest.len() - inner.rest.len();
        let (object, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Value::Object(object))
    }

    fn number(&mut self) -> Result<Value<'l>, Malformed> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        if digits.first() == Some(&b'0') && digits.len() > 1 {
            return Err(Malformed);
        }
        self.rest = rest;
        let value = digits
            .iter()
            .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        value.map(Value::Number).ok_or(Malformed)
    }

    fn text(&mut self) -> Result<&'l [u8], Malformed> {
        self.expect(b'"')?;
        let mut escaped = false;
        let end = self.rest.iter().position(|&byte| {
            let end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            end
        });
        let (text, rest) = self.rest.split_at_checked(end.ok_or(Malformed)?).ok_or(Malformed)?;
        self.rest = rest;
        self.expect(b'"')?;
        if text.iter().any(u8::is_ascii_control) { Err(Malformed) } else { Ok(text) }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        self.rest = self.rest.strip_prefix(&[byte]).ok_or(Malformed)?;
        Ok(())
    }
}

impl<'l> Iterator for Members<'l> {
    type Item = Result<(&'l [u8], Value<'l>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::End {
            return None;
        }
        let step = self.step();
        if !matches!(step, Ok(Some(_))) {
            self.state = State::End;
        }
        match step {
            Ok(None) if self.rest.is_empty() => None,
            Ok(None) => Some(Err(Malformed)),
            other => other.transpose(),
        }
    }
}

/// Exactly `N` bytes in lower-case hexadecimal.
pub(super) fn hex<const N: usize>(text: &[u8]) -> Result<[u8; N], Malformed> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(Malformed);
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Result<u8, Malformed> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn members(line: &str) -> Result<Vec<(&[u8], Value<'_>)>, Malformed> {
        Members::of(line.as_bytes()).collect()
    }

    #[test]
    fn reads_our_lines() {
        let read = members(r#"{"seq":12,"a":"x\"y\\","m":{"n":{"o":0}},"t":true,"e":{}}"#).unwrap();
        let expected: [(&[u8], Value<'_>); 5] = [
            (b"seq", Value::Number(12)),
            (b"a", Value::Text(br#"x\"y\\"#)),
            (b"m", Value::Object(br#"{"n":{"o":0}}"#)),
            (b"t", Value::Word),
            (b"e", Value::Object(b"{}")),
        ];
        assert_eq!(read, expected);
        assert_eq!(members("{}").unwrap(), []);
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "{",
            "}",
            "{}}",
            "{} ",
            " {}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,\"a\":1}",
            "{\"a\":01}",
            "{\"a\":-1}",
            "{\"a\":1.5}",
            "{\"a\":[]}",
            "{\"a\":nul}",
            "{\"a\":\"x}",
            "{\"a\":\"\\\"}",
            "{\"a\":18446744073709551616}",
            "{\"a\":1\"b\":2}",
            "{\"a\":\"\n\"}",
            "[]",
            "1",
            "{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}",
        ] {
            assert_eq!(members(bad), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn hexadecimal_is_strict() {
        assert_eq!(hex::<2>(b"09af"), Ok([9, 0xaf]));
        for bad in [&b"09a"[..], b"09aff", b"09afff", b"09AF", b"0g00", b""] {
            assert_eq!(hex::<2>(bad), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
            let _ = Members::of(&bytes).count();
        }
    }
}

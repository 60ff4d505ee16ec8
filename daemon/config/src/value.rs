//! One value on its way to its type, whatever place it comes from: times, sizes, counts, words, paths.

use std::{path::PathBuf, time::Duration};

use toml::de::DeValue;

use crate::{
    document::Value,
    error::{ConfigurationError, Problem},
    origin::Origin,
};

/// A value as it was given in a file, in a variable or by a flag.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// Name of the setting.
    pub(crate) name: String,
    /// As written, on one line.
    pub(crate) shown: String,
    /// Where.
    pub(crate) at: Origin,
    /// What.
    pub(crate) content: Content,
}

/// What was given.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A text.
    Text(String),
    /// A whole number.
    Number(u64),
    /// `true` or `false`.
    Truth(bool),
    /// A path from outside the files, already absolute.
    Path(PathBuf),
    /// Something that no setting is: its name.
    Other(&'static str),
}

/// Why a value is refused, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) why: String,
    pub(crate) fix: String,
}

impl Refusal {
    pub(crate) fn new(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into() }
    }
}

impl From<&Value<'_>> for Given {
    fn from(value: &Value<'_>) -> Self {
        let content = match value.raw() {
            DeValue::String(text) => Content::Text(text.clone().into_owned()),
            DeValue::Boolean(truth) => Content::Truth(*truth),
            DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Content::Number(number),
                Err(_) if number.as_str().starts_with('-') => Content::Other("a negative number"),
                Err(_) => Content::Other("a number that is too large"),
            },
            DeValue::Float(_) => Content::Other("a number with a point"),
            DeValue::Datetime(_) => Content::Other("a date"),
            DeValue::Array(_) => Content::Other("a list"),
            DeValue::Table(_) => Content::Other("a table"),
        };
        Self { name: value.name.clone(), shown: value.written(), at: value.at.clone(), content }
    }
}

impl Given {
    /// The typed value, or where, what, why and how else.
    pub(crate) fn parse<T>(
        &self,
        parse: impl Fn(&Self) -> Result<T, Refusal>,
    ) -> Result<T, ConfigurationError> {
        parse(self).map_err(|Refusal { why, fix }| {
            ConfigurationError::new(
                self.at.clone(),
                Problem::Value { field: self.name.clone(), value: self.quoted(), why, fix },
            )
        })
    }

    /// For errors: cut where it is long.
    pub(crate) fn quoted(&self) -> String {
        let text = match &self.content {
            Content::Text(text) => format!("{text:?}"),
            Content::Other(kind @ ("a list" | "a table")) => (*kind).to_owned(),
            _ => self.shown.clone(),
        };
        let short: String = text.chars().take(80).collect();
        if short.len() < text.len() { short + "…" } else { short }
    }

    /// A text, where one is needed.
    pub(crate) fn text(&self, example: &str) -> Result<&str, Refusal> {
        match &self.content {
            Content::Text(text) => Ok(text),
            other => Err(Refusal::new(format!("a text is needed, not {}", other.kind()), example)),
        }
    }

    /// Name of the field alone.
    fn field(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }
}

impl Content {
    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Truth(_) => "true or false",
            Self::Path(_) => "a path",
            Self::Other(kind) => kind,
        }
    }
}

/// A time such as `15m`: a whole number and `s`, `m`, `h` or `d`, between `least` and `most`.
pub(crate) fn duration(given: &Given, least: &str, most: &str) -> Result<Duration, Refusal> {
    let fix = format!("{} = \"{}\"", given.field(), example(given.field()));
    let text = given.text(&fix)?;
    let time = time(text).ok_or_else(|| {
        Refusal::new("a time is a whole number and one of s, m, h and d, such as 15m", &fix)
    })?;
    let (Some(low), Some(high)) = (self::time(least), self::time(most)) else { return Ok(time) };
    if (low..=high).contains(&time) {
        return Ok(time);
    }
    Err(Refusal::new(format!("it is between {least} and {most}"), fix))
}

/// The same, or `never`.
pub(crate) fn duration_or_never(given: &Given, least: &str, most: &str) -> Result<Option<Duration>, Refusal> {
    if matches!(&given.content, Content::Text(text) if text == "never") {
        return Ok(None);
    }
    duration(given, least, most).map(Some)
}

/// An example of a time for a field.
fn example(field: &str) -> &'static str {
    match field {
        "idle" => "15m",
        "absolute" => "12h",
        "keep" => "400d",
        "rotate_age" => "7d",
        "window" => "1h",
        _ => "24h",
    }
}

fn time(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// A size such as `64MiB`: a whole number and `KiB`, `MiB` or `GiB`, or a number of bytes, of at least `least`.
pub(crate) fn size(given: &Given, least: u64) -> Result<u64, Refusal> {
    let fix = format!("{} = \"{}\"", given.field(), if given.field() == "budget" { "1GiB" } else { "64MiB" });
    let bytes = match &given.content {
        Content::Number(bytes) => *bytes,
        Content::Text(text) => bytes(text).ok_or_else(|| {
            Refusal::new("a size is a whole number and one of KiB, MiB and GiB, such as 64MiB", &fix)
        })?,
        other => return Err(Refusal::new(format!("a size is needed, not {}", other.kind()), fix)),
    };
    let most = 1_u64 << 50;
    if (least..=most).contains(&bytes) {
        return Ok(bytes);
    }
    Err(Refusal::new(format!("it is between {} KiB and 1048576 GiB", least >> 10), fix))
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// `15m`, `15 m`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

/// A whole number between two others.
pub(crate) fn count<N: TryFrom<u64>>(given: &Given, least: u64, most: u64) -> Result<N, Refusal> {
    let fix = format!("{} = {}", given.field(), if given.field() == "warn_percent" { 80 } else { 5 });
    let Content::Number(number) = given.content else {
        return Err(Refusal::new(format!("a whole number is needed, not {}", given.content.kind()), fix));
    };
    let refuse = || Refusal::new(format!("it is between {least} and {most}"), &fix);
    if !(least..=most).contains(&number) {
        return Err(refuse());
    }
    N::try_from(number).map_err(|_| refuse())
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(given: &Given, words: &[(&str, T)]) -> Result<T, Refusal> {
    let known = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let fix = format!("one of {known}");
    let text = given.text(&fix)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| Refusal::new("it is none of the words that are known here", fix))
}

/// An absolute path.
pub(crate) fn path(given: &Given) -> Result<PathBuf, Refusal> {
    let fix = format!("{} = \"/absolute/path\"", given.field());
    if let Content::Path(path) = &given.content {
        return Ok(path.clone());
    }
    let text = given.text(&fix)?;
    if !text.starts_with('/') {
        return Err(Refusal::new("what it means would depend on where the daemon was started", fix));
    }
    if text.contains('\0') {
        return Err(Refusal::new("a path has no NUL", fix));
    }
    Ok(PathBuf::from(text))
}

/// A name of 1 to 64 characters of `a-z 0-9 . _ -`.
pub(crate) fn name(given: &Given) -> Result<String, Refusal> {
    let fix = "name = \"billing\"";
    let text = given.text(fix)?;
    let letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(letter) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new("a name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-'", fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_exactly_these_forms() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("12h", 43_200), ("400d", 34_560_000), ("2 h", 7200)]
        {
            assert_eq!(time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "15", "m", "1.5h", "-1s", "1h30m", "1 week", "1M", "99999999999999999999s", "1 \ts", " 1s"]
        {
            assert_eq!(time(bad), None, "{bad:?}");
        }
        assert_eq!(time("213503982334602d"), None, "more seconds than fit");
        assert_eq!(
            (bytes("64MiB"), bytes("1GiB"), bytes("7 KiB")),
            (Some(64 << 20), Some(1 << 30), Some(7168))
        );
        for bad in ["64", "64MB", "64M", "64mib", "1.5GiB", "17179869184GiB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}

//! Moving many values, one on each line: in batches, with every line that is current byte for byte as it was.
//!
//! A line that cannot be moved stays as it is and is told at the end; the exit code is then never 0, and a file does
//! not appear.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io::{BufRead, BufReader, Read},
};

use keyagent_client::{Error, Rewrapped};
use keyagent_common::{
    context::Context,
    envelope::{self, to_text},
    error::ErrorCode,
    report::Report,
};

use super::check;
use crate::{
    failure::{Failure, cannot_read},
    input::Input,
    open::{MAX_TEXT_BYTES, key_id_of},
    output::Output,
    session::Session,
};

/// Most lines that are held at once, and most bytes of them.
const LINES_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 1 << 20;
/// Line numbers of a group that are shown.
const NUMBERS_SHOWN: usize = 8;

/// What came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Lines with a value.
    pub(crate) values: u64,
    /// Those that are sealed by another version now.
    pub(crate) changed: u64,
}

/// Values that could not be moved, grouped by what is wrong.
#[derive(Default)]
struct Failures {
    count: u64,
    /// By code and words: the numbers of the lines, the first few, and how many there are.
    groups: BTreeMap<(u16, String), (Vec<u64>, u64)>,
    /// The one on the first line.
    first: Option<(u64, Report)>,
}

/// A line as it was read.
struct Line {
    number: u64,
    bytes: Vec<u8>,
    /// What it holds; `None` for an empty line or one that is no value.
    envelope: Option<Vec<u8>>,
}

/// Writes every line, moved, into the output; the output still has to be finished.
pub(crate) fn rewrap(
    session: &mut Session<'_>,
    context: Context<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Counts, Failure> {
    let name = input.name().to_owned();
    let mut reader = BufReader::with_capacity(64 << 10, input);
    let (mut counts, mut failures, mut number) = (Counts::default(), Failures::default(), 0);
    loop {
        let lines = read_lines(&mut reader, &name, &mut number, &mut failures)?;
        if lines.is_empty() {
            break;
        }
        counts.values += lines.iter().filter(|line| !line.value().is_empty()).count() as u64;
        let items: Vec<_> =
            lines.iter().filter_map(|line| Some((context, line.envelope.as_deref()?))).collect();
        let answers = session.data_connection()?.rewrap_many(&items)?;
        let mut answers = answers.into_iter();
        for line in &lines {
            let moved = match &line.envelope {
                Some(envelope) => take(line.number, envelope, answers.next(), &mut failures)?,
                None => None,
            };
            counts.changed += u64::from(moved.is_some());
            write_line(line, moved, output)?;
        }
    }
    failures.report(counts.values).map_or(Ok(counts), |report| Err(report.fact("input", name).into()))
}

/// The text of a value that was moved; `None` if the line stays.
fn take(
    number: u64,
    old: &[u8],
    answer: Option<Result<Rewrapped, Error>>,
    failures: &mut Failures,
) -> Result<Option<String>, Failure> {
    match answer {
        Some(Ok(Rewrapped { changed, envelope, .. })) => {
            check(old, &envelope, changed)?;
            let text = to_text(&envelope).map_err(|error| crate::seal::not_sealed(&error))?;
            Ok(changed.then_some(text))
        }
        Some(Err(error)) => {
            failures.add(number, key_id_of(error.report(), old));
            Ok(None)
        }
        None => Err(crate::seal::not_sealed(&"the reply has too few answers").into()),
    }
}

impl Line {
    /// Without its end.
    fn value(&self) -> &[u8] {
        self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes)
    }
}

fn write_line(line: &Line, moved: Option<String>, output: &mut Output) -> Result<(), Failure> {
    let Some(mut text) = moved else { return output.write(&line.bytes) };
    if line.bytes.ends_with(b"\n") {
        text.push('\n');
    }
    output.write(text.as_bytes())
}

/// The next lines, up to the limits; none at the end of the input.
fn read_lines(
    reader: &mut impl BufRead,
    name: &str,
    number: &mut u64,
    failures: &mut Failures,
) -> Result<Vec<Line>, Failure> {
    let (mut lines, mut total) = (Vec::new(), 0);
    while lines.len() < LINES_AT_ONCE && total < BYTES_AT_ONCE {
        let mut bytes = Vec::new();
        let limit = MAX_TEXT_BYTES as u64 + 1;
        let count = reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
        if count.map_err(|error| cannot_read(name, &error))? == 0 {
            break;
        }
        *number += 1;
        total += bytes.len();
        let mut line = Line { number: *number, bytes, envelope: None };
        if line.bytes.len() > MAX_TEXT_BYTES {
            return Err(too_long(name, line.number).into());
        }
        if !line.value().is_empty() {
            match str::from_utf8(line.value())
                .map_err(|_| envelope::EnvelopeError::NotCanonical)
                .and_then(envelope::from_text)
            {
                Ok(envelope) => line.envelope = Some(envelope),
                Err(error) => failures.add(line.number, not_a_value(error)),
            }
        }
        lines.push(line);
    }
    Ok(lines)
}

impl Failures {
    fn add(&mut self, number: u64, report: Report) {
        self.count += 1;
        let words = report.facts.iter().filter(|(label, _)| *label == "key id");
        let words =
            words.fold(report.what.clone(), |words, (label, value)| format!("{words}, {label} {value}"));
        let (numbers, count) = self.groups.entry((report.code as u16, words)).or_default();
        *count += 1;
        if numbers.len() < NUMBERS_SHOWN {
            numbers.push(number);
        }
        // Lines that are no values are seen before the others are answered.
        if self.first.as_ref().is_none_or(|(line, _)| number < *line) {
            self.first = Some((number, report));
        }
    }

    /// All of them in one report, with the code of the first.
    fn report(self, values: u64) -> Option<Report> {
        let (_, first) = self.first?;
        let what = format!(
            "{} of {values} values cannot be moved; a file is written only if all of them can",
            self.count
        );
        let mut report = Report::new(first.code, what);
        for ((number, words), (lines, count)) in self.groups {
            let name = ErrorCode::from_number(number).map_or("?", ErrorCode::name);
            let mut text = format!("{count}: {words} ({name}): ");
            text.push_str(if count == 1 { "line" } else { "lines" });
            for line in &lines {
                let _ = write!(text, " {line}");
            }
            if count > lines.len() as u64 {
                text.push_str(" …");
            }
            report = report.fact("values", text);
        }
        Some(report.why(first.why).fix(first.fix))
    }
}

fn not_a_value(error: envelope::EnvelopeError) -> Report {
    Report::new(ErrorCode::NotCiphertext, "not a value of keyagent").why(error.to_string())
}

fn too_long(name: &str, number: u64) -> Report {
    Report::new(ErrorCode::NotCiphertext, "a line is longer than any value")
        .fact("input", name)
        .fact("line", number.to_string())
        .why("--lines takes one ka1. or kd1. text on each line")
        .fix("keyagent rewrap FILE, without --lines, for a whole file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_grouped_and_the_first_gives_the_code() {
        let mut failures = Failures::default();
        let retired =
            || Report::new(ErrorCode::VersionRetired, "retired").fact("key id", "abc").fix("reinstate");
        for number in 1..=12 {
            failures.add(number, retired());
        }
        failures.add(13, not_a_value(envelope::EnvelopeError::UnknownPrefix));
        let text = failures.report(41).unwrap().to_text("keyagent");
        assert!(
            text.starts_with(
                "keyagent: 13 of 41 values cannot be moved; a file is written only if all of them can\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("12: retired, key id abc (VERSION_RETIRED): lines 1 2 3 4 5 6 7 8 …\n"),
            "{text}"
        );
        assert!(text.contains("1: not a value of keyagent (NOT_CIPHERTEXT): line 13\n"), "{text}");
        assert!(text.ends_with("  fix    reinstate\n  code 79 VERSION_RETIRED\n"), "{text}");
        assert!(Failures::default().report(41).is_none());
    }
}

//! `keyagent audit export`: the fields that other tools expect, as JSON or CSV.
//!
//! No cell may be a formula to a spreadsheet, and no character may steer a terminal. A line that cannot
//! be read ends the export: evidence with holes is none.

use std::{fmt::Write, path::PathBuf};

use clap::{Args, ValueEnum};
use keyagent_common::{
    error::ErrorCode,
    report::{Report, escape},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{filter::FilterArguments, pages};
use crate::{
    audit_line::AuditLine,
    command::OK,
    failure::Failure,
    output::{Destination, Output, check_destination},
    session::Session,
    utc,
};

/// The columns, in this order.
const FIELDS: [&str; 10] = [
    "id",
    "event_type",
    "provider",
    "user_id",
    "ip_address",
    "user_agent",
    "success",
    "error_message",
    "metadata",
    "timestamp",
];
/// Bytes that are collected before they are written.
const PIECE_BYTES: usize = 64 << 10;

/// `keyagent audit export`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How
    #[arg(long, value_enum)]
    format: Format,
    /// Write here; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    filter: FilterArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One array of objects
    Json,
    /// RFC 4180, with a header
    Csv,
}

/// One line of the log with exactly [`FIELDS`].
#[derive(Serialize)]
struct Exported<'a> {
    id: &'a str,
    event_type: &'a str,
    provider: Option<&'a str>,
    user_id: Option<&'a str>,
    ip_address: Option<&'a str>,
    user_agent: Option<&'a str>,
    success: bool,
    error_message: Option<&'a str>,
    metadata: &'a Map<String, Value>,
    timestamp: &'a str,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let filter = arguments.filter.resolve(utc::now())?;
    let mut output = open(arguments)?;
    let mut connection = session.connect()?;
    let mut writer = Writer { format: arguments.format, text: String::new(), count: 0 };
    let limit = filter.limit.unwrap_or(usize::MAX);
    let skip =
        if filter.limit.is_some() { matching(&mut connection, &filter)?.saturating_sub(limit) } else { 0 };
    let mut seen = 0;
    pages::read(&mut connection, filter.span, &mut |raw| {
        let line = AuditLine::parse(raw).ok_or_else(unreadable)?;
        if !filter.accepts(&line) {
            return Ok(());
        }
        seen += 1;
        if seen <= skip || writer.count >= limit {
            return Ok(());
        }
        writer.push(&line);
        if writer.text.len() >= PIECE_BYTES {
            output.write(std::mem::take(&mut writer.text).as_bytes())?;
        }
        Ok(())
    })?;
    let count = writer.count;
    output.write(writer.finish().as_bytes())?;
    output.finish()?;
    session.console.detail(&format!("{count} lines"));
    Ok(OK)
}

fn open(arguments: &Arguments) -> Result<Output, Failure> {
    match &arguments.output {
        Some(path) if path.as_os_str() != "-" => {
            check_destination(&Destination::File { path: path.clone(), replace: arguments.force })?;
            Ok(Output::File { path: path.clone(), replace: arguments.force, temporary: None })
        }
        _ => Ok(Output::Stdout(None)),
    }
}

/// How many lines match.
fn matching(
    connection: &mut keyagent_client::Connection,
    filter: &super::filter::Filter,
) -> Result<usize, Failure> {
    let mut count = 0;
    pages::read(connection, filter.span, &mut |raw| {
        let line = AuditLine::parse(raw).ok_or_else(unreadable)?;
        count += usize::from(filter.accepts(&line));
        Ok(())
    })?;
    Ok(count)
}

fn unreadable() -> Report {
    Report::new(ErrorCode::Damaged, "a line of the log cannot be read; nothing was exported")
        .fix("keyagent audit verify")
}

/// Collects text.
struct Writer {
    format: Format,
    text: String,
    count: usize,
}

impl Writer {
    fn push(&mut self, line: &AuditLine) {
        let first = self.count == 0;
        self.count += 1;
        match self.format {
            Format::Json => {
                self.text.push_str(if first { "[\n" } else { ",\n" });
                self.text.push_str(&json(&exported(line)));
            }
            Format::Csv => {
                if first {
                    self.text.push_str(&header());
                }
                self.text.push_str(&csv(&exported(line)));
            }
        }
    }

    fn finish(self) -> String {
        match (self.format, self.count) {
            (Format::Json, 0) => "[]\n".to_owned(),
            (Format::Json, _) => self.text + "\n]\n",
            (Format::Csv, 0) => header(),
            (Format::Csv, _) => self.text,
        }
    }
}

fn exported(line: &AuditLine) -> Exported<'_> {
    Exported {
        id: &line.id,
        event_type: &line.event_type,
        provider: line.provider.as_deref(),
        user_id: line.user_id.as_deref(),
        ip_address: line.ip_address.as_deref(),
        user_agent: line.user_agent.as_deref(),
        success: line.success,
        error_message: line.error_message.as_deref(),
        metadata: &line.metadata,
        timestamp: &line.timestamp,
    }
}

/// A value as JSON in which every harmful character is written as `\uXXXX`, also those that JSON allows.
pub(crate) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        // Outside strings JSON is ASCII, so this changes the inside of strings only.
        let mut shown = [0; 4];
        if escape(character.encode_utf8(&mut shown)).len() > character.len_utf8() {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

fn header() -> String {
    format!("{}\r\n", FIELDS.join(","))
}

fn csv(line: &Exported<'_>) -> String {
    let cells = [
        line.id.to_owned(),
        line.event_type.to_owned(),
        line.provider.unwrap_or_default().to_owned(),
        line.user_id.unwrap_or_default().to_owned(),
        line.ip_address.unwrap_or_default().to_owned(),
        line.user_agent.unwrap_or_default().to_owned(),
        line.success.to_string(),
        line.error_message.unwrap_or_default().to_owned(),
        json(line.metadata),
        line.timestamp.to_owned(),
    ];
    let row: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
    format!("{}\r\n", row.join(","))
}

/// A cell of RFC 4180 that no spreadsheet takes for a formula.
fn csv_cell(text: &str) -> String {
    let text = escape(text);
    let formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%']);
    let text = if formula { format!("'{text}") } else { text };
    let quoted = formula || text.contains([',', '"', ';', '\'', ' ']) || text.contains(['\r', '\n', '\t']);
    if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit_line::tests::LINE;

    /// Reads RFC 4180 as the standard says it.
    fn read_csv(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
        let (mut quoted, mut characters) = (false, text.chars().peekable());
        while let Some(character) = characters.next() {
            match (character, quoted) {
                ('"', true) if characters.peek() == Some(&'"') => cell.push(characters.next().unwrap()),
                ('"', _) => quoted = !quoted,
                (',', false) => row.push(std::mem::take(&mut cell)),
                ('\r', false) => {
                    assert_eq!(characters.next(), Some('\n'));
                    row.push(std::mem::take(&mut cell));
                    rows.push(std::mem::take(&mut row));
                }
                _ => cell.push(character),
            }
        }
        assert!(!quoted && row.is_empty() && cell.is_empty(), "the last row ends with a line break");
        rows
    }

    fn export(format: Format, lines: &[&str]) -> String {
        let mut writer = Writer { format, text: String::new(), count: 0 };
        for line in lines {
            writer.push(&AuditLine::parse(line.as_bytes()).unwrap());
        }
        writer.finish()
    }

    #[test]
    fn both_forms_have_exactly_the_fields() {
        let rows = read_csv(&export(Format::Csv, &[LINE, LINE]));
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0], FIELDS);
        assert_eq!(rows[1][..8], ["1-12", "decrypt", "billing", "1001", "", "keyagent/0.1.0", "true", ""]);
        assert!(rows[1][8].contains("\"unit\":\"billing.service\""), "{}", rows[1][8]);
        let json: Vec<Map<String, Value>> =
            serde_json::from_str(&export(Format::Json, &[LINE, LINE])).unwrap();
        assert_eq!(json.len(), 2);
        let mut fields: Vec<&str> = json[0].keys().map(String::as_str).collect();
        let mut expected = FIELDS;
        fields.sort_unstable();
        expected.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!((&json[0]["ip_address"], &json[0]["metadata"]["bytes"]), (&Value::Null, &312.into()));
        assert_eq!(export(Format::Json, &[]), "[]\n");
        assert_eq!(read_csv(&export(Format::Csv, &[])), [FIELDS]);
    }

    #[test]
    fn no_cell_is_a_formula_and_every_row_has_ten_cells() {
        for hostile in [
            "=cmd|' /C calc'!A0",
            "+1+1",
            "-2+3",
            "@SUM(A1)",
            " =1",
            "\u{a0}=1",
            "＝1",
            "a,b",
            "a\"b",
            "\"",
            ",",
            "\r\n",
            "a\nb,c\r\n\"",
            "\t=1",
            "\u{0}=1",
            "\u{202e}=1",
            "'",
            "''",
            "\u{1b}]8;;x",
            ";=1",
            "%1",
            "|x",
        ] {
            let line = AuditLine {
                user_agent: Some(hostile.into()),
                error_message: Some(hostile.into()),
                ..AuditLine::parse(LINE.as_bytes()).unwrap()
            };
            let mut writer = Writer { format: Format::Csv, text: String::new(), count: 0 };
            writer.push(&line);
            let text = writer.finish();
            assert_eq!(text.matches('\n').count(), 2, "{hostile:?}");
            assert!(!text.replace("\r\n", "").chars().any(char::is_control), "{text:?}");
            let rows = read_csv(&text);
            assert_eq!(rows[1].len(), FIELDS.len(), "{hostile:?}: {text}");
            for cell in &rows[1] {
                assert!(!cell.trim_start().starts_with(['=', '+', '-', '@', '＝']), "{hostile:?}: {cell}");
            }
        }
    }

    #[test]
    fn json_keeps_every_character_and_writes_no_harmful_one() {
        let text: String = ('\0'..='\u{2070}').chain(['😀', '\u{feff}']).collect();
        let line = AuditLine { user_agent: Some(text.clone()), ..AuditLine::parse(LINE.as_bytes()).unwrap() };
        let written = json(&exported(&line));
        assert_eq!(escape(&written), written);
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap()["user_agent"], Value::String(text));
    }
}

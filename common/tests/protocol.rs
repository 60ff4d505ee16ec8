//! Compares `docs/PROTOCOL.md` with the code: tables of errors and operations, limits, example bytes.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fmt::Write;

use keyagent_common::{
    context,
    error::ErrorCode,
    frame::{MAX_LENGTH, MAX_MESSAGE_BYTES},
    op::OperationCode,
};

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");

/// The text between a heading and the next one of the same or a higher level.
fn section(heading: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("\n{heading}")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// What the source says of an error: the comment in front of its row.
fn meaning(code: ErrorCode) -> &'static str {
    let source = include_str!("../src/error.rs");
    let (before, _) = source.split_once(&format!("\"{}\", exit", code.name())).unwrap();
    before.lines().rev().find_map(|line| line.trim().strip_prefix("/// ")).unwrap()
}

#[test]
fn the_table_of_errors_is_the_one_of_the_code() {
    let mut table =
        String::from("| Number | Name | Exit | HTTP | gRPC | Meaning |\n|---|---|---|---|---|---|\n");
    for code in ErrorCode::ALL {
        let (number, name, exit) = (*code as u16, code.name(), code.exit_code());
        let (http, grpc, text) = (code.http_status(), code.grpc_status(), meaning(*code));
        writeln!(table, "| {number} | `{name}` | {exit} | {http} | {grpc} | {text} |").unwrap();
    }
    let rows = section("## 6. Errors").split_inclusive('\n').skip_while(|line| !line.starts_with("| Number"));
    let written: String = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(written == table, "docs/PROTOCOL.md must say:\n{table}");
}

#[test]
fn the_table_of_operations_is_the_one_of_the_code() {
    let text = section("## 5. Operations");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("|---|---|---|---|---|"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).skip(1).take(3).collect())
        .collect();
    let expected: Vec<[String; 3]> = OperationCode::ALL
        .iter()
        .map(|code| {
            let before = if code.before_hello() { "yes" } else { "no" };
            [(*code as u16).to_string(), format!("`{}`", code.name()), before.into()]
        })
        .collect();
    assert_eq!(rows, expected);
    for code in OperationCode::ALL {
        assert!(
            text.contains(&format!("\n### {} `{}`\n", *code as u16, code.name())),
            "{code:?} is not described"
        );
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    let spaced = |number: usize| {
        let digits = number.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect();
        groups.join(" ")
    };
    assert!(section("## 2. Frames").contains(&spaced(MAX_LENGTH)));
    assert!(section("## 4. A connection").contains(&spaced(MAX_MESSAGE_BYTES)));
    assert!(section("## 4. A connection").contains(&format!("{} bytes", context::MAX_ENCODED_BYTES)));
}

#[test]
fn the_worked_example_is_the_one_of_the_vectors() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/messages.json")).unwrap();
    let frame = |name: &str| {
        let mut messages = vectors["messages"].as_array().unwrap().iter();
        messages.find(|case| case["name"] == name).unwrap()["frame"].as_str().unwrap().to_owned()
    };
    // In each line of a block the words of hexadecimal digits come first; two spaces begin the explanation.
    let bytes = |block: &str| {
        let words = block.lines().map(|line| line.split("  ").next().unwrap_or_default());
        words
            .flat_map(|line| line.chars().filter(char::is_ascii_hexdigit).collect::<Vec<_>>())
            .collect::<String>()
    };
    let blocks: Vec<String> = section("## 8. A worked example")
        .split("```\n")
        .skip(1)
        .step_by(2)
        .map(|block| {
            let lines = block.lines().map(|line| line.split(" server").next().unwrap_or_default());
            bytes(&lines.collect::<Vec<_>>().join("\n"))
        })
        .collect();
    assert_eq!(blocks, ["hello", "encrypt", "hello answered", "encrypt answered"].map(frame));
}

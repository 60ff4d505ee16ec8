//! The text format of Prometheus, version 0.0.4: families with their help and type, samples below them.
//!
//! What has not the form of a name, a label or a number is left out: it came from outside.

use std::{collections::BTreeMap, fmt::Write};

/// Families that are known: name, type, help. Others are passed on without a type.
const KNOWN: [(&str, &str, &str); 25] = [
    ("up", "gauge", "Whether the agent answered."),
    ("build_info", "gauge", "Always 1; the version of the agent is a label."),
    ("uptime_seconds", "gauge", "Seconds since the start of the agent."),
    ("locked", "gauge", "Whether the agent holds no key in memory."),
    ("maintenance", "gauge", "Whether nothing new is sealed."),
    ("healthy", "gauge", "Whether every check of health went well."),
    ("health_check", "gauge", "Always 1; the result of a check is a label."),
    ("connections", "gauge", "Connections that are open."),
    ("operations_total", "counter", "Requests answered, by operation and result."),
    ("request_seconds", "histogram", "Time from a request to its answer."),
    ("denied_total", "counter", "Requests and connections refused for want of a right."),
    ("rate_limited_total", "counter", "Requests refused over the rate of a rule."),
    ("alerts_total", "counter", "Alerts raised."),
    ("decryption_failures_last_hour", "gauge", "Decryptions that failed in the last hour."),
    ("keys", "gauge", "Keys in the keyring."),
    ("key_versions", "gauge", "Versions of all keys."),
    ("keys_due", "gauge", "Keys whose rotation is due."),
    ("keys_disabled", "gauge", "Keys that are disabled or compromised."),
    ("keyring_generation", "gauge", "Generation of the keyring in use."),
    ("locked_memory_bytes", "gauge", "Memory that is never swapped out."),
    ("policy_rules", "gauge", "Rules of the policy in use."),
    ("audit_bytes", "gauge", "Size of the audit log."),
    ("audit_budget_bytes", "gauge", "Size at which the audit log may grow no more."),
    ("audit_queue", "gauge", "Lines of the audit log that wait to be written."),
    ("journal_lost_total", "counter", "Lines that the second place of the log did not take."),
];

/// Samples by family; a family's samples stay together and in their order.
#[derive(Debug, Default)]
pub(super) struct Exposition(BTreeMap<String, Vec<(String, String)>>);

impl Exposition {
    /// Adds a sample: a name, with labels in braces where it has some, and its value.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let (base, labels) = name.find('{').and_then(|at| name.split_at_checked(at)).unwrap_or((name, ""));
        if !is_name(base) || !(labels.is_empty() || are_labels(labels)) || !is_number(value) {
            return;
        }
        let (name, value) = in_seconds(base, value);
        self.0.entry(family(&name)).or_default().push((format!("{name}{labels}"), value));
    }

    /// Adds a sample unless its family is there already.
    pub(super) fn add_missing(&mut self, name: &str, value: &str) {
        if !self.0.contains_key(&family(name)) {
            self.add(name, value);
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (family, samples) in &self.0 {
            if let Some((name, kind, help)) = KNOWN.iter().find(|(name, ..)| name == family) {
                let _ = writeln!(text, "# HELP keyagent_{name} {help}\n# TYPE keyagent_{name} {kind}");
            }
            for (name, value) in samples {
                let _ = writeln!(text, "keyagent_{name} {value}");
            }
        }
        text
    }
}

/// A histogram's samples belong to one family.
fn family(name: &str) -> String {
    let parts = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let histogram = |base: &&str| KNOWN.iter().any(|(name, kind, _)| name == base && *kind == "histogram");
    parts.filter(histogram).unwrap_or(name).to_owned()
}

/// Times are seconds; the agent sums microseconds, which are whole numbers.
fn in_seconds(name: &str, value: &str) -> (String, String) {
    match (name.strip_suffix("_microseconds_sum"), value.parse::<u64>()) {
        (Some(base), Ok(micros)) => {
            (format!("{base}_seconds_sum"), format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000))
        }
        _ => (name.to_owned(), value.to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_number(text: &str) -> bool {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || b".-e".contains(&byte));
    plain && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `{name="value",…}`; in values a backslash stands before `\`, `"` and `n` only.
fn are_labels(text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else { return false };
    loop {
        let Some((name, behind)) = rest.split_once("=\"") else { return false };
        if !is_name(name) {
            return false;
        }
        let Some(end) = end_of_value(behind) else { return false };
        match behind.get(end..) {
            Some("\"") => return true,
            Some(more) => match more.strip_prefix("\",") {
                Some(next) => rest = next,
                None => return false,
            },
            None => return false,
        }
    }
}

/// Where the quote stands that ends a value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some(at),
            '\\' => {
                characters.next().filter(|(_, next)| matches!(next, '\\' | '"' | 'n'))?;
            }
            _ if character.is_control() => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_one_family_in_seconds() {
        let mut exposition = Exposition::default();
        exposition.add("request_seconds_bucket{le=\"0.00001\"}", "9");
        exposition.add("request_seconds_bucket{le=\"+Inf\"}", "10");
        exposition.add("request_seconds_count", "10");
        exposition.add("request_microseconds_sum", "1000123");
        exposition.add("other_count", "1");
        assert_eq!(
            exposition.text(),
            "keyagent_other_count 1\n\
             # HELP keyagent_request_seconds Time from a request to its answer.\n\
             # TYPE keyagent_request_seconds histogram\n\
             keyagent_request_seconds_bucket{le=\"0.00001\"} 9\n\
             keyagent_request_seconds_bucket{le=\"+Inf\"} 10\n\
             keyagent_request_seconds_count 10\n\
             keyagent_request_seconds_sum 1.000123\n"
        );
    }

    #[test]
    fn only_what_has_the_form_is_passed_on() {
        for good in ["{a=\"\"}", "{a=\"b\",c_1=\"d,}{=\"}", r#"{a="\\\"\n"}"#, "{a=\"é\"}"] {
            assert!(are_labels(good), "{good}");
        }
        for bad in [
            "{",
            "{}",
            "{a}",
            "{a=}",
            "{a=\"b}",
            "{a=\"b\"",
            "{a=\"b\",}",
            "{a=\"b\"c=\"d\"}",
            "{1=\"b\"}",
            "{a=\"b\n\"}",
            r#"{a="\x"}"#,
            "{a=\"b\"} 1\nevil{x=\"y\"}",
            "{a-b=\"c\"}",
        ] {
            assert!(!are_labels(bad), "{bad}");
        }
        for (name, value) in [
            ("a b", "1"),
            ("", "1"),
            ("1a", "1"),
            ("a", ""),
            ("a", "NaN"),
            ("a", "inf"),
            ("a", "1 2"),
            ("a", "1\n"),
            ("é", "1"),
            ("a", "--1"),
        ] {
            let mut exposition = Exposition::default();
            exposition.add(name, value);
            assert_eq!(exposition.text(), "", "{name} {value}");
        }
    }

    #[test]
    fn every_known_family_has_a_help_text_without_escapes() {
        for (name, kind, help) in KNOWN {
            assert!(is_name(name) && !help.contains(['\\', '\n']) && help.ends_with('.'), "{name}");
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        }
    }
}

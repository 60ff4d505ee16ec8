use super::evidence::Evidence;
use super::*;
use crate::audit_line::tests::LINE;
use keyagent_common::op::StatusReply;

const NOW: u64 = 1_795_314_005_000_000;

fn line(changes: &[(&str, &str)]) -> AuditLine {
    let text = changes.iter().fold(LINE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    AuditLine::parse(text.as_bytes()).unwrap()
}

fn evidence(lines: &[AuditLine]) -> Evidence {
    let (from, to) = utc::parse_quarter("2026Q4").unwrap();
    let status = AgentStatus::from(StatusReply { fields: Vec::new() });
    let mut evidence = Evidence::new(Period::new(from, to, NOW), &status);
    for line in lines {
        evidence.add(line);
    }
    evidence
}

#[test]
fn uses_and_failures_are_summed_by_key_and_caller() {
    let failed = [
        ("\"success\":true", "\"success\":false"),
        ("null,\"metadata\":{", "\"no\",\"metadata\":{\"code\":10,"),
    ];
    let other = line(&[("1001\",", "7\",")]);
    let many = [
        ("\"event_type\":\"decrypt\"", "\"event_type\":\"request.refused\""),
        ("\"success\":true", "\"success\":false"),
        ("null,\"metadata\":{", "\"no\",\"metadata\":{\"operation\":\"decrypt\",\"code\":10,\"count\":998,"),
    ];
    let encrypted = line(&[("decrypt", "encrypt")]);
    let evidence = evidence(&[line(&[]), line(&failed), line(&failed), other, encrypted, line(&many)]);
    assert_eq!(evidence.log.lines, 6);
    let access: Vec<_> = evidence.access.values().map(|a| (a.caller.as_str(), a.uses, a.failures)).collect();
    assert_eq!(access, [("uid 1001 (unit billing.service)", 4, 2), ("uid 7 (unit billing.service)", 1, 0)]);
    let failures: Vec<_> = evidence.failures.values().map(|f| (f.error.as_str(), f.count)).collect();
    assert_eq!(failures, [("DENIED", 1000)]);
    assert!(evidence.failures.values().all(|group| group.event_type == "decrypt"));
    let text = markdown::document(&evidence);
    assert!(
        text.contains("| billing | uid 1001 (unit billing.service) | 4 | 2 | 2026-11-22 02:20:05Z |"),
        "{text}"
    );
    assert!(text.contains("decrypt 3, encrypt 1 |"), "{text}");
    assert!(text.contains("# Key use and key management, 2026-10-01 to 2026-12-31"), "{text}");
    assert!(text.contains("not over yet") && text.contains("No backup is recorded."), "{text}");
}

#[test]
fn every_kind_of_line_has_its_section() {
    for (event, section) in [
        ("key_create", "Keys made"),
        ("policy.change", "Policy changes"),
        ("reload", "Policy changes"),
        ("access.change", "Changes of access"),
        ("key_disable", "Brakes"),
        ("unlock", "Brakes"),
        ("maintenance", "Brakes"),
        ("alert", "Alerts"),
        ("master_rotate", "Keys and their rotation"),
        ("audit.retention", "Backups and retention"),
    ] {
        let text = markdown::document(&evidence(&[line(&[("decrypt", event)])]));
        let (before, after) = text.split_once(&format!("\n## {section}\n")).unwrap();
        let body = after.split("\n## ").next().unwrap();
        assert!(body.contains(&format!("| {event} | ok | billing |")), "{event}: {body}");
        assert!(!before.contains(&format!("| {event} |")), "{event}");
    }
}

#[test]
fn what_clients_wrote_is_no_markup() {
    let hostile = "<script>x</script> | [a](http://b) `c` **d** _e_ \\u001b[2J\\u000a# e";
    let text = markdown::document(&evidence(&[line(&[("decrypt", "unlock"), ("keyagent/0.1.0", hostile)])]));
    let row = text.lines().find(|line| line.contains("unlock")).unwrap();
    // Without every character that a backslash takes its meaning from.
    let mut bare = String::new();
    let mut characters = row.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            characters.next();
        } else {
            bare.push(character);
        }
    }
    assert!(!bare.contains(['<', '>', '[', ']', '`', '*']) && !bare.contains("://"), "{bare}");
    assert_eq!(bare.matches('|').count(), 7, "{bare}");
    assert!(!text.lines().any(|line| line.starts_with("# e")), "{text}");
}

#[test]
fn what_cannot_be_seen_is_said() {
    let mut evidence = evidence(&[]);
    let extent = pages::Extent { first_seq: 500, last_seq: 900 };
    evidence.set_extent(extent, Some(NOW));
    evidence.log.unreadable = 2;
    evidence.verification = Verification::not_run("the agent's key cannot be read");
    let text = markdown::document(&evidence);
    assert!(
        text.contains("may have been deleted by retention") && text.contains("2 lines could not be read")
    );
    assert!(text.contains("not recomputed**: the agent's key"), "{text}");
    evidence.set_extent(pages::Extent { first_seq: 1, last_seq: 900 }, Some(NOW));
    assert!(!evidence.log.begins_within_period);
    evidence.verification.whole = Some(false);
    assert!(markdown::document(&evidence).contains("NOT whole"));
}

#[test]
fn periods() {
    let arguments = |quarter: Option<&str>, since: Option<&str>, until: Option<&str>| Arguments {
        quarter: quarter.map(str::to_owned),
        since: since.map(str::to_owned),
        until: until.map(str::to_owned),
        no_verify: true,
        verify: verify::VerifyArguments::default(),
    };
    assert_eq!(
        period(&arguments(None, Some("1d"), None), NOW).unwrap(),
        Period::new(NOW - 86_400_000_000, NOW, NOW)
    );
    assert!(period(&arguments(Some("2026Q5"), None, None), NOW).is_err());
    assert!(period(&arguments(None, Some("1h"), Some("2h")), NOW).is_err());
}

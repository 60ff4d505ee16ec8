//! Files that are refused, with what is told about each.

use super::*;

/// A rule that is right, to put one more line into.
const RULE: &str = "[[rule]]\nname = \"a\"\nuid = 5\nkeys = \"k\"\nallow = \"decrypt\"\n";

#[track_caller]
fn refused(text: &str, line: usize, parts: &[&str]) {
    let error = parse(text, Mode::System).expect_err(text);
    let report = error.report();
    let told = report.to_text("keyagentd");
    assert_eq!(error.at, Origin::File { path: "/c.toml".into(), line }, "{text}\n{told}");
    assert!(told.contains(&format!("  file   /c.toml:{line}\n")), "{told}");
    assert!(told.starts_with("keyagentd: refusing the configuration: "), "{told}");
    assert!(told.ends_with("  code 78 CONFIGURATION\n"), "{told}");
    for part in parts {
        assert!(told.contains(part), "{text}\n{told}\nwithout: {part}");
    }
}

#[test]
fn unknown_fields_are_refused_with_the_nearest_one() {
    for (text, line, unknown, nearest) in [
        ("\n[lokc]\n", 2, "\"lokc\" in the file", "did you mean lock?"),
        ("[[rules]]", 1, "\"rules\" in the file", "did you mean rule?"),
        (
            "[daemon]\nlog = \"text\"\nkey-file = \"/k\"",
            3,
            "\"key-file\" in [daemon]",
            "did you mean key_file?",
        ),
        ("[lock]\nidel = \"1h\"", 2, "\"idel\" in [lock]", "did you mean idle?"),
        ("[audit]\nrotate_sise = \"1MiB\"", 2, "in [audit]", "did you mean rotate_size?"),
        ("[alerts]\ncolour = 1", 2, "in [alerts]", "known here: decryption_failures, window"),
        ("[policy]\nrotation_dew = \"1d\"", 2, "in [policy]", "did you mean rotation_due?"),
        ("[admins]\nuserz = 1", 2, "in [admins]", "did you mean user?"),
        ("[operators]\nsockets = \"a\"", 2, "in [operators]", "known here: user, users, group"),
        ("[[listen]]\nname = \"x\"\nmod = \"0600\"", 3, "in listener \"x\"", "did you mean mode?"),
        ("[[rule]]\nname = \"a\"\nalow = \"decrypt\"", 3, "\"alow\" in rule \"a\"", "did you mean allow?"),
        ("[[rule]]\nnmae = \"a\"", 2, "\"nmae\" in [[rule]]", "did you mean name?"),
    ] {
        refused(text, line, &["unknown field", unknown, nearest]);
    }
    let delegate = format!("{RULE}delegate = {{ uid = 5, key = \"k\" }}");
    refused(&delegate, 6, &["unknown field \"key\" in delegate of rule \"a\"", "did you mean keys?"]);
}

#[test]
fn text_that_is_no_toml_is_refused_at_its_line() {
    refused("[lock]\nidle\n", 2, &["this is not TOML"]);
    refused("[lock]\nidle = \"1h\"\nidle = \"2h\"\n", 3, &["this is not TOML", "duplicate key"]);
    refused("a = \"\u{1}\"", 1, &["this is not TOML"]);
    let long = "#".repeat(MAX_FILE_BYTES + 1);
    refused(&long, 1, &["the file is too large", "it has 1048577 bytes; at most 1048576 are read"]);
    assert!(parse(&long[1..], Mode::System).is_ok());
    assert!(parse(&format!("keys = {}", "[".repeat(100_000)), Mode::System).is_err(), "no deep recursion");
}

#[test]
fn wrong_types_and_values_are_told_with_what_to_write() {
    for (line, parts) in [
        ("daemon.key_file = \"key\"", ["daemon.key_file cannot be \"key\"", "where the daemon was started"]),
        ("daemon.key_file = 5", ["daemon.key_file cannot be 5", "a text is needed, not a number"]),
        ("daemon.state_dir = \"/a\\u0000\"", ["daemon.state_dir cannot be", "no NUL"]),
        ("daemon.log = \"xml\"", ["daemon.log cannot be \"xml\"", "one of \"text\", \"json\""]),
        ("lock.idle = 15", ["lock.idle cannot be 15", "fix    idle = \"15m\""]),
        ("lock.idle = \"0s\"", ["lock.idle cannot be \"0s\"", "it is between 1s and 36500d"]),
        ("lock.idle = \"soon\"", ["lock.idle cannot be \"soon\"", "a whole number and one of s, m, h and d"]),
        ("lock.absolute = true", ["lock.absolute cannot be true", "fix    absolute = \"12h\""]),
        ("lock = 5", ["lock cannot be 5", "[lock] begins a section"]),
        ("audit.durability = \"maybe\"", ["cannot be \"maybe\"", "one of \"write\", \"fsync\""]),
        ("audit.rotate_size = \"63KiB\"", ["audit.rotate_size cannot be \"63KiB\"", "it is between 64 KiB"]),
        ("audit.rotate_size = \"1MB\"", ["cannot be \"1MB\"", "one of KiB, MiB and GiB"]),
        ("audit.rotate_size = -5", ["cannot be -5", "a size is needed, not a negative number"]),
        ("audit.rotate_age = \"59s\"", ["cannot be \"59s\"", "between 1m and"]),
        ("audit.keep = \"never\"", ["audit.keep cannot be \"never\"", "fix    keep = \"400d\""]),
        ("audit.budget = \"64MiB\"", ["audit.budget cannot be 64MiB", "less than twice rotate_size (64MiB)"]),
        ("audit.rotate_size = \"1GiB\"", ["audit.rotate_size cannot be 1GiB", "budget (1GiB) is less than"]),
        ("audit.warn_percent = 100", ["audit.warn_percent cannot be 100", "it is between 1 and 99"]),
        ("audit.warn_percent = 0.8", ["cannot be 0.8", "not a number with a point"]),
        ("audit.when_full = \"drop\"", ["cannot be \"drop\"", "one of \"delete-oldest\", \"refuse\""]),
        ("audit.journald = false", ["cannot be false", "a text is needed, not true or false"]),
        ("alerts.decryption_failures = 0", ["cannot be 0", "it is between 1 and 1000000"]),
        ("alerts.decryption_failures = \"5\"", ["cannot be \"5\"", "a whole number is needed, not a text"]),
        ("alerts.window = 1979-05-27", ["cannot be 1979-05-27", "not a date"]),
        ("alerts.window = \"8d\"", ["cannot be \"8d\"", "between 1s and 7d"]),
        ("policy.rotation_due = [\"1d\"]", ["cannot be a list", "fix    rotation_due = \"24h\""]),
        ("admins = [5]", ["admins cannot be a list", "[admins] begins a section"]),
        ("rule = 5", ["rule cannot be 5", "[[rule]] begins each one"]),
        ("rule = [5]", ["rule cannot be 5", "[[rule]] begins each one"]),
        ("[listen]", ["listen cannot be a table", "[[listen]] begins each one"]),
    ] {
        refused(line, 1, &parts);
    }
    let long = format!("daemon.log = \"{}\"", "x".repeat(5000));
    assert!(parse(&long, Mode::System).unwrap_err().report().to_text("t").len() < 400, "long values are cut");
}

#[test]
fn listeners_are_refused() {
    let path = format!("path = \"/{}\"", "p".repeat(107));
    for (lines, line, part) in [
        ("path = \"/x\"", 1, "\"name\" is missing in [[listen]]"),
        ("name = \"A\"", 2, "listen.A.name cannot be \"A\""),
        ("name = \"\"", 2, "1 to 64 characters"),
        ("name = \"a\"\npath = \"x\"", 3, "listen.a.path cannot be \"x\""),
        ("name = \"a\"\npath = \"@x\"", 3, "listen.a.path cannot be \"@x\""),
        ("name = \"a\"\nmode = \"0644\"", 3, "one of \"0600\", \"0660\", \"0666\""),
        ("name = \"a\"\nmode = 600", 3, "a text is needed, not a number"),
        ("name = \"a\"\ngroup = \"billing\"", 3, "mode 0666 does not ask for the group"),
        (
            "name = \"a\"\nmode = \"0660\"\ngroup = \"bilink\"",
            4,
            "listener \"a\": there is no group \"bilink\"",
        ),
        ("name = \"a\"\nmode = \"0660\"\ngroup = 4294967295", 4, "no group has this number"),
        ("name = \"a\"\n[[listen]]\nname = \"a\"\npath = \"/x\"", 3, "listener \"a\" stands twice"),
        ("name = \"a\"\n[[listen]]\nname = \"b\"", 3, "a listener without a path stands twice"),
        ("name = \"a\"\npath = \"/x\"\n[[listen]]\nname = \"b\"\npath = \"/x\"", 4, "/x stands twice"),
    ] {
        refused(&format!("[[listen]]\n{lines}\n"), line, &[part]);
    }
    refused(&format!("[[listen]]\nname = \"a\"\n{path}"), 3, &["at most 107 bytes"]);
    let many: Vec<_> = (0..17).map(|n| format!("[[listen]]\nname = \"l{n}\"\npath = \"/{n}\"\n")).collect();
    refused(&many.concat(), 50, &["there are at most 16 listeners"]);
}

#[test]
fn rules_are_refused() {
    for (more, line, parts) in [
        ("user = \"carl\"", 6, ["rule \"a\": there is no user \"carl\"", "getent passwd"]),
        ("groups = [\"billing\",\n \"carls\"]", 7, ["rule \"a\": there is no group \"carls\"", "gid = 1000"]),
        ("user = \"slow\"", 6, ["the user \"slow\" cannot be looked up", "directory server does not answer"]),
        ("uids = [\"ana\"]", 6, ["rule.a.uids cannot be \"ana\"", "user = \"ana\""]),
        (
            "uids = [-1]",
            6,
            ["rule.a.uids cannot be -1", "a name or a number is needed, not a negative number"],
        ),
        (
            "uids = [4294967296]",
            6,
            ["rule.a.uids cannot be 4294967296", "no user and no group has this number"],
        ),
        ("uids = [65534]", 6, ["rule \"a\": uids cannot be enforced", "65534 is nobody's id"]),
        ("gid = true", 6, ["rule.a.gid cannot be true", "a name or a number is needed"]),
        ("unit = 5", 6, ["rule.a.unit cannot be 5", "unit = [\"billing.service\"]"]),
        ("units = [\"a*****b\"]", 6, ["rule \"a\": units cannot be enforced", "stars"]),
        ("rate = \"fast\"", 6, ["rule.a.rate cannot be \"fast\"", "rate = \"100/s burst 200\""]),
        ("rate = 5", 6, ["rule.a.rate cannot be 5", "a text is needed"]),
        ("require_context = [5]", 6, ["rule.a.require_context cannot be 5", "a text is needed"]),
        ("no_reveal = \"yes\"", 6, ["rule.a.no_reveal cannot be \"yes\"", "true or false is needed"]),
        ("no_reveal = true", 6, ["rule \"a\": no_reveal cannot be enforced", "why"]),
        ("delegate = { uid = 5 }", 1, ["delegate.keys cannot be enforced", "add the patterns"]),
        ("delegate = {\n keys = \"k\" }", 7, ["delegate.callers cannot be enforced", "names no user"]),
        ("delegate = true", 6, ["rule.a.delegate cannot be true", "delegate = { users"]),
    ] {
        refused(&format!("{RULE}{more}\n"), line, &parts);
    }
    for (text, line, parts) in [
        ("uid = 5\nallow = \"decrypt\"", 1, ["\"name\" is missing in [[rule]]", "name = \"billing\""]),
        ("name = 5", 2, ["rule.name cannot be 5", "a text is needed"]),
        ("name = \"a b\"\nallow = \"decrypt\"", 2, ["rule.a b.name cannot be \"a b\"", "1 to 64 characters"]),
        (
            "name = \"a\"\nuid = 5",
            1,
            ["\"allow\" is missing in rule \"a\"", "allow = [\"encrypt\", \"decrypt\"]"],
        ),
        (
            "name = \"a\"\nuid = 5\nkeys = \"k\"\nallow = []",
            5,
            ["allow cannot be enforced", "allows nothing"],
        ),
        (
            "name = \"a\"\nuid = 5\nkeys = \"k\"\nallow = \"decript\"",
            5,
            ["allow cannot be", "is no operation"],
        ),
        ("name = \"a\"\nuid = 5\nkeys = \"K\"\nallow = \"decrypt\"", 4, ["keys cannot be enforced", "why"]),
        ("name = \"a\"\nuid = 5\nallow = \"decrypt\"", 1, ["keys cannot be enforced", "why"]),
        ("name = \"a\"\nkeys = \"k\"\nallow = \"decrypt\"", 1, ["who cannot be enforced", "about everybody"]),
        (
            "name = \"a\"\nsocket = \"agent\"\nkeys = \"k\"\nallow = \"decrypt\"",
            1,
            ["who cannot", "everybody"],
        ),
    ] {
        refused(&format!("[[rule]]\n{text}\n"), line, &parts);
    }
    refused(&format!("{RULE}{RULE}"), 6, &["rule \"a\" stands twice", "the first one is /c.toml:1"]);
    refused("\n[admins]\nsocket = 5", 3, &["unknown field \"socket\" in [admins]"]);
    refused("[admins]\nuids = [65534]", 2, &["[admins]: uids cannot be enforced", "nobody's id"]);
    refused("[operators]\n\nunit = \"/\"", 3, &["[operators]: units cannot be enforced", "why"]);
    let many: Vec<_> = (0..1025).map(|n| RULE.replace("\"a\"", &format!("\"r{n}\""))).collect();
    refused(&many.concat(), 1, &["there are at most 1024 of them"]);
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let variables = [("KEYAGENT_LOG", OsStr::new("xml"))];
    let error = Configuration::parse(&[], &variables, &Flags::default(), OWNER, &Accounts).unwrap_err();
    let told = error.report().to_text("keyagentd");
    assert!(
        told.contains("daemon.log cannot be \"xml\"") && told.contains("  variable KEYAGENT_LOG\n"),
        "{told}"
    );
}

#[test]
fn what_is_overridden_is_checked_all_the_same() {
    let files =
        [source(SourceKind::System, "lock.idle = \"x\""), source(SourceKind::User, "lock.idle = \"5m\"")];
    let error = Configuration::parse(&files, &[], &Flags::default(), OWNER, &Accounts).unwrap_err();
    assert!(error.report().to_text("t").contains("/etc/keyagent/config.toml:1"));
}

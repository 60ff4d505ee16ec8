//! One man page for a whole command line, written from its definition; compiled into the unit tests of both programs.
//!
//! Everything about verbs and options comes from the definition, the exit codes from the one table; only
//! surroundings (variables, files) are written by hand beside it. Must never be part of a program.
//!
//! `KEYAGENT_MAN=overwrite cargo test manual` writes the pages into docs/man; read the difference before you commit it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use clap::Command;
use clap_mangen::Man;
use keyagent_common::error::ErrorCode;

/// What cannot be taken from the definition, as roff.
pub(crate) struct ByHand {
    /// Section of the manual.
    pub(crate) section: &'static str,
    /// Behind DESCRIPTION's first sentence.
    pub(crate) description: &'static str,
    /// What exit code 1 means.
    pub(crate) negative: &'static str,
    /// ENVIRONMENT, FILES, SEE ALSO.
    pub(crate) end: &'static str,
}

/// The whole page.
pub(crate) fn page(command: &Command, by_hand: &ByHand) -> String {
    let name = command.get_name().to_owned();
    let quiet = command.clone().disable_help_flag(true).disable_version_flag(true);
    let man = Man::new(quiet.subcommand_value_name("VERB"))
        .title(name.to_uppercase())
        .section(by_hand.section)
        .source(format!("keyagent {}", env!("CARGO_PKG_VERSION")))
        .manual("keyagent");
    let mut text = String::from(
        ".\\\" Written by a test from the definition of the command line: KEYAGENT_MAN=overwrite.\n",
    );
    text += ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
    text += &rendered(|out| man.render_title(out));
    text += &rendered(|out| man.render_name_section(out));
    text += &rendered(|out| man.render_synopsis_section(out));
    text += &rendered(|out| man.render_description_section(out));
    text += by_hand.description;
    text += &rendered(|out| man.render_options_section(out)).replace(".SH EVERYWHERE\n", ".SH OPTIONS\n");
    if command.has_subcommands() {
        text += ".SH VERBS\n";
        verbs(&mut text, command, &name);
    }
    text += &exit_status(by_hand.negative);
    text += by_hand.end;
    text
}

/// One part of a page, without the definitions that the renderer puts before every part.
fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut bytes = Vec::new();
    render(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el "));
    lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Every verb that does something: what it does, how it is typed, its options.
fn verbs(text: &mut String, command: &Command, path: &str) {
    for verb in command.get_subcommands() {
        let path = format!("{path} {}", verb.get_name());
        if verb.has_subcommands() {
            verbs(text, verb, &path);
            continue;
        }
        let man = Man::new(verb.clone().bin_name(&path).disable_help_flag(true));
        let _ = writeln!(text, ".SS \"{path}\"");
        text.push_str(body(&rendered(|out| man.render_synopsis_section(out))));
        text.push_str(".PP\n");
        text.push_str(body(&rendered(|out| man.render_description_section(out))));
        let options = rendered(|out| man.render_options_section(out));
        if !options.trim().is_empty() {
            text.push_str(body(&options));
        }
    }
}

/// A section without its title.
fn body(section: &str) -> &str {
    section.split_once('\n').map_or(section, |(_, body)| body)
}

fn exit_status(negative: &str) -> String {
    let mut names: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for code in ErrorCode::ALL {
        names.entry(code.exit_code()).or_default().push(code.name());
    }
    let mut text = format!(".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nSuccess.\n.TP\n\\fB1\\fR\n{negative}\n");
    for (code, names) in names {
        let _ = writeln!(text, ".TP\n\\fB{code}\\fR\n{}", names.join(", "));
    }
    text
}

/// Fails when the committed page is another one; writes it if it was asked to.
pub(crate) fn compare(file: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man").join(file);
    if fs::read_to_string(&path).is_ok_and(|committed| committed == page) {
        return;
    }
    if std::env::var_os("KEYAGENT_MAN").is_some_and(|value| value == "overwrite") {
        return fs::write(&path, page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let different = committed.lines().zip(page.lines()).find(|(before, now)| before != now);
    panic!(
        "docs/man/{file} is not what the definition says (KEYAGENT_MAN=overwrite writes it): {different:?}"
    );
}

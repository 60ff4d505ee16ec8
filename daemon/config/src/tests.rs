//! Every field, every refusal, the order of files, and where values come from.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use proptest::prelude::*;

use crate::*;

struct Accounts;

impl Names for Accounts {
    fn user(&self, name: &str) -> Result<Option<u32>, String> {
        match name {
            "ana" => Ok(Some(1000)),
            "ben" => Ok(Some(1001)),
            "slow" => Err("the directory server does not answer".to_owned()),
            _ => Ok(None),
        }
    }

    fn group(&self, name: &str) -> Result<Option<u32>, String> {
        Ok((name == "billing").then_some(50))
    }
}

const USER: Mode = Mode::User { owner: 1000 };

fn source(kind: SourceKind, text: &str) -> Source {
    let path = match kind {
        SourceKind::System => "/etc/keyagent/config.toml",
        SourceKind::User => "/home/ana/.config/keyagent/config.toml",
        SourceKind::Named => "/c.toml",
    };
    Source { path: PathBuf::from(path), text: text.to_owned(), kind }
}

fn parse(text: &str, mode: Mode) -> Result<Configuration, ConfigurationError> {
    Configuration::parse(&[source(SourceKind::Named, text)], &[], &Flags::default(), mode, &Accounts)
}

fn good(text: &str) -> Configuration {
    parse(text, Mode::System).unwrap_or_else(|error| panic!("{}", error.report().to_text("t")))
}

#[test]
fn probe() {
    for text in [
        "[daemon]\nlgo=\"x\"",
        "\n\n[[rule]]\nname=\"a\"\nallow=[]\n\n[[rule]]\n# x\nname=\"a\"\nallow=\"x\"",
        "[lock]\nidle=5",
        "x",
        "[[rule]]\nname=\"q\"\nallow=[\n\"a\",\n5]\n",
    ] {
        println!("{}", parse(text, Mode::System).unwrap_err().report().to_text("t"));
    }
    for s in good("[[rule]]\nname=\"q\"\nallow=[\n\"a\",\n\"b\"]\nuser=\"ana\"\n").origins {
        println!("{} = {} ({})", s.name, s.value, s.origin);
    }
}

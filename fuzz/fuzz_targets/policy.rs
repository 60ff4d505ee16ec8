//! A configuration file: never a panic, and what is accepted decides as it explains.
#![no_main]
use std::sync::Arc;

use keyagent_common::op::OperationCode;
use keyagent_config::{Configuration, Flags, Mode, Names, Source, SourceKind};
use keyagent_core::policy::{Policy, Subject};
use libfuzzer_sys::fuzz_target;

struct Numbers;

impl Names for Numbers {
    fn user(&self, name: &str) -> Result<Option<u32>, String> {
        Ok(name.starts_with('a').then_some(1000))
    }

    fn group(&self, name: &str) -> Result<Option<u32>, String> {
        Ok(name.starts_with('a').then_some(2000))
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (kind, mode) in [
        (SourceKind::User, Mode::User { owner: 1 }),
        (SourceKind::System, Mode::System),
    ] {
        let source = Source { path: "config.toml".into(), text: text.to_owned(), kind };
        let Ok(found) = Configuration::parse(&[source], &[], &Flags::default(), mode, &Numbers) else { continue };
        let policy = Arc::new(Policy::build(found.policy).expect("a configuration has a policy that loads"));
        let subjects = [
            Subject { uid: 1000, gid: 2000, groups: &[5], unit: Some("a.service"), socket: "agent" },
            Subject { uid: 1001, gid: 7, groups: &[2000], unit: None, socket: "b" },
        ];
        for subject in &subjects {
            let rights = policy.rights(subject);
            for operation in [OperationCode::Encrypt, OperationCode::Decrypt, OperationCode::DataKey] {
                for key in ["default", "a/b", "shop/cards"] {
                    let allowed = rights.as_ref().is_some_and(|rights| rights.may_on(operation, key));
                    assert_eq!(policy.explain(subject, operation, Some(key)).allowed, allowed);
                }
            }
        }
    }
});

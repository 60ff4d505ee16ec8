//! Checks of backups: whether there is one, and whether it lies where the key lies.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use keyagent_common::{backup::is_backup, layout::Layout, op::CheckResult};

use super::Finding;
use crate::agent_status::AgentStatus;

const CHECK: &str = "backup";
/// Days after which a backup of a keyring that was changed since is old.
const OLD_DAYS: u64 = 30;
/// Most files that are looked at beside a key.
const MOST_FILES: usize = 256;
/// As many bytes as tell a backup from anything else.
const TELLING_BYTES: u64 = 16;

/// What the agent knows of the last backup; nothing for whoever does not oversee it.
pub(super) fn last(status: &AgentStatus, now: SystemTime) -> Option<Finding> {
    status.get("keyring")?;
    let fix = "keyagent backup create -o FILE, to another disk or machine";
    let Some(at) = status.number("backup_at") else {
        let message = "none was ever made here: without one, a lost disk takes every key with it";
        return Some(Finding::new(CHECK, CheckResult::Warning, message).fix(fix));
    };
    let age = now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(at)).unwrap_or_default();
    let days = age.as_secs() / 86_400;
    let changed =
        status.number("generation").is_some_and(|now| Some(now) != status.number("backup_generation"));
    let since = if changed { "; the keyring was changed since" } else { "" };
    let made = match days {
        0 => "made today".to_owned(),
        1 => "made yesterday".to_owned(),
        _ => format!("made {days} days ago"),
    };
    let message = format!("{made}{since}");
    if changed && days >= OLD_DAYS {
        return Some(Finding::new(CHECK, CheckResult::Warning, message).fix(fix));
    }
    Some(Finding::new(CHECK, CheckResult::Ok, message))
}

/// A backup beside the key file, if there is one.
pub(super) fn beside_the_key(layout: &Layout) -> Option<Finding> {
    let folder = layout.key_file.parent()?;
    let found = fs::read_dir(folder).ok()?.flatten().take(MOST_FILES).map(|entry| entry.path());
    let found = found.filter(begins_like_a_backup).min()?;
    let message = format!("{} lies beside the key file: what takes the one takes the other", found.display());
    let fix = format!("keep it on another disk or machine, then: rm {}", found.display());
    Some(Finding::new(CHECK, CheckResult::Warning, message).fix(fix))
}

fn begins_like_a_backup(path: &PathBuf) -> bool {
    let beginning = |path: &Path| {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(TELLING_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    // Nothing but a file is opened: a pipe would wait.
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
        && beginning(path).is_some_and(|bytes| is_backup(&bytes))
}

#[cfg(test)]
mod tests {
    use keyagent_common::{
        layout::BaseFolders,
        op::{Field, StatusReply},
    };

    use super::*;

    fn last_of(fields: &[(&str, &str)]) -> Option<(CheckResult, String)> {
        let fields = fields.iter().map(|(name, value)| Field { name, value }).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(100 * 24);
        let finding = last(&AgentStatus::from(StatusReply { fields }), now)?;
        Some((finding.result, finding.message))
    }

    #[test]
    fn a_missing_and_an_old_backup_are_told_to_overseers() {
        assert_eq!(last_of(&[("state", "unlocked")]), None);
        let keyring = ("keyring", "/k");
        assert_eq!(last_of(&[keyring, ("backup_at", "")]).unwrap().0, CheckResult::Warning);
        let at = |days: u64| (days * 86_400).to_string();
        let made = |days, generation| {
            last_of(&[
                keyring,
                ("generation", "7"),
                ("backup_at", &at(days)),
                ("backup_generation", generation),
            ])
        };
        assert_eq!(made(1, "7").unwrap(), (CheckResult::Ok, "made 99 days ago".into()));
        assert_eq!(made(99, "6").unwrap().0, CheckResult::Ok);
        assert_eq!(
            made(60, "6").unwrap(),
            (CheckResult::Warning, "made 40 days ago; the keyring was changed since".into())
        );
    }

    #[test]
    fn a_backup_beside_the_key_is_found_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let base = BaseFolders::User {
            config: folder.path().into(),
            data: "/d".into(),
            state: "/s".into(),
            runtime: None,
        };
        let layout = Layout::new(&base, None);
        assert_eq!(beside_the_key(&layout), None);
        fs::create_dir(folder.path().join("keyagent")).unwrap();
        fs::write(&layout.key_file, "keyagent/keyring").unwrap();
        assert_eq!(beside_the_key(&layout), None);
        fs::write(layout.key_file.with_file_name("x"), b"keyagent/backup\x01 and so on").unwrap();
        assert!(beside_the_key(&layout).unwrap().message.contains("keyagent/x"));
    }
}

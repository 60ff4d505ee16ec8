//! `keyagent backup sheet FILE`: a page to print and to put into a safe, for whoever has to restore in ten years.
//!
//! Says which backup it is, what opens it and what to type. Without `--share` there is no secret on it; with it there
//! is one share, in groups that can be typed again.

use std::{fmt::Write, path::PathBuf};

use clap::Args;
use keyagent_common::{
    backup::{
        Protection,
        share::{Share, Sharing},
    },
    report::escape,
};
use zeroize::Zeroizing;

use super::{
    file::{self, HeaderDocument, damaged},
    sharing,
};
use crate::{
    command::OK,
    console,
    failure::{Failure, usage},
    session::Session,
};

/// Characters of a share in a group, and groups in a line.
const GROUP: usize = 5;
const GROUPS: usize = 5;
/// Columns that fit on a sheet of paper.
const RULE: &str = "--------------------------------------------------------------------------";

/// `keyagent backup sheet`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print this share of its key, too: then the sheet is as secret as the share
    #[arg(long, value_name = "FILE")]
    share: Option<PathBuf>,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    if session.console.json {
        return Err(usage("a sheet is for people; for programs: keyagent backup check --json FILE").into());
    }
    let bytes = file::read(&arguments.file)?;
    let backup = file::parse(&bytes, &arguments.file)?;
    let share = arguments.share.as_deref().map(sharing::read).transpose()?;
    if let Some(share) = share.as_ref().filter(|share| !backup.id.starts_with(&share.backup)) {
        return Err(usage(format!("share {} is of another backup", share.number)).into());
    }
    let needed = match (&backup.protection, &share) {
        (_, Some(share)) => shares_needed(share.sharing),
        (Protection::Shares(numbers), None) => {
            shares_needed(Sharing::parse(numbers).map_err(|error| damaged(&error.to_string()))?)
        }
        (Protection::Passphrase(_), None) => "its passphrase".to_owned(),
        (Protection::Recipients(_), None) => "one of the age or SSH identities it was made for".to_owned(),
    };
    let name = arguments.file.file_name().unwrap_or(arguments.file.as_os_str()).to_string_lossy();
    let text = Zeroizing::new(sheet(&HeaderDocument::from(&backup), &escape(&name), &needed, share.as_ref()));
    console::print(&text)?;
    Ok(OK)
}

fn shares_needed(sharing: Sharing) -> String {
    format!("any {} of its {} shares", sharing.threshold(), sharing.count())
}

fn sheet(header: &HeaderDocument, name: &str, needed: &str, share: Option<&Share>) -> String {
    let mut text = format!("{RULE}\nKEYAGENT RECOVERY SHEET\n{RULE}\n\n");
    let scope = if header.whole { "the whole keyring" } else { "some keys of the keyring" };
    let master = if header.holds_master { "with the master key" } else { "WITHOUT the master key" };
    let _ = write!(
        text,
        "Backup         {name}\n               {}\nMade           {}\nHolds          {scope}, {} keys, {} versions,\n\
         \x20              {master}\nKeyring        {}\n               epoch {}, generation {}\n\
         Master key     {}   {}\nOpened by      {needed}\n\n",
        header.backup_id,
        header.created_at,
        header.keys,
        header.key_ids.len(),
        header.keyring_id,
        header.epoch,
        header.generation,
        header.master_id,
        header.master_fingerprint,
    );
    text.push_str("File lies at   ______________________________________________________\n\n");
    text.push_str("Copies at      ______________________________________________________\n\n");
    text.push_str("Opened by whom ______________________________________________________\n\n");
    let _ = write!(text, "{RULE}\nTO RESTORE, on a machine with keyagent and without a keyring\n{RULE}\n\n");
    let opening = match header.protection {
        _ if share.is_some() => "--share FILE --share FILE ...",
        "shares" => "--share FILE --share FILE ...",
        "recipients" => "--identity FILE",
        _ => "",
    };
    let _ = write!(
        text,
        "1. keyagent backup check {name}\n     says whether the file is whole; compare its name with the one above\n\
         2. keyagent backup restore {name} {opening}\n     writes master key and keyring, and starts the agent\n\
         3. keyagent fingerprint\n     must say {}\n4. keyagent doctor\n\n\
         Only to open one file:\n     keyagent decrypt --offline FILE --backup {name}\n       {opening}\n",
        header.master_id,
    );
    if let Some(share) = share {
        let _ = write!(
            text,
            "\n{RULE}\nSHARE {} OF {}: KEEP IT SECRET, AND AWAY FROM THE OTHERS\n{RULE}\n\n",
            share.number,
            share.sharing.count()
        );
        write_groups(&mut text, &share.to_text());
        text.push_str(
            "\nTyped into a file without the spaces, in one line. A mistaken character is noticed.\n",
        );
    }
    let _ =
        write!(text, "\n{RULE}\nPrinted on     ____________________   by ______________________________\n");
    text
}

/// In groups, a few to a line.
fn write_groups(text: &mut String, share: &str) {
    for (place, character) in share.chars().enumerate() {
        match place {
            0 => text.push_str("    "),
            _ if place % (GROUP * GROUPS) == 0 => text.push_str("\n    "),
            _ if place % GROUP == 0 => text.push_str("  "),
            _ => {}
        }
        text.push(character);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed_again() {
        let sharing = Sharing::new(3, 5).unwrap();
        let share = Share { backup: [7; 16], sharing, number: 2, value: Zeroizing::new([0x5a; 32]) };
        let mut text = String::new();
        write_groups(&mut text, &share.to_text());
        assert!(text.lines().all(|line| line.len() <= RULE.len()));
        let typed: String = text.split_whitespace().collect();
        assert_eq!(*Share::from_text(&typed).unwrap().value, [0x5a; 32]);
    }
}

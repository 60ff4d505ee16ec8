//! What people and documents are told about a rotation of the master key.
//!
//! Fingerprints and paths; never a key or a passphrase.

use keyagent_common::fingerprint;
use serde::Serialize;

use super::{
    place::Place,
    plan::{Print, Seen, Step},
    rotate::Work,
};
use crate::{
    console,
    failure::{Failure, usage},
    session::Session,
};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dry_run: bool,
    steps: Vec<&'static str>,
    previous: String,
    fingerprint: Option<String>,
    master_id: Option<String>,
    epoch: Option<u32>,
    generation: Option<u64>,
    key_file: &'a str,
    /// The next key waits in this file for somebody to install it.
    to_install: Option<&'a str>,
}

/// Asks before anything is made; where nobody can be asked, it has to be said on the command line.
pub(super) fn confirm(session: &Session<'_>, yes: bool, seen: &Seen, steps: &[Step]) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !session.console.can_ask() {
        return Err(usage("not asked, so nothing was done")
            .why("another master key opens the keyring afterwards, and backups of the old one do not open it")
            .fix("add --yes          (or look first: --dry-run)")
            .into());
    }
    let mut question = format!("Master key {}:\n", fingerprint::short(&seen.in_use));
    for step in steps {
        question.extend(["  ", step.as_str(), "\n"]);
    }
    let answer = console::ask(&format!("{question}Go on? (yes/no)"), "no")?;
    if matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(usage("nothing was done").into())
}

/// What would be done.
pub(super) fn tell_plan(
    session: &Session<'_>,
    seen: &Seen,
    place: &Place,
    steps: &[Step],
) -> Result<(), Failure> {
    let key_file = place.key_file.as_deref().unwrap_or(&place.next).display().to_string();
    if session.console.json {
        return console::print_json(&Document {
            schema: "keyagent.master_rotate/1",
            dry_run: true,
            steps: steps.iter().map(|step| step.as_str()).collect(),
            previous: fingerprint::full(&seen.in_use),
            fingerprint: None,
            master_id: None,
            epoch: None,
            generation: None,
            key_file: &key_file,
            to_install: None,
        });
    }
    let mut lines = vec![format!("master {}   from {key_file}", fingerprint::short(&seen.in_use))];
    lines.extend(steps.iter().zip(1..).map(|(step, number)| format!("{number}. {}", step.as_str())));
    if steps.is_empty() {
        lines.push("nothing to do".to_owned());
    }
    console::print(&(lines.join("\n") + "\n"))
}

impl Work<'_> {
    /// How it ended.
    pub(super) fn tell(&self, steps: &[Step]) -> Result<(), Failure> {
        let Some(reply) = &self.reply else { return Ok(()) };
        let waits = Some(&self.place.next).filter(|_| reply.masters.len() > 1);
        let to_install = waits.map(|path| path.display().to_string());
        let now = reply.masters.last().copied().unwrap_or(self.previous);
        let key_file = self.place.key_file.as_deref().unwrap_or(&self.place.next).display().to_string();
        if self.session.console.json {
            return console::print_json(&Document {
                schema: "keyagent.master_rotate/1",
                dry_run: false,
                steps: steps.iter().map(|step| step.as_str()).collect(),
                previous: fingerprint::full(&self.previous),
                fingerprint: Some(fingerprint::full(&now)),
                master_id: Some(fingerprint::short(&now)),
                epoch: Some(reply.epoch),
                generation: Some(reply.generation),
                key_file: &key_file,
                to_install: to_install.as_deref(),
            });
        }
        console::print(&format!("{} {}\n", fingerprint::full(&now), fingerprint::short(&now)))?;
        self.advise(steps, &now, to_install.as_deref(), &key_file);
        Ok(())
    }

    fn advise(&self, steps: &[Step], now: &Print, to_install: Option<&str>, key_file: &str) {
        let (old, new) = (fingerprint::short(&self.previous), fingerprint::short(now));
        let say = |text: &str| self.session.console.say(text);
        if let Some(next) = to_install {
            say(&format!("both {old} and {new} open the keyring now; the next master key is in {next}"));
            say("put it where the agent reads its key, restart the agent, then run this again to finish:");
            say(&format!("keyagent master rotate --new-key-file {next}"));
            return;
        }
        if steps.contains(&Step::Abandon) {
            say(&format!("master key {new} stays; the rotation was given up"));
            return;
        }
        say(&format!(
            "the master key is {new} now, in {key_file}; copies of the old key file open nothing new"
        ));
        say("make a new backup: keyagent backup create; those from before need the old master key as ever");
        if self.arguments.keep_previous.is_none() && steps.contains(&Step::Discard) {
            say("no copy of the old master key was kept here: for backups from before keep the one you have");
        }
        say(
            "if the old key may be known to somebody, rotate every key as well: old key and old keyring open each other",
        );
    }
}

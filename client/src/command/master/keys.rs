//! The two master keys of a rotation, and the passphrases that protect them.
//!
//! A passphrase is asked for once; the next key gets the same one unless another is wanted.

use std::{path::Path, thread};

use keyagent_common::protected_key::Parameters;
use zeroize::Zeroizing;

use super::files;
use crate::{
    failure::Failure,
    key_file::{Content, MasterKey},
    passphrase::{self, Passphrase},
    session::Session,
};

/// Where passphrases come from.
pub(super) struct Passphrases<'s> {
    session: &'s Session<'s>,
    descriptor: Option<u32>,
    /// Another one for the next key: asked for, or from a descriptor.
    another: bool,
    another_descriptor: Option<u32>,
    /// Of the key in use, once it is known.
    known: Option<Passphrase>,
    /// Of the next key, if it is another one and known.
    next: Option<Passphrase>,
}

impl<'s> Passphrases<'s> {
    pub(super) fn new(
        session: &'s Session<'s>,
        descriptor: Option<u32>,
        another: bool,
        another_descriptor: Option<u32>,
    ) -> Self {
        let another = another || another_descriptor.is_some();
        Self { session, descriptor, another, another_descriptor, known: None, next: None }
    }

    /// The key of a file.
    pub(super) fn open(&mut self, content: Content, file: &Path) -> Result<MasterKey, Failure> {
        let protected = match content {
            Content::Plain(key) => return Ok(key),
            Content::Protected(protected) => protected,
        };
        for passphrase in [&self.next, &self.known].into_iter().flatten() {
            if let Some(key) = passphrase::open(&protected, passphrase)? {
                return Ok(key);
            }
        }
        let name = file.display().to_string();
        if let Some(number) = self.descriptor.take() {
            let given = Passphrase::read_descriptor(number)?;
            let opened = passphrase::open(&protected, &given)?;
            self.known = Some(given);
            if let Some(key) = opened {
                return Ok(key);
            }
            // It may be that of the other key.
            return match self.another_descriptor.take() {
                Some(number) => {
                    let given = Passphrase::read_descriptor(number)?;
                    let opened = passphrase::open(&protected, &given)?;
                    self.next = Some(given);
                    opened.ok_or_else(|| passphrase::wrong(&name).into())
                }
                None => Err(passphrase::wrong(&name).into()),
            };
        }
        for wait in passphrase::WAITS {
            let typed = Passphrase::ask(self.session.console, &format!("Passphrase for {name}: "))?;
            if let Some(key) = passphrase::open(&protected, &typed)? {
                self.known.get_or_insert(typed);
                return Ok(key);
            }
            self.session.console.say("that is not the passphrase");
            thread::sleep(wait);
        }
        Err(passphrase::wrong(&name).into())
    }

    /// The text of the file of a new key: protected exactly if the one in use is.
    pub(super) fn text(&mut self, key: &MasterKey, protect: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if !protect {
            return Ok(files::plain_text(key));
        }
        if self.another && self.next.is_none() {
            self.next = Some(match self.another_descriptor.take() {
                Some(number) => {
                    let given = Passphrase::read_descriptor(number)?;
                    given.check_new(self.session.console)?;
                    given
                }
                None => Passphrase::ask_new(self.session.console)?,
            });
        }
        let passphrase = match (&self.next, &self.known) {
            (Some(next), _) => next,
            (None, Some(known)) => known,
            (None, None) => self.next.insert(Passphrase::ask_new(self.session.console)?),
        };
        let protected = passphrase::protect(key, passphrase, Parameters::DEFAULT)?;
        Ok(Zeroizing::new(protected.to_text().into_bytes()))
    }
}

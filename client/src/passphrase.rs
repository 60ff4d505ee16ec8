//! Passphrases: from a terminal or a descriptor to the key that opens a protected master key.
//!
//! Bytes are taken as they come, never normalised, and wiped when dropped; so is everything that
//! Argon2id leaves in memory. It must never put a passphrase into an argument, a variable or a message.

use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use keyagent_common::{
    error::ErrorCode,
    kdf, key_text,
    protected_key::{Parameters, ProtectedKey},
    report::Report,
};
use secrecy::{ExposeSecret, ExposeSecretMut};
use xaes_256_gcm::{
    Xaes256Gcm,
    aead::{AeadInOut, KeyInit},
};
use zeroize::Zeroizing;

use crate::{
    console::Console,
    failure::{Failure, Passed, cannot_read, usage},
    input::fill,
    key_file::{self, MasterKey},
    terminal::{Answer, Terminal},
};

/// Longest passphrase in bytes.
pub(crate) const MAX_BYTES: usize = 1024;
/// Fewest characters of a new passphrase.
const MIN_CHARACTERS: usize = 8;
/// Fewer than these are worth a warning.
const FEW_CHARACTERS: usize = 14;
/// What is waited after each wrong passphrase of one run.
pub(crate) const WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// 1 to 1024 bytes without the newline that ended them; wiped when dropped.
pub(crate) struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Everything that a descriptor gives, less one final newline.
    pub(crate) fn read_descriptor(number: u32) -> Result<Self, Report> {
        let mut file = key_file::open_descriptor(number)?;
        let mut buffer = Zeroizing::new(vec![0; MAX_BYTES + 2]);
        let count = fill(&mut file, &mut buffer)
            .map_err(|error| cannot_read(&format!("descriptor {number}"), &error))?;
        buffer.truncate(count);
        if buffer.last() == Some(&b'\n') {
            buffer.truncate(count - 1);
        }
        Self::new(buffer)
    }

    /// Asks on the terminal, without showing what is typed.
    pub(crate) fn ask(console: &Console, question: &str) -> Result<Self, Failure> {
        let terminal = if console.interactive { Terminal::open() } else { None };
        let mut terminal = terminal.ok_or_else(|| {
            usage("a passphrase is needed, and there is no terminal to ask on")
                .fix("give it through a descriptor: --passphrase-fd 3 3< FILE")
        })?;
        let mut buffer = Zeroizing::new(vec![0; MAX_BYTES + 1]);
        let answer = terminal.ask_hidden(question, &mut buffer);
        match answer.map_err(|error| cannot_read("terminal", &error))? {
            Answer::Line(count) => {
                buffer.truncate(count);
                Ok(Self::new(buffer)?)
            }
            Answer::TooLong => Err(too_long().into()),
            Answer::End => Err(usage("no passphrase was typed; nothing was done").into()),
            Answer::Interrupted(signal) => Err(Failure::Passed(Passed {
                text: "keyagent: interrupted; nothing was done\n".to_owned(),
                // As a shell counts a program that a signal ended.
                exit_code: u8::try_from(128 + signal as i32).unwrap_or(u8::MAX),
            })),
        }
    }

    /// Asks twice for that of a new master key; what is typed must be the same.
    pub(crate) fn ask_new(console: &Console) -> Result<Self, Failure> {
        Self::ask_new_for(console, "Passphrase for the new master key: ")
    }

    /// The same for something else.
    pub(crate) fn ask_new_for(console: &Console, question: &str) -> Result<Self, Failure> {
        let first = Self::ask(console, question)?;
        first.check_new(console)?;
        let second = Self::ask(console, "The same again: ")?;
        if first.0 == second.0 {
            return Ok(first);
        }
        Err(usage("the two passphrases are not the same; nothing was done").fix("try again").into())
    }

    /// Refuses a new passphrase that is too short or could not be typed again; says if it is weak.
    pub(crate) fn check_new(&self, console: &Console) -> Result<(), Report> {
        let characters = self.characters();
        if self.0.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
            return Err(usage("the passphrase holds a control character or a line break")
                .why("it could not be typed on a terminal"));
        }
        if characters < MIN_CHARACTERS {
            return Err(usage("the passphrase is too short")
                .fact("least", format!("{MIN_CHARACTERS} characters"))
                .why("whoever gets a copy of the file can try passphrases without anybody noticing")
                .fix("take five or more random words"));
        }
        if characters < FEW_CHARACTERS {
            console.say(&format!(
                "warning: fewer than {FEW_CHARACTERS} characters: whoever gets a copy of the file may find \
                 the passphrase by trying; five random words are better"
            ));
        }
        Ok(())
    }

    /// As text, for those who take nothing else.
    pub(crate) fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Characters, or bytes where they are no text.
    fn characters(&self) -> usize {
        std::str::from_utf8(&self.0).map_or(self.0.len(), |text| text.chars().count())
    }

    fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Report> {
        match bytes.len() {
            0 => Err(usage("the passphrase is empty; nothing was done")),
            1..=MAX_BYTES => Ok(Self(bytes)),
            _ => Err(too_long()),
        }
    }
}

/// Seals a master key under a passphrase, with a new salt and nonce.
pub(crate) fn protect(
    master: &MasterKey,
    passphrase: &Passphrase,
    parameters: Parameters,
) -> Result<ProtectedKey, Report> {
    let mut protected = ProtectedKey {
        parameters,
        salt: random()?,
        fingerprint: kdf::master_fingerprint(master.expose_secret()),
        nonce: random()?,
        sealed: [0; 32],
        tag: [0; 16],
    };
    let cipher = cipher(&protected, passphrase)?;
    seal(&mut protected, &cipher, master)?;
    Ok(protected)
}

/// Opens a protected master key; `None` if the passphrase is wrong or the file was changed, which
/// cannot be told apart.
pub(crate) fn open(protected: &ProtectedKey, passphrase: &Passphrase) -> Result<Option<MasterKey>, Report> {
    let cipher = cipher(protected, passphrase)?;
    open_with(protected, &cipher)
}

/// That the passphrase is wrong, for the file of this name.
pub(crate) fn wrong(file: &str) -> Report {
    Report::new(ErrorCode::WrongPassphrase, "the passphrase does not open the master key")
        .fact("file", file)
        .why("the passphrase is another one, or the file was changed")
        .fix("try again; if you are sure of the passphrase, restore the file from its backup")
}

/// 32 bytes for a new master key.
pub(crate) fn new_master() -> Result<MasterKey, Report> {
    let mut master = MasterKey::init_with_mut(|_| {});
    getrandom::fill(master.expose_secret_mut()).map_err(no_randomness)?;
    key_text::check(master.expose_secret()).map_err(|error| {
        Report::new(ErrorCode::Internal, "the system gives no randomness").why(error.to_string())
    })?;
    Ok(master)
}

fn seal(protected: &mut ProtectedKey, cipher: &Xaes256Gcm, master: &MasterKey) -> Result<(), Report> {
    let mut buffer = Zeroizing::new(*master.expose_secret());
    let associated = protected.associated_data();
    let sealed =
        cipher.encrypt_inout_detached((&protected.nonce).into(), &associated, buffer.as_mut_slice().into());
    let tag = sealed.map_err(|_| Report::new(ErrorCode::Internal, "the master key cannot be sealed"))?;
    protected.sealed = *buffer;
    protected.tag = tag.into();
    Ok(())
}

fn open_with(protected: &ProtectedKey, cipher: &Xaes256Gcm) -> Result<Option<MasterKey>, Report> {
    let mut master = MasterKey::init_with_mut(|key| key.copy_from_slice(&protected.sealed));
    let opened = cipher.decrypt_inout_detached(
        (&protected.nonce).into(),
        &protected.associated_data(),
        master.expose_secret_mut().as_mut_slice().into(),
        (&protected.tag).into(),
    );
    if opened.is_err() {
        return Ok(None);
    }
    // AES-GCM alone lets a file be made that opens under two passphrases to two keys; the fingerprint
    // names one of them.
    let is_it = kdf::master_fingerprint(master.expose_secret()) == protected.fingerprint;
    if is_it && key_text::check(master.expose_secret()).is_ok() {
        return Ok(Some(master));
    }
    Err(Report::new(ErrorCode::KeyMalformed, "the protected file holds another key than it says")
        .why("it was not made by keyagent")
        .fix("restore the file from its backup"))
}

fn cipher(protected: &ProtectedKey, passphrase: &Passphrase) -> Result<Box<Xaes256Gcm>, Report> {
    cipher_of(protected.parameters, &protected.salt, passphrase)
}

/// The cipher of a passphrase: Argon2id, then XAES-256-GCM; on the heap, wiped when dropped.
pub(crate) fn cipher_of(
    parameters: Parameters,
    salt: &[u8; 16],
    passphrase: &Passphrase,
) -> Result<Box<Xaes256Gcm>, Report> {
    let (memory, passes, lanes) = (parameters.memory_kib(), parameters.passes(), parameters.lanes());
    let refuse = |error: argon2::Error| {
        Report::new(ErrorCode::Internal, "Argon2id does not take its parameters").why(error.to_string())
    };
    let parameters = Params::new(memory, passes, lanes, Some(32)).map_err(refuse)?;
    let mut blocks = Zeroizing::new(Vec::<Block>::new());
    blocks.try_reserve_exact(parameters.block_count()).map_err(|_| {
        Report::new(ErrorCode::Busy, "there is not enough memory to try the passphrase")
            .fact("needed", format!("{} MiB", memory >> 10))
    })?;
    blocks.resize(parameters.block_count(), Block::new());
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into_with_memory(&passphrase.0, salt, &mut *key, &mut *blocks)
        .map_err(refuse)?;
    Ok(Box::new(Xaes256Gcm::new((&*key).into())))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Report> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(no_randomness)?;
    Ok(bytes)
}

fn no_randomness(error: getrandom::Error) -> Report {
    Report::new(ErrorCode::Internal, "the system gives no randomness").why(error.to_string())
}

fn too_long() -> Report {
    usage("the passphrase is too long").fact("most", format!("{MAX_BYTES} bytes"))
}

#[cfg(test)]
mod tests;

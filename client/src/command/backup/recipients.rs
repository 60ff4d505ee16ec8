//! Recipients and identities: age's own (X25519) and those of SSH, by the library of age.
//!
//! What cannot be read as one is never repeated: somebody may have given the secret half.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use age::{Decryptor, Encryptor, Identity, Recipient, secrecy::SecretString, ssh, x25519};
use keyagent_common::{error::ErrorCode, report::Report};
use zeroize::Zeroizing;

use super::{
    file::{damaged, not_opened},
    key::BackupKey,
};
use crate::{
    console::Console,
    failure::{Failure, cannot_read, usage},
    passphrase::Passphrase,
};

/// Most bytes of a file with recipients or identities.
const MAX_FILE_BYTES: u64 = 1 << 20;
const AGE_SECRET: &str = "AGE-SECRET-KEY-1";

/// Somebody who can open the backup.
pub(super) type AnyRecipient = Box<dyn Recipient + Send>;

/// All recipients of a command line: written out, and in files.
pub(super) fn all(texts: &[String], files: &[PathBuf]) -> Result<Vec<AnyRecipient>, Failure> {
    let mut all = Vec::new();
    for text in texts {
        all.push(
            one(text.trim())
                .map_err(|why| not_a_recipient(&why).fix("--to age1…, or --to 'ssh-ed25519 …'"))?,
        );
    }
    for path in files {
        let bytes = read(path)?;
        let text = text(&bytes, path)?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| holds_something(line)) {
            let place = format!("{}, line {}", path.display(), number + 1);
            all.push(one(line.trim()).map_err(|why| not_a_recipient(&why).fact("recipient", place))?);
        }
    }
    if !files.is_empty() && all.len() == texts.len() {
        return Err(usage("there is no recipient in the files given with -R").into());
    }
    Ok(all)
}

fn one(text: &str) -> Result<AnyRecipient, String> {
    if text.starts_with(AGE_SECRET) {
        return Err("it is a secret identity, not a recipient".into());
    }
    if text.starts_with("age1") {
        let recipient = text.parse::<x25519::Recipient>().map_err(ToString::to_string)?;
        return Ok(Box::new(recipient));
    }
    if text.starts_with("ssh-") {
        let recipient = text
            .parse::<ssh::Recipient>()
            .map_err(|_| "it is no ssh-ed25519 or ssh-rsa key that age can use")?;
        return Ok(Box::new(recipient));
    }
    Err("it begins neither with age1 nor with ssh-".into())
}

/// A file of age whose content is the backup key.
pub(super) fn wrap(recipients: &[AnyRecipient], key: &BackupKey) -> Result<Vec<u8>, Report> {
    let failed =
        |why: String| Report::new(ErrorCode::Internal, "the backup key cannot be encrypted").why(why);
    let encryptor =
        Encryptor::with_recipients(recipients.iter().map(|recipient| recipient.as_ref() as &dyn Recipient))
            .map_err(|error| failed(error.to_string()))?;
    let mut out = Vec::new();
    let mut writer = encryptor.wrap_output(&mut out).map_err(|error| failed(error.to_string()))?;
    let written = writer.write_all(key.bytes()).and_then(|()| writer.finish().map(|_| ()));
    written.map_err(|error| failed(error.to_string()))?;
    Ok(out)
}

/// Opens such a file with an identity: a file of age identities, or a private key of SSH.
pub(super) fn unwrap(
    wrapped: &[u8],
    path: &Path,
    passphrase_fd: Option<u32>,
    console: &Console,
) -> Result<BackupKey, Failure> {
    let identities = identities(path, passphrase_fd, console)?;
    let broken = |error: age::DecryptError| match error {
        age::DecryptError::NoMatchingKeys
        | age::DecryptError::KeyDecryptionFailed
        | age::DecryptError::DecryptionFailed => not_opened("this identity does not open the backup")
            .fact("identity", path.display().to_string())
            .fix("give the identity of one of its recipients: --identity FILE"),
        error => damaged(&error.to_string()),
    };
    let decryptor = Decryptor::new(wrapped).map_err(broken)?;
    if decryptor.is_scrypt() {
        return Err(damaged("its key is under a passphrase of age, which keyagent never makes").into());
    }
    let each = identities.iter().map(|identity| identity.as_ref() as &dyn Identity);
    let mut reader = decryptor.decrypt(each).map_err(broken)?;
    let mut key = Zeroizing::new([0; 33]);
    let mut filled = 0;
    while let Some(room) = key.get_mut(filled..).filter(|room| !room.is_empty()) {
        match reader.read(room).map_err(|error| damaged(&error.to_string()))? {
            0 => break,
            count => filled += count,
        }
    }
    match key.split_first_chunk::<32>() {
        Some((key, _)) if filled == 32 => Ok(BackupKey::from_bytes(key)),
        _ => Err(damaged("its backup key has not 32 bytes").into()),
    }
}

fn identities(
    path: &Path,
    passphrase_fd: Option<u32>,
    console: &Console,
) -> Result<Vec<Box<dyn Identity>>, Failure> {
    let bytes = read(path)?;
    if bytes.starts_with(b"-----BEGIN") && !bytes.starts_with(b"-----BEGIN AGE") {
        return Ok(vec![Box::new(ssh_identity(&bytes, path, passphrase_fd, console)?)]);
    }
    let unfit = || {
        usage("the file holds no identity of age or SSH")
            .fact("identity", path.display().to_string())
            .why("an identity begins with AGE-SECRET-KEY-1 or is a private key of SSH; one under a passphrase of age has to be opened first")
            .fix("age -d IDENTITY.age | keyagent backup check FILE --identity /dev/stdin")
    };
    let mut all: Vec<Box<dyn Identity>> = Vec::new();
    for line in text(&bytes, path)?.lines().filter(|line| holds_something(line)) {
        all.push(Box::new(line.trim().parse::<x25519::Identity>().map_err(|_| unfit())?));
    }
    if all.is_empty() { Err(unfit().into()) } else { Ok(all) }
}

fn ssh_identity(
    bytes: &[u8],
    path: &Path,
    passphrase_fd: Option<u32>,
    console: &Console,
) -> Result<ssh::Identity, Failure> {
    let name = path.display().to_string();
    let identity =
        ssh::Identity::from_buffer(bytes, Some(name.clone())).map_err(|error| cannot_read(&name, &error))?;
    match identity {
        ssh::Identity::Unencrypted(_) => Ok(identity),
        ssh::Identity::Unsupported(_) => {
            Err(usage("age cannot use this kind of SSH key").fact("identity", name).into())
        }
        ssh::Identity::Encrypted(key) => {
            let passphrase = match passphrase_fd {
                Some(number) => Passphrase::read_descriptor(number)?,
                None => Passphrase::ask(console, &format!("Passphrase of {name}: "))?,
            };
            let text = passphrase.as_text().ok_or_else(|| usage("the passphrase of an SSH key is text"))?;
            let opened = key.decrypt(SecretString::from(text.to_owned()));
            let opened = opened.map_err(|_| {
                not_opened("the passphrase does not open the SSH key").fact("identity", name).fix("try again")
            })?;
            Ok(ssh::Identity::from(opened))
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| cannot_read(&name, &error))?;
    // Room at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|error| cannot_read(&name, &error))?;
    Ok(bytes)
}

fn text<'b>(bytes: &'b [u8], path: &Path) -> Result<&'b str, Report> {
    str::from_utf8(bytes).map_err(|_| usage("the file is not text").fact("file", path.display().to_string()))
}

fn holds_something(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

fn not_a_recipient(why: &str) -> Report {
    usage("this is no recipient").why(why)
}

//! The backup key: 32 random bytes for one file, and what it seals on this side.

use keyagent_common::{
    backup::{
        self, MASTER_LABEL, PAGE_LABEL, PassphraseProtection, SEALED_MASTER_BYTES,
        page::{KeyPart, Page, read_body},
    },
    error::ErrorCode,
    kdf,
    protected_key::Parameters,
    report::Report,
};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use xaes_256_gcm::{
    Xaes256Gcm,
    aead::{AeadInOut, KeyInit},
};
use zeroize::Zeroizing;

use super::file::{damaged, not_opened};
use crate::{
    key_file::MasterKey,
    passphrase::{self, Passphrase},
};

/// The key of one backup; wiped when dropped.
pub(super) struct BackupKey(SecretBox<[u8; 32]>);

impl BackupKey {
    /// A new one.
    pub(super) fn make() -> Result<Self, Report> {
        let random = Zeroizing::new(passphrase::random::<32>()?);
        Ok(Self::from_bytes(&random))
    }

    /// One that came out of a protection.
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SecretBox::init_with_mut(|place: &mut [u8; 32]| place.copy_from_slice(bytes)))
    }

    /// For the agent, and for whoever protects it.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }

    /// Seals it under a passphrase.
    pub(super) fn protect(&self, passphrase: &Passphrase) -> Result<PassphraseProtection, Report> {
        let mut protection = PassphraseProtection {
            parameters: Parameters::DEFAULT,
            salt: passphrase::random()?,
            nonce: passphrase::random()?,
            sealed: [0; 32],
            tag: [0; 16],
        };
        let cipher = passphrase::cipher_of(protection.parameters, &protection.salt, passphrase)?;
        let ad = protection.associated_data(&backup::id(self.bytes()));
        let mut sealed = Zeroizing::new(*self.bytes());
        let tag =
            cipher.encrypt_inout_detached((&protection.nonce).into(), &ad, sealed.as_mut_slice().into());
        protection.tag = tag.map_err(|_| cannot_seal())?.into();
        protection.sealed = *sealed;
        Ok(protection)
    }

    /// Opens a protection with a passphrase; a wrong one and a changed file are not told apart.
    pub(super) fn unprotect(
        protection: &PassphraseProtection,
        id: &[u8; 32],
        passphrase: &Passphrase,
    ) -> Result<Self, Report> {
        let cipher = passphrase::cipher_of(protection.parameters, &protection.salt, passphrase)?;
        let mut key =
            SecretBox::init_with_mut(|place: &mut [u8; 32]| place.copy_from_slice(&protection.sealed));
        let opened = cipher.decrypt_inout_detached(
            (&protection.nonce).into(),
            &protection.associated_data(id),
            key.expose_secret_mut().as_mut_slice().into(),
            (&protection.tag).into(),
        );
        match opened {
            Ok(()) => Ok(Self(key)),
            Err(_) => Err(not_opened("the passphrase does not open the backup")
                .why("the passphrase is another one, or the file was changed")),
        }
    }

    /// Seals the master key: nonce, key, tag.
    pub(super) fn seal_master(&self, master: &MasterKey) -> Result<[u8; SEALED_MASTER_BYTES], Report> {
        let fingerprint = kdf::master_fingerprint(master.expose_secret());
        let ad = backup::master_associated_data(&backup::id(self.bytes()), &fingerprint);
        let nonce: [u8; 24] = passphrase::random()?;
        let mut sealed = Zeroizing::new(*master.expose_secret());
        let cipher = self.cipher(MASTER_LABEL);
        let tag = cipher.encrypt_inout_detached((&nonce).into(), &ad, sealed.as_mut_slice().into());
        let tag: [u8; 16] = tag.map_err(|_| cannot_seal())?.into();
        let mut joined = [0; SEALED_MASTER_BYTES];
        for (place, byte) in joined.iter_mut().zip(nonce.iter().chain(&*sealed).chain(&tag)) {
            *place = *byte;
        }
        Ok(joined)
    }

    /// Opens the master key, which must have this fingerprint.
    pub(super) fn open_master(
        &self,
        sealed: &[u8; SEALED_MASTER_BYTES],
        fingerprint: &[u8; 16],
    ) -> Result<MasterKey, Report> {
        let broken = || damaged("the master key in it does not open, or is another one than it says");
        let (nonce, rest) = sealed.split_first_chunk::<24>().ok_or_else(broken)?;
        let (key, tag) = rest.split_first_chunk::<32>().ok_or_else(broken)?;
        let tag: &[u8; 16] = tag.try_into().map_err(|_| broken())?;
        let mut master = MasterKey::init_with_mut(|place| place.copy_from_slice(key));
        let ad = backup::master_associated_data(&backup::id(self.bytes()), fingerprint);
        let place = master.expose_secret_mut().as_mut_slice();
        let opened =
            self.cipher(MASTER_LABEL).decrypt_inout_detached(nonce.into(), &ad, place.into(), tag.into());
        if opened.is_ok() && kdf::master_fingerprint(master.expose_secret()) == *fingerprint {
            Ok(master)
        } else {
            Err(broken())
        }
    }

    /// Opens a page's body and lets `then` see what it says; the secrets in it stay sealed.
    pub(super) fn with_page<R>(
        &self,
        page: &[u8],
        then: impl FnOnce(&[KeyPart<'_>]) -> R,
    ) -> Result<R, Report> {
        let page = Page::parse(page).map_err(|error| damaged(&error.to_string()))?;
        let mut body = page.body.to_vec();
        let opened = self.cipher(PAGE_LABEL).decrypt_inout_detached(
            page.nonce.into(),
            &page.header.associated_data(),
            body.as_mut_slice().into(),
            page.tag.into(),
        );
        opened.map_err(|_| damaged("a page of it does not open"))?;
        let parts = read_body(&body).map_err(|error| damaged(&error.to_string()))?;
        Ok(then(&parts))
    }

    fn cipher(&self, label: &str) -> Box<Xaes256Gcm> {
        let mut key = Zeroizing::new([0; 32]);
        kdf::derive(self.bytes(), label, &[], &mut *key);
        Box::new(Xaes256Gcm::new((&*key).into()))
    }
}

fn cannot_seal() -> Report {
    Report::new(ErrorCode::Internal, "the backup cannot be sealed")
}

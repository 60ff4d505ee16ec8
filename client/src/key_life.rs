//! The life of keys, as methods of a connection: made, shown, configured, rotated, retired, destroyed.
//!
//! Only shapes are settled here; who may do it and what is possible, the daemon decides. No secret of a key
//! ever comes this way.

use std::num::NonZeroU32;

use keyagent_common::{
    name::KeyName,
    op::{
        KeyConfigure, KeyConfigureReply, KeyConfigureRequest, KeyCreate, KeyCreateReply, KeyCreateRequest,
        KeyDestroy, KeyDestroyReply, KeyDestroyRequest, KeyDisable, KeyDisableRequest, KeyEnable,
        KeyEnableRequest, KeyPromote, KeyReinstate, KeyRetire, KeyRotate, KeyRotateReply, KeyRotateRequest,
        KeyShow, KeyShowReply, KeyShowRequest, KeyStanding, KeysChangedReply, Takeover, VersionReply,
        VersionRequest,
    },
};

use crate::{Connection, Error};

/// What a key is for; it stays so for ever (docs/FORMATS.md, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyClass {
    /// Seals messages, files and data keys.
    Message = 1,
    /// Makes tags by which sealed values are found again.
    Index = 2,
    /// Signs JSON web tokens with HS256.
    Hs256 = 3,
}

/// Why a key is rotated; it stays with the new version (docs/FORMATS.md, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RotationReason {
    /// Its time had come.
    Scheduled = 1,
    /// Somebody else may know it.
    Compromise = 2,
    /// Somebody who could use it left.
    Personnel = 3,
    /// An audit asked for it.
    Audit = 4,
    /// Somebody wanted it.
    Manual = 5,
}

/// How a key is rotated.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'r> {
    /// Why.
    pub reason: RotationReason,
    /// What becomes of the version that was primary.
    pub takeover: Takeover,
    /// The strongest brake that may be lifted by this; `Active` lifts none.
    pub lift: KeyStanding,
    /// For the record, at most 256 bytes and possibly empty.
    pub note: &'r str,
}

impl Connection {
    /// Makes a key with one random version. A note has at most 1024 bytes.
    pub fn key_create(
        &mut self,
        key: KeyName<'_>,
        class: KeyClass,
        note: &str,
    ) -> Result<KeyCreateReply, Error> {
        self.call::<KeyCreate>(&KeyCreateRequest { key: key.as_str(), class: class as u8, note })
    }

    /// Everything that the caller may know of a key.
    pub fn key_show(&mut self, key: KeyName<'_>) -> Result<KeyShowReply<'_>, Error> {
        self.call::<KeyShow>(&KeyShowRequest { key: key.as_str() })
    }

    /// Changes what is said about a key; what is `None` stays as it is.
    pub fn key_configure(
        &mut self,
        settings: &KeyConfigureRequest<'_>,
    ) -> Result<KeyConfigureReply<'_>, Error> {
        self.call::<KeyConfigure>(settings)
    }

    /// Makes a new version of a key, primary at once or staged.
    pub fn key_rotate(&mut self, key: KeyName<'_>, rotation: &Rotation<'_>) -> Result<KeyRotateReply, Error> {
        let &Rotation { reason, takeover, lift, note } = rotation;
        let key = key.as_str();
        self.call::<KeyRotate>(&KeyRotateRequest { key, reason: reason as u8, takeover, lift, note })
    }

    /// Seals everything new with a staged version from now on; `None` for the one that is staged.
    pub fn key_promote(
        &mut self,
        key: KeyName<'_>,
        version: Option<NonZeroU32>,
        reason: &str,
    ) -> Result<VersionReply, Error> {
        self.call::<KeyPromote>(&version_of(key, version.map_or(0, NonZeroU32::get), reason))
    }

    /// Refuses from now on what a version in grace sealed; the same for one that is retired already.
    pub fn key_retire(
        &mut self,
        key: KeyName<'_>,
        version: NonZeroU32,
        reason: &str,
    ) -> Result<VersionReply, Error> {
        self.call::<KeyRetire>(&version_of(key, version.get(), reason))
    }

    /// Opens again what a retired version sealed.
    pub fn key_reinstate(
        &mut self,
        key: KeyName<'_>,
        version: NonZeroU32,
        reason: &str,
    ) -> Result<VersionReply, Error> {
        self.call::<KeyReinstate>(&version_of(key, version.get(), reason))
    }

    /// Refuses a key, or every key, from now on.
    pub fn key_disable(
        &mut self,
        key: Option<KeyName<'_>>,
        compromised: bool,
        reason: &str,
    ) -> Result<KeysChangedReply, Error> {
        let key = key.as_ref().map_or("", |key| key.as_str());
        self.call::<KeyDisable>(&KeyDisableRequest { key, version: 0, compromised, reason })
    }

    /// Refuses one version of a key, which must not be primary, from now on.
    pub fn version_disable(
        &mut self,
        key: KeyName<'_>,
        version: NonZeroU32,
        compromised: bool,
        reason: &str,
    ) -> Result<KeysChangedReply, Error> {
        let (key, version) = (key.as_str(), version.get());
        self.call::<KeyDisable>(&KeyDisableRequest { key, version, compromised, reason })
    }

    /// Serves a key, or every key, again.
    pub fn key_enable(
        &mut self,
        key: Option<KeyName<'_>>,
        lift_compromised: bool,
        reason: &str,
    ) -> Result<KeysChangedReply, Error> {
        let key = key.as_ref().map_or("", |key| key.as_str());
        self.call::<KeyEnable>(&KeyEnableRequest { key, version: 0, lift_compromised, reason })
    }

    /// Serves one version of a key again, in the state that it had before.
    pub fn version_enable(
        &mut self,
        key: KeyName<'_>,
        version: NonZeroU32,
        lift_compromised: bool,
        reason: &str,
    ) -> Result<KeysChangedReply, Error> {
        let (key, version) = (key.as_str(), version.get());
        self.call::<KeyEnable>(&KeyEnableRequest { key, version, lift_compromised, reason })
    }

    /// Removes the secret of a version, or of the whole key (`None`), for ever.
    pub fn key_destroy(
        &mut self,
        key: KeyName<'_>,
        version: Option<NonZeroU32>,
        force: bool,
        reason: &str,
    ) -> Result<KeyDestroyReply<'_>, Error> {
        let (key, version) = (key.as_str(), version.map_or(0, NonZeroU32::get));
        self.call::<KeyDestroy>(&KeyDestroyRequest { key, version, force, reason })
    }
}

fn version_of<'r>(key: KeyName<'r>, version: u32, reason: &'r str) -> VersionRequest<'r> {
    VersionRequest { key: key.as_str(), version, reason }
}

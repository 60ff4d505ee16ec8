//! What applications ask, as methods of a connection: sealing, opening, and what is derived from keys.
//!
//! Only shapes are settled here; who may do it, the daemon decides.

use keyagent_common::{
    context::Context,
    envelope::{self, Kind},
    name::KeyName,
    op::{
        DataKey, DataKeyOpen, DataKeyOpenRequest, DataKeyRequest, Decrypt, DecryptRequest, Encrypt,
        EncryptRequest, HmacRequest, HmacTag, JwtSign, JwtSignRequest, JwtVerify, JwtVerifyRequest, Random,
        RandomRequest, Rewrap, RewrapRequest,
    },
};
use zeroize::Zeroizing;

use crate::{
    Connection, Error,
    answer::{Claims, DataKeyPair, DataKeySecret, Rewrapped, Tag},
};

/// The bytes of a `ka1.` or `kd1.` text, which must be exactly canonical.
pub fn from_text(text: &str) -> Result<Vec<u8>, Error> {
    envelope::from_text(text).map_err(Error::NotCiphertext)
}

/// The text form of an envelope: `ka1.` or `kd1.` and base64url.
pub fn to_text(bytes: &[u8]) -> Result<String, Error> {
    envelope::to_text(bytes).map_err(Error::NotCiphertext)
}

/// The same methods for [`Connection`] and [`crate::Client`].
macro_rules! data_methods {
    ($type:ty) => {
        impl $type {
            /// Seals a message of at most 1 MiB; the result is a kind-01 envelope, 73 bytes longer.
            pub fn encrypt(
                &mut self,
                key: KeyName<'_>,
                context: Context<'_>,
                plaintext: &[u8],
            ) -> Result<Vec<u8>, Error> {
                let context = context.as_bytes();
                self.data::<Encrypt>(&EncryptRequest { key: key.as_str(), context, plaintext })
            }

            /// Opens a kind-01 envelope.
            pub fn decrypt(
                &mut self,
                context: Context<'_>,
                envelope: &[u8],
            ) -> Result<Zeroizing<Vec<u8>>, Error> {
                self.data::<Decrypt>(&DecryptRequest { context: context.as_bytes(), envelope })
            }

            /// As [`Self::encrypt`], in the text form `ka1.…`, which any column or file of text can hold.
            pub fn encrypt_text(
                &mut self,
                key: KeyName<'_>,
                context: Context<'_>,
                plaintext: &[u8],
            ) -> Result<String, Error> {
                to_text(&self.encrypt(key, context, plaintext)?)
            }

            /// Opens a `ka1.…` text.
            pub fn decrypt_text(
                &mut self,
                context: Context<'_>,
                text: &str,
            ) -> Result<Zeroizing<Vec<u8>>, Error> {
                self.decrypt(context, &from_text(text)?)
            }

            /// Moves an envelope of any kind to the primary version of its key; nothing comes out in the clear.
            pub fn rewrap(&mut self, context: Context<'_>, envelope: &[u8]) -> Result<Rewrapped, Error> {
                self.data::<Rewrap>(&RewrapRequest { context: context.as_bytes(), envelope })
            }

            /// Makes a data key, plain and sealed.
            pub fn data_key(
                &mut self,
                key: KeyName<'_>,
                context: Context<'_>,
                kind: Kind,
            ) -> Result<DataKeyPair, Error> {
                let context = context.as_bytes();
                self.data::<DataKey>(&DataKeyRequest { key: key.as_str(), context, kind: kind as u8 })
            }

            /// Opens a sealed data key of kind 02 or 03.
            pub fn data_key_open(
                &mut self,
                context: Context<'_>,
                envelope: &[u8],
            ) -> Result<DataKeySecret, Error> {
                self.data::<DataKeyOpen>(&DataKeyOpenRequest { context: context.as_bytes(), envelope })
            }

            /// The tag of a value of at most 1 MiB, for an index that finds it without showing it; `tag_bytes` in
            /// 8 to 32, behind 8 bytes that name the version. The key has class 02.
            pub fn hmac(
                &mut self,
                key: KeyName<'_>,
                context: Context<'_>,
                value: &[u8],
                tag_bytes: u8,
            ) -> Result<Tag, Error> {
                let mut tags = self.hmac_tags(key, context, value, tag_bytes, false)?;
                // There is at least one: checked where the reply was taken.
                Ok(tags.swap_remove(0))
            }

            /// The tags under every version that opens data, the primary one's first: what a look-up compares with
            /// while an index is moved from one version to the next.
            pub fn hmac_every_version(
                &mut self,
                key: KeyName<'_>,
                context: Context<'_>,
                value: &[u8],
                tag_bytes: u8,
            ) -> Result<Vec<Tag>, Error> {
                self.hmac_tags(key, context, value, tag_bytes, true)
            }

            fn hmac_tags(
                &mut self,
                key: KeyName<'_>,
                context: Context<'_>,
                value: &[u8],
                tag_bytes: u8,
                every_version: bool,
            ) -> Result<Vec<Tag>, Error> {
                let (key, context) = (key.as_str(), context.as_bytes());
                self.data::<HmacTag>(&HmacRequest { key, context, value, tag_bytes, every_version })
            }

            /// Signs a JSON Web Token with HS256: `claims` is a JSON object with `exp`, signed byte for byte. The key
            /// has class 03.
            pub fn jwt_sign(&mut self, key: KeyName<'_>, claims: &[u8]) -> Result<Zeroizing<String>, Error> {
                self.data::<JwtSign>(&JwtSignRequest { key: key.as_str(), claims })
            }

            /// Checks a JSON Web Token against every usable version of a key of class 03, its times with at most so
            /// many seconds of leeway.
            pub fn jwt_verify(
                &mut self,
                key: KeyName<'_>,
                token: &str,
                leeway_seconds: u32,
            ) -> Result<Claims, Error> {
                self.data::<JwtVerify>(&JwtVerifyRequest { key: key.as_str(), token, leeway_seconds })
            }

            /// Random bytes of the operating system, 1 to 4096 of them.
            pub fn random(&mut self, bytes: u32) -> Result<Zeroizing<Vec<u8>>, Error> {
                self.data::<Random>(&RandomRequest { bytes })
            }
        }
    };
}

data_methods!(Connection);
data_methods!(crate::Client);

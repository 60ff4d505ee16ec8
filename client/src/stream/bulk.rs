//! The cipher of whole files: the fastest that this build and this processor have.
//!
//! The one file that names a backend. All of them write the same bytes; which one ran can be told from
//! the clock alone.

use keyagent_common::stream::{Backend, portable};

/// The backend to use on this machine.
pub(crate) fn backend() -> Backend {
    fast().unwrap_or(portable)
}

/// The fast backend, if it was built in and the processor has what it asks for.
#[cfg(all(feature = "fast-streams", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn fast() -> Option<Backend> {
    // graviola ends the process on anything less.
    #[cfg(target_arch = "x86_64")]
    let able = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("adx")
        && std::arch::is_x86_feature_detected!("avx")
        && std::arch::is_x86_feature_detected!("avx2");
    #[cfg(target_arch = "aarch64")]
    let able = std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
    able.then_some(graviola_backend::make)
}

/// There is none in this build.
#[cfg(not(all(feature = "fast-streams", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn fast() -> Option<Backend> {
    None
}

#[cfg(all(feature = "fast-streams", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod graviola_backend {
    use graviola::aead::AesGcm;
    use keyagent_common::stream::{ChunkAead, Refused};

    /// On the heap so that a move copies no key schedule; graviola wipes it on drop.
    struct Graviola(Box<AesGcm>);

    pub(super) fn make(key: &[u8; 32]) -> Box<dyn ChunkAead> {
        Box::new(Graviola(Box::new(AesGcm::new(key))))
    }

    impl ChunkAead for Graviola {
        fn seal(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> Result<[u8; 16], Refused> {
            let mut tag = [0; 16];
            self.0.encrypt(nonce, associated, data, &mut tag);
            Ok(tag)
        }

        /// On a refusal `data` is zeros.
        fn open(
            &self,
            nonce: &[u8; 12],
            associated: &[u8],
            data: &mut [u8],
            tag: &[u8; 16],
        ) -> Result<(), Refused> {
            self.0.decrypt(nonce, associated, data, tag).map_err(|_| Refused)
        }
    }
}

#[cfg(test)]
mod tests;

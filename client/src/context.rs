//! The context of a value, kept by its caller.

use keyagent_common::context::{self, Context};

use crate::Error;

/// Public names and values that a ciphertext is bound to, in their one encoding (docs/FORMATS.md, "Context").
///
/// ```
/// # use keyagent_client::{ContextBytes, Error};
/// let row = ContextBytes::new([("table", "cards"), ("row", "17")])?;
/// assert_eq!(row, ContextBytes::new([("row", "17"), ("table", "cards")])?);
/// assert!(ContextBytes::new([("row", "17"), ("row", "18")]).is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextBytes(Vec<u8>);

impl ContextBytes {
    /// Names of `[a-z0-9._-]{1,64}` in any order, each once, with values of at most 4096 bytes; at most 16 of them
    /// and 8192 bytes in all.
    pub fn new<'p, V>(pairs: impl IntoIterator<Item = (&'p str, &'p V)>) -> Result<Self, Error>
    where
        V: AsRef<[u8]> + ?Sized + 'p,
    {
        let pairs = pairs.into_iter().map(|(name, value)| (name, value.as_ref()));
        context::encode(pairs).map(Self).map_err(Error::Context)
    }

    /// What every call takes.
    #[expect(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "checked by `new`; anything else would seal with another context"
    )]
    pub fn get(&self) -> Context<'_> {
        Context::parse(&self.0).expect("a context that was encoded here")
    }
}

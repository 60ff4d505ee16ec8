//! `Debug` that shows only how long a payload is.

/// Writes `Type(N bytes)`, by the length of the named field.
macro_rules! redacted_debug {
    ($($type:ident.$field:ident),*) => {$(
        impl core::fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($type), "({} bytes)"), self.$field.len())
            }
        }
    )*};
}
pub(super) use redacted_debug;

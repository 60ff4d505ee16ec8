//! Guards a terminal against bytes that would steer it.
//!
//! It must see every byte that goes to the terminal, in order, before it goes there.

/// Remembers the last byte, so that a character split between two pieces is seen.
#[derive(Debug, Default)]
pub(crate) struct ControlGuard {
    previous: u8,
}

impl ControlGuard {
    /// Whether these bytes contain a control character other than tab, line feed and carriage return.
    pub(crate) fn finds_control(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|&byte| {
            // U+0080 to U+009F are C2 80 to C2 9F in UTF-8.
            let second_set = self.previous == 0xc2 && (0x80..=0x9f).contains(&byte);
            self.previous = byte;
            second_set || byte == 0x7f || byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_passes_and_control_does_not() {
        for good in ["", "a\tb\r\n", "ä€😀 Â", "Å"] {
            assert!(!ControlGuard::default().finds_control(good.as_bytes()), "{good:?}");
        }
        for bad in ["\0", "\x1b[2J", "\x7f", "\u{9b}31m", "a\x08"] {
            assert!(ControlGuard::default().finds_control(bad.as_bytes()), "{bad:?}");
        }
        let mut guard = ControlGuard::default();
        assert!(!guard.finds_control(&[0xc2]) && guard.finds_control(&[0x9b]));
    }
}

//! The digest of some texts, by which they are known when they come again.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Texts and numbers, in their order.
#[derive(Debug, Default)]
pub(super) struct Texts(Sha256);

impl Texts {
    /// Adds a text. Its length comes first: no other texts read the same.
    pub(super) fn add(&mut self, text: &[u8]) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    /// Adds bytes of which there are always as many.
    pub(super) fn add_number<const BYTES: usize>(&mut self, number: [u8; BYTES]) {
        self.0.update(number);
    }

    /// In hexadecimal.
    pub(super) fn finish(self) -> String {
        let mut text = String::new();
        for byte in self.0.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

//! Bytes of values, for digests that are kept: the same value has the same bytes under every version
//! of this program, on every machine.
//!
//! Whoever encodes gives a tag with a version of its own, takes its values apart field by field, and
//! changes the version where it changes what it writes. Nothing here goes by how a value prints for
//! people or in a debugger.

use sha2::{Digest as _, Sha256};

/// Hashes fields, each with its length or as a fixed number of bytes, so that no two different
/// lists of fields write the same bytes.
#[derive(Clone, Debug)]
pub struct Encoder(Sha256);

impl Encoder {
    /// Begins with `tag`: what is encoded, and in which version.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        let mut encoder = Encoder(Sha256::new());
        encoder.text(tag);
        encoder
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// A number.
    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// Yes or no.
    pub fn flag(&mut self, flag: bool) {
        self.0.update([u8::from(flag)]);
    }

    /// A list of texts.
    pub fn list<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) {
        let texts: Vec<T> = texts.into_iter().collect();
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text.as_ref());
        }
    }

    /// A list of texts, or none: which is not the same as an empty one.
    pub fn maybe<T: AsRef<str>>(&mut self, texts: Option<impl IntoIterator<Item = T>>) {
        self.flag(texts.is_some());
        if let Some(texts) = texts {
            self.list(texts);
        }
    }

    /// The digest of all of it, as 64 hex digits.
    #[must_use]
    pub fn hex(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::Encoder;

    /// Made with Python's `hashlib`: what is kept in stores must never read otherwise.
    #[test]
    fn the_bytes_are_fixed() {
        let mut encoder = Encoder::new("test 1");
        encoder.list(["a", "bc"]);
        encoder.maybe(None::<[&str; 0]>);
        encoder.maybe(Some([""]));
        encoder.number(7);
        encoder.flag(true);
        encoder.bytes(&[0, 255]);
        assert_eq!(
            encoder.hex(),
            "0ecc1cc0eda32df96f78c2d6284c2fa9f3322020c42650733e2ecff40cfb1604"
        );
    }
}

//! An append-only arena of short texts.
//!
//! A million users have a few million short strings. Each as a `String` costs 24 bytes and a heap
//! block; here it costs its own bytes and four more.

/// A text in a [`Texts`]: four bytes, meaningful only with the arena that made it.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Text(u32);

impl Text {
    /// The empty text, the same in every arena.
    pub const EMPTY: Text = Text(0);

    /// Whether this is the empty text.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Text::EMPTY
    }
}

/// The arena. Texts are not deduplicated, but the empty one is always [`Text::EMPTY`].
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Texts {
    bytes: String,
    ends: Vec<u32>,
}

impl Default for Texts {
    fn default() -> Self {
        Texts { bytes: String::new(), ends: vec![0] }
    }
}

impl Texts {
    /// An arena with room for about `count` texts of `average` bytes.
    #[must_use]
    pub fn with_capacity(count: usize, average: usize) -> Self {
        let mut ends = Vec::with_capacity(count.saturating_add(1));
        ends.push(0);
        Texts { bytes: String::with_capacity(count.saturating_mul(average)), ends }
    }

    /// Adds `text`. The arena holds at most 4 GiB; past that every further text reads as empty,
    /// which no caller can reach before memory runs out for other reasons.
    pub fn add(&mut self, text: &str) -> Text {
        if text.is_empty() {
            return Text::EMPTY;
        }
        let Ok(end) = u32::try_from(self.bytes.len().saturating_add(text.len())) else {
            return Text::EMPTY;
        };
        let Ok(index) = u32::try_from(self.ends.len()) else { return Text::EMPTY };
        self.bytes.push_str(text);
        self.ends.push(end);
        Text(index)
    }

    /// The text that [`Texts::add`] returned `text` for; empty for one of another arena that is
    /// out of range here.
    #[must_use]
    pub fn get(&self, text: Text) -> &str {
        let index = text.0 as usize;
        if index == 0 {
            return "";
        }
        let start = self.ends.get(index.wrapping_sub(1)).copied().unwrap_or(0) as usize;
        let end = self.ends.get(index).copied().unwrap_or(0) as usize;
        self.bytes.get(start..end).unwrap_or("")
    }
}

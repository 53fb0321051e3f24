//! An append-only arena of short texts.
//!
//! A million users have a few million short strings. Each as a `String` costs 24 bytes and a heap
//! block; here it costs its own bytes and four more.
//!
//! People and groups are told apart by texts, so an empty text that stands in for a missing one would
//! make somebody nobody, or somebody else. Nothing here does that:
//!
//! - [`Texts::add`] refuses what does not fit, and the error goes up like any other.
//! - Texts that come from outside are looked at once, where they come in: an arena that is read must
//!   hold together, and a plan that is read ([`crate::plan::Plan`]) or brought into another arena is
//!   refused where it names a text that its own has not ([`Texts::find`]).
//! - After that only a mistake in this program could ask an arena for what it has not. [`Texts::get`]
//!   ends the task then, and says what was missing. Everything is planned first and written in one
//!   transaction, so a run that ends so has taken nothing away, and a request gets no answer; whereas
//!   an error that every one of some hundred callers had to hand on would be forgotten by one of them.

use super::index::{Inconsistent, TooMany, broken};

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

impl std::fmt::Display for Text {
    /// Its number, which is all that there is to say of one that no arena has.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// The arena. Texts are not deduplicated, but the empty one is always [`Text::EMPTY`].
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "PlainTexts")]
pub struct Texts {
    bytes: String,
    /// Where each ends, in order; the first is [`Text::EMPTY`].
    ends: Vec<u32>,
}

/// An arena as it is written, which whoever reads it has not looked at yet.
#[derive(serde::Deserialize)]
struct PlainTexts {
    bytes: String,
    ends: Vec<u32>,
}

impl TryFrom<PlainTexts> for Texts {
    type Error = Inconsistent;

    fn try_from(PlainTexts { bytes, ends }: PlainTexts) -> Result<Self, Inconsistent> {
        let last = ends.last().map(|end| *end as usize);
        let holds_together = ends.first() == Some(&0)
            && ends.is_sorted()
            && last == Some(bytes.len())
            && ends.iter().all(|end| bytes.is_char_boundary(*end as usize));
        if holds_together { Ok(Texts { bytes, ends }) } else { Err(Inconsistent::BrokenTexts) }
    }
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

    /// Adds `text`.
    ///
    /// # Errors
    /// The arena is full: it holds at most 4 GiB. Nothing is added.
    pub fn add(&mut self, text: &str) -> Result<Text, TooMany> {
        const FULL: TooMany = TooMany("bytes of text");
        if text.is_empty() {
            return Ok(Text::EMPTY);
        }
        let end = self.bytes.len().saturating_add(text.len());
        let end = u32::try_from(end).map_err(|_| FULL)?;
        let index = u32::try_from(self.ends.len()).map_err(|_| FULL)?;
        self.bytes.push_str(text);
        self.ends.push(end);
        Ok(Text(index))
    }

    /// The text that [`Texts::add`] returned `text` for.
    ///
    /// # Panics
    /// This arena has no such text, which only a mistake in this program can bring about: why it
    /// panics then stands at the top of this file.
    #[must_use]
    #[track_caller]
    pub fn get(&self, text: Text) -> &str {
        match self.look_up(text) {
            Some(text) => text,
            None => broken(&Inconsistent::NoSuchText(text)),
        }
    }

    /// The same for a `text` that comes from outside: read, or of another's tables.
    ///
    /// # Errors
    /// This arena has no such text.
    pub fn find(&self, text: Text) -> Result<&str, Inconsistent> {
        self.look_up(text).ok_or(Inconsistent::NoSuchText(text))
    }

    fn look_up(&self, text: Text) -> Option<&str> {
        let index = text.0 as usize;
        let end = *self.ends.get(index)? as usize;
        // The first is the empty one: it begins where it ends.
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before));
        self.bytes.get(start.map_or(0, |start| *start as usize)..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_was_added_and_the_empty_one_is_the_same_everywhere() {
        let mut texts = Texts::default();
        let (ann, none, e) = (texts.add("ann"), texts.add(""), texts.add("é"));
        assert_eq!((texts.get(ann.unwrap()), texts.get(e.unwrap())), ("ann", "é"));
        assert_eq!(none, Ok(Text::EMPTY));
        assert_eq!((texts.get(Text::EMPTY), Texts::default().get(Text::EMPTY)), ("", ""));
    }

    #[test]
    #[should_panic(expected = "text number 2 is spoken of, and there is no such text")]
    fn a_text_that_an_arena_has_not_never_passes_for_an_empty_one() {
        let mut other = Texts::default();
        other.add("ann").unwrap();
        let ben = other.add("ben").unwrap();
        let mut texts = Texts::default();
        texts.add("ann").unwrap();
        let _ = texts.get(ben);
    }

    #[test]
    fn a_text_from_outside_is_refused_where_the_arena_has_it_not() {
        let texts = Texts::default();
        assert_eq!(texts.find(Text::EMPTY), Ok(""));
        assert_eq!(texts.find(Text(1)), Err(Inconsistent::NoSuchText(Text(1))));
    }

    #[test]
    fn an_arena_is_read_back_as_it_was_or_not_at_all() {
        let mut texts = Texts::default();
        let ann = texts.add("ann").unwrap();
        let e = texts.add("é").unwrap();
        let written = serde_json::to_string(&texts).unwrap();
        assert_eq!(written, r#"{"bytes":"anné","ends":[0,3,5]}"#);
        let read: Texts = serde_json::from_str(&written).unwrap();
        assert_eq!((read.get(ann), read.get(e)), ("ann", "é"));
        for ends in ["[]", "[1,3,5]", "[0,3]", "[0,3,6]", "[0,5,3,5]", "[0,4,5]"] {
            let broken = written.replace("[0,3,5]", ends);
            let told = serde_json::from_str::<Texts>(&broken).unwrap_err().to_string();
            assert!(told.starts_with("texts do not hold together"), "{ends}: {told}");
        }
    }
}

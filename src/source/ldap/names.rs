//! Distinct texts as small integers, with room for millions.

use std::hash::BuildHasher;
use std::marker::PhantomData;
use std::num::NonZeroU32;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::index::Place;

/// Each distinct text once, numbered from 0 in the order of arrival. Holds up to 4 GiB of text;
/// past that every new text is taken for the empty one, which no read reaches before memory runs
/// out for other reasons.
///
/// A million memberships are a million look-ups at random places of memory, so what a look-up
/// needs stands together in its slot: only the text itself is elsewhere.
#[derive(Default)]
pub struct Names {
    bytes: String,
    spans: Vec<(u32, u32)>,
    table: HashTable<Slot>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    start: u32,
    end: u32,
    id: u32,
}

impl Names {
    /// The number of `text`, new where it was not there.
    pub fn id(&mut self, text: &str) -> u32 {
        let Names { bytes, spans, table, hasher } = self;
        let hash = hasher.hash_one(text);
        let same = |slot: &Slot| {
            slot.hash == hash && bytes.get(slot.start as usize..slot.end as usize) == Some(text)
        };
        if let Some(slot) = table.find(hash, same) {
            return slot.id;
        }
        let id = u32::try_from(spans.len()).unwrap_or(u32::MAX);
        let start = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let end = u32::try_from(bytes.len().saturating_add(text.len())).unwrap_or(start);
        if end > start {
            bytes.push_str(text);
        }
        spans.push((start, end));
        table.insert_unique(hash, Slot { hash, start, end, id }, |slot| slot.hash);
        id
    }

    /// The numbers of `texts`, as [`Names::id`] gives them, in their order.
    ///
    /// In three sweeps rather than one by one: each sweep's accesses do not wait for one another,
    /// so the processor fetches many at a time. That halves the cost of a large group.
    pub fn ids<T: AsRef<str>>(&mut self, texts: &[T]) -> Vec<u32> {
        let hashes: Vec<u64> =
            texts.iter().map(|text| self.hasher.hash_one(text.as_ref())).collect();
        let found: Vec<Option<Slot>> = hashes
            .iter()
            .map(|hash| self.table.find(*hash, |slot| slot.hash == *hash).copied())
            .collect();
        let known = |text: &str, slot: &Slot| {
            self.bytes.get(slot.start as usize..slot.end as usize) == Some(text)
        };
        let ids: Vec<Option<u32>> = texts
            .iter()
            .zip(found)
            .map(|(text, slot)| slot.filter(|slot| known(text.as_ref(), slot)).map(|slot| slot.id))
            .collect();
        // New ones, and the one in 2^64 whose hash is another's.
        let each = texts.iter().zip(ids);
        each.map(|(text, id)| id.unwrap_or_else(|| self.id(text.as_ref()))).collect()
    }

    /// The text with this number; empty for none.
    #[must_use]
    pub fn text(&self, id: u32) -> &str {
        let (start, end) = self.spans.get(id as usize).copied().unwrap_or_default();
        self.bytes.get(start as usize..end as usize).unwrap_or("")
    }
}

/// A place for each name, `None` until set. Takes half of what `Option`s of places would.
pub struct Places<I> {
    /// Each place and one more.
    next: Vec<Option<NonZeroU32>>,
    of: PhantomData<I>,
}

impl<I> Default for Places<I> {
    fn default() -> Self {
        Places { next: Vec::new(), of: PhantomData }
    }
}

impl<I: Place> Places<I> {
    /// The place of `id`.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<I> {
        let next = self.next.get(id as usize).copied().flatten()?;
        I::from_place((next.get() - 1) as usize)
    }

    /// Sets the place of `id`. What is nowhere has none.
    pub fn set(&mut self, id: u32, place: I) {
        let index = id as usize;
        if self.next.len() <= index {
            self.next.resize(index.saturating_add(1), None);
        }
        if let Some(slot) = self.next.get_mut(index) {
            let next = place.place().checked_add(1).and_then(|next| u32::try_from(next).ok());
            *slot = next.and_then(NonZeroU32::new);
        }
    }

    /// Forgets every value.
    pub fn clear(&mut self) {
        self.next.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirUserIdx;

    #[test]
    fn each_text_has_one_number_and_each_number_its_text() {
        let mut names = Names::default();
        let texts: Vec<String> = (0..1000).map(|i| format!("{}", i % 300)).collect();
        let ids: Vec<u32> = texts.iter().map(|text| names.id(text)).collect();
        assert_eq!(names.id(""), 300);
        assert_eq!(names.text(300), "");
        assert_eq!(names.text(301), "");
        let more: Vec<String> = (250..350).map(|i| i.to_string()).collect();
        let again = names.ids(&more);
        assert_eq!(again, more.iter().map(|text| names.id(text)).collect::<Vec<_>>());
        for (text, id) in texts.iter().zip(ids) {
            assert_eq!(names.text(id), text);
            assert_eq!(id.to_string(), *text);
        }
    }

    #[test]
    fn a_place_is_none_until_it_is_set() {
        let mut places = Places::default();
        assert_eq!(places.get(3), None);
        let at = DirUserIdx::new;
        places.set(3, at(0));
        places.set(1, at(7));
        assert_eq!((places.get(3), places.get(1), places.get(0)), (Some(at(0)), Some(at(7)), None));
        places.clear();
        assert_eq!(places.get(3), None);
    }
}

//! Distinct texts as small integers, with room for millions.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::{Text, Texts};

/// Each distinct text once, numbered from 0 in the order of arrival.
#[derive(Default)]
pub struct Names {
    texts: Texts,
    handles: Vec<Text>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Names {
    /// The number of `text`, new where it was not there.
    pub fn id(&mut self, text: &str) -> u32 {
        let Names { texts, handles, table, hasher } = self;
        let hash = hasher.hash_one(text);
        let of = |id: u32| texts.get(handles.get(id as usize).copied().unwrap_or(Text::EMPTY));
        if let Some(id) = table.find(hash, |id| of(*id) == text) {
            return *id;
        }
        let id = u32::try_from(handles.len()).unwrap_or(u32::MAX);
        handles.push(texts.add(text));
        let of = |id: u32| texts.get(handles.get(id as usize).copied().unwrap_or(Text::EMPTY));
        table.insert_unique(hash, id, |id| hasher.hash_one(of(*id)));
        id
    }

    /// The text with this number; empty for none.
    #[must_use]
    pub fn text(&self, id: u32) -> &str {
        self.texts.get(self.handles.get(id as usize).copied().unwrap_or(Text::EMPTY))
    }
}

/// A value for each name, `None` until set.
#[derive(Default)]
pub struct Places(Vec<Option<std::num::NonZeroU32>>);

impl Places {
    /// The value of `id`.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<u32> {
        self.0.get(id as usize).copied().flatten().map(|place| place.get() - 1)
    }

    /// Sets the value of `id`. The largest `u32` cannot be held and reads as none.
    pub fn set(&mut self, id: u32, place: u32) {
        let index = id as usize;
        if self.0.len() <= index {
            self.0.resize(index.saturating_add(1), None);
        }
        if let Some(slot) = self.0.get_mut(index) {
            *slot = place.checked_add(1).and_then(std::num::NonZeroU32::new);
        }
    }

    /// Forgets every value.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

//! Usernames and what each stands for, small.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use crate::model::{Text, Texts, TooMany};

/// What a username stands for, in four bytes: two of the bits tell what the rest is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PackedStands(u32);

/// A [`PackedStands`] in the open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stands {
    /// Someone whose role set counts: its place.
    Enabled(u32),
    /// Someone whose does not: the place of the reason.
    Disabled(u32),
    /// Nobody any more.
    Nobody,
}

/// `place` as a [`PackedStands`] can hold it.
///
/// # Errors
/// It is 2^30 or above, which is more of `what` than memory holds.
pub(super) fn place_in_stands(place: usize, what: &'static str) -> Result<u32, TooMany> {
    u32::try_from(place).ok().filter(|place| place & KIND == 0).ok_or(TooMany(what))
}

const KIND: u32 = 0xc000_0000;
const DISABLED: u32 = 0x4000_0000;
const NOBODY: u32 = 0x8000_0000;

impl PackedStands {
    /// Of a meaning whose place is one of [`place_in_stands`]: a greater one would be nobody.
    pub(super) fn of(stands: Stands) -> PackedStands {
        PackedStands(match stands {
            Stands::Enabled(place) if place & KIND == 0 => place,
            Stands::Disabled(place) if place & KIND == 0 => place | DISABLED,
            Stands::Enabled(_) | Stands::Disabled(_) | Stands::Nobody => NOBODY,
        })
    }

    pub(super) fn stands(self) -> Stands {
        match self.0 & KIND {
            0 => Stands::Enabled(self.0),
            DISABLED => Stands::Disabled(self.0 & !KIND),
            _ => Stands::Nobody,
        }
    }
}

/// A map from usernames to [`PackedStands`]s: the names end to end in one text, and a table of places.
#[derive(Clone, Debug, Default)]
pub(super) struct People {
    names: Texts,
    table: HashTable<(Text, PackedStands)>,
    hasher: DefaultHashBuilder,
}

impl People {
    /// An empty map with room for so many.
    pub(super) fn with_capacity(count: usize) -> People {
        People {
            names: Texts::with_capacity(count, 16),
            table: HashTable::with_capacity(count),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Every name's place, and what it stands for, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Text, PackedStands)> {
        self.table.iter().copied()
    }

    /// What `name` stands for; `None`: it is not in this map.
    pub(super) fn get(&self, name: &str) -> Option<PackedStands> {
        if self.table.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |(text, _)| self.names.get(*text) == name).map(|(_, packed)| *packed)
    }

    /// The place of `name`; `None`: it is not in this map.
    pub(super) fn place(&self, name: &str) -> Option<Text> {
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |(text, _)| self.names.get(*text) == name).map(|(text, _)| *text)
    }

    /// A name that [`People::put`] has placed.
    pub(super) fn name(&self, place: Text) -> &str {
        self.names.get(place)
    }

    /// Says what `name` stands for: what `word` makes of what it stood for so far. Returns the
    /// name's place.
    ///
    /// # Errors
    /// There is no room left for a new name.
    pub(super) fn put(
        &mut self,
        name: &str,
        packed: impl FnOnce(Option<PackedStands>) -> PackedStands,
    ) -> Result<Text, TooMany> {
        let People { names, table, hasher } = self;
        let hash = hasher.hash_one(name);
        if let Some((place, old)) = table.find_mut(hash, |(text, _)| names.get(*text) == name) {
            *old = packed(Some(*old));
            return Ok(*place);
        }
        let entry = (names.add(name)?, packed(None));
        table.insert_unique(hash, entry, |(text, _)| hasher.hash_one(names.get(*text)));
        Ok(entry.0)
    }
}

//! A source's ids and whose each is, small.

use std::borrow::Cow;
use std::cmp::Ordering;

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher, Hash};

use super::people::PackedStands;
use crate::model::Text;

/// An id as it is kept: nearly all are UUIDs, whose text takes more than twice their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Id<'a> {
    /// What is written as 8-4-4-4-12 lower-case hex digits, and as nothing else.
    Uuid([u8; 16]),
    Text(&'a [u8]),
}

impl<'a> Id<'a> {
    fn of(text: &'a str) -> Id<'a> {
        uuid(text.as_bytes()).map_or(Id::Text(text.as_bytes()), Id::Uuid)
    }
}

/// The bytes of a UUID in the form in which Keycloak and directories write one; `None`: it is
/// something else, such as one with capitals, which is another id.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0u8; 16];
    let mut at = 0usize;
    for slot in &mut bytes {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *text.get(at)? != b'-' {
                return None;
            }
            at = at.saturating_add(1);
        }
        let (high, low) = (digit(*text.get(at)?)?, digit(*text.get(at.saturating_add(1))?)?);
        *slot = (high << 4) | low;
        at = at.saturating_add(2);
    }
    Some(bytes)
}

/// The text of a UUID that [`uuid`] read.
fn written(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for half in [byte >> 4, byte & 0x0f] {
            text.extend(char::from_digit(u32::from(half), 16));
        }
    }
    text
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    }
}

/// Whose an id is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    /// What the person is called, in the [`super::people::People`] of the same age.
    pub name: Text,
    /// What the person stands for.
    pub packed: PackedStands,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where the id begins in the bytes.
    at: u32,
    owner: Owner,
}

/// A map from one source's ids to [`Owner`]s: the ids end to end, and a table of places.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    bytes: Vec<u8>,
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
}

/// Before an id's bytes: a UUID's sixteen follow, or a length of four bytes and so many.
const UUID: u8 = 0;
const TEXT: u8 = 1;

impl Ids {
    /// An empty map with room for so many.
    pub(super) fn with_capacity(count: usize) -> Ids {
        Ids {
            bytes: Vec::with_capacity(count.saturating_mul(17)),
            table: HashTable::with_capacity(count),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Where every id is, and whose it is, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Owner)> {
        self.table.iter().map(|entry| (entry.at, entry.owner))
    }

    /// The id that is at a place of [`Ids::iter`].
    pub(super) fn text(&self, at: u32) -> Option<Cow<'_, str>> {
        match read(&self.bytes, at)? {
            Id::Uuid(bytes) => Some(Cow::Owned(written(&bytes))),
            Id::Text(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        }
    }

    /// The order of the ids at two places: that of their texts.
    pub(super) fn compare(&self, one: u32, other: u32) -> Ordering {
        match (read(&self.bytes, one), read(&self.bytes, other)) {
            // Of two UUIDs the digits decide, and those are in the order of the bytes.
            (Some(Id::Uuid(one)), Some(Id::Uuid(other))) => one.cmp(&other),
            _ => self.text(one).cmp(&self.text(other)),
        }
    }

    pub(super) fn get(&self, ext: &str) -> Option<Owner> {
        if self.table.is_empty() {
            return None;
        }
        let id = Id::of(ext);
        let hash = hash(&self.hasher, id);
        let entry = self.table.find(hash, |entry| read(&self.bytes, entry.at) == Some(id))?;
        Some(entry.owner)
    }

    /// Says whose `ext` is: what `owner` makes of whose it was so far.
    pub(super) fn put(&mut self, ext: &str, owner: impl FnOnce(Option<Owner>) -> Owner) {
        let id = Id::of(ext);
        let Ids { bytes, table, hasher } = self;
        let hashed = hash(hasher, id);
        if let Some(entry) = table.find_mut(hashed, |entry| read(bytes, entry.at) == Some(id)) {
            entry.owner = owner(Some(entry.owner));
            return;
        }
        // More than 4 GiB of ids, which memory cannot hold beside all else: nobody's.
        let Ok(at) = u32::try_from(bytes.len()) else { return };
        match id {
            Id::Uuid(uuid) => {
                bytes.push(UUID);
                bytes.extend_from_slice(&uuid);
            }
            Id::Text(text) => {
                let Ok(length) = u32::try_from(text.len()) else { return };
                bytes.push(TEXT);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(text);
            }
        }
        let entry = Entry { at, owner: owner(None) };
        table.insert_unique(hashed, entry, |entry| {
            read(bytes, entry.at).map_or(0, |id| hash(hasher, id))
        });
    }
}

fn hash(hasher: &DefaultHashBuilder, id: impl Hash) -> u64 {
    hasher.hash_one(id)
}

fn read(bytes: &[u8], at: u32) -> Option<Id<'_>> {
    let (kind, rest) = bytes.get(at as usize..)?.split_first()?;
    if *kind == UUID {
        return rest.first_chunk().map(|uuid| Id::Uuid(*uuid));
    }
    let (length, rest) = rest.split_first_chunk()?;
    rest.get(..u32::from_le_bytes(*length) as usize).map(Id::Text)
}

#[cfg(test)]
mod tests {
    use super::super::people::Stands;
    use super::*;

    #[test]
    fn every_id_is_its_own_however_much_it_looks_like_another() {
        let ids = [
            "123e4567-e89b-12d3-a456-426614174000",
            "123E4567-e89b-12d3-a456-426614174000",
            "123e4567e89b-12d3-a456-4266141740000",
            "123e4567-e89b-12d3-a456-42661417400g",
            "123e4567-e89b-12d3-a456-426614174001",
            "123e4567-e89b-12d3-a456+426614174000",
            "f:123e4567-e89b-12d3-a456-426614174000:ann",
            "ann",
            "",
            "\u{12}>Eg\u{e8}",
        ];
        let mut map = Ids::with_capacity(2);
        let owner =
            |place| Owner { name: Text::EMPTY, packed: PackedStands::of(Stands::Enabled(place)) };
        for (place, id) in (0..).zip(ids) {
            assert_eq!(map.get(id), None, "{id}");
            map.put(id, |old| {
                assert_eq!(old, None);
                owner(place)
            });
        }
        for (place, id) in (0..).zip(ids) {
            assert_eq!(map.get(id), Some(owner(place)), "{id}");
        }
        let mut texts: Vec<String> =
            map.iter().map(|(at, _)| map.text(at).unwrap().into_owned()).collect();
        texts.sort_unstable();
        let mut places: Vec<u32> = map.iter().map(|(at, _)| at).collect();
        places.sort_unstable_by(|a, b| map.compare(*a, *b));
        let sorted = places.iter().map(|at| map.text(*at).unwrap().into_owned());
        assert_eq!(sorted.collect::<Vec<_>>(), texts);
        assert!(texts.iter().all(|id| ids.contains(&id.as_str())), "{texts:?}");
        map.put(ids[7], |old| {
            assert_eq!(old, Some(owner(7)));
            owner(70)
        });
        assert_eq!(map.get("ann"), Some(owner(70)));
        assert_eq!(map.get("anna"), None);
    }
}

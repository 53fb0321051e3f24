//! Which entry has which name.
//!
//! A server tells a deleted entry by its id and a member by its name. What lies between is held here,
//! for all entries below the bases of users and groups: about 200 bytes each.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::wire::Id;
use crate::directory::dn;

/// What is known of an entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Slot {
    /// Its DN in normal form.
    pub dn: Box<str>,
    /// The external id, where that is not the id that the protocol tells.
    pub ext: Option<Box<str>>,
    /// The names that a `memberUid` can have it by, folded, sorted, a line each. Only where some group
    /// has such a list.
    pub uids: Box<str>,
    /// Its `gidNumber`, where primary groups count.
    pub gid: Option<i64>,
}

/// The entries by id and by name.
#[derive(Default)]
pub(super) struct Index {
    by_id: HashMap<Id, Slot>,
    by_dn: HashTable<Id>,
    hasher: DefaultHashBuilder,
    /// How many entries are right below a name.
    below: HashMap<Box<str>, usize>,
    /// So many have another external id than the protocol tells.
    others: usize,
    /// What entries were, and whether their names led to them, since [`Index::begin`].
    undo: Option<Vec<(Id, Was)>>,
}

/// What an entry was, and whether its name led to it; nothing: it was not there.
type Was = Option<(Slot, bool)>;

/// The name of what is right above.
fn above(norm: &str) -> Option<&str> {
    norm.get(dn::first_rdn(norm).len().saturating_add(1)..)
}

impl Index {
    /// What is known of `id`.
    pub fn get(&self, id: Id) -> Option<&Slot> {
        self.by_id.get(&id)
    }

    /// Whose name `norm` is.
    pub fn at(&self, norm: &str) -> Option<Id> {
        let hash = self.hasher.hash_one(norm);
        let same = |id: &Id| self.by_id.get(id).is_some_and(|slot| &*slot.dn == norm);
        self.by_dn.find(hash, same).copied()
    }

    /// Notes an entry, and returns what was known of it before. Who had the name before has none.
    pub fn put(&mut self, id: Id, slot: Slot) -> Option<Slot> {
        if let Some(other) = self.at(&slot.dn).filter(|other| *other != id) {
            self.note(other);
            self.unname(other);
        }
        self.note(id);
        let before = self.take(id);
        self.insert(id, slot, true);
        before
    }

    fn insert(&mut self, id: Id, slot: Slot, named: bool) {
        let hash = self.hasher.hash_one(&*slot.dn);
        self.others = self.others.saturating_add(usize::from(slot.ext.is_some()));
        if let Some(above) = above(&slot.dn) {
            *self.below.entry_ref(above).or_default() += 1;
        }
        self.by_id.insert(id, slot);
        if named {
            let Index { by_id, by_dn, hasher, .. } = self;
            let rehash = |id: &Id| hasher.hash_one(by_id.get(id).map_or("", |slot| &*slot.dn));
            by_dn.insert_unique(hash, id, rehash);
        }
    }

    /// From now on what is noted and forgotten can be undone.
    pub fn begin(&mut self) {
        self.undo = Some(Vec::new());
    }

    /// What was noted and forgotten since [`Index::begin`] stands.
    pub fn keep(&mut self) {
        self.undo = None;
    }

    /// Undoes what was noted and forgotten since [`Index::begin`], if that does not stand.
    pub fn go_back(&mut self) {
        for (id, before) in self.undo.take().unwrap_or_default().into_iter().rev() {
            self.take(id);
            if let Some((slot, named)) = before {
                self.insert(id, slot, named);
            }
        }
    }

    /// Notes what an entry is, in case that is to be undone.
    fn note(&mut self, id: Id) {
        if self.undo.is_none() {
            return;
        }
        let is = self.by_id.get(&id).map(|slot| (slot.clone(), self.at(&slot.dn) == Some(id)));
        self.undo.get_or_insert_default().push((id, is));
    }

    fn unname(&mut self, id: Id) {
        let Some(slot) = self.by_id.get(&id) else { return };
        let hash = self.hasher.hash_one(&*slot.dn);
        if let Ok(entry) = self.by_dn.find_entry(hash, |known| *known == id) {
            entry.remove();
        }
    }

    /// Forgets an entry, and returns what was known of it.
    pub fn remove(&mut self, id: Id) -> Option<Slot> {
        self.note(id);
        self.take(id)
    }

    fn take(&mut self, id: Id) -> Option<Slot> {
        self.unname(id);
        let before = self.by_id.remove(&id)?;
        self.others = self.others.saturating_sub(usize::from(before.ext.is_some()));
        if let Some(above) = above(&before.dn)
            && let Some(count) = self.below.get_mut(above)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.below.remove(above);
            }
        }
        Some(before)
    }

    /// Whether some other entry is below `norm`.
    pub fn has_below(&self, norm: &str) -> bool {
        self.below.contains_key(norm)
    }

    /// The external ids that are not what the protocol tells.
    pub fn other_ids(&self) -> HashSet<&str> {
        match self.others {
            0 => HashSet::new(),
            _ => self.by_id.values().filter_map(|slot| slot.ext.as_deref()).collect(),
        }
    }

    /// Who of these external ids is here.
    pub fn of(&self, exts: &BTreeSet<String>) -> BTreeMap<String, Id> {
        let own = |(id, slot): (&Id, &Slot)| {
            let ext = slot.ext.as_deref().filter(|ext| exts.contains(*ext))?;
            Some((ext.to_owned(), *id))
        };
        let told = |ext: &String| {
            let id = Id::parse(ext)?;
            self.get(id).filter(|slot| slot.ext.is_none()).map(|_| (ext.clone(), id))
        };
        let mut here: BTreeMap<String, Id> = exts.iter().filter_map(told).collect();
        if self.has_other_ids() {
            here.extend(self.by_id.iter().filter_map(own));
        }
        here
    }

    /// Whether some entry has this external id, which is not what the protocol tells.
    pub fn has_other_id(&self, ext: &str) -> bool {
        self.has_other_ids() && self.by_id.values().any(|slot| slot.ext.as_deref() == Some(ext))
    }

    /// Whether some external id is not what the protocol tells.
    pub fn has_other_ids(&self) -> bool {
        self.others > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Id {
        Id::parse(&format!("{n:02x}").repeat(16)).unwrap()
    }

    fn slot(dn: &str) -> Slot {
        Slot { dn: dn.into(), ext: None, uids: "".into(), gid: None }
    }

    #[test]
    fn a_name_leads_to_whoever_has_it_now() {
        let mut index = Index::default();
        for n in 0..200 {
            index.put(id(n), slot(&format!("uid=u{n},ou=people")));
        }
        assert_eq!(index.at("uid=u7,ou=people"), Some(id(7)));
        // Two change names, one message at a time.
        index.put(id(7), slot("uid=u8,ou=people"));
        assert_eq!(index.at("uid=u8,ou=people"), Some(id(7)));
        assert_eq!(index.at("uid=u7,ou=people"), None);
        let before = index.put(id(8), slot("uid=u7,ou=people")).unwrap();
        assert_eq!(&*before.dn, "uid=u8,ou=people");
        assert_eq!(index.at("uid=u7,ou=people"), Some(id(8)));
        assert_eq!(index.at("uid=u8,ou=people"), Some(id(7)), "the other's name stays its own");
        // Deleted and made again under one name, whichever is told first.
        index.put(id(201), slot("uid=u9,ou=people"));
        index.remove(id(9));
        assert_eq!(index.at("uid=u9,ou=people"), Some(id(201)));
        assert!(index.has_below("ou=people") && !index.has_below("uid=u7,ou=people"));
    }

    /// All that can be asked of it.
    fn said(index: &Index) -> Vec<(String, Option<Slot>, Option<Id>, bool)> {
        let names: Vec<String> = (0..6).map(|n| format!("uid=u{n},ou=o{}", n % 2)).collect();
        let slots = (0..8).map(|n| (n.to_string(), index.get(id(n)).cloned(), None, false));
        let below = ["ou=o0", "ou=o1"].map(|it| (it.to_owned(), None, None, index.has_below(it)));
        let at = names.iter().map(|name| (name.clone(), None, index.at(name), false));
        let ext = ("ext".to_owned(), None, None, index.has_other_id("e"));
        slots.chain(at).chain(below).chain([ext]).collect()
    }

    #[test]
    fn what_is_undone_never_was() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut index = Index::default();
            let mut some = |index: &mut Index| {
                for _ in 0..random.usize(0..20) {
                    let (n, name) = (random.u8(0..8), random.u8(0..6));
                    if random.u8(0..4) == 0 {
                        index.remove(id(n));
                    } else {
                        let ext = random.bool().then(|| "e".into());
                        let dn = format!("uid=u{name},ou=o{}", name % 2);
                        index.put(id(n), Slot { ext, ..slot(&dn) });
                    }
                }
            };
            some(&mut index);
            index.begin();
            some(&mut index);
            index.keep();
            let before = said(&index);
            // Nothing was begun, or it stands.
            index.go_back();
            assert_eq!(said(&index), before, "{seed}");
            index.begin();
            some(&mut index);
            index.go_back();
            assert_eq!(said(&index), before, "{seed}");
        }
    }
}

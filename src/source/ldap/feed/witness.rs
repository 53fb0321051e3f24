//! What a server told last, to see that it still stands.
//!
//! 389-DS can be restored from an LDIF of its people and groups alone. Its log of changes stays as it was,
//! so the cookie is taken, nothing is told, and nothing says that the entries are older than what was told.
//! But what was told last is in no backup from before it: who was gone is there again, and what was changed
//! has an older date or is not there. That is looked for whenever the search for changes is begun anew. As long as
//! nothing was told it is the entries that had changed last when following began.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::wire::Id;
use crate::source::ldap::entry::Entry;

/// So many are remembered.
const MOST: usize = 4;

/// The attribute with the time of an entry's last change, by its one name.
pub(super) const CHANGED: &str = "modifytimestamp";

/// What was told of an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Witness {
    /// Its id.
    id: String,
    /// When it was changed last, as it said itself; absent: it was gone.
    at: Option<String>,
}

impl Witness {
    /// Its id.
    pub fn id(&self) -> Option<Id> {
        Id::parse(&self.id)
    }

    /// Whether `found`, which is what there is of it now, can be what became of it without a word.
    pub fn still_stands(&self, found: Option<&Entry>) -> bool {
        match (&self.at, found) {
            (None, found) => found.is_none(),
            (Some(_), None) => false,
            // Hidden cannot be told from absent.
            (Some(at), Some(found)) => changed(found).is_none_or(|now| now >= *at),
        }
    }
}

/// When an entry was changed last. Servers write it in one form, which is in order as text is.
fn changed(entry: &Entry) -> Option<String> {
    entry.text(CHANGED).map(|at| at.trim().to_owned())
}

/// What was told last, of each entry once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Witnesses(pub VecDeque<Witness>);

impl Witnesses {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Witness> {
        self.0.iter()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This entry was told to be gone.
    pub fn gone(&mut self, id: Id) {
        self.put(id, None);
    }

    /// This entry was told, and read again.
    pub fn read(&mut self, id: Id, entry: &Entry) {
        match changed(entry) {
            Some(at) => self.put(id, Some(at)),
            // What was known of it before it changed proves nothing any more.
            None => self.0.retain(|known| known.id() != Some(id)),
        }
    }

    /// This entry is there when following begins: of all those the ones that changed last are remembered.
    pub fn there(&mut self, id: Id, entry: &Entry) {
        let Some(at) = changed(entry) else { return };
        let place = self.0.partition_point(|known| known.at.as_ref().is_some_and(|it| *it <= at));
        if place > 0 || self.0.len() < MOST {
            self.0.insert(place, Witness { id: id.text(true), at: Some(at) });
        }
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    fn put(&mut self, id: Id, at: Option<String>) {
        self.0.retain(|known| known.id() != Some(id));
        self.0.push_back(Witness { id: id.text(true), at });
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: Option<&str>) -> Entry {
        let mut entry = Entry::new("uid=a,dc=x".to_owned());
        at.into_iter().for_each(|at| entry.add(CHANGED, [at.as_bytes().to_vec()]));
        entry
    }

    #[test]
    fn what_was_told_stands_unless_it_is_undone() {
        const BEFORE: &str = "20261127110000Z";
        const THEN: &str = "20261127120000Z";
        const LATER: &str = "20261127120001Z";
        let id = |n: u8| Id::parse(&format!("{n:02x}").repeat(16)).unwrap();
        let mut seen = Witnesses::default();
        seen.gone(id(1));
        seen.read(id(2), &entry(Some(THEN)));
        let [gone, changed] = [0, 1].map(|n| seen.0[n].clone());
        assert!(gone.still_stands(None) && !gone.still_stands(Some(&entry(Some(BEFORE)))));
        assert!(!changed.still_stands(None) && !changed.still_stands(Some(&entry(Some(BEFORE)))));
        for at in [Some(THEN), Some(LATER), None] {
            assert!(changed.still_stands(Some(&entry(at))), "{at:?}");
        }
        // Of those who are there at the beginning the ones that changed last, in that order.
        let mut first = Witnesses::default();
        for (n, at) in [(1, LATER), (2, BEFORE), (3, THEN), (4, BEFORE), (5, THEN), (6, BEFORE)] {
            first.there(id(n), &entry(Some(at)));
        }
        first.there(id(7), &entry(None));
        let dates: Vec<&str> = first.all().filter_map(|it| it.at.as_deref()).collect();
        assert_eq!(dates, [BEFORE, THEN, THEN, LATER]);
        // Each once, the last few, and nothing of one that does not say when it changed.
        seen.read(id(1), &entry(Some(LATER)));
        assert_eq!(seen.all().map(|it| it.id().unwrap()).collect::<Vec<_>>(), [id(2), id(1)]);
        seen.read(id(2), &entry(None));
        (3..9).for_each(|n| seen.gone(id(n)));
        assert_eq!(seen.all().count(), MOST);
        assert!(seen.all().all(|it| it.id().unwrap() > id(4)));
    }
}

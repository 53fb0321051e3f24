//! What a delta makes of a mirror's rows.
//!
//! Nothing disappears but by one of three words: an id that was deleted, somebody who is no longer
//! in a list, a list given whole. A delta that does not fit is refused, for there is always a way
//! to be sure: to read the source in full.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::{DigestKey, MirrorDigest, Rows};
use super::rows::{MirrorRows, Patch, PersonRow, RefEntry, person_digest, ref_digest};
use super::{Cursor, Delta, Enabled, ListChange, PersonDelta, RefDelta, RefId, Rid};
use crate::model::TooMany;

/// Why a delta was refused: nothing is changed, the source must be read in full.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// With it there would be more than can be numbered.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// It does not begin where the mirror is.
    #[error("it begins at the cursor {from:?}, and the mirror is at {at:?}")]
    Cursor {
        /// Where it begins.
        from: Cursor,
        /// Where the mirror is.
        at: Option<Cursor>,
    },
    /// It says two things of one person.
    #[error("it names the person `{}` twice", .0.escape_debug())]
    PersonTwice(String),
    /// It says two things of one reference.
    #[error("it names the {} `{}` twice", .0.kind.as_str(), .0.key.escape_debug())]
    RefTwice(RefId),
    /// It says of one person that they are in something and that they are not.
    #[error(
        "it says that the person `{}` is in the {} `{}`, and that they are not",
        person.escape_debug(), reference.kind.as_str(), reference.key.escape_debug()
    )]
    Contradiction {
        /// In what.
        reference: RefId,
        /// Who, by external id.
        person: String,
    },
    /// It puts somebody into something whom neither it nor the mirror knows.
    #[error("it names the person `{}`, whom nobody knows", .0.escape_debug())]
    UnknownPerson(String),
    /// It speaks of something that neither it nor the mirror knows.
    #[error("it names the {} `{}`, which nobody knows", .0.kind.as_str(), .0.key.escape_debug())]
    UnknownRef(RefId),
    /// It does not say enough of somebody new.
    #[error("it does not say all that must be known of the new person `{}`", .0.escape_debug())]
    IncompletePerson(String),
    /// It does not say enough of something new.
    #[error(
        "it does not say all that must be known of the new {} `{}`",
        .0.kind.as_str(), .0.key.escape_debug()
    )]
    IncompleteRef(RefId),
}

impl MirrorRows {
    /// What `delta` makes of these rows, which must be all that it touches. `key` is the one that
    /// the mirror's digest was made with.
    ///
    /// # Errors
    /// The delta does not fit this mirror, or contradicts itself.
    pub fn apply(&self, delta: &Delta, key: &DigestKey) -> Result<Patch, Refusal> {
        let cursor = match (&delta.step, &self.head.cursor) {
            (None, at) => at.clone(),
            (Some(step), Some(at)) if step.from == *at => Some(step.to.clone()),
            (Some(step), at) => {
                return Err(Refusal::Cursor { from: step.from.clone(), at: at.clone() });
            }
        };
        named_once(delta)?;
        let mut draft = Draft {
            rows: self,
            people: BTreeMap::new(),
            refs: BTreeMap::new(),
            said: BTreeMap::new(),
            left_out: BTreeSet::new(),
        };
        draft.delete(delta)?;
        delta.refs.iter().try_for_each(|reference| draft.facts_of_ref(reference))?;
        delta.refs.iter().try_for_each(|reference| draft.leads_to(reference))?;
        for person in &delta.people {
            draft.facts_of_person(person, delta.step.is_some())?;
        }
        delta.refs.iter().try_for_each(|reference| draft.members(reference))?;
        delta.people.iter().try_for_each(|person| draft.within(person))?;
        Ok(draft.patch(cursor, delta.step.is_none(), key))
    }
}

fn named_once(delta: &Delta) -> Result<(), Refusal> {
    let mut people = BTreeSet::new();
    let mut named = delta.people.iter().map(|person| &person.ext).chain(&delta.gone_people);
    if let Some(twice) = named.find(|ext| !people.insert(*ext)) {
        return Err(Refusal::PersonTwice(twice.clone()));
    }
    let mut refs = BTreeSet::new();
    let mut named = delta.refs.iter().map(|reference| &reference.id).chain(&delta.gone_refs);
    match named.find(|id| !refs.insert(*id)) {
        Some(twice) => Err(Refusal::RefTwice(twice.clone())),
        None => Ok(()),
    }
}

/// The rows as they will be.
struct Draft<'a> {
    rows: &'a MirrorRows,
    /// Those that may be different; `None`: gone.
    people: BTreeMap<&'a str, Option<PersonRow>>,
    refs: BTreeMap<&'a RefId, Option<RefEntry>>,
    /// Who was said to be directly in what, and who not to be.
    said: BTreeMap<(&'a RefId, &'a str), bool>,
    /// New people of whom nobody knows yet whether they are enabled.
    left_out: BTreeSet<&'a str>,
}

impl<'a> Draft<'a> {
    fn has_person(&self, ext: &str) -> bool {
        match self.people.get(ext) {
            Some(person) => person.is_some(),
            None => self.rows.people.contains_key(ext),
        }
    }

    fn has_ref(&self, id: &RefId) -> bool {
        match self.refs.get(id) {
            Some(reference) => reference.is_some(),
            None => self.rows.refs.contains_key(id),
        }
    }

    fn known_ref(&self, id: &RefId) -> Result<(), Refusal> {
        if self.has_ref(id) { Ok(()) } else { Err(Refusal::UnknownRef(id.clone())) }
    }

    /// The reference `id` to be changed, unless it is gone or was never there.
    fn ref_mut(&mut self, id: &'a RefId) -> Option<&mut RefEntry> {
        let rows = self.rows;
        self.refs.entry(id).or_insert_with(|| rows.refs.get(id).cloned()).as_mut()
    }

    /// Whether the mirror has `ext` directly in `id`.
    fn was_in(&self, id: &RefId, ext: &str) -> bool {
        self.rows.people.get(ext).is_some_and(|person| person.within.contains(id))
    }

    /// Everybody whom the mirror has directly in `id`, but for those who [stay](MirrorRows::staying).
    fn all_in(&self, id: &RefId) -> Vec<&'a str> {
        let people = self.rows.people.iter();
        let those = people.filter(|(_, person)| person.within.contains(id));
        those.map(|(ext, _)| ext.as_str()).collect()
    }

    fn say(&mut self, id: &'a RefId, ext: &'a str, in_it: bool) -> Result<(), Refusal> {
        match self.said.insert((id, ext), in_it) {
            Some(before) if before != in_it => {
                Err(Refusal::Contradiction { reference: id.clone(), person: ext.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Says that `ext` is in `id`, whom somebody must know.
    fn join(&mut self, id: &'a RefId, ext: &'a str) -> Result<(), Refusal> {
        if self.left_out.contains(ext) {
            return Ok(());
        }
        if self.has_person(ext) {
            return self.say(id, ext, true);
        }
        if self.rows.stays(id, ext) {
            return Ok(());
        }
        Err(Refusal::UnknownPerson(ext.to_owned()))
    }

    /// What was deleted: with it go who was in it, what led to it, and that it was right above
    /// something.
    fn delete(&mut self, delta: &'a Delta) -> Result<(), Refusal> {
        let rows = self.rows;
        for ext in &delta.gone_people {
            self.people.insert(ext, None);
            for id in rows.people.get(ext).into_iter().flat_map(|person| &person.within) {
                self.say(id, ext, false)?;
            }
        }
        for id in &delta.gone_refs {
            self.refs.insert(id, None);
            for ext in self.all_in(id) {
                self.say(id, ext, false)?;
            }
            let leads =
                |entry: &RefEntry| entry.implies.contains(id) || entry.parent.as_ref() == Some(id);
            for (from, _) in rows.refs.iter().filter(|(_, entry)| leads(entry)) {
                if let Some(entry) = self.ref_mut(from) {
                    entry.implies.remove(id);
                    entry.parent.take_if(|parent| parent == id);
                }
            }
        }
        Ok(())
    }

    fn facts_of_ref(&mut self, delta: &'a RefDelta) -> Result<(), Refusal> {
        let RefDelta { id, name, identity, norm, parent: _, members, implies, rid } = delta;
        if let Some(entry) = self.ref_mut(id) {
            let facts =
                [(&mut entry.name, name), (&mut entry.identity, identity), (&mut entry.norm, norm)];
            for (is, said) in facts {
                if let Some(said) = said {
                    is.clone_from(said);
                }
            }
            entry.rid = rid.or(entry.rid);
            entry.known |= matches!(members, ListChange::Whole(_));
            entry.implies_known |= matches!(implies, ListChange::Whole(_));
            return Ok(());
        }
        let (Some(name), Some(identity), Some(norm)) = (name, identity, norm) else {
            return Err(Refusal::IncompleteRef(id.clone()));
        };
        let entry = RefEntry {
            name: name.clone(),
            identity: identity.clone(),
            norm: norm.clone(),
            parent: None,
            known: matches!(members, ListChange::Whole(_)),
            implies_known: matches!(implies, ListChange::Whole(_)),
            implies: BTreeSet::new(),
            members: Default::default(),
            rid: *rid,
        };
        self.refs.insert(id, Some(entry));
        Ok(())
    }

    /// What a reference leads to. All that is new is there by now.
    fn leads_to(&mut self, delta: &'a RefDelta) -> Result<(), Refusal> {
        let coming: Vec<&RefId> = match &delta.implies {
            ListChange::Kept => Vec::new(),
            ListChange::Whole(list) => list.iter().collect(),
            ListChange::Changed { added, removed: _ } => added.iter().collect(),
        };
        for id in coming.into_iter().chain(delta.parent.iter().flatten()) {
            self.known_ref(id)?;
        }
        let Some(entry) = self.ref_mut(&delta.id) else { return Ok(()) };
        match &delta.implies {
            ListChange::Kept => {}
            ListChange::Whole(list) => entry.implies = list.iter().cloned().collect(),
            ListChange::Changed { added, removed } => {
                entry.implies.retain(|id| !removed.contains(id));
                entry.implies.extend(added.iter().cloned());
            }
        }
        if let Some(parent) = &delta.parent {
            if let Some(before) = &entry.parent
                && Some(before) != parent.as_ref()
            {
                entry.implies.remove(before);
            }
            entry.parent.clone_from(parent);
        }
        // Whoever is in a group is in the one above.
        entry.implies.extend(entry.parent.clone());
        entry.implies.remove(&delta.id);
        Ok(())
    }

    fn facts_of_person(&mut self, delta: &'a PersonDelta, of_feed: bool) -> Result<(), Refusal> {
        let PersonDelta {
            ext,
            username,
            email,
            email_verified,
            enabled,
            federation,
            linkable,
            rid,
            ..
        } = delta;
        let row = match self.rows.people.get(ext) {
            Some(entry) => {
                let mut row = entry.row.clone();
                row.enabled = match enabled {
                    // Neither enabled nor disabled: what was last known stands.
                    None | Some(Enabled::Unknown) => row.enabled,
                    Some(enabled) => *enabled,
                };
                if let Some(username) = username {
                    row.username.clone_from(username);
                }
                row
            }
            None => {
                let (Some(username), Some(enabled)) = (username, enabled) else {
                    return Err(Refusal::IncompletePerson(ext.clone()));
                };
                // Somebody never seen before stays out until the source can be believed. Who was
                // looked up alone was judged by whoever asked.
                if *enabled == Enabled::Unknown && of_feed {
                    self.left_out.insert(ext);
                    return Ok(());
                }
                PersonRow {
                    username: username.clone(),
                    email: String::new(),
                    email_verified: false,
                    enabled: *enabled,
                    federation: String::new(),
                    linkable: true,
                    rid: Rid::Unread,
                }
            }
        };
        let row = PersonRow {
            email: email.clone().unwrap_or(row.email),
            email_verified: email_verified.unwrap_or(row.email_verified),
            federation: federation.clone().unwrap_or(row.federation),
            linkable: linkable.unwrap_or(row.linkable),
            rid: rid.or(row.rid),
            ..row
        };
        self.people.insert(ext, Some(row));
        Ok(())
    }

    /// Who is in a reference, as it says itself.
    fn members(&mut self, delta: &'a RefDelta) -> Result<(), Refusal> {
        let id = &delta.id;
        match &delta.members {
            ListChange::Kept => {}
            ListChange::Whole(list) => {
                let stay: BTreeSet<&str> = list.iter().map(String::as_str).collect();
                for ext in stay.iter() {
                    self.join(id, ext)?;
                }
                for ext in self.all_in(id).into_iter().filter(|ext| !stay.contains(ext)) {
                    self.say(id, ext, false)?;
                }
            }
            ListChange::Changed { added, removed } => {
                added.iter().try_for_each(|ext| self.join(id, ext))?;
                removed.iter().try_for_each(|ext| self.say(id, ext, false))?;
            }
        }
        Ok(())
    }

    /// What a person is in, as said of the person.
    fn within(&mut self, delta: &'a PersonDelta) -> Result<(), Refusal> {
        let ext = &delta.ext;
        let coming: &[RefId] = match &delta.within {
            ListChange::Kept => &[],
            ListChange::Whole(list) => list,
            ListChange::Changed { added, removed: _ } => added,
        };
        for id in coming {
            self.known_ref(id)?;
            self.join(id, ext)?;
        }
        match &delta.within {
            ListChange::Kept => {}
            ListChange::Whole(list) => {
                let rows = self.rows;
                let before = rows.people.get(ext).into_iter().flat_map(|person| &person.within);
                for id in before.filter(|id| !list.contains(id)) {
                    self.say(id, ext, false)?;
                }
            }
            ListChange::Changed { added: _, removed } => {
                removed.iter().try_for_each(|id| self.say(id, ext, false))?;
            }
        }
        Ok(())
    }

    /// The rows that are different, and the digest that they lead to.
    fn patch(mut self, cursor: Option<Cursor>, looked_up: bool, key: &DigestKey) -> Patch {
        let mut rows = Rows::new(key);
        let mut patch = Patch {
            before: self.rows.head.digest,
            cursor,
            looked_up,
            undecided: self.left_out.len(),
            ..Patch::default()
        };
        for ((id, ext), in_it) in std::mem::take(&mut self.said) {
            if self.was_in(id, ext) == in_it {
                continue;
            }
            if let Some(entry) = self.ref_mut(id) {
                let person = rows.person_id(ext);
                if in_it { entry.members.add(person) } else { entry.members.take(person) }
            }
            let moved = if in_it { &mut patch.joined } else { &mut patch.left };
            moved.insert((id.clone(), ext.to_owned()));
        }
        let mut after = self.rows.head.digest.0;
        for (ext, row) in self.people {
            let before = self.rows.people.get(ext).map(|person| &person.row);
            if before == row.as_ref() {
                continue;
            }
            if let Some(before) = before {
                after.take(person_digest(&mut rows, ext, before));
            }
            if let Some(row) = &row {
                after.add(person_digest(&mut rows, ext, row));
            }
            patch.people.insert(ext.to_owned(), row);
        }
        for (id, entry) in self.refs {
            let before = self.rows.refs.get(id);
            if before == entry.as_ref() {
                continue;
            }
            if let Some(before) = before {
                after.take(ref_digest(&mut rows, id, before));
            }
            if let Some(entry) = &entry {
                after.add(ref_digest(&mut rows, id, entry));
            }
            patch.refs.insert(id.clone(), entry);
        }
        patch.after = MirrorDigest(after);
        patch
    }
}

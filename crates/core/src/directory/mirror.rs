//! A source as it is known: what it last said in full, and the deltas since.
//!
//! The one place that says what a [`Snapshot`] and what a [`Delta`] may take away. A snapshot: what
//! a list that was read in full does not have ([`merge`]). A delta: what it says outright
//! ([`MirrorRows::apply`]). Nothing after this can tell a partial read from a complete one, so
//! nothing after this can take something away because a read was partial.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::digest::DigestKey;
use super::merge::{Merged, merge};
use super::rows::{Head, Listed, MirrorRows, Patch, PersonEntry, PersonRow, RefEntry, without_row};
use super::{
    Cursor, Delta, DirUser, DirUserIdx, Directory, RefId, RefIdx, RefRow, Refusal, Snapshot,
    Touched, canonical,
};
use crate::model::index::Place;
use crate::model::{IndexVec, TooMany};

/// A source as it is known, all of it in memory.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// The facts.
    pub directory: Directory,
    /// How far its feed was followed. Absent: it has none, or must be read in full first.
    pub cursor: Option<Cursor>,
}

/// What a snapshot or a delta made of a mirror.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The mirror now.
    pub mirror: Mirror,
    /// Every scope that was asked for is complete: the mirror's new time of reading. Never so
    /// after a delta.
    pub complete: bool,
    /// How many people were left out because nobody knows yet whether they are enabled.
    pub undecided: usize,
}

impl Mirror {
    /// Lays what was read over the mirror. A read that was complete sets or clears the cursor; one
    /// that was not clears it, since what it missed no feed would tell again.
    #[must_use]
    pub fn apply_snapshot(&self, mut snapshot: Snapshot) -> Applied {
        let cursor = snapshot.cursor.take();
        let Merged { directory, complete, undecided } = merge(&self.directory, snapshot);
        let cursor = cursor.filter(|_| complete);
        Applied { mirror: Mirror { directory, cursor }, complete, undecided }
    }

    /// Changes the mirror by what has changed at the source. That passes over all of it: a store
    /// does the same to the rows that are touched ([`MirrorRows::apply`]).
    ///
    /// # Errors
    /// The delta does not fit this mirror, or contradicts itself.
    pub fn apply_delta(self, delta: &Delta) -> Result<Applied, Refusal> {
        self.apply_deltas(std::slice::from_ref(delta))
    }

    /// The mirror with the rows of `patch`, which was made from it.
    ///
    /// # Errors
    /// There is no number left for what is new.
    pub fn patched(self, patch: &Patch) -> Result<Mirror, TooMany> {
        let directory = patched(self.directory, patch)?;
        Ok(Mirror { directory, cursor: patch.cursor.clone() })
    }

    /// The rows that are touched, with sums under `key` where that is given. Their digest is not
    /// that of the mirror.
    #[must_use]
    pub fn rows(&self, touched: &Touched<'_>, key: Option<&DigestKey>) -> MirrorRows {
        let directory = &self.directory;
        let sums = key.map(|key| directory.digests(key).members).unwrap_or_default();
        let mut rows = MirrorRows {
            head: Head { cursor: self.cursor.clone(), proven: directory.proven, ..Head::default() },
            ..MirrorRows::default()
        };
        let id = |place| ref_id(directory, directory.refs.at(place));
        let mut people: BTreeMap<DirUserIdx, Vec<RefId>> = BTreeMap::new();
        for ext in &touched.people {
            people.extend(directory.find_user(ext).map(|place| (place, Vec::new())));
        }
        for wanted in &touched.everybody_in {
            let place = directory.find_ref(wanted.kind, &wanted.key);
            let members = place.map(|place| directory.members.at(place));
            people.extend(members.into_iter().flatten().map(|place| (*place, Vec::new())));
        }
        let mut staying: Vec<(&RefId, BTreeSet<&str>)> = Vec::new();
        for (id, told) in &touched.lists {
            let place = directory.find_ref(id.kind, &id.key);
            let before = place.map(|place| directory.members.at(place).as_slice());
            let ext = |place: &DirUserIdx| directory.text(directory.users.at(*place).ext);
            let before = before.unwrap_or_default().iter().map(ext).collect();
            let Listed { staying: those, moving } = Listed::of(before, told);
            let moving = moving.into_iter().filter_map(|ext| directory.find_user(ext));
            people.extend(moving.map(|place| (place, Vec::new())));
            staying.push((*id, those));
        }
        let everything_of: Vec<DirUserIdx> =
            touched.everything_of.iter().filter_map(|ext| directory.find_user(ext)).collect();
        for ((place, reference), members) in directory.refs.numbered().zip(&directory.members) {
            let own = ref_id(directory, reference);
            let has = |user: &DirUserIdx| members.binary_search(user).is_ok();
            let leads_to_wanted = || {
                let implies = directory.implies.at(place).iter().copied();
                let mut to = implies.chain(reference.parent).map(id);
                to.any(|to| touched.everything_to.contains(&to))
            };
            if !touched.refs.contains(&own)
                && !everything_of.iter().any(has)
                && (touched.everything_to.is_empty() || !leads_to_wanted())
            {
                continue;
            }
            for (user, within) in &mut people {
                if has(user) {
                    within.push(own.clone());
                }
            }
            let implies = directory.implies.at(place).iter();
            let entry = RefEntry {
                name: directory.text(reference.name).to_owned(),
                identity: directory.text(reference.identity).to_owned(),
                norm: directory.text(reference.norm).to_owned(),
                parent: reference.parent.map(id),
                known: reference.known,
                implies_known: reference.implies_known,
                implies: implies.map(|place| id(*place)).collect(),
                members: sums.get(place).copied().unwrap_or_default(),
                rid: reference.rid,
            };
            rows.refs.insert(own, entry);
        }
        let here = |ext: &str| directory.find_user(ext).is_some_and(|it| people.contains_key(&it));
        rows.staying = Arc::new(without_row(staying, here));
        for (place, within) in people {
            let user = directory.users.at(place);
            let entry =
                PersonEntry { row: person(directory, user), within: within.into_iter().collect() };
            rows.people.insert(directory.text(user.ext).to_owned(), entry);
        }
        rows
    }
}

fn ref_id(directory: &Directory, reference: &RefRow) -> RefId {
    RefId { kind: reference.kind, key: directory.text(reference.key).to_owned() }
}

fn person(directory: &Directory, user: &DirUser) -> PersonRow {
    PersonRow {
        username: directory.text(user.username).to_owned(),
        email: directory.text(user.email).to_owned(),
        email_verified: user.email_verified,
        enabled: user.enabled,
        federation: directory.text(user.federation).to_owned(),
        linkable: user.linkable,
        rid: user.rid,
    }
}

/// `directory` with the rows of `patch`.
fn patched(directory: Directory, patch: &Patch) -> Result<Directory, TooMany> {
    let mut change = Patching::new(directory);
    for (ext, row) in &patch.people {
        if let Some(row) = row {
            change.put_person(ext, row)?;
        }
    }
    for (id, entry) in &patch.refs {
        if let Some(entry) = entry {
            change.put_ref(id, entry)?;
        }
    }
    for (id, entry) in &patch.refs {
        if let Some(entry) = entry {
            change.lead(id, entry);
        }
    }
    for (id, ext) in &patch.left {
        change.with_members(id, ext, |members, user| members.retain(|member| *member != user));
    }
    for (id, ext) in &patch.joined {
        change.with_members(id, ext, Vec::push);
    }
    let gone_people = patch.people.iter().filter(|(_, row)| row.is_none());
    let gone_refs = patch.refs.iter().filter(|(_, entry)| entry.is_none());
    let gone_people = gone_people.filter_map(|(ext, _)| change.person(ext)).collect();
    let gone_refs = gone_refs.filter_map(|(id, _)| change.reference(id)).collect();
    Ok(canonical(without(change.directory, &gone_people, &gone_refs)).0)
}

/// A directory while it is changed: what is new stands behind what was there, which stays sorted.
struct Patching<'p> {
    directory: Directory,
    /// So many were there, sorted.
    users: usize,
    refs: usize,
    new_users: HashMap<&'p str, DirUserIdx>,
    new_refs: HashMap<&'p RefId, RefIdx>,
}

impl<'p> Patching<'p> {
    fn new(directory: Directory) -> Self {
        let (users, refs) = (directory.users.len(), directory.refs.len());
        let (new_users, new_refs) = (HashMap::new(), HashMap::new());
        Patching { directory, users, refs, new_users, new_refs }
    }

    fn person(&self, ext: &str) -> Option<DirUserIdx> {
        let Directory { users, texts, .. } = &self.directory;
        let (sorted, _) = users.split_at_checked(self.users)?;
        let place = sorted.binary_search_by(|user| texts.get(user.ext).cmp(ext)).ok();
        place.and_then(DirUserIdx::from_place).or_else(|| self.new_users.get(ext).copied())
    }

    fn reference(&self, id: &RefId) -> Option<RefIdx> {
        let Directory { refs, texts, .. } = &self.directory;
        let (sorted, _) = refs.split_at_checked(self.refs)?;
        let key = |row: &RefRow| (row.kind, texts.get(row.key)).cmp(&(id.kind, &id.key));
        let place = sorted.binary_search_by(key).ok();
        place.and_then(RefIdx::from_place).or_else(|| self.new_refs.get(id).copied())
    }

    fn put_person(&mut self, ext: &'p str, row: &PersonRow) -> Result<(), TooMany> {
        let place = self.person(ext);
        let Directory { users, texts, .. } = &mut self.directory;
        let user = DirUser {
            ext: texts.add(ext)?,
            username: texts.add(&row.username)?,
            email: texts.add(&row.email)?,
            email_verified: row.email_verified,
            enabled: row.enabled,
            federation: texts.add(&row.federation)?,
            linkable: row.linkable,
            rid: row.rid,
        };
        match place {
            Some(place) => *users.at_mut(place) = user,
            None => {
                self.new_users.insert(ext, users.push(user)?);
            }
        }
        Ok(())
    }

    /// Puts a reference without what it leads to.
    fn put_ref(&mut self, id: &'p RefId, entry: &RefEntry) -> Result<(), TooMany> {
        let place = self.reference(id);
        let Directory { refs, members, implies, texts, .. } = &mut self.directory;
        let row = RefRow {
            kind: id.kind,
            key: texts.add(&id.key)?,
            name: texts.add(&entry.name)?,
            identity: texts.add(&entry.identity)?,
            norm: texts.add(&entry.norm)?,
            parent: None,
            known: entry.known,
            implies_known: entry.implies_known,
            rid: entry.rid,
        };
        match place {
            Some(place) => *refs.at_mut(place) = row,
            None => {
                self.new_refs.insert(id, refs.push(row)?);
                members.push(Vec::new())?;
                implies.push(Vec::new())?;
            }
        }
        Ok(())
    }

    /// Says what a reference leads to.
    fn lead(&mut self, id: &RefId, entry: &RefEntry) {
        let Some(place) = self.reference(id) else { return };
        let leads_to = entry.implies.iter().filter_map(|to| self.reference(to)).collect();
        let parent = entry.parent.as_ref().and_then(|parent| self.reference(parent));
        *self.directory.implies.at_mut(place) = leads_to;
        self.directory.refs.at_mut(place).parent = parent;
    }

    fn with_members(
        &mut self,
        id: &RefId,
        ext: &str,
        change: impl Fn(&mut Vec<DirUserIdx>, DirUserIdx),
    ) {
        if let (Some(place), Some(user)) = (self.reference(id), self.person(ext)) {
            change(self.directory.members.at_mut(place), user);
        }
    }
}

/// `directory` without these users and references, whom nothing else speaks of.
pub(super) fn without(
    mut directory: Directory,
    users: &BTreeSet<DirUserIdx>,
    refs: &BTreeSet<RefIdx>,
) -> Directory {
    if users.is_empty() && refs.is_empty() {
        return directory;
    }
    let user_place = places(&directory.users, users);
    let ref_place = places(&directory.refs, refs);
    directory.users.retain(|place, _| !users.contains(&place));
    directory.refs.retain(|place, _| !refs.contains(&place));
    directory.members.retain(|place, _| !refs.contains(&place));
    directory.implies.retain(|place, _| !refs.contains(&place));
    let user = |old| *user_place.at(old);
    let reference = |old| *ref_place.at(old);
    for list in directory.members.iter_mut() {
        *list = list.iter().filter_map(|old| user(*old)).collect();
    }
    for list in directory.implies.iter_mut() {
        *list = list.iter().filter_map(|old| reference(*old)).collect();
    }
    for row in directory.refs.iter_mut() {
        row.parent = row.parent.and_then(reference);
    }
    directory
}

/// For each place of `list` where it is once those of `gone` are not there.
fn places<I: Place + Ord, T>(list: &IndexVec<I, T>, gone: &BTreeSet<I>) -> IndexVec<I, Option<I>> {
    let mut next = list.numbered().map(|(place, _)| place);
    list.map_numbered(|old, _| if gone.contains(&old) { None } else { next.next() })
}

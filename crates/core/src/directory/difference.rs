//! What differs between two directories, row by row.

use std::collections::{BTreeMap, BTreeSet};

use super::{DirUserIdx, Directory, Enabled, RefId, RefIdx, Rid};

/// A row of a mirror.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum RowId {
    /// A person's facts, by external id.
    Person(String),
    /// A reference's facts and what it leads to.
    Ref(RefId),
    /// That a person is directly in a reference.
    Member(RefId, String),
}

/// How a row differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference {
    /// Only the later one has it.
    Came,
    /// Only the earlier one has it.
    Went,
    /// Both have it, with other facts.
    Changed,
}

impl std::fmt::Display for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RowId::Person(ext) => write!(f, "the person `{}`", ext.escape_debug()),
            RowId::Ref(id) => write!(f, "the {} `{}`", id.kind.as_str(), id.key.escape_debug()),
            RowId::Member(id, ext) => write!(
                f,
                "`{}` in the {} `{}`",
                ext.escape_debug(),
                id.kind.as_str(),
                id.key.escape_debug()
            ),
        }
    }
}

impl Difference {
    /// In a word: `came`, `went` or `changed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Difference::Came => "came",
            Difference::Went => "went",
            Difference::Changed => "changed",
        }
    }
}

/// What two directories have under one key: places in either.
type Pair<I> = (Option<I>, Option<I>);

impl Directory {
    /// What differs in `later`.
    #[must_use]
    pub fn differences(&self, later: &Directory) -> BTreeMap<RowId, Difference> {
        let mut found = BTreeMap::new();
        let mut people: BTreeMap<&str, Pair<DirUserIdx>> = BTreeMap::new();
        for (place, user) in self.users.numbered() {
            people.entry(self.text(user.ext)).or_default().0 = Some(place);
        }
        for (place, user) in later.users.numbered() {
            people.entry(later.text(user.ext)).or_default().1 = Some(place);
        }
        for (ext, (was, is)) in &people {
            let (was, is) = (facts(self, *was), facts(later, *is));
            let row = || RowId::Person((*ext).to_owned());
            found.extend(difference(was, is).map(|difference| (row(), difference)));
        }
        let mut refs: BTreeMap<RefId, Pair<RefIdx>> = BTreeMap::new();
        for (place, _) in self.refs.numbered() {
            refs.entry(self.ref_id(place)).or_default().0 = Some(place);
        }
        for (place, _) in later.refs.numbered() {
            refs.entry(later.ref_id(place)).or_default().1 = Some(place);
        }
        for (id, (was, is)) in refs {
            let (old, new) =
                (was.map(|place| self.ref_facts(place)), is.map(|place| later.ref_facts(place)));
            found.extend(difference(old, new).map(|it| (RowId::Ref(id.clone()), it)));
            let (old, new) = (self.members_of(was), later.members_of(is));
            let row = |ext: &&str| RowId::Member(id.clone(), (*ext).to_owned());
            found.extend(old.difference(&new).map(|ext| (row(ext), Difference::Went)));
            found.extend(new.difference(&old).map(|ext| (row(ext), Difference::Came)));
        }
        found
    }

    fn ref_id(&self, place: RefIdx) -> RefId {
        let row = self.refs.at(place);
        RefId { kind: row.kind, key: self.text(row.key).to_owned() }
    }

    /// What a reference is called, what is above it and what it leads to, and its SID.
    fn ref_facts(&self, place: RefIdx) -> ([&str; 3], Option<RefId>, BTreeSet<RefId>, Rid) {
        let row = self.refs.at(place);
        let names = [row.name, row.identity, row.norm].map(|text| self.text(text));
        let parent = row.parent.map(|place| self.ref_id(place));
        let implies = self.implies.at(place).iter().map(|to| self.ref_id(*to)).collect();
        (names, parent, implies, row.rid)
    }

    fn members_of(&self, place: Option<RefIdx>) -> BTreeSet<&str> {
        let members = place.map(|place| self.members.at(place)).into_iter().flatten();
        members.map(|user| self.text(self.users.at(*user).ext)).collect()
    }
}

/// A person's facts.
fn facts(
    directory: &Directory,
    place: Option<DirUserIdx>,
) -> Option<([&str; 3], bool, Enabled, bool, Rid)> {
    let user = directory.users.at(place?);
    let text = |text| directory.text(text);
    let texts = [text(user.username), text(user.email), text(user.federation)];
    Some((texts, user.email_verified, user.enabled, user.linkable, user.rid))
}

fn difference<T: PartialEq>(was: Option<T>, is: Option<T>) -> Option<Difference> {
    match (was, is) {
        (None, Some(_)) => Some(Difference::Came),
        (Some(_), None) => Some(Difference::Went),
        (was, is) => (was != is).then_some(Difference::Changed),
    }
}

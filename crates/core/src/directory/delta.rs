//! What a source says has changed.
//!
//! A delta names what it changes, and what it does not name stays as it is: always. It takes away
//! only what it says outright, which is an id that was deleted ([`Delta::gone_people`],
//! [`Delta::gone_refs`]), somebody who is no longer in a list, or a list that is given whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{Enabled, Kind, Rid, RowId};

/// How far a feed has been followed: a text that only the source understands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cursor(String);

impl Cursor {
    /// The cursor that the source calls `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Cursor(text.into())
    }

    /// What the source calls it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.0.escape_debug())
    }
}

/// What a reference is known by: its kind, and its stable external id ([`super::RefRow::key`]).
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct RefId {
    /// What kind of thing.
    pub kind: Kind,
    /// The stable external id.
    pub key: String,
}

/// From where to where a feed's delta leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The cursor of the mirror that it changes.
    pub from: Cursor,
    /// The cursor of the mirror that it makes of it.
    pub to: Cursor,
}

/// What becomes of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ListChange<T> {
    /// It was not spoken of: it stays.
    #[default]
    Kept,
    /// This is all of it: what is not here is no longer in it.
    Whole(Vec<T>),
    /// These came and these went; the others stay.
    Changed {
        /// In it from now on.
        added: Vec<T>,
        /// No longer in it.
        removed: Vec<T>,
    },
}

impl<T> ListChange<T> {
    /// Everything that is named.
    pub(super) fn named(&self) -> impl Iterator<Item = &T> {
        let (one, other): (&[T], &[T]) = match self {
            ListChange::Kept => (&[], &[]),
            ListChange::Whole(list) => (list, &[]),
            ListChange::Changed { added, removed } => (added, removed),
        };
        one.iter().chain(other)
    }
}

/// A person who is new or has changed. What is `None` stays; of somebody new it must be there for
/// [`PersonDelta::username`] and [`PersonDelta::enabled`], the rest is empty then.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PersonDelta {
    /// Stable external id.
    pub ext: String,
    /// Username as the source spells it.
    pub username: Option<String>,
    /// Email address, or empty.
    pub email: Option<String>,
    /// Whether the source vouches for it.
    pub email_verified: Option<bool>,
    /// Whether the account is enabled. [`Enabled::Unknown`]: what was last known stands.
    pub enabled: Option<Enabled>,
    /// Keycloak's federation link, or empty.
    pub federation: Option<String>,
    /// Whether another source's account of the same name may be the same person.
    pub linkable: Option<bool>,
    /// Which of the SIDs of the source's domain is the person's. [`Rid::Unread`]: it stays.
    pub rid: Rid,
    /// What the person is directly in.
    pub within: ListChange<RefId>,
}

/// A reference that is new or has changed. What is `None` stays; of something new the three names
/// must be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefDelta {
    /// What it is.
    pub id: RefId,
    /// Bare name.
    pub name: Option<String>,
    /// Whole identity, for people.
    pub identity: Option<String>,
    /// What identities are compared by.
    pub norm: Option<String>,
    /// The group right above; `Some(None)`: none any more. Who is in a group is in the one above
    /// as well, so this changes what it leads to: no longer to the old one, but to the new.
    pub parent: Option<Option<RefId>>,
    /// Who is directly in it, by external id.
    pub members: ListChange<String>,
    /// What it leads to.
    pub implies: ListChange<RefId>,
    /// Which of the SIDs of the source's domain is a group's. [`Rid::Unread`]: it stays.
    pub rid: Rid,
}

impl RefDelta {
    /// Nothing of `id`, to be filled in.
    #[must_use]
    pub fn new(id: RefId) -> Self {
        RefDelta {
            id,
            name: None,
            identity: None,
            norm: None,
            parent: None,
            members: ListChange::Kept,
            implies: ListChange::Kept,
            rid: Rid::Unread,
        }
    }
}

/// What a source says has changed. Nothing is named twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delta {
    /// From which cursor to which. Absent: it is no part of a feed (somebody was looked up), and
    /// the mirror's cursor stays.
    pub step: Option<Step>,
    /// People who are new or have changed.
    pub people: Vec<PersonDelta>,
    /// References that are new or have changed.
    pub refs: Vec<RefDelta>,
    /// People who were deleted, by external id. One whom the mirror does not have is gone already.
    pub gone_people: Vec<String>,
    /// References that were deleted, likewise.
    pub gone_refs: Vec<RefId>,
}

/// Which rows of a mirror a delta touches: what must be loaded for [`super::MirrorRows`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Touched<'d> {
    /// People, by external id.
    pub people: BTreeSet<&'d str>,
    /// Of these people everything that they are directly in.
    pub everything_of: BTreeSet<&'d str>,
    /// References.
    pub refs: BTreeSet<&'d RefId>,
    /// Of these references everybody who is directly in them.
    pub everybody_in: BTreeSet<&'d RefId>,
    /// Of these references the lists of those directly in them that are told whole: whoever is in
    /// one of them or in the mirror's, but not in all.
    pub lists: BTreeMap<&'d RefId, Vec<&'d [String]>>,
    /// Of these references all that lead to them or are right below them.
    pub everything_to: BTreeSet<&'d RefId>,
}

impl<'d> Touched<'d> {
    /// Which rows several deltas touch together.
    #[must_use]
    pub fn by_all(deltas: &'d [Delta]) -> Self {
        deltas.iter().fold(Touched::default(), |all, delta| all.and(delta.touched()))
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Touched<'d>) -> Self {
        let Touched { people, everything_of, refs, everybody_in, lists, everything_to } = other;
        self.people.extend(people);
        self.everything_of.extend(everything_of);
        self.refs.extend(refs);
        self.everybody_in.extend(everybody_in);
        for (id, told) in lists {
            self.lists.entry(id).or_default().extend(told);
        }
        self.everything_to.extend(everything_to);
        self
    }
}

/// What deltas said: of which rows their word counts. Less than what they touch, which is loaded to
/// tell what becomes of it: whoever is only in a list was not spoken of but for that.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeltaScope<'d> {
    /// People whose facts were told, or who were deleted.
    people: BTreeSet<&'d str>,
    /// References of which was told what they are or lead to, or that were deleted.
    refs: BTreeSet<&'d RefId>,
    /// People of whom everything was told that they are directly in.
    everything_of: BTreeSet<&'d str>,
    /// References of which everybody was told who is directly in them.
    everybody_in: BTreeSet<&'d RefId>,
    /// Who was told to be, or not to be, directly in what.
    pairs: BTreeSet<(&'d RefId, &'d str)>,
}

impl<'d> DeltaScope<'d> {
    /// What several deltas said together.
    #[must_use]
    pub fn by_all(deltas: &'d [Delta]) -> Self {
        let mut told = DeltaScope::default();
        for delta in deltas {
            for person in &delta.people {
                told.people.insert(&person.ext);
                told.pairs.extend(person.within.named().map(|id| (id, person.ext.as_str())));
                if matches!(person.within, ListChange::Whole(_)) {
                    told.everything_of.insert(&person.ext);
                }
            }
            for reference in &delta.refs {
                let RefDelta { id, name, identity, norm, parent, members, implies, rid } =
                    reference;
                let is_what =
                    [name, identity, norm].into_iter().any(Option::is_some) || *rid != Rid::Unread;
                if is_what || parent.is_some() || !matches!(implies, ListChange::Kept) {
                    told.refs.insert(id);
                }
                told.pairs.extend(members.named().map(|ext| (id, ext.as_str())));
                if matches!(members, ListChange::Whole(_)) {
                    told.everybody_in.insert(id);
                }
            }
            told.people.extend(delta.gone_people.iter().map(String::as_str));
            told.everything_of.extend(delta.gone_people.iter().map(String::as_str));
            told.refs.extend(&delta.gone_refs);
            told.everybody_in.extend(&delta.gone_refs);
        }
        told
    }

    /// Whether `row` was told.
    #[must_use]
    pub fn names(&self, row: &RowId) -> bool {
        match row {
            RowId::Person(ext) => self.people.contains(ext.as_str()),
            RowId::Ref(id) => self.refs.contains(id),
            RowId::Member(id, ext) => {
                self.everybody_in.contains(id)
                    || self.everything_of.contains(ext.as_str())
                    || self.pairs.contains(&(id, ext.as_str()))
            }
        }
    }

    pub(super) fn people(&self) -> impl Iterator<Item = &'d str> {
        self.people.iter().copied()
    }

    pub(super) fn refs(&self) -> impl Iterator<Item = &'d RefId> {
        self.refs.iter().copied()
    }
}

impl Delta {
    /// What it says of references, and of the person `ext` where one is given: of nobody else, in
    /// whatever list. So what becomes of one row can be asked without those of a long list.
    #[must_use]
    pub fn about(&self, ext: Option<&str>) -> Delta {
        let is_meant = |other: &str| ext == Some(other);
        let only = |list: &[String]| -> Vec<String> {
            list.iter().find(|it| is_meant(it)).into_iter().cloned().collect()
        };
        let members = |members: &ListChange<String>| match members {
            ListChange::Kept => ListChange::Kept,
            ListChange::Whole(list) => {
                let added = only(list);
                let nobody = added.is_empty();
                let removed = ext.filter(|_| nobody).map(str::to_owned).into_iter().collect();
                ListChange::Changed { added, removed }
            }
            ListChange::Changed { added, removed } => {
                ListChange::Changed { added: only(added), removed: only(removed) }
            }
        };
        // Field by field: a list that may be very long is not copied first.
        let reference = |told: &RefDelta| RefDelta {
            id: told.id.clone(),
            name: told.name.clone(),
            identity: told.identity.clone(),
            norm: told.norm.clone(),
            parent: told.parent.clone(),
            members: members(&told.members),
            implies: told.implies.clone(),
            rid: told.rid,
        };
        Delta {
            step: self.step.clone(),
            people: self.people.iter().filter(|it| is_meant(&it.ext)).cloned().collect(),
            refs: self.refs.iter().map(reference).collect(),
            gone_people: only(&self.gone_people),
            gone_refs: self.gone_refs.clone(),
        }
    }

    /// Which rows it touches.
    #[must_use]
    pub fn touched(&self) -> Touched<'_> {
        let mut touched = Touched::default();
        for person in &self.people {
            touched.people.insert(&person.ext);
            if matches!(person.within, ListChange::Whole(_)) {
                touched.everything_of.insert(&person.ext);
            }
            touched.refs.extend(person.within.named());
        }
        for ext in &self.gone_people {
            touched.people.insert(ext);
            touched.everything_of.insert(ext);
        }
        for reference in &self.refs {
            touched.refs.insert(&reference.id);
            touched.refs.extend(reference.parent.iter().flatten());
            touched.refs.extend(reference.implies.named());
            match &reference.members {
                ListChange::Whole(list) => {
                    touched.lists.entry(&reference.id).or_default().push(list);
                }
                some => touched.people.extend(some.named().map(String::as_str)),
            }
        }
        for id in &self.gone_refs {
            touched.refs.insert(id);
            touched.everybody_in.insert(id);
            touched.everything_to.insert(id);
        }
        touched
    }
}

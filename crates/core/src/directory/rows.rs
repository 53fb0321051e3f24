//! Some rows of a mirror: those that a delta touches.
//!
//! A store loads them by external id and by key, [`MirrorRows::apply`] says what becomes of them,
//! and the store writes what is different: a [`Patch`]. So one person of a million costs that
//! person's rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::digest::{MirrorDigest, PersonFields, RefFields, Rows, Sum};
use super::{Cursor, Enabled, Proven, RefId, Rid};

/// A person's facts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PersonRow {
    /// Username as the source spells it.
    pub username: String,
    /// Email address, or empty.
    pub email: String,
    /// Whether the source vouches for it.
    pub email_verified: bool,
    /// Whether the account is enabled.
    pub enabled: Enabled,
    /// Keycloak's federation link, or empty.
    pub federation: String,
    /// Whether another source's account of the same name may be the same person.
    pub linkable: bool,
    /// Which of the SIDs of the mirror's domain is the person's.
    pub rid: Rid,
}

/// A person of [`MirrorRows`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PersonEntry {
    /// The facts.
    pub row: PersonRow,
    /// Which of the references that are loaded the person is directly in.
    pub within: BTreeSet<RefId>,
}

/// A reference's facts, and its lists as far as a delta needs them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefEntry {
    /// Bare name.
    pub name: String,
    /// Whole identity, for people.
    pub identity: String,
    /// What identities are compared by.
    pub norm: String,
    /// The group right above.
    pub parent: Option<RefId>,
    /// Its direct members have been read in full at least once.
    pub known: bool,
    /// What it leads to has been read in full at least once.
    pub implies_known: bool,
    /// What it leads to.
    pub implies: BTreeSet<RefId>,
    /// The sum of the ids of those who are directly in it.
    pub members: Sum,
    /// Which of the SIDs of the mirror's domain is a group's.
    pub rid: Rid,
}

/// What a mirror is as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// The digest of all its rows.
    pub digest: MirrorDigest,
    /// How far its feed was followed.
    pub cursor: Option<Cursor>,
    /// Which of its lists have been read in full at least once.
    pub proven: Proven,
}

/// The rows of a mirror that a delta touches ([`super::Delta::touched`]), as far as it has them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MirrorRows {
    /// The mirror.
    pub head: Head,
    /// By external id.
    pub people: BTreeMap<String, PersonEntry>,
    /// By kind and key.
    pub refs: BTreeMap<RefId, RefEntry>,
    /// Who is directly in a reference now, and in each of the lists that are told whole of it: of
    /// these nothing becomes, so their rows are not here, unless something else is said of them.
    pub staying: Arc<Staying>,
}

/// External ids of people, by reference.
pub type Staying = BTreeMap<RefId, BTreeSet<String>>;

impl MirrorRows {
    /// Whether nothing becomes of `ext` in `id`, of whom there need be no row.
    pub(super) fn stays(&self, id: &RefId, ext: &str) -> bool {
        self.staying.get(id).is_some_and(|those| those.contains(ext))
    }

    /// How many rows these are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.people.len().saturating_add(self.refs.len())
    }
}

/// Who is in a list of a mirror, or in one of those that are told whole of it, by external id: compared
/// without a look at anybody's row.
#[derive(Debug)]
pub struct Listed<'m, 't> {
    /// In all of them.
    pub staying: BTreeSet<&'t str>,
    /// In some.
    pub moving: BTreeSet<&'m str>,
}

impl<'m, 't: 'm> Listed<'m, 't> {
    /// Compares the list `before` of the mirror with those that are told, one at least.
    #[must_use]
    pub fn of(before: BTreeSet<&'m str>, told: &[&'t [String]]) -> Self {
        let set = |list: &&'t [String]| list.iter().map(String::as_str).collect();
        let told: Vec<BTreeSet<&'t str>> = told.iter().map(set).collect();
        let everywhere =
            |ext: &&str| before.contains(ext) && told.iter().all(|list| list.contains(ext));
        let staying: BTreeSet<&'t str> =
            told.first().into_iter().flatten().copied().filter(everywhere).collect();
        let named: BTreeSet<&'m str> = told.into_iter().flatten().chain(before).collect();
        let moving = named.difference(&staying).copied().collect();
        Listed { staying, moving }
    }
}

/// Those who stay in a list, but for whoever is `here` for another reason: of them it is told by their
/// row.
pub fn without_row(staying: Vec<(&RefId, BTreeSet<&str>)>, here: impl Fn(&str) -> bool) -> Staying {
    let exts = |those: BTreeSet<&str>| -> BTreeSet<String> {
        those.into_iter().filter(|ext| !here(ext)).map(str::to_owned).collect()
    };
    staying.into_iter().map(|(id, those)| (id.clone(), exts(those))).collect()
}

/// What a delta makes of a mirror: the rows that are different.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// The digest of the mirror that this changes: of no other.
    pub before: MirrorDigest,
    /// The digest of what it makes of it.
    pub after: MirrorDigest,
    /// How far the feed has been followed then.
    pub cursor: Option<Cursor>,
    /// People whose facts are new (`None`: who are gone), by external id.
    pub people: BTreeMap<String, Option<PersonRow>>,
    /// References whose row is new (`None`: that are gone). Each that somebody joined or left is
    /// among them.
    pub refs: BTreeMap<RefId, Option<RefEntry>>,
    /// Who is directly in a reference from now on.
    pub joined: BTreeSet<(RefId, String)>,
    /// Who is no longer in one: of people and references that are gone as well.
    pub left: BTreeSet<(RefId, String)>,
    /// Somebody was looked up, beside any feed: whoever is in [`Patch::people`] counts as having
    /// come now, though the mirror may have had them before.
    pub looked_up: bool,
    /// How many new people were left out because nobody knows yet whether they are enabled.
    pub undecided: usize,
}

impl Patch {
    /// How many rows it writes.
    #[must_use]
    pub fn count(&self) -> usize {
        let moved = self.joined.iter().chain(&self.left).map(|(_, ext)| ext);
        let people: BTreeSet<&String> = self.people.keys().chain(moved).collect();
        people.len().saturating_add(self.refs.len())
    }
}

/// The digest of a person's row.
pub(super) fn person_digest(rows: &mut Rows, ext: &str, row: &PersonRow) -> Sum {
    let PersonRow { username, email, email_verified, enabled, federation, linkable, rid } = row;
    rows.person(&PersonFields {
        ext,
        username,
        email,
        federation,
        email_verified: *email_verified,
        enabled: *enabled,
        linkable: *linkable,
        rid: *rid,
    })
}

/// The digest of a reference's row.
pub(super) fn ref_digest(rows: &mut Rows, id: &RefId, entry: &RefEntry) -> Sum {
    let RefEntry { name, identity, norm, parent, .. } = entry;
    let RefEntry { known, implies_known, implies, members, rid, .. } = entry;
    let mut leads_to = Sum::default();
    for to in implies {
        leads_to.add(rows.ref_id(to.kind, &to.key));
    }
    rows.reference(&RefFields {
        kind: id.kind,
        key: &id.key,
        name,
        identity,
        norm,
        parent: parent.as_ref().map(|parent| (parent.kind, parent.key.as_str())),
        known: *known,
        implies_known: *implies_known,
        members: *members,
        implies: leads_to,
        rid: *rid,
    })
}

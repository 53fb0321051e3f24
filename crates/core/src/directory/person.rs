//! One person as a source shows them, and a directory with people put into it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AccountSid, Delta, Directory, Enabled, Kind, ListChange, Mirror, PersonDelta, RefId, RefIdx,
    Refusal,
};
use crate::model::username::{self, UsernameFrom};

/// Someone of whom a name is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// The username in its canonical form ([`username::canonical`]).
    pub username: String,
    /// Which of a person's names that is.
    pub by: UsernameFrom,
}

impl Named {
    /// Whether a person with this username and email address bears the name that is asked for.
    #[must_use]
    pub fn is(&self, username: &str, email: &str) -> bool {
        let name = match self.by {
            UsernameFrom::Username => username,
            UsernameFrom::Email => email,
        };
        username::canonical(name).is_ok_and(|name| name == self.username)
    }
}

/// One person as a source shows them now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Stable external id.
    pub ext: String,
    /// Username as the source spells it.
    pub username: String,
    /// Email address, or empty.
    pub email: String,
    /// Whether the source vouches for it.
    pub email_verified: bool,
    /// Whether the account is enabled. [`Enabled::Unknown`]: what the source says of that cannot
    /// be believed now.
    pub enabled: Enabled,
    /// Keycloak's federation link, or empty.
    pub federation: String,
    /// The SID that the person bears. Absent: none was to be seen, or none of a domain.
    pub sid: Option<AccountSid>,
    /// What the person is directly in. Sorted, distinct.
    pub within: Vec<Within>,
}

/// Something that a person is directly in, by what the mirror knows it by.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Within {
    /// What kind of thing.
    pub kind: Kind,
    /// Its stable external id: [`super::RefRow::key`].
    pub key: String,
    /// Its name as it is now: where the mirror has another one for this key, what the rules would
    /// make of it is not known. Absent where the source does not tell.
    pub name: Option<String>,
}

impl Sighting {
    /// Puts `within` in order.
    pub fn sort(&mut self) {
        self.within.sort();
        self.within.dedup();
    }
}

impl Delta {
    /// What a look-up says: `person`, who takes the place of whatever a mirror has under that id.
    /// What `directory`, the mirror, does not have, or has under another name, gives nothing.
    #[must_use]
    pub fn of_person(directory: &Directory, person: &Sighting) -> Delta {
        let within = ListChange::Whole(ids(directory, person).into_iter().collect());
        Delta { people: vec![whole(directory, person, within)], ..Delta::default() }
    }
}

/// `directory` (canonical) with `people` in it as well: those who are not there yet, and what each
/// is within, as far as the directory has such things under the same names. Who is there already
/// stays as they are, but for being disabled where either says so.
///
/// # Errors
/// None that could be: what is added names what the directory has, and each person once.
pub fn with_people(directory: Directory, people: &[Sighting]) -> Result<Directory, Refusal> {
    if people.is_empty() {
        return Ok(directory);
    }
    let delta = adding(&directory, people);
    let mirror = Mirror { directory, cursor: None };
    mirror.apply_delta(&delta).map(|applied| applied.mirror.directory)
}

/// What adds `people` to `directory` and takes nothing away from it.
fn adding(directory: &Directory, people: &[Sighting]) -> Delta {
    let mut added: BTreeMap<&str, (PersonDelta, BTreeSet<RefId>)> = BTreeMap::new();
    for person in people {
        let ids = ids(directory, person);
        let off = person.enabled == Enabled::No;
        if let Some((before, within)) = added.get_mut(person.ext.as_str()) {
            if off {
                before.enabled = Some(Enabled::No);
            }
            within.extend(ids);
            continue;
        }
        let delta = match directory.find_user(&person.ext) {
            Some(_) => PersonDelta {
                ext: person.ext.clone(),
                enabled: off.then_some(Enabled::No),
                ..PersonDelta::default()
            },
            None => whole(directory, person, ListChange::Kept),
        };
        added.insert(&person.ext, (delta, ids));
    }
    let people = added.into_values().map(|(delta, within)| {
        let added = within.into_iter().collect();
        PersonDelta { within: ListChange::Changed { added, removed: Vec::new() }, ..delta }
    });
    Delta { people: people.collect(), ..Delta::default() }
}

/// All that is seen of a person, for `directory`.
fn whole(directory: &Directory, person: &Sighting, within: ListChange<RefId>) -> PersonDelta {
    PersonDelta {
        ext: person.ext.clone(),
        username: Some(person.username.clone()),
        email: Some(person.email.clone()),
        email_verified: Some(person.email_verified),
        enabled: Some(person.enabled),
        federation: Some(person.federation.clone()),
        // Whoever the mirror knows otherwise is in the store, and no stranger.
        linkable: Some(true),
        rid: directory.rid_of(person.sid.as_ref()),
        within,
    }
}

/// What a person is within, as far as `directory` has it under the same name.
fn ids(directory: &Directory, person: &Sighting) -> BTreeSet<RefId> {
    let there = person.within.iter().filter(|within| find_ref(directory, within).is_some());
    there.map(|within| RefId { kind: within.kind, key: within.key.clone() }).collect()
}

/// The place of what `within` names among the refs of a canonical directory; `None` where
/// it is not there, or goes by another name there.
#[must_use]
pub fn find_ref(directory: &Directory, within: &Within) -> Option<RefIdx> {
    let place = directory.find_ref(within.kind, &within.key)?;
    let name = directory.text(directory.refs.at(place).name);
    within.name.as_deref().is_none_or(|now| now == name).then_some(place)
}

//! One person as a source shows them, and a directory with people put into it.

use hashbrown::HashMap;

use super::{DirUser, Directory, Enabled, Kind, canonical};
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

/// `directory` (canonical) with `people` in it as well: those who are not there yet, and what each
/// is within, as far as the directory has such things under the same names. Who is there already
/// stays as they are, but for being disabled where either says so.
#[must_use]
pub fn with_people(mut directory: Directory, people: &[Sighting]) -> Directory {
    if people.is_empty() {
        return directory;
    }
    let count = directory.users.len();
    let mut added: HashMap<&str, u32> = HashMap::new();
    for person in people {
        let known = directory
            .users
            .get(..count)
            .unwrap_or_default()
            .binary_search_by(|user| directory.text(user.ext).cmp(&person.ext))
            .ok()
            .and_then(|place| u32::try_from(place).ok())
            .or_else(|| added.get(person.ext.as_str()).copied());
        let place = match known {
            Some(place) => {
                if person.enabled == Enabled::No
                    && let Some(user) = directory.users.get_mut(place as usize)
                {
                    user.enabled = Enabled::No;
                }
                place
            }
            None => {
                let place = u32::try_from(directory.users.len()).unwrap_or(u32::MAX);
                let texts = &mut directory.texts;
                directory.users.push(DirUser {
                    ext: texts.add(&person.ext),
                    username: texts.add(&person.username),
                    email: texts.add(&person.email),
                    email_verified: person.email_verified,
                    enabled: person.enabled,
                    federation: texts.add(&person.federation),
                    // Whoever the mirror knows otherwise is in the store, and no stranger.
                    linkable: true,
                });
                added.insert(&person.ext, place);
                place
            }
        };
        for within in &person.within {
            if let Some(reference) = find_ref(&directory, within)
                && let Some(members) = directory.members.get_mut(reference)
            {
                members.push(place);
            }
        }
    }
    canonical(directory).0
}

/// The place of what `within` names among the refs of a canonical directory; `None` where
/// it is not there, or goes by another name there.
#[must_use]
pub fn find_ref(directory: &Directory, within: &Within) -> Option<usize> {
    let place = directory
        .refs
        .binary_search_by(|reference| {
            (reference.kind, directory.text(reference.key)).cmp(&(within.kind, &within.key))
        })
        .ok()?;
    let name = directory.text(directory.refs.get(place)?.name);
    within.name.as_deref().is_none_or(|now| now == name).then_some(place)
}

//! Those whom the state does not know by external id: another source's person, or someone new.

use hashbrown::{HashMap, HashSet};

use crate::config::{LinkBy, UsernameFrom};
use crate::source::DirUser;

use super::{Absent, Finder, NOBODY};

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    /// Finds out about those whom the state does not know by id.
    pub(super) fn meet(&mut self, view: u16, users: &[u32], absent: &Absent<'_>) {
        let Some(source) = self.sources.get(usize::from(view)) else { return };
        let link_by = self
            .config
            .sources
            .iter()
            .find(|config| config.name == source.name)
            .map_or(LinkBy::Username, |config| config.link_by);
        let mut namesakes: HashMap<&str, u32> = HashMap::new();
        for user in users {
            if let Some(name) = self.name_of(view, *user) {
                *namesakes.entry(name).or_default() += 1;
            }
        }
        let mut here: HashSet<u32> =
            self.links.iter().filter(|link| link.view == view).map(|link| link.person).collect();
        // With `username = "email"` a name is an address: nobody becomes another source's person
        // by an address that only an unverified row has given that person.
        let vouched: HashSet<u32> = match self.config.sync.username {
            UsernameFrom::Username => HashSet::new(),
            UsernameFrom::Email => self.vouched(),
        };
        let by_email = match link_by {
            LinkBy::Email => self.by_email(view),
            LinkBy::Username => HashMap::new(),
        };
        for user in users {
            let Some(name) = self.name_of(view, *user) else { continue };
            let Some(row) = source.directory.users.get(*user as usize) else { continue };
            if namesakes.get(name).is_some_and(|count| *count > 1) {
                self.collision(source.name, name);
                continue;
            }
            let email = source.directory.text(row.email).to_lowercase();
            let same_person = match link_by {
                LinkBy::Username => self.taken.get(name).copied().filter(|person| {
                    let any_name = self.config.sync.username == UsernameFrom::Username;
                    self.may_link(row) && (any_name || vouched.contains(person))
                }),
                LinkBy::Email if row.email_verified && !email.is_empty() => {
                    by_email.get(&email).copied().flatten()
                }
                LinkBy::Email => None,
            };
            if let Some(stale) = self.stale_holder(name) {
                if !here.contains(&stale) {
                    self.collision(source.name, name);
                    continue;
                }
                // The source itself calls that person something else now, and someone new by the
                // old name: the gateway must not take the one for the other.
                self.leave(stale, name);
                self.newcomer(view, *user, name, absent, link_by);
                continue;
            }
            match (same_person, self.taken.get(name)) {
                (Some(person), _) if !here.contains(&person) => {
                    here.insert(person);
                    self.link(person, view, *user, true);
                }
                (Some(_), _) | (None, Some(_)) => self.collision(source.name, name),
                (None, None) => self.newcomer(view, *user, name, absent, link_by),
            }
        }
    }

    /// Who has `name` in the store although no source calls that person so any more.
    fn stale_holder(&self, name: &str) -> Option<u32> {
        let person = *self.taken.get(name)?;
        let draft = self.drafts.get(person as usize)?;
        (draft.claim != Some(name)).then_some(person)
    }

    /// Lets a person go whose name another one has now.
    fn leave(&mut self, person: u32, name: &'n str) {
        self.taken.remove(name);
        if let Some(draft) = self.drafts.get_mut(person as usize) {
            draft.out = true;
            let old = draft.old;
            self.replace(old, name);
        }
    }

    /// Persons whom some verified address stands for.
    fn vouched(&self) -> HashSet<u32> {
        self.links
            .iter()
            .filter(|link| {
                let view = self.sources.get(usize::from(link.view));
                let row = view.and_then(|view| view.directory.users.get(link.user as usize));
                row.is_some_and(|row| row.email_verified)
            })
            .map(|link| link.person)
            .collect()
    }

    /// Whether a name is proof enough that two sources mean one person: an address that nobody
    /// verified is not.
    fn may_link(&self, row: &DirUser) -> bool {
        self.config.sync.username == UsernameFrom::Username || row.email_verified
    }

    fn newcomer(
        &mut self,
        view: u16,
        user: u32,
        name: &'n str,
        absent: &Absent<'_>,
        link_by: LinkBy,
    ) {
        let Some(source) = self.sources.get(usize::from(view)) else { return };
        let mut place = NOBODY;
        if let Some((old, maybe_there)) = absent.by_name.get(name).copied() {
            let same_source =
                absent.sources.get(&old).is_some_and(|names| names.contains(&source.name));
            let trusted = source
                .directory
                .users
                .get(user as usize)
                .is_some_and(|row| self.may_link(row) && link_by == LinkBy::Username)
                // Whether the one who is gone had the address verified is not known any more.
                && self.config.sync.username == UsernameFrom::Username;
            if !same_source && trusted {
                place = old;
            } else if maybe_there {
                self.collision(source.name, name);
                return;
            } else {
                self.replace(old, name);
            }
        }
        let person = self.add(place, Some(name));
        self.call(person, name);
        self.link(person, view, user, true);
    }

    /// Persons of other views by verified address; `None` where two share one.
    fn by_email(&self, view: u16) -> HashMap<String, Option<u32>> {
        let mut found: HashMap<String, Option<u32>> = HashMap::new();
        for link in self.links.iter().filter(|link| link.view != view) {
            let Some(source) = self.sources.get(usize::from(link.view)) else { continue };
            let Some(row) = source.directory.users.get(link.user as usize) else { continue };
            let email = source.directory.text(row.email).to_lowercase();
            let usable = row.email_verified && !email.is_empty();
            if !usable || self.drafts.get(link.person as usize).is_none_or(|draft| draft.out) {
                continue;
            }
            found
                .entry(email)
                .and_modify(|person| {
                    if *person != Some(link.person) {
                        *person = None;
                    }
                })
                .or_insert(Some(link.person));
        }
        found
    }

    fn collision(&mut self, source: &str, name: &str) {
        self.warnings.insert(format!(
            "{source}: more than one user comes to the username `{name}`: the newcomer is not \
             provisioned"
        ));
    }
}

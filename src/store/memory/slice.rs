//! What one change needs: everybody is looked at, and all but a few are left out.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use crate::directory::{Directory, Mirror};
use crate::model::{Inconsistent, Link, State, Status, UserId};
use crate::plan::Others;
use crate::store::slice::enough;
use crate::store::{Account, Slice, SliceQuery};

impl Content {
    fn account(&self, link: &Link) -> Account {
        let source = self.state.sources.get(link.source).cloned().unwrap_or_default();
        (source, self.state.texts.get(link.ext).to_owned())
    }

    pub(super) fn user_of(&self, source: &str, ext: &str) -> Option<UserId> {
        let is = |link: &&Link| {
            let account = self.account(link);
            (account.0.as_str(), account.1.as_str()) == (source, ext)
        };
        self.state.links.iter().find(is).map(|link| link.user)
    }

    pub(super) fn linked(&self, user: UserId) -> Option<(String, Vec<Account>)> {
        let name = self.name(self.person(user)?).to_owned();
        let links = self.state.links.iter().filter(|link| link.user == user);
        let mut accounts: Vec<Account> = links.map(|link| self.account(link)).collect();
        accounts.sort();
        Some((name, accounts))
    }

    pub(super) fn slice(&self, query: &SliceQuery<'_>) -> Result<Slice, Inconsistent> {
        let mut mirrors = BTreeMap::new();
        for name in query.sources {
            let Some(source) = self.sources.get(*name) else { continue };
            let Some(mirror) = &source.mirror else { continue };
            let mine = query.accounts.iter().filter(|(of, _)| of == name);
            let people: BTreeSet<&str> = mine.map(|(_, ext)| ext.as_str()).collect();
            let directory = mirror.directory.part(&people, query.refs_of(name))?;
            let mirror = Mirror { directory, cursor: source.cursor.clone() };
            mirrors.insert((*name).to_owned(), mirror);
        }
        let (meta, state) = (self.meta.clone(), self.state.of_users(query.users));
        Ok(Slice { meta, state, mirrors, others: self.others(query) })
    }

    fn others(&self, query: &SliceQuery<'_>) -> Others {
        let others = self.state.users.iter().filter(|user| !query.users.contains(&user.id));
        let mut counted = Others::default();
        for name in query.guard.protected_roles.keys() {
            let there = self.state.roles.iter().any(|role| role.name == *name);
            let held =
                self.state.users.iter().any(|it| self.roles_of_set(it.role_set).contains(name));
            if there && held {
                counted.holders.insert(name.clone(), 0);
            }
        }
        for user in others {
            let roles = self.roles_of_set(user.role_set);
            counted.pairs += roles.len() as u64;
            counted.enabled += u64::from(user.status.counts());
            for role in roles {
                if let Some(holders) = counted.holders.get_mut(role) {
                    *holders += 1;
                }
            }
        }
        for name in query.sources {
            let Some(mirror) = self.sources.get(*name).and_then(|it| it.mirror.as_ref()) else {
                continue;
            };
            let mine = query
                .accounts
                .iter()
                .filter(|(of, _)| of == name)
                .filter(|(_, ext)| mirror.directory.find_user(ext).is_some());
            let enough = enough(query.guard, mine.count() as u64).unwrap_or(u64::MAX);
            for (federation, count) in federated(&self.state, name, &mirror.directory, query.users)
            {
                let key = ((*name).to_owned(), federation);
                counted.federated.insert(key, count.min(enough));
            }
        }
        counted
    }
}

/// For each federation of a source how many of its accounts are of somebody else who is enabled.
fn federated(
    state: &State,
    source: &str,
    directory: &Directory,
    users: &BTreeSet<UserId>,
) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for row in &directory.users {
        let (ext, federation) = (directory.text(row.ext), directory.text(row.federation));
        let is = |link: &&Link| {
            state.sources.get(link.source).is_some_and(|name| name == source)
                && state.texts.get(link.ext) == ext
        };
        let user = state.links.iter().find(is).map(|link| link.user);
        let enabled = state.users.iter().find(|it| Some(it.id) == user);
        let enabled = enabled.filter(|it| it.status == Status::Enabled && !users.contains(&it.id));
        if !federation.is_empty() && enabled.is_some() {
            *counted.entry(federation.to_owned()).or_default() += 1;
        }
    }
    counted
}

//! Ids that appear later: somebody known by username alone, in a file without ids, who shows one.
//!
//! Until then the username was all that the source told, so it is the same person, who takes the
//! id: the link by username goes. That is no way to become somebody else: it takes a source that
//! may hold people without ids, somebody whom the state knows there by nothing but the username
//! that the state calls them by, who is not there without an id any more, and one account of that
//! name.

use hashbrown::HashMap;

use crate::directory::{DirUserIdx, value};

use super::{Finder, OldIdx, StoredLink, ViewIdx};

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    /// Of a view's users whom the state does not know by id, those whom it knows by username
    /// alone, with how.
    pub(super) fn with_ids_now(
        &self,
        view: ViewIdx,
        users: &[DirUserIdx],
        by_ext: &HashMap<&'a str, StoredLink>,
    ) -> HashMap<DirUserIdx, StoredLink> {
        if users.is_empty() || by_ext.is_empty() || !self.terms_of(view).without_ids {
            return HashMap::new();
        }
        let source = self.sources.at(view);
        let directory = source.directory;
        let listed = |ext: &str| {
            directory.users.binary_search_by(|user| directory.text(user.ext).cmp(ext)).is_ok()
        };
        let mut ways: HashMap<OldIdx, u32> = HashMap::new();
        for link in by_ext.values() {
            *ways.entry(link.place).or_default() += 1;
        }
        let mut bearers: HashMap<&str, u32> = HashMap::new();
        for (index, _) in directory.users.numbered() {
            if let Some(name) = self.name_of(view, index) {
                *bearers.entry(name).or_default() += 1;
            }
        }
        let mut found = HashMap::new();
        for index in users {
            let row = directory.users.at(*index);
            let Some(name) = self.name_of(view, *index) else { continue };
            let username = directory.text(row.username);
            let folded = value::folded(username);
            if directory.is_known_by_name(row) || bearers.get(name) != Some(&1) {
                continue;
            }
            // What a realm export, or an LDIF, has in an id's place.
            let known = [username, &folded]
                .into_iter()
                .find_map(|stand_in| by_ext.get_key_value(stand_in))
                .filter(|(stand_in, link)| {
                    let alive = self
                        .old_user(link.place)
                        .is_some_and(|user| !user.status.is_deprovisioned());
                    alive
                        && !listed(stand_in)
                        && ways.get(&link.place) == Some(&1)
                        && self.old_name(link.place) == Some(name)
                });
            if let Some((_, link)) = known {
                found.insert(*index, *link);
            }
        }
        found
    }

    /// Notes that the old user's link by username goes.
    pub(super) fn outgrow(&mut self, link: StoredLink) {
        self.outgrown.push((link.place, link.source, link.ext));
    }
}

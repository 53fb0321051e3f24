//! What a gateway keeps in memory.

use std::collections::{BTreeSet, HashMap};

use super::content::Content;
use crate::model::{RoleSetId, User, UserId};
use crate::store::{
    Contradiction, EachSeen, EachToken, SeenLink, SeenSet, SeenToken, SeenUser, SetKey,
};

impl Content {
    /// A set's place among all of them: another one in another state.
    pub(super) fn set_key(&self, id: RoleSetId) -> SetKey {
        let place = self.sets.keys().position(|other| *other == id);
        SetKey(place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1))
    }

    fn seen(&self, user: &User) -> SeenUser<'_> {
        let (username, set) = (self.state.texts.get(user.username), self.set_key(user.role_set));
        let email = self.state.texts.get(user.email);
        SeenUser { username, email, status: user.status.clone(), set }
    }

    fn links(&self, user: &User, sources: &[String]) -> Vec<SeenLink> {
        let state = &self.state;
        let mut links = Vec::new();
        for link in state.links.iter().filter(|link| link.user == user.id) {
            let source = state.sources.get(link.source);
            let place = sources.iter().position(|wanted| Some(wanted) == source);
            let Some(source) = place.and_then(|place| u16::try_from(place).ok()) else { continue };
            let claim = link.claim.map(|claim| state.texts.get(claim));
            let refused = claim.is_some_and(|claim| claim != state.texts.get(user.username));
            links.push(SeenLink { source, ext: state.texts.get(link.ext).to_owned(), refused });
        }
        links
    }

    pub(super) fn count_links(&self, sources: &[String]) -> Vec<usize> {
        let of = |name: &String| {
            let it = |link: &&crate::model::Link| self.state.sources.get(link.source) == Some(name);
            self.state.links.iter().filter(it).count()
        };
        sources.iter().map(of).collect()
    }

    pub(super) fn seen_users(
        &self,
        sources: &[String],
        each: EachSeen<'_>,
    ) -> Result<(), Contradiction> {
        let mut users = self.state.users.iter();
        users.try_for_each(|user| each(self.seen(user), &self.links(user, sources)))
    }

    pub(super) fn seen_numbers(
        &self,
        users: &BTreeSet<UserId>,
        sources: &[String],
        each: &mut dyn FnMut(SeenUser<'_>, &[SeenLink]),
    ) {
        if sources.is_empty() {
            return;
        }
        for user in users.iter().filter_map(|id| self.person(*id)) {
            each(self.seen(user), &self.links(user, sources));
        }
    }

    pub(super) fn seen_under(&self, name: &str) -> Option<SeenUser<'_>> {
        self.find(name).map(|user| self.seen(user))
    }

    pub(super) fn seen_sets(&self) -> HashMap<SetKey, SeenSet> {
        let set = |(id, set): (&RoleSetId, &super::content::RoleSet)| {
            (self.set_key(*id), SeenSet { id: *id, roles: set.roles.clone() })
        };
        self.sets.iter().map(set).collect()
    }

    pub(super) fn seen_tokens(
        &self,
        names: Option<&BTreeSet<String>>,
        each: EachToken<'_>,
    ) -> Result<(), Contradiction> {
        let tokens = &self.state.tokens;
        for token in tokens.list() {
            let Some(owner) = self.person(token.user) else { continue };
            let owner = self.name(owner);
            let gone = self.person(token.user).is_none_or(|it| it.status.is_deprovisioned());
            if gone || names.is_some_and(|names| !names.contains(owner)) {
                continue;
            }
            each(SeenToken {
                digest: token.digest,
                owner,
                name: tokens.name(token),
                until: token.expires_at.timestamp(),
                set: self.set_key(token.role_set),
            })?;
        }
        Ok(())
    }
}

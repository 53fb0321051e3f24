//! Questions about people.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use super::content::{Content, Decision};
use crate::directory::local;
use crate::model::workload::via;
use crate::model::{GrantKind, Inconsistent, LocalAccount, Role, RoleSetId, State, User, UserId};
use crate::plan::Whose;
use crate::policy::{Action, Effect, Resource};
use crate::store::{
    EffectiveRoles, GrantDetail, ReachedBy, SetKey, StoredDecision, TokenRow, UserDetail, UserRow,
};

/// Whether a decision about `resource` is for the person called `name`.
fn concerns(whose: Whose, resource: Option<&Resource>, name: &str) -> bool {
    let own = resource.is_some_and(|resource| resource.id() == name);
    match whose {
        Whose::All => true,
        Whose::Others => !own,
        Whose::Own => own,
    }
}

impl Content {
    pub(super) fn person(&self, id: UserId) -> Option<&User> {
        self.state.users.iter().find(|user| user.id == id)
    }

    /// What the person of this number is called.
    pub(super) fn called(&self, id: UserId) -> &str {
        self.person(id).map_or("", |user| self.name(user))
    }

    pub(super) fn name(&self, user: &User) -> &str {
        self.state.texts.get(user.username)
    }

    /// Whom gateways see under a name: whoever is not deprovisioned, else the latest.
    pub(super) fn find(&self, name: &str) -> Option<&User> {
        let called = self.state.users.iter().filter(|user| self.name(user) == name);
        called.max_by_key(|user| (!user.status.is_deprovisioned(), user.id))
    }

    /// Everybody who is, or was once, called `name`.
    pub(super) fn ever_called(&self, name: &str) -> BTreeSet<UserId> {
        let states = self.past.iter().map(|past| &past.state);
        let called = |state: &State, user: &User| state.texts.get(user.username) == name;
        let each = states.flat_map(|state| state.users.iter().filter(|user| called(state, user)));
        each.map(|user| user.id).collect()
    }

    pub(super) fn roles_of_set(&self, id: RoleSetId) -> &[String] {
        self.sets.get(&id).map_or(&[], |set| &set.roles)
    }

    /// The external ids by which `local` knows people.
    fn locals(&self) -> impl Iterator<Item = (UserId, &LocalAccount)> {
        let of_local = |link: &&crate::model::Link| {
            self.state.sources.get(link.source).is_some_and(|name| name == local::NAME)
        };
        let links = self.state.links.iter().filter(of_local);
        links.filter_map(|it| Some((it.user, self.accounts.get(self.state.texts.get(it.ext))?)))
    }

    pub(super) fn services(&self) -> BTreeSet<UserId> {
        self.locals().filter(|(_, account)| account.service).map(|(user, _)| user).collect()
    }

    pub(super) fn spoken_for(&self) -> Vec<String> {
        let here =
            |user: &UserId| self.person(*user).is_some_and(|it| !it.status.is_deprovisioned());
        self.locals()
            .filter(|(user, account)| (account.service || account.admin) && here(user))
            .map(|(user, _)| self.called(user).to_owned())
            .collect()
    }

    pub(super) fn users(&self, each: &mut dyn FnMut(UserRow)) {
        let services = self.services();
        let mut users: Vec<&User> = self.state.users.iter().collect();
        users.sort_by_key(|user| {
            (self.name(user), user.status.is_deprovisioned(), std::cmp::Reverse(user.id))
        });
        for user in users {
            each(UserRow {
                id: user.id,
                username: self.name(user).to_owned(),
                email: self.state.texts.get(user.email).to_owned(),
                status: user.status.clone(),
                roles: self.roles_of_set(user.role_set).into(),
                service: services.contains(&user.id),
            });
        }
    }

    pub(super) fn user(&self, name: &str) -> Result<Option<UserDetail>, Inconsistent> {
        let Some(user) = self.find(name) else { return Ok(None) };
        let state = &self.state;
        let mine = state.links.iter().filter(|link| link.user == user.id);
        let mut links: Vec<(String, String)> = mine
            .filter_map(|link| {
                Some((
                    state.sources.get(link.source)?.clone(),
                    state.texts.get(link.ext).to_owned(),
                ))
            })
            .collect();
        links.sort();
        let mut grants = Vec::new();
        for grant in state.grants.iter().filter(|grant| grant.user == user.id) {
            let role = state.roles.get(grant.role).ok_or(Inconsistent::NoSuchRole(grant.role))?;
            let (reasons, local) = match grant.kind {
                GrantKind::Idp(set) => (state.reasons.of_set(set)?.cloned().collect(), None),
                GrantKind::Local(local) => (Vec::new(), Some(state.local(local)?.clone())),
            };
            grants.push(GrantDetail { role: role.name.clone(), mode: role.mode, reasons, local });
        }
        Ok(Some(UserDetail {
            id: user.id,
            username: name.to_owned(),
            email: state.texts.get(user.email).to_owned(),
            status: user.status.clone(),
            role_set: user.role_set,
            roles: self.roles_of_set(user.role_set).to_vec(),
            links,
            grants,
            local: self.locals().find(|(id, _)| *id == user.id).map(|(_, it)| it.clone()),
        }))
    }

    pub(super) fn effective(&self, name: &str) -> Option<EffectiveRoles> {
        let user = self.find(name)?;
        let names = self.roles_of_set(user.role_set);
        let mine = |role: &&Role| names.contains(&role.name);
        let roles = self.state.roles.iter().filter(mine).cloned().collect();
        Some(EffectiveRoles { status: user.status.clone(), roles })
    }

    /// Those whose roles count now, by name, with what is decided for them.
    fn counting(&self) -> BTreeMap<&str, &User> {
        let counting = self.state.users.iter().filter(|user| user.status.counts());
        counting.map(|user| (self.name(user), user)).collect()
    }

    fn decisions(&self, user: &User) -> impl Iterator<Item = &Decision> {
        self.sets.get(&user.role_set).into_iter().flat_map(|set| &set.decisions)
    }

    pub(super) fn decision(
        &self,
        name: &str,
        action: &Action,
        resource: Option<&Resource>,
    ) -> Option<StoredDecision> {
        let user = self.find(name).filter(|user| user.status.counts())?;
        let asked =
            |it: &&Decision| it.listed && it.action == *action && it.resource.as_ref() == resource;
        let mut decisions = self.decisions(user).filter(asked);
        let decided = decisions.find(|it| concerns(it.whose, resource, name))?;
        Some(StoredDecision { effect: decided.effect, role: decided.role.clone() })
    }

    pub(super) fn holders(&self, each: &mut dyn FnMut(&str, SetKey) -> ControlFlow<()>) {
        for (name, user) in self.counting() {
            if each(name, self.set_key(user.role_set)).is_break() {
                return;
            }
        }
    }

    pub(super) fn reached_by(&self, identity: &str) -> Vec<ReachedBy> {
        let mut out = Vec::new();
        let wanted = |row: &&crate::model::WorkloadIdentity| {
            row.identity.as_deref().is_none_or(|known| known == identity)
        };
        for row in self.state.workload.iter().filter(wanted) {
            let pool = format!("pool/{}", row.pool);
            for (name, user) in self.counting() {
                for it in self.decisions(user) {
                    if it.effect == Effect::Allow
                        && via().contains(&it.action)
                        && it.resource.as_ref().is_some_and(|it| it.as_str() == pool)
                        && concerns(it.whose, it.resource.as_ref(), name)
                    {
                        out.push(ReachedBy {
                            row: row.clone(),
                            user: name.to_owned(),
                            via_action: it.action.to_string(),
                            role: it.role.clone(),
                        });
                    }
                }
            }
        }
        out.sort();
        out
    }

    pub(super) fn tokens(
        &self,
        of: Option<UserId>,
        each: &mut dyn FnMut(TokenRow),
    ) -> Result<(), Inconsistent> {
        let (tokens, services) = (&self.state.tokens, self.services());
        let mut rows = Vec::new();
        for token in tokens.list().iter().filter(|token| of.is_none_or(|it| it == token.user)) {
            let Some(owner) = self.person(token.user) else { continue };
            let made = self.made.get(&token.digest);
            rows.push(TokenRow {
                user_id: owner.id,
                user: self.name(owner).to_owned(),
                owner: owner.status.clone(),
                service: services.contains(&owner.id),
                name: tokens.name(token).to_owned(),
                expires_at: token.expires_at,
                roles: tokens.roles(token)?.into(),
                description: made.map(|made| made.description.clone()).unwrap_or_default(),
                by: made.map_or("", |made| &made.by).into(),
                at: made.map_or(token.expires_at, |made| made.at),
                role_set: token.role_set,
            });
        }
        rows.sort_by(|a, b| (&a.user, a.user_id, &a.name).cmp(&(&b.user, b.user_id, &b.name)));
        rows.into_iter().for_each(each);
        Ok(())
    }
}

/// So that a list can be shared where it is shown.
pub(super) fn shared(text: &str) -> Rc<str> {
    text.into()
}

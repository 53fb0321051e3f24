//! Who held what at a generation: every state is still here, so it is looked at.

use super::content::{Content, Past};
use super::people::shared;
use crate::model::{GrantKind, Inconsistent, Time, User, UserId};
use crate::plan::{reason, sorted};
use crate::store::{Access, AccessChange, AccessFilter, AsOf, Began, Generation, Untold, Ways};

impl Past {
    fn user(&self, id: UserId) -> Option<&User> {
        self.state.users.iter().find(|user| user.id == id)
    }

    fn holds(&self, id: UserId, role: &str) -> bool {
        let set = self.user(id).and_then(|user| self.sets.get(&user.role_set));
        set.is_some_and(|set| set.roles.iter().any(|held| held == role))
    }
}

impl Content {
    pub(super) fn generation(&self, as_of: AsOf, now: Time) -> Result<Generation, Untold> {
        let (Some(first), Some(last)) = (self.past.first(), self.past.last()) else {
            return Err(Untold::None);
        };
        let (first, last) = (first.generation, last.generation);
        let mut all = self.past.iter().rev().map(|past| past.generation);
        match as_of {
            AsOf::Generation(asked) => {
                all.find(|it| it.num == asked).ok_or(Untold::NotThere { asked, first, last })
            }
            AsOf::Time(asked) if asked > now.max(last.at) => Err(Untold::ToCome(asked)),
            AsOf::Time(asked) => {
                all.find(|it| it.at <= asked).ok_or(Untold::Before { asked, first })
            }
        }
    }

    /// Every pair at `generation`, by username, then by role.
    pub(super) fn access(
        &self,
        generation: u64,
        filter: &AccessFilter,
    ) -> Result<Vec<Access>, Inconsistent> {
        let place = self.past.iter().position(|past| past.generation.num == generation);
        let Some(past) = place.and_then(|place| self.past.get(..=place)) else {
            return Ok(Vec::new());
        };
        let Some(then) = past.last() else { return Ok(Vec::new()) };
        let services = self.services();
        let mut held = Vec::new();
        for user in &then.state.users {
            let name = then.state.texts.get(user.username);
            if filter.user.as_deref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            let roles = then.sets.get(&user.role_set).into_iter().flat_map(|set| &set.roles);
            for role in roles.filter(|it| filter.role.as_ref().is_none_or(|wanted| wanted == *it)) {
                let began = past.iter().rev().take_while(|past| past.holds(user.id, role)).last();
                let mut access = Access {
                    user_id: user.id,
                    user: shared(name),
                    role: shared(role),
                    since: Began::In(began.unwrap_or(then).generation),
                    everyone: then.state.roles.iter().any(|it| it.name == *role && it.everyone),
                    idp: None,
                    local: None,
                    service: services.contains(&user.id),
                };
                then.ways(&mut access)?;
                held.push(access);
            }
        }
        held.sort_by(|a, b| (&a.user, a.user_id, &a.role).cmp(&(&b.user, b.user_id, &b.role)));
        Ok(held)
    }

    pub(super) fn access_changes(
        &self,
        (from, to): (u64, u64),
        filter: &AccessFilter,
    ) -> Result<Vec<AccessChange>, Inconsistent> {
        let by_role = AccessFilter { user: None, role: filter.role.clone() };
        let mut was = self.access(from, &by_role)?;
        let mut changes = Vec::new();
        let pair = |a: &Access, b: &Access| a.user_id == b.user_id && a.role == b.role;
        for is in self.access(to, &by_role)? {
            let place = was.iter().position(|was| pair(was, &is));
            match place.map(|place| was.remove(place)) {
                Some(was) if was == is => {}
                Some(was) => changes.push(AccessChange::Changed { was, is }),
                None => changes.push(AccessChange::Added(is)),
            }
        }
        changes.extend(was.into_iter().map(AccessChange::Removed));
        let of = |change: &AccessChange| match change {
            AccessChange::Added(it) | AccessChange::Removed(it) => [it.clone(), it.clone()],
            AccessChange::Changed { was, is } => [is.clone(), was.clone()],
        };
        let wanted = |change: &AccessChange| {
            let wanted = filter.user.as_deref();
            wanted.is_none_or(|wanted| of(change).iter().any(|it| &*it.user == wanted))
        };
        changes.retain(wanted);
        // By what people are called now, or were last.
        changes.sort_by_key(|change| {
            let [it, _] = of(change);
            let name = self.person(it.user_id).map(|user| self.name(user).to_owned());
            (name, it.user_id, it.role)
        });
        Ok(changes)
    }
}

impl Past {
    /// Says why `access` is held.
    fn ways(&self, access: &mut Access) -> Result<(), Inconsistent> {
        let mine = self.state.grants.iter().filter(|grant| grant.user == access.user_id);
        for grant in mine {
            let role = self.state.roles.get(grant.role);
            if role.is_none_or(|role| role.name.as_str() != &*access.role) {
                continue;
            }
            match grant.kind {
                GrantKind::Idp(set) => {
                    let reasons = sorted(self.state.reasons.of_set(set)?);
                    let words = reasons.into_iter().map(|it| shared(&reason(it)));
                    access.idp = Some(Ways(words.collect()));
                }
                GrantKind::Local(local) => access.local = Some(self.state.local(local)?.clone()),
            }
        }
        Ok(())
    }
}

//! What a state becomes when some changes, or a whole plan, are applied. Pure: the store does the same
//! to its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::change::Plan;
use super::copy::{Copied, Copy};
use crate::model::{
    Change, Grant, GrantKind, Inconsistent, IndexVec, Link, Role, RoleIdx, RoleMap, SourceIdx,
    State, Status, Text, UserId,
};

impl Plan {
    /// What `old` becomes when the plan is applied to it: what the store does to its rows. `old` is
    /// what the plan was made from, or an equal state from elsewhere.
    ///
    /// # Errors
    /// `old` is another one: the two do not fit together.
    pub fn applied(&self, old: &State) -> Result<State, Inconsistent> {
        let tables = &self.tables;
        // With what the changes add and make of them: roles that are still to come stand in the
        // tables too.
        let mut roles = old.roles.to_vec();
        for change in &self.changes {
            if let Change::RoleAdded { role } | Change::RoleChanged { role, .. } = change
                && let Some(role) = tables.roles.get(*role)
            {
                match roles.binary_search_by(|other| other.name.cmp(&role.name)) {
                    Ok(place) => {
                        roles.get_mut(place).into_iter().for_each(|it| it.clone_from(role))
                    }
                    Err(place) => roles.insert(place, role.clone()),
                }
            }
        }
        let roles: IndexVec<RoleIdx, Role> = roles.try_into()?;
        let place = |role: &Role| roles.find_by(|other| other.name.cmp(&role.name));
        let mut sources = old.sources.clone();
        let mut source_places = IndexVec::with_capacity(tables.sources.len());
        for name in &tables.sources {
            let known = sources.position(|source| source == name);
            source_places.push(known.map_or_else(|| sources.push(name.clone()), Ok)?)?;
        }
        let mut reasons = old.reasons.clone();
        for (before, now) in &self.renewed {
            reasons.renew(before, now);
        }
        let mut copy = Copy {
            from: tables,
            texts: old.texts.clone(),
            reasons,
            locals: old.locals.clone(),
            roles: tables.roles.map(place),
            sources: source_places,
            copied: Copied::default(),
        };
        let changes = self.changes.iter().map(|change| copy.change(change));
        let changes = changes.collect::<Result<Vec<Change>, _>>()?;
        let users = tables.users.iter().map(|user| copy.user(user));
        let users = users.collect::<Result<_, _>>()?;
        let Copy { texts, reasons, locals, .. } = copy;
        let full = State {
            texts,
            roles,
            sources,
            users,
            links: Vec::new(),
            grants: Vec::new(),
            reasons,
            locals,
            tokens: Arc::clone(&old.tokens),
            catalog: tables.catalog.clone(),
            workload: tables.workload.clone(),
            next_user: tables.next_user,
        };
        let mut state = apply(old, &full, &changes)?;
        for (user, set) in tables.users.iter().zip(&self.user_sets) {
            if let Ok(place) = state.users.binary_search_by_key(&user.id, |user| user.id)
                && let Some(user) = state.users.get_mut(place)
            {
                user.role_set = *set;
            }
        }
        super::tokens::applied(self, &mut state)?;
        let gone = changes.iter().filter_map(|change| match change {
            Change::RoleRemoved { role } => Some(*role),
            _ => None,
        });
        without_roles(&mut state, &gone.collect())?;
        Ok(state)
    }
}

/// Takes roles that nobody holds any more out of a state.
fn without_roles(state: &mut State, gone: &BTreeSet<RoleIdx>) -> Result<(), Inconsistent> {
    if gone.is_empty() {
        return Ok(());
    }
    let mut left = IndexVec::default();
    let mut places: IndexVec<RoleIdx, Option<RoleIdx>> = IndexVec::default();
    for (role, def) in state.roles.numbered() {
        let stays = !gone.contains(&role);
        places.push(stays.then(|| left.push(def.clone())).transpose()?)?;
    }
    for grant in &mut state.grants {
        let place = places.get(grant.role).copied().flatten();
        grant.role = place.ok_or(Inconsistent::NoSuchRole(grant.role))?;
    }
    state.roles = left;
    Ok(())
}

/// Applies `changes`, a subset of those that lead from `old` to `full`, to `old`. Texts, reasons,
/// local grants and role numbers are `full`'s.
///
/// # Errors
/// A role of `old` is not in `full`, or a grant is of none.
pub fn apply(old: &State, full: &State, changes: &[Change]) -> Result<State, Inconsistent> {
    let mut state = State {
        texts: full.texts.clone(),
        roles: full.roles.clone(),
        sources: full.sources.clone(),
        users: old.users.clone(),
        links: old.links.clone(),
        grants: Vec::new(),
        reasons: full.reasons.clone(),
        locals: full.locals.clone(),
        // As they were: what becomes of them follows from the rest, and is settled last.
        tokens: old.tokens.clone(),
        catalog: old.catalog.clone(),
        workload: old.workload.clone(),
        next_user: full.next_user,
    };
    roles(old, full, changes, &mut state);
    users(full, changes, &mut state)?;
    grants(old, changes, &mut state)?;
    // By what they say: the same external id may stand in the arena twice.
    let mut outgrown: HashSet<(UserId, SourceIdx, &str)> = HashSet::new();
    let mut claims: HashMap<(UserId, SourceIdx, &str), Option<Text>> = HashMap::new();
    for change in changes {
        match change {
            Change::LinkAdded { user, source, ext } => {
                let claim = None;
                state.links.push(Link { source: *source, ext: *ext, user: *user, claim });
            }
            Change::LinkClaims { user, source, ext, claim } => {
                claims.insert((*user, *source, full.texts.get(*ext)), *claim);
            }
            Change::LinkRemoved { user, source, ext } => {
                outgrown.insert((*user, *source, full.texts.get(*ext)));
            }
            Change::CatalogChanged => state.catalog.clone_from(&full.catalog),
            Change::WorkloadChanged => state.workload.clone_from(&full.workload),
            _ => {}
        }
    }
    if !outgrown.is_empty() {
        let ext = |link: &Link| full.texts.get(link.ext);
        state.links.retain(|link| !outgrown.contains(&(link.user, link.source, ext(link))));
    }
    if !claims.is_empty() {
        for link in &mut state.links {
            if let Some(claim) = claims.get(&(link.user, link.source, full.texts.get(link.ext))) {
                link.claim = *claim;
            }
        }
    }
    Ok(state)
}

fn roles(old: &State, full: &State, changes: &[Change], state: &mut State) {
    let mut settled = HashSet::new();
    for change in changes {
        if let Change::RoleAdded { role }
        | Change::RoleChanged { role, .. }
        | Change::RoleRemoved { role } = change
        {
            settled.insert(*role);
        }
    }
    // A role that no change of these speaks of stays as it was; one that is still to be added is
    // nobody's yet.
    for (place, role) in full.roles.numbered().filter(|(place, _)| !settled.contains(place)) {
        let slot = state.roles.at_mut(place);
        let before = old.roles.find_by(|before| before.name.cmp(&role.name));
        match before.map(|place| old.roles.at(place)) {
            Some(before) => slot.clone_from(before),
            None => slot.everyone = false,
        }
    }
}

fn users(full: &State, changes: &[Change], state: &mut State) -> Result<(), Inconsistent> {
    let wanted = |id: UserId| {
        let place = full.users.binary_search_by_key(&id, |user| user.id).ok();
        place.and_then(|place| full.users.get(place)).ok_or(Inconsistent::NoSuchUser(id))
    };
    for change in changes {
        let id = match change {
            Change::UserCreated { user } => {
                // New ids are higher than all there are, and come in order.
                state.users.push(wanted(*user)?.clone());
                continue;
            }
            Change::UserRenamed { user, .. }
            | Change::EmailChanged { user, .. }
            | Change::UserDisabled { user, .. }
            | Change::UserEnabled { user }
            | Change::UserMissing { user }
            | Change::UserReturned { user }
            | Change::UserDeprovisioned { user, .. } => *user,
            _ => continue,
        };
        let full = wanted(id)?;
        let place = state.users.binary_search_by_key(&id, |user| user.id).ok();
        let user = place.and_then(|place| state.users.get_mut(place));
        let user = user.ok_or(Inconsistent::NoSuchUser(id))?;
        match change {
            Change::UserRenamed { .. } => user.username = full.username,
            Change::EmailChanged { .. } => user.email = full.email,
            Change::UserDisabled { by, .. } => user.status = Status::Disabled { by: by.clone() },
            Change::UserEnabled { .. } | Change::UserReturned { .. } => {
                user.status = Status::Enabled;
            }
            _ => user.status = full.status.clone(),
        }
    }
    Ok(())
}

fn grants(old: &State, changes: &[Change], state: &mut State) -> Result<(), Inconsistent> {
    let mut gone: HashSet<(UserId, RoleIdx, bool)> = HashSet::new();
    let mut other: HashMap<(UserId, RoleIdx), GrantKind> = HashMap::new();
    for change in changes {
        match change {
            Change::GrantRemoved { user, role, kind, .. } => {
                gone.insert((*user, *role, kind.is_idp()));
            }
            Change::GrantReasons { user, role, new, .. } => {
                other.insert((*user, *role), GrantKind::Idp(*new));
            }
            Change::GrantAdded { user, role, kind } => {
                state.grants.push(Grant { user: *user, role: *role, kind: *kind });
            }
            _ => {}
        }
    }
    let moved = RoleMap::of(&old.roles, &state.roles)?;
    for grant in &old.grants {
        let role = moved.get(grant.role)?;
        if gone.contains(&(grant.user, role, grant.kind.is_idp())) {
            continue;
        }
        let kind = match grant.kind {
            GrantKind::Idp(_) => other.get(&(grant.user, role)).copied().unwrap_or(grant.kind),
            GrantKind::Local(_) => grant.kind,
        };
        state.grants.push(Grant { user: grant.user, role, kind });
    }
    state.grants.sort_unstable_by_key(|grant| (grant.user, grant.role, grant.kind));
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::{RoleSets, TablesRef};

    /// What a state says, all numbers but people's put into words.
    fn words(state: &State, sets: &RoleSets) -> Vec<String> {
        let role = |role: RoleIdx| &state.roles.get(role).unwrap().name;
        let mut words = Vec::new();
        for (user, set) in state.users.iter().zip(&sets.users) {
            let (name, email) = (state.texts.get(user.username), state.texts.get(user.email));
            words.push(format!("{} {name} {email} {:?} {set}", user.id, user.status));
        }
        for grant in &state.grants {
            let why = match grant.kind {
                GrantKind::Idp(set) => {
                    let mut all: Vec<_> = state.reasons.of_set(set).unwrap().collect();
                    all.sort();
                    format!("{all:?}")
                }
                GrantKind::Local(local) => format!("{:?}", state.local(local).unwrap()),
            };
            words.push(format!("{} {} {why}", grant.user, role(grant.role)));
        }
        for link in &state.links {
            // To be called as the person is called says nothing, and no change does.
            let called = TablesRef::from(state).username(link.user);
            let claim = link.claim.map(|claim| state.texts.get(claim));
            let claim = claim.filter(|claim| Some(*claim) != called);
            let ext = state.texts.get(link.ext);
            let source = state.sources.get(link.source).unwrap();
            words.push(format!("{source} {ext} {} {claim:?}", link.user));
        }
        for (place, token) in state.tokens.list().numbered() {
            let (name, roles) = (state.tokens.name(token), state.tokens.roles(token).unwrap());
            let new = sets.tokens.iter().find(|(it, _)| *it == place);
            let set = new.map_or(token.role_set, |(_, set)| *set);
            words.push(format!("{} {name} {roles:?} {} {set}", token.user, token.expires_at));
        }
        words.sort();
        words
    }

    /// That `plan` leads from `old` to what it was made from.
    pub(in crate::plan) fn assert_stands_alone(
        plan: &Plan,
        old: &State,
        (paper, sets): &(State, RoleSets),
    ) {
        let state = plan.applied(old).unwrap();
        let users = state.users.iter().map(|user| user.role_set).collect();
        let applied = RoleSets { users, ..RoleSets::default() };
        assert_eq!(words(&state, &applied), words(paper, sets));
    }
}

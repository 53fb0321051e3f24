//! What a state becomes when some changes are applied. Pure: the store does the same to its rows.

use hashbrown::{HashMap, HashSet};

use crate::model::{
    Change, Grant, GrantKind, Inconsistent, Link, RoleIdx, RoleMap, SourceIdx, State, Status, Text,
    UserId,
};

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
    users(full, changes, &mut state);
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
        let Some(slot) = state.roles.get_mut(place) else { continue };
        let before = old.roles.find_by(|before| before.name.cmp(&role.name));
        match before.and_then(|place| old.roles.get(place)) {
            Some(before) => slot.clone_from(before),
            None => slot.everyone = false,
        }
    }
}

fn users(full: &State, changes: &[Change], state: &mut State) {
    let wanted = |id: UserId| {
        let place = full.users.binary_search_by_key(&id, |user| user.id).ok()?;
        full.users.get(place)
    };
    for change in changes {
        let id = match change {
            Change::UserCreated { user } => {
                // New ids are higher than all there are, and come in order.
                state.users.extend(wanted(*user).cloned());
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
        let Some(full) = wanted(id) else { continue };
        let Ok(place) = state.users.binary_search_by_key(&id, |user| user.id) else { continue };
        let Some(user) = state.users.get_mut(place) else { continue };
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

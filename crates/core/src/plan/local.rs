//! What is done by hand to one person of `local`: of all that resolving comes to only what concerns
//! that person, so that nothing else that waits for the next sync slips in.
//!
//! To be removed by hand is no absence. Whoever no other source lists is gone at once, with every
//! grant, and the guard has only one thing to say: a protected role is not left without a holder.

use crate::directory::local::NAME;
use crate::model::{
    Actor, Cause, Change, Diagnostic, Grant, GrantKind, Inconsistent, LocalGrant, RoleIdx,
    SourceIdx, State, Status, Time, TooMany, UserId,
};
use crate::resolve::Resolved;

use super::apply::apply;
use super::change::Plan;
use super::effective::Effective;
use super::make::finish;
use super::not_planned::NotPlanned;

/// Whom the source `local` knows by `ext`.
#[must_use]
pub fn person(state: &State, ext: &str) -> Option<UserId> {
    let source = place(state)?;
    let mine =
        |link: &&crate::model::Link| link.source == source && state.texts.get(link.ext) == ext;
    state.links.iter().find(mine).map(|link| link.user)
}

/// The source `local`, where anybody was ever known in it.
fn place(state: &State) -> Option<SourceIdx> {
    state.sources.position(|name| name == NAME)
}

/// Whoever is called `name`, deprovisioned people aside.
#[must_use]
pub fn called(state: &State, name: &str) -> Option<UserId> {
    let mine = |user: &&crate::model::User| {
        !user.status.is_deprovisioned() && state.texts.get(user.username) == name
    };
    state.users.iter().find(mine).map(|user| user.id)
}

/// The sources that know `user`, but for `local`. Sorted.
#[must_use]
pub fn known_in(state: &State, user: UserId) -> Vec<&str> {
    let mine = state.links.iter().filter(|link| link.user == user);
    let mut names: Vec<&str> = mine
        .filter_map(|link| state.sources.get(link.source).map(String::as_str))
        .filter(|name| *name != NAME)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `user add`: what makes the account `ext`, called `name`, somebody.
///
/// # Errors
/// Who is who keeps it from being anybody: why.
pub fn add(
    resolved: Resolved,
    old: &State,
    (name, ext): (&str, &str),
    now: Time,
) -> Result<Plan, NotPlanned> {
    let Resolved { state: full, changes, diagnostics, .. } = resolved;
    let Some(user) = person(&full, ext) else {
        let about = |it: &&Diagnostic| it.subject.is_person(name) || it.subject.is_person(ext);
        let why = diagnostics.iter().filter(about).cloned().collect();
        return Err(NotPlanned::NotAdded { name: name.to_owned(), why });
    };
    let nameless = |user: UserId| user_at(old, user).is_some_and(|user| user.email.is_empty());
    let chosen: Vec<Change> = changes
        .into_iter()
        .filter(|change| change.user() == Some(user))
        .filter(|change| match change {
            Change::UserCreated { .. } | Change::UserReturned { .. } => true,
            Change::EmailChanged { user, .. } => nameless(*user),
            Change::LinkAdded { source, .. } => Some(*source) == place(&full),
            // What other sources have to say of the person waits for the next sync.
            _ => false,
        })
        .collect();
    let state = apply(old, &full, &chosen)?;
    let bearers = state
        .users
        .iter()
        .filter(|user| !user.status.is_deprovisioned() && state.texts.get(user.username) == name);
    if bearers.count() > 1 {
        return Err(NotPlanned::NameTaken { name: name.to_owned() });
    }
    Ok(planned(old, state, chosen, now)?)
}

/// `user disable`, `user enable`: how `local` says that the person stands.
///
/// # Errors
/// The state contradicts itself.
pub fn stand(old: &State, user: UserId, enabled: bool, now: Time) -> Result<Plan, Inconsistent> {
    let mut state = old.clone();
    let place = state.users.binary_search_by_key(&user, |user| user.id).ok();
    let mut changes = Vec::new();
    if let Some(row) = place.and_then(|place| state.users.get_mut(place)) {
        match (&row.status, enabled) {
            (Status::Enabled, false) => {
                row.status = Status::Disabled { by: NAME.to_owned() };
                let federation = crate::model::Text::EMPTY;
                changes.push(Change::UserDisabled { user, by: NAME.to_owned(), federation });
            }
            (Status::Disabled { by }, true) if by == NAME => {
                row.status = Status::Enabled;
                changes.push(Change::UserEnabled { user });
            }
            // Another source says so as well, or the person is gone from it: that stands.
            _ => {}
        }
    }
    planned(old, state, changes, now)
}

/// `user remove`: the account `ext` goes. `resolved`: without it.
///
/// # Errors
/// The store knows nobody by that account.
pub fn remove(
    mut resolved: Resolved,
    old: &State,
    ext: &str,
    by: &Actor,
    now: Time,
) -> Result<Plan, NotPlanned> {
    let user = person(old, ext).ok_or(NotPlanned::NoLocalAccount)?;
    take_out(&mut resolved, old, ext, by, now)?;
    let Resolved { state: full, changes, .. } = resolved;
    let was_local = user_at(old, user)
        .is_some_and(|user| matches!(&user.status, Status::Disabled { by } if by == NAME));
    let chosen: Vec<Change> = changes
        .into_iter()
        .filter(|change| change.user() == Some(user))
        .filter(|change| match change {
            Change::UserDeprovisioned { cause, .. } | Change::GrantRemoved { cause, .. } => {
                matches!(cause, Cause::ByHand { .. })
            }
            Change::LinkRemoved { source, .. } => Some(*source) == place(&full),
            Change::UserEnabled { .. } | Change::UserDisabled { .. } => was_local,
            Change::EmailChanged { .. } => true,
            _ => false,
        })
        .collect();
    let state = apply(old, &full, &chosen)?;
    Ok(planned(old, state, chosen, now)?)
}

/// Makes of an account that `local` has no more that the person is gone at once, where no other
/// source lists them; otherwise only that `local` does not know them.
///
/// # Errors
/// A grant is of a role that `old` has not.
pub fn take_out(
    resolved: &mut Resolved,
    old: &State,
    ext: &str,
    by: &Actor,
    now: Time,
) -> Result<(), Inconsistent> {
    let Some(user) = person(old, ext) else { return Ok(()) };
    let Resolved { state, changes, .. } = resolved;
    let Ok(at) = state.users.binary_search_by_key(&user, |user| user.id) else {
        return Ok(());
    };
    let Some(row) = state.users.get_mut(at) else { return Ok(()) };
    let cause = || Cause::ByHand { by: by.clone() };
    if !matches!(row.status, Status::Missing { .. } | Status::Deprovisioned { .. }) {
        // Without the source there is no link of it either.
        let Some(source) = place(state) else { return Ok(()) };
        let link = state.links.iter().position(|link| {
            link.user == user && link.source == source && state.texts.get(link.ext) == ext
        });
        if let Some(link) = link.map(|link| state.links.swap_remove(link)) {
            changes.push(Change::LinkRemoved { user, source, ext: link.ext });
        }
        return Ok(());
    }
    row.status = Status::Deprovisioned { since: now };
    changes.retain(|change| change.user() != Some(user));
    changes.push(Change::UserDeprovisioned { user, cause: cause() });
    state.grants.retain(|grant| grant.user != user);
    for grant in old.grants.iter().filter(|grant| grant.user == user) {
        let held = old.roles.get(grant.role).ok_or(Inconsistent::NoSuchRole(grant.role))?;
        if let Some(role) = role_at(state, &held.name) {
            changes.push(Change::GrantRemoved { user, role, kind: grant.kind, cause: cause() });
        }
    }
    Ok(())
}

/// Sees to it that `user` has a local grant of `role`, whatever its mode says of grants by hand, and
/// none of another role by the same `by`. Without a `role`: none at all by `by`.
///
/// # Errors
/// There are more grants by hand than can be numbered.
pub fn ensure_grant(
    resolved: &mut Resolved,
    user: UserId,
    role: Option<&str>,
    by: &Actor,
    (reason, now): (&str, Time),
) -> Result<(), TooMany> {
    let Resolved { state, changes, .. } = resolved;
    let wanted = role.and_then(|role| role_at(state, role));
    // Mode force has just dropped it: that is about those of whom the IdP has a say.
    let dropped = changes.iter().position(|change| {
        matches!(change, Change::GrantRemoved { user: who, role, kind: GrantKind::Local(_), cause }
            if *who == user && Some(*role) == wanted && *cause != Cause::Expired)
    });
    if let Some(Change::GrantRemoved { role, kind, .. }) = dropped.map(|at| changes.remove(at)) {
        state.grants.push(Grant { user, role, kind });
        state.grants.sort_unstable_by_key(|grant| (grant.user, grant.role, grant.kind));
    }
    let locals = &state.locals;
    let mut held = false;
    state.grants.retain(|grant| {
        let GrantKind::Local(local) = grant.kind else { return true };
        if grant.user != user {
            return true;
        }
        if Some(grant.role) == wanted {
            held = true;
            return true;
        }
        if locals.get(local).is_none_or(|local| local.by != *by) {
            return true;
        }
        let new = |change: &Change| {
            matches!(change, Change::GrantAdded { user: who, role, kind }
                if (*who, *role, *kind) == (grant.user, grant.role, grant.kind))
        };
        if changes.iter().any(new) {
            changes.retain(|change| !new(change));
        } else {
            let (role, kind) = (grant.role, grant.kind);
            let cause = Cause::ByHand { by: by.clone() };
            changes.push(Change::GrantRemoved { user, role, kind, cause });
        }
        false
    });
    let Some(role) = wanted.filter(|_| !held) else { return Ok(()) };
    let story = LocalGrant { by: by.clone(), at: now, reason: reason.to_owned(), until: None };
    let kind = GrantKind::Local(state.locals.push(story)?);
    state.grants.push(Grant { user, role, kind });
    state.grants.sort_unstable_by_key(|grant| (grant.user, grant.role, grant.kind));
    changes.push(Change::GrantAdded { user, role, kind });
    Ok(())
}

/// A protected role that a plan would leave with fewer holders than it may have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "protected role `{role}` would be left with {left} effective holders, fewer than {least}: give it \
     to somebody else first"
)]
pub struct Shortfall {
    /// The role's name.
    pub role: String,
    /// How many would hold it.
    pub left: u64,
    /// How many must.
    pub least: u64,
}

/// The protected role that `plan` would leave with fewer holders than it may have. `protected`: each
/// with the fewest.
///
/// # Errors
/// A state contradicts itself.
pub fn shortfall(
    old: &State,
    plan: &Plan,
    protected: &[(String, u64)],
) -> Result<Option<Shortfall>, Inconsistent> {
    let new = plan.applied(old)?;
    let (before, after) = (Effective::of(old, plan.at)?, Effective::of(&new, plan.at)?);
    let holders = |state: &State, effective: &Effective, name: &str| {
        let Some(role) = role_at(state, name) else { return 0 };
        let mine = |place: &usize| effective.roles(*place).binary_search(&role).is_ok();
        (0..effective.users()).filter(mine).count() as u64
    };
    Ok(protected.iter().find_map(|(name, least)| {
        let was = holders(old, &before, name);
        let left = holders(&new, &after, name);
        (left < *least && left < was).then(|| Shortfall { role: name.clone(), left, least: *least })
    }))
}

fn role_at(state: &State, name: &str) -> Option<RoleIdx> {
    state.roles.find_by(|role| role.name.as_str().cmp(name))
}

fn user_at(state: &State, user: UserId) -> Option<&crate::model::User> {
    let place = state.users.binary_search_by_key(&user, |user| user.id).ok()?;
    state.users.get(place)
}

fn planned(
    old: &State,
    state: State,
    changes: Vec<Change>,
    now: Time,
) -> Result<Plan, Inconsistent> {
    let (before, after) = (Effective::of(old, now)?, Effective::of(&state, now)?);
    finish(old, state, changes, (&before, after), now)
}

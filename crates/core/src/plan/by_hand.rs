//! What a person asks for by hand: one grant or one token, made or taken away.

use crate::model::{
    Actor, Cause, Change, Grant, GrantKind, Inconsistent, LocalGrant, Mode, NewToken, Role,
    RoleIdx, Standing, State, Time, User, UserId, token,
};

use super::change::Plan;
use super::effective::{Effective, valid};
use super::make::finish;
use super::not_planned::NotPlanned;

/// What a person asks for by hand.
#[derive(Clone, Debug)]
pub enum ByHand {
    /// `grant add`
    Add {
        /// To whom.
        user: UserId,
        /// What.
        role: RoleIdx,
        /// The story.
        grant: LocalGrant,
    },
    /// `grant remove`
    Remove {
        /// From whom.
        user: UserId,
        /// What.
        role: RoleIdx,
        /// The idp grant (`--imported`), or the local one; `None`: the local one, else the other.
        imported: Option<bool>,
        /// Who does it.
        by: Actor,
    },
    /// `token create`
    AddToken {
        /// For whom.
        user: UserId,
        /// The token. Without roles: with every role that the user is granted now.
        token: Box<NewToken>,
        /// Takes the place of a token of the same name.
        replace: bool,
    },
    /// `token revoke`
    RemoveToken {
        /// From whom.
        user: UserId,
        /// Its name.
        name: String,
        /// Who does it, and why if they say so.
        by: Actor,
    },
}

/// Plans what a person asks for by hand.
///
/// # Errors
/// Why it is refused.
pub fn by_hand(old: &State, wish: ByHand, now: Time) -> Result<Plan, NotPlanned> {
    let mut full = old.clone();
    let before = Effective::of(old, now)?;
    let changes = match wish {
        ByHand::Add { user, role, grant } => add_grant(old, &mut full, (user, role), grant)?,
        ByHand::Remove { user, role, imported, by } => {
            remove_grant(old, &mut full, (user, role), imported, by)?
        }
        ByHand::AddToken { user, token, replace } => {
            add_token(old, &before, user, *token, replace, now)?
        }
        ByHand::RemoveToken { user, name, by } => {
            let token = old.tokens.find(user, &name).ok_or(NotPlanned::NoToken { name })?;
            vec![Change::TokenRemoved { user, name: token.name, cause: Cause::ByHand { by } }]
        }
    };
    let after = Effective::of(&full, now)?;
    let due = full.locals.iter().filter_map(|local| local.until).filter(|until| *until > now).min();
    let mut plan = finish(old, full, changes, (&before, after), now)?;
    plan.next_due = due;
    Ok(plan)
}

fn role_of(state: &State, role: RoleIdx) -> Result<&Role, NotPlanned> {
    state.roles.get(role).ok_or(NotPlanned::NoSuchRole)
}

/// The place of the grant of `role` to `user` among the state's: the IdP's, or the local one.
fn grant_at(state: &State, (user, role): (UserId, RoleIdx), idp: bool) -> Option<usize> {
    state.grants.iter().position(|g| g.user == user && g.role == role && g.kind.is_idp() == idp)
}

/// Puts a local grant into `full`.
fn add_grant(
    old: &State,
    full: &mut State,
    (user, role): (UserId, RoleIdx),
    grant: LocalGrant,
) -> Result<Vec<Change>, NotPlanned> {
    let def = role_of(old, role)?;
    let name = || def.name.clone();
    if def.everyone {
        return Err(NotPlanned::EveryonesRole { role: name() });
    }
    if def.mode == Mode::Force {
        return Err(NotPlanned::DecidedByIdp { role: name() });
    }
    if grant_at(old, (user, role), false).is_some() {
        return Err(NotPlanned::GrantedAlready { role: name() });
    }
    let kind = GrantKind::Local(full.locals.push(grant).map_err(Inconsistent::from)?);
    full.grants.push(Grant { user, role, kind });
    full.grants.sort_unstable_by_key(|grant| (grant.user, grant.role, grant.kind));
    Ok(vec![Change::GrantAdded { user, role, kind }])
}

/// Takes a grant out of `full`.
fn remove_grant(
    old: &State,
    full: &mut State,
    (user, role): (UserId, RoleIdx),
    imported: Option<bool>,
    by: Actor,
) -> Result<Vec<Change>, NotPlanned> {
    let def = role_of(old, role)?;
    let at = |idp| grant_at(old, (user, role), idp);
    let place = match imported {
        Some(idp) => at(idp),
        None => at(false).or_else(|| at(true)),
    };
    let place = place.ok_or_else(|| NotPlanned::NoGrant { role: def.name.clone(), imported })?;
    let grant = full.grants.remove(place);
    if grant.kind.is_idp() && matches!(def.mode, Mode::Force | Mode::Merge) {
        return Err(NotPlanned::GrantedByIdp { role: def.name.clone(), mode: def.mode });
    }
    let cause = Cause::ByHand { by };
    Ok(vec![Change::GrantRemoved { user, role, kind: grant.kind, cause }])
}

/// The changes that make `new` a token of `user`.
fn add_token(
    old: &State,
    before: &Effective,
    user: UserId,
    mut new: NewToken,
    replace: bool,
    now: Time,
) -> Result<Vec<Change>, NotPlanned> {
    token::check_name(&new.name)?;
    let place = old.users.binary_search_by_key(&user, |user| user.id).ok();
    let place = place.ok_or(NotPlanned::NoSuchUser)?;
    may_own(old, old.users.get(place).ok_or(NotPlanned::NoSuchUser)?)?;
    if new.expires_at <= now {
        return Err(NotPlanned::ExpiresInThePast { at: new.expires_at });
    }
    let name = |role: &RoleIdx| old.roles.get(*role).map(|role| role.name.clone());
    let held: Vec<String> = before.roles(place).iter().filter_map(name).collect();
    if new.roles.is_empty() {
        let grants = old.grants.iter().filter(|grant| grant.user == user);
        for grant in grants {
            if valid(old, grant.kind, now)? {
                new.roles.extend(name(&grant.role));
            }
        }
        if new.roles.is_empty() {
            return Err(NotPlanned::NothingGranted);
        }
    }
    new.roles.sort();
    new.roles.dedup();
    if let Some(role) = new.roles.iter().find(|role| held.binary_search(role).is_err()) {
        return Err(NotPlanned::NotHeld { role: role.clone(), held });
    }
    let there = old.tokens.find(user, &new.name);
    if there.is_some() && !replace {
        return Err(NotPlanned::TokenThere { name: new.name });
    }
    let same = |other: &&token::Token| other.digest == new.digest;
    if let Some(other) = old.tokens.list().iter().find(same)
        && Some(other) != there
    {
        return Err(NotPlanned::SecretTaken);
    }
    let mut changes = Vec::new();
    if let Some(there) = there {
        let (name, cause) = (there.name, Cause::NewSecret);
        changes.push(Change::TokenRemoved { user, name, cause });
    }
    changes.push(Change::TokenAdded { user, token: Box::new(new) });
    Ok(changes)
}

/// Whether somebody may get a token.
fn may_own(state: &State, user: &User) -> Result<(), NotPlanned> {
    let name = || state.texts.get(user.username).to_owned();
    match user.status.standing() {
        Standing::Enabled => Ok(()),
        Standing::Disabled(by) => {
            Err(NotPlanned::OwnerDisabled { user: name(), source_name: by.to_owned() })
        }
        Standing::Deprovisioned => Err(NotPlanned::OwnerGone { user: name() }),
    }
}

//! What becomes of access tokens: the design's section 12. Settled last, from the state that all
//! other changes lead to, so that it holds whoever made them: a run, a person, an approved plan.
//!
//! - A token goes with its owner: of somebody who is deprovisioned none is left.
//! - A role that the owner does not hold in the new state leaves the token, for good: what stays in
//!   it has been held in every generation since it was made. To be disabled is not to lose.
//! - It decides with those of its owner's effective roles that are its own, that everyone holds, or
//!   that deny something. While none of the owner's counts, it has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::model::{
    Cause, Change, Grant, GrantKind, Inconsistent, IndexVec, NewToken, Role, RoleIdx, RoleListIdx,
    RoleSetId, State, Text, Time, Token, TokenIdx, Tokens, TooMany, User, UserId,
};
use crate::policy::Effect;

use super::change::Plan;
use super::effective::{Effective, EffectiveIdx, names, valid};

/// What tokens decide with.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Of tokens that are new, or have another set now: see [`super::RoleSets::tokens`].
    pub(super) sets: Vec<(TokenIdx, RoleSetId)>,
    /// Every set that a token has.
    pub(super) set_roles: BTreeMap<RoleSetId, Vec<RoleIdx>>,
}

/// Does to the tokens of `state` what `changes` say of them, appends to `changes` what follows for
/// them from all the others, and finds out what each decides with. `state` is the one after
/// `changes`, but for its tokens, which are as they were; `after` is who effectively holds what in
/// it at `now`.
pub(super) fn settle(
    state: &mut State,
    changes: &mut Vec<Change>,
    after: &Effective,
    now: Time,
) -> Result<Settled, Inconsistent> {
    asked(state, changes)?;
    if state.tokens.list().is_empty() {
        return Ok(Settled::default());
    }
    let fates = fates(state, after, now)?;
    if !fates.gone.is_empty() || !fates.lost.is_empty() {
        follow(state, changes, fates, now)?;
    }
    sets(state, after)
}

/// Does what the changes say of tokens themselves.
fn asked(state: &mut State, changes: &[Change]) -> Result<(), TooMany> {
    let mut removed: HashSet<(UserId, Text)> = HashSet::new();
    let mut added: Vec<(UserId, &NewToken)> = Vec::new();
    for change in changes {
        match change {
            Change::TokenAdded { user, token } => added.push((*user, token)),
            Change::TokenRemoved { user, name, .. } => {
                removed.insert((*user, *name));
            }
            _ => {}
        }
    }
    if removed.is_empty() && added.is_empty() {
        return Ok(());
    }
    let tokens = Arc::make_mut(&mut state.tokens);
    if !removed.is_empty() {
        tokens.retain(|_, token| !removed.contains(&(token.user, token.name)));
    }
    for (user, new) in added {
        let NewToken { name, digest, expires_at, roles, description: _, by: _, at: _ } = new;
        let (name, roles) = (tokens.add_name(name)?, tokens.roles_place(roles)?);
        let (digest, expires_at, role_set) = (*digest, *expires_at, NOT_STORED);
        tokens.push(Token { user, name, roles, digest, expires_at, role_set })?;
    }
    tokens.sort();
    Ok(())
}

/// The set of a token that is in no store yet: no set of roles has this id.
const NOT_STORED: RoleSetId = RoleSetId(0);

/// What happens to tokens that are not as they were.
#[derive(Default)]
struct Fates {
    /// Whose owners are gone.
    gone: Vec<TokenIdx>,
    /// Which lose roles.
    lost: Vec<(TokenIdx, Vec<RoleIdx>)>,
}

/// Each token with its owner's place among the state's users, in order.
fn with_owners(state: &State) -> impl Iterator<Item = (TokenIdx, &Token, Option<(usize, &User)>)> {
    let mut at = 0;
    state.tokens.list().numbered().map(move |(place, token)| {
        while state.users.get(at).is_some_and(|user| user.id < token.user) {
            at += 1;
        }
        let owner = state.users.get(at).filter(|user| user.id == token.user);
        (place, token, owner.map(|user| (at, user)))
    })
}

/// The lists of roles that tokens have, as places in the state's roles, sorted.
fn places(state: &State) -> IndexVec<RoleListIdx, Vec<RoleIdx>> {
    let place = |name: &String| state.roles.find_by(|role| role.name.cmp(name));
    state.tokens.lists_of_roles().map(|names| names.iter().filter_map(place).collect())
}

fn fates(state: &State, after: &Effective, now: Time) -> Result<Fates, Inconsistent> {
    let places = places(state);
    let mut fates = Fates::default();
    // By the owner's set and the token's list: a million tokens have few of both.
    let mut known: HashMap<(Option<EffectiveIdx>, RoleListIdx), Vec<RoleIdx>> = HashMap::new();
    for (place, token, owner) in with_owners(state) {
        let Some((at, user)) = owner.filter(|(_, user)| !user.status.is_deprovisioned()) else {
            fates.gone.push(place);
            continue;
        };
        let list = places.get(token.roles).ok_or(Inconsistent::NoSuchRoleList(token.roles))?;
        if !user.status.counts() {
            // Nothing counts for the owner, who may hold it all the same.
            let mut lost = Vec::new();
            for role in list {
                if !holds(state, user.id, *role, now)? {
                    lost.push(*role);
                }
            }
            if !lost.is_empty() {
                fates.lost.push((place, lost));
            }
            continue;
        }
        let lost = known.entry((after.set(at), token.roles)).or_insert_with(|| {
            let held = after.roles(at);
            list.iter().filter(|role| held.binary_search(role).is_err()).copied().collect()
        });
        if !lost.is_empty() {
            fates.lost.push((place, lost.clone()));
        }
    }
    Ok(fates)
}

/// The grants of a user.
fn grants_of(state: &State, user: UserId) -> &[Grant] {
    let from = state.grants.partition_point(|grant| grant.user < user);
    let (_, mine) = state.grants.split_at(from);
    mine.split_at(mine.partition_point(|grant| grant.user == user)).0
}

/// Whether somebody holds a role, whether or not anything counts for them now.
fn holds(state: &State, user: UserId, role: RoleIdx, now: Time) -> Result<bool, Inconsistent> {
    if state.roles.get(role).ok_or(Inconsistent::NoSuchRole(role))?.everyone {
        return Ok(true);
    }
    for grant in grants_of(state, user) {
        if grant.role == role && valid(state, grant.kind, now)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lets that happen to the tokens, and says so.
fn follow(
    state: &mut State,
    changes: &mut Vec<Change>,
    fates: Fates,
    now: Time,
) -> Result<(), Inconsistent> {
    let causes = Causes::of(state, changes, &fates);
    let tokens = &state.tokens;
    let token = |place| tokens.list().get(place).ok_or(Inconsistent::NoSuchToken(place));
    let mut more = Vec::new();
    for place in &fates.gone {
        let token = token(*place)?;
        let cause = causes.owners.get(&token.user).cloned();
        more.push(Change::TokenRemoved {
            user: token.user,
            name: token.name,
            cause: cause.unwrap_or(Cause::UserGone { since: now }),
        });
    }
    let mut kept: Vec<(TokenIdx, Vec<String>, RoleSetId)> = Vec::new();
    for (place, lost) in &fates.lost {
        let token = token(*place)?;
        for role in lost {
            more.push(Change::TokenRoleLost {
                user: token.user,
                name: token.name,
                role: *role,
                cause: Box::new(causes.of_loss(state, token.user, *role)),
            });
        }
        let lost: HashSet<&str> = names(state, lost)?.into_iter().collect();
        let kept_roles = tokens.roles(token)?.iter().filter(|role| !lost.contains(role.as_str()));
        kept.push((*place, kept_roles.cloned().collect(), token.role_set));
    }
    changes.append(&mut more);
    let tokens: &mut Tokens = Arc::make_mut(&mut state.tokens);
    for (place, roles, role_set) in kept {
        let roles = tokens.roles_place(&roles)?;
        tokens.put(place, roles, role_set);
    }
    let gone: HashSet<TokenIdx> = fates.gone.into_iter().collect();
    if !gone.is_empty() {
        tokens.retain(|place, _| !gone.contains(&place));
    }
    Ok(())
}

/// Why owners go, and why they lose what their tokens lose with them.
struct Causes {
    owners: HashMap<UserId, Cause>,
    grants: HashMap<(UserId, RoleIdx), Cause>,
    roles: HashMap<RoleIdx, Cause>,
}

impl Causes {
    fn of(state: &State, changes: &[Change], fates: &Fates) -> Causes {
        let mut causes =
            Causes { owners: HashMap::new(), grants: HashMap::new(), roles: HashMap::new() };
        let owner = |place| state.tokens.list().at(place).user;
        let losers: HashSet<UserId> = fates.lost.iter().map(|(place, _)| owner(*place)).collect();
        for change in changes {
            match change {
                Change::UserDeprovisioned { user, cause } => {
                    causes.owners.insert(*user, cause.clone());
                }
                Change::GrantRemoved { user, role, cause, .. } if losers.contains(user) => {
                    causes.grants.insert((*user, *role), cause.clone());
                }
                Change::RoleRemoved { role } => {
                    causes.roles.insert(*role, Cause::RoleGone);
                }
                Change::RoleChanged { role, old } if old.everyone => {
                    causes.roles.insert(*role, Cause::NotEveryone);
                }
                _ => {}
            }
        }
        causes
    }

    fn of_loss(&self, state: &State, user: UserId, role: RoleIdx) -> Cause {
        if let Some(cause) = self.grants.get(&(user, role)).or(self.roles.get(&role)) {
            return cause.clone();
        }
        // The grant is still there, and its time is over.
        let over = grants_of(state, user)
            .iter()
            .any(|grant| grant.role == role && matches!(grant.kind, GrantKind::Local(_)));
        if over { Cause::Expired } else { Cause::NotAtIdp }
    }
}

/// Does to the tokens of `state` what `plan` says of them: what [`settle`] did on paper. `state` is
/// the one after all its other changes.
///
/// # Errors
/// The state contradicts itself, or there are more tokens than can be numbered.
pub(super) fn applied(plan: &Plan, state: &mut State) -> Result<(), Inconsistent> {
    let text = |name: Text| plan.tables.texts.get(name);
    let mut removed: HashSet<(UserId, &str)> = HashSet::new();
    let mut lost: HashMap<(UserId, &str), Vec<&str>> = HashMap::new();
    let mut added: Vec<(UserId, &NewToken)> = Vec::new();
    for change in &plan.changes {
        match change {
            Change::TokenAdded { user, token } => added.push((*user, token)),
            Change::TokenRemoved { user, name, .. } => {
                removed.insert((*user, text(*name)));
            }
            Change::TokenRoleLost { user, name, role, .. } => {
                let role = plan.tables.roles.get(*role).ok_or(Inconsistent::NoSuchRole(*role))?;
                lost.entry((*user, text(*name))).or_default().push(&role.name);
            }
            _ => {}
        }
    }
    let sets: HashMap<(UserId, &str), RoleSetId> =
        plan.token_sets.iter().map(|set| ((set.user, text(set.name)), set.new)).collect();
    if removed.is_empty() && lost.is_empty() && added.is_empty() && sets.is_empty() {
        return Ok(());
    }
    let before = std::mem::take(&mut state.tokens);
    let mut tokens = Tokens::with_capacity(before.list().len());
    for token in before.list() {
        let (user, name) = (token.user, before.name(token));
        if removed.contains(&(user, name)) {
            continue;
        }
        let gone = lost.get(&(user, name));
        let stays = |role: &&String| gone.is_none_or(|gone| !gone.contains(&role.as_str()));
        let roles: Vec<String> = before.roles(token)?.iter().filter(stays).cloned().collect();
        let role_set = sets.get(&(user, name)).copied().unwrap_or(token.role_set);
        let (digest, expires_at) = (token.digest, token.expires_at);
        let (name, roles) = (tokens.add_name(name)?, tokens.roles_place(&roles)?);
        tokens.push(Token { user, name, roles, digest, expires_at, role_set })?;
    }
    for (user, new) in added {
        let NewToken { name, digest, expires_at, roles, description: _, by: _, at: _ } = new;
        let role_set = sets.get(&(user, name.as_str())).copied().unwrap_or(NOT_STORED);
        let (name, roles) = (tokens.add_name(name)?, tokens.roles_place(roles)?);
        let (digest, expires_at) = (*digest, *expires_at);
        tokens.push(Token { user, name, roles, digest, expires_at, role_set })?;
    }
    tokens.sort();
    state.tokens = Arc::new(tokens);
    Ok(())
}

/// What each token decides with.
fn sets(state: &State, after: &Effective) -> Result<Settled, Inconsistent> {
    let places = places(state);
    let of_everyone = |role: &Role| {
        role.everyone || role.policies.iter().any(|policy| policy.effect == Effect::Deny)
    };
    let numbered = state.roles.numbered().filter(|(_, role)| of_everyone(role));
    let always: HashSet<RoleIdx> = numbered.map(|(role, _)| role).collect();
    let mut settled = Settled::default();
    let mut known: HashMap<(Option<EffectiveIdx>, RoleListIdx), RoleSetId> = HashMap::new();
    for (place, token, owner) in with_owners(state) {
        // Of someone for whom nothing counts that is the empty set.
        let held = owner.map_or(&[][..], |(at, _)| after.roles(at));
        let of_owner = owner.and_then(|(at, _)| after.set(at));
        let id = match known.get(&(of_owner, token.roles)) {
            Some(id) => *id,
            None => {
                let own = places.get(token.roles);
                let own = own.ok_or(Inconsistent::NoSuchRoleList(token.roles))?;
                let counts =
                    |role: &&RoleIdx| own.binary_search(role).is_ok() || always.contains(*role);
                let roles: Vec<RoleIdx> = held.iter().filter(counts).copied().collect();
                let id = RoleSetId::of(names(state, &roles)?);
                settled.set_roles.insert(id, roles);
                known.insert((of_owner, token.roles), id);
                id
            }
        };
        if id != token.role_set {
            settled.sets.push((place, id));
        }
    }
    Ok(settled)
}

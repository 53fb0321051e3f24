//! What another platform's database brings along, on paper: people who become local users, grants
//! that somebody made there, access tokens with their digests. One plan. It only adds: what is here
//! already stays as it is, so the same import again plans nothing.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use crate::model::{
    Change, Grant, GrantKind, Inconsistent, LocalGrant, Mode, NewToken, RoleIdx, SourceIdx, State,
    Time, TooMany, UserId, rfc3339,
};
use crate::resolve::Resolved;

use super::apply::apply;
use super::change::Plan;
use super::effective::{Effective, valid};
use super::make::finish;

/// What one person is to have.
#[derive(Clone, Debug)]
pub struct Brought {
    /// Who.
    pub user: UserId,
    /// What they are called, for messages.
    pub name: String,
    /// Roles by name, each with its story.
    pub grants: Vec<(String, LocalGrant)>,
    /// Access tokens, with the roles that they had.
    pub tokens: Vec<NewToken>,
}

/// Plans what `brought` people are to have. `local` is the place of the source `local` in the states;
/// `new` are those of the people whom only that source lists, and whom `resolved` makes.
///
/// The sentences say what is left out, and why.
///
/// # Errors
/// The states do not fit together.
pub fn import(
    old: &State,
    resolved: Resolved,
    (local, new): (Option<SourceIdx>, &BTreeSet<UserId>),
    brought: &[Brought],
    now: Time,
) -> Result<(Plan, BTreeSet<String>), Inconsistent> {
    let Resolved { state: full, changes, .. } = resolved;
    let mut changes: Vec<Change> = changes
        .into_iter()
        .filter(|change| change.user().is_some_and(|user| new.contains(&user)))
        .filter(|change| match change {
            Change::UserCreated { .. } | Change::UserReturned { .. } => true,
            Change::LinkAdded { source, .. } => Some(*source) == local,
            // What other sources have to say waits for the next sync.
            _ => false,
        })
        .collect();
    let mut state = apply(old, &full, &changes)?;
    let mut left_out = BTreeSet::new();
    let mut held: HashSet<(UserId, RoleIdx)> = HashSet::new();
    let locals = state.grants.iter().filter(|grant| !grant.kind.is_idp());
    held.extend(locals.map(|grant| (grant.user, grant.role)));
    for one in brought {
        grants(&mut state, &mut changes, (one, &mut held), &mut left_out)?;
    }
    state.grants.sort_unstable_by_key(|grant| (grant.user, grant.role, grant.kind));
    tokens(&state, &mut changes, brought, now, &mut left_out)?;
    let (before, after) = (Effective::of(old, now)?, Effective::of(&state, now)?);
    Ok((finish(old, state, changes, (&before, after), now)?, left_out))
}

/// Gives `one` the grants that nobody here has made; `held`: who has which by hand.
fn grants(
    state: &mut State,
    changes: &mut Vec<Change>,
    (one, held): (&Brought, &mut HashSet<(UserId, RoleIdx)>),
    left_out: &mut BTreeSet<String>,
) -> Result<(), TooMany> {
    for (name, grant) in &one.grants {
        let mut leave = |why: &str| {
            left_out.insert(format!(
                "role `{}` of `{}`: {why}",
                name.escape_debug(),
                one.name.escape_debug()
            ));
        };
        let Some((role, def)) = role_called(state, name) else {
            leave("there is no such role here");
            continue;
        };
        // Everybody's needs no grant, and one that is there stays as it is.
        if def.everyone || held.contains(&(one.user, role)) {
            continue;
        }
        if def.mode == Mode::Force {
            leave("its mode is force, so the IdP decides alone, and the next sync would drop it");
            continue;
        }
        held.insert((one.user, role));
        let kind = GrantKind::Local(state.locals.push(grant.clone())?);
        state.grants.push(Grant { user: one.user, role, kind });
        changes.push(Change::GrantAdded { user: one.user, role, kind });
    }
    Ok(())
}

fn tokens(
    state: &State,
    changes: &mut Vec<Change>,
    brought: &[Brought],
    now: Time,
    left_out: &mut BTreeSet<String>,
) -> Result<(), Inconsistent> {
    let everyone: BTreeSet<&str> =
        state.roles.iter().filter(|role| role.everyone).map(|role| role.name.as_str()).collect();
    let wanted: HashSet<UserId> = brought.iter().map(|one| one.user).collect();
    let mut held: HashMap<UserId, BTreeSet<&str>> = HashMap::new();
    for grant in state.grants.iter().filter(|grant| wanted.contains(&grant.user)) {
        if let Some(role) = state.roles.get(grant.role)
            && valid(state, grant.kind, now)?
        {
            held.entry(grant.user).or_default().insert(&role.name);
        }
    }
    let mut digests: HashMap<[u8; 32], (UserId, String)> = state
        .tokens
        .list()
        .iter()
        .map(|token| (token.digest, (token.user, state.tokens.name(token).to_owned())))
        .collect();
    let mut names: BTreeMap<(UserId, String), [u8; 32]> =
        digests.iter().map(|(digest, (user, name))| ((*user, name.clone()), *digest)).collect();
    for one in brought {
        let none = BTreeSet::new();
        let held = held.get(&one.user).unwrap_or(&none);
        for token in &one.tokens {
            let mut leave = |why: &str| {
                left_out.insert(format!(
                    "token `{}` of `{}`{why}",
                    token.name.escape_debug(),
                    one.name.escape_debug()
                ));
            };
            let key = (one.user, token.name.clone());
            match (names.get(&key), digests.get(&token.digest)) {
                // It is here already.
                (Some(digest), _) if *digest == token.digest => continue,
                (Some(_), _) => {
                    leave(": there is one of that name with another secret, which stays");
                    continue;
                }
                (None, Some(_)) => {
                    leave(": another token has its secret");
                    continue;
                }
                (None, None) => {}
            }
            let (kept, lost): (Vec<String>, Vec<String>) =
                token.roles.iter().cloned().partition(|role| {
                    held.contains(role.as_str()) || everyone.contains(role.as_str())
                });
            let lost: Vec<String> =
                lost.iter().map(|role| format!("`{}`", role.escape_debug())).collect();
            if kept.is_empty() {
                leave(&format!(": its owner holds none of its roles here ({})", lost.join(", ")));
                continue;
            }
            if !lost.is_empty() {
                leave(&format!(
                    " comes without {}, which its owner does not hold here",
                    lost.join(", ")
                ));
            }
            digests.insert(token.digest, key.clone());
            names.insert(key, token.digest);
            let token = NewToken { roles: kept, ..token.clone() };
            changes.push(Change::TokenAdded { user: one.user, token: Box::new(token) });
        }
    }
    Ok(())
}

/// Tokens of `brought` that are good for longer than `longest`, a sentence each.
#[must_use]
pub fn long_lived(brought: &[Brought], until: Time) -> BTreeSet<String> {
    let tokens = brought.iter().flat_map(|one| one.tokens.iter().map(move |token| (one, token)));
    tokens
        .filter(|(_, token)| token.expires_at > until)
        .map(|(one, token)| {
            format!(
                "token `{}` of `{}` is good until {}, longer than `[tokens] max_lifetime` allows for \
                 new ones",
                token.name.escape_debug(),
                one.name.escape_debug(),
                rfc3339(token.expires_at)
            )
        })
        .collect()
}

fn role_called<'s>(state: &'s State, name: &str) -> Option<(RoleIdx, &'s crate::model::Role)> {
    let role = state.roles.find_by(|role| role.name.as_str().cmp(name))?;
    Some((role, state.roles.get(role)?))
}

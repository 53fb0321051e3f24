//! From what was resolved to a plan: the guard weighs it, what may happen is applied on paper,
//! and effective roles are worked out.

use hashbrown::HashSet;

use crate::model::Diagnostic;
use crate::model::{
    Change, GrantKind, Inconsistent, RoleIdx, RoleMap, State, Time, UserId, rfc3339,
};
use crate::resolve::Resolved;

use super::apply::apply;
use super::change::{ChangeView, Held, HeldHead, Plan, Summary};
use super::effective::Effective;
use super::encoding;
use super::guard::{Case, Guard, GuardVerdict, Others, Taken, weigh};
use super::reach::widened;
use super::tables::RoleSets;
use super::tokens;
use super::view::view;

/// What a plan is weighed by besides the limits and the states that it leads from and to.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// The held plan that waits now: the same changes keep its id and its time.
    pub pending: Option<HeldHead>,
    /// What went within [`Guard::window`] already.
    pub recent: Taken,
    /// Those whom the states do not have: nobody, where everybody is planned for.
    pub others: Others,
}

/// Plans the way from `old` to what was resolved.
///
/// # Errors
/// The states do not fit together, so nothing can be said of what changes.
pub fn plan(
    guard: &Guard,
    resolved: Resolved,
    old: &State,
    background: &Background,
    now: Time,
) -> Result<Plan, Inconsistent> {
    let Background { pending, recent, others } = background;
    let Resolved { state: full, changes, federated, mut diagnostics, next_due, unread } = resolved;
    let before = Effective::of(old, now)?;
    let after = Effective::of(&full, now)?;
    let case = Case {
        guard,
        old,
        new: &full,
        changes: &changes,
        before: &before,
        after: &after,
        federated: &federated,
        recent: *recent,
        others,
    };
    let verdict = weigh(&case)?;
    diagnostics.extend(verdict.diagnostics.iter().cloned());
    let diagnostics: Vec<Diagnostic> = diagnostics.into_iter().collect();
    let held = hold(&verdict, &changes, (old, &full), pending.as_ref(), now)?;
    if held.is_none() {
        let changes = unsettled(old, &full, changes);
        let mut plan = finish(old, full, changes, (&before, after), now)?;
        plan.diagnostics = diagnostics;
        plan.next_due = next_due;
        plan.all_read = !unread;
        plan.taken = verdict.taken;
        return Ok(plan);
    }
    let free: Vec<Change> = changes
        .into_iter()
        .zip(&verdict.held)
        .filter(|(_, held)| !**held)
        .map(|(change, _)| change)
        .collect();
    let free = unsettled(old, &apply(old, &full, &free)?, free);
    let state = apply(old, &full, &free)?;
    let after = Effective::of(&state, now)?;
    // Words come from the full state; a change that waits may name what only that one has.
    let mut plan = finish(old, state, free, (&before, after), now)?;
    plan.summary.held = held.as_ref().map_or(0, |held| held.changes.len() as u64);
    plan.held = held;
    plan.diagnostics = diagnostics;
    plan.next_due = next_due;
    plan.all_read = !unread;
    plan.taken = verdict.taken;
    Ok(plan)
}

/// `changes` without the names that people have in `new`, the state after them: an account that is
/// called as its person is says nothing that must be kept.
fn unsettled(old: &State, new: &State, mut changes: Vec<Change>) -> Vec<Change> {
    let called = |user: UserId| {
        let place = new.users.binary_search_by_key(&user, |user| user.id).ok()?;
        new.users.get(place).map(|user| new.texts.get(user.username))
    };
    let claimed = old.links.iter().filter(|link| link.claim.is_some());
    let claimed: HashSet<_> = claimed.map(|link| (link.user, link.source, link.ext)).collect();
    changes.retain(|change| match change {
        Change::LinkClaims { user, source, ext, claim: Some(claim) } => {
            claimed.contains(&(*user, *source, *ext))
                || called(*user) != Some(new.texts.get(*claim))
        }
        _ => true,
    });
    changes
}

/// Why some changes are not planned by themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotApproved {
    /// These changes do not stand any more, or cannot stand alone, in words.
    Gone(Vec<String>),
    /// The states do not fit together.
    Inconsistent(Inconsistent),
}

impl From<Inconsistent> for NotApproved {
    fn from(what: Inconsistent) -> Self {
        NotApproved::Inconsistent(what)
    }
}

/// Plans exactly the changes of `held`, the guard aside.
///
/// # Errors
/// What does not stand any more, or does not fit together.
pub fn approve(
    resolved: Resolved,
    old: &State,
    held: &Held,
    now: Time,
) -> Result<Plan, NotApproved> {
    let Resolved { state: full, changes, next_due, .. } = resolved;
    let mut wanted: std::collections::BTreeMap<String, &ChangeView> =
        held.changes.iter().map(|change| (change.key(), change)).collect();
    let mut chosen = Vec::new();
    for change in changes {
        if wanted.remove(&portable(&change, old, &full)?.key()).is_some() {
            chosen.push(change);
        }
    }
    if !wanted.is_empty() {
        return Err(NotApproved::Gone(wanted.into_values().map(ToString::to_string).collect()));
    }
    let state = apply(old, &full, &chosen)?;
    let left = stranded(&state, &chosen);
    if !left.is_empty() {
        return Err(NotApproved::Gone(left));
    }
    let (before, after) = (Effective::of(old, now)?, Effective::of(&state, now)?);
    let mut plan = finish(old, state, chosen, (&before, after), now)?;
    plan.next_due = next_due;
    Ok(plan)
}

/// Plans one newcomer's provisioning: `chosen`, of the changes that lead from `old` to `full`.
///
/// # Errors
/// Something is chosen that is not the making of one enabled user, with links and idp grants.
pub fn newcomer(
    old: &State,
    full: &State,
    chosen: Vec<Change>,
    now: Time,
) -> Result<Plan, NotApproved> {
    let mut made = None;
    for change in &chosen {
        let fits = match change {
            Change::UserCreated { user } => made.replace(*user).is_none(),
            Change::LinkAdded { user, .. }
            | Change::GrantAdded { user, kind: GrantKind::Idp(_), .. } => Some(*user) == made,
            _ => false,
        };
        if !fits {
            return Err(NotApproved::Gone(vec![view(change, full).to_string()]));
        }
    }
    let state = apply(old, full, &chosen)?;
    let (before, after) = (Effective::of(old, now)?, Effective::of(&state, now)?);
    Ok(finish(old, state, chosen, (&before, after), now)?)
}

/// Grants that would be left on a role that goes.
fn stranded(state: &State, changes: &[Change]) -> Vec<String> {
    let gone: Vec<RoleIdx> = changes
        .iter()
        .filter_map(|change| match change {
            Change::RoleRemoved { role } => Some(*role),
            _ => None,
        })
        .collect();
    let left = |role: &RoleIdx| state.grants.iter().any(|grant| grant.role == *role);
    gone.iter()
        .filter(|role| left(role))
        .map(|role| state.roles.at(*role))
        .map(|role| format!("role-removed {}: it has gained holders since", role.name))
        .collect()
}

/// A change in words that mean the same in a later run: someone who is still to be created has no
/// number yet, since others may come first. Its ways are left out, `why` has the shortest.
///
/// # Errors
/// A change names reasons that `full` has not.
pub(super) fn portable(
    change: &Change,
    old: &State,
    full: &State,
) -> Result<ChangeView, Inconsistent> {
    let mut view = view(change, full);
    view.user_id = view.user_id.filter(|id| *id < old.next_user);
    view.reasons = Vec::new();
    // These two are part of its identity: they may not read otherwise one day, as `view`'s may.
    if let Change::GrantReasons { old, new, .. } = change {
        view.old = Some(encoding::ways(full.reasons.of_set(*old)?));
        view.new = Some(encoding::ways(full.reasons.of_set(*new)?));
    }
    Ok(view)
}

fn hold(
    verdict: &GuardVerdict,
    changes: &[Change],
    (old, full): (&State, &State),
    pending: Option<&HeldHead>,
    now: Time,
) -> Result<Option<Held>, Inconsistent> {
    let mut views: Vec<ChangeView> = changes
        .iter()
        .zip(&verdict.held)
        .filter(|(_, held)| **held)
        .map(|(change, _)| portable(change, old, full))
        .collect::<Result<_, _>>()?;
    if views.is_empty() {
        return Ok(None);
    }
    views.sort_by_cached_key(ChangeView::key);
    let id = encoding::held_id(&views);
    if let Some(pending) = pending.filter(|pending| pending.id == id) {
        let HeldHead { id: _, since, why, lost_pairs, changes: _ } = pending.clone();
        return Ok(Some(Held { id, since, why, lost_pairs, changes: views }));
    }
    Ok(Some(Held {
        id,
        since: rfc3339(now),
        why: verdict.why.clone(),
        lost_pairs: verdict.lost_pairs,
        changes: views,
    }))
}

pub(super) fn finish(
    old: &State,
    mut state: State,
    mut changes: Vec<Change>,
    (before, after): (&Effective, Effective),
    now: Time,
) -> Result<Plan, Inconsistent> {
    let tokens::Settled { sets: token_sets, set_roles: of_tokens } =
        tokens::settle(&mut state, &mut changes, &after, now)?;
    let mut summary = Summary::default();
    for change in &changes {
        let counter = match change {
            Change::RoleAdded { .. } | Change::RoleChanged { .. } | Change::RoleRemoved { .. } => {
                &mut summary.roles_changed
            }
            Change::UserCreated { .. } => &mut summary.users_created,
            Change::UserDisabled { .. } => &mut summary.users_disabled,
            Change::UserDeprovisioned { .. } => &mut summary.users_deprovisioned,
            Change::UserRenamed { .. }
            | Change::EmailChanged { .. }
            | Change::UserEnabled { .. }
            | Change::UserMissing { .. }
            | Change::UserReturned { .. } => &mut summary.users_changed,
            Change::GrantAdded { .. } => &mut summary.grants_added,
            Change::GrantRemoved { .. } => &mut summary.grants_removed,
            Change::TokenAdded { .. } => &mut summary.tokens_added,
            Change::TokenRemoved { .. } => &mut summary.tokens_removed,
            Change::TokenRoleLost { .. } => &mut summary.token_roles_lost,
            Change::LinkAdded { .. }
            | Change::LinkRemoved { .. }
            | Change::LinkClaims { .. }
            | Change::GrantReasons { .. }
            | Change::CatalogChanged
            | Change::WorkloadChanged => {
                continue;
            }
        };
        *counter += 1;
    }
    (summary.pairs_gained, summary.pairs_lost) = gained_and_lost(old, &state, before, &after)?;
    let widened = widened((old, before), (&state, &after));
    let users = (0..state.users.len()).map(|place| after.id(place)).collect();
    let mut roles = after.set_roles();
    roles.extend(of_tokens);
    let sets = RoleSets { users, tokens: token_sets, roles };
    #[cfg(test)]
    let paper = (state.clone(), sets.clone());
    let mut plan = Plan::leading_to(state, changes, sets, widened, now)?;
    // Checked on every plan of every unit test: what stands in the plan is all there is to it.
    #[cfg(test)]
    super::apply::tests::assert_stands_alone(&plan, old, &paper);
    plan.summary = summary;
    Ok(plan)
}

/// How many effective pairs appear and disappear, roles compared by name.
fn gained_and_lost(
    old: &State,
    new: &State,
    before: &Effective,
    after: &Effective,
) -> Result<(u64, u64), Inconsistent> {
    let moved = RoleMap::of(&old.roles, &new.roles)?;
    let (mut gained, mut lost) = (0, 0);
    let mut at = 0;
    for (place, user) in new.users.iter().enumerate() {
        while old.users.get(at).is_some_and(|other| other.id < user.id) {
            at += 1;
        }
        let now = after.roles(place);
        let was: Vec<RoleIdx> = match old.users.get(at) {
            Some(other) if other.id == user.id => {
                before.roles(at).iter().map(|role| moved.get(*role)).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        gained += now.iter().filter(|role| was.binary_search(role).is_err()).count() as u64;
        lost += was.iter().filter(|role| now.binary_search(role).is_err()).count() as u64;
    }
    Ok((gained, lost))
}

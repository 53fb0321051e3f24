//! What people reach in the clouds, before a plan and after it.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::effective::{Effective, EffectiveIdx};
use crate::model::workload::{VIA, pool, via};
use crate::model::{RoleIdx, State, UserId, WorkloadIdentity};
use crate::policy::{Policy, decide};

/// An identity that is reached, or an unknown one, and by which action.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Reached {
    /// What, through which pool and platform.
    pub row: WorkloadIdentity,
    /// A place in [`VIA`].
    pub via: usize,
}

impl Reached {
    /// `workflow:Create` or `workflow:Exec`.
    #[must_use]
    pub fn via_action(&self) -> String {
        VIA.get(self.via).map_or_else(String::new, |(kind, name)| format!("{kind}:{name}"))
    }
}

/// People who reach the same that they did not reach before.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Widened {
    /// What. Sorted.
    pub reached: Vec<Reached>,
    /// Who, sorted.
    pub users: Vec<UserId>,
}

/// Who reaches in `new` what they did not reach in `old`. Worked out by pair of role sets, not by
/// person.
pub(super) fn widened(
    (old, before): (&State, &Effective),
    (new, after): (&State, &Effective),
) -> Vec<Widened> {
    if new.workload.is_empty() {
        return Vec::new();
    }
    let same = old.workload == new.workload && old.roles == new.roles;
    let was = Reach::of(old);
    let is = Reach::of(new);
    // Whoever is called as a pool is may reach it by `${self}`, and is looked at alone.
    type Pair = (Option<EffectiveIdx>, Option<EffectiveIdx>, Option<UserId>);
    let mut by_pair: HashMap<Pair, Option<usize>> = HashMap::new();
    let mut out: Vec<Widened> = Vec::new();
    let mut at = 0;
    for (place, user) in new.users.iter().enumerate() {
        while old.users.get(at).is_some_and(|other| other.id < user.id) {
            at += 1;
        }
        let there = old.users.get(at).filter(|other| other.id == user.id);
        let earlier = there.map(|_| at);
        let me = Some(new.texts.get(user.username)).filter(|me| is.has(me));
        let before_me = there.map(|user| old.texts.get(user.username)).filter(|me| was.has(me));
        // A name that is a pool's, or was, is as good as a role.
        if same && me == before_me && earlier.is_some_and(|at| before.id(at) == after.id(place)) {
            continue;
        }
        let alone = (me.is_some() || before_me.is_some()).then_some(user.id);
        let earlier_set = earlier.and_then(|at| before.set(at));
        let pair = (earlier_set, after.set(place), alone);
        let group = by_pair.entry(pair).or_insert_with(|| {
            let had = earlier.map(|at| was.by(old, before.roles(at), before_me));
            let had = had.unwrap_or_default();
            let had: BTreeSet<_> = had.iter().map(key).collect();
            let has = is.by(new, after.roles(place), me);
            let reached: Vec<Reached> =
                has.into_iter().filter(|reached| !had.contains(&key(reached))).collect();
            if reached.is_empty() {
                return None;
            }
            if let Some(known) = out.iter().position(|group| group.reached == reached) {
                return Some(known);
            }
            out.push(Widened { reached, users: Vec::new() });
            Some(out.len().saturating_sub(1))
        });
        if let Some(group) = group.and_then(|group| out.get_mut(group)) {
            group.users.push(user.id);
        }
    }
    out
}

/// What makes a reach another one: not where the pods run, nor why something is unknown.
type Key = (String, String, Option<String>, Option<&'static str>, usize);

fn key(reached: &Reached) -> Key {
    let WorkloadIdentity { pool, platform, cloud, identity, .. } = &reached.row;
    let cloud = cloud.map(crate::model::Cloud::as_str);
    (pool.clone(), platform.clone(), identity.clone(), cloud, reached.via)
}

/// A state's identities by pool.
struct Reach<'a> {
    pools: Vec<(&'a str, Vec<&'a WorkloadIdentity>)>,
}

impl<'a> Reach<'a> {
    fn of(state: &'a State) -> Self {
        let mut pools: Vec<(&str, Vec<&WorkloadIdentity>)> = Vec::new();
        for row in &state.workload {
            match pools.last_mut().filter(|(pool, _)| *pool == row.pool) {
                Some((_, rows)) => rows.push(row),
                None => pools.push((&row.pool, vec![row])),
            }
        }
        Reach { pools }
    }

    /// Whether a pool is called so.
    fn has(&self, name: &str) -> bool {
        self.pools.binary_search_by(|(pool, _)| (*pool).cmp(name)).is_ok()
    }

    /// What someone reaches who effectively holds `roles`; `me`: is called so, where a pool is too.
    fn by(&self, state: &State, roles: &[RoleIdx], me: Option<&str>) -> BTreeSet<Reached> {
        let held = || {
            roles.iter().map(|role| state.roles.at(*role)).map(|role| {
                let policies: &[Policy] = &role.policies;
                (role.name.as_str(), policies)
            })
        };
        let mut out = BTreeSet::new();
        for (name, rows) in &self.pools {
            let Some(resource) = pool(name) else { continue };
            for (place, action) in via().iter().enumerate() {
                if decide(held(), action, Some(&resource), me).is_allow() {
                    out.extend(rows.iter().map(|row| Reached { row: (*row).clone(), via: place }));
                }
            }
        }
        out
    }
}

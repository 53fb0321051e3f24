//! Effective roles: what counts at the gateway now.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use sha2::{Digest, Sha256};

use crate::model::index::list_place;
use crate::model::{GrantKind, Inconsistent, IndexVec, RoleIdx, RoleSetId, State, Time};

impl RoleSetId {
    /// The id of the set without roles.
    pub const EMPTY: RoleSetId = RoleSetId(0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924);

    /// The id of the set of these roles. Give names sorted.
    #[must_use]
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for name in names {
            hash.update(name.as_bytes());
            hash.update(b"\n");
        }
        let digest = hash.finalize();
        RoleSetId(digest.iter().take(16).fold(0, |id, byte| (id << 8) | u128::from(*byte)))
    }
}

list_place! {
    /// The place of a set of effective roles in an [`Effective`].
    EffectiveIdx of "sets of effective roles"
}

/// Everyone's effective roles: distinct sets, and which one each user has.
#[derive(Clone, Debug, Default)]
pub struct Effective {
    /// Distinct sets with their ids, each sorted by role (and so by name).
    sets: IndexVec<EffectiveIdx, (RoleSetId, Vec<RoleIdx>)>,
    /// For each of the state's users.
    of_user: Vec<EffectiveIdx>,
}

impl Effective {
    /// Works out who effectively holds what in `state` at `now`: linear in users and grants.
    ///
    /// # Errors
    /// A grant is of a role, or has a story, that the state has not.
    pub fn of(state: &State, now: Time) -> Result<Self, Inconsistent> {
        let everyone: Vec<RoleIdx> = state
            .roles
            .numbered()
            .filter(|(_, role)| role.everyone)
            .map(|(index, _)| index)
            .collect();
        let mut by_roles: HashMap<Box<[RoleIdx]>, EffectiveIdx> = HashMap::new();
        let mut out =
            Effective { of_user: Vec::with_capacity(state.users.len()), ..Self::default() };
        let mut grants = state.grants.as_slice();
        let mut roles = Vec::new();
        for user in &state.users {
            roles.clear();
            let mine = grants.iter().take_while(|grant| grant.user == user.id).count();
            let (mine, rest) = grants.split_at(mine);
            grants = rest;
            if user.status.counts() {
                roles.extend_from_slice(&everyone);
                for grant in mine {
                    if valid(state, grant.kind, now)? {
                        roles.push(grant.role);
                    }
                }
                roles.sort_unstable();
                roles.dedup();
            }
            let set = match by_roles.get(roles.as_slice()) {
                Some(set) => *set,
                None => {
                    let id = RoleSetId::of(names(state, &roles)?);
                    let set = out.sets.push((id, roles.clone()))?;
                    by_roles.insert(roles.as_slice().into(), set);
                    set
                }
            };
            out.of_user.push(set);
        }
        Ok(out)
    }

    /// How many users the state has.
    #[must_use]
    pub fn users(&self) -> usize {
        self.of_user.len()
    }

    /// The set of the user at `place`; none where nobody is.
    #[must_use]
    pub fn set(&self, place: usize) -> Option<EffectiveIdx> {
        self.of_user.get(place).copied()
    }

    /// The effective roles of the user at `place`, sorted. Nobody has none.
    #[must_use]
    pub fn roles(&self, place: usize) -> &[RoleIdx] {
        let set = self.set(place).and_then(|set| self.sets.get(set));
        set.map_or(&[], |(_, roles)| roles)
    }

    /// The id of the set of the user at `place`.
    #[must_use]
    pub fn id(&self, place: usize) -> RoleSetId {
        let set = self.set(place).and_then(|set| self.sets.get(set));
        set.map_or(RoleSetId::EMPTY, |(id, _)| *id)
    }

    /// How many user-role pairs there are.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        (0..self.users()).map(|place| self.roles(place).len() as u64).sum()
    }

    /// The distinct sets by id.
    #[must_use]
    pub fn set_roles(&self) -> BTreeMap<RoleSetId, Vec<RoleIdx>> {
        self.sets.iter().cloned().collect()
    }
}

/// What `roles` of `state` are called.
pub(super) fn names<'s>(state: &'s State, roles: &[RoleIdx]) -> Result<Vec<&'s str>, Inconsistent> {
    let name = |role: &RoleIdx| {
        state.roles.get(*role).map(|role| role.name.as_str()).ok_or(Inconsistent::NoSuchRole(*role))
    };
    roles.iter().map(name).collect()
}

/// Whether a grant's time is not over.
pub(super) fn valid(state: &State, kind: GrantKind, now: Time) -> Result<bool, Inconsistent> {
    match kind {
        GrantKind::Idp(_) => Ok(true),
        GrantKind::Local(local) => Ok(state.local(local)?.until.is_none_or(|until| until > now)),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::RoleSetId;

    #[test]
    fn the_empty_set_has_the_id_of_no_names() {
        assert_eq!(RoleSetId::of([]), RoleSetId::EMPTY);
        assert_ne!(RoleSetId::of(["a"]), RoleSetId::EMPTY);
        assert_ne!(RoleSetId::of(["ab"]), RoleSetId::of(["a", "b"]));
    }
}

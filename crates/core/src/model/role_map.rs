//! Where the roles of one state stand in the next: roles are places, and places move.

use super::{Grant, Inconsistent, IndexVec, Role, RoleIdx};

/// For each role of an old state its place in a new one. A new state keeps every role that changes
/// name, so each old role has one; where one has not, there is no map, and nothing is concluded.
#[derive(Clone, Debug)]
pub struct RoleMap(IndexVec<RoleIdx, RoleIdx>);

impl RoleMap {
    /// The map from `old` to `new`, both sorted by name.
    ///
    /// # Errors
    /// A role of `old` is not in `new`.
    pub fn of(
        old: &IndexVec<RoleIdx, Role>,
        new: &IndexVec<RoleIdx, Role>,
    ) -> Result<RoleMap, Inconsistent> {
        let mut map = IndexVec::with_capacity(old.len());
        for role in old {
            let place = new.find_by(|other| other.name.cmp(&role.name));
            map.push(place.ok_or_else(|| Inconsistent::LostRole(role.name.clone()))?)?;
        }
        Ok(RoleMap(map))
    }

    /// The new place of `old`.
    ///
    /// # Errors
    /// The old state has no such role.
    pub fn get(&self, old: RoleIdx) -> Result<RoleIdx, Inconsistent> {
        self.0.get(old).copied().ok_or(Inconsistent::NoSuchRole(old))
    }

    /// Grants of the old state as they stand in the new one, in their order: both sort roles by name.
    ///
    /// # Errors
    /// One is of a role that the old state has not.
    pub fn grants(&self, old: &[Grant]) -> Result<Vec<Grant>, Inconsistent> {
        old.iter().map(|grant| Ok(Grant { role: self.get(grant.role)?, ..*grant })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mode;

    fn roles(names: &[&str]) -> IndexVec<RoleIdx, Role> {
        let role = |name: &&str| Role {
            name: (*name).to_owned(),
            description: String::new(),
            everyone: false,
            mode: Mode::Merge,
            template: None,
            policies: Vec::new(),
        };
        names.iter().map(role).collect::<Vec<_>>().try_into().unwrap()
    }

    #[test]
    fn a_role_that_got_lost_is_an_error_and_no_place() {
        let map = RoleMap::of(&roles(&["b", "c"]), &roles(&["a", "b", "c"])).unwrap();
        assert_eq!(map.get(RoleIdx::new(1)), Ok(RoleIdx::new(2)));
        assert_eq!(map.get(RoleIdx::new(2)), Err(Inconsistent::NoSuchRole(RoleIdx::new(2))));
        let lost = RoleMap::of(&roles(&["b", "c"]), &roles(&["b"])).unwrap_err();
        assert_eq!(lost.to_string(), "role `c` got lost on the way to the new state");
    }
}

//! What is decided for role sets. Made from the plan alone, set by set as they are asked for: a
//! backend writes them down.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::change::Plan;
use crate::model::workload::requests;
use crate::model::{Change, RoleIdx, RoleSetId};
use crate::policy::{Action, Effect, Resource, Said, combined, effects};

/// For whom of those who have a role set a decision is: that differs only by `${self}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// For everybody.
    All,
    /// For everybody but the one whom the resource is named after.
    Others,
    /// For that one.
    Own,
}

/// One decision of a role set. A request that no policy speaks of has none: it is denied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decided {
    /// A place in [`Plan::requests`].
    pub request: usize,
    /// For whom.
    pub whose: Whose,
    /// What.
    pub effect: Effect,
    /// The role that decides.
    pub role: RoleIdx,
}

/// Decides for role sets, each role's policies looked at once.
pub struct Decider<'a> {
    plan: &'a Plan,
    requests: Cow<'a, [(Action, Option<Resource>)]>,
    /// What each role that was needed so far says of the requests.
    effects: HashMap<RoleIdx, Vec<Said<Option<Effect>>>>,
}

impl Plan {
    /// What decisions are kept for: the catalog (so many come first), and after it who reaches what
    /// in the clouds.
    #[must_use]
    pub fn requests(&self) -> Cow<'_, [(Action, Option<Resource>)]> {
        requests(&self.tables.catalog, &self.tables.workload)
    }

    /// Whether the requests changed, so that all decisions of old mean nothing any more.
    #[must_use]
    pub fn asks_anew(&self) -> bool {
        self.changes
            .iter()
            .any(|change| matches!(change, Change::CatalogChanged | Change::WorkloadChanged))
    }

    /// The role sets of which those that stay are decided anew: all where the requests changed, else
    /// those with a role whose policies did.
    pub fn decided_anew(&self) -> impl Iterator<Item = (RoleSetId, &[RoleIdx])> {
        let all = self.asks_anew();
        let mut roles: Vec<RoleIdx> = Vec::new();
        for change in &self.changes {
            if let Change::RoleChanged { role, old } = change
                && let Some(new) = self.tables.roles.get(*role)
                && new.policies != old.policies
            {
                roles.push(*role);
            }
        }
        let concerned =
            move |members: &[RoleIdx]| all || members.iter().any(|member| roles.contains(member));
        self.set_roles
            .iter()
            .map(|(id, members)| (*id, members.as_slice()))
            .filter(move |(_, members)| concerned(members))
    }

    /// What makes the decisions.
    #[must_use]
    pub fn decider(&self) -> Decider<'_> {
        Decider { plan: self, requests: self.requests(), effects: HashMap::new() }
    }
}

impl Decider<'_> {
    /// What is decided for a set of `roles`, which are sorted: by request, and of one request for
    /// everybody or the others first.
    ///
    /// # Errors
    /// The number of a role that the plan does not know.
    pub fn decide(&mut self, roles: &[RoleIdx]) -> Result<Vec<Decided>, RoleIdx> {
        for index in roles {
            if !self.effects.contains_key(index) {
                let role = self.plan.tables.roles.get(*index).ok_or(*index)?;
                self.effects.insert(*index, effects(&role.policies, &self.requests));
            }
        }
        let of = |index: &RoleIdx| self.effects.get(index).map(Vec::as_slice).ok_or(*index);
        let known = roles.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let mut decisions = Vec::new();
        for request in 0..self.requests.len() {
            let Said { others, own } = combined(&known, request);
            let each = match others == own {
                true => [(Whose::All, others), (Whose::Own, None)],
                false => [(Whose::Others, others), (Whose::Own, own)],
            };
            for (whose, decided) in each {
                let Some((effect, place)) = decided else { continue };
                if let Some(role) = roles.get(place) {
                    decisions.push(Decided { request, whose, effect, role: *role });
                }
            }
        }
        Ok(decisions)
    }
}

//! What a plan's numbers mean: tables of its own, so that it can be kept, shown and applied without
//! the states that it leads from and to.

use hashbrown::HashSet;

use super::change::Plan;
use super::copy::Copy;
use crate::model::workload::VIA;
use crate::model::{
    Change, Inconsistent, IndexVec, LocalGrant, LocalIdx, ReasonBook, Role, RoleIdx, RoleSetId,
    SourceIdx, State, Text, Texts, TokenIdx, User, UserId, WorkloadIdentity,
};
use crate::policy::{Action, Resource};

/// What a plan's changes name, and what its decisions are made from. Nobody stands here of whom the
/// plan says nothing.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Tables {
    /// The texts of all that follows, and of the changes: names of tokens too.
    pub texts: Texts,
    /// Roles, sorted by name: all there are after the changes, and those that go.
    pub roles: IndexVec<RoleIdx, Role>,
    /// Names of sources that links speak of, each in its place for good.
    pub sources: IndexVec<SourceIdx, String>,
    /// Whoever is changed, gets another role set, or reaches more, sorted by id, as they are after
    /// the changes; but for [`User::role_set`], which is the stored one.
    pub users: Vec<User>,
    /// Why idp grants exist, or existed.
    pub reasons: ReasonBook,
    /// The stories of local grants.
    pub locals: IndexVec<LocalIdx, LocalGrant>,
    /// The concrete requests that decisions are computed for.
    pub catalog: Vec<(Action, Option<Resource>)>,
    /// Who the pods of pools are in the clouds. Sorted, distinct.
    pub workload: Vec<WorkloadIdentity>,
    /// The next free user id.
    pub next_user: UserId,
}

/// Which role sets people and tokens have after a plan.
#[derive(Clone, Debug, Default)]
pub struct RoleSets {
    /// For each of the state's users its set.
    pub users: Vec<RoleSetId>,
    /// The tokens (places in the state's) that are new or get another set than the stored one, with
    /// that set.
    pub tokens: Vec<(TokenIdx, RoleSetId)>,
    /// Every set that users or tokens have, with its roles in order of their names.
    pub roles: std::collections::BTreeMap<RoleSetId, Vec<RoleIdx>>,
}

/// A token that is new, or decides with another role set than the stored one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct TokenSet {
    /// Its owner.
    pub user: UserId,
    /// Its name, of the plan's texts.
    pub name: Text,
    /// The stored set; of a new token no set.
    pub old: RoleSetId,
    /// Its set after the plan.
    pub new: RoleSetId,
}

/// People by number.
struct Marked(Vec<u64>);

impl Marked {
    /// With room for those of `users`, sorted by id.
    fn among(users: &[User]) -> Self {
        let last = users.last().map_or(0, |user| user.id.get() as usize);
        Marked(vec![0; last / 64 + 1])
    }

    fn mark(&mut self, user: UserId) {
        if let Some(word) = self.0.get_mut(user.get() as usize / 64) {
            *word |= 1 << (user.get() % 64);
        }
    }

    fn has(&self, user: UserId) -> bool {
        self.0
            .get(user.get() as usize / 64)
            .is_some_and(|word| word & (1 << (user.get() % 64)) != 0)
    }
}

/// A plan that changes one person in so many leaves the others' texts behind.
const WORTH_COPYING: usize = 4;

impl Plan {
    /// The plan of `changes`, which lead to `after` at the moment `at`. Held changes, warnings and
    /// the rest are for whoever plans to add.
    ///
    /// # Errors
    /// A change names a role that `after` has not.
    pub fn leading_to(
        after: State,
        mut changes: Vec<Change>,
        sets: RoleSets,
        widened: Vec<super::Widened>,
        at: crate::model::Time,
    ) -> Result<Plan, Inconsistent> {
        let RoleSets { users: mut user_sets, tokens: token_sets, roles: set_roles } = sets;
        // Links and grants are in the changes: the rest of them, most of a state, goes here.
        let State {
            mut texts,
            roles,
            sources,
            mut users,
            links: _,
            grants: _,
            reasons,
            locals,
            tokens,
            catalog,
            workload,
            next_user,
        } = after;
        for change in &mut changes {
            if let Change::TokenRemoved { name, .. } | Change::TokenRoleLost { name, .. } = change {
                *name = texts.add(tokens.text(*name))?;
            }
        }
        let token_sets: Vec<TokenSet> = token_sets
            .into_iter()
            .map(|(place, new)| {
                let token = tokens.list().get(place).ok_or(Inconsistent::NoSuchToken(place))?;
                let name = texts.add(tokens.name(token))?;
                Ok(TokenSet { user: token.user, name, old: token.role_set, new })
            })
            .collect::<Result<_, Inconsistent>>()?;
        drop(tokens);
        let all = users.len();
        let mut named = Marked::among(&users);
        changes.iter().filter_map(Change::user).for_each(|user| named.mark(user));
        widened.iter().flat_map(|group| &group.users).for_each(|user| named.mark(*user));
        for (user, set) in users.iter().zip(&user_sets) {
            if user.role_set != *set {
                named.mark(user.id);
            }
        }
        let mut each = users.iter();
        user_sets.retain(|_| each.next().is_some_and(|user| named.has(user.id)));
        users.retain(|user| named.has(user.id));
        let now = |place| reasons.reasons().at(place).clone();
        let renewed = reasons.renewed().iter();
        let renewed = renewed.map(|(place, before)| (before.clone(), now(*place))).collect();
        let few = users.len().saturating_mul(WORTH_COPYING) < all;
        let tables =
            Tables { texts, roles, sources, users, reasons, locals, catalog, workload, next_user };
        let mut plan = Plan {
            at,
            changes,
            tables,
            user_sets,
            token_sets,
            set_roles,
            renewed,
            taken: super::Taken::default(),
            held: None,
            diagnostics: Vec::new(),
            next_due: None,
            all_read: false,
            widened,
            summary: super::Summary::default(),
            records: super::Records::default(),
        };
        if few {
            plan.leave_unnamed()?;
        }
        plan.leave_sets_that_stay();
        Ok(plan)
    }

    /// Lets go of role sets that nobody gets and whose decisions stay.
    fn leave_sets_that_stay(&mut self) {
        let mut wanted: HashSet<RoleSetId> = self.user_sets.iter().copied().collect();
        wanted.extend(self.token_sets.iter().map(|token| token.new));
        wanted.extend(self.decided_anew().map(|(id, _)| id));
        self.set_roles.retain(|id, _| wanted.contains(id));
    }

    /// That everything that this names stands in its tables, and its lists fit one another, which is so
    /// of every plan that was made, but not of any text that reads like one.
    ///
    /// # Errors
    /// Something does not.
    pub(super) fn check(&self) -> Result<(), Inconsistent> {
        let mut copy = Copy::into_nothing(&self.tables);
        let users = &self.tables.users;
        for (one, next) in users.iter().zip(users.iter().skip(1)) {
            if one.id >= next.id {
                return Err(Inconsistent::Misplaced(next.id));
            }
        }
        users.iter().try_for_each(|user| copy.user(user).map(drop))?;
        let tables = TablesRef::from(self);
        let known = |user| match tables.user(user) {
            Some(_) => Ok(()),
            None => Err(Inconsistent::NoSuchUser(user)),
        };
        for change in &self.changes {
            copy.change(change)?;
            change.user().map_or(Ok(()), known)?;
        }
        // The last ones would stay as they are, whatever they lose.
        if users.len() != self.user_sets.len() {
            return Err(Inconsistent::UnevenSets {
                users: users.len(),
                sets: self.user_sets.len(),
            });
        }
        let set = |id: RoleSetId| match self.set_roles.contains_key(&id) {
            true => Ok(()),
            false => Err(Inconsistent::NoSuchRoleSet(id)),
        };
        self.moved().try_for_each(|(_, new)| set(new))?;
        for token in &self.token_sets {
            copy.text(token.name)?;
            set(token.new)?;
        }
        for role in self.set_roles.values().flatten() {
            tables.role(*role).ok_or(Inconsistent::NoSuchRole(*role))?;
        }
        for widened in &self.widened {
            widened.users.iter().try_for_each(|user| known(*user))?;
            let mut ways = widened.reached.iter().map(|reached| reached.via);
            if let Some(way) = ways.find(|way| VIA.get(*way).is_none()) {
                return Err(Inconsistent::NoSuchWay(way));
            }
        }
        Ok(())
    }

    /// Lets go of every text, reason and story that nothing here names.
    fn leave_unnamed(&mut self) -> Result<(), Inconsistent> {
        let from = std::mem::take(&mut self.tables);
        let mut copy = Copy::into_nothing(&from);
        let changes = self.changes.iter().map(|change| copy.change(change));
        self.changes = changes.collect::<Result<_, _>>()?;
        let users = from.users.iter().map(|user| copy.user(user));
        let users = users.collect::<Result<_, _>>()?;
        for token in &mut self.token_sets {
            token.name = copy.text(token.name)?;
        }
        let Copy { texts, reasons, locals, .. } = copy;
        let Tables { roles, sources, catalog, workload, next_user, .. } = from;
        self.tables =
            Tables { texts, roles, sources, users, reasons, locals, catalog, workload, next_user };
        Ok(())
    }
}

/// What a change's numbers mean: of a plan, or of a state while one is being made.
#[derive(Clone, Copy, Debug)]
pub struct TablesRef<'a> {
    /// The texts of users and links.
    pub texts: &'a Texts,
    /// The names of tokens.
    pub token_names: &'a Texts,
    /// Roles, sorted by name.
    pub roles: &'a IndexVec<RoleIdx, Role>,
    /// Names of sources.
    pub sources: &'a IndexVec<SourceIdx, String>,
    /// Users, sorted by id.
    pub users: &'a [User],
    /// Why idp grants exist.
    pub reasons: &'a ReasonBook,
    /// The stories of local grants.
    pub locals: &'a IndexVec<LocalIdx, LocalGrant>,
}

impl<'a> TablesRef<'a> {
    /// The person of this number.
    #[must_use]
    pub fn user(&self, user: UserId) -> Option<&'a User> {
        let place = self.users.binary_search_by_key(&user, |user| user.id).ok()?;
        self.users.get(place)
    }

    /// What the person of this number is called.
    #[must_use]
    pub fn username(&self, user: UserId) -> Option<&'a str> {
        self.user(user).map(|user| self.texts.get(user.username))
    }

    /// The role of this number.
    #[must_use]
    pub fn role(&self, role: RoleIdx) -> Option<&'a Role> {
        self.roles.get(role)
    }
}

impl<'a> From<&'a State> for TablesRef<'a> {
    fn from(state: &'a State) -> Self {
        TablesRef {
            texts: &state.texts,
            token_names: state.tokens.names(),
            roles: &state.roles,
            sources: &state.sources,
            users: &state.users,
            reasons: &state.reasons,
            locals: &state.locals,
        }
    }
}

impl<'a> From<&'a Plan> for TablesRef<'a> {
    fn from(plan: &'a Plan) -> Self {
        let tables = &plan.tables;
        TablesRef {
            texts: &tables.texts,
            token_names: &tables.texts,
            roles: &tables.roles,
            sources: &tables.sources,
            users: &tables.users,
            reasons: &tables.reasons,
            locals: &tables.locals,
        }
    }
}

impl Plan {
    /// Who gets another role set than the stored one ([`User::role_set`]), and which.
    pub fn moved(&self) -> impl Iterator<Item = (&User, RoleSetId)> {
        let each = self.tables.users.iter().zip(&self.user_sets);
        each.filter(|(user, set)| user.role_set != **set).map(|(user, set)| (user, *set))
    }
}

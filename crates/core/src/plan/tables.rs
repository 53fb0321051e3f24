//! What a plan's numbers mean: tables of its own, so that it can be kept, shown and applied without
//! the states that it leads from and to.

use hashbrown::{HashMap, HashSet};

use super::change::Plan;
use crate::model::{
    Change, GrantKind, Inconsistent, IndexVec, LocalGrant, LocalIdx, ReasonBook, Role, RoleIdx,
    RoleSetId, SetIdx, SourceIdx, State, Text, Texts, TokenIdx, User, UserId, WorkloadIdentity,
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
                *name = texts.add(tokens.text(*name));
            }
        }
        let token_sets: Vec<TokenSet> = token_sets
            .into_iter()
            .map(|(place, new)| {
                let token = tokens.list().get(place).ok_or(Inconsistent::NoSuchToken(place))?;
                let name = texts.add(tokens.name(token));
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
        let now = |place| reasons.reasons().get(place).cloned();
        let renewed = reasons.renewed().iter();
        let renewed = renewed.filter_map(|(place, before)| Some((before.clone(), now(*place)?)));
        let renewed = renewed.collect();
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

    /// Lets go of every text, reason and story that nothing here names.
    fn leave_unnamed(&mut self) -> Result<(), Inconsistent> {
        let roles = self.tables.roles.numbered().map(|(place, _)| Some(place));
        let roles = roles.collect::<Vec<_>>().try_into()?;
        let sources = self.tables.sources.numbered().map(|(place, _)| place);
        let sources = sources.collect::<Vec<_>>().try_into()?;
        let from = std::mem::take(&mut self.tables);
        let mut copy = Copy {
            from: &from,
            texts: Texts::default(),
            reasons: ReasonBook::default(),
            locals: IndexVec::default(),
            roles,
            sources,
            known: Known::default(),
        };
        let changes = self.changes.iter().map(|change| copy.change(change));
        self.changes = changes.collect::<Result<_, _>>()?;
        let users = from.users.iter().map(|user| copy.user(user)).collect();
        for token in &mut self.token_sets {
            token.name = copy.text(token.name);
        }
        let Copy { texts, reasons, locals, .. } = copy;
        let Tables { roles, sources, catalog, workload, next_user, .. } = from;
        self.tables =
            Tables { texts, roles, sources, users, reasons, locals, catalog, workload, next_user };
        Ok(())
    }
}

/// What has been copied, by its old number.
#[derive(Default)]
struct Known {
    texts: HashMap<Text, Text>,
    sets: HashMap<SetIdx, SetIdx>,
    locals: HashMap<LocalIdx, LocalIdx>,
}

/// Brings what a plan names from its tables into others.
pub(super) struct Copy<'a> {
    from: &'a Tables,
    texts: Texts,
    reasons: ReasonBook,
    locals: IndexVec<LocalIdx, LocalGrant>,
    /// For each role of `from` its place there; none for one that no change names.
    roles: IndexVec<RoleIdx, Option<RoleIdx>>,
    /// For each source of `from` its place there.
    sources: IndexVec<SourceIdx, SourceIdx>,
    known: Known,
}

impl Copy<'_> {
    fn text(&mut self, text: Text) -> Text {
        let Copy { from, texts, known, .. } = self;
        *known.texts.entry(text).or_insert_with(|| texts.add(from.texts.get(text)))
    }

    fn set(&mut self, set: SetIdx) -> Result<SetIdx, Inconsistent> {
        if let Some(known) = self.known.sets.get(&set) {
            return Ok(*known);
        }
        let mut reasons = Vec::new();
        for reason in self.from.reasons.of_set(set)? {
            reasons.push(self.reasons.reason(reason.clone())?);
        }
        let new = self.reasons.set(&reasons)?;
        self.known.sets.insert(set, new);
        Ok(new)
    }

    fn local(&mut self, local: LocalIdx) -> Result<LocalIdx, Inconsistent> {
        if let Some(known) = self.known.locals.get(&local) {
            return Ok(*known);
        }
        let story = self.from.locals.get(local).ok_or(Inconsistent::NoSuchLocal(local))?;
        let new = self.locals.push(story.clone())?;
        self.known.locals.insert(local, new);
        Ok(new)
    }

    fn kind(&mut self, kind: GrantKind) -> Result<GrantKind, Inconsistent> {
        Ok(match kind {
            GrantKind::Idp(set) => GrantKind::Idp(self.set(set)?),
            GrantKind::Local(local) => GrantKind::Local(self.local(local)?),
        })
    }

    fn role(&self, role: RoleIdx) -> Result<RoleIdx, Inconsistent> {
        self.roles.get(role).copied().flatten().ok_or(Inconsistent::NoSuchRole(role))
    }

    fn source(&self, source: SourceIdx) -> Result<SourceIdx, Inconsistent> {
        self.sources.get(source).copied().ok_or(Inconsistent::NoSuchSource(source))
    }

    fn user(&mut self, user: &User) -> User {
        let User { id, username, email, status, role_set } = user;
        User {
            id: *id,
            username: self.text(*username),
            email: self.text(*email),
            status: status.clone(),
            role_set: *role_set,
        }
    }

    fn change(&mut self, change: &Change) -> Result<Change, Inconsistent> {
        let mut copy = change.clone();
        match &mut copy {
            Change::RoleAdded { role }
            | Change::RoleChanged { role, old: _ }
            | Change::RoleRemoved { role } => *role = self.role(*role)?,
            Change::UserRenamed { user: _, old } | Change::EmailChanged { user: _, old } => {
                *old = self.text(*old);
            }
            Change::UserDisabled { user: _, by: _, federation } => {
                *federation = self.text(*federation);
            }
            Change::LinkAdded { user: _, source, ext }
            | Change::LinkRemoved { user: _, source, ext } => {
                (*source, *ext) = (self.source(*source)?, self.text(*ext));
            }
            Change::LinkClaims { user: _, source, ext, claim } => {
                (*source, *ext) = (self.source(*source)?, self.text(*ext));
                *claim = claim.map(|claim| self.text(claim));
            }
            Change::GrantAdded { user: _, role, kind }
            | Change::GrantRemoved { user: _, role, kind, cause: _ } => {
                (*role, *kind) = (self.role(*role)?, self.kind(*kind)?);
            }
            Change::GrantReasons { user: _, role, old, new } => {
                (*role, *old, *new) = (self.role(*role)?, self.set(*old)?, self.set(*new)?);
            }
            Change::TokenRemoved { user: _, name, cause: _ } => *name = self.text(*name),
            Change::TokenRoleLost { user: _, name, role, cause: _ } => {
                (*name, *role) = (self.text(*name), self.role(*role)?);
            }
            Change::UserCreated { user: _ }
            | Change::UserEnabled { user: _ }
            | Change::UserMissing { user: _ }
            | Change::UserReturned { user: _ }
            | Change::UserDeprovisioned { user: _, cause: _ }
            | Change::TokenAdded { user: _, token: _ }
            | Change::CatalogChanged
            | Change::WorkloadChanged => {}
        }
        Ok(copy)
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
    /// What `old` becomes when the plan is applied to it: what the store does to its rows. `old` is
    /// what the plan was made from, or an equal state from elsewhere.
    ///
    /// # Errors
    /// `old` is another one: the two do not fit together.
    pub fn applied(&self, old: &State) -> Result<State, Inconsistent> {
        let tables = &self.tables;
        // With what the changes add and make of them: roles that are still to come stand in the
        // tables too.
        let mut roles = old.roles.to_vec();
        for change in &self.changes {
            if let Change::RoleAdded { role } | Change::RoleChanged { role, .. } = change
                && let Some(role) = tables.roles.get(*role)
            {
                match roles.binary_search_by(|other| other.name.cmp(&role.name)) {
                    Ok(place) => {
                        roles.get_mut(place).into_iter().for_each(|it| it.clone_from(role))
                    }
                    Err(place) => roles.insert(place, role.clone()),
                }
            }
        }
        let roles: IndexVec<RoleIdx, Role> = roles.try_into()?;
        let place = |role: &Role| roles.find_by(|other| other.name.cmp(&role.name));
        let mut sources = old.sources.clone();
        let mut source_places = IndexVec::with_capacity(tables.sources.len());
        for name in &tables.sources {
            let known = sources.position(|source| source == name);
            source_places.push(known.map_or_else(|| sources.push(name.clone()), Ok)?)?;
        }
        let mut reasons = old.reasons.clone();
        for (before, now) in &self.renewed {
            reasons.renew(before, now);
        }
        let mut copy = Copy {
            from: tables,
            texts: old.texts.clone(),
            reasons,
            locals: old.locals.clone(),
            roles: tables.roles.map(place),
            sources: source_places,
            known: Known::default(),
        };
        let changes = self.changes.iter().map(|change| copy.change(change));
        let changes = changes.collect::<Result<Vec<Change>, _>>()?;
        let users = tables.users.iter().map(|user| copy.user(user)).collect();
        let Copy { texts, reasons, locals, .. } = copy;
        let full = State {
            texts,
            roles,
            sources,
            users,
            links: Vec::new(),
            grants: Vec::new(),
            reasons,
            locals,
            tokens: std::sync::Arc::clone(&old.tokens),
            catalog: tables.catalog.clone(),
            workload: tables.workload.clone(),
            next_user: tables.next_user,
        };
        let mut state = super::apply(old, &full, &changes)?;
        for (user, set) in tables.users.iter().zip(&self.user_sets) {
            if let Ok(place) = state.users.binary_search_by_key(&user.id, |user| user.id)
                && let Some(user) = state.users.get_mut(place)
            {
                user.role_set = *set;
            }
        }
        super::tokens::applied(self, &mut state)?;
        let gone = changes.iter().filter_map(|change| match change {
            Change::RoleRemoved { role } => Some(*role),
            _ => None,
        });
        without_roles(&mut state, &gone.collect())?;
        Ok(state)
    }
}

/// Takes roles that nobody holds any more out of a state.
fn without_roles(
    state: &mut State,
    gone: &std::collections::BTreeSet<RoleIdx>,
) -> Result<(), Inconsistent> {
    if gone.is_empty() {
        return Ok(());
    }
    let mut left = IndexVec::default();
    let mut places: IndexVec<RoleIdx, Option<RoleIdx>> = IndexVec::default();
    for (role, def) in state.roles.numbered() {
        let stays = !gone.contains(&role);
        places.push(stays.then(|| left.push(def.clone())).transpose()?)?;
    }
    for grant in &mut state.grants {
        let place = places.get(grant.role).copied().flatten();
        grant.role = place.ok_or(Inconsistent::NoSuchRole(grant.role))?;
    }
    state.roles = left;
    Ok(())
}

impl Plan {
    /// Who gets another role set than the stored one ([`User::role_set`]), and which.
    pub fn moved(&self) -> impl Iterator<Item = (&User, RoleSetId)> {
        let each = self.tables.users.iter().zip(&self.user_sets);
        each.filter(|(user, set)| user.role_set != **set).map(|(user, set)| (user, *set))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a state says, all numbers but people's put into words.
    fn words(state: &State, sets: &RoleSets) -> Vec<String> {
        let role = |role: RoleIdx| &state.roles.get(role).unwrap().name;
        let mut words = Vec::new();
        for (user, set) in state.users.iter().zip(&sets.users) {
            let (name, email) = (state.texts.get(user.username), state.texts.get(user.email));
            words.push(format!("{} {name} {email} {:?} {set}", user.id, user.status));
        }
        for grant in &state.grants {
            let why = match grant.kind {
                GrantKind::Idp(set) => {
                    let mut all: Vec<_> = state.reasons.of_set(set).unwrap().collect();
                    all.sort();
                    format!("{all:?}")
                }
                GrantKind::Local(local) => format!("{:?}", state.local(local).unwrap()),
            };
            words.push(format!("{} {} {why}", grant.user, role(grant.role)));
        }
        for link in &state.links {
            // To be called as the person is called says nothing, and no change does.
            let called = TablesRef::from(state).username(link.user);
            let claim = link.claim.map(|claim| state.texts.get(claim));
            let claim = claim.filter(|claim| Some(*claim) != called);
            let ext = state.texts.get(link.ext);
            let source = state.sources.get(link.source).unwrap();
            words.push(format!("{source} {ext} {} {claim:?}", link.user));
        }
        for (place, token) in state.tokens.list().numbered() {
            let (name, roles) = (state.tokens.name(token), state.tokens.roles(token).unwrap());
            let new = sets.tokens.iter().find(|(it, _)| *it == place);
            let set = new.map_or(token.role_set, |(_, set)| *set);
            words.push(format!("{} {name} {roles:?} {} {set}", token.user, token.expires_at));
        }
        words.sort();
        words
    }

    /// That `plan` leads from `old` to what it was made from.
    pub(in crate::plan) fn assert_stands_alone(
        plan: &Plan,
        old: &State,
        (paper, sets): &(State, RoleSets),
    ) {
        let state = plan.applied(old).unwrap();
        let users = state.users.iter().map(|user| user.role_set).collect();
        let applied = RoleSets { users, ..RoleSets::default() };
        assert_eq!(words(&state, &applied), words(paper, sets));
    }
}

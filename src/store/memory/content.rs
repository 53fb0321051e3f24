//! What the store holds, and what a commit makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ended::EndedList;
use crate::directory::{Cursor, Mirror, MirrorDigest};
use crate::model::token::Digest as TokenDigest;
use crate::model::{
    Change, Followed, Inconsistent, LocalAccount, NewToken, RoleSetId, State, Time, UserId,
};
use crate::plan::{Held, Plan, Taken, Whose, view};
use crate::policy::{Action, Effect, Resource};
use crate::store::{
    Beside, Commit, CommitError, Committed, Generation, HistoryRow, Meta, MirrorPatch, Mismatch,
    Review, SourceStatus, SourceUpdate, StoreError,
};

/// Everything, as one commit left it.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub meta: Meta,
    /// The state, and every one there was, by generation.
    pub state: Arc<State>,
    pub past: Vec<Past>,
    /// The role sets that users and tokens have, and what is decided for them.
    pub sets: Arc<BTreeMap<RoleSetId, RoleSet>>,
    pub sources: BTreeMap<String, Source>,
    pub history: Vec<(HistoryRow, Option<UserId>)>,
    pub held: Option<Held>,
    pub accounts: BTreeMap<String, LocalAccount>,
    /// What tokens were made with, which no plan asks for.
    pub made: BTreeMap<TokenDigest, NewToken>,
    pub keys: BTreeMap<String, String>,
    pub followed: BTreeMap<String, Followed>,
    pub ended: EndedList,
    pub reviews: Vec<Review>,
}

/// A generation.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub generation: Generation,
    pub state: Arc<State>,
    pub sets: Arc<BTreeMap<RoleSetId, RoleSet>>,
    pub taken: Taken,
}

/// A role set.
#[derive(Clone, Debug, Default)]
pub(super) struct RoleSet {
    /// Sorted by name.
    pub roles: Vec<String>,
    pub decisions: Vec<Decision>,
}

#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub action: Action,
    pub resource: Option<Resource>,
    /// It is of the catalog.
    pub listed: bool,
    pub whose: Whose,
    pub effect: Effect,
    pub role: String,
}

/// A source.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its digest is that of the mirror.
    pub status: SourceStatus,
    pub mirror: Option<Arc<Mirror>>,
    pub cursor: Option<Cursor>,
    /// When each of the mirror's people came, by external id: numbers that only rise.
    pub came: BTreeMap<String, u32>,
    pub next: u32,
}

/// As it is stored: whole seconds.
pub(super) fn seconds(time: Time) -> Time {
    Time::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

impl Content {
    pub(super) fn commit(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError> {
        let Commit { plan, base_version, sources, configured, settled } = commit;
        self.sources(*base_version, sources, configured)?;
        let committed = self.plan(plan, settled.as_deref())?;
        patches.iter().try_for_each(|it| self.patch(it))?;
        Ok(committed)
    }

    pub(super) fn commit_beside(
        &mut self,
        beside: &Beside<'_>,
        make: impl FnOnce() -> Result<Plan, Inconsistent>,
    ) -> Result<(Plan, Committed), CommitError> {
        self.sources(beside.base_version, beside.sources, beside.configured)?;
        let plan = make().map_err(Mismatch::from)?;
        let committed = self.plan(&plan, Some(beside.settled))?;
        Ok((plan, committed))
    }

    pub(super) fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        self.configure(configured);
        for update in sources {
            if let Some(source) = self.sources.get_mut(update.source) {
                source.read(update);
            }
        }
        Ok(())
    }

    pub(super) fn discard_held(&mut self, id: &str) -> bool {
        let it = self.held.take_if(|held| held.id == id).is_some();
        if it {
            self.meta.version += 1;
            self.meta.settled = None;
        }
        it
    }

    fn configure(&mut self, configured: &[String]) {
        for (name, source) in &mut self.sources {
            source.status.configured = configured.contains(name);
        }
        for name in configured {
            self.sources.entry(name.clone()).or_insert_with(|| Source::new(name));
        }
    }

    fn sources(
        &mut self,
        base_version: i64,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), CommitError> {
        if self.meta.version != base_version {
            return Err(CommitError::Raced);
        }
        self.configure(configured);
        for update in sources {
            let source = self
                .sources
                .get_mut(update.source)
                .ok_or_else(|| Mismatch::UnconfiguredSource(update.source.to_owned()))?;
            source.read(update);
            if let Some(new) = &update.mirror {
                let mirror = Mirror { directory: new.directory.clone(), cursor: None };
                source.says(mirror, new.digest.whole, &BTreeSet::new());
            }
        }
        Ok(())
    }

    fn plan(&mut self, plan: &Plan, settled: Option<&str>) -> Result<Committed, CommitError> {
        // Only a run has weighed what a source's absence means.
        if plan.held.is_none() && settled.is_some() {
            self.sources.retain(|_, source| source.status.configured);
            let sources = &self.sources;
            self.followed.retain(|source, _| sources.contains_key(source));
        }
        let next = self.meta.generation + 1;
        let applied = self.apply(plan, next)?;
        if applied {
            let at = seconds(plan.at);
            (self.meta.generation, self.meta.applied_at) = (next, Some(at));
            let generation = Generation { num: next, at };
            let (state, sets) = (Arc::clone(&self.state), Arc::clone(&self.sets));
            self.past.push(Past { generation, state, sets, taken: plan.taken });
        }
        let id = |held: &Option<Held>| held.as_ref().map(|held| held.id.clone());
        let held = id(&self.held) != id(&plan.held);
        if held {
            self.held.clone_from(&plan.held);
        }
        let accounts = &plan.records.accounts;
        self.accounts.extend(accounts.iter().map(|it| (it.ext.clone(), it.clone())));
        let settles = settled != self.meta.settled.as_deref();
        if applied || held || !accounts.is_empty() || settles {
            self.meta.version += 1;
            self.meta.settled = settled.map(str::to_owned);
        }
        self.meta.next_due = plan.next_due.map(seconds);
        if settled.is_some() {
            self.meta.all_read = plan.all_read;
        }
        Ok(Committed { generation: applied.then_some(next), version: self.meta.version })
    }

    /// Whether there was anything to apply.
    fn apply(&mut self, plan: &Plan, generation: u64) -> Result<bool, CommitError> {
        if plan.tables.users.len() != plan.user_sets.len() {
            return Err(Mismatch::UnevenSets.into());
        }
        let nothing = plan.changes.is_empty() && plan.moved().next().is_none();
        let state = plan.applied(&self.state).map_err(Mismatch::from)?;
        check(&state)?;
        self.state = Arc::new(state);
        if nothing && plan.token_sets.is_empty() {
            return Ok(false);
        }
        self.decide(plan)?;
        for change in &plan.changes {
            if let Change::TokenAdded { token, .. } = change {
                self.made.insert(token.digest, NewToken::clone(token));
            }
            let mut words = view(change, plan);
            if matches!(change, Change::RoleRemoved { .. }) {
                // There is but one, and history does not name it.
                words.cause = None;
            }
            let (at, deed) = (seconds(plan.at), plan.records.deed.clone());
            let row = HistoryRow { generation, at, change: words, deed };
            self.history.push((row, change.user()));
        }
        Ok(true)
    }

    /// Keeps the plan's role sets with its decisions, and lets go of those that nobody has.
    fn decide(&mut self, plan: &Plan) -> Result<(), CommitError> {
        let sets = Arc::make_mut(&mut self.sets);
        let (requests, mut decider) = (plan.requests(), plan.decider());
        let name = |role| match plan.tables.roles.get(role) {
            Some(role) => Ok(role.name.clone()),
            None => Err(Mismatch::Plan(Inconsistent::NoSuchRole(role))),
        };
        for (id, roles) in &plan.set_roles {
            let mut set = RoleSet::default();
            for decided in decider
                .decide(roles)
                .map_err(|role| Mismatch::Plan(Inconsistent::NoSuchRole(role)))?
            {
                let Some((action, resource)) = requests.get(decided.request) else { continue };
                set.decisions.push(Decision {
                    action: action.clone(),
                    resource: resource.clone(),
                    listed: decided.request < plan.tables.catalog.len(),
                    whose: decided.whose,
                    effect: decided.effect,
                    role: name(decided.role)?,
                });
            }
            set.roles = roles.iter().map(|role| name(*role)).collect::<Result<_, _>>()?;
            sets.insert(*id, set);
        }
        let mut used: BTreeSet<RoleSetId> = self.state.users.iter().map(|it| it.role_set).collect();
        used.extend(self.state.tokens.list().iter().map(|token| token.role_set));
        sets.retain(|id, _| used.contains(id));
        Ok(())
    }

    fn patch(&mut self, patch: &MirrorPatch<'_>) -> Result<(), CommitError> {
        let MirrorPatch { source, patch } = patch;
        let source = self.sources.get_mut(*source).ok_or(CommitError::Raced)?;
        let before = patch.before.to_string();
        let mirror = source.mirror.clone().filter(|_| source.status.digest == Some(before));
        let mirror = Mirror::clone(&*mirror.ok_or(CommitError::Raced)?);
        let mirror = mirror.patched(patch).map_err(Mismatch::from)?;
        source.cursor.clone_from(&patch.cursor);
        let anew = match patch.looked_up {
            true => patch.people.keys().map(String::as_str).collect(),
            false => BTreeSet::new(),
        };
        source.says(mirror, patch.after, &anew);
        Ok(())
    }
}

/// Whether a plan that was made from another state has left something that cannot be.
fn check(state: &State) -> Result<(), CommitError> {
    let mut names = BTreeSet::new();
    for pair in state.users.windows(2) {
        if let [a, b] = pair
            && a.id >= b.id
        {
            return Err(Mismatch::UserThere(b.id).into());
        }
    }
    for user in state.users.iter().filter(|user| !user.status.is_deprovisioned()) {
        let name = state.texts.get(user.username);
        if !names.insert(name) {
            return Err(Mismatch::SameName(name.to_owned()).into());
        }
    }
    Ok(())
}

impl Source {
    fn new(name: &str) -> Self {
        let status = SourceStatus {
            name: name.to_owned(),
            kind: None,
            configured: true,
            read_at: None,
            tried_at: None,
            spoke_at: None,
            error: None,
            scopes: Vec::new(),
            digest: None,
        };
        Source { status, mirror: None, cursor: None, came: BTreeMap::new(), next: 0 }
    }

    fn read(&mut self, update: &SourceUpdate<'_>) {
        let (status, tried) = (&mut self.status, seconds(update.tried_at));
        status.kind = Some(update.kind.to_owned());
        status.tried_at = Some(tried);
        status.error.clone_from(&update.error);
        if update.complete {
            status.read_at = Some(tried);
        }
        if update.error.is_none() {
            status.spoke_at = Some(tried);
            status.scopes.clone_from(&update.scopes);
            self.cursor = update.cursor.cloned();
        }
    }

    /// Keeps `mirror`. Those of `anew` count as having come now, whether they were there or not.
    fn says(&mut self, mirror: Mirror, digest: MirrorDigest, anew: &BTreeSet<&str>) {
        let directory = &mirror.directory;
        let mut came = BTreeMap::new();
        for user in &directory.users {
            let ext = directory.text(user.ext);
            let known = self.came.get(ext).copied().filter(|_| !anew.contains(ext));
            let number = known.unwrap_or_else(|| {
                self.next += 1;
                self.next
            });
            came.insert(ext.to_owned(), number);
        }
        self.came = came;
        self.status.digest = Some(digest.to_string());
        self.mirror = Some(Arc::new(mirror));
    }
}

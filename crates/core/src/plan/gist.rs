//! Many changes told by what causes them: a plan of thousands of changes that a person can judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::change::{ChangeView, Plan};
use super::tables::TablesRef;
use super::view::{because, by_way, came, view, way, ways_told};
use crate::model::{
    Cause, CauseKind, Change, ChangeKind, GrantKind, IndexVec, Origin, Reason, ReasonBook,
    ReasonIdx, RoleIdx, SetIdx, Status, UserId,
};

/// Changes of one kind that have one cause in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Gist {
    /// The role that is gained or lost; for a change of a role itself none.
    pub role: Option<String>,
    /// Of a grant who made it.
    pub origin: Option<Origin>,
    /// What they have in common: the rule and its source, or why; empty where there is no more to
    /// say than what changes.
    pub cause: String,
    /// How many changes.
    pub count: u64,
    /// Through what, for grants by a rule: each way and how many take it, the most taken first.
    pub ways: Vec<(String, u64)>,
    /// Whom or what it concerns, the first so many in order; a renamed one with the old name.
    pub names: Vec<String>,
}

/// Changes as they are listed: those of a plan, or in words already.
#[derive(Clone, Copy)]
pub enum Changes<'a> {
    /// Of a plan.
    Planned(&'a Plan),
    /// Those of a held plan.
    Worded(&'a [ChangeView]),
}

impl<'a> Changes<'a> {
    /// How many of each kind: see [`ChangeView::change`].
    #[must_use]
    pub fn counts(self) -> HashMap<ChangeKind, usize> {
        let mut counts = HashMap::new();
        let mut count = |kind| *counts.entry(kind).or_default() += 1;
        match self {
            Changes::Planned(plan) => plan.changes.iter().for_each(|c| count(c.kind())),
            Changes::Worded(changes) => changes.iter().for_each(|c| count(c.change)),
        }
        counts
    }

    /// Those of `kind` in words, in no order.
    #[must_use]
    pub fn of(self, kind: ChangeKind) -> Vec<ChangeView> {
        match self {
            Changes::Planned(plan) => {
                let mine = plan.changes.iter().filter(|change| change.kind() == kind);
                mine.map(|change| view(change, plan)).collect()
            }
            Changes::Worded(changes) => {
                changes.iter().filter(|change| change.change == kind).cloned().collect()
            }
        }
    }

    /// Those of `kind` by what causes them, by role and cause; of each the first `names`.
    #[must_use]
    pub fn gist(self, kind: ChangeKind, names: usize) -> Vec<Gist> {
        let mut groups = Groups { names, groups: BTreeMap::new() };
        match self {
            Changes::Planned(plan) => {
                let names_of = TablesRef::from(plan);
                // Counted by numbers first: millions of changes have few causes.
                let ranks = Ranks::of(names_of.reasons);
                let mut counted: hashbrown::HashMap<Cheap, Tally<'_, &str>> =
                    hashbrown::HashMap::new();
                let mut created: HashMap<Option<&str>, Names<&str>> = HashMap::new();
                for change in plan.changes.iter().filter(|change| change.kind() == kind) {
                    let (user, key) = match change {
                        Change::GrantAdded { user, role, kind: GrantKind::Idp(set) } => {
                            (user, (*role, ranks.first(*set), None))
                        }
                        Change::GrantRemoved { user, role, kind: GrantKind::Idp(set), cause } => {
                            (user, (*role, ranks.first(*set), Some(cause)))
                        }
                        Change::UserCreated { user } => {
                            let by = names_of.user(*user).and_then(|user| match &user.status {
                                Status::Disabled { by } => Some(by.as_str()),
                                _ => None,
                            });
                            created.entry(by).or_default().add(name(names_of, *user), 1, names);
                            continue;
                        }
                        change => {
                            groups.add_view(&view(change, plan));
                            continue;
                        }
                    };
                    let (role, reason, cause) = key;
                    let key = (role, reason, cause.map(Cause::kind));
                    let tally = counted.entry(key).or_insert_with(|| (cause, Names::default()));
                    tally.1.add(name(names_of, *user), 1, names);
                }
                for (by, tally) in created {
                    let cause = by.map_or_else(String::new, |by| format!("disabled in `{by}`"));
                    groups.at((None, None, &cause)).names.take(tally, names);
                }
                for ((role, reason, _), (cause, tally)) in counted {
                    let (by, way) = through(names_of, reason);
                    let cause = match cause {
                        None => by,
                        Some(cause @ Cause::NotAtIdp) => came(&because(cause), &by),
                        Some(cause) => common(cause),
                    };
                    let role = names_of.role(role).map(|role| role.name.as_str());
                    let group = groups.at((role, Some(Origin::Idp), &cause));
                    group.count(&way, tally.count);
                    group.names.take(tally, names);
                }
            }
            Changes::Worded(changes) => {
                changes.iter().filter(|c| c.change == kind).for_each(|c| groups.add_view(c));
            }
        }
        groups.done()
    }
}

fn name(names: TablesRef<'_>, user: UserId) -> &str {
    names.username(user).unwrap_or_default()
}

/// [`Cause::UserGone`] without the time.
const GONE: &str = "gone from every source for too long";

/// A cause without what differs from one person to the next.
fn common(cause: &Cause) -> String {
    match cause {
        Cause::UserGone { since: _ } => GONE.to_owned(),
        cause => because(cause),
    }
}

/// How a reason reads: its rule, and the way to it.
fn through(names: TablesRef<'_>, reason: Option<ReasonIdx>) -> (String, String) {
    reason
        .and_then(|reason| names.reasons.reasons().get(reason))
        .map_or_else(Default::default, |first| {
            (format!("by {} ({})", first.rule, first.source), way(first))
        })
}

/// Which reason of a set comes first, as [`super::sorted`] has it, without looking at any text again.
struct Ranks<'a> {
    book: &'a ReasonBook,
    /// By reason: its place among all, sorted.
    of: IndexVec<ReasonIdx, usize>,
}

impl<'a> Ranks<'a> {
    fn of(book: &'a ReasonBook) -> Self {
        let reasons = book.reasons();
        let mut order: Vec<(ReasonIdx, &Reason)> = reasons.numbered().collect();
        order.sort_by(|(_, a), (_, b)| by_way(a, b));
        let mut of = reasons.map(|_| 0);
        for (rank, (reason, _)) in order.into_iter().enumerate() {
            if let Some(slot) = of.get_mut(reason) {
                *slot = rank;
            }
        }
        Ranks { book, of }
    }

    fn first(&self, set: SetIdx) -> Option<ReasonIdx> {
        let set = self.book.sets().get(set)?;
        set.iter().copied().min_by_key(|reason| self.of.get(*reason))
    }
}

/// Role, first reason, and the kind of cause.
type Cheap = (RoleIdx, Option<ReasonIdx>, Option<CauseKind>);

/// One of the causes, and whom it concerns.
type Tally<'a, T> = (Option<&'a Cause>, Names<T>);

/// How many, and the first of their names.
struct Names<T> {
    count: u64,
    first: BTreeSet<T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names { count: 0, first: BTreeSet::new() }
    }
}

impl<T: Ord> Names<T> {
    fn add(&mut self, name: T, count: u64, most: usize) {
        self.count += count;
        self.keep(name, most);
    }

    fn keep(&mut self, name: T, most: usize) {
        if self.first.len() >= most && self.first.last().is_none_or(|last| *last <= name) {
            return;
        }
        self.first.insert(name);
        if self.first.len() > most {
            self.first.pop_last();
        }
    }
}

impl Names<String> {
    fn take(&mut self, other: Names<&str>, most: usize) {
        self.count += other.count;
        other.first.into_iter().for_each(|name| self.keep(name.to_owned(), most));
    }
}

/// Role, origin, cause.
type Key = (Option<String>, Option<Origin>, String);

#[derive(Default)]
struct Group {
    names: Names<String>,
    ways: HashMap<String, u64>,
}

impl Group {
    fn count(&mut self, way: &str, count: u64) {
        if !way.is_empty() {
            *self.ways.entry(way.to_owned()).or_default() += count;
        }
    }
}

struct Groups {
    names: usize,
    groups: BTreeMap<Key, Group>,
}

impl Groups {
    fn at(&mut self, (role, origin, cause): (Option<&str>, Option<Origin>, &str)) -> &mut Group {
        let key = (role.map(str::to_owned), origin, cause.to_owned());
        self.groups.entry(key).or_default()
    }

    /// What is in words already: its sentence is its cause.
    fn add_view(&mut self, view: &ChangeView) {
        let mut name = view.user.clone().or_else(|| view.role.clone()).unwrap_or_default();
        if let Some(token) = &view.token {
            name = format!("{name}/{token}");
        }
        let absent = because(&Cause::NotAtIdp);
        let (mut cause, mut way) = (view.why.as_deref().unwrap_or_default(), "");
        if let (ChangeKind::UserRenamed | ChangeKind::EmailChanged, Some(old), Some(new)) =
            (view.change, &view.old, &view.new)
        {
            let who = if view.change == ChangeKind::UserRenamed { "" } else { name.as_str() };
            name = format!("{who} {old} → {new}").trim().to_owned();
            cause = "";
        }
        match (view.cause, view.origin) {
            (Some(CauseKind::UserGone), _) => cause = GONE,
            // The way differs from one to the next.
            (Some(CauseKind::NotAtIdp), Some(Origin::Idp)) => {
                way = ways_told(cause);
                cause = &absent;
            }
            _ => {}
        }
        let of_role = view.origin.is_some() || view.token.is_some();
        let role = if of_role { view.role.as_deref() } else { None };
        let names = self.names;
        let group = self.at((role, view.origin, cause));
        group.count(way, 1);
        group.names.add(name, 1, names);
    }

    fn done(self) -> Vec<Gist> {
        let gist = |((role, origin, cause), group): (Key, Group)| {
            let mut ways: Vec<(String, u64)> = group.ways.into_iter().collect();
            ways.sort_by(|(a, many), (b, more)| more.cmp(many).then(a.cmp(b)));
            Gist {
                role,
                origin,
                cause,
                count: group.names.count,
                ways,
                names: group.names.first.into_iter().collect(),
            }
        };
        self.groups.into_iter().map(gist).collect()
    }
}

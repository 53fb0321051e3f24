//! From rules to people: what being directly in a reference gives, and why.

use std::collections::BTreeSet;

use crate::directory::{DirUserIdx, Directory, RefIdx};
use crate::model::index::{Place as _, nothing_at};
use crate::model::{
    ExternalRef, Inconsistent, IndexVec, Reason, ReasonBook, ReasonIdx, RoleIdx, TooMany,
};

use super::doubt::DoubtIdx;
use super::matching::SourceMatches;
use super::people::ViewIdx;
use super::principals::{Node, Principals, Shown};
use super::rules::Rules;

/// A source, and what rules make of it.
#[derive(Clone, Copy)]
pub struct MatchedView<'a> {
    /// Its name.
    pub source: &'a str,
    /// Its content.
    pub directory: &'a Directory,
    /// What rules match in it.
    pub matched: &'a SourceMatches,
}

impl<'a> MatchedView<'a> {
    /// The sources with what rules match in them.
    ///
    /// # Errors
    /// There are more sources than can be numbered.
    pub fn of(
        directories: &IndexVec<ViewIdx, (&'a str, &'a Directory)>,
        matched: &'a IndexVec<ViewIdx, SourceMatches>,
    ) -> Result<IndexVec<ViewIdx, MatchedView<'a>>, TooMany> {
        let parts = directories.iter().zip(matched);
        let part = |(&(source, directory), matched)| MatchedView { source, directory, matched };
        parts.map(part).collect::<Vec<_>>().try_into()
    }
}

/// The names and directories of sources.
///
/// # Errors
/// There are more of them than can be numbered.
pub fn named<'a>(
    pairs: &'a [(Rules<'a>, &'a Directory)],
) -> Result<IndexVec<ViewIdx, (&'a str, &'a Directory)>, TooMany> {
    let named = pairs.iter().map(|(rules, directory)| (rules.source(), *directory));
    named.collect::<Vec<_>>().try_into()
}

/// A name in doubt, of one of the sources.
pub type DoubtAt = (ViewIdx, DoubtIdx);

/// What the refs of one source give to those directly in them, in whatever source the rule is.
pub struct RoleClosure {
    /// For each reference its roles, each with a reason's number; sorted, distinct.
    of: IndexVec<RefIdx, Vec<(RoleIdx, ReasonIdx)>>,
    /// Likewise what it gives by a name in doubt; empty where nothing is given so.
    doubtful: IndexVec<RefIdx, Vec<(RoleIdx, ReasonIdx, DoubtAt)>>,
    /// For each user the refs that give something.
    giving: RefsOfUsers,
    /// What people have through what stands for them in other sources; sorted by person.
    abroad: Vec<(DirUserIdx, RoleIdx, ReasonIdx, Option<DoubtAt>)>,
    /// Roles that somebody may hold through a reference of which nobody has read in full who is in
    /// it, or what it leads to.
    pub unknown: BTreeSet<RoleIdx>,
}

/// What is directly given to those in one reference, surely and by a name in doubt.
#[derive(Default)]
struct Gives {
    found: Vec<(RoleIdx, ReasonIdx)>,
    maybe: Vec<(RoleIdx, ReasonIdx, DoubtAt)>,
}

/// Follows every reference of every source upwards, cycles and all, and notes each role on the way
/// with the shortest path to it.
///
/// # Errors
/// There are more reasons, or memberships that give something, than can be numbered.
pub fn closures(
    parts: &IndexVec<ViewIdx, MatchedView<'_>>,
    principals: &Principals,
    reasons: &mut ReasonBook,
) -> Result<IndexVec<ViewIdx, RoleClosure>, Inconsistent> {
    build(parts, principals, reasons, Shown::People)
}

/// The same for directories that are shown without their people: of references that nobody is in as
/// well.
///
/// # Errors
/// There are more reasons than can be numbered.
pub fn closures_of_all(
    parts: &IndexVec<ViewIdx, MatchedView<'_>>,
    principals: &Principals,
    reasons: &mut ReasonBook,
) -> Result<IndexVec<ViewIdx, RoleClosure>, Inconsistent> {
    build(parts, principals, reasons, Shown::Outline)
}

fn build(
    parts: &IndexVec<ViewIdx, MatchedView<'_>>,
    principals: &Principals,
    reasons: &mut ReasonBook,
    shown: Shown,
) -> Result<IndexVec<ViewIdx, RoleClosure>, Inconsistent> {
    let mut walk = Walk {
        parts,
        principals,
        reached: parts.map(|part| part.directory.refs.map(|_| None)),
        came: parts.map_numbered(|view, part| part.directory.refs.map_numbered(|at, _| (view, at))),
        queue: Vec::new(),
        leads_anywhere: parts.map(|_| false),
    };
    let mut closures = IndexVec::with_capacity(parts.len());
    for (view, part) in parts.numbered() {
        closures.push(walk.source(view, part.directory, reasons, shown)?)?;
    }
    for (part, (closure, leads)) in parts.iter().zip(closures.iter_mut().zip(&walk.leads_anywhere))
    {
        if *leads {
            let gives = part.matched.gives.iter().flatten();
            closure.unknown.extend(gives.map(|given| given.role));
        }
    }
    for ((view, user), stand) in principals.people() {
        let given = stand.iter().flat_map(|(other, place)| closures.at(*other).given(*place));
        let given: Vec<_> =
            given.map(|(role, reason, doubt)| (user, role, reason, doubt)).collect();
        closures.at_mut(view).abroad.extend(given);
    }
    Ok(closures)
}

impl RoleClosure {
    /// What the reference at this place gives to those directly in it: role, reason, and the doubt
    /// that stands before it.
    pub fn given(
        &self,
        reference: RefIdx,
    ) -> impl Iterator<Item = (RoleIdx, ReasonIdx, Option<DoubtAt>)> {
        let certain = self.of.at(reference).iter();
        // There is no list at all where nothing is in doubt.
        let doubtful = self.doubtful.get(reference).into_iter().flatten();
        let certain = certain.map(|(role, reason)| (*role, *reason, None));
        certain.chain(doubtful.map(|(role, reason, doubt)| (*role, *reason, Some(*doubt))))
    }

    /// Appends what `user` gets, as (role, reason), in no particular order.
    pub fn of_user(&self, user: DirUserIdx, out: &mut Vec<(RoleIdx, ReasonIdx)>) {
        for reference in self.giving.of(user) {
            out.extend_from_slice(self.of.at(*reference));
        }
        let sure = |(_, role, reason, doubt): &(_, _, _, Option<_>)| match doubt {
            None => Some((*role, *reason)),
            Some(_) => None,
        };
        out.extend(self.abroad_of(user).iter().filter_map(sure));
    }

    /// Appends what `user` is in by a name in doubt, as (role, reason, doubt), likewise.
    pub fn doubtful_of_user(&self, user: DirUserIdx, out: &mut Vec<(RoleIdx, ReasonIdx, DoubtAt)>) {
        if !self.doubtful.is_empty() {
            for reference in self.giving.of(user) {
                out.extend_from_slice(self.doubtful.at(*reference));
            }
        }
        let doubted =
            |(_, role, reason, doubt): &(_, _, _, Option<_>)| Some((*role, *reason, (*doubt)?));
        out.extend(self.abroad_of(user).iter().filter_map(doubted));
    }

    fn abroad_of(&self, user: DirUserIdx) -> &[(DirUserIdx, RoleIdx, ReasonIdx, Option<DoubtAt>)] {
        let from = self.abroad.partition_point(|(it, ..)| *it < user);
        let (_, rest) = self.abroad.split_at_checked(from).unwrap_or_default();
        let until = rest.partition_point(|(it, ..)| *it == user);
        rest.get(..until).unwrap_or_default()
    }
}

/// The way upwards from one reference after the other.
struct Walk<'a> {
    parts: &'a IndexVec<ViewIdx, MatchedView<'a>>,
    principals: &'a Principals,
    /// From where each was reached last.
    reached: IndexVec<ViewIdx, IndexVec<RefIdx, Option<Node>>>,
    /// By way of what.
    came: IndexVec<ViewIdx, IndexVec<RefIdx, Node>>,
    queue: Vec<Node>,
    /// Of something of the source that is on a way nobody has read in full what it leads to.
    leads_anywhere: IndexVec<ViewIdx, bool>,
}

impl Walk<'_> {
    /// What the references of one source give.
    fn source(
        &mut self,
        view: ViewIdx,
        directory: &Directory,
        reasons: &mut ReasonBook,
        shown: Shown,
    ) -> Result<RoleClosure, Inconsistent> {
        let mut of = IndexVec::with_capacity(directory.refs.len());
        let mut doubtful = IndexVec::with_capacity(directory.refs.len());
        let mut unknown = BTreeSet::new();
        for (place, row) in directory.refs.numbered() {
            let start = (view, place);
            let used = !directory.members.at(place).is_empty() || self.principals.is_person(start);
            let known = row.known && !self.principals.is_open(start);
            let mut gives = Gives::default();
            if shown == Shown::Outline || used || !known {
                gives = self.from(start, reasons)?;
            }
            if !known {
                unknown.extend(gives.found.iter().map(|(role, _)| *role));
                unknown.extend(gives.maybe.iter().map(|(role, _, _)| *role));
            }
            of.push(gives.found)?;
            doubtful.push(gives.maybe)?;
        }
        let gives = |at: RefIdx| {
            let (certain, doubtful): (&Vec<_>, &Vec<_>) = (of.at(at), doubtful.at(at));
            !certain.is_empty() || !doubtful.is_empty()
        };
        let giving = RefsOfUsers::new(directory, gives)?;
        if doubtful.iter().all(Vec::is_empty) {
            doubtful = IndexVec::default();
        }
        Ok(RoleClosure { of, doubtful, giving, abroad: Vec::new(), unknown })
    }

    /// What being directly in `start` gives. Sorted, distinct.
    fn from(&mut self, start: Node, reasons: &mut ReasonBook) -> Result<Gives, TooMany> {
        let Gives { mut found, mut maybe } = Gives::default();
        let (parts, principals) = (self.parts, self.principals);
        self.queue.clear();
        self.reach(start, start, start);
        let mut next = 0;
        while let Some(at) = self.queue.get(next).copied() {
            next += 1;
            let (view, place) = at;
            let MatchedView { directory, matched, .. } = parts.at(view);
            if !directory.refs.at(place).implies_known {
                *self.leads_anywhere.at_mut(view) = true;
            }
            for given in matched.gives.at(place) {
                let reason = self.reason(&given.rule, start, at);
                // The way may begin in another source, where the step is as much there.
                let there = |step: &ExternalRef| parts.iter().any(|it| it.directory.has(step));
                let abroad = start.0 != view || reason.leads_abroad();
                let here = |step: &ExternalRef| directory.has(step) || (abroad && there(step));
                let reason = reasons.current(reason, here)?;
                match given.doubt {
                    None => found.push((given.role, reason)),
                    Some(doubt) => maybe.push((given.role, reason, (view, doubt))),
                }
            }
            for to in directory.implies.at(place) {
                self.reach(start, (view, *to), at);
            }
            for principal in principals.of_group(at) {
                self.reach(start, *principal, at);
            }
        }
        found.sort_unstable();
        found.dedup();
        maybe.sort_unstable();
        maybe.dedup();
        Ok(Gives { found, maybe })
    }

    /// Notes that `to` is reached from `start` by way of `way`, unless it was before.
    fn reach(&mut self, start: Node, to: Node, way: Node) {
        if self.reached.at_mut(to.0).at_mut(to.1).replace(start) == Some(start) {
            return;
        }
        *self.came.at_mut(to.0).at_mut(to.1) = way;
        self.queue.push(to);
    }

    /// Why those in `start` are given what `rule` gives to those in `end`, which is reached.
    fn reason(&self, rule: &str, start: Node, end: Node) -> Reason {
        let external = |(view, place): Node| self.parts.at(view).directory.external(place);
        let mut path = vec![external(end)];
        let mut at = end;
        while at != start {
            at = *self.came.at(at.0).at(at.1);
            path.push(external(at));
        }
        path.reverse();
        let source = self.parts.at(end.0).source;
        Reason { source: source.to_owned(), rule: rule.to_owned(), path }
    }
}

/// "Reference has these members" turned round: for each user the refs that give something.
struct RefsOfUsers {
    /// For each user, and one past the last, how many there are of all before.
    starts: Vec<u32>,
    refs: Vec<RefIdx>,
}

impl RefsOfUsers {
    fn new(directory: &Directory, gives: impl Fn(RefIdx) -> bool) -> Result<Self, TooMany> {
        const FULL: TooMany = TooMany("memberships that give a role");
        let giving = || directory.members.numbered().filter(|(reference, _)| gives(*reference));
        let mut starts = vec![0u32; directory.users.len() + 1];
        for member in giving().flat_map(|(_, members)| members) {
            if let Some(slot) = starts.get_mut(member.place() + 1) {
                // No more than there are refs, which have numbers.
                *slot += 1;
            }
        }
        let mut sum = 0u32;
        for slot in &mut starts {
            sum = sum.checked_add(*slot).ok_or(FULL)?;
            *slot = sum;
        }
        let mut next = starts.clone();
        let mut refs = vec![RefIdx::default(); sum as usize];
        for (reference, members) in giving() {
            for member in members {
                if let Some(slot) = next.get_mut(member.place()) {
                    if let Some(place) = refs.get_mut(*slot as usize) {
                        *place = reference;
                    }
                    *slot += 1;
                }
            }
        }
        Ok(RefsOfUsers { starts, refs })
    }

    fn of(&self, user: DirUserIdx) -> &[RefIdx] {
        let bound = |at: usize| self.starts.get(at).map(|start| *start as usize);
        let run = bound(user.place()).zip(bound(user.place() + 1));
        match run.and_then(|(from, until)| self.refs.get(from..until)) {
            Some(refs) => refs,
            None => nothing_at(user),
        }
    }
}

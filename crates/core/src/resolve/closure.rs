//! From rules to people: what being directly in a reference gives, and why.

use std::collections::BTreeSet;

use crate::directory::{DirUserIdx, Directory, RefIdx};
use crate::model::index::{Place as _, nothing_at};
use crate::model::{Inconsistent, IndexVec, Reason, ReasonBook, ReasonIdx, RoleIdx, TooMany};

use super::doubt::DoubtIdx;
use super::matching::SourceMatches;

/// What the refs of one source give to those directly in them.
pub struct RoleClosure {
    /// For each reference its roles, each with a reason's number; sorted, distinct.
    of: IndexVec<RefIdx, Vec<(RoleIdx, ReasonIdx)>>,
    /// Likewise what it gives by a name in doubt; empty where nothing is given so.
    doubtful: IndexVec<RefIdx, Vec<(RoleIdx, ReasonIdx, DoubtIdx)>>,
    /// For each user the refs that give something.
    giving: RefsOfUsers,
    /// Roles that somebody may hold through a reference of which nobody has read in full who is in
    /// it, or what it leads to.
    pub unknown: BTreeSet<RoleIdx>,
}

/// What is directly given to those in one reference, surely and by a name in doubt.
#[derive(Default)]
struct Gives {
    found: Vec<(RoleIdx, ReasonIdx)>,
    maybe: Vec<(RoleIdx, ReasonIdx, DoubtIdx)>,
}

impl RoleClosure {
    /// Follows every reference upwards, cycles and all, and notes each role on the way with the
    /// shortest path to it.
    ///
    /// # Errors
    /// There are more reasons, or memberships that give something, than can be numbered.
    pub fn new(
        source: &str,
        directory: &Directory,
        matched: &SourceMatches,
        reasons: &mut ReasonBook,
    ) -> Result<Self, Inconsistent> {
        Self::build((source, directory), matched, reasons, false)
    }

    /// The same for a directory that is shown without its people: of references that nobody is in as
    /// well.
    ///
    /// # Errors
    /// There are more reasons than can be numbered.
    pub fn of_all(
        source: &str,
        directory: &Directory,
        matched: &SourceMatches,
        reasons: &mut ReasonBook,
    ) -> Result<Self, Inconsistent> {
        Self::build((source, directory), matched, reasons, true)
    }

    fn build(
        (source, directory): (&str, &Directory),
        matched: &SourceMatches,
        reasons: &mut ReasonBook,
        all: bool,
    ) -> Result<Self, Inconsistent> {
        let mut of = IndexVec::with_capacity(directory.refs.len());
        let mut doubtful = IndexVec::with_capacity(directory.refs.len());
        let mut unknown = BTreeSet::new();
        let mut walk = Walk {
            source,
            directory,
            matched,
            reached: directory.refs.map(|_| None),
            came: directory.refs.places(),
            queue: Vec::new(),
            leads_anywhere: false,
        };
        for (start, row) in directory.refs.numbered() {
            let used = !directory.members.at(start).is_empty();
            let mut gives = Gives::default();
            if all || used || !row.known {
                gives = walk.from(start, reasons)?;
            }
            if !row.known {
                unknown.extend(gives.found.iter().map(|(role, _)| *role));
                unknown.extend(gives.maybe.iter().map(|(role, _, _)| *role));
            }
            of.push(gives.found)?;
            doubtful.push(gives.maybe)?;
        }
        if walk.leads_anywhere {
            let gives = matched.gives.iter().flatten();
            unknown.extend(gives.map(|given| given.role));
        }
        let gives = |at: RefIdx| {
            let (certain, doubtful): (&Vec<_>, &Vec<_>) = (of.at(at), doubtful.at(at));
            !certain.is_empty() || !doubtful.is_empty()
        };
        let giving = RefsOfUsers::new(directory, gives)?;
        if doubtful.iter().all(Vec::is_empty) {
            doubtful = IndexVec::default();
        }
        Ok(RoleClosure { of, doubtful, giving, unknown })
    }

    /// What the reference at this place gives to those directly in it: role, reason, and the doubt
    /// that stands before it.
    pub fn given(
        &self,
        reference: RefIdx,
    ) -> impl Iterator<Item = (RoleIdx, ReasonIdx, Option<DoubtIdx>)> {
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
    }

    /// Appends what `user` is in by a name in doubt, as (role, reason, doubt), likewise.
    pub fn doubtful_of_user(
        &self,
        user: DirUserIdx,
        out: &mut Vec<(RoleIdx, ReasonIdx, DoubtIdx)>,
    ) {
        if self.doubtful.is_empty() {
            return;
        }
        for reference in self.giving.of(user) {
            out.extend_from_slice(self.doubtful.at(*reference));
        }
    }
}

/// The way upwards from one reference after the other.
struct Walk<'a> {
    source: &'a str,
    directory: &'a Directory,
    matched: &'a SourceMatches,
    /// From where each was reached last.
    reached: IndexVec<RefIdx, Option<RefIdx>>,
    /// By way of what.
    came: IndexVec<RefIdx, RefIdx>,
    queue: Vec<RefIdx>,
    /// Of something on the way nobody has read in full what it leads to.
    leads_anywhere: bool,
}

impl Walk<'_> {
    /// What being directly in `start` gives. Sorted, distinct.
    fn from(&mut self, start: RefIdx, reasons: &mut ReasonBook) -> Result<Gives, TooMany> {
        let Gives { mut found, mut maybe } = Gives::default();
        let directory = self.directory;
        self.queue.clear();
        self.reach(start, start, start);
        let mut next = 0;
        while let Some(at) = self.queue.get(next).copied() {
            next += 1;
            self.leads_anywhere |= !directory.refs.at(at).implies_known;
            for given in self.matched.gives.at(at) {
                let reason = self.reason(&given.rule, start, at);
                let reason = reasons.current(reason, |step| directory.has(step))?;
                match given.doubt {
                    None => found.push((given.role, reason)),
                    Some(doubt) => maybe.push((given.role, reason, doubt)),
                }
            }
            for to in directory.implies.at(at) {
                self.reach(start, *to, at);
            }
        }
        found.sort_unstable();
        found.dedup();
        maybe.sort_unstable();
        maybe.dedup();
        Ok(Gives { found, maybe })
    }

    /// Notes that `to` is reached from `start` by way of `way`, unless it was before.
    fn reach(&mut self, start: RefIdx, to: RefIdx, way: RefIdx) {
        if self.reached.at_mut(to).replace(start) == Some(start) {
            return;
        }
        *self.came.at_mut(to) = way;
        self.queue.push(to);
    }

    /// Why those in `start` are given what `rule` gives to those in `end`, which is reached.
    fn reason(&self, rule: &str, start: RefIdx, end: RefIdx) -> Reason {
        let mut path = vec![self.directory.external(end)];
        let mut at = end;
        while at != start {
            at = *self.came.at(at);
            path.push(self.directory.external(at));
        }
        path.reverse();
        Reason { source: self.source.to_owned(), rule: rule.to_owned(), path }
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

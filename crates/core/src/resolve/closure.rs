//! From rules to people: what being directly in a reference gives, and why.

use std::collections::BTreeSet;

use crate::directory::Directory;
use crate::model::{Inconsistent, Reason, ReasonBook, ReasonIdx, RoleIdx};

use super::matching::Matched;

/// What the refs of one source give to those directly in them.
pub struct RoleClosure {
    /// For each reference its roles, each with a reason's number; sorted, distinct.
    of: Vec<Vec<(RoleIdx, ReasonIdx)>>,
    /// Likewise what it gives by a name in doubt, each with the doubt's number.
    doubtful: Vec<Vec<(RoleIdx, ReasonIdx, u32)>>,
    /// For each user the refs that give something, as a run in `refs`.
    starts: Vec<u32>,
    refs: Vec<u32>,
    /// Roles that somebody may hold through a reference of which nobody has read in full who is in
    /// it, or what it leads to.
    pub unknown: BTreeSet<RoleIdx>,
}

impl RoleClosure {
    /// Follows every reference upwards, cycles and all, and notes each role on the way with the
    /// shortest path to it.
    ///
    /// # Errors
    /// There are more reasons than can be numbered.
    pub fn new(
        source: &str,
        directory: &Directory,
        matched: &Matched,
        reasons: &mut ReasonBook,
    ) -> Result<Self, Inconsistent> {
        let count = directory.refs.len();
        let mut of = Vec::with_capacity(count);
        let mut doubtful = Vec::with_capacity(count);
        // `seen[c] == start + 1` when `c` was reached from `start`, by way of `came[c]`.
        let mut seen = vec![0u32; count];
        let mut came = vec![0u32; count];
        let mut queue: Vec<u32> = Vec::new();
        let mut unknown = BTreeSet::new();
        let mut leads_anywhere = false;
        for start in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let mut found = Vec::new();
            let mut maybe = Vec::new();
            let known = directory.refs.get(start as usize).is_none_or(|row| row.known);
            let used = directory.members.get(start as usize).is_some_and(|list| !list.is_empty());
            if used || !known {
                queue.clear();
                queue.push(start);
                mark(&mut seen, start, start + 1);
                let mut next = 0;
                while let Some(reference) = queue.get(next).copied() {
                    next += 1;
                    leads_anywhere |=
                        directory.refs.get(reference as usize).is_some_and(|c| !c.implies_known);
                    for given in matched.gives.get(reference as usize).into_iter().flatten() {
                        let ends = (start, reference);
                        let reason = reason(source, directory, &given.rule, ends, &came);
                        let reason = reasons.current(reason, |step| directory.has(step))?;
                        match given.doubt {
                            None => found.push((given.role, reason)),
                            Some(doubt) => maybe.push((given.role, reason, doubt)),
                        }
                    }
                    for to in directory.implies.get(reference as usize).into_iter().flatten() {
                        if seen.get(*to as usize).is_some_and(|mark| *mark != start + 1) {
                            mark(&mut seen, *to, start + 1);
                            mark(&mut came, *to, reference);
                            queue.push(*to);
                        }
                    }
                }
                found.sort_unstable();
                found.dedup();
                maybe.sort_unstable();
                maybe.dedup();
                if !known {
                    unknown.extend(found.iter().map(|(role, _)| *role));
                    unknown.extend(maybe.iter().map(|(role, _, _)| *role));
                }
            }
            of.push(found);
            doubtful.push(maybe);
        }
        if leads_anywhere {
            let gives = matched.gives.iter().flatten();
            unknown.extend(gives.map(|given| given.role));
        }
        let gives = |at: usize| {
            of.get(at).is_some_and(|list| !list.is_empty())
                || doubtful.get(at).is_some_and(|list| !list.is_empty())
        };
        let (starts, refs) = by_user(directory, gives);
        if doubtful.iter().all(Vec::is_empty) {
            doubtful = Vec::new();
        }
        Ok(RoleClosure { of, doubtful, starts, refs, unknown })
    }

    /// Appends what `user` gets, as (role, reason), in no particular order.
    pub fn of_user(&self, user: u32, out: &mut Vec<(RoleIdx, ReasonIdx)>) {
        for reference in self.refs_of(user) {
            if let Some(closure) = self.of.get(*reference as usize) {
                out.extend_from_slice(closure);
            }
        }
    }

    /// Appends what `user` is in by a name in doubt, as (role, reason, doubt), likewise.
    pub fn doubtful_of_user(&self, user: u32, out: &mut Vec<(RoleIdx, ReasonIdx, u32)>) {
        if self.doubtful.is_empty() {
            return;
        }
        for reference in self.refs_of(user) {
            if let Some(closure) = self.doubtful.get(*reference as usize) {
                out.extend_from_slice(closure);
            }
        }
    }

    fn refs_of(&self, user: u32) -> &[u32] {
        let bound = |at: u32| self.starts.get(at as usize).copied().unwrap_or(0) as usize;
        self.refs.get(bound(user)..bound(user + 1)).unwrap_or(&[])
    }
}

fn mark(list: &mut [u32], at: u32, value: u32) {
    if let Some(slot) = list.get_mut(at as usize) {
        *slot = value;
    }
}

fn reason(
    source: &str,
    directory: &Directory,
    rule: &str,
    (start, end): (u32, u32),
    came: &[u32],
) -> Reason {
    let mut path = Vec::from_iter(directory.external(end));
    let mut at = end;
    while at != start {
        at = came.get(at as usize).copied().unwrap_or(start);
        path.extend(directory.external(at));
    }
    path.reverse();
    Reason { source: source.to_owned(), rule: rule.to_owned(), path }
}

/// Turns "reference has these members" round, for refs that give something.
fn by_user(directory: &Directory, gives: impl Fn(usize) -> bool) -> (Vec<u32>, Vec<u32>) {
    let giving = || (0u32..).zip(&directory.members).filter(|(index, _)| gives(*index as usize));
    let mut starts = vec![0u32; directory.users.len() + 1];
    for (_, members) in giving() {
        for member in members {
            if let Some(slot) = starts.get_mut(*member as usize + 1) {
                *slot += 1;
            }
        }
    }
    let mut sum = 0;
    for slot in &mut starts {
        sum += *slot;
        *slot = sum;
    }
    let mut next = starts.clone();
    let mut refs = vec![0u32; sum as usize];
    for (reference, members) in giving() {
        for member in members {
            if let Some(slot) = next.get_mut(*member as usize) {
                if let Some(place) = refs.get_mut(*slot as usize) {
                    *place = reference;
                }
                *slot += 1;
            }
        }
    }
    (starts, refs)
}

//! From rules to people: what being directly in a container gives, and why.

use std::collections::BTreeSet;

use crate::model::{Reason, ReasonBook, RoleIdx};
use crate::source::Directory;

use super::rules::Matched;

/// What the containers of one source give to those directly in them.
pub struct Yields {
    /// For each container its roles, each with a reason's number; sorted, distinct.
    of: Vec<Vec<(RoleIdx, u32)>>,
    /// For each user the containers that give something, as a run in `containers`.
    starts: Vec<u32>,
    containers: Vec<u32>,
    /// Roles that somebody may hold through a container of which nobody has read in full who is in
    /// it, or what it leads to.
    pub unknown: BTreeSet<RoleIdx>,
}

impl Yields {
    /// Follows every container upwards, cycles and all, and notes each role on the way with the
    /// shortest path to it.
    #[must_use]
    pub fn new(
        source: &str,
        directory: &Directory,
        matched: &Matched,
        reasons: &mut ReasonBook,
    ) -> Self {
        let count = directory.containers.len();
        let mut of = Vec::with_capacity(count);
        // `seen[c] == start + 1` when `c` was reached from `start`, by way of `came[c]`.
        let mut seen = vec![0u32; count];
        let mut came = vec![0u32; count];
        let mut queue: Vec<u32> = Vec::new();
        let mut unknown = BTreeSet::new();
        let mut leads_anywhere = false;
        for start in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let mut found = Vec::new();
            let known = directory.containers.get(start as usize).is_none_or(|row| row.known);
            let used = directory.members.get(start as usize).is_some_and(|list| !list.is_empty());
            if used || !known {
                queue.clear();
                queue.push(start);
                mark(&mut seen, start, start + 1);
                let mut next = 0;
                while let Some(container) = queue.get(next).copied() {
                    next += 1;
                    leads_anywhere |=
                        directory.containers.get(container as usize).is_some_and(|c| !c.up_known);
                    for (role, rule) in matched.gives.get(container as usize).into_iter().flatten()
                    {
                        let reason = reason(source, directory, rule, (start, container), &came);
                        found.push((*role, reasons.reason(reason)));
                    }
                    for to in directory.up.get(container as usize).into_iter().flatten() {
                        if seen.get(*to as usize).is_some_and(|mark| *mark != start + 1) {
                            mark(&mut seen, *to, start + 1);
                            mark(&mut came, *to, container);
                            queue.push(*to);
                        }
                    }
                }
                found.sort_unstable();
                found.dedup();
                if !known {
                    unknown.extend(found.iter().map(|(role, _)| *role));
                }
            }
            of.push(found);
        }
        if leads_anywhere {
            let gives = matched.gives.iter().flatten();
            unknown.extend(gives.map(|(role, _)| *role));
        }
        let (starts, containers) = by_user(directory, &of);
        Yields { of, starts, containers, unknown }
    }

    /// Appends what `user` gets, as (role, reason), in no particular order.
    pub fn of_user(&self, user: u32, out: &mut Vec<(RoleIdx, u32)>) {
        let bound = |at: u32| self.starts.get(at as usize).copied().unwrap_or(0) as usize;
        let run = self.containers.get(bound(user)..bound(user + 1)).unwrap_or(&[]);
        for container in run {
            if let Some(yields) = self.of.get(*container as usize) {
                out.extend_from_slice(yields);
            }
        }
    }
}

fn mark(list: &mut [u32], at: u32, value: u32) {
    if let Some(slot) = list.get_mut(at as usize) {
        *slot = value;
    }
}

/// What a reason calls a container.
#[must_use]
pub fn label(directory: &Directory, container: u32) -> String {
    directory.containers.get(container as usize).map_or_else(String::new, |row| {
        format!("{} `{}`", row.kind.as_str(), directory.text(row.identity))
    })
}

fn reason(
    source: &str,
    directory: &Directory,
    rule: &str,
    (start, end): (u32, u32),
    came: &[u32],
) -> Reason {
    let label = |container: u32| label(directory, container);
    let mut path = vec![label(end)];
    let mut at = end;
    while at != start {
        at = came.get(at as usize).copied().unwrap_or(start);
        path.push(label(at));
    }
    path.reverse();
    Reason { source: source.to_owned(), rule: rule.to_owned(), reference: label(end), path }
}

/// Turns "container has these members" round, for containers that give something.
fn by_user(directory: &Directory, of: &[Vec<(RoleIdx, u32)>]) -> (Vec<u32>, Vec<u32>) {
    let giving = || {
        (0u32..)
            .zip(&directory.members)
            .filter(|(index, _)| of.get(*index as usize).is_some_and(|yields| !yields.is_empty()))
    };
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
    let mut containers = vec![0u32; sum as usize];
    for (container, members) in giving() {
        for member in members {
            if let Some(slot) = next.get_mut(*member as usize) {
                if let Some(place) = containers.get_mut(*slot as usize) {
                    *place = container;
                }
                *slot += 1;
            }
        }
    }
    (starts, containers)
}

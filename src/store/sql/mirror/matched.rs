//! What of a mirror that is to be was there, and which lists differ: only rows that change are written.

use std::cmp::Ordering;

use super::{Numbers, SourceRow, key, place, taken};
use crate::directory::{DirUserIdx, Directory};
use crate::model::index::Place;
use crate::store::sql::error::Fault;

/// A mirror as it is and as it is to be.
pub(super) struct Ends<'a> {
    pub(super) old: &'a Directory,
    pub(super) old_numbers: &'a Numbers,
    pub(super) new: &'a Directory,
}

/// What of a new directory's users or refs was there.
pub(super) struct Matched {
    /// For each its place in the old directory.
    pub(super) before: Vec<Option<u32>>,
    /// For each its number: the one it had, or a new one.
    pub(super) numbers: Vec<u32>,
    /// The numbers of those of the old directory that are gone.
    pub(super) gone: Vec<u32>,
}

/// How lists differ.
pub(super) struct Changed {
    /// For each reference whether its members are others.
    pub(super) members: Vec<bool>,
    /// For each number of a user whether they are in other things.
    pub(super) within: Vec<bool>,
}

/// Matches two sorted lists: of each of the new one its place in the old one, where `compare`
/// (places in the old and the new) says that they are the same.
fn matched(
    (old, new): (usize, usize),
    numbers: &[u32],
    next: &mut u32,
    compare: impl Fn(usize, usize) -> Ordering,
) -> Result<Matched, Fault> {
    let mut matched = Matched {
        before: Vec::with_capacity(new),
        numbers: Vec::with_capacity(new),
        gone: Vec::new(),
    };
    let mut at = 0usize;
    for one in 0..new {
        let mut found = None;
        while at < old && found.is_none() {
            match compare(at, one) {
                Ordering::Greater => break,
                Ordering::Less => matched.gone.push(place(numbers, at)?),
                Ordering::Equal => found = Some(at),
            }
            at = at.saturating_add(1);
        }
        matched.numbers.push(match found {
            Some(before) => place(numbers, before)?,
            None => taken(next)?,
        });
        matched.before.push(found.and_then(|before| u32::try_from(before).ok()));
    }
    matched.gone.extend(numbers.iter().skip(at));
    Ok(matched)
}

/// The numbers of what is at the places of a list.
fn numbered<I: Place>(
    lists: &[Vec<I>],
    at: usize,
    numbers: &[u32],
) -> impl Iterator<Item = Result<u32, Fault>> {
    let places = lists.get(at).map_or(&[][..], Vec::as_slice);
    places.iter().map(|item| place(numbers, item.place()))
}

/// The numbers of what is at the places of a list, sorted.
pub(super) fn sorted_numbers<I: Place>(
    lists: &[Vec<I>],
    at: usize,
    numbers: &[u32],
) -> Result<Vec<u32>, Fault> {
    let mut list = numbered(lists, at, numbers).collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable();
    Ok(list)
}

fn row_at<T>(list: &[T], at: usize) -> Option<&T> {
    list.get(at)
}

impl Ends<'_> {
    pub(super) fn users(&self, row: &mut SourceRow) -> Result<Matched, Fault> {
        let Ends { old, old_numbers, new } = self;
        let ext = |directory: &'_ Directory, at| row_at(&directory.users, at).map(|it| it.ext);
        let sizes = (old.users.len(), new.users.len());
        matched(sizes, &old_numbers.users, &mut row.next_user, |before, at| {
            let before = ext(old, before).map(|text| old.text(text));
            before.cmp(&ext(new, at).map(|text| new.text(text)))
        })
    }

    pub(super) fn refs(&self, row: &mut SourceRow) -> Result<Matched, Fault> {
        let Ends { old, old_numbers, new } = self;
        let sizes = (old.refs.len(), new.refs.len());
        matched(sizes, &old_numbers.refs, &mut row.next_ref, |before, at| {
            let before = row_at(&old.refs, before).map(|reference| key(old, reference));
            before.cmp(&row_at(&new.refs, at).map(|reference| key(new, reference)))
        })
    }

    /// Which lists of members differ, and for whom. Places follow external ids in both directories,
    /// so lists of numbers in order of places are equal exactly where the lists mean the same.
    pub(super) fn lists(
        &self,
        users: &Matched,
        refs: &Matched,
        next_user: u32,
    ) -> Result<Changed, Fault> {
        let Ends { old, old_numbers, new } = self;
        let mut within = vec![false; next_user as usize];
        let mut mark = |number: u32| {
            if let Some(slot) = within.get_mut(number as usize) {
                *slot = true;
            }
        };
        let mut members = Vec::with_capacity(new.refs.len());
        let mut stays = vec![false; old.refs.len()];
        for (at, before) in refs.before.iter().enumerate() {
            let now = numbered(&new.members, at, &users.numbers);
            let Some(before) = before.map(|before| before as usize) else {
                // Who is in something new is in other things.
                for number in now {
                    mark(number?);
                }
                members.push(true);
                continue;
            };
            if let Some(slot) = stays.get_mut(before) {
                *slot = true;
            }
            let was = numbered(&old.members, before, &old_numbers.users);
            let (now, was): (Vec<u32>, Vec<u32>) =
                (now.collect::<Result<_, _>>()?, was.collect::<Result<_, _>>()?);
            let same = now == was;
            if !same {
                differences(now, was).into_iter().for_each(&mut mark);
            }
            members.push(!same);
        }
        for (at, _) in stays.iter().enumerate().filter(|(_, stays)| !**stays) {
            for number in numbered(&old.members, at, &old_numbers.users) {
                mark(number?);
            }
        }
        Ok(Changed { members, within })
    }
}

/// What users are directly in, by the users' places: the members of all references turned round, for
/// so many users at a time. All at once would be a second copy of all memberships.
pub(super) struct Within<'a> {
    members: &'a [Vec<DirUserIdx>],
    /// The references' numbers.
    refs: &'a [u32],
    /// The users that are looked at, from this one on.
    from: usize,
    /// Their lists, one after the other, and where each begins.
    all: Vec<u32>,
    starts: Vec<usize>,
}

impl<'a> Within<'a> {
    const AT_ONCE: usize = 65_536;

    pub(super) fn new(members: &'a [Vec<DirUserIdx>], refs: &'a [u32]) -> Self {
        Within { members, refs, from: 0, all: Vec::new(), starts: Vec::new() }
    }

    /// The numbers of what the user at `place` is in, sorted.
    pub(super) fn of(&mut self, user: usize) -> Result<Vec<u32>, Fault> {
        let from = user.saturating_sub(user % Self::AT_ONCE);
        if self.starts.is_empty() || self.from != from {
            self.turn(from)?;
        }
        let at = user.saturating_sub(from);
        let start = place(&self.starts, at)?;
        let end = place(&self.starts, at.saturating_add(1))?;
        let mut within = self.all.get(start..end).unwrap_or_default().to_vec();
        within.sort_unstable();
        Ok(within)
    }

    /// Turns the lists round for the users at `from` and after.
    fn turn(&mut self, from: usize) -> Result<(), Fault> {
        let members = self.members;
        let until = from.saturating_add(Self::AT_ONCE);
        let of_these = |list: &'a [DirUserIdx]| {
            let start = list.partition_point(|user| user.place() < from);
            let end = list.partition_point(|user| user.place() < until);
            let users = list.get(start..end).unwrap_or_default();
            users.iter().map(move |user| user.place().saturating_sub(from))
        };
        // Where each list ends, then from the back where each begins.
        let mut ends = vec![0usize; Self::AT_ONCE.saturating_add(1)];
        for user in members.iter().flat_map(|list| of_these(list)) {
            if let Some(count) = ends.get_mut(user) {
                *count = count.saturating_add(1);
            }
        }
        let mut total = 0usize;
        for end in &mut ends {
            total = total.saturating_add(*end);
            *end = total;
        }
        self.all.clear();
        self.all.resize(total, 0);
        for (at, list) in members.iter().enumerate() {
            let number = place(self.refs, at)?;
            for user in of_these(list) {
                if let Some(end) = ends.get_mut(user) {
                    *end = end.saturating_sub(1);
                    if let Some(slot) = self.all.get_mut(*end) {
                        *slot = number;
                    }
                }
            }
        }
        (self.from, self.starts) = (from, ends);
        Ok(())
    }
}

/// What is in one list and not in the other.
fn differences(mut one: Vec<u32>, mut other: Vec<u32>) -> Vec<u32> {
    one.sort_unstable();
    other.sort_unstable();
    let only = |list: &[u32], without: &[u32]| -> Vec<u32> {
        list.iter().filter(|it| without.binary_search(it).is_err()).copied().collect()
    };
    let mut found = only(&one, &other);
    found.extend(only(&other, &one));
    found
}

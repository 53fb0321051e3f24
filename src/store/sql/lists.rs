//! Who is in the lists of a mirror that changed lately. To find that out anew costs a row of everybody in
//! the list, and each change of a group asks twice: its feed, and whoever commits what that told.
//!
//! A list is known again by the sum of its people's ids, which stands in the row of the group whose it is
//! ([`Sum`]): lists of one sum say the same, whoever has written meanwhile. So nothing here is ever out of
//! date, only of no use.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::directory::{DigestKey, Sum};

/// So many people are remembered at most, in all lists together, each list counted as one more.
const MOST: usize = 200_000;

/// Of a list in which more have changed than so many its next state is not worth adding up.
const MOST_MOVED: usize = 1_000;

/// A source's number, and that of the group or role in its mirror.
pub(super) type ListPlace = (i64, u32);

/// Lists that were looked at lately.
#[derive(Debug, Default)]
pub(in crate::store) struct KnownLists(Mutex<Vec<KnownList>>);

#[derive(Debug)]
struct KnownList {
    place: ListPlace,
    sum: Sum,
    people: BTreeSet<String>,
    next: Option<NextList>,
}

/// What is about to become of a list.
#[derive(Debug)]
struct NextList {
    sum: Sum,
    joined: Vec<String>,
    left: Vec<String>,
}

impl KnownLists {
    fn all(&self) -> MutexGuard<'_, Vec<KnownList>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is in the list at `place`, if its people have this sum: to be given back by [`KnownLists::keep`].
    pub(super) fn take(&self, place: ListPlace, sum: Sum) -> Option<BTreeSet<String>> {
        let mut all = self.all();
        let at = all.iter().position(|it| it.place == place)?;
        let known = all.remove(at);
        drop(all);
        let mut people = known.people;
        if known.sum == sum {
            return Some(people);
        }
        let NextList { joined, left, .. } = known.next.filter(|next| next.sum == sum)?;
        left.iter().for_each(|ext| {
            people.remove(ext);
        });
        people.extend(joined);
        Some(people)
    }

    /// Remembers that those of `sum` at `place` are `people`. `told` is what the list is about to be, and
    /// the key of the store's digests.
    pub(super) fn keep(
        &self,
        place: ListPlace,
        sum: Sum,
        people: BTreeSet<String>,
        told: Option<(&[String], &DigestKey)>,
    ) {
        let next = told.and_then(|(told, key)| NextList::of(sum, &people, told, key));
        let mut all = self.all();
        all.retain(|it| it.place != place);
        all.push(KnownList { place, sum, people, next });
        // Those that were not looked at for longest go.
        let mut room = MOST;
        let size = |it: &KnownList| it.people.len().saturating_add(1);
        let stay = all.iter().rev().take_while(|it| match room.checked_sub(size(it)) {
            Some(rest) => {
                room = rest;
                true
            }
            None => false,
        });
        let gone = all.len().saturating_sub(stay.count());
        all.drain(..gone);
    }
}

impl NextList {
    fn of(
        sum: Sum,
        people: &BTreeSet<String>,
        told: &[String],
        key: &DigestKey,
    ) -> Option<NextList> {
        let told: BTreeSet<&String> = told.iter().collect();
        let joined: Vec<String> =
            told.iter().filter(|ext| !people.contains(**ext)).map(|ext| (*ext).clone()).collect();
        let left: Vec<String> = people.iter().filter(|ext| !told.contains(ext)).cloned().collect();
        if joined.len().saturating_add(left.len()) > MOST_MOVED {
            return None;
        }
        Some(NextList { sum: key.moved(sum, &joined, &left), joined, left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn people(exts: &[&str]) -> BTreeSet<String> {
        exts.iter().map(|ext| (*ext).to_owned()).collect()
    }

    fn sum_of(exts: &[&str]) -> Sum {
        let exts: Vec<String> = people(exts).into_iter().collect();
        DigestKey::new(KEY).moved(Sum::default(), &exts, &[])
    }

    /// At which place who is in a list now, and who is remembered.
    type Case<'a> = (ListPlace, &'a [&'a str], Option<&'a [&'a str]>);

    #[test]
    fn a_list_is_known_again_by_its_sum_alone() {
        let (key, lists) = (DigestKey::new(KEY), KnownLists::default());
        let (was, is) = (["a", "b", "c"], ["a", "c", "d"]);
        let told: Vec<String> = people(&is).into_iter().collect();
        let remember = || {
            lists.keep((1, 1), sum_of(&was), people(&was), Some((&told, &key)));
        };
        let cases: [Case<'_>; 6] = [
            ((1, 1), &was, Some(&was)),
            // What was told has come to be.
            ((1, 1), &is, Some(&is)),
            // Something else has.
            ((1, 1), &["a", "d"], None),
            ((1, 1), &[], None),
            ((1, 2), &was, None),
            ((2, 1), &was, None),
        ];
        for (place, now, expected) in cases {
            remember();
            assert_eq!(lists.take(place, sum_of(now)), expected.map(people), "{place:?} {now:?}");
        }
        // Whoever has it has it alone.
        remember();
        assert!(lists.take((1, 1), sum_of(&was)).is_some());
        assert!(lists.take((1, 1), sum_of(&was)).is_none());
    }

    #[test]
    fn those_looked_at_last_are_remembered() {
        let lists = KnownLists::default();
        let sum = |place: u32| sum_of(&[&place.to_string()]);
        let many = || (0..MOST / 4).map(|ext| ext.to_string()).collect::<BTreeSet<_>>();
        for place in 0..5 {
            lists.keep((1, place), sum(place), many(), None);
        }
        let known: Vec<u32> = lists.all().iter().map(|it| it.place.1).collect();
        assert_eq!(known, [2, 3, 4], "each list counts for one more");
        let huge = (0..=MOST).map(|ext| ext.to_string()).collect();
        lists.keep((1, 9), sum(9), huge, None);
        assert!(lists.all().is_empty(), "too long to be remembered at all");
    }

    #[test]
    fn what_turns_a_list_over_is_not_added_up() {
        let (key, lists) = (DigestKey::new(KEY), KnownLists::default());
        let told: Vec<String> = (0..=MOST_MOVED).map(|ext| ext.to_string()).collect();
        lists.keep((1, 1), Sum::default(), BTreeSet::new(), Some((&told, &key)));
        assert!(lists.all().iter().all(|it| it.next.is_none()));
        let told = told.get(1..).unwrap();
        lists.keep((1, 1), Sum::default(), BTreeSet::new(), Some((told, &key)));
        assert!(lists.all().iter().all(|it| it.next.is_some()));
    }
}

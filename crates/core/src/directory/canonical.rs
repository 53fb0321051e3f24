//! The one order in which two directories of the same facts are equal.

use std::cmp::Ordering;

use super::{Directory, RefIdx, RefRow};
use crate::model::IndexVec;
use crate::model::index::Place;

/// Sorts a directory into its canonical form. Returns it with the places that its refs had, in their
/// new order.
pub(crate) fn canonical(directory: Directory) -> (Directory, IndexVec<RefIdx, RefIdx>) {
    let Directory { texts, users, refs, members, implies, ignore_case, domain, proven } = directory;
    let user_order = order(&users, |a, b| texts.get(a.ext).cmp(texts.get(b.ext)));
    let key = |row: &RefRow| (row.kind, row.key);
    let ref_order = order(&refs, |a, b| {
        let ((kind, key), (other_kind, other_key)) = (key(a), key(b));
        kind.cmp(&other_kind).then_with(|| texts.get(key).cmp(texts.get(other_key)))
    });
    let user_place = inverse(&user_order);
    let ref_place = inverse(&ref_order);
    let mut refs = refs.select(&ref_order);
    for row in refs.iter_mut() {
        row.parent = row.parent.map(|old| *ref_place.at(old));
    }
    let directory = Directory {
        users: users.select(&user_order),
        refs,
        members: moved(members, &ref_order, &user_place),
        implies: moved(implies, &ref_order, &ref_place),
        texts,
        ignore_case,
        domain,
        proven,
    };
    (directory, ref_order)
}

/// The places of a list's items in the order of `compare`.
fn order<I: Place, T>(
    list: &IndexVec<I, T>,
    mut compare: impl FnMut(&T, &T) -> Ordering,
) -> IndexVec<I, I> {
    let mut order = list.places();
    order.sort_by(|a, b| compare(list.at(*a), list.at(*b)));
    order
}

/// Where each is now, by where it was.
fn inverse<I: Place>(order: &IndexVec<I, I>) -> IndexVec<I, I> {
    let mut place = order.places();
    for (new, old) in order.numbered() {
        *place.at_mut(*old) = new;
    }
    place
}

/// The lists in their new order, of places as they are now.
fn moved<I: Place, T: Place + Ord>(
    mut lists: IndexVec<I, Vec<T>>,
    order: &IndexVec<I, I>,
    place: &IndexVec<T, T>,
) -> IndexVec<I, Vec<T>> {
    for list in lists.iter_mut() {
        list.iter_mut().for_each(|item| *item = *place.at(*item));
        list.sort_unstable();
        list.dedup();
        list.shrink_to_fit();
    }
    lists.reordered(order)
}

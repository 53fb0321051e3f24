//! Numbers that stand for people, roles and rows: each kind a type of its own, so that the compiler
//! keeps one from being taken for another.
//!
//! `typed-index-collections` and `index_vec` do the same, but make an index of any `usize` by a cast
//! that wraps or panics. Here a list takes nothing that it has no number for ([`TooMany`]), so a number
//! that does not fit cannot come about.
//!
//! There are two ways to look something up. [`IndexVec::get`] is for a number that may be another
//! list's, as one from a plan that was read may: the caller says what it means that there is nothing.
//! [`IndexVec::at`] is for one that this very list has given, or one beside it of the same length: a
//! miss is a mistake in this program then, and must not be passed over, since one row fewer is a
//! removal. It ends the task, as [`super::Texts::get`] does and for the same reasons.

use super::{RoleSetId, Text};
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Makes a number a type of its own.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default, serde::Serialize,
            serde::Deserialize,
        )]
        pub struct $name($raw);

        impl $name {
            /// The one that is written as `number`.
            #[must_use]
            pub const fn new(number: $raw) -> Self {
                $name(number)
            }

            /// As it is written.
            #[must_use]
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The store's own number for a person. Never reused.
    UserId(u32)
}

impl UserId {
    /// The number after this one; `None` after the last there can be.
    #[must_use]
    pub fn next(self) -> Option<UserId> {
        self.0.checked_add(1).map(UserId)
    }
}

/// A number that says where something stands in an [`IndexVec`].
pub trait Place: Copy {
    /// What stands there, in the plural: for messages.
    const OF: &'static str;

    /// The number for the place `at`; `None` past the last there can be.
    fn from_place(at: usize) -> Option<Self>;

    /// Where it is.
    fn place(self) -> usize;
}

/// Makes a number that is a place in an [`IndexVec`] a type of its own.
macro_rules! place {
    ($(#[$doc:meta])* $name:ident($raw:ty) of $of:literal) => {
        $crate::model::index::number! { $(#[$doc])* $name($raw) }

        impl $crate::model::index::Place for $name {
            const OF: &'static str = $of;

            fn from_place(at: usize) -> Option<Self> {
                <$raw>::try_from(at).ok().map($name)
            }

            fn place(self) -> usize {
                self.0 as usize
            }
        }
    };
}

/// Makes a place in an [`IndexVec`] a type of its own that is written nowhere: only lists make one. An
/// `Option` of it costs no more than it does.
#[macro_export]
macro_rules! list_place {
    ($(#[$doc:meta])* $name:ident($int:ty, $nonzero:ty) of $of:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        pub struct $name($nonzero);

        impl $crate::model::index::Place for $name {
            const OF: &'static str = $of;

            fn from_place(at: usize) -> Option<Self> {
                let next = <$int>::try_from(at).ok()?.checked_add(1)?;
                <$nonzero>::new(next).map($name)
            }

            fn place(self) -> usize {
                (self.0.get() - 1) as usize
            }
        }
    };
    ($(#[$doc:meta])* $name:ident of $of:literal) => {
        $crate::list_place! { $(#[$doc])* $name(u32, std::num::NonZeroU32) of $of }
    };
}

pub(crate) use {list_place, number, place};

place! {
    /// A role's place in [`State::roles`](super::State::roles) (sorted by name).
    RoleIdx(u32) of "roles"
}

place! {
    /// A source's place in [`State::sources`](super::State::sources), in the order in which they were
    /// first seen.
    SourceIdx(u16) of "sources"
}

place! {
    /// A place in [`State::locals`](super::State::locals): the story of a grant made by hand.
    LocalIdx(u32) of "grants by hand"
}

place! {
    /// A reason's place in a [`ReasonBook`](super::ReasonBook).
    ReasonIdx(u32) of "reasons"
}

place! {
    /// The place of a set of reasons in a [`ReasonBook`](super::ReasonBook).
    SetIdx(u32) of "sets of reasons"
}

place! {
    /// A token's place in [`Tokens::list`](super::Tokens::list).
    TokenIdx(u32) of "access tokens"
}

place! {
    /// The place of a list of roles that tokens have: [`Tokens::lists_of_roles`](super::Tokens::lists_of_roles).
    RoleListIdx(u32) of "lists of roles of access tokens"
}

/// There is more of something than its numbers can tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are more {0} than this program can number")]
pub struct TooMany(pub &'static str);

/// A state, or what is made of one, contradicts itself: nothing may be concluded from it, above all
/// no removal. Whoever meets this changes nothing and tells it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Inconsistent {
    /// Something speaks of a role that its state has not.
    #[error("role number {0} is spoken of, and the state has no such role")]
    NoSuchRole(RoleIdx),
    /// Something speaks of a token that its state has not.
    #[error("access token number {0} is spoken of, and the state has no such token")]
    NoSuchToken(TokenIdx),
    /// A token has a list of roles that its state has not.
    #[error("list of roles number {0} is spoken of, and the state has no such list")]
    NoSuchRoleList(RoleListIdx),
    /// Something speaks of a source that its state has not.
    #[error("source number {0} is spoken of, and the state has no such source")]
    NoSuchSource(SourceIdx),
    /// A grant made by hand has a story that its state has not.
    #[error("grant by hand number {0} is spoken of, and the state has no story of it")]
    NoSuchLocal(LocalIdx),
    /// Something speaks of a reason that its state has not.
    #[error("reason number {0} is spoken of, and the state has no such reason")]
    NoSuchReason(ReasonIdx),
    /// Something speaks of a set of reasons that its state has not.
    #[error("set of reasons number {0} is spoken of, and the state has no such set")]
    NoSuchReasons(SetIdx),
    /// Something is to be done to a person whom the state has not.
    #[error("user number {0} is spoken of, and the state has no such user")]
    NoSuchUser(UserId),
    /// People are to get role sets, and there is not one for each.
    #[error("{users} users are spoken of, and {sets} role sets for them")]
    UnevenSets {
        /// How many people.
        users: usize,
        /// How many sets.
        sets: usize,
    },
    /// Somebody is to get a role set of which nobody says what is in it.
    #[error("role set {0} is spoken of, and there is no such set")]
    NoSuchRoleSet(RoleSetId),
    /// People stand in another order than that of their numbers, or twice: they could not be found.
    #[error("user number {0} is not in its place")]
    Misplaced(UserId),
    /// A way into the clouds is none.
    #[error(
        "action number {0} that leads into the clouds is spoken of, and there is no such action"
    )]
    NoSuchWay(usize),
    /// Something speaks of a text that is not among the texts it came with.
    #[error("text number {0} is spoken of, and there is no such text")]
    NoSuchText(Text),
    /// Texts that were written down were not these: where one ends another does not begin.
    #[error("texts do not hold together: where they end does not fit what they are")]
    BrokenTexts,
    /// A state does not have a role of the state that it was made from: no grant of it would be left.
    #[error("role `{0}` got lost on the way to the new state")]
    LostRole(String),
    /// There is more of something than this program can number.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Ends the task for a mistake in this program, after which nothing may be concluded. A run that ends
/// so has written nothing, or everything, and a request gets no answer.
///
/// # Panics
/// Always, with the words of `what`.
#[cold]
#[track_caller]
#[expect(clippy::panic, reason = "any value in the place of what is missing would be taken for it")]
pub(super) fn broken(what: &dyn std::fmt::Display) -> ! {
    panic!("{what}: please report it")
}

/// A list of `T` that only its own kind of number `I` finds its way in. As a slice it is still what
/// a list is; whoever has no number of the kind has no place in it either.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(
    into = "Vec<T>",
    try_from = "Vec<T>",
    bound(
        serialize = "I: Clone, T: Clone + serde::Serialize",
        deserialize = "I: Place, T: serde::Deserialize<'de>"
    )
)]
pub struct IndexVec<I, T> {
    items: Vec<T>,
    of: PhantomData<I>,
}

impl<I, T> Default for IndexVec<I, T> {
    fn default() -> Self {
        IndexVec { items: Vec::new(), of: PhantomData }
    }
}

impl<I: Place, T> IndexVec<I, T> {
    /// An empty one with room for `count` items.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        IndexVec { items: Vec::with_capacity(count), of: PhantomData }
    }

    /// Adds `item` at the end.
    ///
    /// # Errors
    /// There is no number left for it: it is not added.
    pub fn push(&mut self, item: T) -> Result<I, TooMany> {
        let index = I::from_place(self.items.len()).ok_or(TooMany(I::OF))?;
        self.items.push(item);
        Ok(index)
    }

    /// What stands at `index`; `None` for a number of another list that is out of range here.
    #[must_use]
    pub fn get(&self, index: I) -> Option<&T> {
        self.items.get(index.place())
    }

    /// What stands at `index`, a number that this list has given, or one of the same length.
    ///
    /// # Panics
    /// Nothing stands there: a mistake in this program (see the top of this file).
    #[must_use]
    #[track_caller]
    pub fn at(&self, index: I) -> &T {
        match self.items.get(index.place()) {
            Some(item) => item,
            None => nothing_at(index),
        }
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// As [`IndexVec::at`].
    #[must_use]
    #[track_caller]
    pub fn at_mut(&mut self, index: I) -> &mut T {
        match self.items.get_mut(index.place()) {
            Some(item) => item,
            None => nothing_at(index),
        }
    }

    /// What stands at `index`, to be changed; `None` as for [`IndexVec::get`].
    #[must_use]
    pub fn get_mut(&mut self, index: I) -> Option<&mut T> {
        self.items.get_mut(index.place())
    }

    /// What `of` makes of each with its number, likewise.
    #[must_use]
    pub fn map_numbered<U>(&self, mut of: impl FnMut(I, &T) -> U) -> IndexVec<I, U> {
        let items = self.numbered().map(|(index, item)| of(index, item)).collect();
        IndexVec { items, of: PhantomData }
    }

    /// Those of `order`, in that order.
    #[must_use]
    pub fn select(&self, order: &IndexVec<I, I>) -> IndexVec<I, T>
    where
        T: Clone,
    {
        let items = order.items.iter().map(|index| self.at(*index).clone()).collect();
        IndexVec { items, of: PhantomData }
    }

    /// The same without a copy of any.
    #[must_use]
    pub fn reordered(mut self, order: &IndexVec<I, I>) -> IndexVec<I, T>
    where
        T: Default,
    {
        let items = order.items.iter().map(|index| std::mem::take(self.at_mut(*index))).collect();
        IndexVec { items, of: PhantomData }
    }

    /// The numbers, in order.
    pub fn indices(&self) -> impl Iterator<Item = I> + use<I, T> {
        (0..self.items.len()).map(number_of)
    }

    /// Each its own number.
    #[must_use]
    pub fn places(&self) -> IndexVec<I, I> {
        let items = self.numbered().map(|(index, _)| index).collect();
        IndexVec { items, of: PhantomData }
    }

    /// Keeps those that `keep` says yes to, given each with its number. Those that stay have other
    /// numbers then.
    pub fn retain(&mut self, mut keep: impl FnMut(I, &T) -> bool) {
        let mut at = 0;
        self.items.retain(|item| {
            let keeps = keep(number_of(at), item);
            at += 1;
            keeps
        });
    }

    /// What `of` makes of each: a list of the same length has the same numbers.
    #[must_use]
    pub fn map<U>(&self, of: impl FnMut(&T) -> U) -> IndexVec<I, U> {
        IndexVec { items: self.items.iter().map(of).collect(), of: PhantomData }
    }

    /// The items with their numbers, in order.
    pub fn numbered(&self) -> impl Iterator<Item = (I, &T)> {
        self.items.iter().enumerate().map(|(at, item)| (number_of(at), item))
    }

    /// The number of the first item that `wanted` says yes to.
    pub fn position(&self, wanted: impl FnMut(&T) -> bool) -> Option<I> {
        self.items.iter().position(wanted).map(number_of)
    }

    /// The number of an item of a sorted list: `order` says how an item stands to the wanted one.
    pub fn find_by(&self, order: impl FnMut(&T) -> Ordering) -> Option<I> {
        self.items.binary_search_by(order).ok().map(number_of)
    }
}

/// The number of what stands at `at`. It has one: a list takes nothing without.
fn number_of<I: Place>(at: usize) -> I {
    I::from_place(at).unwrap_or_else(|| broken(&TooMany(I::OF)))
}

/// There is nothing at `index`.
///
/// # Panics
/// Always: see [`IndexVec::at`].
#[cold]
#[track_caller]
pub(crate) fn nothing_at<I: Place>(index: I) -> ! {
    let (at, of) = (index.place(), I::OF);
    broken(&format_args!("number {at} of the {of} is spoken of, and there is no such"))
}

impl<I: Place, T> TryFrom<Vec<T>> for IndexVec<I, T> {
    type Error = TooMany;

    fn try_from(items: Vec<T>) -> Result<Self, TooMany> {
        // The last of them has a number: so have all.
        if let Some(last) = items.len().checked_sub(1) {
            I::from_place(last).ok_or(TooMany(I::OF))?;
        }
        Ok(IndexVec { items, of: PhantomData })
    }
}

impl<I, T> From<IndexVec<I, T>> for Vec<T> {
    fn from(list: IndexVec<I, T>) -> Vec<T> {
        list.items
    }
}

impl<I, T> Deref for IndexVec<I, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

/// Items may change, and change places; none goes or comes so.
impl<I, T> DerefMut for IndexVec<I, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<'a, I, T> IntoIterator for &'a IndexVec<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<I, T> IntoIterator for IndexVec<I, T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_costs_what_it_did_before_and_is_written_as_it_was() {
        assert_eq!(size_of::<RoleIdx>(), 4);
        assert_eq!(size_of::<Option<UserId>>(), size_of::<Option<u32>>());
        assert_eq!(size_of::<IndexVec<RoleIdx, u8>>(), size_of::<Vec<u8>>());
        assert_eq!(serde_json::to_string(&UserId::new(7)).unwrap(), "7");
        assert_eq!(serde_json::from_str::<RoleIdx>("7").unwrap(), RoleIdx::new(7));
        assert_eq!(UserId::new(7).to_string(), "7");
    }

    place! {
        /// A small one.
        Small(u8) of "small things"
    }

    list_place! {
        /// Of lists alone.
        Unwritten(u16, std::num::NonZeroU16) of "places"
    }

    #[test]
    fn what_only_lists_make_costs_nothing_where_there_is_none() {
        assert_eq!(size_of::<Option<Unwritten>>(), 2);
        let all = 0..usize::from(u16::MAX);
        assert!(all.clone().all(|at| Unwritten::from_place(at).unwrap().place() == at));
        assert_eq!(Unwritten::from_place(all.end), None);
    }

    #[test]
    fn what_has_no_number_left_is_refused_and_not_given_anothers() {
        assert_eq!(Small::new(3).get(), 3);
        let mut list: IndexVec<Small, usize> = IndexVec::default();
        for at in 0..256 {
            assert_eq!(list.push(at), Ok(Small::from_place(at).unwrap()));
        }
        let full = list.push(256).unwrap_err();
        assert_eq!(full.to_string(), "there are more small things than this program can number");
        assert_eq!((list.len(), list.numbered().count()), (256, 256));
        assert_eq!(IndexVec::<Small, u8>::try_from(vec![0; 257]), Err(full));
        assert!(IndexVec::<Small, u8>::try_from(vec![0; 256]).is_ok());
        assert_eq!(UserId::new(u32::MAX).next(), None);
    }

    #[test]
    fn a_sorted_list_says_which_number_something_has() {
        let list: IndexVec<RoleIdx, &str> = vec!["a", "c"].try_into().unwrap();
        assert_eq!(list.find_by(|it| (*it).cmp("c")), Some(RoleIdx::new(1)));
        assert_eq!(list.find_by(|it| (*it).cmp("b")), None);
        assert_eq!(list.get(RoleIdx::new(2)), None);
    }

    #[test]
    #[should_panic(expected = "number 2 of the roles is spoken of, and there is no such")]
    fn a_list_in_another_order_never_lacks_one_that_the_order_names() {
        let list: IndexVec<RoleIdx, &str> = vec!["a", "c"].try_into().unwrap();
        let other = vec![RoleIdx::new(1), RoleIdx::new(2)].try_into().unwrap();
        let _ = list.select(&other);
    }
}

//! What one change needs of the store: who hangs together with those whom it touches, and the state
//! and the mirrors as if nobody else were in them.
//!
//! ```text
//! Reader::user_of, linked, called, account, bearing   whom it concerns (resolve::concerned asks)
//! Reader::members                                     who is directly in what gives something else
//! Reader::slice ──► Slice: state, mirrors, others     resolve, plan, and commit as for everybody
//! ```
//!
//! Each costs what it is asked about and what it finds: nothing here passes over people, nor over the
//! references of a mirror unless all are asked for. Roles and the catalog are read in whole.

use std::collections::{BTreeMap, BTreeSet};

use super::Meta;
use crate::directory::{AccountSid, Mirror, PartRefs, RefId};
use crate::model::username::canonical;
use crate::model::{State, UserId};
use crate::plan::{Guard, Others};

/// An account: its source and its external id there.
pub type Account = (String, String);

/// What accounts of a mirror can be found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bears<'a> {
    /// The canonical form of the username.
    Username(&'a str),
    /// The canonical form of the e-mail address, where people are called by that.
    Email(&'a str),
    /// A verified e-mail address in lower case.
    Address(&'a str),
    /// The SID: of the domain that the source is.
    Sid(&'a AccountSid),
}

impl Bears<'_> {
    /// Whether the account does: the one definition, whatever a backend's indices fold.
    #[must_use]
    pub(super) fn fits(&self, names: &AccountNames) -> bool {
        let AccountNames { username, email, email_verified } = names;
        let called = |text: &str, name: &str| canonical(text).is_ok_and(|called| called == name);
        match self {
            Bears::Username(name) => called(username, name),
            Bears::Email(name) => called(email, name),
            Bears::Address(address) => {
                *email_verified && !email.is_empty() && email.to_lowercase() == **address
            }
            // No name says it.
            Bears::Sid(_) => false,
        }
    }
}

/// Whom a slice is of.
#[derive(Clone, Debug)]
pub struct SliceQuery<'a> {
    /// Users of the state. Whom the store does not know is left out.
    pub users: &'a BTreeSet<UserId>,
    /// Accounts of mirrors, whether or not the mirror has them.
    pub accounts: &'a BTreeSet<Account>,
    /// The configured sources, by name.
    pub sources: &'a [&'a str],
    /// References of mirrors, by source, that are to be there whoever is in them.
    pub refs: &'a BTreeMap<String, RefsWanted>,
    /// Bare names of groups, folded, by which rules give something: of a group called so all that are
    /// called so are there.
    pub names: &'a BTreeSet<String>,
    /// The limits that the plan will be weighed by: they say which totals matter, and how far the
    /// people of a federation need be counted.
    pub guard: &'a Guard,
}

/// Which references of a mirror are to be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefsWanted {
    /// All.
    All,
    /// These, whether or not the mirror has them, and those that bear on people of the slice.
    Near(BTreeSet<RefId>),
}

impl SliceQuery<'_> {
    /// Which references of the mirror of `source` are to be there.
    #[must_use]
    pub(super) fn refs_of(&self, source: &str) -> PartRefs<'_> {
        const NONE: &BTreeSet<RefId> = &BTreeSet::new();
        let near = |refs| PartRefs::Near { refs, names: self.names };
        match self.refs.get(source) {
            Some(RefsWanted::All) => PartRefs::All,
            Some(RefsWanted::Near(refs)) => near(refs),
            None => near(NONE),
        }
    }
}

/// One committed state, as if only some people were in it.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The store in a few numbers.
    pub meta: Meta,
    /// What [`State::of_users`] makes of the whole state; only reasons and stories that one of the
    /// users' grants has are in it.
    pub state: State,
    /// Of each configured source that has a mirror what
    /// [`Directory::part`](crate::directory::Directory::part) makes of it, and its cursor.
    /// A source that is not here was never read: what it says of anybody is unknown.
    pub mirrors: BTreeMap<String, Mirror>,
    /// Everybody else in numbers, as they were committed: a grant by hand that has ended since still
    /// counts in them. What falls due by itself ([`Meta::next_due`]) is for a run to see to first.
    ///
    /// [`Others::federated`] counts no further than the limits ask: whether a limit is passed by those
    /// of the slice is the same as with the whole number, which it is where a limit is passed.
    pub others: Others,
}

/// What of an account matters to who hangs together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountNames {
    /// Username as the source spells it.
    pub username: String,
    /// Email address, or empty.
    pub email: String,
    /// Whether the source vouches for it.
    pub email_verified: bool,
}

/// How many accounts of a federation beside the slice's matter, where so many of the slice's can be
/// disabled at once: with as many or more no limit is passed. `None`: all of them do.
#[must_use]
pub(super) fn enough(guard: &Guard, of_slice: u64) -> Option<u64> {
    let percent = guard.max_disabled_percent;
    // Below this share hardly anybody may be disabled, so that the sentence with the number is told.
    if percent < 0.01 {
        return None;
    }
    // The guard passes a limit where count * 100 > percent * members.
    #[expect(clippy::cast_precision_loss, reason = "counts of users are far below 2^52")]
    let members = of_slice as f64 * 100.0 / percent;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of users times at most 10,000"
    )]
    let members = members.ceil() as u64;
    Some(members.saturating_add(1))
}

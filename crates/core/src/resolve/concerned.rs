//! Whom a change concerns: with whom it must be resolved, so that nothing else need be looked at.
//!
//! People hang together by what they are known by: an account by its link to a user, accounts of
//! several sources by a username or an address, and whoever wants a name by who has it. Whoever is
//! reached from an account that changed, along those ways, is concerned; [`resolve`](super::resolve) over
//! them alone says of them what it would say over everybody. What rules make of groups and roles must
//! be the same before and after ([`given_otherwise`]), or those in the groups concerned be among the first.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Directory, RefId};
use crate::model::username::{self, UsernameFrom};
use crate::model::{Diagnostic, Inconsistent, IndexVec, Reason, ReasonBook, Role, UserId};

use super::closure::{DoubtAt, MatchedView, closures_of_all, named};
use super::people::ViewIdx;
use super::principals::{Principals, Shown};
use super::settings::{LinkBy, Settings, SourceTerms};
use super::{Rules, matching, roles};

/// An account: its source and its stable external id there.
pub type Account = (String, String);

/// What an account is called, as its source has it or had it before the change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamesAtSource {
    /// Username as the source spells it.
    pub username: String,
    /// Email address, or empty.
    pub email: String,
    /// Whether the source vouches for it.
    pub email_verified: bool,
}

/// What accounts can be found by in a mirror.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum By {
    /// The canonical form of the name that users are called by.
    Name(String),
    /// A verified address, in lower case.
    Address(String),
}

/// What is known of everybody, row by row. A store answers from its indices.
pub trait Everybody {
    /// Why it could not be looked up.
    type Error;

    /// The user whom the account is linked to.
    ///
    /// # Errors
    /// It cannot be looked up.
    fn user_of(&mut self, account: &Account) -> Result<Option<UserId>, Self::Error>;

    /// A user's name, and the accounts that are linked to them.
    ///
    /// # Errors
    /// It cannot be looked up.
    fn user(&mut self, user: UserId) -> Result<(String, Vec<Account>), Self::Error>;

    /// The users who are called so.
    ///
    /// # Errors
    /// It cannot be looked up.
    fn called(&mut self, name: &str) -> Result<Vec<UserId>, Self::Error>;

    /// What the account is called before and after the change, where it is there.
    ///
    /// # Errors
    /// It cannot be looked up.
    fn names(&mut self, account: &Account) -> Result<Vec<NamesAtSource>, Self::Error>;

    /// The accounts (external ids) of `source` that are found by `by`, before or after the change.
    ///
    /// # Errors
    /// It cannot be looked up.
    fn bearing(&mut self, source: &str, by: &By) -> Result<Vec<String>, Self::Error>;
}

/// From where to look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seeds {
    /// Accounts that changed, or that are directly in what gives something else now.
    pub accounts: BTreeSet<Account>,
    /// Users of whom a held plan speaks, so that it is held in whole or not at all.
    pub users: BTreeSet<UserId>,
    /// Likewise people who are still to be provisioned, by username.
    pub names: BTreeSet<String>,
}

/// Whom a change concerns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Concerned {
    /// Users of the state.
    pub users: BTreeSet<UserId>,
    /// Accounts of sources, whether or not the mirror has them any more.
    pub accounts: BTreeSet<Account>,
}

/// Finds everyone who hangs together with those in `start`.
///
/// # Errors
/// Something cannot be looked up.
pub fn concerned<E: Everybody>(
    settings: &Settings<'_>,
    start: Seeds,
    everybody: &mut E,
) -> Result<Concerned, E::Error> {
    let mut accounts_left: Vec<Account> = start.accounts.into_iter().collect();
    let mut users_left: Vec<UserId> = start.users.into_iter().collect();
    let mut names_left: Vec<String> = start.names.into_iter().collect();
    let mut found = Concerned::default();
    let mut names: BTreeSet<By> = BTreeSet::new();
    let by_address = settings.username == UsernameFrom::Email
        || settings.sources.iter().any(|source| source.link_by == LinkBy::Email);
    loop {
        let mut new: Vec<By> = Vec::new();
        if let Some(user) = users_left.pop() {
            if found.users.insert(user) {
                let (name, accounts) = everybody.user(user)?;
                new.push(By::Name(name));
                accounts_left.extend(accounts);
            }
        } else if let Some(account) = accounts_left.pop() {
            if found.accounts.contains(&account) {
                continue;
            }
            users_left.extend(everybody.user_of(&account)?);
            for it in everybody.names(&account)? {
                let called = match settings.called_by(&account.0) {
                    UsernameFrom::Username => &it.username,
                    UsernameFrom::Email => &it.email,
                };
                // A name that is refused is nobody's.
                new.extend(username::canonical(called).map(|name| By::Name(name.into_owned())));
                if by_address && it.email_verified && !it.email.is_empty() {
                    new.push(By::Address(it.email.to_lowercase()));
                }
            }
            found.accounts.insert(account);
        } else if let Some(name) = names_left.pop() {
            new.push(By::Name(name));
        } else {
            return Ok(found);
        }
        for by in new {
            if !names.insert(by.clone()) {
                continue;
            }
            if let By::Name(name) = &by {
                users_left.extend(everybody.called(name)?);
            }
            for source in &settings.sources {
                let bearing = everybody.bearing(source.name, &by)?;
                let account = |ext| (source.name.to_owned(), ext);
                accounts_left.extend(bearing.into_iter().map(account));
            }
        }
    }
}

/// A name in doubt, by what bears it: name, key and identity of each.
type InDoubt = BTreeSet<(Option<String>, String, String)>;

/// What each reference of a source gives to those in it: role, reason, and what is in doubt there.
type Gives = BTreeMap<RefId, BTreeSet<(String, Reason, Option<InDoubt>)>>;

/// The references of which rules make something else in `after` than in `before`, source by source:
/// who is directly in them is concerned. Both are what the sources are built of, without people.
/// `None`: a role comes, goes or changes with them, or may be given by
/// what was never read in full, which can concern anybody.
///
/// # Errors
/// There are more reasons than can be numbered.
pub fn given_otherwise(
    settings: &Settings<'_>,
    before: &[(SourceTerms<'_>, &Directory)],
    after: &[(SourceTerms<'_>, &Directory)],
    stored: &[Role],
) -> Result<Option<BTreeMap<String, BTreeSet<RefId>>>, Inconsistent> {
    let before = given(settings, before, stored)?;
    let Some((before, after)) = before.zip(given(settings, after, stored)?) else {
        return Ok(None);
    };
    let mut otherwise = BTreeMap::new();
    for (source, after) in &after {
        let none = Gives::new();
        let before = before.get(source).unwrap_or(&none);
        let refs: BTreeSet<RefId> = before
            .keys()
            .chain(after.keys())
            .filter(|id| before.get(*id) != after.get(*id))
            .cloned()
            .collect();
        otherwise.insert(source.clone(), refs);
    }
    Ok(Some(otherwise))
}

/// What each reference gives to those in it; `None` where the roles are not those that are stored,
/// or may be given by something that was never read in full.
fn given(
    settings: &Settings<'_>,
    sources: &[(SourceTerms<'_>, &Directory)],
    stored: &[Role],
) -> Result<Option<BTreeMap<String, Gives>>, Inconsistent> {
    let pairs: Vec<(Rules<'_>, &Directory)> = sources
        .iter()
        .map(|(terms, directory)| (Rules::new(settings, *terms), *directory))
        .collect();
    let mut warnings = BTreeSet::<Diagnostic>::new();
    let roles = roles::universe(settings, &pairs, stored, false, &mut warnings)?;
    if *roles.defs != *stored || !roles.live.iter().all(|live| *live) {
        return Ok(None);
    }
    let mut matched = IndexVec::<ViewIdx, _>::with_capacity(pairs.len());
    for (rules, directory) in &pairs {
        matched.push(matching::matches(rules, directory, &roles, &mut warnings)?)?;
    }
    let directories = named(&pairs)?;
    let principals = Principals::of(settings, &directories, Shown::Outline);
    let parts = MatchedView::of(&directories, &matched)?;
    let mut reasons = ReasonBook::default();
    let closures = closures_of_all(&parts, &principals, &mut reasons)?;
    // Whoever may hold a role through what nobody has read keeps it: that can be anybody.
    if closures.iter().any(|closure| !closure.unknown.is_empty()) {
        return Ok(None);
    }
    let doubt = |(view, number): DoubtAt| {
        let part = parts.at(view);
        part.matched.doubts.list.at(number).content(part.directory)
    };
    let mut given = BTreeMap::new();
    for (MatchedView { source, directory, .. }, closure) in parts.iter().zip(&closures) {
        let mut gives = Gives::new();
        for (place, row) in directory.refs.numbered() {
            let id = RefId { kind: row.kind, key: directory.text(row.key).to_owned() };
            let given: BTreeSet<_> = closure
                .given(place)
                .map(|(role, reason, in_doubt)| {
                    let reason = reasons.reasons().at(reason).clone();
                    (roles.name(role).to_owned(), reason, in_doubt.map(doubt))
                })
                .collect();
            if !given.is_empty() {
                gives.insert(id, given);
            }
        }
        given.insert((*source).to_owned(), gives);
    }
    Ok(Some(given))
}

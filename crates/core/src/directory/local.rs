//! `local`: people whom no identity provider brings. Its mirror in the store is all there is of it:
//! complete and fresh at every moment, changed by `idpsyncd user` and by `[default_admin]` alone.
//!
//! What is here are the facts and how they are changed on paper. To everything after that they are
//! a directory like any other, of users without groups. Pure.

use crate::directory::{DirUser, Directory, Enabled, Proven, Rid, canonical};
use crate::model::{Text, TooMany, username};

/// The source's name. No `[[source]]` can have it.
pub const NAME: &str = "local";

/// A local account that is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAccount<'a> {
    /// Stable external id: [`free_id`].
    pub ext: &'a str,
    /// What the person is called.
    pub username: &'a str,
    /// Email address, or empty. Nobody has verified it.
    pub email: &'a str,
    /// Another source's account of that name may be the same person.
    pub linkable: bool,
}

/// The directory of nobody: everything is known.
#[must_use]
pub fn nobody() -> Directory {
    Directory { proven: Proven::ALL, ..Directory::default() }
}

/// Whether `id` is the id of a local user, as OSMO has them:
/// `[a-zA-Z0-9]([a-zA-Z0-9_.@-]*[a-zA-Z0-9])?`.
///
/// # Errors
/// It is not; the message says why.
pub fn check_id(id: &str) -> Result<(), LocalIdError> {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-');
    if end(id.chars().next()) && end(id.chars().next_back()) && id.chars().all(inside) {
        return Ok(());
    }
    Err(LocalIdError(id.to_owned()))
}

/// A name that no local user may have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{}` cannot be the name of a local user: ASCII letters and digits, and `_`, `.`, `@` and `-` \
     between them",
    .0.escape_debug()
)]
pub struct LocalIdError(String);

/// An external id for `username` that nobody has or had: whoever is added again under an old name
/// is a new person. `taken` tells the ids that were given.
#[must_use]
pub fn free_id(username: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut ext = username.to_owned();
    let mut n = 2u64;
    while taken(&ext) {
        // No name has a `~`, so this is nobody else's.
        ext = format!("{username}~{n}");
        n = n.saturating_add(1);
    }
    ext
}

/// The username that [`free_id`] made `ext` of.
#[must_use]
pub fn name_in_id(ext: &str) -> &str {
    ext.split_once('~').map_or(ext, |(name, _)| name)
}

/// The account whose canonical name is `name`.
#[must_use]
pub fn find<'d>(directory: &'d Directory, name: &str) -> Option<&'d DirUser> {
    directory.users.iter().find(|user| {
        username::canonical(directory.text(user.username)).is_ok_and(|called| called == name)
    })
}

/// `directory` with `account` as well.
///
/// # Errors
/// There are more accounts than can be numbered.
pub fn with(mut directory: Directory, account: &NewAccount<'_>) -> Result<Directory, TooMany> {
    let texts = &mut directory.texts;
    directory.users.push(DirUser {
        ext: texts.add(account.ext)?,
        username: texts.add(account.username)?,
        email: texts.add(account.email)?,
        email_verified: false,
        enabled: Enabled::Yes,
        federation: Text::EMPTY,
        linkable: account.linkable,
        rid: Rid::Unread,
    })?;
    Ok(canonical(directory).0)
}

/// `directory` without the account `ext`.
#[must_use]
pub fn without(mut directory: Directory, ext: &str) -> Directory {
    let Directory { users, texts, .. } = &mut directory;
    users.retain(|_, user| texts.get(user.ext) != ext);
    directory
}

/// `directory` with `change` done to the account `ext`.
#[must_use]
pub fn changed(mut directory: Directory, ext: &str, change: impl Fn(&mut DirUser)) -> Directory {
    let Directory { users, texts, .. } = &mut directory;
    users.iter_mut().filter(|user| texts.get(user.ext) == ext).for_each(change);
    directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_osmos() {
        for good in ["a", "7", "svc-ci", "ann.b_c@example.org", "A9", "a--b"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in
            ["", "-a", "a-", "a b", "a/b", "é", "a\n", "@", "a.", "_x", "a~2", "${self}", "*"]
        {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn who_is_added_again_gets_an_id_that_nobody_had() {
        let given = ["ann", "ann~2"];
        assert_eq!(free_id("bob", |id| given.contains(&id)), "bob");
        assert_eq!(free_id("ann", |id| given.contains(&id)), "ann~3");
    }

    #[test]
    fn the_directory_stays_canonical_and_the_same_facts_have_the_same_digest() {
        let account = |ext| NewAccount { ext, username: ext, email: "", linkable: ext != "svc" };
        let added = |to, name| with(to, &account(name)).unwrap();
        let there = added(added(nobody(), "svc"), "ann");
        let other = added(added(nobody(), "ann"), "svc");
        assert_eq!(there.digest(), other.digest());
        assert_eq!(find(&there, "svc").map(|user| user.linkable), Some(false));
        let linkable = changed(there.clone(), "svc", |user| user.linkable = true);
        assert_ne!(linkable.digest(), there.digest());
        assert_eq!(without(there, "svc").digest(), added(nobody(), "ann").digest());
    }
}

//! OSMO's own database: what its rows about people, roles and access tokens come to. Pure: who reads
//! them is [`crate::sync::osmo_db`].
//!
//! OSMO tells `Ann` from `ann`; here they would be one. So where two of its users have one name, both
//! are left out: nobody gets what is another's. Everything that is left out is told by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::token::{Digest, TokenNameError, check_name};
use crate::model::{Time, rfc3339, username};

/// Who assigned what OSMO's sync did; this program's sync makes it anew.
const BY_SYNC: &str = "idp-sync";

/// What was read, in one transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Database {
    /// `users.id`
    pub users: Vec<String>,
    /// `user_roles`
    pub roles: Vec<OsmoRoleRow>,
    /// `access_token`
    pub tokens: Vec<OsmoTokenRow>,
}

/// A row of `user_roles`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OsmoRoleRow {
    /// `user_id`
    pub user: String,
    /// `role_name`
    pub role: String,
    /// `assigned_by`
    pub by: String,
    /// `assigned_at`; absent where it is no time of this calendar (`infinity`).
    pub at: Option<Time>,
}

/// A row of `access_token`, with its rows of `access_token_roles`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OsmoTokenRow {
    /// `user_name`
    pub user: String,
    /// `token_name`
    pub name: String,
    /// `access_token`: SHA-256 of the secret.
    pub digest: Vec<u8>,
    /// `expires_at`, a `TIMESTAMP` that is UTC.
    pub expires_at: Expiry,
    /// `description`
    pub description: String,
    /// The roles, each with who assigned it to the token, and when.
    pub roles: Vec<(String, String, Option<Time>)>,
}

/// When a token ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// At that moment.
    At(Time),
    /// Never: there is no time, or one beyond the calendar.
    Never,
}

/// One person or service account that is to be, with what they have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OsmoAccount {
    /// As OSMO has it.
    pub id: String,
    /// As the store has names.
    pub name: String,
    /// Roles that somebody assigned by hand, sorted by name.
    pub grants: Vec<Assigned>,
    /// Access tokens, sorted by name.
    pub tokens: Vec<TokenWish>,
}

/// A role that somebody assigned by hand.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Assigned {
    /// The role.
    pub role: String,
    /// Who assigned it.
    pub by: String,
    /// When.
    pub at: Time,
}

/// A token that may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenWish {
    /// Its name.
    pub name: String,
    /// Of its secret.
    pub digest: Digest,
    /// When it ends.
    pub expires_at: Time,
    /// Its roles, sorted, distinct. At least one.
    pub roles: Vec<String>,
    /// What it is for.
    pub description: String,
    /// Who made it.
    pub by: String,
    /// When.
    pub at: Time,
}

/// What the rows come to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accounts {
    /// Sorted by name.
    pub accounts: Vec<OsmoAccount>,
    /// What was left out and why, a sentence each, sorted.
    pub left_out: Vec<String>,
}

/// Makes of the rows what may be imported at `now`. A row without a usable time counts as of then.
#[must_use]
pub fn accounts(database: &Database, now: Time) -> Accounts {
    let mut left_out = BTreeSet::new();
    let mut accounts = people(&database.users, &mut left_out);
    for OsmoRoleRow { user, role, by, at } in &database.roles {
        if by == BY_SYNC {
            continue;
        }
        if let Some(account) = accounts.get_mut(user.as_str()) {
            account.grants.push(Assigned {
                role: role.clone(),
                by: by.clone(),
                at: at.unwrap_or(now),
            });
        }
    }
    for row in &database.tokens {
        let Some(account) = accounts.get_mut(row.user.as_str()) else { continue };
        match token(row, now) {
            Ok(token) => account.tokens.push(token),
            Err(why) => {
                left_out.insert(format!(
                    "token `{}` of `{}` {why}",
                    row.name.escape_debug(),
                    row.user.escape_debug()
                ));
            }
        }
    }
    let mut accounts: Vec<OsmoAccount> = accounts.into_values().collect();
    for account in &mut accounts {
        account.grants.sort();
        account.grants.dedup_by(|a, b| a.role == b.role);
        account.tokens.sort_by(|a, b| a.name.cmp(&b.name));
    }
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    Accounts { accounts, left_out: left_out.into_iter().collect() }
}

/// The users whose names can be told apart here, by OSMO's ids.
fn people<'d>(
    ids: &'d [String],
    left_out: &mut BTreeSet<String>,
) -> BTreeMap<&'d str, OsmoAccount> {
    let mut by_name: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for id in ids {
        match username::canonical(id) {
            Ok(name) => {
                by_name.entry(name.into_owned()).or_default().insert(id);
            }
            Err(why) => {
                left_out.insert(format!("user {why}"));
            }
        }
    }
    let mut accounts = BTreeMap::new();
    for (name, ids) in by_name {
        let mut ids = ids.into_iter();
        match (ids.next(), ids.next()) {
            (Some(id), None) if only_case(id, &name) => {
                let (grants, tokens) = (Vec::new(), Vec::new());
                accounts.insert(id, OsmoAccount { id: id.to_owned(), name, grants, tokens });
            }
            (Some(id), None) => {
                left_out.insert(format!(
                    "user `{}` is another spelling of `{}` by RFC 8265",
                    id.escape_debug(),
                    name.escape_debug()
                ));
            }
            (first, second) => {
                let all: Vec<String> = first
                    .into_iter()
                    .chain(second)
                    .chain(ids)
                    .map(|id| format!("`{}`", id.escape_debug()))
                    .collect();
                left_out.insert(format!(
                    "users {} have one name here, `{}`: none of them is imported",
                    all.join(", "),
                    name.escape_debug()
                ));
            }
        }
    }
    accounts
}

/// Whether a name is spelt as the store has it, up to case. One that merely looks like another's, in
/// wide letters or with spaces around it, is somebody else's word for it.
fn only_case(id: &str, name: &str) -> bool {
    id == name
        || id.to_lowercase() == name
        || id.chars().flat_map(char::to_lowercase).eq(name.chars())
}

/// Why a row's token is left out, in words that go on after its name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum NotImported {
    #[error(transparent)]
    Name(#[from] TokenNameError),
    #[error("has a digest of {0} bytes: it is not one of SHA-256")]
    Digest(usize),
    #[error("expired at {}", rfc3339(*.0))]
    Expired(Time),
    #[error("never expires, and no token is eternal")]
    Eternal,
    #[error("has no role")]
    NoRole,
}

/// What a row's token would be.
fn token(row: &OsmoTokenRow, now: Time) -> Result<TokenWish, NotImported> {
    let OsmoTokenRow { user: _, name, digest, expires_at, description, roles } = row;
    check_name(name)?;
    let digest =
        Digest::try_from(digest.as_slice()).map_err(|_| NotImported::Digest(digest.len()))?;
    let expires_at = match expires_at {
        Expiry::At(time) if *time <= now => return Err(NotImported::Expired(*time)),
        Expiry::At(time) => *time,
        Expiry::Never => return Err(NotImported::Eternal),
    };
    let mut names: Vec<String> = roles.iter().map(|(role, ..)| role.clone()).collect();
    names.sort();
    names.dedup();
    // Whoever made the token assigned it its roles in the same moment.
    let first = roles.iter().min_by_key(|(role, _, at)| (at.unwrap_or(now), role));
    let (by, at) = match first {
        Some((_, by, at)) => (by.clone(), at.unwrap_or(now)),
        None => return Err(NotImported::NoRole),
    };
    let description = description.chars().filter(|c| !c.is_control()).collect();
    Ok(TokenWish { name: name.clone(), digest, expires_at, roles: names, description, by, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time::from_timestamp(second, 0).unwrap()
    }

    fn role(user: &str, role: &str, by: &str) -> OsmoRoleRow {
        OsmoRoleRow { user: user.into(), role: role.into(), by: by.into(), at: Some(at(50)) }
    }

    fn token(user: &str, name: &str, ends: i64, roles: &[&str]) -> OsmoTokenRow {
        OsmoTokenRow {
            user: user.into(),
            name: name.into(),
            digest: vec![7; 32],
            expires_at: Expiry::At(at(ends)),
            description: "for\u{7} ci".into(),
            roles: roles.iter().map(|it| ((*it).into(), "ann".into(), Some(at(60)))).collect(),
        }
    }

    fn of(users: &[&str], roles: Vec<OsmoRoleRow>, tokens: Vec<OsmoTokenRow>) -> Accounts {
        let users = users.iter().map(|it| (*it).to_owned()).collect();
        accounts(&Database { users, roles, tokens }, at(100))
    }

    #[test]
    fn what_the_idp_gave_is_left_to_the_sync_and_the_rest_keeps_its_story() {
        let found = of(
            &["ann"],
            vec![
                role("ann", "osmo-user", "idp-sync"),
                role("ann", "osmo-admin", "System"),
                role("ann", "old", "migration"),
                role("nobody", "osmo-admin", "ann"),
            ],
            vec![],
        );
        let told: Vec<_> = found.accounts[0].grants.iter().map(|it| (&*it.role, &*it.by)).collect();
        assert_eq!(told, [("old", "migration"), ("osmo-admin", "System")]);
        assert!(found.accounts[0].grants.iter().all(|it| it.at == at(50)));
        assert!(found.left_out.is_empty());
    }

    #[test]
    fn users_of_one_name_are_all_left_out_and_named() {
        let found = of(
            &["Ann", "ann", "bob", "Carla@Example.org", "a b", "ｄａｎ", " eve"],
            vec![role("ann", "osmo-admin", "x"), role("Carla@Example.org", "r", "x")],
            vec![token("Ann", "t", 200, &["r"])],
        );
        let names: Vec<&str> = found.accounts.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["bob", "carla@example.org"]);
        assert_eq!(found.accounts[1].id, "Carla@Example.org");
        assert_eq!(found.accounts[1].grants.len(), 1);
        assert_eq!(
            found.left_out,
            [
                "user ` eve` is another spelling of `eve` by RFC 8265",
                "user `a b` is not a username by RFC 8265",
                "user `ｄａｎ` is another spelling of `dan` by RFC 8265",
                "users `Ann`, `ann` have one name here, `ann`: none of them is imported",
            ]
        );
    }

    #[test]
    fn a_token_that_is_over_or_that_is_none_is_left_out_and_named() {
        let mut short = token("ann", "short", 200, &["r"]);
        short.digest.pop();
        let mut eternal = token("ann", "eternal", 200, &["r"]);
        eternal.expires_at = Expiry::Never;
        let tokens = vec![
            token("ann", "over", 100, &["r"]),
            token("ann", "good", 101, &["r", "a", "r"]),
            token("ann", "bare", 200, &[]),
            token("ann", "1st", 200, &["r"]),
            token("gone", "t", 200, &["r"]),
            short,
            eternal,
        ];
        let found = of(&["ann"], vec![], tokens);
        let [only] = found.accounts[0].tokens.as_slice() else { panic!("{found:?}") };
        assert_eq!((&*only.name, only.digest, only.expires_at), ("good", [7; 32], at(101)));
        assert_eq!(only.roles, ["a", "r"]);
        assert_eq!((&*only.by, only.at, &*only.description), ("ann", at(60), "for ci"));
        let told = found.left_out.join("\n");
        for (name, why) in [
            ("over", "expired at 1970-01-01T00:01:40Z"),
            ("bare", "has no role"),
            ("1st", "`1st` is no name for a token"),
            ("short", "has a digest of 31 bytes"),
            ("eternal", "never expires"),
        ] {
            assert!(told.contains(&format!("token `{name}` of `ann` {why}")), "{name}: {told}");
        }
        assert_eq!(found.left_out.len(), 5, "{told}");
    }

    #[test]
    fn rows_come_to_the_same_in_any_order() {
        let roles = vec![role("b", "x", "p"), role("a", "y", "q"), role("a", "x", "q")];
        let tokens = vec![token("a", "u", 200, &["x"]), token("a", "t", 200, &["y"])];
        let turned = |mut roles: Vec<OsmoRoleRow>, mut tokens: Vec<OsmoTokenRow>| {
            roles.reverse();
            tokens.reverse();
            of(&["b", "a"], roles, tokens)
        };
        assert_eq!(of(&["a", "b"], roles.clone(), tokens.clone()), turned(roles, tokens));
    }
}

//! What a gateway keeps in memory.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{RoleSetId, Status, Time, UserId};

/// What one committed state calls a role set: a short stand-in for its id. It may stand for another
/// set in another state, and says nothing by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SetKey(pub(super) i64);

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The row that gateways see under a username.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenUser<'a> {
    /// The username.
    pub username: &'a str,
    /// The email address; empty where there is none.
    pub email: &'a str,
    /// How the person stands.
    pub status: Status,
    /// Its role set.
    pub set: SetKey,
}

/// An external id of somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenLink {
    /// Whose id it is: a place among the sources that were asked for.
    pub source: u16,
    /// The id.
    pub ext: String,
    /// The source calls the account otherwise than the person is called: it is nobody's.
    pub refused: bool,
}

/// A role set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenSet {
    /// Its id.
    pub id: RoleSetId,
    /// The names of its roles, sorted.
    pub roles: Vec<String>,
}

/// What was committed since a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Since {
    /// Nothing.
    Nothing,
    /// What is named may differ, and nothing else.
    Changed(SeenChanges),
    /// More than is worth telling, or nobody can tell: read everything.
    Unknown,
}

/// What may differ in a later generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenChanges {
    /// The later generation.
    pub generation: u64,
    /// When it was committed.
    pub applied_at: Option<Time>,
    /// The usernames that may stand for something else, those that nobody has any more too.
    pub names: BTreeSet<String>,
    /// Whose ids may differ, or stand for something else: the store's numbers.
    pub users: BTreeSet<UserId>,
    /// Ids that were taken from somebody: source, id. They may be somebody's again.
    pub unlinked: BTreeSet<(String, String)>,
    /// Roles, policies or the catalog may differ.
    pub rules: bool,
}

/// An access token whose owner is not gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenToken<'a> {
    /// The SHA-256 of its secret.
    pub digest: [u8; 32],
    /// What its owner is called.
    pub owner: &'a str,
    /// What it is called.
    pub name: &'a str,
    /// When it ends, in seconds since 1970.
    pub until: i64,
    /// Its role set, as in [`SeenUser::set`].
    pub set: SetKey,
}

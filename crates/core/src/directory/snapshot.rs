//! What one read brought.

use super::{Cursor, Directory, Enabled, Kind, OwnDomain, RefIdx};
use crate::model::IndexVec;
use crate::model::diagnostic::{Diagnostic, texts};

/// Whether a scope of a read is the whole truth.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Completeness {
    /// All of it: what is not here is absent.
    Complete,
    /// Some of it, for this reason: what is not here is unknown.
    Partial(String),
    /// Nobody asked, since no rule can reach it: the mirror keeps what it had.
    NotAsked,
}

impl Completeness {
    /// Whether this is [`Completeness::Complete`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self == Completeness::Complete
    }
}

/// One scope of a snapshot, for people: `users`, `groups`, `roles`, `memberships`.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ScopeReport {
    /// The scope's name.
    pub scope: &'static str,
    /// How many things were read.
    pub count: u64,
    /// Absent where the scope is complete.
    pub partial: Option<String>,
}

/// What one source said in one read.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The facts, canonical.
    pub directory: Directory,
    /// Whether these are all users.
    pub users: Completeness,
    /// Why not all users have the name that they should have: those are here with an empty one.
    pub unnamed: Option<String>,
    /// Whether these are all groups (with their names and parents).
    pub groups: Completeness,
    /// Whether these are all roles of the realm and the configured clients.
    pub roles: Completeness,
    /// For each reference, whether its direct members are all there.
    pub members: IndexVec<RefIdx, Completeness>,
    /// For each reference, whether its `implies` is all there.
    pub implies: IndexVec<RefIdx, Completeness>,
    /// Things worth telling: ambiguous paths, members outside the base, refused names.
    pub diagnostics: Vec<Diagnostic>,
    /// The facts come from a file that was read whole: no outage can look like this.
    pub from_file: bool,
    /// It is a group's list that says which groups are in it (LDAP), so that list's completeness
    /// covers them too. Otherwise a group or role says itself what it leads to: `implies` tells.
    pub nested_by_list: bool,
    /// From where the source's feed goes on after this read.
    pub cursor: Option<Cursor>,
}

impl Snapshot {
    /// What there is to tell, in words: sorted, each once.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        texts(&self.diagnostics)
    }

    /// Whether every scope that was asked for is complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.scopes().iter().all(|scope| scope.partial.is_none())
    }

    /// Whether this says everything: no mirror is needed to know what the source holds now.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        let whole = |list: &[Completeness]| list.iter().all(Completeness::is_complete);
        self.users.is_complete()
            && self.groups.is_complete()
            && self.roles.is_complete()
            && whole(&self.members)
            && whole(&self.implies)
            && self.directory.users.iter().all(|user| user.enabled != Enabled::Unknown)
            && match self.directory.domain {
                OwnDomain::None => true,
                OwnDomain::Unread => false,
                OwnDomain::Of(_) => self.directory.tells_sids(),
            }
    }

    /// The scopes, for people.
    #[must_use]
    pub fn scopes(&self) -> Vec<ScopeReport> {
        fn reason(completeness: &Completeness) -> Option<String> {
            match completeness {
                Completeness::Partial(reason) => Some(reason.clone()),
                Completeness::Complete | Completeness::NotAsked => None,
            }
        }
        let of_kind = |group: bool| {
            let refs = self.directory.refs.iter().filter(|it| it.kind != Kind::ForeignPrincipal);
            refs.filter(|it| (it.kind == Kind::Group) == group).count()
        };
        let memberships: usize = self.directory.members.iter().map(Vec::len).sum();
        let partial = self.members.iter().chain(&self.implies).filter_map(reason);
        let first = partial.clone().next();
        let others = partial.count().saturating_sub(1);
        let memberships_partial = first.map(|first| match others {
            0 => first,
            n => format!("{first} (and {n} more)"),
        });
        vec![
            ScopeReport {
                scope: "users",
                count: self.directory.users.len() as u64,
                partial: reason(&self.users).or_else(|| self.unnamed.clone()),
            },
            ScopeReport {
                scope: "groups",
                count: of_kind(true) as u64,
                partial: reason(&self.groups),
            },
            ScopeReport {
                scope: "roles",
                count: of_kind(false) as u64,
                partial: reason(&self.roles),
            },
            ScopeReport {
                scope: "memberships",
                count: memberships as u64,
                partial: memberships_partial,
            },
        ]
    }
}

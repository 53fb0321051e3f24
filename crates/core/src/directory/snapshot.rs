//! What one read brought.

use std::collections::BTreeSet;

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

/// One scope of a snapshot, for people: `users`, `groups`, `roles`, `organizations`, `memberships`.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ScopeReport {
    /// The scope's name.
    pub scope: &'static str,
    /// How many things were read.
    pub count: u64,
    /// Absent where the scope is complete.
    pub partial: Option<String>,
}

/// Lists of roles that a source left out, though it said of everybody which roles they hold. So nobody is
/// in such a role that is not here; but which there are, and what each contains, it does not say: what was
/// known of that stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UntoldRoles {
    /// The realm's own.
    pub realm: bool,
    /// Those of every client but these, each as the part of its roles' norms before the first `/`. `None`:
    /// no client's.
    pub clients_but: Option<BTreeSet<String>>,
}

impl UntoldRoles {
    /// Whether a reference belongs into such a list.
    #[must_use]
    pub fn cover(&self, kind: Kind, norm: &str) -> bool {
        match kind {
            Kind::RealmRole => self.realm,
            Kind::ClientRole => self.clients_but.as_ref().is_some_and(|told| {
                !norm.split_once('/').is_some_and(|(client, _)| told.contains(client))
            }),
            Kind::Group
            | Kind::Attribute
            | Kind::ForeignPrincipal
            | Kind::Organization
            | Kind::OrganizationGroup => false,
        }
    }

    /// Whether there is no such list.
    #[must_use]
    pub fn none(&self) -> bool {
        *self == UntoldRoles::default()
    }
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
    /// Of which roles the source does not say that there are others.
    pub untold_roles: UntoldRoles,
    /// Whether these are all organizations. Where nobody asked there are none here, and the mirror forgets
    /// those that it had.
    pub organizations: Completeness,
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
            && self.untold_roles.none()
            && !matches!(self.organizations, Completeness::Partial(_))
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
        let count = |is: fn(Kind) -> bool| {
            self.directory.refs.iter().filter(|row| is(row.kind)).count() as u64
        };
        let organizations = count(|kind| kind == Kind::Organization);
        let memberships: usize = self.directory.members.iter().map(Vec::len).sum();
        let partial = self.members.iter().chain(&self.implies).filter_map(reason);
        let first = partial.clone().next();
        let others = partial.count().saturating_sub(1);
        let memberships_partial = first.map(|first| match others {
            0 => first,
            n => format!("{first} (and {n} more)"),
        });
        let mut scopes = vec![
            ScopeReport {
                scope: "users",
                count: self.directory.users.len() as u64,
                partial: reason(&self.users).or_else(|| self.unnamed.clone()),
            },
            ScopeReport {
                scope: "groups",
                count: count(|kind| kind == Kind::Group),
                partial: reason(&self.groups),
            },
            ScopeReport {
                scope: "roles",
                count: count(|kind| {
                    matches!(kind, Kind::RealmRole | Kind::ClientRole | Kind::Attribute)
                }),
                partial: reason(&self.roles),
            },
        ];
        // Most realms have none, and most rules name none.
        let partial = reason(&self.organizations);
        if organizations > 0 || partial.is_some() {
            scopes.push(ScopeReport { scope: "organizations", count: organizations, partial });
        }
        scopes.push(ScopeReport {
            scope: "memberships",
            count: memberships as u64,
            partial: memberships_partial,
        });
        scopes
    }
}

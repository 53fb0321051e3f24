//! How the store and its sources stand.

use crate::directory::local;
use crate::model::Time;

/// The store in a few numbers. All zero and absent for a store into which nothing was committed,
/// and where there is no store yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// The schema's version.
    pub schema_version: i64,
    /// The committed generation; 0: none yet.
    pub generation: u64,
    /// When it was committed.
    pub applied_at: Option<Time>,
    /// What a run gave with the last commit: a digest of all that it was planned from.
    pub settled: Option<String>,
    /// Raised by every commit that changes state, catalog, held plan or `settled`: what a plan is
    /// based on.
    pub version: i64,
    /// The next moment at which something falls due by itself.
    pub next_due: Option<Time>,
    /// Everything that may give a role to anybody had been read in full when the last run, or what a
    /// feed told, was planned ([`crate::plan::Plan::all_read`]).
    pub all_read: bool,
}

/// How a source's reads went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// `keycloak`, `ldap`, `file` or `local`; absent before the first try.
    pub kind: Option<String>,
    /// It is in the configuration (at the last commit or touch).
    pub configured: bool,
    /// The last complete read.
    pub read_at: Option<Time>,
    /// The last try.
    pub tried_at: Option<Time>,
    /// The last try that brought something, all of it or a part.
    pub spoke_at: Option<Time>,
    /// Why the last try failed altogether; absent where it did not.
    pub error: Option<String>,
    /// What the last successful try brought, scope by scope.
    pub scopes: Vec<ScopeStatus>,
    /// The digest of its mirror; absent: it has none.
    pub digest: Option<String>,
}

impl SourceStatus {
    /// Of which time it is; `None`: it is not in the configuration, and counts for nothing.
    #[must_use]
    pub fn age(&self) -> Option<SourceAge> {
        self.configured.then(|| SourceAge {
            name: self.name.clone(),
            read_at: self.read_at,
            spoke_at: self.spoke_at,
            has_mirror: self.digest.is_some(),
            by_hand: (self.name == local::NAME).then(|| self.holds_anybody()),
        })
    }

    /// Whether the last read brought anything.
    #[must_use]
    pub fn holds_anybody(&self) -> bool {
        self.scopes.iter().any(ScopeStatus::holds_anything)
    }
}

/// Of which time what a configured source said is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceAge {
    /// Its name.
    pub name: String,
    /// The last complete read.
    pub read_at: Option<Time>,
    /// The last try that brought something, all of it or a part.
    pub spoke_at: Option<Time>,
    /// It has a mirror.
    pub has_mirror: bool,
    /// Whether there is anybody in it, where it is what people say by hand; `None`: it is another source.
    pub by_hand: Option<bool>,
}

/// One scope of a read: `users`, `groups`, `roles`, `memberships`.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ScopeStatus {
    /// The scope's name.
    pub scope: String,
    /// How many things were read.
    pub count: u64,
    /// Why it is not all; absent where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partial: Option<String>,
}

impl ScopeStatus {
    /// Whether anything was read.
    #[must_use]
    pub fn holds_anything(&self) -> bool {
        self.count > 0
    }
}

impl From<crate::directory::ScopeReport> for ScopeStatus {
    fn from(report: crate::directory::ScopeReport) -> Self {
        ScopeStatus { scope: report.scope.to_owned(), count: report.count, partial: report.partial }
    }
}

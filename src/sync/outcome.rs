//! What a run came to, and why one came to nothing.

use std::collections::BTreeMap;

use super::{AdminError, ManualError};
use crate::directory::{Difference, RowId, ScopeReport};
use crate::model::diagnostic::texts;
use crate::model::{Diagnostic, Inconsistent, Time};
use crate::plan::{HeldHead, NotPlanned, Plan};
use crate::source::SourceError;
use crate::store::{CommitError, LockError, StoreError, StoreErrorKind};

/// How one source fared.
#[derive(Clone, Debug)]
pub struct SourceOutcome {
    /// Its name.
    pub name: String,
    /// `keycloak`, `ldap`, `file` or `local`.
    pub kind: &'static str,
    /// What came of it.
    pub result: SourceResult,
    /// When its mirror was last read in full, before this run.
    pub mirror_at: Option<Time>,
}

/// What came of reading a source.
#[derive(Clone, Debug)]
pub enum SourceResult {
    /// Every scope is complete.
    Complete(Vec<ScopeReport>),
    /// Some scope is not: it may add, never take away.
    Partial(Vec<ScopeReport>),
    /// Nothing could be read: its mirror speaks.
    Failed(SourceError),
    /// Nobody asked: its mirror speaks.
    NotAsked,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was planned, and but for a dry run applied. `None`: nothing that a plan depends on
    /// changed since the last one, so there was nothing to plan.
    pub plan: Option<Plan>,
    /// What waits for a person. Its changes are in the plan, or in the store where nothing was
    /// planned.
    pub held: Option<HeldHead>,
    /// How the sources fared, in the order of the configuration.
    pub sources: Vec<SourceOutcome>,
    /// What full reads found of sources that are followed and that their feeds had not told by then.
    pub untold: BTreeMap<String, BTreeMap<RowId, Difference>>,
    /// What sources and the plan have to tell. Sorted, each once.
    pub diagnostics: Vec<Diagnostic>,
    /// The generation before.
    pub before: u64,
    /// The generation after; the same where nothing changed.
    pub generation: u64,
    /// The moment of the run.
    pub at: Time,
    /// The next moment at which something falls due by itself.
    pub next_due: Option<Time>,
}

impl Outcome {
    /// What there is to tell, in words: sorted, each once.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        texts(&self.diagnostics)
    }

    /// Whether some source failed or was partial.
    #[must_use]
    pub fn incomplete(&self) -> bool {
        self.sources.iter().any(|source| {
            matches!(source.result, SourceResult::Partial(_) | SourceResult::Failed(_))
        })
    }

    /// Whether some source failed in a way that may pass.
    #[must_use]
    pub fn worth_retrying(&self) -> bool {
        self.sources.iter().any(|source| {
            matches!(
                source.result,
                SourceResult::Partial(_)
                    | SourceResult::Failed(SourceError { transient: true, .. })
            )
        })
    }

    /// Whether the plan changes anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| !plan.changes.is_empty())
    }
}

/// Why a run came to nothing: nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another process is at work.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What was asked for by hand is refused.
    #[error(transparent)]
    Manual(#[from] ManualError),
    /// `[default_admin]` cannot be ensured.
    #[error(transparent)]
    DefaultAdmin(#[from] AdminError),
    /// Only a sync makes a store.
    #[error("there is no store `{store}` yet: run `idpsyncd sync` first")]
    NoStore {
        /// Where it was looked for.
        store: String,
    },
    /// Whoever came while a source was read does not fit into what was read.
    #[error("{name}: cannot add who came: {why}")]
    Newcomers {
        /// The source's name.
        name: String,
        /// Why.
        #[source]
        why: crate::directory::Refusal,
    },
    /// What the store holds contradicts itself.
    #[error("{0}: this is a fault of idpsyncd; nothing was applied")]
    Inconsistent(#[from] Inconsistent),
}

/// What kind of fault made a run come to nothing, for programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunErrorKind {
    /// Another process is at work.
    Locked,
    /// The store.
    Store(StoreErrorKind),
    /// Somebody else wrote meanwhile.
    Raced,
    /// The plan, or what the store holds, contradicts itself.
    Inconsistent,
    /// It was asked for by hand, and refused.
    Manual,
    /// `[default_admin]` cannot be ensured.
    DefaultAdmin,
    /// There is no store yet.
    NoStore,
    /// Who came while this source was read does not fit into what was read.
    Newcomers(String),
}

impl RunError {
    /// What kind of fault it is.
    #[must_use]
    pub fn kind(&self) -> RunErrorKind {
        match self {
            RunError::Locked(LockError::Held { .. }) => RunErrorKind::Locked,
            RunError::Locked(LockError::Store(error))
            | RunError::Store(error)
            | RunError::Commit(CommitError::Store(error)) => RunErrorKind::Store(error.kind),
            RunError::Commit(CommitError::Raced) => RunErrorKind::Raced,
            RunError::Commit(CommitError::Inconsistent(_)) | RunError::Inconsistent(_) => {
                RunErrorKind::Inconsistent
            }
            RunError::Manual(_) => RunErrorKind::Manual,
            RunError::DefaultAdmin(_) => RunErrorKind::DefaultAdmin,
            RunError::NoStore { .. } => RunErrorKind::NoStore,
            RunError::Newcomers { name, .. } => RunErrorKind::Newcomers(name.clone()),
        }
    }
}

impl From<NotPlanned> for RunError {
    fn from(why: NotPlanned) -> Self {
        match why {
            NotPlanned::Inconsistent(what) => what.into(),
            why => ManualError::NotPlanned(why).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_whose_lock_cannot_be_used_is_told_from_one_that_another_process_has() {
        let (store, holder) = ("store.db".to_owned(), "pid 7".to_owned());
        let held = RunError::Locked(LockError::Held { store, holder });
        assert_eq!(held.kind(), RunErrorKind::Locked);
        for kind in [StoreErrorKind::Full, StoreErrorKind::Denied] {
            let error = StoreError { kind, message: "the lock".to_owned() };
            let unusable = RunError::Locked(LockError::Store(error));
            assert_eq!(unusable.kind(), RunErrorKind::Store(kind));
        }
    }
}

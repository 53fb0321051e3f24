//! The store: what is known about people and roles, kept for runs, commands and gateways.
//!
//! | what | where |
//! |---|---|
//! | the door: [`Store`], and `update`, the one way to change one | `api` |
//! | reading: [`Reader`] | `reader` |
//! | which daemon leads | `leading` |
//! | what is written, all of it or nothing | `commit`; for one stranger `provision` |
//! | what one change needs, without a look at everybody | `slice` |
//! | what is read | `status`, `people`, `access` (who held what when), `history`, `mirror`, `review`, `seen` and `ended` (for gateways' memory) |
//! | what both backends keep in tables | `sql` |
//! | a whole store into another one | `copy` |
//! | SQLite: one file that gateways read | `sqlite` |
//! | PostgreSQL: one database for gateways on many machines | `postgres` |
//!
//! The values that cross the door are here, and know nothing of how they are kept.

use std::fmt;
use std::sync::Arc;

use secrecy::SecretString;

use crate::model::StoreConfig;

mod access;
mod api;
mod commit;
#[cfg(test)]
mod conformance;
mod copy;
mod ended;
mod error;
mod history;
mod leading;
#[cfg(test)]
pub(crate) mod memory;
mod mirror;
mod people;
mod postgres;
mod provision;
mod reader;
mod review;
mod seen;
mod slice;
mod sql;
mod sqlite;
mod status;

pub use access::{Access, AccessChange, AccessFilter, AsOf, Began, Generation, Untold, Ways};
pub use api::{
    Beside, RunLock, Seen, StandbyFault, Store, StoreLag, Transaction, Turn, Waker, Watch,
};
pub use commit::{Commit, Committed, MirrorUpdate, SourceUpdate};
pub use copy::{Copied, CopiedRelation, CopyEnd, CopyError, CopyProgress, copy, copy_dry};
pub use ended::EndedSince;
pub use error::{CommitError, Contradiction, LockError, Mismatch, StoreError, StoreErrorKind};
pub use history::{HistoryFilter, HistoryRow};
pub use leading::{BEAT, Lead, LeadError, Leader, NoLeader, StoreLeader};
pub use mirror::{MirrorPatch, StoredMirror};
pub use people::{
    EffectiveRoles, GrantDetail, ReachedBy, StoredDecision, TokenRow, UserDetail, UserRow,
};
pub use provision::{Acquaintance, Marks, MirrorOutline, ProvisionContext, ProvisionQuery};
pub use reader::{EachSeen, EachToken, Reader};
pub use review::Review;
pub use seen::{SeenChanges, SeenLink, SeenSet, SeenToken, SeenUser, SetKey, Since};
pub use slice::{Account, AccountNames, Bears, RefsWanted, Slice, SliceQuery};
#[cfg(test)]
pub(crate) use sqlite::steps::counted;
pub use status::{Meta, ScopeStatus, SourceAge, SourceStatus};

/// How a store's password is had: each time that somebody signs in, since it may be another one by then.
#[derive(Clone)]
pub struct Password(Arc<dyn Fn() -> Result<SecretString, PasswordError> + Send + Sync>);

/// Why a password cannot be had: where it was looked for, never what was there.
pub type PasswordError = Box<dyn std::error::Error + Send + Sync>;

impl Password {
    /// As `read` has it.
    #[must_use]
    pub fn new(
        read: impl Fn() -> Result<SecretString, PasswordError> + Send + Sync + 'static,
    ) -> Self {
        Password(Arc::new(read))
    }

    fn read(&self) -> Result<SecretString, PasswordError> {
        (self.0)()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The store that `config` names, for whoever needs no password there. Touches nothing yet.
#[must_use]
pub fn open(config: &StoreConfig) -> Arc<dyn Store> {
    open_with(config, None)
}

/// The store that `config` names. Touches nothing yet.
#[must_use]
pub fn open_with(config: &StoreConfig, password: Option<Password>) -> Arc<dyn Store> {
    match config {
        StoreConfig::Sqlite { path } => Arc::new(sqlite::SqliteStore::new(path.clone())),
        StoreConfig::Postgres(config) => {
            Arc::new(postgres::PostgresStore::new(config.clone(), password))
        }
    }
}

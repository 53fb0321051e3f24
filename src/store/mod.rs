//! The store: what is known about people and roles, kept for runs, commands and gateways.
//!
//! | what | where |
//! |---|---|
//! | what is written, all of it or nothing | `commit`; for one stranger `provision` |
//! | what is read | `status`, `people`, `access` (who held what when), `history`, `mirror`, `review`, `seen` (for gateways' memory) |
//! | SQLite: one file that gateways read | `sqlite` |
//!
//! The values that cross the door are here, and know nothing of how they are kept.

mod access;
mod commit;
mod error;
mod history;
mod mirror;
mod people;
mod provision;
mod review;
mod seen;
mod sqlite;
mod status;

pub use access::{Access, AccessChange, AccessFilter, AsOf, Began, Generation, Untold, Ways};
pub use commit::{Commit, Committed, MirrorUpdate, SourceUpdate};
pub use error::{CommitError, LockError, StoreError, StoreErrorKind};
pub use history::{HistoryFilter, HistoryRow};
pub use mirror::{MirrorPatch, StoredMirror};
pub use people::{Decided, Effective, GrantDetail, ReachedBy, TokenRow, UserDetail, UserRow};
pub use provision::{Acquaintance, MirrorOutline, ProvisionContext, ProvisionQuery};
pub use review::Review;
pub use seen::{SeenLink, SeenSet, SeenToken, SeenUser, Since};
pub use sqlite::{Footprint, Reader, RunLock, SCHEMA_VERSION, Writer};
pub use status::{Meta, ScopeStatus, SourceStatus};

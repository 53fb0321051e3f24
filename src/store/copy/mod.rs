//! A whole store into another, empty one, of whichever backend.
//!
//! | what | where |
//! |---|---|
//! | what there is to be copied: every table, every view | `tables` |
//! | rows from one transaction into another, and how what came is known to be what was sent | `rows` |
//! | the two ends: locks, what is refused, one transaction at each | here |
//!
//! Nobody writes to either meanwhile. What is copied is there in whole, found to be the same, or not at all.

mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use super::error::{LockError, StoreError, StoreErrorKind};
use super::postgres::PostgresStore;
use super::sql::Fault;
use super::sql::db::Conn;
use super::sqlite::SqliteStore;
use super::{Leader, Password, Store, StoreLeader};
use crate::model::{StoreConfig, Time};
use rows::Sender;

/// What others are told of whoever copies.
const WHAT: &str = "idpsyncd store copy";

/// One end of a copy: where it is, and how one signs in there.
#[derive(Clone, Debug)]
pub struct CopyEnd {
    /// Where.
    pub config: StoreConfig,
    /// With what, where that is needed.
    pub password: Option<Password>,
}

/// How far a copy has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyProgress {
    /// What is done: `copied`, or `compared`.
    pub what: &'static str,
    /// The table or view.
    pub name: &'static str,
    /// How many of its rows.
    pub rows: u64,
}

/// A table or view that is the same at both ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopiedRelation {
    /// What it is called.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// Of all its rows, whatever their order, in hex. Empty where nothing was copied.
    pub digest: String,
}

/// What was copied, or would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// Where from, for people.
    pub from: String,
    /// Where to, for people.
    pub to: String,
    /// The generation.
    pub generation: i64,
    /// The tables.
    pub tables: Vec<CopiedRelation>,
    /// The views; none where nothing was copied.
    pub views: Vec<CopiedRelation>,
}

/// Why nothing was copied: the other end is as it was, or an empty store.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both ends are one.
    #[error("`{0}` is the store itself: `--to` names another one")]
    Itself(String),
    /// Somebody works on one of them.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A daemon follows sources for one of them, and would go on doing so.
    #[error(
        "an idpsyncd leads on the store `{store}`: {}; stop it first",
        .by.as_ref().map_or_else(|| "which, this account may not see".to_owned(), Leader::to_string)
    )]
    Led {
        /// The store.
        store: String,
        /// Which, where that can be seen.
        by: Option<Leader>,
    },
    /// One of them cannot be used, or came out different.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies the store at `from` to `to`, where there must be none, or one that holds nothing. `at` is the time
/// now. `on` is told of the progress, often.
///
/// # Errors
/// Somebody works on one of the two, one cannot be used, the store at `to` holds something, or what arrived
/// is not what was sent: then nothing was copied.
pub fn copy(
    from: CopyEnd,
    to: CopyEnd,
    at: Time,
    on: &dyn Fn(CopyProgress),
) -> Result<Copied, CopyError> {
    let (from, to) = (Backend::of(from), Backend::of(to));
    refuse_itself(&from, &to)?;
    // Before anything is made at the other end.
    from.there(&mut |_| Ok(()))?;
    to.check_empty()?;
    let _from_lock = from.store().lock(WHAT, at)?;
    let _to_lock = to.store().lock(WHAT, at)?;
    refuse_leader(&from)?;
    to.store().prepare()?;
    refuse_leader(&to)?;
    let copied = RefCell::new(None);
    from.held_still(&mut |sending| {
        let told = |fault: Fault| from.told(fault);
        let sender = Sender { conn: sending, told: &told };
        let filled = to.filled(&mut |receiving| {
            refuse_content(receiving, &to)?;
            *copied.borrow_mut() = Some(rows::copy(&sender, receiving, on)?);
            Ok(())
        });
        filled.map_err(Fault::Store)
    })?;
    let (generation, tables, views) = copied.into_inner().unwrap_or_default();
    Ok(Copied { from: from.shown(), to: to.shown(), generation, tables, views })
}

/// What [`copy`] would copy. Writes nothing anywhere.
///
/// # Errors
/// As [`copy`], but that nobody is asked who works on the two.
pub fn copy_dry(from: CopyEnd, to: CopyEnd) -> Result<Copied, CopyError> {
    let (from, to) = (Backend::of(from), Backend::of(to));
    refuse_itself(&from, &to)?;
    let mut counted = (0, Vec::new());
    from.there(&mut |conn| {
        counted = rows::count(conn)?;
        Ok(())
    })?;
    to.check_empty()?;
    let (generation, tables) = counted;
    Ok(Copied { from: from.shown(), to: to.shown(), generation, tables, views: Vec::new() })
}

fn refuse_itself(from: &Backend, to: &Backend) -> Result<(), CopyError> {
    if from.is(to) { Err(CopyError::Itself(to.shown())) } else { Ok(()) }
}

fn refuse_leader(end: &Backend) -> Result<(), CopyError> {
    match end.store().leader()? {
        StoreLeader::Nobody => Ok(()),
        StoreLeader::Unseen => Err(CopyError::Led { store: end.shown(), by: None }),
        StoreLeader::Seen(by) => Err(CopyError::Led { store: end.shown(), by: Some(by) }),
    }
}

/// Refuses a store that holds something already.
fn refuse_content(conn: Conn<'_>, to: &Backend) -> Result<(), Fault> {
    let why = match rows::content(conn)? {
        None => return Ok(()),
        Some(rows::Content::Generation(generation)) => format!("holds generation {generation}"),
        Some(rows::Content::Rows(table)) => {
            format!("holds something, though no generation (the table `{table}`)")
        }
    };
    let another = match to {
        Backend::Sqlite(_) => "move the file away, or name another one",
        Backend::Postgres(_) => {
            "name another schema by `--schema`, or drop this one if nobody needs what is in it"
        }
    };
    Err(Fault::Store(StoreError::new(
        StoreErrorKind::Other,
        format!("the store `{}` {why}: nothing was copied over it; {another}", to.shown()),
    )))
}

/// A backend that keeps tables.
enum Backend {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

/// What is done in a transaction.
type Work<'w> = &'w mut dyn FnMut(Conn<'_>) -> Result<(), Fault>;

impl Backend {
    fn of(end: CopyEnd) -> Backend {
        match end.config {
            StoreConfig::Sqlite { path } => Backend::Sqlite(SqliteStore::new(path)),
            StoreConfig::Postgres(config) => {
                Backend::Postgres(PostgresStore::new(config, end.password))
            }
        }
    }

    fn store(&self) -> &dyn Store {
        match self {
            Backend::Sqlite(store) => store,
            Backend::Postgres(store) => store,
        }
    }

    fn shown(&self) -> String {
        self.store().shown()
    }

    fn told(&self, fault: Fault) -> StoreError {
        fault.store(&self.shown())
    }

    /// Whether both are one, as far as their names tell. Where they do not, the lock does.
    fn is(&self, other: &Backend) -> bool {
        match (self, other) {
            (Backend::Sqlite(one), Backend::Sqlite(other)) => one.is_at(other),
            (Backend::Postgres(one), Backend::Postgres(other)) => one.is_at(other),
            _ => false,
        }
    }

    /// Reads one committed state. `false`: there is no store.
    fn read(&self, work: Work<'_>) -> Result<bool, StoreError> {
        match self {
            Backend::Sqlite(store) => store.read_tables(work),
            Backend::Postgres(store) => store.read_tables(work),
        }
    }

    /// As [`Backend::read`] of a store that must be there, and of this program's version.
    fn there(&self, work: Work<'_>) -> Result<(), StoreError> {
        match self.read(work) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::new(
                StoreErrorKind::Absent,
                format!("there is no store `{}`: nothing to copy", self.shown()),
            )),
            Err(error) if error.kind == StoreErrorKind::Older => Err(StoreError::new(
                StoreErrorKind::Older,
                format!(
                    "an older idpsyncd wrote the store `{}`: run `idpsyncd store init` with its configuration \
                     once, which brings it up to date, and copy it then",
                    self.shown()
                ),
            )),
            Err(error) => Err(error),
        }
    }

    /// Refuses a store that holds something, before anything is made. One that an older program made is
    /// looked at once it is up to date.
    fn check_empty(&self) -> Result<(), StoreError> {
        match self.read(&mut |conn| refuse_content(conn, self)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::Older => Err(StoreError::new(
                StoreErrorKind::Older,
                format!(
                    "an older idpsyncd wrote the store `{}`: nothing was copied over it",
                    self.shown()
                ),
            )),
            Err(error) => Err(error),
        }
    }

    /// Does `work` while nobody else writes. Writes nothing itself.
    fn held_still(&self, work: Work<'_>) -> Result<(), StoreError> {
        match self {
            Backend::Sqlite(store) => store.hold_tables(work),
            Backend::Postgres(store) => store.hold_tables(work),
        }
    }

    /// Does `work`, which fills the store, and commits; or takes all of it back.
    fn filled(&self, work: Work<'_>) -> Result<(), StoreError> {
        match self {
            Backend::Sqlite(store) => store.fill_tables(work),
            Backend::Postgres(store) => store.fill_tables(work),
        }
    }
}

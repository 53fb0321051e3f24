//! The store at a path. Nothing stays open between two uses: what an administrator's `mv` puts in
//! its place is what is used next.

use std::path::PathBuf;

use super::error::StoreError;
use super::lock::FileLock;
use super::reader::SqliteReader;
use super::transaction::{Anyones, Mine};
use super::watch::SqliteWatch;
use super::writer::SqliteWriter;
use crate::model::{Followed, Time};
use crate::store::{LockError, Reader, Review, RunLock, Store, Transaction, Turn, Watch};

/// A store in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pub(super) path: PathBuf,
}

impl SqliteStore {
    /// The store at `path`. Touches nothing.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        SqliteStore { path }
    }

    fn writer(&self) -> Result<SqliteWriter, StoreError> {
        SqliteWriter::open(&self.path)
    }

    /// A writer of a store that is there and of this program's version: it makes and alters none.
    fn writer_of_existing(&self) -> Result<SqliteWriter, StoreError> {
        match SqliteReader::open(&self.path)? {
            Some(_) => self.writer(),
            None => Err(StoreError::absent(self.shown())),
        }
    }
}

impl Store for SqliteStore {
    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    fn prepare(&self) -> Result<(), StoreError> {
        self.writer().map(drop)
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader>>, StoreError> {
        let reader = SqliteReader::open(&self.path)?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Reader>))
    }

    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError> {
        FileLock::acquire(&self.path, what, at).map(RunLock::new)
    }

    fn begin(&self, turn: Turn) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(match turn {
            Turn::Anyones => Box::new(Anyones::begin(self)?),
            Turn::Mine => Box::new(Mine::begin(self)?),
        })
    }

    fn discard_held(&self, id: &str) -> Result<bool, StoreError> {
        self.writer()?.discard_held(id)
    }

    fn keep_keys(&self, issuer: &str, keys: &str, at: Time) -> Result<(), StoreError> {
        self.writer_of_existing()?.keep_keys(issuer, keys, at)
    }

    fn keep_followed(&self, source: &str, followed: &Followed) -> Result<(), StoreError> {
        self.writer_of_existing()?.aside(|conn| super::followed::keep(conn, source, followed))
    }

    fn sign(&self, review: &Review) -> Result<(), StoreError> {
        self.writer()?.sign(review)
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(SqliteWatch::new(self.path.clone()))
    }
}

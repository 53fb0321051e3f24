//! The store at a path. What an administrator's `mv` puts in its place is what is used next: a connection
//! outlives its use only as long as the files are as that use left them ([`super::kept`]).

use std::path::PathBuf;
use std::sync::Arc;

use super::error::{StoreError, StoreErrorKind};
use super::kept::{FilesNow, Footprint, Kept};
use super::lead::FileLead;
use super::lock::FileLock;
use super::reader::SqliteReader;
use super::transaction::{Anyones, Mine};
use super::watch::SqliteWatch;
use super::writer::SqliteWriter;
use crate::model::{Followed, SessionEnd, Time};
use crate::store::sql::{KnownLists, SqlTransaction};
use crate::store::{
    Lead, LeadError, Leader, LockError, Reader, Review, RunLock, StandbyFault, Store, StoreLeader,
    Transaction, Turn, Watch,
};

/// A store in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pub(super) path: PathBuf,
    pub(super) readers: Arc<Kept<SqliteReader>>,
    writers: Arc<Kept<SqliteWriter>>,
    pub(super) lists: Arc<KnownLists>,
}

impl SqliteStore {
    /// The store at `path`. Touches nothing.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let (readers, writers, lists) = Default::default();
        SqliteStore { path, readers, writers, lists }
    }

    /// The store opened for reading. `None`: there is no store yet.
    pub(super) fn opened(&self) -> Result<Option<SqliteReader>, StoreError> {
        if let Some((kept, left)) = self.readers.take(&self.path) {
            return Ok(Some(kept.of(self, left)));
        }
        // Looked at before: files that are put in their place meanwhile are others than these.
        let before = Footprint::of(&self.path);
        let reader = SqliteReader::open(&self.path)?;
        Ok(reader.map(|reader| match before {
            Ok(Some(before)) => reader.of(self, before),
            _ => reader,
        }))
    }

    /// The store opened for writing, and made where there is none.
    pub(super) fn writer(&self) -> Result<SqliteWriter, StoreError> {
        match self.kept_writer() {
            Some(kept) => Ok(kept),
            None => self.opened_writer(),
        }
    }

    /// The store opened for writing. Looked at before and after: what is put in its place while this opens it,
    /// or has it open, is not what it writes.
    fn opened_writer(&self) -> Result<SqliteWriter, StoreError> {
        let files = || Footprint::of(&self.path).ok().flatten();
        let before = files();
        let writer = SqliteWriter::open(&self.path)?;
        let after = files().filter(|now| before.is_some_and(|before| now.same_files(&before)));
        Ok(match after {
            Some(found) => writer.finding(found),
            None => writer,
        })
    }

    /// Whether the next change is written by a connection that is there.
    #[cfg(test)]
    pub(super) fn keeps(&self) -> bool {
        self.writers.keeps(&self.path)
    }

    /// Keeps what reads for the next use.
    pub(super) fn keep_reader(&self, reader: SqliteReader, opened: &Footprint) {
        let Ok(Some(now)) = FilesNow::of(&self.path) else { return };
        if !now.files.same_files(opened) {
            return;
        }
        // Looked at after the files, as below.
        if let Err(error) = reader.still_known() {
            tracing::debug!(%error, "what has the store open is not used again");
        } else if reader.forgets() {
            self.readers.keep(now, reader);
        }
    }

    /// Keeps what writes for the next change, and what reads where this has `committed`.
    pub(super) fn keep_writer(&self, writer: SqliteWriter, committed: bool) {
        let Ok(Some(now)) = FilesNow::of(&self.path) else { return };
        // Others, or another content, may have been put in their place meanwhile.
        let stands = |found: &Footprint| match committed {
            true => now.files.same_files(found),
            false => now.files == *found,
        };
        let Some(before) = writer.found().filter(|found| stands(found)).copied() else { return };
        // Looked at after the files: how they stood then is of a version that is known.
        if let Err(error) = writer.still_known() {
            tracing::debug!(%error, "what has the store open is not used again");
            return;
        }
        if committed {
            self.readers.goes_on(&now, &before);
        }
        if writer.rests() {
            self.writers.keep(now, writer);
        }
    }

    /// What writes, where it was kept, and how it finds the files.
    pub(super) fn kept_writer(&self) -> Option<SqliteWriter> {
        self.writers.take(&self.path).map(|(kept, found)| kept.finding(found))
    }

    /// A writer of a store that is there and of this program's version: it makes and alters none.
    pub(super) fn writer_of_existing(&self) -> Result<SqliteWriter, StoreError> {
        if let Some(kept) = self.kept_writer() {
            return Ok(kept);
        }
        // To open it for writing would make it.
        match SqliteReader::open(&self.path)? {
            Some(_) => self.opened_writer(),
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
        let reader = self.opened()?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Reader>))
    }

    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError> {
        FileLock::acquire(&self.path, what, at).map(RunLock::new)
    }

    fn lead(&self, me: &Leader) -> Result<Arc<dyn Lead>, LeadError> {
        Ok(Arc::new(FileLead::take(self.path.clone(), me)?))
    }

    fn leader(&self) -> Result<StoreLeader, StoreError> {
        FileLock::leader(&self.path)
    }

    fn begin(&self, turn: Turn) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(match turn {
            Turn::Anyones => Box::new(SqlTransaction::over(Anyones::begin(self)?)),
            Turn::Mine => Box::new(SqlTransaction::over(Mine::begin(self)?)),
        })
    }

    fn discard_held(&self, id: &str) -> Result<bool, StoreError> {
        let mut writer = self.writer()?;
        let done = writer.discard_held(id)?;
        self.keep_writer(writer, true);
        Ok(done)
    }

    fn keep_keys(&self, issuer: &str, keys: &str, at: Time) -> Result<(), StoreError> {
        let mut writer = self.writer_of_existing()?;
        writer.keep_keys(issuer, keys, at)?;
        self.keep_writer(writer, true);
        Ok(())
    }

    fn keep_followed(&self, source: &str, followed: &Followed) -> Result<(), StoreError> {
        let mut writer = self.writer_of_existing()?;
        writer.aside(|conn| crate::store::sql::keep_followed(conn, source, followed))?;
        self.keep_writer(writer, true);
        Ok(())
    }

    fn end_sessions(&self, ended: &[SessionEnd], forget: i64) -> Result<(), StoreError> {
        let mut writer = self.writer_of_existing()?;
        writer.aside(|conn| crate::store::sql::end_sessions(conn, ended, forget))?;
        self.keep_writer(writer, true);
        Ok(())
    }

    fn sign(&self, review: &Review) -> Result<(), StoreError> {
        self.writer()?.sign(review)
    }

    fn let_read(&self, _role: &str, _tokens: bool) -> Result<(), StoreError> {
        Err(StoreError::new(
            StoreErrorKind::Other,
            format!(
                "the store `{}` is a file, which knows no roles: whoever may read the file reads all of it, so \
                 give its folder's group to the gateways (docs/store.md, \"Rights\")",
                self.shown()
            ),
        ))
    }

    fn standby_fault(&self) -> Result<Option<StandbyFault>, StoreError> {
        Ok(None)
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(SqliteWatch::new(self.path.clone()))
    }
}

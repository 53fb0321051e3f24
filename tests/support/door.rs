//! A store as tests use it: opened at a path, changed by hand-made commits.
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use idpsyncd::model::{StoreConfig, Time};
use idpsyncd::store::{
    self, Commit, CommitError, Committed, LockError, MirrorPatch, Review, SourceUpdate, Store,
    StoreError, Turn,
};

/// What names a store.
pub trait At {
    fn at(&self) -> StoreConfig;
}

impl At for Path {
    fn at(&self) -> StoreConfig {
        StoreConfig::sqlite(self)
    }
}

impl At for PathBuf {
    fn at(&self) -> StoreConfig {
        StoreConfig::sqlite(self)
    }
}

impl At for StoreConfig {
    fn at(&self) -> StoreConfig {
        self.clone()
    }
}

pub struct Reader(Box<dyn store::Reader>);

impl Reader {
    pub fn open(at: &(impl At + ?Sized)) -> Result<Option<Reader>, StoreError> {
        Ok(store::open(&at.at()).reader()?.map(Reader))
    }
}

impl Deref for Reader {
    type Target = dyn store::Reader;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// A store that was prepared.
#[derive(Debug)]
pub struct Writer(Arc<dyn Store>);

impl Writer {
    pub fn open(at: &(impl At + ?Sized)) -> Result<Writer, StoreError> {
        let store = store::open(&at.at());
        store.prepare()?;
        Ok(Writer(store))
    }

    pub fn reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader(self.0.reader()?.unwrap()))
    }

    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        self.0.begin(Turn::Anyones)?.commit(commit)
    }

    pub fn commit_patches(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError> {
        self.0.begin(Turn::Anyones)?.commit_patches(commit, patches)
    }

    pub fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        self.0.begin(Turn::Anyones)?.touch(sources, configured)
    }

    pub fn discard_held(&mut self, id: &str) -> Result<bool, StoreError> {
        self.0.discard_held(id)
    }

    pub fn keep_keys(&mut self, issuer: &str, keys: &str, at: Time) -> Result<(), StoreError> {
        self.0.keep_keys(issuer, keys, at)
    }

    pub fn sign(&mut self, review: &Review) -> Result<(), StoreError> {
        self.0.sign(review)
    }
}

pub struct RunLock;

impl RunLock {
    pub fn acquire(
        at: &(impl At + ?Sized),
        what: &str,
        time: Time,
    ) -> Result<store::RunLock, LockError> {
        store::open(&at.at()).lock(what, time)
    }
}

//! The store in a database.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connect::DatabaseAddress;
use super::lead::PgLead;
use super::lock::{Led, PgLock};
use super::pool::Pool;
use super::reader::{PgReader, opened};
use super::schema::{self, Found, STEPS};
use super::session::{Session, SessionError};
use super::transaction::{Anyones, Mine, Writing};
use super::watch::PgWatch;
use super::wire::{IMPATIENCE, PATIENCE};
use crate::model::{Followed, PostgresConfig, SessionEnd, Time};
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::db::Conn;
use crate::store::sql::{self, Fault, KnownLists, SqlTransaction};
use crate::store::{
    Lead, LeadError, Leader, LockError, Password, Reader, Review, RunLock, StandbyFault, Store,
    StoreLeader, Transaction, Turn, Watch,
};

/// A store in a schema of a PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pub(super) place: Arc<DatabaseAddress>,
    pub(super) pool: Arc<Pool>,
    pub(super) lists: Arc<KnownLists>,
    /// The lock, while this process has it: by it is known what may still be written.
    pub(super) led: Arc<Mutex<Option<Arc<Led>>>>,
}

impl PostgresStore {
    /// The store that `config` names. Touches nothing.
    #[must_use]
    pub fn new(config: PostgresConfig, password: Option<Password>) -> Self {
        Self::with_patience(config, password, PATIENCE)
    }

    pub(super) fn with_patience(
        config: PostgresConfig,
        password: Option<Password>,
        patience: Duration,
    ) -> Self {
        PostgresStore {
            place: Arc::new(DatabaseAddress { config, password, patience }),
            pool: Arc::default(),
            lists: Arc::default(),
            led: Arc::default(),
        }
    }

    /// The standby from which it is read rather.
    pub(super) fn standby(&self) -> Option<PostgresStore> {
        let config = self.place.config.read.as_ref()?;
        let password = self.place.password.clone();
        Some(PostgresStore::with_patience((**config).clone(), password, IMPATIENCE))
    }

    /// `fault` of this store.
    pub(super) fn told(&self, fault: impl Into<Fault>) -> StoreError {
        fault.into().store(&self.place.config)
    }

    /// A session.
    pub(super) fn session(&self) -> Result<Session, SessionError> {
        Pool::take(&self.pool, &self.place)
    }

    /// The store for reading. `None`: there is none yet.
    pub(super) fn opened(&self) -> Result<Option<PgReader>, StoreError> {
        let reader = opened(&self.place, &self.pool, &self.lists)?;
        Ok(self.is_there(reader.session())?.then_some(reader))
    }

    /// Whether the store is there, as it is read by this program. `session` is one with its server.
    pub(super) fn is_there(&self, session: &Session) -> Result<bool, StoreError> {
        let known = schema::last(STEPS);
        let found = schema::identify(session, &self.place, known);
        match found.map_err(|fault| self.told(fault))? {
            Found::Nothing => Ok(false),
            Found::Ours(version) if version < known => Err(StoreError::new(
                StoreErrorKind::Older,
                format!(
                    "the store `{}` has schema version {version}, this idpsyncd reads {known}: run \
                     `idpsyncd sync` once, which migrates it",
                    self.place.config
                ),
            )),
            Found::Ours(_) => Ok(true),
        }
    }

    /// Writes something that is no part of a generation, in a store that is there. No plan depends on it, so
    /// anybody may at any time, whoever has the lock of a run.
    pub(super) fn aside<T>(
        &self,
        work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let reader = self.opened()?.ok_or_else(|| StoreError::absent(self.shown()))?;
        let writing = Writing::begin(self, reader.session(), None);
        let writing = writing.map_err(|fault| self.told(fault))?;
        writing.finish(work).map_err(|fault| self.told(fault))
    }

    /// The lock of a run as it is held by this process.
    pub(super) fn led(&self) -> Option<Arc<Led>> {
        self.led.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for PostgresStore {
    fn shown(&self) -> String {
        self.place.config.to_string()
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let session = self.session().map_err(|error| self.told(error))?;
        schema::migrate(&session, &self.place, STEPS).map_err(|fault| self.told(fault))?;
        if let Some(led) = self.led() {
            led.begin_term(&session, &self.place).map_err(|fault| self.told(fault))?;
        }
        Ok(())
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader>>, StoreError> {
        Ok(self.opened()?.map(|reader| Box::new(reader) as Box<dyn Reader>))
    }

    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError> {
        PgLock::acquire(self, what, at).map(RunLock::new)
    }

    fn lead(&self, me: &Leader) -> Result<Arc<dyn Lead>, LeadError> {
        Ok(Arc::new(PgLead::take(self, me)?))
    }

    fn leader(&self) -> Result<StoreLeader, StoreError> {
        super::lead::leader(self)
    }

    fn begin(&self, turn: Turn) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(match turn {
            Turn::Anyones => Box::new(SqlTransaction::over(Anyones::begin(self)?)),
            Turn::Mine => Box::new(SqlTransaction::over(Mine::begin(self)?)),
        })
    }

    fn discard_held(&self, id: &str) -> Result<bool, StoreError> {
        self.aside(|conn| sql::discard_held(conn, id))
    }

    fn keep_keys(&self, issuer: &str, keys: &str, at: Time) -> Result<(), StoreError> {
        self.aside(|conn| sql::keep_keys(conn, issuer, keys, at))
    }

    fn keep_followed(&self, source: &str, followed: &Followed) -> Result<(), StoreError> {
        self.aside(|conn| sql::keep_followed(conn, source, followed))
    }

    fn end_sessions(&self, ended: &[SessionEnd], forget: i64) -> Result<(), StoreError> {
        self.aside(|conn| sql::end_sessions(conn, ended, forget))
    }

    fn sign(&self, review: &Review) -> Result<(), StoreError> {
        self.aside(|conn| sql::sign(conn, review))
    }

    fn let_read(&self, role: &str, tokens: bool) -> Result<(), StoreError> {
        super::rights::grant(self, role, tokens)
    }

    fn standby_fault(&self) -> Result<Option<StandbyFault>, StoreError> {
        super::watch::standby_fault(self)
    }

    fn watch(&self) -> Box<dyn Watch> {
        Box::new(PgWatch::new(self.clone()))
    }
}

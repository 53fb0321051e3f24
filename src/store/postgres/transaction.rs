//! Changing the store: with whatever others write meanwhile, or with the writer's place taken.
//!
//! Whoever writes changes the one row of `meta` first: so one writes at a time, and each finds out there
//! whether the lock under which it works is still its own. By the token that it puts there a transaction
//! whose commit was not answered is found again.

use std::sync::Arc;

use super::lock::{Led, mark_write};
use super::reader::PgReader;
use super::session::{Session, SessionError};
use super::store::PostgresStore;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::db::{Conn, OptionalExtension, params};
use crate::store::sql::{Changing, Fault, Reads};
use crate::store::{Reader, Store};

/// Takes the writer's place: its token, the term of whoever leads, the generation.
const TAKE: &str = "UPDATE meta SET commits = commits + 1, token = CAST(gen_random_uuid() AS text) \
                    RETURNING token, term, generation";

/// A transaction that writes.
pub(super) struct Writing<'s> {
    store: &'s PostgresStore,
    session: &'s Session,
    token: String,
    generation: i64,
    /// The lock of a run under which it writes.
    led: Option<Arc<Led>>,
}

impl<'s> Writing<'s> {
    /// Begins one in `session`, and waits for whoever writes. `led`: the lock of a run under which it writes.
    pub(super) fn begin(
        store: &'s PostgresStore,
        session: &'s Session,
        led: Option<Arc<Led>>,
    ) -> Result<Self, Fault> {
        session.begin("ISOLATION LEVEL READ COMMITTED")?;
        match Self::take(store, session, led) {
            Ok(writing) => Ok(writing),
            Err(fault) => {
                session.rollback();
                Err(fault)
            }
        }
    }

    fn take(
        store: &'s PostgresStore,
        session: &'s Session,
        led: Option<Arc<Led>>,
    ) -> Result<Self, Fault> {
        if led.is_some() {
            mark_write(session, &store.place.config.schema)?;
        }
        let (token, term, generation): (String, i64, i64) =
            Conn::Postgres(session)
                .query_row(TAKE, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        // Nobody can raise it any more before this has ended.
        if led.as_ref().is_some_and(|led| !led.still(term)) {
            return Err(another_has_led(store));
        }
        Ok(Writing { store, session, token, generation, led })
    }

    /// Does `work` and commits, or takes everything back.
    pub(super) fn finish<T>(
        self,
        work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let conn = Conn::Postgres(self.session);
        let done = work(conn).and_then(|done| {
            conn.execute(
                "UPDATE generation SET token = ?1 WHERE num = \
                 (SELECT generation FROM meta WHERE generation > ?2)",
                params![self.token, self.generation],
            )?;
            let channel = channel(&self.store.place.config.schema);
            conn.query_row("SELECT pg_notify(?1, '') IS NULL", [channel], |row| {
                row.get::<_, bool>(0)
            })?;
            Ok(done)
        });
        let done = match done {
            Ok(done) => done,
            Err(fault) => {
                self.session.rollback();
                return Err(self.lost().unwrap_or(fault));
            }
        };
        match self.session.commit() {
            Ok(()) => Ok(done),
            Err(error) if error.is_cut() => self.looked_up(done, error),
            Err(error) => Err(error.into()),
        }
    }

    /// The commit was not answered: whether it came through is looked up.
    fn looked_up<T>(&self, done: T, error: SessionError) -> Result<T, Fault> {
        tracing::warn!(%error, "the commit was not answered: looking up whether it came through");
        let unknown = |why: &dyn std::fmt::Display| {
            let shown = self.store.shown();
            Fault::Store(StoreError::new(
                StoreErrorKind::Other,
                format!(
                    "the commit to the store `{shown}` was not answered, and whether it came through \
                     cannot be looked up: {why}; it is there in whole or not at all, `idpsyncd status` \
                     tells its generation"
                ),
            ))
        };
        match self.came_through() {
            Ok(true) => Ok(done),
            Ok(false) => Err(self.lost().unwrap_or_else(|| error.into())),
            Err(why) => Err(unknown(&why.store(&self.store.place.config))),
        }
    }

    /// Why the server has taken it back, where whoever has led since saw to that.
    fn lost(&self) -> Option<Fault> {
        let led = self.led.as_ref().filter(|_| self.session.is_gone())?;
        let session = self.store.session().ok()?;
        let term =
            Conn::Postgres(&session).query_row("SELECT term FROM meta", [], |row| row.get(0));
        (!led.still(term.ok()?)).then(|| another_has_led(self.store))
    }

    /// Whether the token is there. Whoever asks waits until the transaction has ended at the server.
    fn came_through(&self) -> Result<bool, Fault> {
        let end = std::time::Instant::now() + super::session::PATIENCE;
        let session = loop {
            match self.store.session() {
                Ok(session) => break session,
                Err(error) if std::time::Instant::now() >= end => return Err(error.into()),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(500)),
            }
        };
        session.begin("ISOLATION LEVEL READ COMMITTED")?;
        let conn = Conn::Postgres(&session);
        // The lock of the row is had when whoever changed it has ended.
        let found = conn
            .query_row("SELECT token FROM meta FOR UPDATE", [], |row| row.get::<_, String>(0))
            .map(|token| token == self.token);
        let found = found.and_then(|found| {
            let earlier = "SELECT 1 FROM generation WHERE token = ?1 AND num > ?2";
            let params = params![self.token, self.generation];
            let row = conn.query_row(earlier, params, |row| row.get::<_, i64>(0));
            Ok(found || row.optional()?.is_some())
        });
        session.rollback();
        Ok(found?)
    }
}

fn another_has_led(store: &PostgresStore) -> Fault {
    let shown = store.shown();
    Fault::Store(StoreError::new(
        StoreErrorKind::Busy,
        format!(
            "another idpsyncd has led the store `{shown}` since, or this one leads no more: nothing was written"
        ),
    ))
}

/// The channel on which commits to a schema are told.
pub(super) fn channel(schema: &str) -> String {
    // A channel's name is cut like any other.
    format!("idpsyncd_{schema}").chars().take(60).collect()
}

/// A change that keeps nobody waiting while it is planned. It is written on the version that it was
/// planned from, or not at all.
pub(super) struct Anyones<'s> {
    store: &'s PostgresStore,
    reader: PgReader,
    /// The store's version when this began.
    version: i64,
}

impl<'s> Anyones<'s> {
    pub(super) fn begin(store: &'s PostgresStore) -> Result<Self, StoreError> {
        let Some(reader) = store.opened()? else {
            return Err(StoreError::absent(store.shown()));
        };
        let version = reader.meta()?.version;
        Ok(Anyones { store, reader, version })
    }
}

impl Changing for Anyones<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    /// In a session of its own: the reader may have been cut meanwhile.
    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let session = self.store.session()?;
        Writing::begin(self.store, &session, self.store.led())?.finish(work)
    }

    fn shown(&self) -> String {
        self.store.shown()
    }

    fn has_moved(&self) -> bool {
        self.reader.meta().is_ok_and(|meta| meta.version != self.version)
    }
}

/// A change that nobody can be faster than: the writer's place is taken before anything is read.
pub(super) struct Mine<'s> {
    store: &'s PostgresStore,
    /// Inside the transaction.
    reader: PgReader,
    /// What [`Writing`] knows of it; `None`: it is over.
    token: Option<(String, i64, Option<Arc<Led>>)>,
}

impl<'s> Mine<'s> {
    pub(super) fn begin(store: &'s PostgresStore) -> Result<Self, StoreError> {
        let Some(reader) = store.opened()? else {
            return Err(StoreError::absent(store.shown()));
        };
        let begun = Writing::begin(store, reader.session(), store.led());
        let Writing { token, generation, led, .. } = begun.map_err(|fault| reader.fault(fault))?;
        Ok(Mine { store, reader, token: Some((token, generation, led)) })
    }
}

impl Changing for Mine<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let session = self.reader.session();
        let (token, generation, led) = match self.token.take() {
            Some(taken) if session.is_in_transaction() => taken,
            // It is over already: what was planned from is not held still any more.
            _ => return Err(Fault::Raced),
        };
        Writing { store: self.store, session, token, generation, led }.finish(work)
    }

    fn shown(&self) -> String {
        self.store.shown()
    }

    /// Nobody else can.
    fn has_moved(&self) -> bool {
        false
    }
}

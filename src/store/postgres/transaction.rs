//! Changing the store: with whatever others write meanwhile, or with the writer's place taken.
//!
//! Whoever writes changes the one row of `meta` first: so one writes at a time, and each finds out there
//! whether the lock under which it works is still its own. By the token that it puts there a transaction
//! whose commit was not answered is found again; where others have written since, by the server's own word
//! about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::lock::{Led, mark_write};
use super::reader::PgReader;
use super::session::{Session, SessionError};
use super::store::PostgresStore;
use super::wire::BRIEF;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::db::{Conn, OptionalExtension, params};
use crate::store::sql::{Changing, Fault, Reads};
use crate::store::{Reader, Store};

/// Takes the writer's place: the token, the term of whoever leads, the generation and the count of commits;
/// by what the server knows the transaction, and on which of its timelines.
const TAKE: &str = "UPDATE meta SET commits = commits + 1, token = CAST(gen_random_uuid() AS text) \
                    RETURNING token, term, generation, commits, \
                       CAST(CAST(pg_catalog.pg_current_xact_id() AS text) AS bigint), \
                       substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)";

/// How long after its commit was sent a transaction is looked for.
const LOOKED_FOR: Duration = Duration::from_secs(30);

/// By what a transaction is found again.
struct Traces {
    token: String,
    /// The generation before it.
    generation: i64,
    /// Which commit it is.
    commits: i64,
    transaction: i64,
    timeline: String,
}

/// What became of a transaction.
enum Outcome {
    CameThrough,
    TakenBack,
    /// Nobody can tell, and why.
    Unknown(&'static str),
}

/// A transaction that writes.
pub(super) struct Writing<'s> {
    store: &'s PostgresStore,
    session: &'s Session,
    traces: Traces,
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
        let (term, traces) = Conn::Postgres(session).query_row(TAKE, [], |row| {
            let traces = Traces {
                token: row.get(0)?,
                generation: row.get(2)?,
                commits: row.get(3)?,
                transaction: row.get(4)?,
                timeline: row.get(5)?,
            };
            Ok((row.get::<_, i64>(1)?, traces))
        })?;
        // Nobody can raise it any more before this has ended.
        if led.as_ref().is_some_and(|led| !led.still(term, session.server())) {
            return Err(another_has_led(store));
        }
        Ok(Writing { store, session, traces, led })
    }

    /// Does `work` and commits, or takes everything back.
    pub(super) fn finish<T>(
        self,
        work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let conn = Conn::Postgres(self.session);
        let done = work(conn).and_then(|done| {
            let marked = conn.execute(
                "UPDATE generation SET token = ?1 WHERE num = \
                 (SELECT generation FROM meta WHERE generation > ?2)",
                params![self.traces.token, self.traces.generation],
            )?;
            let channel = channel(&self.store.place.config.schema);
            conn.query_row("SELECT pg_notify(?1, '') IS NULL", [channel], |row| {
                row.get::<_, bool>(0)
            })?;
            Ok((done, marked > 0))
        });
        let (done, made) = match done {
            Ok(done) => done,
            Err(fault) => {
                self.session.rollback();
                return Err(self.lost().unwrap_or(fault));
            }
        };
        let sent = Instant::now();
        match self.session.commit() {
            Ok(()) => Ok(done),
            Err(SessionError::Unanswered(error)) => self.looked_up(done, made, *error, sent),
            Err(error) => Err(error.into()),
        }
    }

    /// The commit was not answered: whether it came through is looked up.
    fn looked_up<T>(
        &self,
        done: T,
        made: bool,
        error: SessionError,
        sent: Instant,
    ) -> Result<T, Fault> {
        tracing::warn!(%error, "the commit was not answered: looking up whether it came through");
        let outcome = loop {
            let why = match self.outcome(made) {
                Ok(outcome) => break outcome,
                Err(Fault::Sql(why)) => why.to_string(),
                Err(why) => why.store(&self.store.place.config).message,
            };
            if sent.elapsed().saturating_add(BRIEF) >= LOOKED_FOR {
                return Err(self.unknown(&why));
            }
            std::thread::sleep(AGAIN);
        };
        match outcome {
            Outcome::CameThrough => Ok(done),
            Outcome::TakenBack => Err(self.lost().unwrap_or_else(|| error.into())),
            Outcome::Unknown(why) => Err(self.unknown(&why)),
        }
    }

    /// Why the server has taken it back, where whoever has led since saw to that.
    fn lost(&self) -> Option<Fault> {
        let led = self.led.as_ref().filter(|_| self.session.is_gone())?;
        let session = self.store.session().ok()?;
        let term =
            Conn::Postgres(&session).query_row("SELECT term FROM meta", [], |row| row.get(0));
        (!led.still(term.ok()?, session.server())).then(|| another_has_led(self.store))
    }

    fn unknown(&self, why: &dyn std::fmt::Display) -> Fault {
        let shown = self.store.shown();
        Fault::Store(StoreError::new(
            StoreErrorKind::Other,
            format!(
                "the commit to the store `{shown}` was not answered, and whether it came through \
                 cannot be looked up: {why}; it is there in whole or not at all, `idpsyncd status` \
                 tells its generation"
            ),
        ))
    }

    /// What became of it. `made`: it made a generation. Whoever asks waits until the transaction has ended
    /// at the server.
    fn outcome(&self, made: bool) -> Result<Outcome, Fault> {
        let session = self.store.session()?;
        session.begin("ISOLATION LEVEL READ COMMITTED")?;
        let found = self.found(Conn::Postgres(&session), made);
        session.rollback();
        found
    }

    fn found(&self, conn: Conn<'_>, made: bool) -> Result<Outcome, Fault> {
        let Traces { token, generation, commits, transaction, timeline } = &self.traces;
        // The lock of the row is had when whoever changed it has ended.
        let now = "SELECT token, commits, \
                   substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) \
                   FROM meta FOR UPDATE";
        let (last, count, current): (Option<String>, i64, String) =
            conn.query_row(now, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let own = "SELECT 1 FROM generation WHERE token = ?1 AND num > ?2";
        let own = conn.query_row(own, params![token, generation], |row| row.get::<_, i64>(0));
        if last.as_ref() == Some(token) || own.optional()?.is_some() {
            return Ok(Outcome::CameThrough);
        }
        // What it made stays; and with it the count is at least its own.
        if made || count < *commits {
            return Ok(Outcome::TakenBack);
        }
        if current != *timeline {
            return Ok(Outcome::Unknown(
                "another server leads since, and others have written there",
            ));
        }
        let status = "SELECT pg_catalog.pg_xact_status(CAST(CAST(?1 AS bigint) AS text)::xid8)";
        let status: Option<String> = conn.query_row(status, [*transaction], |row| row.get(0))?;
        Ok(match status.as_deref() {
            Some("committed") => Outcome::CameThrough,
            Some("aborted") => Outcome::TakenBack,
            _ => Outcome::Unknown("the server does not know that transaction any more"),
        })
    }
}

fn another_has_led(store: &PostgresStore) -> Fault {
    let shown = store.shown();
    Fault::Store(StoreError::new(
        StoreErrorKind::Busy,
        format!(
            "another idpsyncd has led the store `{shown}` since, this one leads no more, or its server was \
             started anew: nothing was written"
        ),
    ))
}

/// How long until it is asked again what became of a transaction.
const AGAIN: Duration = Duration::from_millis(500);

/// The channel on which commits to a schema are told. PostgreSQL takes no name of more than 63 bytes.
pub(super) fn channel(schema: &str) -> String {
    let plain = format!("idpsyncd_{schema}");
    if plain.len() <= 63 {
        return plain;
    }
    let digest = Sha256::digest(schema.as_bytes());
    let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("idpsyncd_{}", hex.collect::<String>())
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

    /// In a session of its own: the reader may have been cut meanwhile. By another server, or one that was
    /// started anew, nothing is written on what was read here: a standby that leads since may never have had
    /// it, and counts its versions on from before.
    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let session = self.store.session()?;
        if session.server() != self.reader.session().server() {
            return Err(Fault::Raced);
        }
        Writing::begin(self.store, &session, self.store.led())?.finish(work)
    }

    fn shown(&self) -> String {
        self.store.shown()
    }

    fn has_moved(&self) -> bool {
        // Where nobody answers any more it is not waited for.
        let version = self.reader.session().brief("SELECT version FROM meta");
        matches!(version, Ok(Some(version)) if version != self.version.to_string())
    }
}

/// A change that nobody can be faster than: the writer's place is taken before anything is read.
pub(super) struct Mine<'s> {
    store: &'s PostgresStore,
    /// Inside the transaction.
    reader: PgReader,
    /// What [`Writing`] knows of it; `None`: it is over.
    traces: Option<(Traces, Option<Arc<Led>>)>,
}

impl<'s> Mine<'s> {
    pub(super) fn begin(store: &'s PostgresStore) -> Result<Self, StoreError> {
        let Some(reader) = store.opened()? else {
            return Err(StoreError::absent(store.shown()));
        };
        let begun = Writing::begin(store, reader.session(), store.led());
        let Writing { traces, led, .. } = begun.map_err(|fault| reader.fault(fault))?;
        Ok(Mine { store, reader, traces: Some((traces, led)) })
    }
}

impl Changing for Mine<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let session = self.reader.session();
        let (traces, led) = match self.traces.take() {
            Some(taken) if session.is_in_transaction() => taken,
            // It is over already: what was planned from is not held still any more.
            _ => return Err(Fault::Raced),
        };
        Writing { store: self.store, session, traces, led }.finish(work)
    }

    fn shown(&self) -> String {
        self.store.shown()
    }

    /// Nobody else can.
    fn has_moved(&self) -> bool {
        false
    }
}

//! Who writes and who leads, on all hosts: advisory locks of sessions, and a number that whoever takes the
//! lock of a run raises.
//!
//! The server lets go of a lock when its session ends, however it ends. Whoever has lost the lock of a run
//! without noticing writes nothing more: the term in `meta` is another one once somebody else has taken it,
//! and each transaction that writes looks at it while it has the row. What a process that is frozen holds open
//! is ended by whoever takes the lock next: by [`WRITES`] it is known.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connect::DatabaseAddress;
use super::schema::{self, Found, STEPS};
use super::session::Session;
use super::store::PostgresStore;
use super::wire::PATIENCE;
use crate::model::{Time, rfc3339};
use crate::store::error::{LockError, StoreErrorKind};
use crate::store::sql::Fault;
use crate::store::sql::db::{Conn, OptionalExtension, params};

/// The first half of the key of the lock of a run, `idps`; the other is the schema's name.
pub(super) const RUN: i64 = 1_768_190_067;

/// That of the lock of whoever leads. (The number between is a migration's.)
pub(super) const LEAD: i64 = RUN + 2;

/// That of what transactions share which write under the lock of a run.
const WRITES: i64 = RUN + 3;

/// A transaction in which nothing was asked for so long is a frozen process's.
const FROZEN: Duration = Duration::from_secs(2);

/// How long whoever has the lock waits for the row of `meta` to begin its term.
const ROW: Duration = Duration::from_secs(15);

/// How long the server is told for that a lock is let go of: it finds out by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// A session that more than one thread asks, in turn.
pub(super) type SharedSession = Arc<Mutex<Session>>;

pub(super) fn turn(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock of a run that this process has, or had.
pub(super) struct Led {
    /// Whose session has it.
    session: SharedSession,
    /// Since when the server runs that gave it.
    server: String,
    /// What its statements begin with.
    note: String,
    /// Under which number it writes; `None`: there was no store yet.
    term: Mutex<Option<i64>>,
    /// The last term of the same session: nobody else has had the lock while it is still the store's.
    before: Option<i64>,
    /// Whoever has it leads no more, and knows.
    revoked: AtomicBool,
}

impl std::fmt::Debug for Led {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Led({:?})", self.term())
    }
}

impl Led {
    pub(super) fn term(&self) -> Option<i64> {
        *self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is at `term` may be written by whoever has this lock, or had it. Right for as long as
    /// nobody can raise the term: whoever asks has the row of `meta`. Whether the session is there still
    /// says less: it may be gone without anybody having led since, and may be gone without this process
    /// having noticed. `server`: which one tells the term. Another one, a standby that leads since, may have
    /// lost the number and give it once more.
    pub(super) fn still(&self, term: i64, server: &str) -> bool {
        self.term() == Some(term) && self.server == server && !self.revoked.load(Ordering::SeqCst)
    }

    /// Nothing more is written under it.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    /// Begins a term, unless one was begun: in a store that is there. `session` may wait for whoever writes;
    /// nothing else waits with it.
    pub(super) fn begin_term(
        &self,
        session: &Session,
        place: &DatabaseAddress,
    ) -> Result<(), Fault> {
        let there = schema::identify(session, place, schema::last(STEPS))?;
        if self.term().is_some() || there != Found::Ours(schema::last(STEPS)) {
            return Ok(());
        }
        let sql = "SELECT term FROM meta";
        let now: i64 = Conn::Postgres(session).query_row(sql, [], |row| row.get(0))?;
        let begun = if self.before == Some(now) { now } else { raise(session, place)? };
        let mut term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two threads that began one the later has the greater.
        *term = (*term).max(Some(begun));
        Ok(())
    }
}

/// Raises the term. Whoever writes is waited for, unless it is frozen.
fn raise(session: &Session, place: &DatabaseAddress) -> Result<i64, Fault> {
    let end = Instant::now() + ROW;
    loop {
        end_frozen_writes(session, &place.config.schema);
        session.begin("ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s'")?;
        let sql = "UPDATE meta SET term = term + 1 RETURNING term";
        match Conn::Postgres(session).query_row(sql, [], |row| row.get(0)) {
            Ok(term) => {
                session.commit()?;
                return Ok(term);
            }
            Err(error) => {
                session.rollback();
                let error = Fault::from(error).store(&place.config);
                if error.kind != StoreErrorKind::Busy || Instant::now() >= end {
                    return Err(Fault::Store(error));
                }
            }
        }
    }
}

/// Marks the transaction of `session` as one that writes under the lock of a run.
pub(super) fn mark_write(session: &Session, schema: &str) -> Result<(), Fault> {
    let sql = "SELECT pg_advisory_xact_lock_shared(CAST(?1 AS int), hashtext(?2)) IS NULL";
    Conn::Postgres(session).query_row(sql, params![WRITES, schema], |row| row.get::<_, bool>(0))?;
    Ok(())
}

/// Ends what those hold open who had the lock before and are frozen: they would keep the writer's place until
/// they wake. What they write under a lock that is another's now would be refused anyway.
fn end_frozen_writes(session: &Session, schema: &str) {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT count(pg_terminate_backend(h.pid, ?3)) FROM (SELECT DISTINCT a.pid {HOLDERS} \
           AND a.state LIKE 'idle in transaction%' \
           AND a.state_change < clock_timestamp() - CAST(?4 AS bigint) * interval '1 millisecond') h"
    );
    let (most, frozen) = (millis(PATIENCE), millis(FROZEN));
    let params = params![WRITES, schema, most, frozen];
    let ended = Conn::Postgres(session).query_row(&sql, params, |row| row.get::<_, i64>(0));
    match ended {
        Ok(0) => {}
        Ok(ended) => tracing::warn!(
            ended,
            "another idpsyncd is frozen in the middle of writing: the server has taken back what it wrote"
        ),
        // The server ends it in a while (`idle_in_transaction_session_timeout`).
        Err(error) => tracing::warn!(
            %error,
            "whether another idpsyncd is frozen in the middle of writing cannot be seen: it may keep this one waiting"
        ),
    }
}

/// Who holds the lock ?1 of the schema ?2.
pub(super) const HOLDERS: &str = "FROM pg_catalog.pg_locks l \
     JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.datid = l.database \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
       AND a.datname = current_database() AND CAST(l.classid AS bigint) = ?1 \
       AND CAST(CAST(l.objid AS bigint) AS text) = \
           CAST((CAST(hashtext(?2) AS bigint) & 4294967295) AS text)";

/// Has the server leave the session in peace however long nothing is asked. `most`: or end it after so long,
/// in PostgreSQL's words. Whether the server can do that.
pub(super) fn may_idle(session: &Session, most: &str) -> Result<bool, Fault> {
    let sql = "SELECT set_config(name, ?1, false) IS NOT NULL FROM pg_catalog.pg_settings \
               WHERE name = 'idle_session_timeout'";
    let known = Conn::Postgres(session).query_row(sql, [most], |row| row.get::<_, bool>(0));
    Ok(known.optional()?.is_some())
}

/// The lock of a run, until it is dropped.
pub(super) struct PgLock {
    led: Arc<Led>,
    slot: Arc<Mutex<Option<Arc<Led>>>>,
    schema: String,
}

impl PgLock {
    /// By which it is written.
    pub(super) fn led(&self) -> &Arc<Led> {
        &self.led
    }

    /// Takes the lock without waiting. `what` is the command, and `at` the time now: what the next one is
    /// told.
    pub(super) fn acquire(
        store: &PostgresStore,
        what: &str,
        at: Time,
    ) -> Result<PgLock, LockError> {
        let told = |fault: Fault| LockError::Store(store.told(fault));
        let session = store.place.connect(None, None).map_err(|error| told(error.into()))?;
        session.kept_apart(&store.place).map_err(|error| told(error.into()))?;
        may_idle(&session, "0").map_err(told)?;
        PgLock::in_session(store, &Arc::new(Mutex::new(session)), ("", None), (what, at))
    }

    /// Takes it in a session that there is, whose statements begin with `note` and which had it last in the term
    /// `before`.
    pub(super) fn in_session(
        store: &PostgresStore,
        session: &SharedSession,
        (note, before): (&str, Option<i64>),
        (what, at): (&str, Time),
    ) -> Result<PgLock, LockError> {
        let told = |fault: Fault| LockError::Store(store.told(fault));
        let shown = || store.place.config.to_string();
        // Whoever asks twice in one session would have it twice. And what this process is about to write under a
        // lock that it has lost must not be taken for what is written under this one.
        if let Some(led) = store.led() {
            let lost = turn(&led.session).is_gone();
            let holder = match lost {
                true => "this process, whose run has lost the lock and is ending".to_owned(),
                false => holder(store).map_err(told)?,
            };
            return Err(LockError::Held { store: shown(), holder });
        }
        let who = format!("process {}, `{what}`, since {}", std::process::id(), rfc3339(at));
        let schema = store.place.config.schema.clone();
        let sql = format!(
            "{note}SELECT set_config('application_name', ?3, false) IS NOT NULL \
                AND pg_try_advisory_lock(CAST(?1 AS int), hashtext(?2))"
        );
        let got: bool = Conn::Postgres(&turn(session))
            .query_row(&sql, params![RUN, schema, who], |row| row.get(0))
            .map_err(|error| told(error.into()))?;
        if !got {
            let holder = holder(store).map_err(told)?;
            return Err(LockError::Held { store: shown(), holder });
        }
        let server = turn(session).server().to_owned();
        let (session, note) = (Arc::clone(session), note.to_owned());
        let (term, revoked) = (Mutex::new(None), AtomicBool::new(false));
        let led = Arc::new(Led { session, server, note, term, before, revoked });
        // From here on it is let go of, whatever happens.
        let lock = PgLock { led, slot: Arc::clone(&store.led), schema };
        let other = store.session().map_err(|error| told(error.into()))?;
        lock.led.begin_term(&other, &store.place).map_err(told)?;
        *store.led.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&lock.led));
        Ok(lock)
    }
}

/// Who has the lock of a run, in words.
fn holder(store: &PostgresStore) -> Result<String, Fault> {
    let session = store.session()?;
    let found = Conn::Postgres(&session)
        .query_row(
            &format!("SELECT a.application_name, host(a.client_addr) {HOLDERS} LIMIT 1"),
            params![RUN, store.place.config.schema],
            |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?)),
        )
        .optional()?;
    let (name, from) = found.unwrap_or_default();
    let name = name.filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "a process that has just started".to_owned());
    Ok(match from {
        Some(from) => format!("{name}, from {from}"),
        None => name,
    })
}

impl Drop for PgLock {
    fn drop(&mut self) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be a later one's by now.
        if slot.as_ref().is_some_and(|led| Arc::ptr_eq(led, &self.led)) {
            *slot = None;
        }
        drop(slot);
        // So that the next one need not wait until the server has noticed that the session has ended.
        let schema = self.schema.replace('\'', "''");
        let note = &self.led.note;
        let sql = format!("{note}SELECT pg_advisory_unlock({RUN}, hashtext('{schema}'))");
        let unlocked = turn(&self.led.session).batch_within(&sql, FAREWELL);
        if let Err(error) = unlocked {
            tracing::debug!(%error, "the store's lock ends with its session");
        }
    }
}

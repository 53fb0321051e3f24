//! One run at a time, on all hosts: a session's advisory lock, and a number that whoever takes it raises.
//!
//! The server lets go of the lock when the session ends, however it ends. Whoever has lost it so without
//! noticing writes nothing more: the term in `meta` is another one once somebody else has taken the lock,
//! and each transaction that writes looks at it.

use std::sync::{Arc, Mutex, PoisonError};

use super::connect::DatabaseAddress;
use super::schema::{self, Found, STEPS};
use super::session::Session;
use super::store::PostgresStore;
use crate::model::{Time, rfc3339};
use crate::store::error::LockError;
use crate::store::sql::Fault;
use crate::store::sql::db::{Conn, OptionalExtension, params};

/// The first half of the lock's key, `idps`; the other is the schema's name.
const KEY: i64 = 1_768_190_067;

/// The lock of this process.
pub(super) struct Led {
    /// Whose session has it.
    session: Session,
    /// Under which number it writes; `None`: there was no store yet.
    term: Option<i64>,
}

impl std::fmt::Debug for Led {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Led({:?})", self.term)
    }
}

impl Led {
    /// Whether what is at `term` may be written by whoever has this lock, or had it.
    pub(super) fn still(&self, term: i64) -> bool {
        !self.session.is_gone() && self.term == Some(term)
    }

    /// Begins a term, unless one was begun: in a store that is there.
    pub(super) fn begin_term(
        &mut self,
        session: &Session,
        place: &DatabaseAddress,
    ) -> Result<(), Fault> {
        let there = schema::identify(session, place, schema::last(STEPS))?;
        if self.term.is_none() && there == Found::Ours(schema::last(STEPS)) {
            let sql = "UPDATE meta SET term = term + 1 RETURNING term";
            self.term = Some(Conn::Postgres(session).query_row(sql, [], |row| row.get(0))?);
        }
        Ok(())
    }
}

/// The lock, until it is dropped.
pub(super) struct PgLock(Arc<Mutex<Option<Led>>>);

impl PgLock {
    /// Takes the lock without waiting. `what` is the command, and `at` the time now: what the next one is
    /// told.
    pub(super) fn acquire(
        store: &PostgresStore,
        what: &str,
        at: Time,
    ) -> Result<PgLock, LockError> {
        let told = |fault: Fault| LockError::Store(store.told(fault));
        let held = |holder: String| LockError::Held { store: shown(store), holder };
        // Whoever asks twice is one session, which would have it twice.
        if let Some(led) = &*store.led()
            && !led.session.is_gone()
        {
            return Err(held(holder(&led.session, store).map_err(told)?));
        }
        let session = store.place.connect(None, None).map_err(|error| told(error.into()))?;
        let who = format!("process {}, `{what}`, since {}", std::process::id(), rfc3339(at));
        let conn = Conn::Postgres(&session);
        let got: bool = conn
            .query_row(
                "SELECT set_config('application_name', ?3, false) IS NOT NULL \
                    AND pg_try_advisory_lock(CAST(?1 AS int), hashtext(?2))",
                params![KEY, store.place.config.schema, who],
                |row| row.get(0),
            )
            .map_err(|error| told(error.into()))?;
        if !got {
            return Err(held(holder(&session, store).map_err(told)?));
        }
        let mut led = Led { session, term: None };
        let other = store.session().map_err(|error| told(error.into()))?;
        led.begin_term(&other, &store.place).map_err(told)?;
        *store.led() = Some(led);
        Ok(PgLock(Arc::clone(&store.led)))
    }
}

fn shown(store: &PostgresStore) -> String {
    store.place.config.to_string()
}

/// Who has the lock, in words.
fn holder(session: &Session, store: &PostgresStore) -> Result<String, Fault> {
    let found: Option<Option<String>> = Conn::Postgres(session)
        .query_row(
            "SELECT a.application_name FROM pg_catalog.pg_locks l \
             JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
               AND CAST(l.classid AS bigint) = ?1 \
               AND CAST(CAST(l.objid AS bigint) AS text) = \
                   CAST((CAST(hashtext(?2) AS bigint) & 4294967295) AS text) LIMIT 1",
            params![KEY, store.place.config.schema],
            |row| row.get(0),
        )
        .optional()?;
    let holder = found.flatten().filter(|name| !name.is_empty());
    Ok(holder.unwrap_or_else(|| "a process that has just started".to_owned()))
}

impl Drop for PgLock {
    fn drop(&mut self) {
        let led = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Led { session, .. }) = led {
            // So that the next one need not wait until the server has noticed that the session has ended.
            drop(session.batch("SELECT pg_advisory_unlock_all()"));
        }
    }
}

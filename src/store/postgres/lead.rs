//! Who leads: a session of its own that has a lock for as long as it lives.
//!
//! The server ends that session when nothing was asked in it for [`LEASE`], by its own clock: a process that
//! is frozen, and one that nobody reaches any more, lose the lead so. Every statement in it begins with a remark
//! that says who leads; that is what the others read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::lock::{HOLDERS, LEAD, Led, PgLock, SharedSession, may_idle, turn};
use super::session::SessionError;
use super::store::PostgresStore;
use crate::model::Time;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::leading::{Lead, LeadError, Leader, StoreLeader};
use crate::store::sql::Fault;
use crate::store::sql::db::{Conn, OptionalExtension, params};
use crate::store::{LockError, RunLock};

/// How long whoever leads may show no life: a few times [`crate::store::BEAT`].
const LEASE: Duration = Duration::from_secs(6);

/// What the remark begins and ends with.
const BEFORE: &str = "/* idpsyncd leads: ";
const AFTER: &str = " */ ";

/// How whoever leads does so no more.
#[derive(Debug, thiserror::Error)]
enum NoLife {
    #[error("the server has not answered for {} s", LEASE.as_secs())]
    Silent,
    #[error("its session has ended: {0}")]
    Ended(SessionError),
}

/// The lead.
pub(super) struct PgLead {
    store: PostgresStore,
    session: SharedSession,
    note: String,
    /// When it was last certain to lead.
    certain: Mutex<Instant>,
    resigned: AtomicBool,
    /// The last lock of a run that was had by it.
    run: Mutex<Option<Arc<Led>>>,
}

impl std::fmt::Debug for PgLead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PgLead({})", self.note)
    }
}

/// Whether somebody leads; who, where this role may see that.
fn led(store: &PostgresStore) -> Result<Option<Option<Leader>>, Fault> {
    let session = store.session()?;
    let found: Option<Option<String>> = Conn::Postgres(&session)
        .query_row(
            &format!("SELECT a.query {HOLDERS} LIMIT 1"),
            params![LEAD, store.place.config.schema],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.map(|said| said.as_deref().and_then(read)))
}

/// Who leads, by what its session said last.
fn read(said: &str) -> Option<Leader> {
    said.split_once(BEFORE)?.1.split_once(AFTER)?.0.parse().ok()
}

/// Who leads.
pub(super) fn leader(store: &PostgresStore) -> Result<StoreLeader, StoreError> {
    let found = led(store).map_err(|fault| store.told(fault))?;
    Ok(found.map_or(StoreLeader::Nobody, StoreLeader::by))
}

impl PgLead {
    /// Takes the lead, if nobody has it.
    pub(super) fn take(store: &PostgresStore, me: &Leader) -> Result<Self, LeadError> {
        // A session is not opened each time that somebody asks in vain.
        if let Some(by) = led(store).map_err(|fault| store.told(fault))? {
            return Err(LeadError::Led { by });
        }
        let told = |fault: Fault| LeadError::Store(store.told(fault));
        let session = store.place.connect(None, None).map_err(|error| told(error.into()))?;
        session.kept_apart(&store.place).map_err(|error| told(error.into()))?;
        let most = LEASE.as_millis().to_string();
        if !may_idle(&session, &most).map_err(told)? {
            let why = "several daemons on one store need PostgreSQL 14 or later: this server does not know \
                       `idle_session_timeout`";
            return Err(StoreError::new(StoreErrorKind::Other, why).into());
        }
        let note = format!("{BEFORE}{me}{AFTER}");
        let sql = format!("{note}SELECT pg_try_advisory_lock(CAST(?1 AS int), hashtext(?2))");
        let got: bool = Conn::Postgres(&session)
            .query_row(&sql, params![LEAD, store.place.config.schema], |row| row.get(0))
            .map_err(|error| told(error.into()))?;
        if !got {
            let by = led(store).map_err(|fault| store.told(fault))?.flatten();
            return Err(LeadError::Led { by });
        }
        Ok(PgLead {
            store: store.clone(),
            session: Arc::new(Mutex::new(session)),
            note,
            certain: Mutex::new(Instant::now()),
            resigned: AtomicBool::new(false),
            run: Mutex::new(None),
        })
    }

    fn run(&self) -> MutexGuard<'_, Option<Arc<Led>>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows life.
    fn shows_life(&self) -> Result<(), NoLife> {
        let asked = Instant::now();
        let mut certain = self.certain.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match self.session.try_lock() {
            Ok(session) => session,
            Err(TryLockError::Poisoned(session)) => session.into_inner(),
            // Somebody takes the lock of a run in it just now: that shows life as well.
            Err(TryLockError::WouldBlock) if certain.elapsed() < LEASE => return Ok(()),
            Err(TryLockError::WouldBlock) => {
                return Err(NoLife::Silent);
            }
        };
        let done = session.batch_within(&format!("{}SELECT 1", self.note), LEASE);
        done.map_err(NoLife::Ended)?;
        *certain = asked;
        Ok(())
    }

    /// `how` it leads no more.
    fn over(&self, how: impl std::fmt::Display) -> StoreError {
        let shown = &self.store.place.config;
        StoreError::new(
            StoreErrorKind::Busy,
            format!("this idpsyncd leads the store `{shown}` no more: {how}"),
        )
    }
}

impl Lead for PgLead {
    fn beat(&self) -> Result<(), StoreError> {
        if self.resigned.load(Ordering::SeqCst) {
            return Err(self.over("it has resigned"));
        }
        self.shows_life().map_err(|how| {
            // What is under way must not be written by somebody who knows that it leads no more.
            if let Some(led) = &*self.run() {
                led.revoke();
            }
            self.over(how)
        })
    }

    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError> {
        if self.resigned.load(Ordering::SeqCst) {
            return Err(self.over("it has resigned").into());
        }
        if turn(&self.session).is_gone() {
            return Err(self.over("its session has ended").into());
        }
        let before = self.run().as_ref().and_then(|led| led.term());
        let beside = (self.note.as_str(), before);
        let lock = PgLock::in_session(&self.store, &self.session, beside, (what, at))?;
        *self.run() = Some(Arc::clone(lock.led()));
        Ok(RunLock::new(lock))
    }

    fn resign(&self) {
        if self.resigned.swap(true, Ordering::SeqCst) {
            return;
        }
        let schema = self.store.place.config.schema.replace('\'', "''");
        let sql = format!("{}SELECT pg_advisory_unlock({LEAD}, hashtext('{schema}'))", self.note);
        // Where it is not answered, the session's end lets go of it.
        if let Err(error) = turn(&self.session).batch_within(&sql, LEASE) {
            tracing::debug!(%error, "the lead ends with its session");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_is_read_from_what_its_session_said_last() {
        let since = crate::model::parse_rfc3339("2026-03-01T10:00:00Z").unwrap();
        let leader = Leader::new("db1", 7, since);
        for (said, who) in [
            (format!("{BEFORE}{leader}{AFTER}SELECT 1"), Some(leader.clone())),
            (format!("{BEFORE}{leader}{AFTER}SELECT f('/*', '*/ ')"), Some(leader)),
            ("SELECT 1".to_owned(), None),
            ("<insufficient privilege>".to_owned(), None),
            (format!("{BEFORE}nobody{AFTER}SELECT 1"), None),
            (String::new(), None),
        ] {
            assert_eq!(read(&said), who, "{said}");
        }
    }
}

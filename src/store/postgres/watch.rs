//! Following the store: the server tells of a commit (`LISTEN`), and now and then it is asked, in case a
//! word was lost.

use std::time::{Duration, Instant};

use super::connect::identifier;
use super::reader::PgReader;
use super::session::{Session, SessionError};
use super::store::PostgresStore;
use super::transaction::channel;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::db::Conn;
use crate::store::sql::{Fault, Reads};
use crate::store::{Reader, Seen, Store, Waker, Watch};

/// How often the store is asked.
const POLL: Duration = Duration::from_secs(2);

/// How long it is left alone after a fault, at first and at most.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// What tells whether there is something new: which store, and how often it was written.
type Mark = (String, i64);

/// Follows a store.
pub(super) struct PgWatch {
    store: PostgresStore,
    waker: Waker,
    /// The session that hears of commits.
    listening: Option<Session>,
    /// How the last look went; `None`: there was none yet.
    last: Option<Last>,
    /// The store that was seen last.
    seen: Option<String>,
    pace: Duration,
}

enum Last {
    Well(Mark),
    /// It brought nothing, and is not worth trying again before this.
    Unwell(Instant),
}

fn mark(conn: Conn<'_>) -> Result<Mark, Fault> {
    let sql = "SELECT store_id, commits FROM meta";
    Ok(conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// The same, asked now and then: it takes no work, so a server that does not answer soon hangs.
fn marked(session: &Session) -> Result<Option<Mark>, SessionError> {
    let told = session.brief("SELECT commits || ' ' || store_id FROM meta")?;
    Ok(told.and_then(|told| {
        let (commits, store) = told.split_once(' ')?;
        Some((store.to_owned(), commits.parse().ok()?))
    }))
}

impl PgWatch {
    pub(super) fn new(store: PostgresStore) -> Self {
        PgWatch {
            store,
            waker: Waker::default(),
            listening: None,
            last: None,
            seen: None,
            pace: BACKOFF,
        }
    }

    /// Whether there may be something new since the last look.
    fn moved(&self) -> bool {
        match (&self.last, &self.listening) {
            (None, _) => true,
            (Some(Last::Unwell(until)), _) => Instant::now() >= *until,
            (Some(Last::Well(was)), Some(session)) => {
                !matches!(marked(session), Ok(Some(now)) if now == *was)
            }
            (Some(Last::Well(_)), None) => true,
        }
    }

    fn attempt(
        &mut self,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<Mark, StoreError> {
        if self.listening.as_ref().is_none_or(Session::is_gone) {
            // Heard from before the look on: what is committed during it is told.
            let waker = self.waker.clone();
            let begun = self.store.place.connect(None, Some(waker)).and_then(|session| {
                let channel = channel(&self.store.place.config.schema);
                session.batch(&format!("LISTEN {}", identifier(&channel)))?;
                Ok(session)
            });
            self.listening = Some(begun.map_err(|error| self.store.told(error))?);
        }
        let absent = || {
            let text = format!("there is no store `{}` yet: run a sync", self.store.shown());
            StoreError::new(StoreErrorKind::Absent, text)
        };
        let reader = self.store.opened()?.ok_or_else(absent)?;
        self.shown(&reader, work)
    }

    fn shown(
        &self,
        reader: &PgReader,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<Mark, StoreError> {
        let mut found = None;
        let mut failed = None;
        reader.on_one_state(&mut |conn| {
            let mark = mark(conn)?;
            let another = self.seen.as_ref() != Some(&mark.0);
            match work(reader, Seen { another }) {
                Ok(()) => found = Some(mark),
                Err(error) => failed = Some(error),
            }
            Ok(())
        })?;
        match (found, failed) {
            (Some(mark), None) => Ok(mark),
            (_, Some(error)) => Err(error),
            (None, None) => Err(reader.fault(Fault::Raced)),
        }
    }
}

impl Watch for PgWatch {
    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn wait(&mut self, most: Duration) -> bool {
        // `None`: for ever.
        let end = Instant::now().checked_add(most);
        let left = || end.map(|end| end.saturating_duration_since(Instant::now()));
        while let Some(last) = &self.last {
            let poll = match last {
                Last::Well(_) => POLL,
                Last::Unwell(until) => until.saturating_duration_since(Instant::now()),
            };
            let pause = left().map_or(poll, |left| left.min(poll));
            if self.waker.wait(pause) || self.moved() {
                return true;
            }
            if left().is_some_and(|left| left.is_zero()) {
                return false;
            }
        }
        true
    }

    fn look(
        &mut self,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.attempt(work) {
            Ok(mark) => {
                self.seen = Some(mark.0.clone());
                self.last = Some(Last::Well(mark));
                self.pace = BACKOFF;
                Ok(())
            }
            Err(error) => {
                if error.kind == StoreErrorKind::Absent {
                    self.pace = BACKOFF;
                }
                self.last = Some(Last::Unwell(Instant::now() + self.pace));
                self.pace = self.pace.saturating_mul(2).min(BACKOFF_MAX);
                Err(error)
            }
        }
    }
}

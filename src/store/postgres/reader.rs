//! Reading: one snapshot a question, or one for several.

use std::sync::Arc;

use super::connect::DatabaseAddress;
use super::pool::Pool;
use super::session::Session;
use crate::store::StoreError;
use crate::store::sql::db::Conn;
use crate::store::sql::{Fault, KnownLists, Reads};

/// How a reader sees one committed state, and can write nothing.
pub(super) const SNAPSHOT: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A store opened for reading.
pub(super) struct PgReader {
    place: Arc<DatabaseAddress>,
    session: Session,
    lists: Arc<KnownLists>,
}

impl PgReader {
    pub(super) fn over(
        place: &Arc<DatabaseAddress>,
        lists: &Arc<KnownLists>,
        session: Session,
    ) -> Self {
        PgReader { place: Arc::clone(place), session, lists: Arc::clone(lists) }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl Reads for PgReader {
    fn on_one_state(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        let session = &self.session;
        let conn = Conn::Postgres(session);
        let told = |fault: Fault| self.fault(fault);
        if session.is_in_transaction() {
            return work(conn).map_err(told);
        }
        session.begin(SNAPSHOT).map_err(|error| told(error.into()))?;
        let done = work(conn).map_err(told);
        // Nothing was written: to take it back is as good as to commit it.
        session.rollback();
        done
    }

    fn fault(&self, fault: Fault) -> StoreError {
        fault.store(&self.place.config)
    }

    fn known_lists(&self) -> Option<&KnownLists> {
        Some(&self.lists)
    }
}

impl Drop for PgReader {
    fn drop(&mut self) {
        self.session.rollback();
    }
}

/// Opens sessions, or takes those that are kept.
pub(super) fn opened(
    place: &Arc<DatabaseAddress>,
    pool: &Arc<Pool>,
    lists: &Arc<KnownLists>,
) -> Result<PgReader, StoreError> {
    let session = Pool::take(pool, place).map_err(|error| error.store(&place.config))?;
    Ok(PgReader::over(place, lists, session))
}

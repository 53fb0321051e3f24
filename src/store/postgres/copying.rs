//! A whole store into or out of the database (`crate::store::copy`): rows of any number of columns, by one
//! `COPY` a table.

use std::pin::Pin;

use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::rows::{Chunk, put};
use super::session::{Session, SessionError};
use super::store::PostgresStore;
use super::transaction::Writing;
use crate::store::Store as _;
use crate::store::error::StoreError;
use crate::store::sql::db::{Conn, Datum, DbResult};
use crate::store::sql::{Fault, on_one_state};

/// While one store is copied, its transaction waits for the other's.
const AT_LENGTH: &str = "SET LOCAL idle_in_transaction_session_timeout = '12h'";

impl PostgresStore {
    /// Whether both are the same, as far as their names tell.
    pub(in crate::store) fn is_at(&self, other: &PostgresStore) -> bool {
        self.place.config == other.place.config
    }

    /// Does `work` in one committed state. `false`: there is no store.
    pub(in crate::store) fn read_tables(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<bool, StoreError> {
        on_one_state(self.opened()?, work)
    }

    /// Does `work` with the writer's place taken, so that nobody else writes, and takes it back.
    pub(in crate::store) fn hold_tables(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        let reader = self.opened()?.ok_or_else(|| StoreError::absent(self.shown()))?;
        let session = reader.session();
        Writing::begin(self, session, None).map_err(|fault| self.told(fault))?;
        let done = session.batch(AT_LENGTH).map_err(Fault::from);
        // Dropped, the reader takes the transaction back.
        done.and_then(|()| work(Conn::Postgres(session))).map_err(|fault| self.told(fault))
    }

    /// Does `work`, which fills the store with what another one holds, and commits.
    pub(in crate::store) fn fill_tables(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        self.aside(|conn| {
            // Whoever has seen it empty sees another store.
            let anew = "UPDATE meta SET store_id = CAST(gen_random_uuid() AS text)";
            if let Conn::Postgres(session) = conn {
                session.batch(AT_LENGTH)?;
            }
            conn.execute(anew, [])?;
            work(conn)
        })
    }
}

/// So many bytes are sent at a time.
const PIECE: usize = 1 << 18;

/// Rows on their way into a table. Dropped before [`PgCopy::finish`] none of them comes.
pub(in crate::store) struct PgCopy<'s> {
    session: &'s Session,
    sink: Pin<Box<CopyInSink<Chunk>>>,
    lines: Vec<u8>,
}

impl<'s> PgCopy<'s> {
    /// Begins. `into` is `table (column, …)`. Nothing else is asked of the session meanwhile.
    pub(in crate::store) fn begin(session: &'s Session, into: &str) -> Result<Self, SessionError> {
        let sink = session.copy_in(into)?;
        Ok(PgCopy { session, sink: Box::pin(sink), lines: Vec::with_capacity(PIECE) })
    }

    /// Takes one row.
    pub(in crate::store) fn add<'d>(
        &mut self,
        row: impl Iterator<Item = Datum<'d>>,
    ) -> DbResult<()> {
        for (place, value) in row.enumerate() {
            if place > 0 {
                self.lines.push(b'\t');
            }
            put(&mut self.lines, value);
        }
        self.lines.push(b'\n');
        if self.lines.len() >= PIECE {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), SessionError> {
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(PIECE));
        self.session.wait(self.sink.send(std::io::Cursor::new(lines)))
    }

    /// All rows are in the table when this returns.
    pub(in crate::store) fn finish(mut self) -> Result<(), SessionError> {
        if !self.lines.is_empty() {
            self.send()?;
        }
        self.session.wait(self.sink.as_mut().finish())?;
        Ok(())
    }
}

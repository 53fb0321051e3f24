//! A transaction, by statements that are kept: to prepare one costs more than to find a row.

use rusqlite::Connection;

/// A transaction that has begun. Dropping it takes back what was not committed.
pub(super) struct Begun<'c>(&'c Connection);

impl<'c> Begun<'c> {
    /// One that reads.
    pub(super) fn reading(conn: &'c Connection) -> rusqlite::Result<Self> {
        Begun::by(conn, "BEGIN")
    }

    /// One that writes: another writer is met here, not in the middle.
    pub(super) fn writing(conn: &'c Connection) -> rusqlite::Result<Self> {
        Begun::by(conn, "BEGIN IMMEDIATE")
    }

    fn by(conn: &'c Connection, statement: &str) -> rusqlite::Result<Self> {
        run(conn, statement).map(|()| Begun(conn))
    }

    /// Commits what was written.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        run(self.0, "COMMIT")
    }

    /// Ends it, without what was written.
    pub(super) fn end(self) -> rusqlite::Result<()> {
        self.roll_back()
    }

    fn roll_back(&self) -> rusqlite::Result<()> {
        // Some errors have ended it already.
        if self.0.is_autocommit() { Ok(()) } else { run(self.0, "ROLLBACK") }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        // Where it cannot be ended the connection is not kept, and what closes that ends it.
        if let Err(error) = self.roll_back() {
            tracing::debug!(%error, "a transaction of the store was not ended");
        }
    }
}

fn run(conn: &Connection, statement: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(statement)?.execute([]).map(drop)
}

//! Rows that are inserted many at a time.
//!
//! To run a statement costs SQLite about as much as to write a row of a few numbers. So rows wait
//! until there are [`MANY`] of them and go as one `INSERT … VALUES (…), (…), …`; what is left in
//! the end goes row by row.
//!
//! A row that waits is in no table yet: whatever changes, removes or looks for rows of the same
//! table must call [`Batch::flush`] first, and [`Batch::finish`] comes last.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::db::{Conn, Datum, Param, params_from_iter};
use super::error::Fault;
use crate::model::UserId;

/// So many rows a statement. Past about this many nothing is gained; a statement of so many rows
/// with a dozen columns is well below SQLite's limit of parameters.
const MANY: usize = 32;

/// So many rows at once go to PostgreSQL, by one `COPY` with those that follow: they are put into words while
/// they are at hand.
const MANY_COPIED: usize = 2_000;

/// One value of a row.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::store) enum Cell<'v> {
    Null,
    Int(i64),
    Text(&'v str),
    Owned(String),
    Bytes(Vec<u8>),
}

impl Param for Cell<'_> {
    fn datum(&self) -> Datum<'_> {
        match self {
            Cell::Null => Datum::Null,
            Cell::Int(number) => Datum::Int(*number),
            Cell::Text(text) => Datum::Text(text.as_bytes()),
            Cell::Owned(text) => Datum::Text(text.as_bytes()),
            Cell::Bytes(bytes) => Datum::Bytes(bytes),
        }
    }
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Cell::Int(number)
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        Cell::Int(i64::from(number))
    }
}

impl From<UserId> for Cell<'_> {
    fn from(user: UserId) -> Self {
        user.get().into()
    }
}

impl From<bool> for Cell<'_> {
    fn from(yes: bool) -> Self {
        Cell::Int(i64::from(yes))
    }
}

impl<'v> From<&'v str> for Cell<'v> {
    fn from(text: &'v str) -> Self {
        Cell::Text(text)
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Cell::Owned(text)
    }
}

impl<'v> From<Cow<'v, str>> for Cell<'v> {
    fn from(text: Cow<'v, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Cell::Text(text),
            Cow::Owned(text) => Cell::Owned(text),
        }
    }
}

impl From<Vec<u8>> for Cell<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Cell::Bytes(bytes)
    }
}

impl<'v, T: Into<Cell<'v>>> From<Option<T>> for Cell<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

/// Rows of `N` columns on their way into one table.
pub(in crate::store) struct Batch<'c, 'v, const N: usize> {
    conn: Conn<'c>,
    /// `table (column, …)`.
    into: &'static str,
    rows: Vec<[Cell<'v>; N]>,
    many: Option<rusqlite::Statement<'c>>,
    /// What of the last rows of `many` was NULL.
    nulls: Vec<bool>,
}

impl<'c, 'v, const N: usize> Batch<'c, 'v, N> {
    /// `into` is the table with its columns, `N` of them: `role_set_role (role_set, role)`.
    pub(super) fn new(conn: Conn<'c>, into: &'static str) -> Self {
        Batch { conn, into, rows: Vec::new(), many: None, nulls: Vec::new() }
    }

    /// Takes one row. It is in the table once it was flushed.
    pub(super) fn add(&mut self, row: [Cell<'v>; N]) -> Result<(), Fault> {
        self.rows.push(row);
        let conn = match self.conn {
            Conn::Sqlite(_) if self.rows.len() < MANY => return Ok(()),
            Conn::Sqlite(conn) => conn,
            Conn::Postgres(_) if self.rows.len() < MANY_COPIED => return Ok(()),
            Conn::Postgres(_) => return self.flush(),
        };
        let statement = match &mut self.many {
            Some(statement) => statement,
            None => self.many.insert(conn.prepare(&insert(self.into, N, MANY))?),
        };
        for (place, cell) in self.rows.iter().flatten().enumerate() {
            // What was bound last time stays bound, and most of what is NULL was NULL before.
            let null = *cell == Cell::Null;
            match self.nulls.get_mut(place) {
                Some(was) if null && *was => continue,
                Some(was) => *was = null,
                None => self.nulls.push(null),
            }
            statement.raw_bind_parameter(place.saturating_add(1), cell.datum())?;
        }
        statement.raw_execute()?;
        self.rows.clear();
        Ok(())
    }

    /// Puts every row that waits into the table.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        if self.rows.is_empty() {
            return Ok(());
        }
        if let Conn::Postgres(session) = self.conn {
            session.copy(self.into, self.rows.drain(..))?;
            return Ok(());
        }
        let mut statement = self.conn.prepare(&insert(self.into, N, 1))?;
        for row in self.rows.drain(..) {
            statement.execute(params_from_iter(&row))?;
        }
        Ok(())
    }

    /// Puts the last rows into the table.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        self.flush()
    }
}

/// The statement for so many rows.
fn insert(into: &str, columns: usize, rows: usize) -> String {
    // OR FAIL: a row that does not fit leaves those before it, where ABORT would keep a journal of
    // its own to take them back. The whole transaction goes back anyway.
    let mut sql = format!("INSERT OR FAIL INTO {into} VALUES ");
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            // Writing to a string cannot fail.
            let _ = write!(sql, "{}?", if column == 0 { "" } else { ", " });
        }
        sql.push(')');
    }
    sql
}

/// From so many rows on it is worth while to make an index anew.
const WORTH_WHILE: usize = 10_000;

/// Runs `work`, which is about to add `coming` rows to `table` in the present transaction. Where
/// they are at least as many as there are, the table's indexes are away meanwhile: to sort all
/// keys once is cheaper than to find the place of each, and readers see none of it.
pub(in crate::store) fn filling<T>(
    conn: Conn<'_>,
    table: &str,
    coming: usize,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    if coming < WORTH_WHILE || !is_worth_while(conn, table, coming)? {
        return work();
    }
    let (away, mut again): (Vec<_>, Vec<_>) = conn.indexes_of(table)?.into_iter().unzip();
    conn.batch_behind(&away.join("; "))?;
    let done = work()?;
    if let Conn::Postgres(_) = conn {
        // What is found by a key is found well enough by what a few rows tell.
        again.push("SET LOCAL default_statistics_target = 10".to_owned());
        again.push(format!("ANALYZE {table}"));
    }
    conn.batch_behind(&again.join("; "))?;
    Ok(done)
}

/// As [`filling`] where this is a store's first generation, of a table whose indexes SQLite does not mind.
pub(super) fn loading<T>(
    conn: Conn<'_>,
    first: bool,
    table: &str,
    coming: usize,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    match conn {
        Conn::Postgres(_) if first => filling(conn, table, coming, work),
        _ => work(),
    }
}

fn is_worth_while(conn: Conn<'_>, table: &str, coming: usize) -> Result<bool, Fault> {
    Ok(match conn {
        Conn::Sqlite(_) => {
            let count = format!("SELECT count(*) FROM {table}");
            let there: i64 = conn.query_row(&count, [], |row| row.get(0))?;
            usize::try_from(there).is_ok_and(|there| coming >= there)
        }
        // Whoever reads the table waits until the end: nobody does where nothing is in it.
        Conn::Postgres(_) => {
            let none = format!("SELECT NOT EXISTS (SELECT 1 FROM {table})");
            conn.query_row(&none, [], |row| row.get(0))?
        }
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn every_row_arrives_in_its_order_however_many_there_are() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (num INTEGER PRIMARY KEY, a, b)").unwrap();
        let mut total = 0i64;
        for count in [0, 1, MANY - 1, MANY, MANY + 1, 3 * MANY + 5] {
            let texts: Vec<String> = (0..count).map(|n| format!("row {n}")).collect();
            let mut batch = Batch::new(Conn::Sqlite(&conn), "t (a, b)");
            for text in &texts {
                batch.add([Cell::from(text.as_str()), Cell::from(None::<i64>)]).unwrap();
            }
            batch.finish().unwrap();
            total += i64::try_from(count).unwrap();
            let found: Vec<String> = conn
                .prepare("SELECT a FROM t WHERE b IS NULL ORDER BY num DESC LIMIT ?1")
                .unwrap()
                .query_map([i64::try_from(count).unwrap()], |row| row.get(0))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert!(found.iter().rev().eq(&texts), "{count}");
            let all: i64 = conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(all, total);
        }
    }

    #[test]
    fn a_table_that_is_filled_has_its_indexes_again_and_no_row_is_missing_in_them() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c TEXT);
             CREATE INDEX t_c ON t (c COLLATE NOCASE); CREATE INDEX t_some ON t (a) WHERE c > 'b'",
        )
        .unwrap();
        let schema = || -> Vec<String> {
            conn.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY 1")
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap()
        };
        let before = schema();
        let mut total = 0usize;
        // A big table that becomes a little bigger keeps them all the while.
        for (count, away) in [(3, false), (WORTH_WHILE, true), (WORTH_WHILE - 1, false)] {
            filling(Conn::Sqlite(&conn), "t", count, || {
                assert_eq!(schema().len() < before.len(), away, "{count}");
                let mut batch = Batch::new(Conn::Sqlite(&conn), "t (b, c)");
                for number in total..total + count {
                    batch.add([number.to_string().into(), format!("{}", number % 7).into()])?;
                }
                batch.finish()
            })
            .unwrap();
            total += count;
            assert_eq!(schema(), before);
            let whole: String =
                conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(whole, "ok");
        }
        // What fails on the way takes the transaction back, indexes and all.
        let mut conn = conn;
        let tx = conn.transaction().unwrap();
        let more = 10 * WORTH_WHILE;
        let failed =
            filling(Conn::Sqlite(&tx), "t", more, || -> Result<(), Fault> { Err(Fault::Raced) });
        assert!(failed.is_err());
        tx.rollback().unwrap();
        let after: i64 = conn
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name LIKE 't\\__%' ESCAPE '\\'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        assert_eq!(after, 2);
    }

    #[test]
    fn a_row_that_does_not_fit_is_an_error_alone_and_among_many() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY)").unwrap();
        for count in [2, MANY] {
            let mut batch = Batch::new(Conn::Sqlite(&conn), "t (a)");
            let done = (0..count).try_for_each(|_| batch.add([Cell::Int(7)]));
            assert!(done.and_then(|()| batch.finish()).is_err(), "{count}");
        }
    }
}

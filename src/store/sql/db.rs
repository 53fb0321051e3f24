//! What the statements of this room are run by: a connection to SQLite, or a session with PostgreSQL.
//!
//! The statements are written in SQLite's way; `postgres/dialect.rs` says in PostgreSQL's what it says
//! otherwise. Values are four: nothing, a number, a text, bytes. A truth is 0 or 1, a time the seconds since
//! 1970.

use std::borrow::Cow;

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::super::postgres::session::{PgRow, PgRows, PgStatement, Session, SessionError};

/// A connection, inside a transaction as a rule.
#[derive(Clone, Copy)]
pub(in crate::store) enum Conn<'c> {
    Sqlite(&'c rusqlite::Connection),
    Postgres(&'c Session),
}

impl<'c> From<&'c rusqlite::Connection> for Conn<'c> {
    fn from(conn: &'c rusqlite::Connection) -> Self {
        Conn::Sqlite(conn)
    }
}

/// What went wrong with a statement.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum DbError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Postgres(#[from] SessionError),
    #[error("a row is missing")]
    NoRow,
    #[error("column {0} holds something else")]
    Column(usize),
    #[error("column {0} holds {1}, which is out of range")]
    OutOfRange(usize, i64),
}

pub(in crate::store) type DbResult<T> = Result<T, DbError>;

/// A value of a column or a parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::store) enum Datum<'a> {
    Null,
    Int(i64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> Datum<'a> {
    pub(in crate::store) fn as_str(self) -> DbResult<&'a str> {
        match self {
            Datum::Text(text) => std::str::from_utf8(text).map_err(|_| DbError::Column(0)),
            _ => Err(DbError::Column(0)),
        }
    }

    pub(in crate::store) fn as_str_or_null(self) -> DbResult<Option<&'a str>> {
        match self {
            Datum::Null => Ok(None),
            text => text.as_str().map(Some),
        }
    }

    pub(in crate::store) fn as_blob(self) -> DbResult<&'a [u8]> {
        match self {
            Datum::Bytes(bytes) => Ok(bytes),
            _ => Err(DbError::Column(0)),
        }
    }
}

/// What can be a parameter.
pub(in crate::store) trait Param {
    fn datum(&self) -> Datum<'_>;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Param for $number {
            fn datum(&self) -> Datum<'_> {
                Datum::Int(i64::from(*self))
            }
        }
    )*};
}
numbers! { i64 u32 u16 u8 bool }

impl Param for str {
    fn datum(&self) -> Datum<'_> {
        Datum::Text(self.as_bytes())
    }
}

impl Param for String {
    fn datum(&self) -> Datum<'_> {
        self.as_str().datum()
    }
}

impl Param for Cow<'_, str> {
    fn datum(&self) -> Datum<'_> {
        (**self).datum()
    }
}

impl Param for [u8] {
    fn datum(&self) -> Datum<'_> {
        Datum::Bytes(self)
    }
}

impl<const N: usize> Param for [u8; N] {
    fn datum(&self) -> Datum<'_> {
        Datum::Bytes(self)
    }
}

impl Param for Vec<u8> {
    fn datum(&self) -> Datum<'_> {
        Datum::Bytes(self)
    }
}

impl<T: Param + ?Sized> Param for &T {
    fn datum(&self) -> Datum<'_> {
        (**self).datum()
    }
}

impl<T: Param> Param for Option<T> {
    fn datum(&self) -> Datum<'_> {
        self.as_ref().map_or(Datum::Null, Param::datum)
    }
}

/// A statement's parameters, in order.
pub(in crate::store) trait Params {
    fn each<'p>(&'p self, with: &mut dyn FnMut(Datum<'p>) -> DbResult<()>) -> DbResult<()>;
}

macro_rules! arrays {
    ($($length:literal)*) => {$(
        impl<T: Param> Params for [T; $length] {
            fn each<'p>(&'p self, with: &mut dyn FnMut(Datum<'p>) -> DbResult<()>) -> DbResult<()> {
                self.iter().try_for_each(|it| with(it.datum()))
            }
        }
    )*};
}
arrays! { 1 2 3 4 }

impl Params for &[&dyn Param] {
    fn each<'p>(&'p self, with: &mut dyn FnMut(Datum<'p>) -> DbResult<()>) -> DbResult<()> {
        self.iter().try_for_each(|it| with(it.datum()))
    }
}

/// No parameters at all.
impl Params for [(); 0] {
    fn each<'p>(&'p self, _with: &mut dyn FnMut(Datum<'p>) -> DbResult<()>) -> DbResult<()> {
        Ok(())
    }
}

/// As many parameters as an iterator gives.
pub(in crate::store) struct All<T>(pub(in crate::store) Vec<T>);

impl<T: Param> Params for All<T> {
    fn each<'p>(&'p self, with: &mut dyn FnMut(Datum<'p>) -> DbResult<()>) -> DbResult<()> {
        self.0.iter().try_for_each(|it| with(it.datum()))
    }
}

/// As many parameters as `values` has.
pub(in crate::store) fn params_from_iter<T: Param>(values: impl IntoIterator<Item = T>) -> All<T> {
    All(values.into_iter().collect())
}

/// Parameters of several types.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::store::sql::db::Param),*][..]
    };
}
pub(in crate::store) use params;

impl rusqlite::ToSql for Datum<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Datum::Null => ValueRef::Null,
            Datum::Int(number) => ValueRef::Integer(number),
            Datum::Text(text) => ValueRef::Text(text),
            Datum::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl<'c> Conn<'c> {
    /// A statement, which is kept for the next time: to prepare one costs more than to find a row.
    pub(in crate::store) fn prepare(self, sql: &str) -> DbResult<Statement<'c>> {
        Ok(match self {
            Conn::Sqlite(conn) => Statement::Sqlite(conn.prepare_cached(sql)?),
            Conn::Postgres(session) => Statement::Postgres(session.prepare(sql)),
        })
    }

    /// The version of the schema.
    pub(in crate::store) fn schema_version(self) -> DbResult<i64> {
        let sql = match self {
            Conn::Sqlite(_) => "PRAGMA user_version",
            Conn::Postgres(_) => "SELECT schema_version FROM meta",
        };
        self.query_row(sql, [], |row| row.get(0))
    }

    /// The indexes of a table that are better away while many rows come: what takes each away, and what makes it
    /// anew. On SQLite one of a `UNIQUE` or a `PRIMARY KEY` stays. On PostgreSQL one of some rows alone does: few of
    /// those that come are in it, and to make it anew the server looks at all of them. Not so where that may be
    /// everybody, who has an address or comes from a federation.
    pub(in crate::store) fn indexes_of(self, table: &str) -> DbResult<Vec<(String, String)>> {
        let sql = match self {
            Conn::Sqlite(_) => {
                "SELECT 'DROP INDEX ' || name, sql FROM sqlite_schema \
                 WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL"
            }
            Conn::Postgres(_) => {
                "SELECT CASE WHEN c.oid IS NULL THEN 'DROP INDEX ' || quote_ident(i.relname) \
                        ELSE 'ALTER TABLE ' || quote_ident(t.relname) || ' DROP CONSTRAINT ' || quote_ident(c.conname) END, \
                        CASE WHEN c.oid IS NULL THEN pg_catalog.pg_get_indexdef(i.oid) \
                        ELSE 'ALTER TABLE ' || quote_ident(t.relname) || ' ADD CONSTRAINT ' || quote_ident(c.conname) \
                             || ' ' || pg_catalog.pg_get_constraintdef(c.oid) END \
                   FROM pg_catalog.pg_class t \
                   JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace AND n.nspname = current_schema() \
                   JOIN pg_catalog.pg_index x ON x.indrelid = t.oid \
                   JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
                   LEFT JOIN pg_catalog.pg_constraint c ON c.conindid = i.oid AND c.contype IN ('p', 'u') \
                  WHERE t.relname = ?1 \
                    AND (x.indpred IS NULL OR i.relname IN ('mirror_user_email', 'mirror_user_federation')) \
                  ORDER BY i.relname"
            }
        };
        let mut statement = self.prepare(sql)?;
        statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    pub(in crate::store) fn execute(self, sql: &str, params: impl Params) -> DbResult<usize> {
        self.prepare(sql)?.execute(params)
    }

    /// Runs statements that have no parameters. PostgreSQL works at them while whoever asked for it goes on: whether
    /// they could be is told by what comes next.
    pub(in crate::store) fn batch_behind(self, sql: &str) -> DbResult<()> {
        match self {
            Conn::Sqlite(conn) => Ok(conn.execute_batch(sql)?),
            Conn::Postgres(session) => Ok(session.batch_behind(sql)?),
        }
    }

    /// Takes the next `count` numbers of a table whose rows are numbered by the store: the first of them. What
    /// is not used is never given to another row. `None`, on SQLite: a row is numbered as fast without.
    pub(in crate::store) fn numbers(self, table: &str, count: usize) -> DbResult<Option<i64>> {
        let Conn::Postgres(_) = self else { return Ok(None) };
        // The sequence goes on behind them, for whoever lets it number rows. Whoever writes is alone.
        let sql = "SELECT setval(s, nextval(s) + ?2 - 1) - ?2 + 1 \
                     FROM (SELECT CAST(pg_get_serial_sequence(?1, 'num') AS regclass) AS s) AS t";
        let count = i64::try_from(count).unwrap_or(i64::MAX).max(1);
        self.query_row(sql, params![table, count], |row| row.get(0)).map(Some)
    }

    /// What `read` makes of the first row; [`DbError::NoRow`] where there is none.
    pub(in crate::store) fn query_row<T>(
        self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> DbResult<T>,
    ) -> DbResult<T> {
        self.prepare(sql)?.query_row(params, read)
    }
}

/// A statement that can be run again and again.
pub(in crate::store) enum Statement<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
    Postgres(PgStatement<'c>),
}

/// Binds every parameter.
fn bind(statement: &mut rusqlite::Statement<'_>, params: &impl Params) -> DbResult<()> {
    let mut place = 0usize;
    params.each(&mut |datum| {
        place = place.saturating_add(1);
        Ok(statement.raw_bind_parameter(place, datum)?)
    })
}

impl Statement<'_> {
    /// How many rows it changed.
    pub(in crate::store) fn execute(&mut self, params: impl Params) -> DbResult<usize> {
        let sqlite = match self {
            Statement::Sqlite(statement) => &mut **statement,
            Statement::Postgres(statement) => return statement.execute(&params),
        };
        bind(sqlite, &params)?;
        Ok(sqlite.raw_execute()?)
    }

    pub(in crate::store) fn query(&mut self, params: impl Params) -> DbResult<Rows<'_>> {
        let sqlite = match self {
            Statement::Sqlite(statement) => &mut **statement,
            Statement::Postgres(statement) => {
                return Ok(Rows::Postgres(statement.query(&params)?, None));
            }
        };
        bind(sqlite, &params)?;
        Ok(Rows::Sqlite(sqlite.raw_query()))
    }

    /// What `read` makes of the first row; [`DbError::NoRow`] where there is none.
    pub(in crate::store) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> DbResult<T>,
    ) -> DbResult<T> {
        let mut rows = self.query(params)?;
        match rows.next()? {
            Some(row) => read(row),
            None => Err(DbError::NoRow),
        }
    }

    /// What `read` makes of each row.
    pub(in crate::store) fn query_map<T, F: FnMut(Row<'_>) -> DbResult<T>>(
        &mut self,
        params: impl Params,
        read: F,
    ) -> DbResult<Mapped<'_, F>> {
        Ok(Mapped { rows: self.query(params)?, read })
    }

    pub(in crate::store) fn exists(&mut self, params: impl Params) -> DbResult<bool> {
        Ok(self.query(params)?.next()?.is_some())
    }
}

/// The rows that a query finds.
pub(in crate::store) enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    Postgres(PgRows, Option<PgRow>),
}

impl Rows<'_> {
    pub(in crate::store) fn next(&mut self) -> DbResult<Option<Row<'_>>> {
        Ok(match self {
            Rows::Sqlite(rows) => rows.next()?.map(Row::Sqlite),
            Rows::Postgres(rows, now) => {
                *now = rows.next()?;
                now.as_ref().map(Row::Postgres)
            }
        })
    }
}

/// What is made of each row.
pub(in crate::store) struct Mapped<'s, F> {
    rows: Rows<'s>,
    read: F,
}

impl<T, F: FnMut(Row<'_>) -> DbResult<T>> Iterator for Mapped<'_, F> {
    type Item = DbResult<T>;

    fn next(&mut self) -> Option<DbResult<T>> {
        match self.rows.next() {
            Ok(row) => row.map(&mut self.read),
            Err(error) => Some(Err(error)),
        }
    }
}

/// A row, for as long as it is looked at.
#[derive(Clone, Copy)]
pub(in crate::store) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r PgRow),
}

/// A column's place in its row.
pub(in crate::store) trait Column {
    fn at(self) -> usize;
}

impl Column for usize {
    fn at(self) -> usize {
        self
    }
}

impl<'r> Row<'r> {
    /// The value in a column as it is there.
    pub(in crate::store) fn get_ref<I: Column>(self, column: I) -> DbResult<Datum<'r>> {
        let column = column.at();
        match self {
            Row::Sqlite(row) => Ok(match row.get_ref(column)? {
                ValueRef::Null => Datum::Null,
                ValueRef::Integer(number) => Datum::Int(number),
                ValueRef::Text(text) => Datum::Text(text),
                ValueRef::Blob(bytes) => Datum::Bytes(bytes),
                ValueRef::Real(_) => return Err(DbError::Column(column)),
            }),
            Row::Postgres(row) => Ok(row.datum(column)?),
        }
    }

    pub(in crate::store) fn get<I: Column, T: FromDatum>(self, column: I) -> DbResult<T> {
        let column = column.at();
        T::of(self.get_ref(column)?, column)
    }
}

/// What a column can be read as.
pub(in crate::store) trait FromDatum: Sized {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self>;
}

impl FromDatum for i64 {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self> {
        match datum {
            Datum::Int(number) => Ok(number),
            _ => Err(DbError::Column(column)),
        }
    }
}

impl FromDatum for u32 {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self> {
        let number = i64::of(datum, column)?;
        u32::try_from(number).map_err(|_| DbError::OutOfRange(column, number))
    }
}

impl FromDatum for bool {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self> {
        Ok(i64::of(datum, column)? != 0)
    }
}

impl FromDatum for String {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self> {
        datum.as_str().map(str::to_owned).map_err(|_| DbError::Column(column))
    }
}

impl FromDatum for Vec<u8> {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self> {
        datum.as_blob().map(<[u8]>::to_vec).map_err(|_| DbError::Column(column))
    }
}

impl<const N: usize> FromDatum for [u8; N] {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self> {
        let bytes = datum.as_blob().map_err(|_| DbError::Column(column))?;
        bytes.try_into().map_err(|_| DbError::Column(column))
    }
}

impl<T: FromDatum> FromDatum for Option<T> {
    fn of(datum: Datum<'_>, column: usize) -> DbResult<Self> {
        match datum {
            Datum::Null => Ok(None),
            some => T::of(some, column).map(Some),
        }
    }
}

/// `None` in the place of a row that is not there.
pub(in crate::store) trait OptionalExtension<T> {
    fn optional(self) -> DbResult<Option<T>>;
}

impl<T> OptionalExtension<T> for DbResult<T> {
    fn optional(self) -> DbResult<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(DbError::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

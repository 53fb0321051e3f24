//! Rows from one store's transaction into another's.
//!
//! What was sent is added up as it is read; what arrived is read again in the transaction that wrote it,
//! and added up too. The views are added up on both sides. Only where every sum is the same is it committed.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::tables::{META, Relation, TABLES, VIEWS};
use super::{CopiedRelation, CopyProgress};
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::postgres::PgCopy;
use crate::store::sql::db::{Conn, Datum, DbResult, Row, params_from_iter};
use crate::store::sql::{Cell, Fault, filling};

/// Progress is told after so many rows.
const OFTEN: u64 = 50_000;

/// The store that is copied.
pub(super) struct Sender<'s> {
    pub(super) conn: Conn<'s>,
    /// A fault of it, not of the other one.
    pub(super) told: &'s dyn Fn(Fault) -> StoreError,
}

impl Sender<'_> {
    fn or<T, E: Into<Fault>>(&self, done: Result<T, E>) -> Result<T, Fault> {
        done.map_err(|fault| Fault::Store((self.told)(fault.into())))
    }
}

/// What rows add up to, in whatever order they come: how many, and the sum of their SHA-256 as numbers of
/// 256 bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct RowsDigest {
    pub(super) rows: u64,
    sum: [u64; 4],
}

impl RowsDigest {
    /// Adds a row: each value with its kind and its length, so that no two rows read alike.
    fn add<'d>(&mut self, values: impl Iterator<Item = Datum<'d>>) {
        let mut hash = Sha256::new();
        for value in values {
            let (kind, number);
            let bytes: &[u8] = match value {
                Datum::Null => {
                    kind = 0u8;
                    &[]
                }
                Datum::Int(value) => {
                    kind = 1;
                    number = value.to_be_bytes();
                    &number
                }
                Datum::Text(text) => {
                    kind = 2;
                    text
                }
                Datum::Bytes(bytes) => {
                    kind = 3;
                    bytes
                }
            };
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let mut carry = false;
        for (part, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let more = bytes.try_into().map_or(0, u64::from_le_bytes);
            let (sum, over) = part.overflowing_add(more);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*part, carry) = (sum, over || again);
        }
        self.rows = self.rows.saturating_add(1);
    }
}

impl fmt::Display for RowsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sum.iter().rev().try_for_each(|part| write!(f, "{part:016x}"))
    }
}

/// What a store holds that is not empty.
pub(super) enum Content {
    /// This generation.
    Generation(i64),
    /// Rows in this table, and no generation.
    Rows(&'static str),
}

/// What the store holds; `None`: nothing.
pub(super) fn content(conn: Conn<'_>) -> Result<Option<Content>, Fault> {
    let generation = generation(conn)?;
    if generation > 0 {
        return Ok(Some(Content::Generation(generation)));
    }
    for table in TABLES {
        if conn.prepare(&format!("SELECT 1 FROM {} LIMIT 1", table.name))?.exists([])? {
            return Ok(Some(Content::Rows(table.name)));
        }
    }
    Ok(None)
}

fn generation(conn: Conn<'_>) -> DbResult<i64> {
    conn.query_row("SELECT generation FROM meta", [], |row| row.get(0))
}

/// The generation, and how many rows each table has.
pub(super) fn count(conn: Conn<'_>) -> Result<(i64, Vec<CopiedRelation>), Fault> {
    let each = TABLES.iter().map(|table| {
        let rows = rows_of(conn, table)?;
        Ok(CopiedRelation { name: table.name, rows, digest: String::new() })
    });
    Ok((generation(conn)?, each.collect::<DbResult<_>>()?))
}

fn rows_of(conn: Conn<'_>, table: &Relation) -> DbResult<u64> {
    let sql = format!("SELECT count(*) FROM {}", table.name);
    let rows: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
    Ok(u64::try_from(rows).unwrap_or_default())
}

/// A generation, the tables, the views.
pub(super) type All = (i64, Vec<CopiedRelation>, Vec<CopiedRelation>);

/// Copies every table from one store into the other's, and compares all tables and views.
pub(super) fn copy(
    from: &Sender<'_>,
    to: Conn<'_>,
    on: &dyn Fn(CopyProgress),
) -> Result<All, Fault> {
    let mut sent = vec![(META, fill_meta(from, to)?)];
    for table in TABLES {
        let coming = usize::try_from(from.or(rows_of(from.conn, table))?).unwrap_or(usize::MAX);
        let digest = filling(to, table.name, coming, || pour(from, to, table, on))?;
        sent.push((*table, digest));
    }
    if let Conn::Postgres(_) = to {
        go_on_counting(to)?;
    }
    let mut tables = Vec::new();
    for (table, sent) in sent {
        let arrived = digest(to, &table, on)?;
        tables.push(same(&table, sent, arrived)?);
    }
    let mut views = Vec::new();
    for view in VIEWS {
        let there = from.or(digest(from.conn, view, on))?;
        views.push(same(view, there, digest(to, view, on)?)?);
    }
    Ok((generation(to)?, tables, views))
}

/// What a relation holds, where that is the same at both ends.
fn same(relation: &Relation, there: RowsDigest, here: RowsDigest) -> Result<CopiedRelation, Fault> {
    if there != here {
        return Err(Fault::Store(StoreError::new(
            StoreErrorKind::Other,
            format!(
                "`{}` came out different: {} rows of digest {there} were sent, and {} of digest {here} are \
                 there; nothing was copied. This is a fault of idpsyncd or of a server: please report it",
                relation.name, there.rows, here.rows
            ),
        )));
    }
    Ok(CopiedRelation { name: relation.name, rows: there.rows, digest: there.to_string() })
}

fn values<'r>(row: Row<'r>, relation: &Relation) -> DbResult<Vec<Datum<'r>>> {
    (0..relation.columns.len()).map(|column| row.get_ref(column)).collect()
}

fn select(relation: &Relation) -> String {
    format!("SELECT {} FROM {}", relation.listed(), relation.name)
}

/// What a table or view holds.
pub(super) fn digest(
    conn: Conn<'_>,
    relation: &Relation,
    on: &dyn Fn(CopyProgress),
) -> Result<RowsDigest, Fault> {
    let mut digest = RowsDigest::default();
    let mut statement = conn.prepare(&select(relation))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        digest.add(values(row, relation)?.into_iter());
        tell(on, "compared", relation, digest.rows);
    }
    Ok(digest)
}

fn tell(on: &dyn Fn(CopyProgress), what: &'static str, relation: &Relation, rows: u64) {
    if rows.is_multiple_of(OFTEN) {
        on(CopyProgress { what, name: relation.name, rows });
    }
}

/// Copies the one row of `meta` into the one that is there.
fn fill_meta(from: &Sender<'_>, to: Conn<'_>) -> Result<RowsDigest, Fault> {
    let mut digest = RowsDigest::default();
    let cells: Vec<Cell<'static>> = from.or(from.conn.query_row(&select(&META), [], |row| {
        let values = values(row, &META)?;
        digest.add(values.iter().copied());
        values.into_iter().map(owned).collect()
    }))?;
    let set: Vec<String> =
        (1..).zip(META.columns).map(|(place, column)| format!("{column} = ?{place}")).collect();
    let sql = format!("UPDATE meta SET {}", set.join(", "));
    to.execute(&sql, params_from_iter(cells))?;
    Ok(digest)
}

fn owned(value: Datum<'_>) -> DbResult<Cell<'static>> {
    Ok(match value {
        Datum::Null => Cell::Null,
        Datum::Int(number) => Cell::Int(number),
        text @ Datum::Text(_) => Cell::Owned(text.as_str()?.to_owned()),
        Datum::Bytes(bytes) => Cell::Bytes(bytes.to_vec()),
    })
}

/// Copies a table's rows. What they add up to as they were read.
fn pour(
    from: &Sender<'_>,
    to: Conn<'_>,
    table: &Relation,
    on: &dyn Fn(CopyProgress),
) -> Result<RowsDigest, Fault> {
    let mut digest = RowsDigest::default();
    let mut into = Receiving::table(to, table)?;
    // In the order of the key: a file's rows come one behind the other, and go so.
    let mut statement = from.or(from.conn.prepare(&format!("{} ORDER BY 1", select(table))))?;
    let mut rows = from.or(statement.query([]))?;
    while let Some(row) = from.or(rows.next())? {
        let values = from.or(values(row, table))?;
        digest.add(values.iter().copied());
        into.add(&values)?;
        tell(on, "copied", table, digest.rows);
    }
    into.finish()?;
    Ok(digest)
}

/// A table that rows are put into.
enum Receiving<'c> {
    Sqlite(rusqlite::Statement<'c>),
    Postgres(PgCopy<'c>),
}

impl<'c> Receiving<'c> {
    fn table(conn: Conn<'c>, table: &Relation) -> Result<Self, Fault> {
        let into = format!("{} ({})", table.name, table.listed());
        Ok(match conn {
            Conn::Sqlite(conn) => {
                let places = vec!["?"; table.columns.len()].join(", ");
                let sql = format!("INSERT OR FAIL INTO {into} VALUES ({places})");
                Receiving::Sqlite(conn.prepare(&sql)?)
            }
            Conn::Postgres(session) => Receiving::Postgres(PgCopy::begin(session, &into)?),
        })
    }

    fn add(&mut self, values: &[Datum<'_>]) -> Result<(), Fault> {
        match self {
            Receiving::Sqlite(statement) => {
                for (place, value) in (1usize..).zip(values) {
                    statement.raw_bind_parameter(place, value)?;
                }
                statement.raw_execute()?;
            }
            Receiving::Postgres(copy) => copy.add(values.iter().copied())?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Fault> {
        match self {
            Receiving::Sqlite(_) => Ok(()),
            Receiving::Postgres(copy) => Ok(copy.finish()?),
        }
    }
}

/// PostgreSQL numbers new rows by sequences, which know nothing of rows that brought their numbers.
fn go_on_counting(conn: Conn<'_>) -> Result<(), Fault> {
    let sql = "SELECT CAST(table_name AS text), CAST(column_name AS text) \
                 FROM information_schema.columns \
                WHERE table_schema = current_schema() AND is_identity = 'YES'";
    let mut statement = conn.prepare(sql)?;
    let numbered = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let numbered: Vec<(String, String)> = numbered.collect::<DbResult<_>>()?;
    for (table, column) in numbered {
        let sql = format!(
            "SELECT count(setval(pg_get_serial_sequence(quote_ident(?1), ?2), last)) \
             FROM (SELECT max({column}) AS last FROM {table}) t WHERE last IS NOT NULL"
        );
        conn.query_row(&sql, [&table, &column], |row| row.get::<_, i64>(0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[&[Datum<'_>]]) -> RowsDigest {
        let mut digest = RowsDigest::default();
        rows.iter().for_each(|row| digest.add(row.iter().copied()));
        digest
    }

    #[test]
    fn rows_add_up_alike_in_any_order_and_otherwise_where_anything_differs() {
        use Datum::{Bytes, Int, Null, Text};
        let (a, b): (&[_], &[_]) = (&[Int(1), Text(b"ab"), Null], &[Int(2), Text(b""), Int(0)]);
        let both = digest(&[a, b]);
        assert_eq!(digest(&[b, a]), both);
        let others: [&[&[Datum<'_>]]; 8] = [
            &[a],
            &[a, a],
            &[a, b, b],
            &[&[Int(1), Text(b"ab"), Int(0)], b],
            &[&[Int(1), Bytes(b"ab"), Null], b],
            &[&[Int(1), Text(b"a"), Null], b],
            &[a, &[Int(2), Null, Int(0)]],
            &[&[Text(b"ab"), Int(1), Null], b],
        ];
        for other in others {
            assert_ne!(digest(other), both, "{other:?}");
        }
        // Where one ends and the next begins is part of it, and so is every bit of the sum.
        assert_ne!(digest(&[&[Text(b"ab"), Text(b"c")]]), digest(&[&[Text(b"a"), Text(b"bc")]]));
        let many: Vec<[Datum<'_>; 1]> = (0..1_000).map(|n| [Int(n)]).collect();
        let (mut there, mut back) = (RowsDigest::default(), RowsDigest::default());
        many.iter().for_each(|row| there.add(row.iter().copied()));
        many.iter().rev().for_each(|row| back.add(row.iter().copied()));
        assert_eq!((there, there.to_string().len()), (back, 64));
    }
}

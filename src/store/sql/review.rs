//! That somebody has looked at who holds what.

use crate::store::sql::db::{Conn, params};

use super::error::{Fault, StoreError};
use super::load::whole;
use super::reader::{Reads, time_at};
use crate::store::Review;

impl dyn Reads + '_ {
    /// All reviews, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn reviews(&self) -> Result<Vec<Review>, StoreError> {
        self.read_as(|conn| read(conn, None))
    }

    /// The last review of this name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn last_review(&self, name: &str) -> Result<Option<Review>, StoreError> {
        self.read_as(|conn| Ok(read(conn, Some(name))?.into_iter().next()))
    }
}

/// Records `review`.
pub(in crate::store) fn sign(conn: Conn<'_>, review: &Review) -> Result<(), Fault> {
    let Review { name, generation, by, account, at } = review;
    let generation = i64::try_from(*generation).unwrap_or(i64::MAX);
    conn.execute(
        "INSERT INTO review (name, generation, by, account, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![name, generation, by, account, at.timestamp()],
    )?;
    Ok(())
}

fn read(conn: Conn<'_>, name: Option<&str>) -> Result<Vec<Review>, Fault> {
    let mut statement = conn.prepare(
        "SELECT name, generation, by, account, at FROM review \
         WHERE CAST(?1 AS TEXT) IS NULL OR name = ?1 ORDER BY num DESC",
    )?;
    let mut rows = statement.query([name])?;
    let mut reviews = Vec::new();
    while let Some(row) = rows.next()? {
        reviews.push(Review {
            name: row.get(0)?,
            generation: whole(row, 1)?,
            by: row.get(2)?,
            account: row.get(3)?,
            at: time_at(row, 4)?,
        });
    }
    Ok(reviews)
}

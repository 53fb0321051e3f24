//! Which past states there are.

use crate::store::sql::db::{Conn, Row};

use super::super::error::{Fault, StoreError};
use super::super::load::whole;
use super::super::reader::{Reads, time_at};
use crate::model::Time;
use crate::store::{AsOf, Generation, Untold};

impl dyn Reads + '_ {
    /// The generation that is meant, if the store can tell who held what then. A moment between two
    /// generations means the earlier one.
    ///
    /// # Errors
    /// There is no such generation, it is not kept who held what then, or the store cannot be read.
    pub fn generation(&self, as_of: AsOf, now: Time) -> Result<Generation, Untold> {
        self.read_as(|conn| generation(conn, as_of, now))?
    }

    /// The newest generation; `None`: there is none yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn newest(&self) -> Result<Option<Generation>, StoreError> {
        self.read_as(|conn| bound(conn, "max"))
    }
}

fn generation_of(row: Row<'_>) -> Result<Generation, Fault> {
    Ok(Generation { num: whole(row, 0)?, at: time_at(row, 1)? })
}

/// The generation that `sql` selects with `value`.
pub(super) fn one_generation(
    conn: Conn<'_>,
    sql: &str,
    value: i64,
) -> Result<Option<Generation>, Fault> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([value])?;
    rows.next()?.map(generation_of).transpose()
}

pub(super) const NUMBERED: &str = "SELECT num, at FROM generation WHERE num = ?1";

/// The `min` or `max` generation.
fn bound(conn: Conn<'_>, which: &str) -> Result<Option<Generation>, Fault> {
    let sql = format!(
        "SELECT num, at FROM generation WHERE num = (SELECT {which}(num) FROM generation) AND num > ?1"
    );
    one_generation(conn, &sql, 0)
}

fn generation(conn: Conn<'_>, as_of: AsOf, now: Time) -> Result<Result<Generation, Untold>, Fault> {
    let (Some(first), Some(last)) = (bound(conn, "min")?, bound(conn, "max")?) else {
        return Ok(Err(Untold::None));
    };
    let found = match as_of {
        AsOf::Generation(asked) => {
            let num = i64::try_from(asked).unwrap_or(i64::MAX);
            match one_generation(conn, NUMBERED, num)? {
                Some(found) => found,
                None => return Ok(Err(Untold::NotThere { asked, first, last })),
            }
        }
        AsOf::Time(asked) if asked > now.max(last.at) => return Ok(Err(Untold::ToCome(asked))),
        AsOf::Time(asked) => {
            // The newest of those that were committed by then: a clock may have been set back.
            let sql = "SELECT num, at FROM generation WHERE at <= ?1 ORDER BY num DESC LIMIT 1";
            match one_generation(conn, sql, asked.timestamp())? {
                Some(found) => found,
                None => return Ok(Err(Untold::Before { asked, first })),
            }
        }
    };
    let from = held_from(conn)?;
    Ok(match from.filter(|from| from.num > found.num) {
        Some(from) => Err(Untold::NotKept { asked: found.num, from }),
        None => Ok(found),
    })
}

/// Since which generation it is kept who held what; `None`: since ever.
pub(super) fn held_from(conn: Conn<'_>) -> Result<Option<Generation>, Fault> {
    let from: i64 = conn.query_row("SELECT held_from FROM meta", [], |row| row.get(0))?;
    one_generation(conn, NUMBERED, from)
}

//! Usernames that two people share, which a gateway could not tell apart.

use hashbrown::HashSet;

use super::db::{Conn, OptionalExtension};
use super::error::{Fault, Mismatch};
use crate::model::User;
use crate::plan::Tables;

/// Past this many written users, names are checked in one pass over all of them.
const CHECK_ALL: usize = 5_000;

/// No two people that are not deprovisioned may share a username: a gateway could not tell them
/// apart. Checked at the end, since names may be swapped on the way.
pub(super) fn distinct_names(
    conn: Conn<'_>,
    tables: &Tables,
    written: &[&User],
) -> Result<(), Fault> {
    let shared = |name: &str| Fault::from(Mismatch::SameName(name.to_owned()));
    if written.len() > CHECK_ALL {
        let all: i64 = conn.query_row("SELECT count(*) FROM user", [], |row| row.get(0))?;
        if usize::try_from(all).is_ok_and(|all| all == written.len()) {
            return distinct_among(tables, written).map_err(shared);
        }
        let twice: Option<String> = conn
            .query_row(
                "SELECT username FROM user WHERE status <> 3 \
                 GROUP BY username HAVING count(*) > 1 LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()?;
        return twice.map_or(Ok(()), |name| Err(shared(&name)));
    }
    let mut count =
        conn.prepare("SELECT count(*) FROM user WHERE username = ?1 AND status <> 3")?;
    for user in written {
        let name = tables.texts.get(user.username);
        let live = !user.status.is_deprovisioned();
        if live && count.query_row([name], |row| row.get::<_, i64>(0))? != 1 {
            return Err(shared(name));
        }
    }
    Ok(())
}

/// No two of these may share a username: the one that some do.
fn distinct_among<'a>(tables: &'a Tables, users: &[&User]) -> Result<(), &'a str> {
    let mut names = HashSet::with_capacity(users.len());
    let live = users.iter().filter(|user| !user.status.is_deprovisioned());
    for name in live.map(|user| tables.texts.get(user.username)) {
        if !names.insert(name) {
            return Err(name);
        }
    }
    Ok(())
}

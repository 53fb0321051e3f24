//! Stories of local accounts: who was added by hand, by whom and why.

use std::collections::HashSet;

use crate::store::sql::db::{Conn, OptionalExtension, Row, params};

use super::codec::user_at;
use super::error::{Fault, StoreError};
use super::load::{actor, whole};
use super::reader::{Reads, time, time_at};
use crate::directory::local;
use crate::model::{Deed, Done, LastDeed, LocalAccount, UserId};
use crate::store::reader::digest_of_names;

const COLUMNS: &str =
    "a.ext, a.service, a.admin, a.by, a.at, a.reason, a.last, a.last_by, a.last_at, a.last_reason";

/// From the few accounts to their users: in another order it would pass over everybody.
const SPOKEN_FOR: &str = "SELECT u.username FROM local_user a CROSS JOIN link l ON l.ext = a.ext \
     JOIN link_source s ON s.num = l.source JOIN user u ON u.id = l.user \
     WHERE (a.service = 1 OR a.admin = 1) AND s.name = ?1 AND u.status <> 3";

/// Writes each of `accounts` in the place of what is there.
pub(super) fn write(conn: Conn<'_>, accounts: &[LocalAccount]) -> Result<(), Fault> {
    if accounts.is_empty() {
        return Ok(());
    }
    let mut insert = conn.prepare(
        "INSERT OR REPLACE INTO local_user \
         (ext, service, admin, by, at, reason, last, last_by, last_at, last_reason) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for account in accounts {
        let LocalAccount { ext, service, admin, added, added_at, last } = account;
        let last = last.as_ref();
        insert.execute(params![
            ext,
            service,
            admin,
            added.by.as_str(),
            added_at.timestamp(),
            added.reason,
            last.map(|last| last.what.as_str()),
            last.map(|last| last.deed.by.as_str()),
            last.map(|last| last.at.timestamp()),
            last.map(|last| &last.deed.reason),
        ])?;
    }
    Ok(())
}

fn account(row: Row<'_>) -> Result<LocalAccount, Fault> {
    let last = match row.get::<_, Option<String>>(6)? {
        None => None,
        Some(word) => {
            let what = Done::ALL.into_iter().find(|done| done.as_str() == word);
            let what = what.ok_or_else(|| {
                Fault::Damaged(format!("a local account has the unknown fate `{word}`"))
            })?;
            let deed = Deed { by: actor(row, 7)?, reason: row.get(9)? };
            time(row, 8)?.map(|at| LastDeed { what, deed, at })
        }
    };
    Ok(LocalAccount {
        ext: row.get(0)?,
        service: row.get(1)?,
        admin: row.get(2)?,
        added: Deed { by: actor(row, 3)?, reason: row.get(5)? },
        added_at: time_at(row, 4)?,
        last,
    })
}

/// The account by which `local` knows `user`.
pub(super) fn of_user(conn: Conn<'_>, user: UserId) -> Result<Option<LocalAccount>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM link l JOIN link_source s ON s.num = l.source \
         JOIN local_user a ON a.ext = l.ext WHERE l.user = ?1 AND s.name = ?2"
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params![user.get(), local::NAME])?;
    rows.next()?.map(account).transpose()
}

/// Everybody whom `local` knows, or knew, as a service account. Few are: they are looked up once,
/// not person by person.
pub(super) fn services(conn: Conn<'_>) -> Result<HashSet<UserId>, Fault> {
    let mut statement = conn.prepare(
        "SELECT l.user FROM local_user a JOIN link l ON l.ext = a.ext \
         JOIN link_source s ON s.num = l.source WHERE a.service = 1 AND s.name = ?1",
    )?;
    let users = statement.query_map([local::NAME], |row| user_at(row, 0))?;
    Ok(users.collect::<Result<_, _>>()?)
}

impl dyn Reads + '_ {
    /// The story of the local account `ext`, of one that was removed too.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn local_account(&self, ext: &str) -> Result<Option<LocalAccount>, StoreError> {
        self.read_as(|conn| {
            let sql = format!("SELECT {COLUMNS} FROM local_user a WHERE a.ext = ?1");
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query([ext])?;
            rows.next()?.map(account).transpose()
        })
    }

    /// The accounts that `[default_admin]` sees to: one, as a rule, or none.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn default_admins(&self) -> Result<Vec<LocalAccount>, StoreError> {
        self.read_as(|conn| {
            let sql = format!("SELECT {COLUMNS} FROM local_user a WHERE a.admin = 1");
            let mut statement = conn.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(account(row)?);
            }
            Ok(found)
        })
    }

    /// What those are called for whom only tokens speak: service accounts, and those that
    /// `[default_admin]` sees to. Not those who are gone, whose names are free.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn spoken_for(&self) -> Result<Vec<String>, StoreError> {
        self.read_as(|conn| {
            let mut statement = conn.prepare(SPOKEN_FOR)?;
            let names = statement.query_map([local::NAME], |row| row.get(0))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
    }

    /// A digest of [`Reads::spoken_for`]. A server makes it where the names are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn spoken_for_digest(&self) -> Result<[u8; 32], StoreError> {
        self.read_as(|conn| {
            if let Conn::Sqlite(_) = conn {
                let mut statement = conn.prepare(&format!("{SPOKEN_FOR} ORDER BY u.username"))?;
                let names = statement.query_map([local::NAME], |row| row.get(0))?;
                return Ok(digest_of_names(names.collect::<Result<Vec<String>, _>>()?));
            }
            let sql = format!(
                "SELECT sha256(convert_to(coalesce(string_agg( \
                    octet_length(n.username) || ':' || n.username, '' ORDER BY n.username), ''), 'UTF8')) \
                 FROM ({SPOKEN_FOR}) n"
            );
            Ok(conn.query_row(&sql, [local::NAME], |row| row.get(0))?)
        })
    }

    /// How many accounts the mirror of `local` has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn local_accounts(&self) -> Result<u64, StoreError> {
        self.read_as(|conn| {
            let num: Option<i64> = conn
                .query_row("SELECT num FROM source WHERE name = ?1", [local::NAME], |row| {
                    row.get(0)
                })
                .optional()?;
            let Some(num) = num else { return Ok(0) };
            let (first, last) = super::mirror::range(num);
            Ok(conn.query_row(
                "SELECT count(*) FROM mirror_user WHERE id BETWEEN ?1 AND ?2",
                [first, last],
                |row| whole(row, 0),
            )?)
        })
    }
}

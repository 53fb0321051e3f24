//! Access tokens as a gateway keeps them in memory: [`super::gateway`] tells whose to look at again.

use std::collections::BTreeSet;

use crate::store::sql::db::Rows;

use super::error::{Fault, StoreError};
use super::load::text;
use super::reader::Reads;
use crate::store::{EachToken, SeenToken, SetKey};

const TOKENS: &str = "SELECT t.digest, u.username, t.name, t.expires_at, t.role_set \
                      FROM token t JOIN user u ON u.id = t.user WHERE u.status <> 3";

fn each(mut rows: Rows<'_>, each: EachToken<'_>) -> Result<(), Fault> {
    while let Some(row) = rows.next()? {
        let digest = row.get_ref(0)?.as_blob()?;
        let digest = digest.try_into();
        let digest =
            digest.map_err(|_| Fault::Damaged("a token's digest has not 32 bytes".to_owned()))?;
        let token = SeenToken {
            digest,
            owner: text(row, 1)?,
            name: text(row, 2)?,
            until: row.get(3)?,
            set: SetKey(row.get(4)?),
        };
        each(token)?;
    }
    Ok(())
}

impl dyn Reads + '_ {
    /// How many access tokens there are, as a measure for memory.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn count_seen_tokens(&self) -> Result<usize, StoreError> {
        self.read_as(|conn| super::load::count(conn, "SELECT count(*) FROM token"))
    }

    /// Calls `with` for every access token whose owner is not gone.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_tokens(&self, with: EachToken<'_>) -> Result<(), StoreError> {
        self.read_as(|conn| each(conn.prepare(TOKENS)?.query([])?, with))
    }

    /// The same for those whose owners are called one of `names`.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn seen_tokens_of(
        &self,
        names: &BTreeSet<String>,
        with: EachToken<'_>,
    ) -> Result<(), StoreError> {
        self.read_as(|conn| {
            let mut of_name = conn.prepare(&format!("{TOKENS} AND u.username = ?1"))?;
            for name in names {
                each(of_name.query([name])?, with)?;
            }
            Ok(())
        })
    }
}

//! Reading: what any connection that shows one committed state can be asked.

use crate::directory::{DigestKey, MirrorRows, Touched, local};
use crate::model::{State, Time};
use crate::plan::{Held, HeldHead};
use crate::store::{
    Marks, Meta, ProvisionContext, ProvisionQuery, ScopeStatus, SourceAge, SourceStatus,
    StoredMirror,
};

use super::error::{Fault, StoreError};
use super::lists::KnownLists;
use super::load::whole;
use crate::store::sql::db::{Conn, DbResult, Row};

/// A store opened for reading. What there is to ask is in `impl dyn Reads`, each in the room that knows
/// its rows; `door` makes a [`crate::store::Reader`] of it.
pub(in crate::store) trait Reads: Send {
    /// Runs `work` on one committed state. Inside of another one it joins that one.
    fn on_one_state(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError>;

    /// `fault` of this store.
    fn fault(&self, fault: Fault) -> StoreError;

    /// Lists that were looked at lately, if there is somebody who remembers.
    fn known_lists(&self) -> Option<&KnownLists>;
}

/// Does `work` on one committed state of a store that may not be there. `false`: it is not.
pub(in crate::store) fn on_one_state(
    reader: Option<impl Reads>,
    work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
) -> Result<bool, StoreError> {
    let Some(reader) = reader else { return Ok(false) };
    reader.on_one_state(work)?;
    Ok(true)
}

impl dyn Reads + '_ {
    /// What `work` makes of one committed state.
    pub(super) fn read_as<T>(
        &self,
        work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let (mut work, mut made) = (Some(work), None);
        self.on_one_state(&mut |conn| {
            if let Some(work) = work.take() {
                made = Some(work(conn)?);
            }
            Ok(())
        })?;
        made.ok_or_else(|| self.fault(Fault::Damaged("it was not read".to_owned())))
    }

    /// The store in a few numbers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn meta(&self) -> Result<Meta, StoreError> {
        self.read_as(meta)
    }

    /// Everything that a plan starts from. Only reasons that some grant has are in its book.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn state(&self) -> Result<State, StoreError> {
        self.read_as(super::load::state)
    }

    /// How each source's reads went, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn sources(&self) -> Result<Vec<SourceStatus>, StoreError> {
        self.read_as(sources)
    }

    /// Of which time what each configured source said is, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn source_ages(&self) -> Result<Vec<SourceAge>, StoreError> {
        self.read_as(source_ages)
    }

    /// What is said of the changes that wait for a person, without reading them: one row, however
    /// many they are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn held_head(&self) -> Result<Option<HeldHead>, StoreError> {
        self.read_as(super::held::head)
    }

    /// The changes that wait for a person, all of them in memory.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn held(&self) -> Result<Option<Held>, StoreError> {
        self.read_as(super::held::load)
    }

    /// What bears on one query.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn provision_context(
        &self,
        query: &ProvisionQuery<'_>,
    ) -> Result<ProvisionContext, StoreError> {
        self.read_as(|conn| super::provision::provision_context(conn, query))
    }

    /// For each source the number that the next newcomer to its mirror gets, as they only rise.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn marks(&self) -> Result<Marks, StoreError> {
        self.read_as(super::provision::marks)
    }

    /// Those who came into the mirror of `source` since `marks` were taken.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn added_since(
        &self,
        source: &str,
        marks: &Marks,
    ) -> Result<Vec<crate::directory::Sighting>, StoreError> {
        self.read_as(|conn| super::provision::added_since(conn, source, marks))
    }

    /// The mirror of `source`: what it last said.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn mirror(&self, source: &str) -> Result<Option<StoredMirror>, StoreError> {
        self.read_as(|conn| super::mirror::load(conn, source))
    }

    /// The rows of the mirror of `source` that are `touched`, and what its digest hangs on.
    /// `None`: it has no mirror.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn mirror_rows(
        &self,
        source: &str,
        touched: &Touched<'_>,
    ) -> Result<Option<(MirrorRows, DigestKey)>, StoreError> {
        self.read_as(|conn| super::patch::load(conn, source, touched, self.known_lists()))
    }

    /// What the digests of this store's mirrors hang on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn digest_key(&self) -> Result<DigestKey, StoreError> {
        self.read_as(super::mirror::digest_key)
    }

    /// What groups, roles and attribute values the mirror of `source` has, and what they lead to:
    /// nobody is in them.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn structure(
        &self,
        source: &str,
    ) -> Result<Option<crate::directory::Directory>, StoreError> {
        self.read_as(|conn| super::mirror::structure(conn, source))
    }

    /// The keys kept for `issuer` (compared exactly): a JWK set. `None`: there are none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn keys(&self, issuer: &str) -> Result<Option<String>, StoreError> {
        self.read_as(|conn| super::keys::load(conn, issuer))
    }
}

/// The store in a few numbers.
pub(in crate::store) fn meta(conn: Conn<'_>) -> Result<Meta, Fault> {
    let schema_version = conn.schema_version()?;
    Ok(conn.query_row(
        "SELECT generation, applied_at, settled, version, next_due, all_read FROM meta",
        [],
        |row| {
            Ok(Meta {
                schema_version,
                generation: whole(row, 0)?,
                applied_at: time(row, 1)?,
                settled: row.get(2)?,
                version: row.get(3)?,
                next_due: time(row, 4)?,
                all_read: row.get(5)?,
            })
        },
    )?)
}

fn sources(conn: Conn<'_>) -> Result<Vec<SourceStatus>, Fault> {
    let mut statement = conn.prepare(
        "SELECT name, kind, configured, read_at, tried_at, error, digest, scopes, \
                spoke_at \
         FROM source ORDER BY name",
    )?;
    let mut rows = statement.query([])?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        let scopes: Option<String> = row.get(7)?;
        sources.push(SourceStatus {
            name: row.get(0)?,
            kind: row.get(1)?,
            configured: row.get(2)?,
            read_at: time(row, 3)?,
            tried_at: time(row, 4)?,
            spoke_at: time(row, 8)?,
            error: row.get(5)?,
            digest: row.get(6)?,
            scopes: scopes_of(scopes.as_deref())?,
        });
    }
    Ok(sources)
}

/// Gateways ask for this at each change, so no more is read than they go by.
fn source_ages(conn: Conn<'_>) -> Result<Vec<SourceAge>, Fault> {
    let mut statement = conn.prepare(
        "SELECT name, read_at, spoke_at, digest IS NOT NULL, name = ?1, \
                CASE WHEN name = ?1 THEN scopes END \
         FROM source WHERE configured = 1 ORDER BY name",
    )?;
    let mut rows = statement.query([local::NAME])?;
    let mut ages = Vec::new();
    while let Some(row) = rows.next()? {
        let scopes: Option<String> = row.get(5)?;
        let holds = scopes_of(scopes.as_deref())?.iter().any(ScopeStatus::holds_anything);
        ages.push(SourceAge {
            name: row.get(0)?,
            read_at: time(row, 1)?,
            spoke_at: time(row, 2)?,
            has_mirror: row.get(3)?,
            by_hand: row.get::<_, bool>(4)?.then_some(holds),
        });
    }
    Ok(ages)
}

fn scopes_of(scopes: Option<&str>) -> Result<Vec<ScopeStatus>, Fault> {
    Ok(scopes.map(|scopes| json(scopes, "source's scopes")).transpose()?.unwrap_or_default())
}

/// The time in column `index`.
pub(super) fn time(row: Row<'_>, index: usize) -> DbResult<Option<Time>> {
    Ok(row.get::<_, Option<i64>>(index)?.and_then(|seconds| Time::from_timestamp(seconds, 0)))
}

/// The time in column `index`, which must be there.
pub(super) fn time_at(row: Row<'_>, index: usize) -> Result<Time, Fault> {
    time(row, index)?.ok_or_else(|| Fault::Damaged("a time is missing".to_owned()))
}

/// Reads what was written as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::Damaged(format!("a {what}: {error}")))
}

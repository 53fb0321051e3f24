//! The schema's versions, and what a database's schema is. A migration is one transaction: it happens
//! or it does not.

use super::connect::{DatabaseAddress, identifier};
use super::session::Session;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::db::{Conn, OptionalExtension};
use crate::store::sql::{self, Fault};
use crate::store::sqlite::SCHEMA_VERSION;

/// A version, and what leads to it from the one before.
pub(super) type Step = (i64, &'static str);

/// From nothing to what this program writes. Steps are never edited once released. A version says the same
/// on SQLite; those before the first are SQLite's alone.
pub(super) const STEPS: &[Step] =
    &[(10, include_str!("schema/v10.sql")), (SCHEMA_VERSION, include_str!("schema/v11.sql"))];

/// The version that the last of `steps` leads to.
pub(super) fn last(steps: &[Step]) -> i64 {
    steps.last().map_or(0, |(version, _)| *version)
}

/// What the database has where the store should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A store of this version.
    Ours(i64),
}

/// Tells what there is, without writing.
pub(super) fn identify(
    session: &Session,
    place: &DatabaseAddress,
    known: i64,
) -> Result<Found, Fault> {
    let conn = Conn::Postgres(session);
    let schema = place.config.schema.as_str();
    let found: Option<(bool, bool, bool)> = conn
        .query_row(
            "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
                    EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid), \
                    EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a \
                             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                            WHERE c.relnamespace = n.oid AND c.relname = 'meta' \
                              AND a.attname = 'schema_version') \
             FROM pg_catalog.pg_namespace n WHERE n.nspname = ?1",
            [schema],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    match found {
        Some((false, ..)) => Err(Fault::Store(StoreError::new(
            StoreErrorKind::Denied,
            format!(
                "this role may not use the schema `{schema}` of `{}`, which belongs to another one: \
                 `idpsyncd store grant` gives a gateway's role its rights, and whoever writes signs in as \
                 the owner",
                place.config
            ),
        ))),
        None | Some((_, false, _)) => Ok(Found::Nothing),
        Some((_, _, false)) => Err(Fault::Store(StoreError::new(
            StoreErrorKind::NotOurs,
            format!(
                "the schema `{schema}` of `{}` is not a store of idpsyncd: it was left alone, set \
                 `store.schema` to another one",
                place.config
            ),
        ))),
        Some((_, _, true)) => {
            let version = conn.schema_version()?;
            if version > known {
                return Err(Fault::Store(StoreError::new(
                    StoreErrorKind::Newer,
                    format!(
                        "the store `{}` has schema version {version}, this idpsyncd knows {known}: it \
                         was left untouched, use the newer idpsyncd that wrote it",
                        place.config
                    ),
                )));
            }
            Ok(Found::Ours(version))
        }
    }
}

/// Makes the store where there is none, and brings an older one up to the last of `steps`, in one
/// transaction.
pub(super) fn migrate(
    session: &Session,
    place: &DatabaseAddress,
    steps: &[Step],
) -> Result<(), Fault> {
    let known = last(steps);
    if identify(session, place, known)? != Found::Ours(known) {
        session.begin("ISOLATION LEVEL READ COMMITTED")?;
        let done = in_transaction(session, place, steps);
        if let Err(fault) = done {
            session.rollback();
            return Err(fault);
        }
        session.commit()?;
    }
    let conn = Conn::Postgres(session);
    if known == SCHEMA_VERSION && !sql::are_current(conn)? {
        session.begin("ISOLATION LEVEL READ COMMITTED")?;
        let made = sql::make_names(conn);
        match made {
            Ok(()) => session.commit()?,
            Err(fault) => {
                session.rollback();
                return Err(fault);
            }
        }
    }
    Ok(())
}

fn in_transaction(session: &Session, place: &DatabaseAddress, steps: &[Step]) -> Result<(), Fault> {
    let conn = Conn::Postgres(session);
    // Two that come at once: the second finds what the first has made.
    conn.query_row(
        "SELECT 1 FROM (SELECT pg_advisory_xact_lock(1768190068, hashtext(?1))) l",
        [place.config.schema.as_str()],
        |row| row.get::<_, i64>(0),
    )?;
    let from = match identify(session, place, last(steps))? {
        Found::Nothing => {
            // Whoever may not make schemas is given one.
            let there: bool = conn.query_row(
                "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ?1)",
                [place.config.schema.as_str()],
                |row| row.get(0),
            )?;
            if !there {
                session.batch(&format!("CREATE SCHEMA {}", identifier(&place.config.schema)))?;
            }
            0
        }
        Found::Ours(version) => version,
    };
    for (version, step) in steps.iter().filter(|(version, _)| *version > from) {
        session.batch(step)?;
        conn.execute("UPDATE meta SET schema_version = ?1", [*version])?;
    }
    Ok(())
}

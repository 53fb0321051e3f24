//! What a gateway's role may read: the views, and of the tables those columns from which `serve` answers.
//! No mirror, no held plan, no key of digests; of access tokens the digests only where they are credentials.

use super::connect::identifier;
use super::session::Session;
use super::store::PostgresStore;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::Fault;
use crate::store::sql::db::{Conn, OptionalExtension, params};

const VIEWS: &[&str] = &[
    "gateway_meta",
    "gateway_user",
    "gateway_user_link",
    "gateway_user_role",
    "gateway_decision",
    "gateway_role_decision",
    "gateway_role_policy",
    "gateway_token",
    "gateway_workload_identity",
];

/// Tables, with the columns that `serve` reads.
const COLUMNS: &[(&str, &str)] = &[
    (
        "meta",
        "schema_version, generation, applied_at, settled, version, next_due, all_read, store_id, commits, token",
    ),
    ("generation", "num, at, first, silent, token"),
    ("history_told", "num, \"user\", kind, old, note"),
    ("\"user\"", "id, username, email, status, since, disabled_by, role_set"),
    ("link", "\"user\", source, ext, claim"),
    ("link_source", "num, name"),
    ("role", "num, name, live, description, everyone, mode, template, policies"),
    ("role_set", "num, id"),
    ("role_set_role", "role_set, role"),
    ("request", "num, action, resource, listed"),
    ("token", "num, \"user\", name, expires_at, role_set"),
    ("local_user", "ext, service, admin"),
    ("jwks", "issuer, keys"),
    ("ended_session", "num, realm, issuer, kind, id, last_iat"),
    ("source", "name, kind, configured, read_at, tried_at, spoke_at, error, scopes, digest"),
];

/// By what an access token is known.
const DIGESTS: (&str, &str) = ("token", "digest");

/// What the role `?1` may do in the schema, by itself or as any that it is a member of, that is not a `SELECT`
/// of what the list `?2` has (`relation.column`, `view.*`): the first few.
const MORE: &str = "
    WITH held AS (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles me, pg_catalog.pg_roles r
                   WHERE me.rolname = ?1 AND pg_has_role(me.oid, r.oid, 'MEMBER')),
         granted AS (SELECT unnest(string_to_array(?2, ',')) AS name),
         relation AS (SELECT c.oid, CAST(c.relname AS text) AS name FROM pg_catalog.pg_class c
                       WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n
                                                WHERE n.nspname = current_schema())
                         AND c.relkind IN ('r', 'v', 'm', 'p', 'f')),
         found AS (
           SELECT does, relation.name AS what, h.rolname, has_table_privilege('public', relation.oid, does) AS anyone
             FROM relation, held h,
                  (VALUES ('DELETE'), ('TRUNCATE'), ('TRIGGER'), ('INSERT'), ('UPDATE'), ('REFERENCES')) w(does)
            WHERE has_table_privilege(h.oid, relation.oid, does)
           UNION ALL
           SELECT does, relation.name || '.' || a.attname, h.rolname,
                  has_column_privilege('public', relation.oid, a.attnum, does)
             FROM relation JOIN pg_catalog.pg_attribute a ON a.attrelid = relation.oid AND a.attnum > 0
                                                         AND NOT a.attisdropped,
                  held h, (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) w(does)
            WHERE has_column_privilege(h.oid, relation.oid, a.attnum, does)
              AND NOT (does = 'SELECT'
                       AND EXISTS (SELECT 1 FROM granted WHERE granted.name IN (relation.name || '.*',
                                                                                relation.name || '.' || a.attname)))
           UNION ALL
           SELECT 'CREATE', CAST(current_schema() AS text), h.rolname,
                  has_schema_privilege('public', current_schema(), 'CREATE')
             FROM held h WHERE has_schema_privilege(h.oid, current_schema(), 'CREATE'))
    SELECT does, what, CASE WHEN bool_or(anyone) THEN ''
           ELSE COALESCE(CAST(min(rolname) FILTER (WHERE rolname <> ?1) AS text), CAST(?1 AS text)) END
      FROM found GROUP BY does, what ORDER BY does <> 'SELECT', what, does LIMIT 5";

/// Lets `role` read what a gateway needs and nothing else, whatever it was let before.
pub(super) fn grant(store: &PostgresStore, role: &str, tokens: bool) -> Result<(), StoreError> {
    let reader = store.opened()?.ok_or_else(|| {
        StoreError::new(
            StoreErrorKind::Absent,
            format!(
                "there is no store `{}` yet: run `idpsyncd store init` first",
                store.place.config
            ),
        )
    })?;
    let session = reader.session();
    let done = session
        .begin("ISOLATION LEVEL READ COMMITTED")
        .map_err(Fault::from)
        .and_then(|()| in_transaction(store, session, role, tokens))
        .and_then(|()| Ok(session.commit()?));
    if done.is_err() {
        session.rollback();
    }
    done.map_err(|fault| store.told(fault))
}

fn in_transaction(
    store: &PostgresStore,
    session: &Session,
    role: &str,
    tokens: bool,
) -> Result<(), Fault> {
    let owns: Option<bool> = Conn::Postgres(session)
        .query_row(
            "SELECT pg_has_role(r.oid, n.nspowner, 'MEMBER') OR r.rolsuper \
             FROM pg_catalog.pg_roles r, pg_catalog.pg_namespace n \
             WHERE r.rolname = ?1 AND n.nspname = current_schema()",
            [role],
            |row| row.get(0),
        )
        .optional()?;
    let refused = |why: String| Fault::Store(StoreError::new(StoreErrorKind::Other, why));
    let at = &store.place.config;
    match owns {
        None => {
            return Err(refused(format!("`{at}` knows no role `{role}`: `CREATE ROLE` makes one")));
        }
        Some(true) => {
            return Err(refused(format!(
                "the role `{role}` owns the store `{at}`, or may do everything there: a gateway signs in as \
                 another one"
            )));
        }
        Some(false) => {}
    }
    let role_name = role;
    let (schema, role) = (identifier(&at.schema), identifier(role));
    let mut sql = format!(
        "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}; \
         REVOKE ALL ON SCHEMA {schema} FROM {role}; GRANT USAGE ON SCHEMA {schema} TO {role};"
    );
    for view in VIEWS {
        sql.push_str(&format!(" GRANT SELECT ON {view} TO {role};"));
    }
    for (table, columns) in COLUMNS.iter().chain(tokens.then_some(&DIGESTS)) {
        sql.push_str(&format!(" GRANT SELECT ({columns}) ON {table} TO {role};"));
    }
    session.batch(&sql)?;
    match more_than_granted(Conn::Postgres(session), role_name, tokens)?.as_slice() {
        [] => Ok(()),
        more => Err(refused(format!(
            "the role `{role_name}` can do more in `{at}` than a gateway may: {}; nothing was granted, take \
             that away first",
            more.join(", ")
        ))),
    }
}

/// What `role` can do in the schema besides, in words: as everybody, or as a member of other roles, whether
/// it is so at once or after a `SET ROLE`.
fn more_than_granted(conn: Conn<'_>, role: &str, tokens: bool) -> Result<Vec<String>, Fault> {
    let plain = |name: &str| name.trim_matches('"').to_owned();
    let whole = VIEWS.iter().map(|view| format!("{view}.*"));
    let columns = COLUMNS.iter().chain(tokens.then_some(&DIGESTS)).flat_map(|(table, columns)| {
        columns.split(", ").map(|column| format!("{}.{}", plain(table), plain(column)))
    });
    let granted: Vec<String> = whole.chain(columns).collect();
    let mut statement = conn.prepare(MORE)?;
    let rows = statement.query_map(params![role, granted.join(",")], |row| {
        let (does, what, whose): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(match whose.as_str() {
            "" => format!("`{does}` on `{what}`, as everybody may (PUBLIC)"),
            whose if whose == role => format!("`{does}` on `{what}`"),
            whose => format!("`{does}` on `{what}`, as a member of `{whose}`"),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

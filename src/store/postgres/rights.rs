//! What a gateway's role may read: the views, and of the tables those columns from which `serve` answers.
//! No mirror, no held plan, no key of digests; of access tokens the digests only where they are credentials.

use super::connect::identifier;
use super::session::Session;
use super::store::PostgresStore;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::Fault;
use crate::store::sql::db::{Conn, OptionalExtension};

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
        "schema_version, generation, applied_at, settled, version, next_due, all_read, store_id, commits",
    ),
    ("generation", "num, at, first, silent"),
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
            "SELECT pg_has_role(r.oid, n.nspowner, 'USAGE') OR r.rolsuper \
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
    Ok(session.batch(&sql)?)
}

//! Stores from before schemas 6 and 8: everybody is counted in the migration, and what people are found by is
//! made when the store is first opened for writing.

use rusqlite::Connection;

use super::reader::SqliteReader;
use super::store::SqliteStore;
use super::writer::SqliteWriter;
use crate::directory::OwnDomain;
use crate::store::conformance::worlds::{World, at, next_world, plan};
use crate::store::conformance::{commit, slicing};
use crate::store::{Bears, Store as _, StoreErrorKind};

/// Takes back what schemas 6 to 11 brought.
const BACK: &str = "
DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS SELECT 5 AS schema_version;
ALTER TABLE meta DROP COLUMN enabled;
ALTER TABLE meta DROP COLUMN names;
DROP TABLE role_holders;
DROP TABLE followed;
DROP TABLE ended_session;
ALTER TABLE meta DROP COLUMN all_read;
DROP INDEX mirror_container_bare;
DROP INDEX local_user_spoken;
DROP INDEX mirror_container_identity;
ALTER TABLE mirror_container DROP COLUMN bare;
DROP INDEX mirror_user_called;
DROP INDEX mirror_user_called_email;
DROP INDEX mirror_user_address;
DROP INDEX mirror_user_email;
DROP INDEX mirror_user_federation;
DROP INDEX mirror_user_rid;
DROP INDEX mirror_container_foreign;
ALTER TABLE source DROP COLUMN domain;
ALTER TABLE mirror_user DROP COLUMN rid;
ALTER TABLE mirror_container DROP COLUMN rid;
ALTER TABLE mirror_user DROP COLUMN called;
ALTER TABLE mirror_user DROP COLUMN called_email;
ALTER TABLE mirror_user DROP COLUMN address;
CREATE INDEX mirror_user_odd ON mirror_user (id) WHERE username GLOB '*[^ -~]*';
PRAGMA user_version = 5;
";

fn rows(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let width = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let cells = (0..width).map(|at| row.get::<_, rusqlite::types::Value>(at));
        Ok(format!("{:?}", cells.collect::<Result<Vec<_>, _>>()?))
    };
    statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

fn what_is_kept(conn: &Connection) -> Vec<String> {
    [
        "SELECT enabled, names FROM meta",
        "SELECT role, users FROM role_holders ORDER BY role",
        "SELECT id, called, called_email, address FROM mirror_user ORDER BY id",
        "SELECT id, bare FROM mirror_container ORDER BY id",
        "SELECT name, sql FROM sqlite_schema WHERE tbl_name LIKE 'mirror_%' AND type = 'index' \
         ORDER BY name",
    ]
    .iter()
    .flat_map(|sql| rows(conn, sql))
    .collect()
}

#[test]
fn an_older_store_comes_to_count_and_to_find_as_if_it_had_always() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::new(path.clone());
    store.prepare().unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let mut old = World::default();
    for step in 1..40 {
        let new = next_world(&old, &mut random, at(step));
        commit(&store, &plan(&old, &new, at(step)));
        old = new;
    }
    slicing::odd_accounts(&store, &old);
    let before = what_is_kept(SqliteWriter::open(&path).unwrap().connection());
    assert!(
        before.len() > 20 && before.iter().any(|row| row.contains("김") || row.contains("änn"))
    );

    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(BACK).unwrap();
    drop(conn);
    let error = SqliteReader::open(&path).err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::Older);
    store.prepare().unwrap();
    assert_eq!(what_is_kept(SqliteWriter::open(&path).unwrap().connection()), before);
    // Nobody has asked yet which domain a source is; what hangs on its digest says so as well.
    let reader = store.reader().unwrap().unwrap();
    assert_eq!(reader.own_domain("corp").unwrap(), Some(OwnDomain::Unread));
    let stored = reader.mirror("corp").unwrap().unwrap();
    let digest = stored.mirror.directory.digests(&reader.digest_key().unwrap()).whole;
    assert_eq!(stored.digest, digest.to_string());

    // Cut short between the two: nobody is looked for by what is not there yet.
    let writer = SqliteWriter::open(&path).unwrap();
    writer
        .connection()
        .execute_batch(
            "UPDATE meta SET names = 0;
             UPDATE mirror_user SET called = NULL, called_email = 'wrong', address = NULL;
             UPDATE mirror_container SET bare = 'wrong'",
        )
        .unwrap();
    let reader = store.reader().unwrap().unwrap();
    let error = reader.bearing("corp", Bears::Username("ann")).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Older);
    assert!(error.message.contains("run `idpsyncd sync` once"), "{error}");
    store.prepare().unwrap();
    assert_eq!(what_is_kept(SqliteWriter::open(&path).unwrap().connection()), before);
    assert_eq!(reader.bearing("corp", Bears::Username("ann")).unwrap().len(), 4);
}

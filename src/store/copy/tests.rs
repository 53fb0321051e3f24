//! What cannot be tested from outside: that nothing is left out, and what is done where something arrives
//! otherwise than it was sent.

use std::collections::{BTreeMap, BTreeSet};

use tempfile::TempDir;

use super::tables::{META, Relation, TABLES, VIEWS};
use super::{Backend, CopyEnd, CopyError, copy};
use crate::model::StoreConfig;
use crate::store::conformance::worlds::{World, at, plan};
use crate::store::conformance::{commit, postgres_config};
use crate::store::sql::db::Conn;

/// An end of each kind, where nothing is yet, and the folder of the file.
fn ends() -> (TempDir, Vec<CopyEnd>) {
    let folder = tempfile::tempdir().unwrap();
    let file = StoreConfig::sqlite(folder.path().join("store.db"));
    let database = postgres_config().map(StoreConfig::Postgres);
    let ends = [Some(file), database].into_iter().flatten();
    (folder, ends.map(|config| CopyEnd { config, password: None }).collect())
}

/// Something to copy.
fn filled() -> (TempDir, CopyEnd) {
    let folder = tempfile::tempdir().unwrap();
    let end =
        CopyEnd { config: StoreConfig::sqlite(folder.path().join("store.db")), password: None };
    let backend = Backend::of(end.clone());
    backend.store().prepare().unwrap();
    let mut people = World::default();
    for id in 0..3 {
        people.person(id, &format!("u{id}"));
    }
    commit(backend.store(), &plan(&World::default(), &people, at(0)));
    // No text of PostgreSQL's can hold the first of these.
    for text in ["a\u{0}b", "\u{f8ff}0", "\\N\t\n\r\\"] {
        backend.store().keep_keys(text, text, at(0)).unwrap();
    }
    (folder, end)
}

type Columns = BTreeMap<String, BTreeSet<String>>;

/// What means nothing outside of one backend, or is made there anew: which store it is, and how its
/// transactions are told apart.
const OWN: &[(&str, &[&str])] = &[
    ("meta", &["schema_version", "store_id", "commits", "token", "term"]),
    ("generation", &["token"]),
];

fn listed(relations: &[Relation]) -> Columns {
    let columns = |it: &Relation| it.columns.iter().map(|it| (*it).to_owned()).collect();
    relations.iter().map(|it| (it.name.to_owned(), columns(it))).collect()
}

/// What `sql` finds: names of tables or views, with those of their columns.
fn there(conn: Conn<'_>, sql: &str) -> Columns {
    let mut all = Columns::new();
    let mut statement = conn.prepare(sql).unwrap();
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap() {
        let (relation, column): (String, String) = row.unwrap();
        all.entry(relation).or_default().insert(column);
    }
    for (relation, columns) in OWN {
        if let Some(there) = all.get_mut(*relation) {
            there.retain(|column| !columns.contains(&column.as_str()));
        }
    }
    all
}

/// The tables or views of either schema.
fn asked(conn: Conn<'_>, tables: bool) -> String {
    match conn {
        Conn::Sqlite(_) => format!(
            "SELECT s.name, c.name FROM sqlite_schema s JOIN pragma_table_info(s.name) c \
             WHERE s.type = '{}' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            if tables { "table" } else { "view" }
        ),
        // What a gateway's role may see of `history` is a view of PostgreSQL's alone.
        Conn::Postgres(_) => format!(
            "SELECT CAST(c.relname AS text), CAST(a.attname AS text) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = current_schema() AND c.relkind = '{}' \
               AND c.relname <> 'history_told'",
            if tables { "r" } else { "v" }
        ),
    }
}

#[test]
fn every_table_and_view_is_copied_with_all_its_columns() {
    for end in ends().1 {
        let backend = Backend::of(end);
        backend.store().prepare().unwrap();
        let looked = backend.read(&mut |conn| {
            let tables = listed(&[&[META], TABLES].concat());
            assert_eq!(there(conn, &asked(conn, true)), tables, "{}", backend.shown());
            let views = listed(VIEWS);
            assert_eq!(there(conn, &asked(conn, false)), views, "{}", backend.shown());
            Ok(())
        });
        assert!(looked.unwrap());
    }
}

#[test]
fn texts_of_any_kind_arrive_as_they_were() {
    let (_there, from) = filled();
    let (_here, ends) = ends();
    for to in ends {
        let copied = copy(from.clone(), to.clone(), at(1), &|_| {}).unwrap();
        assert_eq!((copied.generation, copied.tables.len()), (1, TABLES.len() + 1));
        let reader = Backend::of(to).store().reader().unwrap().unwrap();
        for text in ["a\u{0}b", "\u{f8ff}0", "\\N\t\n\r\\"] {
            assert_eq!(reader.keys(text).unwrap().as_deref(), Some(text));
        }
    }
}

/// More rows than an index is worth keeping for, in tables that have some.
const MANY: &str = "
WITH RECURSIVE each (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < 10001)
INSERT INTO mirror_user (id, ext, username, email, flags) SELECT n, 'e' || n, 'U' || n, '', 0 FROM each;
INSERT INTO link (user, source, ext) SELECT id, 1, ext FROM mirror_user;
INSERT INTO history (num, generation, kind) SELECT id + 1000, 1, 4 FROM mirror_user";

#[test]
fn many_rows_arrive_with_every_index_and_the_next_one_has_a_number_of_its_own() {
    let (_there, from) = filled();
    let source = Backend::of(from.clone());
    let more = source.filled(&mut |conn| {
        let Conn::Sqlite(conn) = conn else { panic!("a file") };
        Ok(conn.execute_batch(MANY)?)
    });
    more.unwrap();
    let (_here, ends) = ends();
    for end in ends {
        let to = Backend::of(end.clone());
        to.store().prepare().unwrap();
        let indexes = || {
            let mut found = Vec::new();
            let looked = to.read(&mut |conn| {
                for table in ["mirror_user", "link", "history", "user"] {
                    found.extend(conn.indexes_of(table)?);
                }
                Ok(())
            });
            assert!(looked.unwrap());
            found.sort();
            found
        };
        let before = indexes();
        assert!(before.len() > 5, "{before:?}");
        let copied = copy(from.clone(), end.clone(), at(1), &|_| {}).unwrap();
        let rows = |name: &str| copied.tables.iter().find(|it| it.name == name).unwrap().rows;
        assert_eq!((rows("mirror_user"), rows("link"), rows("user")), (10_001, 10_004, 3));
        assert_eq!(indexes(), before);
        let mut numbers: Vec<i64> = Vec::new();
        let added = to.filled(&mut |conn| {
            conn.execute("INSERT INTO history (generation, kind) VALUES (1, 4)", [])?;
            let mut statement =
                conn.prepare("SELECT num FROM history ORDER BY num DESC LIMIT 2")?;
            numbers = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(())
        });
        added.unwrap();
        assert_eq!(numbers, [11_002, 11_001]);
    }
}

/// What makes a store keep something else than it is given: on SQLite, and on PostgreSQL.
const CROOKED: &[(&str, &str, &str)] = &[
    (
        "user",
        "CREATE TRIGGER crooked AFTER INSERT ON user WHEN new.id = 2 BEGIN \
         UPDATE user SET email = 'x' WHERE id = 2; END",
        "CREATE FUNCTION crooked() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN IF NEW.id = 2 THEN NEW.email := 'x'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER crooked BEFORE INSERT ON \"user\" FOR EACH ROW EXECUTE FUNCTION crooked()",
    ),
    (
        "jwks",
        "CREATE TRIGGER crooked AFTER INSERT ON jwks BEGIN DELETE FROM jwks WHERE issuer = new.issuer; END",
        "CREATE FUNCTION crooked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
         CREATE TRIGGER crooked BEFORE INSERT ON jwks FOR EACH ROW EXECUTE FUNCTION crooked()",
    ),
    (
        "gateway_user_role",
        "DROP VIEW gateway_user_role; \
         CREATE VIEW gateway_user_role AS SELECT username, username AS role FROM user",
        "CREATE OR REPLACE VIEW gateway_user_role AS SELECT username, username AS role FROM \"user\"",
    ),
];

#[test]
fn what_arrives_otherwise_than_it_was_sent_is_not_committed() {
    let (_there, from) = filled();
    for (what, of_file, of_database) in CROOKED {
        let (_here, ends) = ends();
        for to in ends {
            let backend = Backend::of(to.clone());
            backend.store().prepare().unwrap();
            let bent = backend.filled(&mut |conn| {
                match conn {
                    Conn::Sqlite(conn) => conn.execute_batch(of_file)?,
                    Conn::Postgres(session) => session.batch(of_database)?,
                }
                Ok(())
            });
            bent.unwrap();
            match copy(from.clone(), to, at(1), &|_| {}).unwrap_err() {
                CopyError::Store(error) => {
                    let told = format!("`{what}` came out different");
                    assert!(error.message.starts_with(&told), "{error}");
                }
                other => panic!("{other}"),
            }
            backend.check_empty().unwrap();
        }
    }
}

//! What cannot be tested from outside: other schemas, lost connections (`away`), another server that leads
//! (`failover`), who leads (`leading`), older stores (`older`), many rows (`rows`), who may sign in
//! (`signing_in`), plans of statements.

mod away;
mod failover;
mod leading;
mod older;
mod rows;
mod signing_in;

use tokio_postgres::types::Type;

use super::connect::identifier;
use super::schema::{self, Found, STEPS, Step};
use super::session::{Session, SessionError};
use super::store::PostgresStore;
use crate::store::conformance::worlds::{World, at, plan};
use crate::store::conformance::{commit, postgres_config, server};
use crate::store::sql::db::Conn;
use crate::store::sqlite::SCHEMA_VERSION;
use crate::store::{Commit, CommitError, LockError, Reader, Store, StoreErrorKind, Turn};

fn store() -> Option<PostgresStore> {
    Some(PostgresStore::new(postgres_config()?, None))
}

/// The same store by another process.
fn another(store: &PostgresStore) -> PostgresStore {
    PostgresStore::new(store.place.config.clone(), None)
}

fn people(count: u32) -> World {
    let mut world = World::default();
    for id in 0..count {
        world.person(id, &format!("u{id}"));
    }
    world
}

fn texts(store: &PostgresStore, sql: &str) -> Vec<String> {
    let session = store.session().unwrap();
    let mut statement = Conn::Postgres(&session).prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

const NEXT: Step = (SCHEMA_VERSION + 1, "ALTER TABLE meta ADD COLUMN extra BIGINT");
const BROKEN: Step =
    (SCHEMA_VERSION + 1, "ALTER TABLE meta ADD COLUMN extra BIGINT; SELECT * FROM no_such");

fn steps(last: Step) -> Vec<Step> {
    STEPS.iter().copied().chain([last]).collect()
}

#[test]
fn a_migration_happens_or_does_not_and_what_is_newer_is_left_alone() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    commit(&store, &plan(&World::default(), &people(2), at(0)));
    let session = store.session().unwrap();
    let columns = "SELECT CAST(column_name AS text) FROM information_schema.columns \
                   WHERE table_schema = current_schema() AND table_name = 'meta' ORDER BY 1";
    let before = texts(&store, columns);
    assert!(schema::migrate(&session, &store.place, &steps(BROKEN)).is_err());
    assert_eq!(texts(&store, columns), before);
    assert_eq!(store.reader().unwrap().unwrap().count_users().unwrap(), 2);

    schema::migrate(&session, &store.place, &steps(NEXT)).unwrap();
    assert_eq!(texts(&store, columns).len(), before.len() + 1);
    for error in [
        store.prepare().unwrap_err(),
        store.reader().err().unwrap(),
        store.begin(Turn::Mine).err().unwrap(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::Newer, "{error}");
    }
    assert_eq!(texts(&store, "SELECT CAST(generation AS text) FROM meta"), ["1"]);
}

#[test]
fn an_older_store_is_migrated_by_whoever_writes_and_read_by_nobody_before() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let session = store.session().unwrap();
    session.batch(&format!("UPDATE meta SET schema_version = {}", SCHEMA_VERSION - 1)).unwrap();
    assert_eq!(store.reader().err().unwrap().kind, StoreErrorKind::Older);
    let found = schema::identify(&session, &store.place, SCHEMA_VERSION).unwrap();
    assert_eq!(found, Found::Ours(SCHEMA_VERSION - 1));
}

#[test]
fn a_schema_of_something_else_is_left_alone() {
    let Some(store) = store() else { return };
    let name = identifier(&store.place.config.schema);
    let session = store.session().unwrap();
    session.batch(&format!("CREATE SCHEMA {name}; CREATE TABLE {name}.meta (a int)")).unwrap();
    for error in [store.prepare().unwrap_err(), store.reader().err().unwrap()] {
        assert_eq!(error.kind, StoreErrorKind::NotOurs, "{error}");
    }
    session.batch(&format!("DROP TABLE {name}.meta")).unwrap();
    assert!(store.reader().unwrap().is_none(), "an empty schema waits for its store");
    store.prepare().unwrap();
}

#[test]
fn two_that_make_the_store_at_once_make_one() {
    let Some(store) = store() else { return };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let store = another(&store);
            scope.spawn(move || store.prepare().unwrap());
        }
    });
    assert_eq!(texts(&store, "SELECT CAST(count(*) AS text) FROM meta"), ["1"]);
}

/// The server ends every session of this user but those of the superuser.
fn cut(store: &PostgresStore, whose: &str) {
    let _ = store;
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
         WHERE application_name LIKE '{whose}'"
    );
    server().unwrap().sql("postgres", &sql);
}

#[test]
fn whoever_lost_the_lock_writes_nothing_more() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let lock = store.lock("the first run", at(0)).unwrap();
    commit(&store, &plan(&World::default(), &people(1), at(0)));
    let other = another(&store);
    match other.lock("the second run", at(1)).unwrap_err() {
        LockError::Held { holder, .. } => assert!(holder.contains("the first run"), "{holder}"),
        LockError::Store(error) => panic!("{error}"),
    }

    // The first has read and planned when its session ends, and another one leads and is done.
    let mut late = store.begin(Turn::Anyones).unwrap();
    let base_version = late.reader().meta().unwrap().version;
    cut(&store, "%the first run%");
    drop(other.lock("the second run", at(1)).unwrap());
    let more = plan(&people(1), &people(2), at(2));
    let commit_late = |tx: &mut dyn crate::store::Transaction| {
        tx.commit(&Commit {
            plan: &more,
            base_version,
            sources: &[],
            configured: &[],
            settled: None,
        })
    };
    match commit_late(&mut *late).unwrap_err() {
        CommitError::Store(error) => {
            assert_eq!(error.kind, StoreErrorKind::Busy);
            assert!(error.message.contains("has led the store"), "{error}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(store.reader().unwrap().unwrap().count_users().unwrap(), 1);
    // What no plan depends on is for anybody to write.
    store.keep_keys("issuer", "{}", at(3)).unwrap();
    drop(late);

    // Who takes it anew leads anew, once the one before is over.
    match store.lock("the first run", at(4)).unwrap_err() {
        LockError::Held { holder, .. } => assert!(holder.contains("is ending"), "{holder}"),
        LockError::Store(error) => panic!("{error}"),
    }
    drop(lock);
    let again = store.lock("the first run", at(4)).unwrap();
    assert!(matches!(other.lock("the second run", at(5)), Err(LockError::Held { .. })));
    commit_late(&mut *store.begin(Turn::Anyones).unwrap()).unwrap();
    drop(again);
    drop(other.lock("the second run", at(6)).unwrap());
}

#[test]
fn a_run_whose_session_was_cut_goes_on_where_nobody_else_has_led() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let lock = store.lock("a run that was cut", at(0)).unwrap();
    cut(&store, "%a run that was cut%");
    commit(&store, &plan(&World::default(), &people(1), at(0)));
    assert_eq!(store.reader().unwrap().unwrap().count_users().unwrap(), 1);
    drop(lock);
}

/// How PostgreSQL runs a statement of this room with values of the kind that it is asked for.
fn explained(session: &Session, sql: &str) -> String {
    let types = session.prepare(sql).types().unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut own = super::dialect::translated(sql);
    for (at, kind) in types.iter().enumerate().rev() {
        let place = at + 1;
        let value = match *kind {
            // A whole mirror's rows.
            Type::INT8 if sql.contains(&format!("BETWEEN ?{place} AND")) => "4294967296",
            Type::INT8 if sql.contains(&format!("AND ?{place}")) && sql.contains("BETWEEN") => {
                "8589934591"
            }
            Type::INT8 => "4294967303",
            _ => "'ext-7'",
        };
        own = own.replace(&format!("${place}"), value);
    }
    let mut statement = Conn::Postgres(session)
        .prepare(&format!("EXPLAIN {own}"))
        .unwrap_or_else(|error| panic!("{own}: {error}"));
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let lines: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
    lines.join("\n")
}

/// Many people, told to the planner.
const MANY: &str = "
INSERT INTO \"user\" SELECT n, 'u' || n, '', 0, NULL, NULL, n % 50 + 1, 1 FROM generate_series(1, 20000) n;
INSERT INTO link SELECT n, n % 3, 'ext-' || n FROM generate_series(1, 20000) n;
INSERT INTO link_source VALUES (0, 'a'), (1, 'b'), (2, 'c');
INSERT INTO role_set SELECT n, CAST(n AS text), 400, n FROM generate_series(1, 50) n;
INSERT INTO role_set_role SELECT n, n % 7 FROM generate_series(1, 50) n;
INSERT INTO role SELECT n, 'r' || n, 1, '', 0, 'merge', NULL, '[]' FROM generate_series(0, 20) n;
INSERT INTO request SELECT n, 'w:A' || n, 'pool/p' FROM generate_series(1, 200) n;
INSERT INTO decision SELECT l, q, 0, 1, 1 FROM generate_series(1, 50) l, generate_series(1, 200) q;
INSERT INTO idp_grant SELECT n, n % 7, n FROM generate_series(1, 20000) n;
INSERT INTO source (num, name, configured, digest) VALUES (1, 'a', 1, 'x');
INSERT INTO mirror_user SELECT (CAST(n % 2 + 1 AS bigint) << 32) + n, 'ext-' || n, 'u' || n, 'u' || n || '@x', 0, n % 40,
    '', CASE WHEN n % 100 = 0 THEN 'c' || n END, CASE WHEN n % 100 = 0 THEN 'e' || n END,
    CASE WHEN n % 100 = 0 THEN 'd' || n END, n FROM generate_series(1, 20000) n;
INSERT INTO mirror_container SELECT (CAST(1 AS bigint) << 32) + n, 0, 'k' || n, 'g' || n, '/g' || n, 'g' || n, NULL, 1, 1,
    '', '', '', 'g' || n, n FROM generate_series(1, 5000) n;
ANALYZE \"user\", link, link_source, role_set, role, request, decision, idp_grant, mirror_user, mirror_container";

#[test]
fn a_decision_of_one_user_and_what_one_change_asks_pass_over_nobody() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let session = store.session().unwrap();
    session.batch(MANY).unwrap();
    let mut asked = crate::store::sql::of_one_change();
    asked.push(
        "SELECT effect, role FROM gateway_decision \
         WHERE username = ?1 AND action = ?2 AND resource = ?3"
            .to_owned(),
    );
    asked.push(
        "SELECT username FROM gateway_user_link WHERE source = ?1 AND external_id = ?2".to_owned(),
    );
    let people = ["\"user\"", "link", "mirror_user", "idp_grant", "mirror_container"];
    let passes = |sql: &str| {
        let plan = explained(&session, sql);
        let passes = people.iter().any(|table| {
            plan.contains(&format!("Seq Scan on {table} "))
                || plan.contains(&format!("Seq Scan on {table}\n"))
        });
        // All that a source's mirror has, by the range of its numbers alone.
        let range = plan.contains("Index Cond: ((id >= ");
        (passes || range).then_some(plan)
    };
    for sql in &asked {
        if let Some(plan) = passes(sql) {
            panic!("{sql}:\n{plan}");
        }
    }
    // The same look sees one that does, which is what is left where an index is not there.
    for index in [
        "user_username",
        "link_ext",
        "mirror_user_ext",
        "mirror_user_name",
        "mirror_user_email",
        "mirror_user_called",
        "mirror_user_called_email",
        "mirror_user_address",
    ] {
        session.batch(&format!("BEGIN; DROP INDEX {index}")).unwrap();
        assert!(asked.iter().any(|sql| passes(sql).is_some()), "{index}");
        session.batch("ROLLBACK").unwrap();
    }
}

#[test]
fn texts_of_any_kind_and_length_are_kept() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let odd = ["a\u{0}b", "\u{f8ff}", "x\\n\ty\r\n\\N", &"ü".repeat(9_000), "'\"$1?1"];
    let kept = |store: &PostgresStore, text: &str| {
        store.keep_keys("issuer", text, at(0)).unwrap();
        Reader::keys(&*store.reader().unwrap().unwrap(), "issuer").unwrap().unwrap()
    };
    for text in odd {
        assert_eq!(kept(&store, text), text);
    }
    // By `COPY` as well as one by one.
    for count in [3, 100] {
        let session = store.session().unwrap();
        session.begin("").unwrap();
        let rows: Vec<_> = (0..count)
            .map(|num: i64| {
                let text = odd[usize::try_from(num).unwrap() % odd.len()];
                [num.into(), text.into()]
            })
            .collect();
        session.copy("held_change (num, change)", rows.into_iter()).unwrap();
        let mut statement =
            Conn::Postgres(&session).prepare("SELECT num, change FROM held_change").unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut found = 0;
        while let Some(row) = rows.next().unwrap() {
            let num: i64 = row.get(0).unwrap();
            let text: String = row.get(1).unwrap();
            assert_eq!(text, odd[usize::try_from(num).unwrap() % odd.len()]);
            found += 1;
        }
        assert_eq!(found, count);
        session.rollback();
    }
}

#[test]
fn an_answer_while_rows_are_on_their_way_loses_none() {
    let Some(store) = store() else { return };
    let session = store.session().unwrap();
    let conn = Conn::Postgres(&session);
    let many = "SELECT CAST(n AS bigint) FROM generate_series(1, 5000) n";
    let mut statement = conn.prepare(many).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut sum = 0;
    while let Some(row) = rows.next().unwrap() {
        let number: i64 = row.get(0).unwrap();
        if number % 1000 == 0 {
            let twice: i64 = conn
                .query_row("SELECT CAST(?1 AS bigint) * 2", [number], |row| row.get(0))
                .unwrap();
            assert_eq!(twice, number * 2);
        }
        sum += number;
    }
    assert_eq!(sum, 5000 * 5001 / 2);
    assert!(matches!(
        session.batch("SELECT 1 FROM no_such"),
        Err(SessionError::Database(error)) if error.code().is_some()
    ));
}

//! Many rows at a time: whoever sends them goes on while the server works at them, and hears of what fails.

use super::away::by;
use super::{people, store, texts};
use crate::store::conformance::support::wire_proxy::{Trap, WireProxy};
use crate::store::conformance::worlds::{World, at, plan, random_directory, role, update};
use crate::store::conformance::{commit, postgres_config, server};
use crate::store::postgres::session::{Session, SessionError};
use crate::store::postgres::store::PostgresStore;
use crate::store::sql::Cell;
use crate::store::sql::db::{Conn, DbError, DbResult};
use crate::store::{Commit, CommitError, Store, StoreErrorKind, Turn};

fn copied(session: &Session, first: i64, count: i64) -> DbResult<()> {
    let rows = (first..first + count).map(|num| [Cell::from(num), "x".into()]);
    session.copy("held_change (num, change)", rows.collect::<Vec<_>>().into_iter())
}

/// At what the server works while whoever asked for it goes on, and fails, with 100 rows there.
const FAILING: [fn(&Session) -> DbResult<()>; 2] = [
    |session| copied(session, 50, 100),
    |session| {
        Ok(session
            .batch_behind("ANALYZE held_change; CREATE UNIQUE INDEX i ON held_change (change)")?)
    },
];

/// Rows of another table.
fn copied_elsewhere(session: &Session, count: i64) -> DbResult<()> {
    let rows = (0..count).map(|num| [Cell::from(num), "x".into()]);
    session.copy("federation (num, id)", rows.collect::<Vec<_>>().into_iter())
}

/// Everything that can come after it in a transaction. More rows of the same table go with those that are
/// under way.
const NEXT: [fn(&Session) -> DbResult<()>; 9] = [
    |session| copied(session, 500, 100).and_then(|()| Ok(session.batch("SELECT 1")?)),
    |session| copied(session, 500, 1).and_then(|()| Ok(session.batch("SELECT 1")?)),
    |session| copied_elsewhere(session, 100),
    |session| copied_elsewhere(session, 1),
    |session| Conn::Postgres(session).query_row("SELECT 1", [], |_| Ok(())),
    |session| Ok(session.batch("CREATE INDEX j ON held_change (change)")?),
    |session| Ok(session.batch_behind("CREATE INDEX j ON held_change (change)")?),
    |session| session.prepared("SELECT CAST(?1 AS bigint)").map(drop).map_err(DbError::from),
    |session| Ok(session.commit()?),
];

#[test]
fn what_fails_behind_is_told_by_whatever_comes_next_and_nothing_stays() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let each = |at| NEXT.iter().map(move |next| (at, next));
    let cases = FAILING.iter().flat_map(each).enumerate();
    for (at, (failing, next)) in cases {
        let session = store.session().unwrap();
        session.begin("").unwrap();
        copied(&session, 0, 100).unwrap();
        // The server works at it, and nobody has heard of it yet.
        failing(&session).unwrap();
        match next(&session).unwrap_err() {
            DbError::Postgres(SessionError::Database(error)) => {
                assert_eq!(error.code().unwrap().code(), "23505", "{at}");
            }
            other => panic!("{at}: {other}"),
        }
        session.rollback();
        assert!(!session.is_gone() && !session.is_in_transaction(), "{at}");
        // In no transaction it is told at once.
        copied(&session, 0, 100).unwrap();
        assert!(failing(&session).is_err(), "{at}");
        session.batch("DELETE FROM held_change").unwrap();
        drop(session);
        assert_eq!(texts(&store, "SELECT CAST(count(*) AS text) FROM held_change"), ["0"]);
    }
}

#[test]
fn rows_of_one_table_that_follow_each_other_go_together_and_none_is_missing() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let session = store.session().unwrap();
    let into = "held_change (num, change)";
    session.begin("").unwrap();
    let mut first = 0;
    for (count, together) in [(1, false), (100, true), (1, true), (9_000, true), (33, true)] {
        copied(&session, first, count).unwrap();
        assert_eq!(session.takes(into).is_some(), together, "{count}");
        assert!(session.takes("federation (num, id)").is_none());
        first += count;
    }
    let count = "SELECT count(*) FROM held_change";
    let count = Conn::Postgres(&session).query_row(count, [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), first);
    assert!(session.takes(into).is_none());
    session.rollback();
    // In no transaction nothing goes on.
    copied(&session, 0, 100).unwrap();
    assert!(session.takes(into).is_none());
}

#[test]
fn a_session_that_is_left_while_rows_are_under_way_is_not_used_again_and_nothing_of_it_stays() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let session = store.session().unwrap();
    let own = session.brief("SELECT pg_backend_pid()").unwrap().unwrap();
    session.begin("").unwrap();
    copied(&session, 0, 1_000).unwrap();
    drop(session);
    let session = store.session().unwrap();
    assert_ne!(session.brief("SELECT pg_backend_pid()").unwrap().unwrap(), own);
    // Waits for whoever has it still.
    session.begin("").unwrap();
    session.batch("LOCK TABLE held_change").unwrap();
    session.rollback();
    assert_eq!(texts(&store, "SELECT CAST(count(*) AS text) FROM held_change"), ["0"]);
}

/// More than go at once, so that some are under way while others are made.
const SEVERAL_LOTS: u32 = 25_000;

fn first(store: &PostgresStore) -> Result<(), CommitError> {
    let mut tx = store.begin(Turn::Anyones).unwrap();
    let base_version = tx.reader().meta().unwrap().version;
    let plan = plan(&World::default(), &people(SEVERAL_LOTS), at(0));
    let commit = Commit { plan: &plan, base_version, sources: &[], configured: &[], settled: None };
    tx.commit(&commit).map(drop)
}

/// What is in the store of people, and under which generation.
fn there(store: &PostgresStore) -> Vec<String> {
    texts(
        store,
        "SELECT concat_ws(' ', generation, (SELECT count(*) FROM \"user\"), \
         (SELECT count(*) FROM link), (SELECT count(*) FROM history)) FROM meta",
    )
}

#[test]
fn a_commit_of_which_an_earlier_lot_does_not_fit_or_is_cut_in_the_middle_writes_nothing() {
    let Some(config) = postgres_config() else { return };
    let direct = PostgresStore::new(config.clone(), None);
    direct.prepare().unwrap();
    // Somebody is there already who the plan says comes.
    let session = direct.session().unwrap();
    session.batch("INSERT INTO \"user\" VALUES (7, 'somebody', '', 0, NULL, NULL, 1, 1)").unwrap();
    match first(&direct).unwrap_err() {
        CommitError::Store(error) => {
            assert_eq!(error.kind, StoreErrorKind::Other);
            assert!(error.message.contains("duplicate key"), "{error}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(there(&direct), ["0 1 0 0"]);
    session.batch("DELETE FROM \"user\"").unwrap();

    let proxy = WireProxy::before(server().unwrap().port);
    let store = by(&config, proxy.port);
    proxy.set_after(b"\tu999", b"\tu1", Trap::Lost);
    match first(&store).unwrap_err() {
        CommitError::Store(error) => {
            assert!(error.message.contains("nothing was changed"), "{error}");
        }
        other => panic!("{other}"),
    }
    assert!(proxy.has_sprung());
    assert_eq!(there(&direct), ["0 0 0 0"]);
    first(&store).unwrap();
    let people = SEVERAL_LOTS;
    assert!(there(&direct)[0].starts_with(&format!("1 {people} ")), "{:?}", there(&direct));
}

/// As [`people`], each of whom holds a role.
fn holders(count: u32) -> World {
    let mut world = people(count);
    world.role(role("ml", Vec::new()));
    for id in 0..count {
        world.idp(id, "ml", &["/ml"]);
    }
    world
}

/// The first commit of a store, with what a source says.
fn first_read(store: &PostgresStore) {
    let directory = random_directory(1, SEVERAL_LOTS, 6);
    let plan = plan(&World::default(), &holders(SEVERAL_LOTS), at(0));
    let mut tx = store.begin(Turn::Anyones).unwrap();
    let digest = directory.digests(&tx.reader().digest_key().unwrap());
    let commit = Commit {
        plan: &plan,
        base_version: tx.reader().meta().unwrap().version,
        sources: &[update("corp", at(0), None, &directory, &digest)],
        configured: &["corp".to_owned()],
        settled: None,
    };
    tx.commit(&commit).unwrap();
}

/// What the schema says of each column, index and key.
pub(super) const SCHEMA: &str = "
SELECT concat_ws(' ', t.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity)
  FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
 WHERE t.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT concat_ws(' ', pg_get_indexdef(x.indexrelid), x.indisvalid, x.indisready, x.indisprimary, c.contype,
                 pg_get_constraintdef(c.oid))
  FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid
  LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid
 WHERE t.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
 ORDER BY 1";

/// Each index, and by what it is told from one of the same name that was there before.
const INDEXES: &str = "SELECT relname || ' ' || oid FROM pg_class WHERE relkind = 'i' \
                       AND relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)";

#[test]
fn a_first_commit_leaves_every_index_and_key_as_it_was() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let (before, indexes) = (texts(&store, SCHEMA), texts(&store, INDEXES));
    assert!(before.iter().any(|key| key.contains("history_pkey")), "{before:?}");
    first_read(&store);
    assert_eq!(texts(&store, SCHEMA), before);
    // Those of the tables that were filled were away meanwhile.
    let after = texts(&store, INDEXES);
    let mut anew: Vec<&str> = indexes
        .iter()
        .filter(|index| !after.contains(index))
        .filter_map(|index| index.split(' ').next())
        .collect();
    anew.sort_unstable();
    let expected = [
        "history_pkey",
        "idp_grant_pkey",
        "link_ext",
        "link_key",
        "mirror_user_email",
        "mirror_user_ext",
        "mirror_user_federation",
        "mirror_user_name",
        "mirror_user_pkey",
        "mirror_user_rid",
        "user_pkey",
        "user_username",
    ];
    assert_eq!(anew, expected);
    // They say what the rows say.
    for (table, found) in [("\"user\"", "username = 'u17'"), ("link", "\"user\" = 17")] {
        let sql = format!("SELECT CAST(count(*) AS text) FROM {table} WHERE {found}");
        assert_eq!(texts(&store, &sql), ["1"], "{table}");
    }
}

/// The generations: the first number of each that it tells, its rows' first and last number, how many they are.
const NUMBERS: &str = "SELECT concat_ws(' ', g.first, min(h.num), max(h.num), count(*)) \
                       FROM generation g JOIN history h ON h.generation = g.num GROUP BY g.num ORDER BY g.num";

fn numbers(store: &PostgresStore) -> Vec<[i64; 4]> {
    let row =
        |row: &String| row.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<_>>();
    texts(store, NUMBERS).iter().map(|text| row(text).try_into().unwrap()).collect()
}

#[test]
fn rows_of_history_are_numbered_in_order_whatever_failed_before_and_whoever_writes_next() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let session = store.session().unwrap();
    // The last table that is written has a number already.
    session.batch("INSERT INTO history (num, generation, kind) VALUES (7, 0, 1)").unwrap();
    assert!(first(&store).is_err());
    session.batch("DELETE FROM history").unwrap();
    first(&store).unwrap();
    commit(&store, &plan(&people(SEVERAL_LOTS), &people(SEVERAL_LOTS + 1), at(1)));
    // An older program lets the database number a row.
    session.batch("INSERT INTO history (generation, kind) VALUES (2, 1)").unwrap();
    commit(&store, &plan(&people(SEVERAL_LOTS + 1), &people(SEVERAL_LOTS + 2), at(2)));
    let found = numbers(&store);
    assert_eq!(found.len(), 3);
    for [told, first, last, count] in &found {
        assert_eq!((told, last - first + 1), (first, *count), "{found:?}");
    }
    assert!(found.windows(2).all(|two| two[0][2] < two[1][1]), "{found:?}");
}

//! Many rows at a time: whoever sends them goes on while the server works at them, and hears of what fails.

use super::away::by;
use super::{people, store, texts};
use crate::store::conformance::support::wire_proxy::{Trap, WireProxy};
use crate::store::conformance::worlds::{World, at, plan};
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

/// Everything that can come after rows in a transaction.
const NEXT: [fn(&Session) -> DbResult<()>; 5] = [
    |session| copied(session, 500, 100),
    |session| copied(session, 500, 1),
    |session| Conn::Postgres(session).query_row("SELECT 1", [], |_| Ok(())),
    |session| Ok(session.batch("CREATE INDEX i ON held_change (change)")?),
    |session| Ok(session.commit()?),
];

#[test]
fn rows_that_do_not_fit_are_told_by_whatever_comes_next_and_nothing_stays() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    for (at, next) in NEXT.iter().enumerate() {
        let session = store.session().unwrap();
        session.begin("").unwrap();
        copied(&session, 0, 100).unwrap();
        // The server works at it, and nobody has heard of it yet.
        copied(&session, 50, 100).unwrap();
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
        assert!(copied(&session, 50, 100).is_err(), "{at}");
        session.batch("DELETE FROM held_change").unwrap();
        drop(session);
        assert_eq!(texts(&store, "SELECT CAST(count(*) AS text) FROM held_change"), ["0"]);
    }
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

#[test]
fn a_first_commit_leaves_every_index_and_key_as_it_was() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let keys = "SELECT concat_ws(' ', pg_get_indexdef(x.indexrelid), x.indisvalid, c.contype, \
                       pg_get_constraintdef(c.oid)) \
                  FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid \
                  LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid \
                 WHERE t.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) \
                 ORDER BY 1";
    let before = texts(&store, keys);
    assert!(before.iter().any(|key| key.contains("history_pkey")), "{before:?}");
    commit(&store, &plan(&World::default(), &people(SEVERAL_LOTS), at(0)));
    assert_eq!(texts(&store, keys), before);
    // They say what the rows say, and rows of later commits get numbers of their own.
    commit(&store, &plan(&people(SEVERAL_LOTS), &people(SEVERAL_LOTS + 1), at(1)));
    let twice = "SELECT CAST(count(*) - count(DISTINCT num) AS text) FROM history";
    assert_eq!(texts(&store, twice), ["0"]);
    let found = "SELECT CAST(id AS text) FROM \"user\" WHERE username = 'u17'";
    assert_eq!(texts(&store, found), ["17"]);
}

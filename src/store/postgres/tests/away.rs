//! Servers that are away, hang, or do not answer; and the way to them.

use std::time::Duration;

use super::{another, cut, people, store, texts};
use crate::model::PostgresConfig;
use crate::store::conformance::support::wire_proxy::{Trap, WireProxy};
use crate::store::conformance::worlds::{World, at, plan};
use crate::store::conformance::{commit, postgres_config, server};
use crate::store::postgres::session::SessionError;
use crate::store::postgres::store::PostgresStore;
use crate::store::postgres::transaction::channel;
use crate::store::{Commit, CommitError, Committed, Seen, Store, StoreErrorKind, Turn, Watch};

/// The store, by a server that listens at another port.
pub(super) fn by(config: &PostgresConfig, port: u16) -> PostgresStore {
    let own = server().unwrap().port.to_string();
    let url = config.url.replace(&format!(":{own}/"), &format!(":{port}/"));
    assert_ne!(url, config.url);
    PostgresStore::new(PostgresConfig { url, ..config.clone() }, None)
}

/// A prepared store, and a proxy before its server.
fn behind_a_proxy() -> Option<(PostgresStore, WireProxy, PostgresStore)> {
    let config = postgres_config()?;
    let direct = PostgresStore::new(config.clone(), None);
    direct.prepare().unwrap();
    let proxy = WireProxy::before(server().unwrap().port);
    let store = by(&config, proxy.port);
    Some((direct, proxy, store))
}

fn change(store: &PostgresStore, old: u32, new: u32) -> Result<Committed, CommitError> {
    let mut tx = store.begin(Turn::Anyones).unwrap();
    let base_version = tx.reader().meta().unwrap().version;
    let plan = plan(&people(old), &people(new), at(i64::from(new)));
    tx.commit(&Commit { plan: &plan, base_version, sources: &[], configured: &[], settled: None })
}

const COMMIT: &[u8] = b"COMMIT\0";

#[test]
fn a_commit_that_is_not_answered_is_looked_up() {
    let Some((direct, proxy, store)) = behind_a_proxy() else { return };
    for (trap, old, new, comes) in
        [(Trap::Unanswered, 0, 1, true), (Trap::Lost, 1, 2, false), (Trap::Unanswered, 1, 2, true)]
    {
        proxy.set(COMMIT, trap);
        let done = change(&store, old, new);
        assert!(proxy.has_sprung());
        match done {
            Ok(done) => assert!(comes && done.generation == Some(u64::from(new))),
            Err(error) => assert!(!comes && error.to_string().contains("nothing was changed")),
        }
        let count = if comes { new } else { old };
        let users = direct.reader().unwrap().unwrap().count_users().unwrap();
        assert_eq!(users, usize::try_from(count).unwrap());
    }
}

#[test]
fn a_commit_without_a_generation_is_found_again_when_others_have_written_since() {
    let Some((direct, proxy, store)) = behind_a_proxy() else { return };
    let kept = |issuer: &str| {
        crate::store::Reader::keys(&*direct.reader().unwrap().unwrap(), issuer).unwrap()
    };
    for (trap, issuer, comes) in [(Trap::Unanswered, "a", true), (Trap::Lost, "b", false)] {
        // Nobody can look it up until another one has written.
        proxy.set(COMMIT, trap);
        let done = std::thread::scope(|scope| {
            let writing = scope.spawn(|| store.keep_keys(issuer, "{}", at(1)));
            proxy.await_sprung();
            proxy.cut();
            direct.keep_keys("another", issuer, at(2)).unwrap();
            proxy.open();
            writing.join().unwrap()
        });
        assert_eq!(kept(issuer).is_some(), comes, "{issuer}");
        assert_eq!(kept("another").as_deref(), Some(issuer));
        match done {
            Ok(()) => assert!(comes),
            Err(error) => {
                assert!(!comes && error.message.contains("nothing was changed"), "{error}")
            }
        }
    }
}

#[test]
fn a_server_that_hangs_is_given_up_and_nothing_of_it_stays() {
    let Some((direct, proxy, store)) = behind_a_proxy() else { return };
    let reader = store.opened().unwrap().unwrap();
    let session = reader.session();
    session.begin("").unwrap();
    session.batch("UPDATE meta SET commits = commits + 1").unwrap();
    // The server is not at work: it has answered, and nobody hears it.
    proxy.set(b"SELECT 7", Trap::Hangs);
    let error = session.batch("SELECT 7").unwrap_err();
    assert!(matches!(error, SessionError::Silent(_)) && error.is_cut(), "{error}");
    assert!(session.is_gone());
    // Who comes now is not answered either, is told so, and leaves.
    let error = another(&store).reader().err().unwrap();
    assert!(error.message.contains("cannot reach the store"), "{error}");
    drop(reader);
    proxy.await_nobody();
    // The server has noticed too, and holds nothing for whoever is gone.
    proxy.cut();
    direct.keep_keys("issuer", "{}", at(0)).unwrap();
    proxy.open();
    assert!(store.reader().unwrap().is_some(), "it is used again once it answers");
}

#[test]
fn a_statement_at_which_the_server_works_is_waited_for() {
    let Some(store) = store() else { return };
    let session = store.session().unwrap();
    session.batch("SELECT pg_sleep(12)").unwrap();
    assert!(!session.is_gone());
}

#[test]
fn of_several_hosts_one_that_takes_connections_and_hangs_is_passed_over() {
    let Some(config) = postgres_config() else { return };
    let port = server().unwrap().port;
    let hung = WireProxy::before(port);
    hung.hang();
    let own = format!("127.0.0.1:{port}/");
    let url = config.url.replace(&own, &format!("127.0.0.1:{},localhost:{port}/", hung.port));
    let store = PostgresStore::new(PostgresConfig { url, ..config.clone() }, None);
    store.prepare().unwrap();
    assert_eq!(hung.clients().0, 1);
    hung.await_nobody();

    let url = config.url.replace(&own, &format!("127.0.0.1:{},127.0.0.1:1/", hung.port));
    let error = PostgresStore::new(PostgresConfig { url, ..config }, None).reader().err().unwrap();
    for host in
        [format!("`127.0.0.1:{}`: it has not answered", hung.port), "`127.0.0.1:1`: ".into()]
    {
        assert!(error.message.contains(&host), "{error}");
    }
}

#[test]
fn the_server_notices_soon_that_nobody_is_there_any_more() {
    let Some(store) = store() else { return };
    let settings = "SELECT name || ' ' || setting FROM pg_settings WHERE name IN \
        ('tcp_user_timeout', 'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count', \
         'client_connection_check_interval', 'idle_session_timeout') ORDER BY name";
    assert_eq!(
        texts(&store, settings),
        [
            "client_connection_check_interval 5000",
            "idle_session_timeout 0",
            "tcp_keepalives_count 2",
            "tcp_keepalives_idle 3",
            "tcp_keepalives_interval 2",
            "tcp_user_timeout 7000",
        ]
    );
}

#[test]
fn a_session_that_failed_at_a_transactions_edge_is_not_used_again() {
    let Some((_, proxy, store)) = behind_a_proxy() else { return };
    let session = store.session().unwrap();
    // What is refused at the commit alone.
    session
        .batch(
            "CREATE TEMP TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED); BEGIN; \
             INSERT INTO t VALUES (1), (1)",
        )
        .unwrap();
    assert!(matches!(session.commit().unwrap_err(), SessionError::Database(_)));
    assert!(session.is_gone() && !session.is_in_transaction());
    drop(session);

    // Rows that never come keep a commit from being sent: the transaction is open as far as anybody knows.
    let session = store.session().unwrap();
    session.begin("").unwrap();
    let statement = session.prepare("SELECT CAST(n AS bigint) FROM generate_series(1, 200000) n");
    let rows = statement.query(&[(); 0]).unwrap();
    proxy.cut();
    assert!(session.commit().is_err());
    assert!(session.is_gone());
    drop((rows, session));
    proxy.open();
    let session = store.session().unwrap();
    assert!(!session.is_in_transaction());
    let open = "SELECT CAST(now() = statement_timestamp() AS text)";
    assert_eq!(session.brief(open).unwrap().as_deref(), Some("true"));
}

#[test]
fn a_channel_has_a_name_that_postgresql_takes_whole() {
    assert_eq!(channel("idpsyncd"), "idpsyncd_idpsyncd");
    let (long, other) = ("ü".repeat(31), format!("{}a", "ü".repeat(30)));
    assert!(channel(&long).len() <= 63 && channel(&long) != channel(&other));

    // Who follows a store in such a schema is told.
    let Some(config) = postgres_config() else { return };
    let store = PostgresStore::new(PostgresConfig { schema: long, ..config }, None);
    store.prepare().unwrap();
    commit(&store, &plan(&World::default(), &people(1), at(0)));
    let session = store.session().unwrap();
    session.batch(&format!("LISTEN \"{}\"", channel(&store.place.config.schema))).unwrap();
    let mut watch = store.watch();
    watch.look(&mut |_, _| Ok(())).unwrap();
    store.keep_keys("issuer", "{}", at(0)).unwrap();
    assert!(watch.wait(Duration::MAX));
}

#[test]
fn a_database_whose_texts_are_not_utf_8_is_refused() {
    let Some(config) = postgres_config() else { return };
    let server = server().unwrap();
    server.sql(
        "postgres",
        "CREATE DATABASE latin OWNER idpsyncd ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    );
    let url = format!("{}/latin", config.url.strip_suffix("/idpsyncd").unwrap());
    let store = PostgresStore::new(PostgresConfig { url, ..config }, None);
    for error in [store.prepare().unwrap_err(), store.reader().err().unwrap()] {
        assert_eq!(error.kind, StoreErrorKind::Other);
        assert!(error.message.contains("LATIN1") && error.message.contains("UTF8"), "{error}");
    }
}

#[test]
fn whoever_follows_goes_on_after_its_connections_were_cut() {
    let Some(config) = postgres_config() else { return };
    let direct = PostgresStore::new(config.clone(), None);
    direct.prepare().unwrap();
    let url = format!("{}?application_name=follower", config.url);
    let mut watch = PostgresStore::new(PostgresConfig { url, ..config }, None).watch();
    let seen = |watch: &mut dyn Watch| {
        let mut seen = None;
        let done = watch.look(&mut |reader, it| {
            seen = Some((reader.meta()?.generation, it.another));
            Ok(())
        });
        done.map(|()| seen.unwrap())
    };
    assert_eq!(seen(&mut *watch).unwrap(), (0, true));
    cut(&direct, "follower");
    commit(&direct, &plan(&World::default(), &people(1), at(0)));
    let found = loop {
        assert!(watch.wait(std::time::Duration::MAX));
        match seen(&mut *watch) {
            Ok((0, _)) | Err(_) => {}
            Ok(found) => break found,
        }
    };
    assert_eq!(found, (1, false), "it is the store that it was");
}

#[test]
fn of_several_hosts_one_that_answers_is_used() {
    let Some(config) = postgres_config() else { return };
    let port = server().unwrap().port;
    let own = format!("127.0.0.1:{port}/");
    let with = |attributes: &str| {
        let url = config.url.replace(&own, &format!("127.0.0.1:1,127.0.0.1:{port}/"));
        PostgresConfig { url: format!("{url}?target_session_attrs={attributes}"), ..config.clone() }
    };
    PostgresStore::new(with("read-write"), None).prepare().unwrap();
    let store = PostgresStore::new(with("read-only"), None);
    let error = store.reader().err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::Other);
    assert!(error.message.starts_with("cannot reach the store"), "{error}");
}

#[test]
fn a_generation_of_another_history_is_not_taken_for_the_one_that_was_seen() {
    let Some(config) = postgres_config() else { return };
    let store = PostgresStore::new(config, None);
    store.prepare().unwrap();
    commit(&store, &plan(&World::default(), &people(1), at(0)));
    let mut watch = store.watch();
    let mut look = || {
        let mut seen = None;
        let done = watch.look(&mut |_, it| {
            seen = Some(it);
            Ok(())
        });
        done.unwrap();
        seen.unwrap()
    };
    assert_eq!(look(), Seen { another: true, elsewhere: true });
    commit(&store, &plan(&people(1), &people(2), at(1)));
    assert_eq!(look(), Seen { another: false, elsewhere: false });
    // The same number at the same moment, of another history; and what comes after it.
    store.session().unwrap().batch("UPDATE generation SET token = 'other' WHERE num = 2").unwrap();
    assert_eq!(look(), Seen { another: true, elsewhere: false });
    commit(&store, &plan(&people(2), &people(3), at(2)));
    store.session().unwrap().batch("UPDATE generation SET token = 'third' WHERE num = 2").unwrap();
    assert_eq!(look(), Seen { another: true, elsewhere: false });
    assert_eq!(look(), Seen { another: false, elsewhere: false });
}

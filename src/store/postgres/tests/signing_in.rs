//! Who may sign in changes while sessions are there; and what a session begins with.

use std::sync::{Arc, Mutex};

use secrecy::SecretString;

use super::texts;
use crate::model::{PostgresConfig, StoreTls};
use crate::store::conformance::support::postgres::Postgres;
use crate::store::conformance::{postgres_config, server};
use crate::store::postgres::store::PostgresStore;
use crate::store::postgres::wire::IMPATIENCE;
use crate::store::{Password, Store, StoreErrorKind};

/// A server of its own that asks for a password, and the store there of somebody who has the one in the cell.
fn with_password(password: &str) -> Option<(Postgres, Arc<Mutex<String>>, PostgresStore)> {
    let postgres = Postgres::start()?;
    postgres.database("idpsyncd", "idpsyncd");
    postgres.ask_password("idpsyncd", password);
    let url = format!("postgresql://idpsyncd@127.0.0.1:{}/idpsyncd", postgres.port);
    let (shown, schema) = (url.clone(), "idpsyncd".to_owned());
    let config =
        PostgresConfig { shown, url, tls: StoreTls::Never, ca_file: None, schema, read: None };
    let kept = Arc::new(Mutex::new(password.to_owned()));
    let read = Arc::clone(&kept);
    let password = Password::new(move || Ok(SecretString::from(read.lock().unwrap().clone())));
    Some((postgres, kept, PostgresStore::with_patience(config, Some(password), IMPATIENCE)))
}

#[test]
fn the_password_is_read_anew_by_whoever_signs_in_and_whoever_is_signed_in_stays_so() {
    let Some((postgres, kept, store)) = with_password("first") else { return };
    store.prepare().unwrap();
    let session = store.session().unwrap();
    let signs_in = || store.place.connect(None, None).map(drop);
    for (next, server_first) in [("second", true), ("third", false)] {
        let change = |at_server: bool| match at_server {
            true => postgres.ask_password("idpsyncd", next),
            false => next.clone_into(&mut kept.lock().unwrap()),
        };
        signs_in().unwrap();
        change(server_first);
        let error = signs_in().unwrap_err().store(&store.shown());
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(error.message.contains("cannot sign in"), "{error}");
        session.batch("SELECT 1").unwrap();
        change(!server_first);
        signs_in().unwrap();
        session.batch("SELECT 1").unwrap();
    }
}

#[test]
fn what_a_server_works_at_is_waited_for_though_nobody_else_is_let_in() {
    let Some((postgres, _, store)) = with_password("first") else { return };
    for refuse in ["PASSWORD 'second'", "CONNECTION LIMIT 0"] {
        let session = store.session().unwrap();
        postgres.sql("postgres", &format!("ALTER ROLE idpsyncd {refuse}"));
        assert!(store.place.connect(None, None).is_err(), "{refuse}");
        // Longer than an answer is waited for without a look whether it is worked at.
        session.batch("SELECT pg_sleep(4)").unwrap();
        assert!(!session.is_gone(), "{refuse}");
        postgres.sql("postgres", "ALTER ROLE idpsyncd CONNECTION LIMIT -1 PASSWORD 'first'");
    }
}

#[test]
fn no_limit_that_is_set_for_the_role_counts_in_a_session() {
    let Some(config) = postgres_config() else { return };
    let server = server().unwrap();
    // Whatever limits this server has: `transaction_timeout` since PostgreSQL 17, and any that is still to come. Those
    // of a WAL sender are not for sessions like these.
    let limits = "SELECT name FROM pg_settings WHERE name LIKE '%\\_timeout' AND context = 'user' AND name NOT LIKE 'wal%' ORDER BY name";
    let limits = server.sql("postgres", limits);
    assert!(limits.lines().count() >= 4, "{limits}");
    server.sql("postgres", "CREATE ROLE limited LOGIN; GRANT idpsyncd TO limited");
    for name in limits.lines() {
        server.sql("postgres", &format!("ALTER ROLE limited SET {name} = '17s'"));
    }
    let url = config.url.replace("//idpsyncd@", "//limited@");
    let limited = PostgresStore::new(PostgresConfig { url, ..config }, None);
    let found = "SELECT name || ' ' || setting || coalesce(unit, '') FROM pg_settings \
                 WHERE name LIKE '%\\_timeout' AND context = 'user' AND name NOT LIKE 'wal%' ORDER BY name";
    let found = texts(&limited, found);
    assert_eq!(found.len(), limits.lines().count());
    for limit in &found {
        assert!(!limit.ends_with(" 17000ms"), "{limit}");
    }
}

//! `store copy`: a whole store from a file into a database and back, what is refused, and what is left where
//! it ends in the middle.

#![cfg(test)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::DateTime;
use idpsyncd::model::{
    FollowMode, Followed, PostgresConfig, SessionEnd, SessionRealm, SessionScope, StoreConfig,
    StoreTls, Time,
};
use idpsyncd::store::{self, Leader, Review, Store};
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use support::company::{store_server as server, store_url as url};
use support::done::Done;
use support::gateways::send;
use support::idpsyncd::Home;
use support::server::free_port;
use support::wire_proxy::{Trap, WireProxy};

const ROLES: &str = r#"
[guard]
max_lost_floor = 0
max_lost_percent = 0
[[source]]
name = "idp"
kind = "file"
realm_export = "realm.json"
[roles.ml]
[[roles.ml.policies]]
actions = ["workflow:*"]
resources = ["pool/ml-*"]
[[roles.ml.policies]]
actions = ["auth:Token"]
resources = ["user/${self}"]
[roles.all]
everyone = true
[[catalog]]
actions = ["workflow:Create", "workflow:Read"]
resources = ["pool/ml-a", "pool/ml-b"]
[[catalog]]
actions = ["auth:Token"]
resources = ["user/ann", "user/bob"]
[gateway]
http = "127.0.0.1:PORT"
identity = "header"
user_header = "x-user"
[gateway.tokens]
enabled = true
[[gateway.route]]
methods = ["GET"]
path = "/a"
action = "workflow:Read"
resource = "pool/ml-a"
"#;

/// Tables that this company has nothing for.
const EMPTY: [&str; 2] = ["federation", "workload"];

fn realm(home: &Home, people: &[(&str, &[&str])]) {
    let users = people.iter().map(|(name, groups)| {
        json!({"id": format!("id-{name}"), "username": name, "email": format!("{name}@x.org"), "enabled": true,
               "groups": groups})
    });
    let users: Vec<Value> = users.collect();
    let groups = json!([{"id": "g", "name": "ml", "path": "/ml", "subGroups": []}]);
    let realm = json!({"realm": "x", "enabled": true, "groups": groups, "users": users});
    std::fs::write(home.path("realm.json"), realm.to_string()).unwrap();
}

/// A folder whose store is where `store` says, the keys of `[store]`.
fn home(store: &str) -> (Home, u16) {
    let port = free_port();
    let rules = ROLES.replace("PORT", &port.to_string());
    let mapping = "[[mapping]]\nsource = \"idp\"\ngroup = \"/ml\"\nroles = [\"ml\"]\n";
    let home = Home::new(&format!("[store]\n{store}\n{rules}{mapping}"));
    realm(&home, &[("ann", &["/ml"]), ("bob", &["/ml"]), ("cem", &[])]);
    (home, port)
}

fn path(home: &Home) -> String {
    home.path("store.db").display().to_string()
}

fn time(seconds: i64) -> Time {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// A company in a file, with something in every table that it can have something in; and an access token.
fn company() -> (Home, String) {
    let (home, _) = home("path = \"store.db\"");
    home.ok(&["sync"], 0);
    home.ok(&["user", "add", "svc-ci", "--service", "--reason", "builds"], 0);
    home.ok(&["grant", "add", "svc-ci", "ml", "--reason", "builds"], 0);
    home.ok(
        &["grant", "add", "cem", "ml", "--reason", "a while", "--until", "2199-01-01T00:00:00Z"],
        0,
    );
    home.ok(&["grant", "remove", "cem", "ml"], 0);
    let created = ["token", "create", "ann", "laptop", "--expires", "90d", "--output", "json"];
    let created: Value = serde_json::from_str(&home.ok(&created, 0)).unwrap();
    home.ok(&["token", "create", "svc-ci", "nightly", "--expires", "90d"], 0);
    home.ok(&["user", "disable", "svc-ci", "--reason", "no builds"], 0);
    // A removal that is held, and a mirror that says so.
    realm(&home, &[("ann", &["/ml"]), ("bob", &[]), ("cem", &[])]);
    home.ok(&["sync"], 3);
    let store = store::open(&StoreConfig::sqlite(home.path("store.db")));
    let ended = SessionEnd {
        realm: SessionRealm::Source("idp".to_owned()),
        scope: SessionScope::Session("s1".to_owned()),
        last_iat: 1_000,
    };
    store.end_sessions(&[ended], 0).unwrap();
    store.keep_keys("https://issuer.example.org", "{\"keys\":[]}", time(5)).unwrap();
    let followed = Followed {
        mode: FollowMode::Poll,
        why: Some("it is a file".to_owned()),
        since: time(3),
        current_at: Some(time(4)),
        last_drift: None,
    };
    store.keep_followed("idp", &followed).unwrap();
    let review = Review {
        name: "q1".to_owned(),
        generation: 1,
        by: "ann".to_owned(),
        account: "ann (uid 7)".to_owned(),
        at: time(6),
    };
    store.sign(&review).unwrap();
    (home, created["secret"].as_str().unwrap().to_owned())
}

/// Every row of every table and view of a file, by its name.
fn dump(file: &Path) -> BTreeMap<String, Vec<String>> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name";
    let mut statement = conn.prepare(names).unwrap();
    let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let rows = |name: &str| {
        let mut statement = conn.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells = (0..columns).map(|column| row.get::<_, Cell>(column));
            Ok(format!("{:?}", cells.collect::<rusqlite::Result<Vec<_>>>()?))
        });
        let mut rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
        rows.sort();
        rows
    };
    names.map(|name| name.unwrap()).map(|name| (name.clone(), rows(&name))).collect()
}

fn copied(home: &Home, to: &str) -> Value {
    serde_json::from_str(&home.ok(&["store", "copy", "--to", to, "--output", "json"], 0)).unwrap()
}

const TOLD: &[&[&str]] = &[
    &["explain", "ann"],
    &["explain", "bob"],
    &["history"],
    &["history", "--user", "svc-ci"],
    &["user", "list"],
    &["grant", "list"],
    &["token", "list"],
    &["plan", "show"],
    &["report", "access", "--as-of", "1"],
    &["who", "workflow:Read", "pool/ml-b"],
];

#[test]
fn a_store_goes_into_a_database_and_back_with_everything_in_it() {
    let Some(postgres) = server() else { return };
    let (file, token) = company();
    let (other, port) = home(&format!("postgres = \"{}\"", url(&[postgres.port])));
    let (back, _) = home("path = \"store.db\"");
    std::fs::copy(file.path("realm.json"), other.path("realm.json")).unwrap();
    std::fs::copy(file.path("realm.json"), back.path("realm.json")).unwrap();

    let before = dump(&file.path("store.db"));
    let there = copied(&file, &url(&[postgres.port]));
    let rows = |all: &Value| -> BTreeMap<String, u64> {
        let each = all.as_array().unwrap().iter();
        each.map(|it| (it["name"].as_str().unwrap().to_owned(), it["rows"].as_u64().unwrap()))
            .collect()
    };
    let tables = rows(&there["tables"]);
    let empty: BTreeSet<&str> =
        tables.iter().filter(|(_, rows)| **rows == 0).map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        empty,
        BTreeSet::from(EMPTY),
        "a company that has nothing of a kind tests nothing of it"
    );
    assert!(rows(&there["views"])["gateway_decision"] > 0);
    for told in TOLD {
        assert_eq!(file.ok(told, 0), other.ok(told, 0), "{told:?}");
    }

    // Before anything is written there, it goes back as it came.
    let here = copied(&other, &path(&back));
    assert_eq!((&here["tables"], &here["views"]), (&there["tables"], &there["views"]));
    assert_eq!(dump(&back.path("store.db")), before);
    assert_eq!(dump(&file.path("store.db")), before, "what is copied is as it was");

    // The database goes on where the file was: what is held stays held, and nothing is new.
    let generation = |home: &Home| {
        let status: Value =
            serde_json::from_str(&home.ok(&["status", "--output", "json"], 0)).unwrap();
        status["generation"].clone()
    };
    assert_eq!(generation(&other), there["generation"]);
    other.ok(&["sync"], 3);
    assert_eq!(generation(&other), there["generation"]);
    let mut serving = other.start("serve");
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
    drop(serving.until("it listens", listens));
    let bearer = format!("Bearer {token}");
    let status = |bearer: &str| send(port, "GET", b"/authz/a", &[("authorization", bearer)]).status;
    serving.until("a gateway answers", || (status(&bearer) == 200).then_some(()));
    assert_eq!(status(&format!("{bearer}x")), 401);
    drop(serving);
    let held: Value =
        serde_json::from_str(&other.ok(&["plan", "show", "--output", "json"], 0)).unwrap();
    other.ok(&["plan", "approve", held["id"].as_str().unwrap()], 0);
    other.ok(&["sync"], 0);
    other.ok(&["token", "create", "ann", "desktop", "--expires", "90d"], 0);
    other.ok(&["grant", "add", "cem", "ml", "--reason", "again"], 0);

    // And what was written there is in the next copy.
    let (once_more, _) = home("path = \"store.db\"");
    std::fs::copy(file.path("realm.json"), once_more.path("realm.json")).unwrap();
    copied(&other, &path(&once_more));
    for told in [&["explain", "bob"][..], &["history"], &["token", "list"], &["grant", "list"]] {
        assert_eq!(once_more.ok(told, 0), other.ok(told, 0), "{told:?}");
    }
    once_more.ok(&["sync"], 0);
    assert_eq!(generation(&once_more), generation(&other));
}

#[test]
fn a_dry_run_says_what_would_be_copied_and_makes_nothing() {
    let Some(postgres) = server() else { return };
    let (file, _) = company();
    let to = url(&[postgres.port]);
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("store.db").display().to_string();
    for to in [&to, &path] {
        let done =
            Done::of(&mut file.command(&["store", "copy", "--dry-run", "--to", to])).exits(0);
        let done = done.says("would be copied").says("4 users").says("2 access tokens");
        done.says("Nothing was written");
    }
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'idpsyncd'";
    assert_eq!(postgres.sql("idpsyncd", schemas), "0");
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn what_holds_something_or_is_no_store_is_not_copied_to() {
    let Some(postgres) = server() else { return };
    let (file, _) = company();
    let (full, _) = home(&format!("postgres = \"{}\"\nschema = \"full\"", url(&[postgres.port])));
    full.ok(&["sync"], 0);
    let (keys, _) = home(&format!("postgres = \"{}\"\nschema = \"keys\"", url(&[postgres.port])));
    keys.ok(&["store", "init"], 0);
    postgres.sql("idpsyncd", "INSERT INTO keys.jwks VALUES ('i', '{}', 0)");
    postgres.sql(
        "idpsyncd",
        "CREATE SCHEMA other AUTHORIZATION idpsyncd; CREATE TABLE other.meta (a int)",
    );
    std::fs::write(file.path("text"), "no store").unwrap();
    let (path, to) = (path(&file), url(&[postgres.port]));
    let older = home("path = \"store.db\"").0;
    older.ok(&["store", "init"], 0);
    rusqlite::Connection::open(older.path("store.db"))
        .unwrap()
        .execute_batch("PRAGMA user_version = 9")
        .unwrap();
    let older_path = older.path("store.db").display().to_string();
    for (args, status, what) in [
        (
            &["--to", &to, "--schema", "full"][..],
            1,
            "holds generation 1: nothing was copied over it",
        ),
        (&["--to", &to, "--schema", "keys"], 1, "(the table `jwks`)"),
        (&["--to", &to, "--schema", "other"], 1, "is not a store of idpsyncd"),
        (
            &["--to", &to, "--schema", "pg_x"],
            64,
            "the schema is a name that PostgreSQL keeps to itself",
        ),
        (&["--to", &path], 1, "is the store itself"),
        (&["--to", file.path("text").to_str().unwrap()], 1, "text"),
        (&["--to", "/nowhere/store.db"], 1, "`/nowhere` does not exist"),
        (&["--to", &older_path], 1, "an older idpsyncd wrote"),
        (&["--to", &path, "--schema", "x"], 64, "goes with the URL"),
        (&["--to", ""], 64, "is empty"),
        (&["--to", "mysql://a:s3cret@db/x"], 64, "is no URL of a database"),
        (&["--to", "postgresql://a:s3cret@db/x?sslmode=prefer"], 64, "verify-full"),
        (&[], 64, "--to"),
    ] {
        let args = [&["store", "copy"], args].concat();
        let done = Done::of(&mut file.command(&args)).exits(status);
        assert!(done.err.contains(what), "{args:?}: {}", done.err);
        assert!(!done.err.contains("s3cret"), "{args:?}: {}", done.err);
    }
    for (home, what) in
        [(&older, "`idpsyncd store init`"), (&home("path = \"none.db\"").0, "nothing to copy")]
    {
        let done = Done::of(&mut home.command(&["store", "copy", "--to", &to])).exits(1);
        assert!(done.err.contains(what), "{}", done.err);
    }
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'idpsyncd'";
    assert_eq!(postgres.sql("idpsyncd", schemas), "0", "nothing was made on the way");
}

#[test]
fn whoever_works_on_one_of_the_two_or_leads_there_is_named_and_nothing_is_copied() {
    let Some(postgres) = server() else { return };
    let (file, _) = company();
    let to = url(&[postgres.port]);
    let own = store::open(&StoreConfig::sqlite(file.path("store.db")));
    let lock = own.lock("the night's run", time(0)).unwrap();
    let copy = ["store", "copy", "--to", &to];
    let done = Done::of(&mut file.command(&copy)).exits(1);
    assert!(done.err.contains("`the night's run`"), "{}", done.err);
    drop(lock);
    let to_file = file.path("other.db");
    let other: std::sync::Arc<dyn Store> = store::open(&StoreConfig::sqlite(&to_file));
    let lock = other.lock("somebody else's run", time(0)).unwrap();
    let done =
        Done::of(&mut file.command(&["store", "copy", "--to", to_file.to_str().unwrap()])).exits(1);
    assert!(done.err.contains("`somebody else's run`"), "{}", done.err);
    drop(lock);
    let lead = own.lead(&Leader::new("zone-a", 4_711, time(0))).unwrap();
    let done = Done::of(&mut file.command(&copy)).exits(1);
    assert!(done.err.contains("process 4711 on zone-a since 1970"), "{}", done.err);
    lead.resign();
    drop(lead);
    // At the other end too.
    let (empty, _) = home(&format!("postgres = \"{to}\""));
    empty.ok(&["store", "init"], 0);
    let there = store::open(&StoreConfig::Postgres(PostgresConfig {
        url: to.clone(),
        shown: to.clone(),
        tls: StoreTls::Never,
        ca_file: None,
        schema: "idpsyncd".to_owned(),
        read: None,
    }));
    let lead = there.lead(&Leader::new("zone-b", 4_712, time(0))).unwrap();
    let done = Done::of(&mut file.command(&copy)).exits(1);
    assert!(done.err.contains("process 4712 on zone-b since 1970"), "{}", done.err);
    lead.resign();
    drop(lead);
    // A store that holds nothing yet is as good as none.
    file.ok(&copy, 0);
    let done = Done::of(&mut file.command(&copy)).exits(1);
    assert!(done.err.contains("holds generation"), "{}", done.err);
}

#[test]
fn a_store_that_is_filled_after_it_was_found_empty_is_not_copied_over() {
    let Some(postgres) = server() else { return };
    let (file, _) = company();
    let (other, _) = home(&format!("postgres = \"{}\"", url(&[postgres.port])));
    other.ok(&["store", "init"], 0);
    let proxy = WireProxy::before(postgres.port);
    // It has seen that there is no generation, and goes on to the tables.
    proxy.set(b"SELECT 1 FROM role LIMIT 1", Trap::Hangs);
    let to = url(&[proxy.port]);
    let mut copy = file.command(&["store", "copy", "--to", &to]);
    let copying = std::thread::spawn(move || Done::of(&mut copy));
    proxy.await_sprung();
    other.ok(&["sync"], 0);
    proxy.open();
    let done = copying.join().unwrap().exits(1);
    assert!(done.err.contains("holds generation 1: nothing was copied over it"), "{}", done.err);
    assert_eq!(postgres.sql("idpsyncd", "SELECT count(*) FROM idpsyncd.token"), "0");
}

#[test]
fn a_copy_that_is_killed_in_the_middle_leaves_nothing_behind() {
    let Some(postgres) = server() else { return };
    let (file, _) = company();
    let (other, _) = home(&format!("postgres = \"{}\"", url(&[postgres.port])));
    let (back, _) = home("path = \"store.db\"");
    let waits = |sql: &str| {
        let asked = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{sql}'"
        );
        postgres.sql("idpsyncd", &asked) != "0"
    };
    let killed = |home: &Home, to: &str, sql: &str| {
        let mut child = home.command(&["store", "copy", "--to", to]).spawn().unwrap();
        support::gateways::await_that("it is in the middle", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            waits(sql)
        });
        child.kill().unwrap();
        child.wait().unwrap();
    };
    // Into the database: all but the last tables are written.
    other.ok(&["store", "init"], 0);
    let lock = postgres.lock_for("idpsyncd", "idpsyncd.local_user", "SHARE");
    killed(&file, &url(&[postgres.port]), "COPY local_user%");
    drop(lock);
    let counts = "SELECT (SELECT count(*) FROM idpsyncd.\"user\") + generation FROM idpsyncd.meta";
    assert_eq!(postgres.sql("idpsyncd", counts), "0");
    file.ok(&["store", "copy", "--to", &url(&[postgres.port])], 0);

    // Out of it, into a file.
    let lock = postgres.lock("idpsyncd", "idpsyncd.local_user");
    killed(&other, &path(&back), "%FROM local_user%");
    drop(lock);
    let left = dump(&back.path("store.db"));
    assert_eq!((left["user"].len(), left["generation"].len(), left["meta"].len()), (0, 0, 1));
    other.ok(&["store", "copy", "--to", &path(&back)], 0);
    assert_eq!(dump(&back.path("store.db")), dump(&file.path("store.db")));
}

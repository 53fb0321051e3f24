//! The whole program on a real Keycloak whose PostgreSQL is in trouble. Keycloak then answers
//! `200 []` for tables that it cannot read, and nobody may lose anything for it.
//!
//! One Keycloak on one PostgreSQL for the file, and one test at a time on them.
#![cfg(test)]

mod support;

#[path = "scenarios"]
#[expect(dead_code, reason = "the stories need more of it")]
mod parts {
    pub mod home;
}

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use parts::home::{Home, Options};
use serde_json::json;
use support::keycloak::{Keycloak, RIGHTS, Realm};
use support::meddle::Meddler;
use support::postgres::{Locked, Postgres};

const SECRET: &str = "secret-of-the-reader";
const DATABASE: &str = "keycloak";
/// Who Keycloak is in the database. It owns its tables and is no superuser.
const OWNER: &str = "keycloak";

/// What everyone holds: through a group, a group's role, a role of one's own, a role in a role.
const HELD: [(&str, &str); 6] = [
    ("ann", "ml"),
    ("bob", "ml"),
    ("cay", "ops opsmate"),
    ("dan", "opsmate"),
    ("eve", "opsmate"),
    ("fay", "opsmate"),
];

struct World {
    postgres: Postgres,
    keycloak: Keycloak,
    meddler: Meddler,
    /// The group `ml`, which has members.
    ml: String,
}

/// The one world, and nobody else in it. `None` where it cannot be had (and says so).
fn world() -> Option<(&'static World, MutexGuard<'static, ()>)> {
    static ALONE: Mutex<()> = Mutex::new(());
    static WORLD: OnceLock<Option<World>> = OnceLock::new();
    // A test that failed has poisoned the lock; what it revoked is granted again by the next.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let world = WORLD.get_or_init(World::start).as_ref()?;
    Some((world, alone))
}

impl World {
    fn start() -> Option<World> {
        let postgres = Postgres::start()?;
        let url = postgres.database(DATABASE, OWNER);
        // Only who waits for a lock meets it: an ordinary statement may take its time.
        postgres.sql("postgres", &format!("ALTER ROLE {OWNER} SET lock_timeout = '300ms'"));
        let keycloak = Keycloak::start_on_postgres(&url, OWNER)?;
        let ml = people(&keycloak.realm("acme"));
        let meddler = Meddler::before(keycloak.port());
        Some(World { postgres, keycloak, meddler, ml })
    }

    /// A home that has read everything once. No mercy: whatever looks gone is gone at once, and
    /// nothing is held.
    fn home(&self) -> Home {
        let source = format!(
            r#"
            kind = "keycloak"
            url = "http://127.0.0.1:{}"
            realm = "acme"
            client_id = "idpsyncd"
            client_secret = {{ file = "secret" }}
            "#,
            self.meddler.port
        );
        let home = Home::new(&source, SECRET, Options { after: "0s", floor: 1000, ops: "/ops" });
        home.sync(0);
        home.assert_roles(&HELD);
        home
    }

    /// Keycloak may no longer read these tables.
    fn revoke(&self, tables: &str) -> Revoked<'_> {
        self.postgres.sql(DATABASE, &format!("REVOKE SELECT ON {tables} FROM {OWNER}"));
        Revoked { postgres: &self.postgres, tables: tables.to_owned() }
    }

    /// The status and body of `path` below the realm, asked by an administrator.
    fn answer(&self, path: &str) -> (u16, String) {
        let (status, body, _) = self.keycloak.admin("GET", &format!("/acme{path}"), None);
        (status, body)
    }

    /// Asserts that Keycloak lies about `table`: what is full comes empty, with status 200.
    fn assert_lies(&self, table: &str) {
        let members = format!("/groups/{}/members", self.ml);
        let lists: &[&str] = match table {
            "user_group_membership" => &[&members],
            "user_role_mapping" => &["/roles/ops/users"],
            _ => &["/users", &members, "/roles/ops/users"],
        };
        for list in lists {
            assert_eq!(self.answer(list), (200, "[]".to_owned()), "{list} without {table}");
        }
        if table == "user_entity" {
            assert_eq!(self.answer("/users/count").0, 500);
        }
    }
}

/// Gives the right back when dropped.
struct Revoked<'a> {
    postgres: &'a Postgres,
    tables: String,
}

impl Drop for Revoked<'_> {
    fn drop(&mut self) {
        self.postgres.sql(DATABASE, &format!("GRANT SELECT ON {} TO {OWNER}", self.tables));
    }
}

/// Fills a realm with [`HELD`]; the id of the group `ml`.
fn people(realm: &Realm<'_>) -> String {
    realm.reader("idpsyncd", SECRET, &RIGHTS);
    let role = realm.realm_role("ops");
    let whole = realm.realm_role("whole");
    realm.contain(&whole, &role);
    let (ml, ops, carrier) =
        (realm.group("ml", None), realm.group("ops", None), realm.group("carrier", None));
    let below = realm.group("below", Some(&carrier));
    realm.give(&format!("groups/{carrier}"), &role);
    for (name, _) in HELD {
        let user = realm.user(name, json!({}));
        match name {
            "ann" | "bob" => realm.join(&user, &ml),
            "cay" => realm.join(&user, &ops),
            "dan" => realm.give(&format!("users/{user}"), &role),
            "eve" => realm.join(&user, &below),
            _ => realm.give(&format!("users/{user}"), &whole),
        }
    }
    ml
}

/// The tables that say who is in what, with the first request that needs each, and what the
/// report must name.
const TABLES: [(&str, &str, &str); 3] = [
    ("user_group_membership", "/members?", "members of `/"),
    ("user_role_mapping", "/roles/ops/users?", "members of `ops`"),
    ("user_entity", "/acme/users?briefRepresentation=true&first=0", "/users/count"),
];

/// What brings a table into trouble, for as long as the value that it returns lives.
type Trouble = fn(&'static World, &str) -> Box<dyn Send>;

/// For each table: a sync in which the trouble begins in mid-read, with the first request that
/// needs the table, and one after it is over.
fn nobody_loses_anything(trouble: Trouble) {
    let Some((world, _alone)) = world() else { return };
    let home = world.home();
    let views = home.views();
    for (table, first, named) in TABLES {
        let held: Arc<Mutex<Option<Box<dyn Send>>>> = Arc::default();
        let slot = held.clone();
        world.keycloak.sign_in_again();
        world.meddler.tell(move |_, line| {
            let mut slot = slot.lock().unwrap();
            if slot.is_none() && line.contains(first) {
                *slot = Some(trouble(world, table));
            }
        });
        let report = home.sync(4);
        world.meddler.end();
        world.assert_lies(table);
        assert!(report.trouble().contains(named), "`{named}` in: {}", report.trouble());
        assert!(report.is_quiet(), "{table}: {}", report.0);
        assert_eq!(home.views(), views, "{table}");

        drop(held.lock().unwrap().take().expect("the trouble began"));
        assert!(home.sync(0).is_quiet(), "{table} can be read again");
        assert_eq!(home.views(), views);
    }
    home.assert_roles(&HELD);
}

#[test]
fn tables_that_keycloak_may_no_longer_read_take_nothing_away() {
    nobody_loses_anything(|world, table| Box::new(world.revoke(table)));
}

#[test]
fn tables_that_are_locked_for_longer_than_keycloak_waits_take_nothing_away() {
    nobody_loses_anything(|world, table| -> Box<dyn Send> {
        let locked: Locked = world.postgres.lock(DATABASE, table);
        Box::new(locked)
    });
}

/// Keycloak needs the tables for the reader's own account too: once it has forgotten that, it
/// hands out no token.
#[test]
fn a_table_that_is_unreadable_from_the_start_takes_nothing_away() {
    let Some((world, _alone)) = world() else { return };
    let home = world.home();
    let views = home.views();
    // The others come to the same, and each costs the patience of a whole sign-in.
    for (table, ..) in &TABLES[2..] {
        world.keycloak.existing_realm("acme").call("POST", "/clear-user-cache", None);
        let revoked = world.revoke(table);
        let report = home.sync(4);
        for part in ["fetching a token for client `idpsyncd`", "status 500"] {
            assert!(report.trouble().contains(part), "`{part}` in: {}", report.trouble());
        }
        assert!(report.is_quiet(), "{table}: {}", report.0);
        assert_eq!(home.views(), views, "{table}");
        drop(revoked);
        assert!(home.sync(0).is_quiet());
    }
}

/// A trouble of so many requests from the first list on: it may span the first answers and their
/// repetition, and be over when the read ends.
#[test]
fn a_trouble_that_is_over_before_the_read_ends_takes_nothing_away() {
    let Some((world, _alone)) = world() else { return };
    let home = world.home();
    let views = home.views();
    let mut seen = 0;
    let lengths: [&[usize]; 2] = [&[2, 5, 7, 8, 9, 14], &[1, 2, 3, 4]];
    for ((table, first, _), lengths) in TABLES.into_iter().zip(lengths) {
        for &length in lengths {
            let mut revoked = None;
            let mut left = length;
            world.meddler.tell(move |_, line| {
                if revoked.is_none() && left == length && line.contains(first) {
                    revoked = Some(world.revoke(table));
                }
                if revoked.is_some() {
                    if left == 0 {
                        revoked = None;
                    } else {
                        left -= 1;
                    }
                }
            });
            let ran = home.run(&["sync", "--output", "json"]);
            world.meddler.end();
            let status = ran.status;
            // It is read whole where everything could be asked again in time.
            assert!(matches!(status, 0 | 4), "{table} for {length} requests: {}", ran.err);
            seen += usize::from(status == 4);
            let report = ran.report(status);
            assert!(report.is_quiet(), "{table} for {length} requests: {}", report.0);
            assert_eq!(home.views(), views, "{table} for {length} requests");
        }
    }
    assert!(seen > 0, "a long trouble is seen");
    assert!(home.sync(0).is_quiet());
}

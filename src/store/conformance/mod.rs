//! What any backend must do: one suite of rules, each a function of an empty store. A new backend adds
//! one line to the list of those that are held to it.
//!
//! | rules | about |
//! |---|---|
//! | `changing` | transactions, `update`, the lock: who wins, and what is left of whoever does not |
//! | `leading` | which daemon leads |
//! | `watching` | who follows a store |
//! | `ending` | the list of ended sessions |
//! | `keeping` | what a commit keeps, and what it leaves alone |
//! | `slicing` | what one change needs of the store |
//! | `alike` | whatever is asked: every backend tells the same as SQLite |
//!
//! What is peculiar to a backend (files, rights, migration) has tests in its own folder and in
//! `tests/store*`.

mod alike;
mod changing;
mod ending;
pub(super) mod finding;
mod keeping;
mod leading;
pub(super) mod slicing;
mod watching;

#[path = "../../../tests/support"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
pub(super) mod support {
    pub mod door;
    pub mod postgres;
    pub mod server;
    pub mod skip;
    pub mod wire_proxy;
}
#[path = "../../../tests/store_support/mod.rs"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
pub(super) mod worlds;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use super::{Commit, CommitError, Committed, Store, Turn};
use crate::model::{PostgresConfig, StoreConfig, StoreTls};
use crate::plan::Plan;
use worlds::{World, at, plan};

/// An empty store: nobody has prepared it yet. The folder is what it is in, if it needs one.
pub(super) struct Empty {
    pub(super) store: Arc<dyn Store>,
    _folder: Option<TempDir>,
}

pub(super) fn sqlite() -> Option<Empty> {
    let folder = tempfile::tempdir().unwrap();
    let store = super::open(&StoreConfig::sqlite(folder.path().join("store.db")));
    Some(Empty { store, _folder: Some(folder) })
}

pub(super) fn memory() -> Option<Empty> {
    Some(Empty { store: Arc::new(super::memory::MemoryStore::default()), _folder: None })
}

/// A PostgreSQL for all tests of this process. `None`: none is installed, and the test says so.
pub(super) fn server() -> Option<&'static support::postgres::Postgres> {
    static SERVER: OnceLock<Option<support::postgres::Postgres>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let server = support::postgres::Postgres::start()?;
        server.database("idpsyncd", "idpsyncd");
        Some(server)
    });
    server.as_ref()
}

/// An empty schema of the tests' database, of a name of its own.
pub(super) fn postgres_config() -> Option<PostgresConfig> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = server()?;
    let url = format!("postgresql://idpsyncd@127.0.0.1:{}/idpsyncd", server.port);
    let schema = format!("store {}", COUNT.fetch_add(1, Ordering::Relaxed));
    let shown = url.clone();
    Some(PostgresConfig { shown, url, tls: StoreTls::Never, ca_file: None, schema, read: None })
}

pub(super) fn postgres() -> Option<Empty> {
    let store = super::open(&StoreConfig::Postgres(postgres_config()?));
    Some(Empty { store, _folder: None })
}

/// Makes a test of each rule for each backend.
macro_rules! rules {
    ($($rule:ident)*) => { rules!(@ ($($rule)*) sqlite memory postgres); };
    (@ $rules:tt $($backend:ident)*) => { $(rules!(# $rules $backend);)* };
    (# ($($rule:ident)*) $backend:ident) => {
        mod $backend {
            $(#[test]
            fn $rule() {
                // What is not installed says so.
                if let Some(empty) = $crate::store::conformance::$backend() {
                    super::$rule(&*empty.store);
                }
            })*
        }
    };
}
use rules;

/// Commits `plan` alone, on the store as it is.
pub(super) fn commit(store: &dyn Store, plan: &Plan) -> Committed {
    try_commit(store, plan, None).unwrap()
}

fn try_commit(
    store: &dyn Store,
    plan: &Plan,
    settled: Option<&str>,
) -> Result<Committed, CommitError> {
    let mut tx = store.begin(Turn::Anyones)?;
    let base_version = tx.reader().meta()?.version;
    tx.commit(&Commit {
        plan,
        base_version,
        sources: &[],
        configured: &[],
        settled: settled.map(str::to_owned),
    })
}

/// A world with a role, and so many people in it who hold it.
fn world(people: u32) -> World {
    let mut world = World::default();
    world.role(worlds::role("ml", Vec::new()));
    for id in 0..people {
        world.person(id, &format!("u{id}")).idp(id, "ml", &["/ml"]);
    }
    world
}

/// The plan that brings person `id` into a store of those before.
fn newcomer(id: u32) -> Plan {
    plan(&world(id), &world(id + 1), at(i64::from(id)))
}

/// A store of so many people: prepared, one generation.
fn with_people(store: &dyn Store, people: u32) {
    store.prepare().unwrap();
    commit(store, &plan(&World::default(), &world(people), at(0)));
}

/// How many people there are, and the generation.
fn counted(store: &dyn Store) -> (usize, u64) {
    let reader = store.reader().unwrap().unwrap();
    (reader.count_users().unwrap(), reader.meta().unwrap().generation)
}

//! What any backend must do: one suite of rules, each a function of an empty store. A new backend adds
//! one line to the list of those that are held to it.
//!
//! | rules | about |
//! |---|---|
//! | `changing` | transactions, `update`, the lock: who wins, and what is left of whoever does not |
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
mod keeping;
pub(super) mod slicing;
mod watching;

#[path = "../../../tests/support"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
mod support {
    pub mod door;
}
#[path = "../../../tests/store_support/mod.rs"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
pub(super) mod worlds;

use std::sync::Arc;

use tempfile::TempDir;

use super::{Commit, CommitError, Committed, Store, Turn};
use crate::model::StoreConfig;
use crate::plan::Plan;
use worlds::{World, at, plan};

/// An empty store: nobody has prepared it yet. The folder is what it is in, if it needs one.
pub(super) struct Empty {
    pub(super) store: Arc<dyn Store>,
    _folder: Option<TempDir>,
}

pub(super) fn sqlite() -> Empty {
    let folder = tempfile::tempdir().unwrap();
    let store = super::open(&StoreConfig::sqlite(folder.path().join("store.db")));
    Empty { store, _folder: Some(folder) }
}

pub(super) fn memory() -> Empty {
    Empty { store: Arc::new(super::memory::MemoryStore::default()), _folder: None }
}

/// Makes a test of each rule for each backend.
macro_rules! rules {
    ($($rule:ident)*) => { rules!(@ ($($rule)*) sqlite memory); };
    (@ $rules:tt $($backend:ident)*) => { $(rules!(# $rules $backend);)* };
    (# ($($rule:ident)*) $backend:ident) => {
        mod $backend {
            $(#[test]
            fn $rule() {
                let empty = $crate::store::conformance::$backend();
                super::$rule(&*empty.store);
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

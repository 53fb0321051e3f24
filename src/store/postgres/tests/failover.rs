//! Another server leads since, which never had the last commits, and counts on from before them.

use super::{another, people};
use crate::model::{PostgresConfig, StoreTls};
use crate::store::conformance::commit;
use crate::store::conformance::support::postgres::Postgres;
use crate::store::conformance::worlds::{World, at, plan};
use crate::store::postgres::store::PostgresStore;
use crate::store::{Commit, CommitError, Store, StoreError, StoreErrorKind, Transaction, Turn};

/// A primary with a standby, and the store on whichever of them takes writes.
struct Cluster {
    primary: Postgres,
    standby: Postgres,
    store: PostgresStore,
}

impl Cluster {
    /// One whose store has one person in it.
    fn new() -> Option<Cluster> {
        let primary = Postgres::start()?;
        primary.database("idpsyncd", "idpsyncd");
        let standby = primary.standby();
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port, standby.port);
        let url = format!("postgresql://idpsyncd@{hosts}/idpsyncd?target_session_attrs=read-write");
        let (shown, schema) = (url.clone(), "idpsyncd".to_owned());
        let config =
            PostgresConfig { shown, url, tls: StoreTls::Never, ca_file: None, schema, read: None };
        let store = PostgresStore::new(config, None);
        store.prepare().unwrap();
        commit(&store, &plan(&World::default(), &people(1), at(0)));
        Some(Cluster { primary, standby, store })
    }

    /// What is committed from now on the standby never has.
    fn part(&self) {
        self.standby.await_replayed(&self.primary);
        self.standby.detach();
    }

    /// The primary is gone, and the standby leads.
    fn fail_over(&mut self) {
        self.primary.stop();
        self.standby.promote();
        self.standby.await_true("SELECT NOT pg_is_in_recovery()");
    }
}

/// Who there is at the other server, once somebody has written there.
fn eve() -> World {
    let mut world = people(1);
    world.person(7, "eve");
    world
}

fn try_commit(
    tx: &mut dyn Transaction,
    (old, new): (&World, &World),
    base_version: i64,
) -> Result<(), CommitError> {
    let plan = plan(old, new, at(2));
    let commit = Commit { plan: &plan, base_version, sources: &[], configured: &[], settled: None };
    tx.commit(&commit).map(drop)
}

fn names(store: &PostgresStore) -> Vec<String> {
    super::texts(store, "SELECT username FROM gateway_user ORDER BY username")
}

#[test]
fn what_was_planned_at_one_server_is_planned_anew_at_another_that_counts_alike() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.part();
    commit(&cluster.store, &plan(&people(1), &people(2), at(1)));
    let store = cluster.store.clone();
    let mut tries = Vec::new();
    let done = (&store as &dyn Store).update(|tx| {
        let meta = tx.reader().meta()?;
        let count = tx.reader().count_users()?;
        tries.push((meta.generation, meta.version, count));
        let (old, new) = match tries.len() {
            1 => {
                cluster.fail_over();
                // Others have brought it to the same numbers there, for something else.
                commit(&another(&store), &plan(&people(1), &eve(), at(1)));
                (people(2), people(3))
            }
            _ => (eve(), {
                let mut world = eve();
                world.person(8, "fay");
                world
            }),
        };
        try_commit(tx, (&old, &new), meta.version)
    });
    done.unwrap();
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert_eq!(tries[0], tries[1], "by its numbers it is the state that was read");
    assert_eq!(names(&store), ["eve", "fay", "u0"]);
}

#[test]
fn a_run_that_had_the_lock_at_one_server_writes_nothing_at_another_that_gave_the_same_number() {
    let Some(mut cluster) = Cluster::new() else { return };
    let term = |store: &PostgresStore| {
        super::texts(store, "SELECT CAST(term AS text) FROM meta").remove(0)
    };
    cluster.part();
    let store = cluster.store.clone();
    let lock = store.lock("a run at the first server", at(1)).unwrap();
    let given = term(&store);
    let mut planned = store.begin(Turn::Anyones).unwrap();
    let base_version = planned.reader().meta().unwrap().version;
    cluster.fail_over();
    let other = another(&store);
    drop(other.lock("a run at the second server", at(1)).unwrap());
    assert_eq!(term(&other), given, "the number is given once more");

    // Neither what was planned before, nor what this process plans from what stands there now.
    let change = (&people(1), &people(2));
    let refused = try_commit(&mut *planned, change, base_version).unwrap_err();
    assert!(matches!(refused, CommitError::Raced), "{refused}");
    let has_led = |error: &StoreError| {
        error.kind == StoreErrorKind::Busy && error.message.contains("has led the store")
    };
    let error = store.begin(Turn::Mine).err().unwrap();
    assert!(has_led(&error), "{error}");
    let mut anew = store.begin(Turn::Anyones).unwrap();
    let base_version = anew.reader().meta().unwrap().version;
    match try_commit(&mut *anew, change, base_version).unwrap_err() {
        CommitError::Store(error) => assert!(has_led(&error), "{error}"),
        other => panic!("{other}"),
    }
    assert_eq!(names(&other), ["u0"]);
    drop((planned, anew, lock));

    // Once that run is over this process may have the lock there.
    let lock = store.lock("the next run", at(3)).unwrap();
    commit(&store, &plan(&people(1), &people(2), at(3)));
    drop(lock);
    assert_eq!(names(&other), ["u0", "u1"]);
}

//! Who leads, when sessions end and processes freeze.

use std::sync::Arc;

use super::{another, people, store};
use crate::store::conformance::commit;
use crate::store::conformance::worlds::{World, at, plan};
use crate::store::postgres::store::PostgresStore;
use crate::store::{
    BEAT, Commit, CommitError, Lead, LeadError, Leader, LockError, Store, StoreErrorKind, Turn,
};

/// Takes the lead as process `pid`, as soon as nobody has it.
fn leads(store: &PostgresStore, pid: u32) -> Arc<dyn Lead> {
    loop {
        match store.lead(&Leader::new("here", pid, at(i64::from(pid)))) {
            Ok(lead) => return lead,
            Err(LeadError::Led { .. }) => std::thread::sleep(BEAT / 10),
            Err(LeadError::Store(error)) => panic!("{error}"),
        }
    }
}

#[test]
fn whoever_shows_no_life_loses_the_lead_and_is_told() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let first = leads(&store, 1);
    let other = another(&store);
    assert_eq!(other.leader().unwrap().map(|leader| leader.pid), Some(1));
    // Nobody does anything to it: the server finds out by itself.
    let second = leads(&other, 2);
    assert_eq!(store.leader().unwrap().map(|leader| leader.pid), Some(2));
    assert_eq!(first.beat().unwrap_err().kind, StoreErrorKind::Busy);
    match first.lock("a late run", at(1)).unwrap_err() {
        LockError::Store(error) => assert!(error.message.contains("leads the store"), "{error}"),
        held => panic!("{held}"),
    }
    first.resign();
    second.beat().unwrap();
    assert_eq!(store.leader().unwrap().map(|leader| leader.pid), Some(2));
}

#[test]
fn what_a_frozen_leader_holds_open_keeps_the_next_one_from_nothing() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    commit(&store, &plan(&World::default(), &people(1), at(0)));
    let first = leads(&store, 1);
    let run = first.lock("a frozen run", at(0)).unwrap();
    // It has the writer's place when it freezes: no beat, no statement, no end of the transaction.
    let mut frozen = store.begin(Turn::Mine).unwrap();
    let base_version = frozen.reader().meta().unwrap().version;

    let other = another(&store);
    let second = leads(&other, 2);
    let its_run = second.lock("the next run", at(1)).unwrap();
    commit(&other, &plan(&people(1), &people(2), at(1)));
    drop(its_run);

    let more = plan(&people(1), &people(3), at(2));
    let commit = Commit { plan: &more, base_version, sources: &[], configured: &[], settled: None };
    match frozen.commit(&commit).unwrap_err() {
        CommitError::Store(error) => {
            assert!(error.message.contains("another idpsyncd has led the store"), "{error}");
        }
        other => panic!("{other}"),
    }
    drop((frozen, run));
    assert!(first.beat().is_err());
    let reader = store.reader().unwrap().unwrap();
    assert_eq!((reader.count_users().unwrap(), reader.meta().unwrap().generation), (2, 2));
    drop(second.lock("the next run", at(3)).unwrap());
}

//! Which daemon leads.

use super::worlds::at;
use super::{commit, counted, newcomer, rules, with_people};
use crate::store::{BEAT, LeadError, Leader, LockError, Store, StoreErrorKind, StoreLeader};

rules! {
    one_leads_until_it_resigns_or_ends
    whoever_leads_keeps_nobody_from_writing
    whoever_leads_no_more_runs_no_more
}

fn one(pid: u32) -> Leader {
    Leader::new("here", pid, at(i64::from(pid)))
}

fn led_by(store: &dyn Store, pid: u32) -> Option<Leader> {
    match store.lead(&one(pid)).unwrap_err() {
        LeadError::Led { by } => by,
        LeadError::Store(error) => panic!("{error}"),
    }
}

fn one_leads_until_it_resigns_or_ends(store: &dyn Store) {
    // Before there is anything: a store is made under it.
    let first = store.lead(&one(1)).unwrap();
    assert_eq!(led_by(store, 2), Some(one(1)));
    store.prepare().unwrap();
    assert_eq!(store.leader().unwrap(), StoreLeader::Seen(one(1)));
    std::thread::sleep(BEAT);
    first.beat().unwrap();
    assert_eq!(store.leader().unwrap(), StoreLeader::Seen(one(1)));
    first.resign();
    assert_eq!(store.leader().unwrap(), StoreLeader::Nobody);

    let second = store.lead(&one(2)).unwrap();
    assert_eq!(led_by(store, 3), Some(one(2)));
    // Whoever resigns twice lets go of nothing that is somebody else's.
    first.resign();
    drop(first);
    assert_eq!(store.leader().unwrap(), StoreLeader::Seen(one(2)));
    drop(second);
    while store.leader().unwrap() != StoreLeader::Nobody {
        std::thread::yield_now();
    }
    store.lead(&one(3)).unwrap().beat().unwrap();
}

fn whoever_leads_keeps_nobody_from_writing(store: &dyn Store) {
    with_people(store, 1);
    let lead = store.lead(&one(1)).unwrap();
    // People's commands, a run by hand, what nobody needs a lock for.
    commit(store, &newcomer(1));
    drop(store.lock("idpsyncd plan approve", at(2)).unwrap());
    store.keep_keys("issuer", "{}", at(2)).unwrap();
    // But one run at a time, whoever's it is.
    let run = lead.lock("idpsyncd run", at(3)).unwrap();
    let refused = store.lock("idpsyncd sync", at(3)).unwrap_err();
    assert!(matches!(&refused, LockError::Held { holder, .. } if holder.contains("idpsyncd run")));
    assert_eq!(store.leader().unwrap(), StoreLeader::Seen(one(1)), "whatever it does");
    commit(store, &newcomer(2));
    drop(run);
    let by_hand = store.lock("idpsyncd sync", at(4)).unwrap();
    let refused = lead.lock("idpsyncd run", at(4)).unwrap_err();
    assert!(matches!(&refused, LockError::Held { holder, .. } if holder.contains("idpsyncd sync")));
    lead.beat().unwrap();
    drop(by_hand);
    drop(lead.lock("idpsyncd run", at(5)).unwrap());
    assert_eq!(store.leader().unwrap(), StoreLeader::Seen(one(1)), "whatever it did");
    assert_eq!(counted(store), (3, 3));
}

fn whoever_leads_no_more_runs_no_more(store: &dyn Store) {
    with_people(store, 1);
    let lead = store.lead(&one(1)).unwrap();
    let run = lead.lock("idpsyncd run", at(1)).unwrap();
    lead.resign();
    assert_eq!(lead.beat().unwrap_err().kind, StoreErrorKind::Busy);
    // What it is about to write it may, as long as nobody else runs.
    assert!(matches!(store.lock("another", at(2)).unwrap_err(), LockError::Held { .. }));
    commit(store, &newcomer(1));
    drop(run);
    match lead.lock("idpsyncd run", at(3)).unwrap_err() {
        LockError::Store(error) => assert_eq!(error.kind, StoreErrorKind::Busy),
        held => panic!("{held}"),
    }
    drop(store.lock("another", at(4)).unwrap());
    assert_eq!(counted(store), (2, 2));
}

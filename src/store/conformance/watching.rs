//! Following a store.

use std::sync::mpsc;
use std::time::Duration;

use super::worlds::at;
use super::{commit, newcomer, rules, with_people};
use crate::store::{Seen, Store, StoreError, StoreErrorKind, Turn, Watch};

rules! {
    who_has_not_looked_yet_does_not_wait
    a_commit_before_the_wait_is_not_missed
    a_commit_ends_a_wait
    a_read_that_brought_nothing_new_ends_a_wait
    a_wait_is_ended_from_elsewhere_before_it_and_in_it
    where_nothing_happens_a_wait_ends_by_its_time
    a_store_that_is_not_there_yet_can_be_followed
    what_is_shown_is_one_state
}

const NOT_AT_ALL: Duration = Duration::ZERO;

fn look(watch: &mut dyn Watch) -> Result<(u64, bool), StoreError> {
    let mut seen = None;
    watch.look(&mut |reader, Seen { another, .. }| {
        seen = Some((reader.meta()?.generation, another));
        Ok(())
    })?;
    Ok(seen.unwrap())
}

fn who_has_not_looked_yet_does_not_wait(store: &dyn Store) {
    let mut watch = store.watch();
    assert!(watch.wait(Duration::MAX));
    with_people(store, 1);
    assert!(watch.wait(Duration::MAX));
    assert_eq!(look(&mut *watch).unwrap(), (1, true));
}

fn a_commit_before_the_wait_is_not_missed(store: &dyn Store) {
    with_people(store, 1);
    let mut watch = store.watch();
    assert_eq!(look(&mut *watch).unwrap(), (1, true));
    commit(store, &newcomer(1));
    assert!(watch.wait(Duration::MAX));
    assert_eq!(look(&mut *watch).unwrap(), (2, false));
}

fn a_commit_ends_a_wait(store: &dyn Store) {
    with_people(store, 1);
    let mut watch = store.watch();
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let follower = scope.spawn(move || {
            look(&mut *watch).unwrap();
            tell.send(()).unwrap();
            while watch.wait(Duration::MAX) {
                let (generation, _) = look(&mut *watch).unwrap();
                if generation > 1 {
                    return generation;
                }
            }
            0
        });
        told.recv().unwrap();
        commit(store, &newcomer(1));
        assert_eq!(follower.join().unwrap(), 2);
    });
}

fn a_read_that_brought_nothing_new_ends_a_wait(store: &dyn Store) {
    with_people(store, 1);
    let mut watch = store.watch();
    look(&mut *watch).unwrap();
    let configured = ["corp".to_owned()];
    store.begin(Turn::Mine).unwrap().touch(&[], &configured).unwrap();
    assert!(watch.wait(Duration::MAX), "how old the evidence is belongs to what is followed");
    assert_eq!(look(&mut *watch).unwrap(), (1, false));
}

fn a_wait_is_ended_from_elsewhere_before_it_and_in_it(store: &dyn Store) {
    with_people(store, 1);
    let mut watch = store.watch();
    look(&mut *watch).unwrap();
    let waker = watch.waker();
    waker.wake();
    assert!(watch.wait(Duration::MAX));
    std::thread::scope(|scope| {
        let follower = scope.spawn(move || watch.wait(Duration::MAX));
        waker.wake();
        assert!(follower.join().unwrap());
    });
}

fn where_nothing_happens_a_wait_ends_by_its_time(store: &dyn Store) {
    with_people(store, 1);
    let mut watch = store.watch();
    look(&mut *watch).unwrap();
    // It may say so without a cause, but not for ever.
    while watch.wait(NOT_AT_ALL) {
        look(&mut *watch).unwrap();
    }
}

fn a_store_that_is_not_there_yet_can_be_followed(store: &dyn Store) {
    let mut watch = store.watch();
    assert_eq!(look(&mut *watch).unwrap_err().kind, StoreErrorKind::Absent);
    with_people(store, 1);
    assert!(watch.wait(Duration::MAX));
    assert_eq!(look(&mut *watch).unwrap(), (1, true));
    assert_eq!(look(&mut *watch).unwrap(), (1, false));
}

fn what_is_shown_is_one_state(store: &dyn Store) {
    with_people(store, 1);
    let mut watch = store.watch();
    watch
        .look(&mut |reader, _| {
            let before = reader.meta()?;
            commit(store, &newcomer(1));
            assert_eq!(reader.meta()?, before);
            assert_eq!(reader.count_users()?, 1);
            Ok(())
        })
        .unwrap();
    assert!(watch.wait(Duration::MAX), "what came during a look is news after it");
    let reader = store.reader().unwrap().unwrap();
    let newest = reader.newest().unwrap().unwrap();
    assert_eq!((newest.num, newest.at), (2, at(1)));
}

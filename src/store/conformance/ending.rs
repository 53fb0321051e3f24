//! The list of ended sessions.

use std::time::Duration;

use super::worlds::at;
use super::{rules, with_people};
use crate::model::{SessionEnd, SessionRealm, SessionScope};
use crate::store::{EndedSince, Store, StoreErrorKind};

rules! {
    what_has_ended_is_told_once_to_each_who_reads_on
    what_says_less_changes_nothing_and_what_says_more_is_told_again
    what_no_token_can_outlive_is_taken_off_and_the_list_goes_on_behind_it
    an_id_means_something_in_its_realm_and_of_its_kind_alone
    what_has_ended_wakes_those_who_follow
    what_has_ended_is_no_part_of_what_a_plan_is_made_from
    where_there_is_no_store_nothing_can_end
}

fn corp() -> SessionRealm {
    SessionRealm::Source("corp".to_owned())
}

fn session(id: &str, last_iat: i64) -> SessionEnd {
    SessionEnd { realm: corp(), scope: SessionScope::Session(id.to_owned()), last_iat }
}

fn since(store: &dyn Store, place: u64) -> EndedSince {
    store.reader().unwrap().unwrap().ended_since(place).unwrap()
}

fn all(store: &dyn Store) -> Vec<SessionEnd> {
    since(store, 0).ended
}

fn what_has_ended_is_told_once_to_each_who_reads_on(store: &dyn Store) {
    store.prepare().unwrap();
    assert_eq!(since(store, 0), EndedSince::default());
    store.end_sessions(&[session("b", 10), session("a", 11)], 0).unwrap();
    let first = since(store, 0);
    assert_eq!(first.ended, [session("b", 10), session("a", 11)]);
    assert_eq!(since(store, first.place), EndedSince { ended: Vec::new(), place: first.place });
    store.end_sessions(&[session("c", 9)], 0).unwrap();
    let next = since(store, first.place);
    assert_eq!(next.ended, [session("c", 9)]);
    assert!(next.place > first.place);
    assert_eq!(store.reader().unwrap().unwrap().count_ended().unwrap(), 3);
}

fn what_says_less_changes_nothing_and_what_says_more_is_told_again(store: &dyn Store) {
    store.prepare().unwrap();
    store.end_sessions(&[session("a", 10), session("b", 10)], 0).unwrap();
    let before = since(store, 0);
    store.end_sessions(&[session("a", 10), session("b", 9)], 0).unwrap();
    assert_eq!(since(store, 0), before);
    store.end_sessions(&[session("a", 12)], 0).unwrap();
    assert_eq!(since(store, before.place).ended, [session("a", 12)]);
    assert_eq!(all(store), [session("b", 10), session("a", 12)]);
}

fn what_no_token_can_outlive_is_taken_off_and_the_list_goes_on_behind_it(store: &dyn Store) {
    store.prepare().unwrap();
    store.end_sessions(&[session("a", 10), session("b", 20)], 0).unwrap();
    store.end_sessions(&[], 20).unwrap();
    assert_eq!(all(store), [session("b", 20)]);
    store.end_sessions(&[], 21).unwrap();
    let place = 2;
    assert_eq!(since(store, place), EndedSince { ended: Vec::new(), place });
    store.end_sessions(&[session("c", 30)], 21).unwrap();
    assert_eq!(since(store, place).ended, [session("c", 30)], "no place is given twice");
    // What comes when it is over already is not kept.
    store.end_sessions(&[session("d", 5)], 21).unwrap();
    assert_eq!(all(store), [session("c", 30)]);
}

fn an_id_means_something_in_its_realm_and_of_its_kind_alone(store: &dyn Store) {
    store.prepare().unwrap();
    let end = |realm, scope| SessionEnd { realm, scope, last_iat: 10 };
    let id = || "a".to_owned();
    let ends = [
        end(corp(), SessionScope::Session(id())),
        end(corp(), SessionScope::Subject(id())),
        end(corp(), SessionScope::Everybody),
        end(corp(), SessionScope::Client(id())),
        end(SessionRealm::Source("other".to_owned()), SessionScope::Session(id())),
        end(SessionRealm::Issuer("corp".to_owned()), SessionScope::Session(id())),
        end(SessionRealm::Issuer("corp".to_owned()), SessionScope::Everybody),
    ];
    store.end_sessions(&ends, 0).unwrap();
    assert_eq!(all(store), ends);
}

fn what_has_ended_wakes_those_who_follow(store: &dyn Store) {
    with_people(store, 1);
    let mut watch = store.watch();
    watch.look(&mut |_, _| Ok(())).unwrap();
    store.end_sessions(&[session("a", 10)], 0).unwrap();
    assert!(watch.wait(Duration::MAX));
    watch
        .look(&mut |reader, seen| {
            assert!(!seen.another);
            assert_eq!(reader.ended_since(0)?.ended, [session("a", 10)]);
            Ok(())
        })
        .unwrap();
}

fn what_has_ended_is_no_part_of_what_a_plan_is_made_from(store: &dyn Store) {
    with_people(store, 1);
    let before = store.reader().unwrap().unwrap().meta().unwrap();
    let tx = store.begin(crate::store::Turn::Anyones).unwrap();
    store.end_sessions(&[session("a", at(1).timestamp())], 0).unwrap();
    assert!(!tx.lost(), "what is being planned goes on");
    drop(tx);
    assert_eq!(store.reader().unwrap().unwrap().meta().unwrap(), before);
}

fn where_there_is_no_store_nothing_can_end(store: &dyn Store) {
    let error = store.end_sessions(&[session("a", 10)], 0).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Absent);
    assert!(store.reader().unwrap().is_none(), "nor is a store made");
}

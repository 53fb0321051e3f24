//! Changing a store: who wins, and what is left of whoever does not.

use std::sync::mpsc;

use super::worlds::{World, at, digests, plan, random_directory, update};
use super::{commit, counted, newcomer, rules, try_commit, with_people, world};
use crate::store::{
    Commit, CommitError, LockError, Mismatch, Store, StoreError, StoreErrorKind, Turn,
};

rules! {
    there_is_no_store_before_it_is_prepared
    to_prepare_a_store_again_changes_nothing
    a_snapshot_stands_still_while_others_commit
    whoever_read_before_another_committed_is_refused
    an_update_in_whose_way_nobody_comes_is_made_once
    an_update_that_somebody_was_faster_than_is_made_once_more
    what_an_update_found_before_another_committed_counts_for_nothing
    nobody_is_faster_than_a_second_try
    an_update_against_a_stream_of_newcomers_takes_two_tries_and_loses_nobody
    an_update_that_fails_leaves_nothing
    a_plan_that_does_not_fit_leaves_nothing_of_its_commit
    two_of_one_name_among_many_who_come_are_refused
    a_change_that_is_dropped_unfinished_leaves_nothing_and_keeps_nobody_waiting
    a_first_commit_whose_plan_cannot_be_made_leaves_nothing
    one_runs_at_a_time
}

fn there_is_no_store_before_it_is_prepared(store: &dyn Store) {
    assert!(store.reader().unwrap().is_none());
    for turn in [Turn::Anyones, Turn::Mine] {
        let error = store.begin(turn).err().unwrap();
        assert_eq!(error.kind, StoreErrorKind::Absent, "{turn:?}: {error}");
    }
    assert!(store.reader().unwrap().is_none(), "to begin makes none");
    store.prepare().unwrap();
    let meta = store.reader().unwrap().unwrap().meta().unwrap();
    assert_eq!((meta.generation, meta.version, meta.applied_at), (0, 0, None));
}

fn to_prepare_a_store_again_changes_nothing(store: &dyn Store) {
    with_people(store, 2);
    let before = store.reader().unwrap().unwrap().meta().unwrap();
    store.prepare().unwrap();
    assert_eq!(store.reader().unwrap().unwrap().meta().unwrap(), before);
}

fn a_snapshot_stands_still_while_others_commit(store: &dyn Store) {
    with_people(store, 1);
    let reader = store.reader().unwrap().unwrap();
    let (before, after) = reader
        .snapshot(|reader| {
            let look = || Ok::<_, StoreError>((reader.count_users()?, reader.meta()?.generation));
            let before = look()?;
            commit(store, &newcomer(1));
            assert_eq!(counted(store), (2, 2), "whoever asks now sees it");
            let inner = reader.snapshot(|reader| reader.count_users())?;
            assert_eq!(inner, 1, "a snapshot within one joins it");
            Ok((before, look()?))
        })
        .unwrap();
    assert_eq!((before, after), ((1, 1), (1, 1)));
    assert_eq!(reader.count_users().unwrap(), 2, "and afterwards so does the reader");
}

fn whoever_read_before_another_committed_is_refused(store: &dyn Store) {
    with_people(store, 1);
    let mut tx = store.begin(Turn::Anyones).unwrap();
    let base_version = tx.reader().meta().unwrap().version;
    commit(store, &newcomer(1));
    let plan = newcomer(1);
    let (sources, configured) = (&[], &[]);
    let commit = Commit { plan: &plan, base_version, sources, configured, settled: None };
    assert!(matches!(tx.commit(&commit), Err(CommitError::Raced)));
    assert!(tx.lost());
    assert_eq!(counted(store), (2, 2));
}

fn an_update_in_whose_way_nobody_comes_is_made_once(store: &dyn Store) {
    with_people(store, 1);
    let mut calls = 0;
    let done = store.update(|tx| {
        calls += 1;
        let base_version = tx.reader().meta()?.version;
        let plan = newcomer(1);
        let (sources, configured) = (&[], &[]);
        tx.commit(&Commit { plan: &plan, base_version, sources, configured, settled: None })
    });
    assert_eq!(done.unwrap().generation, Some(2));
    assert_eq!(calls, 1);
    let read: Result<usize, CommitError> = store.update(|tx| {
        calls += 1;
        Ok(tx.reader().count_users()?)
    });
    assert_eq!((read.unwrap(), calls), (2, 2));
}

fn an_update_that_somebody_was_faster_than_is_made_once_more(store: &dyn Store) {
    with_people(store, 1);
    let mut calls = 0;
    let done = store.update(|tx| {
        calls += 1;
        let base_version = tx.reader().meta()?.version;
        let plan = newcomer(u32::try_from(tx.reader().count_users()?).unwrap());
        if calls == 1 {
            commit(store, &newcomer(1));
        }
        let (sources, configured) = (&[], &[]);
        tx.commit(&Commit { plan: &plan, base_version, sources, configured, settled: None })
    });
    assert_eq!(done.unwrap().generation, Some(3));
    assert_eq!(calls, 2);
    assert_eq!(counted(store), (3, 3), "neither is lost, and no generation is there twice");
}

fn what_an_update_found_before_another_committed_counts_for_nothing(store: &dyn Store) {
    with_people(store, 1);
    for found_an_error in [true, false] {
        let (people, _) = counted(store);
        let mut calls = 0;
        let done: Result<usize, CommitError> = store.update(|tx| {
            calls += 1;
            let found = tx.reader().count_users()?;
            if calls == 1 {
                commit(store, &newcomer(u32::try_from(people).unwrap()));
                if found_an_error {
                    return Err(Mismatch::UnevenSets.into());
                }
            }
            Ok(found)
        });
        assert_eq!((done.unwrap(), calls), (people + 1, 2));
    }
}

fn nobody_is_faster_than_a_second_try(store: &dyn Store) {
    with_people(store, 1);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut tx = store.begin(Turn::Mine).unwrap();
        let base_version = tx.reader().meta().unwrap().version;
        // Plans from what it sees, and may only come after us.
        let other = scope.spawn(move || {
            store.update(|tx| {
                let (people, meta) = (tx.reader().count_users()?, tx.reader().meta()?);
                tell.send(people).unwrap();
                let plan = newcomer(u32::try_from(people).unwrap());
                let (base_version, sources, configured) = (meta.version, &[], &[]);
                tx.commit(&Commit { plan: &plan, base_version, sources, configured, settled: None })
            })
        });
        assert_eq!(told.recv().unwrap(), 1, "readers are not kept waiting");
        let plan = newcomer(1);
        let (sources, configured) = (&[], &[]);
        let ours = Commit { plan: &plan, base_version, sources, configured, settled: None };
        assert_eq!(tx.commit(&ours).unwrap().generation, Some(2));
        assert!(!tx.lost());
        drop(tx);
        assert_eq!(other.join().unwrap().unwrap().generation, Some(3));
    });
    assert_eq!(counted(store), (3, 3));
}

/// Between any two steps of a large change somebody else commits, as long as they may.
fn an_update_against_a_stream_of_newcomers_takes_two_tries_and_loses_nobody(store: &dyn Store) {
    with_people(store, 1);
    let mut came = 1;
    let mut calls = 0;
    let done = store.update(|tx| {
        calls += 1;
        let mut come = || {
            // With the writer's place taken nobody can: whoever tries waits for it to be over.
            if calls == 1 {
                commit(store, &newcomer(came));
                came += 1;
            }
        };
        come();
        let meta = tx.reader().meta()?;
        come();
        let people = u32::try_from(tx.reader().count_users()?).unwrap();
        come();
        let plan = newcomer(people);
        let (base_version, sources, configured) = (meta.version, &[], &[]);
        tx.commit(&Commit { plan: &plan, base_version, sources, configured, settled: None })
    });
    assert_eq!(calls, 2);
    assert_eq!(done.unwrap().generation, Some(5));
    assert_eq!(counted(store), (5, 5));
}

fn an_update_that_fails_leaves_nothing(store: &dyn Store) {
    with_people(store, 1);
    let before = store.reader().unwrap().unwrap().meta().unwrap();
    let mut calls = 0;
    let done: Result<(), CommitError> = store.update(|tx| {
        calls += 1;
        tx.reader().state()?;
        Err(Mismatch::UnevenSets.into())
    });
    assert!(matches!(done, Err(CommitError::Inconsistent(_))));
    assert_eq!(calls, 1);
    assert_eq!(store.reader().unwrap().unwrap().meta().unwrap(), before);
}

fn a_plan_that_does_not_fit_leaves_nothing_of_its_commit(store: &dyn Store) {
    with_people(store, 2);
    let reader = store.reader().unwrap().unwrap();
    let before = (reader.meta().unwrap(), reader.sources().unwrap());
    let (directory, configured) = (random_directory(1, 5, 3), ["corp".to_owned()]);
    let digest = digests(&directory);
    let sources = [update("corp", at(9), None, &directory, &digest)];
    // Somebody is there already; somebody is called as another one is.
    let mut namesakes = world(2);
    namesakes.person(2, "u0");
    for plan in [newcomer(1), plan(&world(2), &namesakes, at(9))] {
        for turn in [Turn::Anyones, Turn::Mine] {
            let mut tx = store.begin(turn).unwrap();
            let base_version = before.0.version;
            let commit = Commit {
                plan: &plan,
                base_version,
                sources: &sources,
                configured: &configured,
                settled: Some("settled".to_owned()),
            };
            let refused = tx.commit(&commit).unwrap_err();
            assert!(!matches!(refused, CommitError::Raced), "to plan anew would not help");
            drop(tx);
            assert_eq!((reader.meta().unwrap(), reader.sources().unwrap()), before);
            assert_eq!(counted(store), (2, 1));
        }
    }
}

/// So many that their names are looked at all at once.
const MANY: u32 = 6_000;

fn two_of_one_name_among_many_who_come_are_refused(store: &dyn Store) {
    store.prepare().unwrap();
    let mut namesakes = world(MANY);
    namesakes.person(MANY, "u7");
    let refused = |old: &World| {
        let done = try_commit(store, &plan(old, &namesakes, at(9)), None);
        let Err(CommitError::Inconsistent(Mismatch::SameName(name))) = done else {
            panic!("{done:?}");
        };
        assert_eq!(name, "u7");
    };
    refused(&World::default());
    assert_eq!(counted(store), (0, 0));
    // The one whose name it is may be there before all others.
    with_people(store, 10);
    refused(&world(10));
    assert_eq!(counted(store), (10, 1));
    commit(store, &plan(&world(10), &world(MANY), at(9)));
    assert_eq!(counted(store), (MANY as usize, 2));
}

fn a_change_that_is_dropped_unfinished_leaves_nothing_and_keeps_nobody_waiting(store: &dyn Store) {
    with_people(store, 1);
    let tx = store.begin(Turn::Mine).unwrap();
    assert_eq!(tx.reader().count_users().unwrap(), 1);
    drop(tx);
    assert_eq!(counted(store), (1, 1));
    commit(store, &newcomer(1));
    assert_eq!(counted(store), (2, 2));
}

fn a_first_commit_whose_plan_cannot_be_made_leaves_nothing(store: &dyn Store) {
    use crate::model::{Inconsistent, RoleIdx};
    use crate::store::Beside;
    store.prepare().unwrap();
    let beside = Beside {
        base_version: 0,
        sources: &[],
        configured: &["corp".to_owned()],
        settled: "settled",
    };
    let mut tx = store.begin(Turn::Anyones).unwrap();
    let cannot = || Err(Inconsistent::NoSuchRole(RoleIdx::new(7)));
    assert!(tx.commit_beside(&beside, Box::new(cannot)).is_err());
    drop(tx);
    let reader = store.reader().unwrap().unwrap();
    assert_eq!((reader.meta().unwrap().version, reader.sources().unwrap().len()), (0, 0));
    let mut tx = store.begin(Turn::Anyones).unwrap();
    let make = || Ok(plan(&Default::default(), &world(3), at(0)));
    let (_, committed) = tx.commit_beside(&beside, Box::new(make)).unwrap();
    assert_eq!((committed.generation, committed.version), (Some(1), 1));
    assert_eq!(counted(store), (3, 1));
    assert_eq!(reader.meta().unwrap().settled.as_deref(), Some("settled"));
    assert!(try_commit(store, &newcomer(3), None).is_ok());
}

fn one_runs_at_a_time(store: &dyn Store) {
    store.prepare().unwrap();
    let lock = store.lock("idpsyncd sync", at(0)).unwrap();
    let refused = store.lock("idpsyncd approve", at(1)).unwrap_err();
    assert!(matches!(refused, LockError::Held { .. }));
    let text = refused.to_string();
    assert!(text.contains("idpsyncd sync") && text.contains(&store.shown()), "{text}");
    // It keeps out runs, not those who ask or add somebody.
    with_people(store, 1);
    drop(lock);
    drop(store.lock("idpsyncd approve", at(2)).unwrap());
}

//! Who leads, when sessions end and processes freeze.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use super::{another, cut, people, store, texts};
use crate::store::conformance::commit;
use crate::store::conformance::worlds::{World, at, plan};
use crate::store::postgres::store::PostgresStore;
use crate::store::{
    BEAT, Commit, CommitError, Lead, LeadError, Leader, LockError, Store, StoreErrorKind,
    StoreLeader, Turn,
};

fn daemon(pid: u32) -> Leader {
    Leader::new("here", pid, at(i64::from(pid)))
}

/// Takes the lead as process `pid`, as soon as nobody has it.
fn leads(store: &PostgresStore, pid: u32) -> Arc<dyn Lead> {
    loop {
        match store.lead(&daemon(pid)) {
            Ok(lead) => return lead,
            Err(LeadError::Led { .. }) => std::thread::sleep(BEAT / 10),
            Err(LeadError::Store(error)) => panic!("{error}"),
        }
    }
}

/// Shows that whoever leads lives, as a daemon's thread does, until it is dropped: the machine may be busy.
struct Alive(Option<(Sender<()>, JoinHandle<()>)>);

fn alive(lead: &Arc<dyn Lead>) -> Alive {
    let (stop, stopped) = channel();
    let lead = Arc::clone(lead);
    let beats = move || {
        while lead.beat().is_ok() && stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {}
    };
    Alive(Some((stop, std::thread::spawn(beats))))
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some((stop, beats)) = self.0.take() {
            drop(stop);
            beats.join().unwrap();
        }
    }
}

#[test]
fn whoever_shows_no_life_loses_the_lead_and_is_told() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let first = leads(&store, 1);
    let other = another(&store);
    assert_eq!(other.leader().unwrap(), StoreLeader::Seen(daemon(1)));
    // Nobody does anything to it: the server finds out by itself.
    let second = leads(&other, 2);
    let _alive = alive(&second);
    assert_eq!(store.leader().unwrap(), StoreLeader::Seen(daemon(2)));
    assert_eq!(first.beat().unwrap_err().kind, StoreErrorKind::Busy);
    match first.lock("a late run", at(1)).unwrap_err() {
        LockError::Store(error) => assert!(error.message.contains("leads the store"), "{error}"),
        held => panic!("{held}"),
    }
    first.resign();
    second.beat().unwrap();
    assert_eq!(store.leader().unwrap(), StoreLeader::Seen(daemon(2)));
}

#[test]
fn whoever_knows_that_it_leads_no_more_writes_nothing_though_nobody_has_led_since() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let lead = leads(&store, 1);
    let run = lead.lock("a run of it", at(0)).unwrap();
    commit(&store, &plan(&World::default(), &people(1), at(0)));
    cut(&store, "%a run of it%");
    assert_eq!(lead.beat().unwrap_err().kind, StoreErrorKind::Busy);
    let more = plan(&people(1), &people(2), at(1));
    let mut late = store.begin(Turn::Anyones).unwrap();
    let base_version = late.reader().meta().unwrap().version;
    let late = late.commit(&Commit {
        plan: &more,
        base_version,
        sources: &[],
        configured: &[],
        settled: None,
    });
    assert!(late.unwrap_err().to_string().contains("leads no more"));
    // It may lead again at once, but no run of it is taken for one of before.
    let again = leads(&store, 1);
    let _alive = alive(&again);
    assert!(matches!(again.lock("another run", at(2)), Err(LockError::Held { .. })));
    drop(run);
    drop(again.lock("another run", at(3)).unwrap());
    assert_eq!(store.reader().unwrap().unwrap().count_users().unwrap(), 1);
}

#[test]
fn a_leader_begins_a_term_anew_only_where_somebody_else_has_run_meanwhile() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let lead = leads(&store, 1);
    let _alive = alive(&lead);
    let term = || texts(&store, "SELECT CAST(term AS text) FROM meta").remove(0);
    let run = |what: &str| drop(lead.lock(what, at(0)).unwrap());
    run("the first run");
    let first = term();
    run("the next run");
    assert_eq!(term(), first);
    drop(another(&store).lock("a run by hand", at(1)).unwrap());
    let by_hand = term();
    assert_ne!(by_hand, first);
    run("the third run");
    assert_ne!(term(), by_hand);
}

#[test]
fn what_a_newcomer_writes_beside_a_run_is_waited_for_and_not_ended() {
    let Some(store) = store() else { return };
    store.prepare().unwrap();
    let lead = leads(&store, 1);
    let run = lead.lock("a run", at(0)).unwrap();
    // Begun beside a run of this process, so it bears the run's mark, and longer than that.
    let mut newcomer = store.begin(Turn::Mine).unwrap();
    let base_version = newcomer.reader().meta().unwrap().version;
    drop(run);
    let other = another(&store);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| drop(other.lock("a run by hand", at(1)).unwrap()));
        let waits = "SELECT CAST(count(*) AS text) FROM pg_stat_activity \
                     WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE meta SET term%'";
        while texts(&store, waits) == ["0"] {
            assert!(!waiting.is_finished(), "it has not waited");
            // It works: one that asks nothing for two seconds is taken for frozen.
            newcomer.reader().meta().unwrap();
        }
        let more = plan(&World::default(), &people(1), at(1));
        let commit = newcomer.commit(&Commit {
            plan: &more,
            base_version,
            sources: &[],
            configured: &[],
            settled: None,
        });
        assert_eq!(commit.unwrap().generation, Some(1));
        waiting.join().unwrap();
    });
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
    let _alive = alive(&second);
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

use std::sync::Arc;
use std::time::Duration;

use super::{Evidence, ReplicaWatcher};
use crate::gateway::replica::{Replica, Wanted};
use crate::model::Time;
use crate::store::memory::MemoryStore;
use crate::store::{ScopeStatus, SourceAge, SourceStatus};
use crate::{config, sync};

fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

/// A source by its last complete read, its mirror, and when it last brought anything.
fn source(name: &str, read: Option<i64>, mirror: bool, spoke: Option<i64>) -> SourceStatus {
    SourceStatus {
        name: name.to_owned(),
        kind: Some("ldap".to_owned()),
        configured: true,
        read_at: read.map(at),
        tried_at: Some(at(9_999)),
        spoke_at: spoke.map(at),
        error: None,
        scopes: Vec::new(),
        digest: mirror.then(|| "d".to_owned()),
    }
}

#[test]
fn the_oldest_source_whose_word_counts_is_the_age_of_the_evidence() {
    let left = SourceStatus { configured: false, ..source("left", Some(1), true, Some(1)) };
    let by_hand = |count| SourceStatus {
        scopes: vec![ScopeStatus { scope: "users".to_owned(), count, partial: None }],
        ..source("local", Some(1), true, Some(1))
    };
    let oldest = |seconds, name: &str| Evidence::Oldest { at: at(seconds), source: name.into() };
    let table = [
        ("no source", vec![], Evidence::None),
        ("never read", vec![source("a", None, false, None)], Evidence::None),
        ("one that left alone", vec![left.clone()], Evidence::None),
        (
            "two read in full, and one that left",
            vec![
                source("a", Some(20), true, Some(30)),
                source("b", Some(10), true, Some(40)),
                left,
            ],
            oldest(10, "b"),
        ),
        (
            "one that was never tried with success gives nothing",
            vec![source("a", Some(20), true, Some(20)), source("b", None, false, None)],
            oldest(20, "a"),
        ),
        (
            "one that only ever was read in part is as old as that",
            vec![source("a", Some(20), true, Some(20)), source("b", None, true, Some(15))],
            oldest(15, "b"),
        ),
        (
            "a part that was read later makes a complete read no younger",
            vec![source("a", Some(20), true, Some(90))],
            oldest(20, "a"),
        ),
        ("local alone", vec![source("local", Some(1), true, Some(1))], Evidence::Present),
        (
            "local and one that was never read",
            vec![source("a", None, false, None), by_hand(1)],
            Evidence::Present,
        ),
        (
            "a local without anybody, and one that was never read",
            vec![source("a", None, false, None), by_hand(0)],
            Evidence::None,
        ),
        (
            "local makes nothing older, and nothing younger",
            vec![source("a", Some(20), true, Some(20)), by_hand(1)],
            oldest(20, "a"),
        ),
        (
            "a mirror of unknown age",
            vec![source("a", Some(20), true, Some(20)), source("b", None, true, None)],
            Evidence::Ageless("b".into()),
        ),
    ];
    for (what, sources, expected) in table {
        let sources: Vec<SourceAge> = sources.iter().filter_map(SourceStatus::age).collect();
        assert_eq!(Evidence::of(&sources), expected, "{what}");
    }
}

#[test]
fn evidence_is_stale_past_its_time_and_where_there_is_none() {
    let evidence = Evidence::Oldest { at: at(0), source: "corp".into() };
    let max = Duration::from_secs(60);
    assert_eq!(evidence.stale(at(60), max), None);
    assert_eq!(evidence.stale(at(-1_000), max), None, "the clock was set back");
    let stale = evidence.stale(at(61), max).unwrap();
    assert_eq!(stale.since, Some(at(0)));
    assert!(stale.words.contains("`corp`") && stale.words.contains("2023-11-14T22:13:20Z"));
    for evidence in [Evidence::None, Evidence::Ageless("corp".into())] {
        assert!(evidence.stale(at(0), Duration::MAX).unwrap().since.is_none());
    }
}

/// A store of one generation.
fn with_ann() -> MemoryStore {
    let folder = tempfile::tempdir().unwrap();
    let realm = r#"{"realm": "r", "groups": [], "roles": {}, "users": [
        {"id": "1", "username": "ann", "enabled": true}]}"#;
    std::fs::write(folder.path().join("realm.json"), realm).unwrap();
    let toml = "[store]\npath = \"store.db\"\n[roles.all]\neveryone = true\n[[source]]\nname = \"kc\"\n\
                kind = \"file\"\nrealm_export = \"realm.json\"\n";
    let file = folder.path().join("idpsyncd.toml");
    std::fs::write(&file, toml).unwrap();
    let config = config::load(&file, &crate::source::kinds()).unwrap();
    let store = MemoryStore::default();
    let silent: crate::source::OnProgress = Arc::new(|_| {});
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let options = sync::Options::default();
    let outcome = runtime.block_on(sync::run(&config, &store, &options, &silent, at(0))).unwrap();
    assert_eq!(outcome.generation, 1);
    store
}

#[test]
fn a_fault_of_this_program_while_it_loads_ends_nothing_and_the_next_look_loads_everything() {
    let store = with_ann();
    let watcher =
        ReplicaWatcher::start(Arc::new(store.clone()), Arc::new(Wanted::default())).unwrap();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(300), "not in time: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let served = || Arc::clone(&watcher.loaded().as_ref().unwrap().replica);
    until("it is served", &|| watcher.loaded().is_some());
    let first: Arc<Replica> = served();

    store.panics_once();
    watcher.nudge();
    until("it says what happened", &|| watcher.trouble().is_some());
    let trouble = watcher.trouble().unwrap();
    assert!(trouble.ends_with("a fault in idpsyncd itself: no text 7"), "{trouble}");
    assert!(Arc::ptr_eq(&first, &served()), "what was loaded is served on");
    assert_eq!(watcher.stale(at(0), Duration::MAX), None);

    watcher.nudge();
    until("it goes on", &|| watcher.trouble().is_none());
    until("all of it is loaded", &|| !Arc::ptr_eq(&first, &served()));
    assert_eq!((served().generation(), served().users()), (1, 1));
}

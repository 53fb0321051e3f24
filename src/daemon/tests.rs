//! Whom the next run asks.

use super::attempt::Ran;
use super::*;
use crate::config;
use crate::source::{SourceError, kinds};
use crate::sync::{Outcome, SourceOutcome, SourceResult};

fn daemon() -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("idpsyncd.toml");
    let sources = ["a", "b", "c", "d"].map(|name| {
        format!("[[source]]\nname = \"{name}\"\nkind = \"file\"\nrealm_export = \"{name}.json\"\n")
    });
    let text = format!("[store]\npath = \"store.db\"\n[roles.r]\n{}", sources.concat());
    std::fs::write(&file, text).unwrap();
    Daemon::new(&file, config::load(&file, &kinds()).unwrap())
}

fn ran(sources: Vec<(&str, SourceResult)>) -> Ran {
    let sources = sources.into_iter().map(|(name, result)| SourceOutcome {
        name: name.to_owned(),
        kind: "file",
        result,
        mirror_at: None,
    });
    let outcome = Outcome {
        plan: None,
        held: None,
        sources: sources.collect(),
        untold: Default::default(),
        diagnostics: Vec::new(),
        before: 1,
        generation: 1,
        at: Utc::now(),
        next_due: None,
    };
    Ran { outcome, summary: None }
}

fn failed(transient: bool) -> SourceResult {
    SourceResult::Failed(if transient {
        SourceError::transient("no")
    } else {
        SourceError::fatal("no")
    })
}

fn failing(daemon: &Daemon) -> Vec<&str> {
    daemon.status.failing.iter().map(String::as_str).collect()
}

#[test]
fn a_retry_asks_only_sources_whose_fault_may_pass() {
    let mut daemon = daemon();
    let run = ran(vec![
        ("a", SourceResult::Complete(Vec::new())),
        ("b", failed(true)),
        ("c", failed(false)),
        ("d", SourceResult::Partial(Vec::new())),
    ]);
    daemon.ran(&run, Why::Tick, true);
    assert_eq!(failing(&daemon), ["b", "c", "d"]);
    assert_eq!(daemon.asked(Why::Retry).unwrap(), ["b", "d"]);

    // The retry brings one of them back; who was not asked stands as before.
    let run = ran(vec![
        ("a", SourceResult::NotAsked),
        ("b", SourceResult::Complete(Vec::new())),
        ("c", SourceResult::NotAsked),
        ("d", failed(true)),
    ]);
    daemon.ran(&run, Why::Retry, false);
    assert_eq!(failing(&daemon), ["c", "d"]);
    assert_eq!(daemon.asked(Why::Retry).unwrap(), ["d"]);
}

#[test]
fn a_run_for_a_feed_asks_the_sources_that_are_waited_for_and_no_others() {
    let mut daemon = daemon();
    let wants = |daemon: &mut Daemon, source: &str| {
        daemon.followed(Event::Wants {
            source: source.to_owned(),
            why: crate::source::feed::WhyFull::NoCursor,
        });
    };
    wants(&mut daemon, "c");
    wants(&mut daemon, "a");
    assert_eq!(daemon.asked(Why::Feed).unwrap(), ["a", "c"]);
    // One that asks everybody is what they wait for.
    wants(&mut daemon, "b");
    assert_eq!(daemon.asked(Why::Tick), None);
    assert!(daemon.wanted.is_empty());
}

#[test]
fn a_run_for_a_feed_leaves_those_to_a_retry_whom_it_did_not_ask() {
    let mut daemon = daemon();
    daemon.ran(&ran(vec![("a", failed(true)), ("b", failed(true))]), Why::Tick, true);
    let run = ran(vec![
        ("a", SourceResult::NotAsked),
        ("b", SourceResult::Complete(Vec::new())),
        ("c", failed(true)),
    ]);
    daemon.ran(&run, Why::Feed, false);
    daemon.ask_again(Why::Feed, Some(vec!["d".to_owned()]));
    assert_eq!(daemon.asked(Why::Retry).unwrap(), ["a", "c", "d"]);
}

#[test]
fn every_other_run_asks_all_sources() {
    for why in [Why::Start, Why::Reload, Why::Tick, Why::Due] {
        let mut daemon = daemon();
        daemon.ran(&ran(vec![("b", failed(true))]), Why::Tick, true);
        assert_eq!(daemon.asked(why), None, "{why:?}");
    }
}

use std::time::Duration;

use super::Evidence;
use crate::model::Time;
use crate::store::{ScopeStatus, SourceStatus};

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

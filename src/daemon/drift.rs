//! Drift: what a full read finds that no feed has told, and goes on not telling.
//!
//! A full read and a feed look at a source at different moments, so that what differs may just be on
//! its way. Whatever the feed tells before it falls silent is no drift; the rest is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::directory::{Delta, DeltaScope, Difference, RowId};

/// For so long must a feed be silent after a full read.
const SILENCE: Duration = Duration::from_secs(10);

/// So many rows are named.
const NAMED: usize = 10;

/// What sources' last full reads found, and their feeds may still tell.
#[derive(Debug, Default)]
pub struct Suspects {
    by_source: BTreeMap<String, Suspected>,
    /// Sources whose feeds cannot tell anything just now.
    held_up: BTreeSet<String>,
}

#[derive(Debug)]
struct Suspected {
    rows: BTreeMap<RowId, Difference>,
    /// When the feed was heard last.
    heard: Instant,
}

/// What a source's feed did not tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drift {
    /// The source.
    pub source: String,
    /// How many rows.
    pub changes: u64,
    /// The first of them, in words.
    pub first: Vec<String>,
}

impl Suspects {
    /// A full read of `source` found this.
    pub fn found(&mut self, source: &str, rows: BTreeMap<RowId, Difference>, now: Instant) {
        self.by_source.insert(source.to_owned(), Suspected { rows, heard: now });
    }

    /// The feed of `source` told this.
    pub fn told(&mut self, source: &str, deltas: &[Delta], now: Instant) {
        let Some(suspected) = self.by_source.get_mut(source) else { return };
        suspected.heard = now;
        let told = DeltaScope::by_all(deltas);
        suspected.rows.retain(|row, _| !told.names(row));
    }

    /// `source` is not followed any more, or in another way: nothing can be said.
    pub fn forget(&mut self, source: &str) {
        self.by_source.remove(source);
    }

    /// Something stands in the way of the feed of `source`, or no more: until then its silence says nothing.
    pub fn is_held_up(&mut self, source: &str, held_up: bool, now: Instant) {
        if held_up {
            self.held_up.insert(source.to_owned());
        } else if self.held_up.remove(source)
            && let Some(suspected) = self.by_source.get_mut(source)
        {
            suspected.heard = now;
        }
    }

    /// What has turned out to be drift, or none, since this was asked last.
    pub fn settled(&mut self, now: Instant) -> Vec<Drift> {
        let silent = |it: &Suspected| now.saturating_duration_since(it.heard) >= SILENCE;
        let settled: Vec<String> = self
            .by_source
            .iter()
            .filter(|(source, suspected)| silent(suspected) && !self.held_up.contains(*source))
            .map(|(source, _)| source.clone())
            .collect();
        let drift = settled.into_iter().filter_map(|source| {
            let Suspected { rows, .. } = self.by_source.remove(&source)?;
            let first = rows.iter().take(NAMED);
            let first = first.map(|(row, how)| format!("{row} {}", how.as_str())).collect();
            let changes = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            Some(Drift { source, changes, first })
        });
        drift.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Kind, ListChange, PersonDelta, RefDelta, RefId};

    fn group() -> RefId {
        RefId { kind: Kind::Group, key: "g".to_owned() }
    }

    fn person(ext: &str) -> RowId {
        RowId::Person(ext.to_owned())
    }

    #[test]
    fn what_a_feed_still_tells_is_no_drift() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut suspects = Suspects::default();
        let member = RowId::Member(group(), "c".to_owned());
        let rows = [
            (person("a"), Difference::Came),
            (person("b"), Difference::Changed),
            (member, Difference::Went),
        ];
        suspects.found("corp", rows.into(), start);
        assert_eq!(suspects.settled(after(9)), []);
        let told = PersonDelta { ext: "b".to_owned(), ..PersonDelta::default() };
        let delta = Delta { people: vec![told], ..Delta::default() };
        suspects.told("corp", &[delta], after(9));
        assert_eq!(suspects.settled(after(18)), [], "it speaks");
        let members = ListChange::Changed { added: Vec::new(), removed: vec!["c".to_owned()] };
        let refs = vec![RefDelta { members, ..RefDelta::new(group()) }];
        suspects.told("corp", &[Delta { refs, ..Delta::default() }], after(18));
        let drift = suspects.settled(after(28));
        let first = vec!["the person `a` came".to_owned()];
        assert_eq!(drift, [Drift { source: "corp".to_owned(), changes: 1, first }]);
        assert_eq!(suspects.settled(after(60)), [], "said once");
    }

    #[test]
    fn a_feed_that_is_held_up_is_waited_for() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut suspects = Suspects::default();
        suspects.is_held_up("corp", true, start);
        suspects.found("corp", [(person("a"), Difference::Went)].into(), after(1));
        assert_eq!(suspects.settled(after(100)), [], "it cannot tell anything");
        suspects.is_held_up("corp", false, after(100));
        assert_eq!(suspects.settled(after(109)), [], "it may still");
        assert_eq!(suspects.settled(after(110)).len(), 1, "it did not");
    }

    #[test]
    fn a_read_that_found_nothing_says_so_and_one_that_is_not_followed_says_nothing() {
        let start = Instant::now();
        let late = start + Duration::from_secs(60);
        let mut suspects = Suspects::default();
        suspects.found("corp", BTreeMap::new(), start);
        suspects.found("other", [(person("a"), Difference::Came)].into(), start);
        suspects.forget("other");
        let drift = suspects.settled(late);
        assert_eq!(drift.len(), 1);
        assert_eq!((drift[0].source.as_str(), drift[0].changes), ("corp", 0));
    }
}

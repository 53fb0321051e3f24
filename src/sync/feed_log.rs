//! What feeds told while a source was read in full.
//!
//! A full read takes minutes, and what it read at its beginning may have changed at its end. A feed
//! goes on telling meanwhile, and what it tells is committed at once: whoever is dismissed does not
//! wait for a read to end. So when the read is laid over the mirror, of all that a feed spoke of
//! since it began the mirror's word counts, which is the younger one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::directory::{Cursor, Delta};

/// Who is followed in this process, and what was told since a run began to read. Clones are one and
/// the same.
#[derive(Clone, Debug, Default)]
pub struct FeedLog(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// By whom each source is followed.
    followed: BTreeMap<String, u64>,
    /// How often somebody began to follow one.
    begun: u64,
    /// What was told since the run under way began to read, by source: of those too who came to be
    /// followed since, or are not any more. Absent: there is none.
    told: Option<BTreeMap<String, Vec<Delta>>>,
}

impl FeedLog {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `source` is followed from now on, from the cursor of its mirror, until what is returned is dropped
    /// or somebody else follows it.
    #[must_use]
    pub fn follows(&self, source: &str) -> FollowedHere {
        let mut content = self.content();
        content.begun = content.begun.wrapping_add(1);
        let by = content.begun;
        content.followed.insert(source.to_owned(), by);
        FollowedHere { log: self.clone(), source: source.to_owned(), by }
    }

    /// Whether `source` is followed.
    #[must_use]
    pub fn has(&self, source: &str) -> bool {
        self.content().followed.contains_key(source)
    }

    /// `deltas` are about to be committed: to be called before, so that no read misses what is in the
    /// store already. One that is refused after all does no harm: of more than need be the mirror's
    /// word counts.
    pub fn tells(&self, source: &str, deltas: &[Delta]) {
        if let Some(told) = &mut self.content().told {
            told.entry(source.to_owned()).or_default().extend_from_slice(deltas);
        }
    }

    /// A run begins to read: what is told from now on is kept. There is one at a time.
    pub(super) fn reads_begin(&self) {
        self.content().told = Some(BTreeMap::new());
    }

    /// It has ended.
    pub(super) fn reads_end(&self) {
        self.content().told = None;
    }

    /// What was told of `source` since the run began to read, if that leads from the cursor `from` to
    /// `to`. `None`: not all of it was heard here. What a feed tells before it can vouch for a newer
    /// cursor leads to where it began, and counts as well.
    pub(super) fn between(
        &self,
        source: &str,
        from: Option<&Cursor>,
        to: Option<&Cursor>,
    ) -> Option<Vec<Delta>> {
        let content = self.content();
        let told = content.told.as_ref().and_then(|told| told.get(source));
        let told = told.map(Vec::as_slice).unwrap_or_default();
        let mut at = from;
        let mut leads_there = at == to;
        for step in told.iter().filter_map(|delta| delta.step.as_ref()) {
            if Some(&step.from) == at {
                at = Some(&step.to);
                leads_there |= at == to;
            }
        }
        leads_there.then(|| told.to_vec())
    }
}

/// A source counts as followed. Dropping it ends that, however following ends; but for a source that
/// another one follows by now, as after a reload, which begins anew while what was before still ends.
#[derive(Debug)]
pub struct FollowedHere {
    log: FeedLog,
    source: String,
    by: u64,
}

impl Drop for FollowedHere {
    fn drop(&mut self) {
        let followed = &mut self.log.content().followed;
        if followed.get(&self.source) == Some(&self.by) {
            followed.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Step;

    fn delta(from: &str, to: &str) -> Delta {
        let step = Step { from: Cursor::new(from), to: Cursor::new(to) };
        Delta { step: Some(step), ..Delta::default() }
    }

    fn between(log: &FeedLog, from: &str, to: &str) -> Option<usize> {
        let (from, to) = (Cursor::new(from), Cursor::new(to));
        log.between("corp", Some(&from), Some(&to)).map(|way| way.len())
    }

    #[test]
    fn the_way_between_two_cursors_is_known_or_not() {
        let log = FeedLog::default();
        log.tells("corp", &[delta("a", "b")]);
        log.reads_begin();
        assert_eq!(between(&log, "b", "b"), Some(0));
        log.tells("corp", &[delta("b", "c"), delta("c", "d")]);
        log.tells("corp", &[delta("d", "e")]);
        assert_eq!(between(&log, "b", "e"), Some(3));
        assert_eq!(between(&log, "b", "d"), Some(3), "more than need be does no harm");
        assert_eq!(between(&log, "a", "e"), None, "told before the read began");
        assert_eq!(between(&log, "b", "x"), None, "somebody else's cursor");
        assert_eq!(log.between("corp", None, None).map(|way| way.len()), Some(3));
        log.reads_end();
        assert_eq!(between(&log, "b", "e"), None);
    }

    #[test]
    fn what_is_told_without_a_newer_cursor_counts_and_so_does_what_a_feed_told_before_it_ended() {
        let log = FeedLog::default();
        log.reads_begin();
        let followed = log.follows("corp");
        log.tells("corp", &[delta("a", "a")]);
        assert!(log.has("corp"));
        drop(followed);
        assert!(!log.has("corp"));
        assert_eq!(between(&log, "a", "a"), Some(1));
    }

    #[test]
    fn who_ends_late_takes_nothing_from_whoever_follows_by_then() {
        let log = FeedLog::default();
        let before = log.follows("corp");
        let after = log.follows("corp");
        drop(before);
        assert!(log.has("corp"));
        drop(after);
        assert!(!log.has("corp"));
    }
}

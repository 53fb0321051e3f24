//! What feeds told while a source was read in full.
//!
//! A full read takes minutes, and what it read at its beginning may have changed at its end. A feed
//! goes on telling meanwhile, and what it tells is committed at once: whoever is dismissed does not
//! wait for a read to end. So when the read is laid over the mirror, of all that a feed spoke of
//! since it began the mirror's word counts, which is the younger one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::directory::{Cursor, Delta};

/// Who is followed in this process, and what was told of them since their last read began. Clones
/// are one and the same.
#[derive(Clone, Debug, Default)]
pub struct FeedLog(Arc<Mutex<BTreeMap<String, FollowedSource>>>);

/// A source that is followed.
#[derive(Debug, Default)]
struct FollowedSource {
    /// A read is under way: what is told is kept.
    read: bool,
    deltas: Vec<Delta>,
}

impl FeedLog {
    fn sources(&self) -> MutexGuard<'_, BTreeMap<String, FollowedSource>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `source` is followed from now on, from the cursor of its mirror.
    pub fn follows(&self, source: &str) {
        self.sources().entry(source.to_owned()).or_default();
    }

    /// `source` is not followed any more.
    pub fn ends(&self, source: &str) {
        self.sources().remove(source);
    }

    /// Whether `source` is followed.
    #[must_use]
    pub fn has(&self, source: &str) -> bool {
        self.sources().contains_key(source)
    }

    /// `deltas` are about to be committed: to be called before, so that nobody finds a cursor in
    /// the store that this has not heard of.
    pub fn tells(&self, source: &str, deltas: &[Delta]) {
        if let Some(followed) = self.sources().get_mut(source)
            && followed.read
        {
            followed.deltas.extend_from_slice(deltas);
        }
    }

    /// A full read of `source` begins: what is told from now on is kept. `false`: it is not
    /// followed.
    pub(super) fn read_begins(&self, source: &str) -> bool {
        let mut sources = self.sources();
        let Some(followed) = sources.get_mut(source) else { return false };
        *followed = FollowedSource { read: true, deltas: Vec::new() };
        true
    }

    /// All reads have ended.
    pub(super) fn reads_end(&self) {
        for followed in self.sources().values_mut() {
            *followed = FollowedSource::default();
        }
    }

    /// What led from the cursor `from` to `to` since the read began. `None`: not all of it was
    /// heard here.
    pub(super) fn between(&self, source: &str, from: &Cursor, to: &Cursor) -> Option<Vec<Delta>> {
        let sources = self.sources();
        let mut at = from;
        let mut way = Vec::new();
        // What was refused stays in the list, and leads nowhere.
        for delta in &sources.get(source)?.deltas {
            if at == to {
                break;
            }
            if let Some(step) = delta.step.as_ref().filter(|step| step.from == *at) {
                at = &step.to;
                way.push(delta.clone());
            }
        }
        (at == to).then_some(way)
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
        log.between("corp", &Cursor::new(from), &Cursor::new(to)).map(|way| way.len())
    }

    #[test]
    fn the_way_between_two_cursors_is_known_or_not() {
        let log = FeedLog::default();
        assert!(!log.read_begins("corp"), "nobody follows it");
        log.follows("corp");
        log.tells("corp", &[delta("a", "b")]);
        assert!(log.read_begins("corp"));
        log.tells("corp", &[delta("b", "c"), delta("c", "d")]);
        log.tells("corp", &[delta("d", "e")]);
        assert_eq!(between(&log, "b", "e"), Some(3));
        assert_eq!(between(&log, "b", "d"), Some(2));
        assert_eq!(between(&log, "d", "e"), Some(1));
        assert_eq!(between(&log, "c", "c"), Some(0));
        assert_eq!(between(&log, "a", "e"), None, "told before the read began");
        assert_eq!(between(&log, "b", "x"), None, "somebody else's cursor");
        log.reads_end();
        assert_eq!(between(&log, "b", "e"), None);
        log.ends("corp");
        assert_eq!(between(&log, "b", "b"), None, "not followed");
    }
}

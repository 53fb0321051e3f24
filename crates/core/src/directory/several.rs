//! Several deltas, one after the other, as one patch.

use std::collections::BTreeSet;

use super::digest::DigestKey;
use super::rows::{MirrorRows, Patch, PersonEntry};
use super::{Applied, Delta, DeltaScope, Mirror, RefId, Refusal, RowId, Touched};
use crate::model::TooMany;

impl MirrorRows {
    /// What `deltas` make of these rows, one after the other: as if each were applied and stored
    /// before the next. The rows must be all that any of them touches ([`Touched::by_all`]).
    ///
    /// # Errors
    /// One of them does not fit what the mirror is by then, or contradicts itself.
    pub fn apply_all(&self, deltas: &[Delta], key: &DigestKey) -> Result<Patch, Refusal> {
        let mut rows = self.clone();
        let mut whole = Patch {
            before: self.head.digest,
            after: self.head.digest,
            cursor: self.head.cursor.clone(),
            ..Patch::default()
        };
        for delta in deltas {
            let patch = rows.apply(delta, key)?;
            rows.take_over(&patch);
            whole.followed_by(patch);
        }
        // What came and went in between was never there; what went and came back has not changed.
        let row = |ext: &str| self.people.get(ext).map(|entry| &entry.row);
        whole.people.retain(|ext, now| row(ext) != now.as_ref());
        whole.refs.retain(|id, now| self.refs.get(id) != now.as_ref());
        Ok(whole)
    }

    /// These rows after `deltas`, as [`MirrorRows::apply_all`] has them in between.
    ///
    /// # Errors
    /// As there.
    pub fn after(mut self, deltas: &[Delta], key: &DigestKey) -> Result<MirrorRows, Refusal> {
        for delta in deltas {
            let patch = self.apply(delta, key)?;
            self.take_over(&patch);
        }
        Ok(self)
    }

    /// Makes these rows what `patch` makes of them.
    fn take_over(&mut self, patch: &Patch) {
        self.head.digest = patch.after;
        self.head.cursor.clone_from(&patch.cursor);
        for (ext, row) in &patch.people {
            match (row, self.people.get_mut(ext)) {
                (Some(row), Some(entry)) => entry.row.clone_from(row),
                (Some(row), None) => {
                    let entry = PersonEntry { row: row.clone(), within: Default::default() };
                    self.people.insert(ext.clone(), entry);
                }
                (None, _) => {
                    self.people.remove(ext);
                }
            }
        }
        for (id, entry) in &patch.refs {
            match entry {
                Some(entry) => self.refs.insert(id.clone(), entry.clone()),
                None => self.refs.remove(id),
            };
        }
        for (id, ext) in &patch.left {
            if let Some(entry) = self.people.get_mut(ext) {
                entry.within.remove(id);
            }
        }
        for (id, ext) in &patch.joined {
            if let Some(entry) = self.people.get_mut(ext) {
                entry.within.insert(id.clone());
            }
        }
    }
}

impl Patch {
    /// What makes of the rows `before` the rows `after`, as far as they were `told`: others that had
    /// to be loaded say nothing. It has no digest: it is for a mirror in memory.
    fn between(before: &MirrorRows, after: &MirrorRows, told: &DeltaScope<'_>) -> Patch {
        let mut patch = Patch { cursor: after.head.cursor.clone(), ..Patch::default() };
        for ext in told.people() {
            let row = |rows: &MirrorRows| rows.people.get(ext).map(|entry| entry.row.clone());
            let is = row(after);
            if row(before) != is {
                patch.people.insert(ext.to_owned(), is);
            }
        }
        for id in told.refs() {
            let is = after.refs.get(id);
            if before.refs.get(id) != is {
                patch.refs.insert(id.clone(), is.cloned());
            }
        }
        let spoken_of =
            |id: &RefId, ext: &str| told.names(&RowId::Member(id.clone(), ext.to_owned()));
        let pairs = |rows: &MirrorRows| -> BTreeSet<(RefId, String)> {
            let pairs = rows.people.iter().flat_map(|(ext, entry)| {
                entry.within.iter().map(move |id| (id.clone(), ext.clone()))
            });
            let staying = rows.staying.iter();
            let staying = staying
                .flat_map(|(id, those)| those.iter().map(move |ext| (id.clone(), ext.clone())));
            pairs.chain(staying).filter(|(id, ext)| spoken_of(id, ext)).collect()
        };
        let (was, is) = (pairs(before), pairs(after));
        patch.joined = is.difference(&was).cloned().collect();
        patch.left = was.difference(&is).cloned().collect();
        patch
    }

    /// Makes of this what it and `next`, which was made from what it leads to, come to together.
    fn followed_by(&mut self, next: Patch) {
        let Patch { before: _, after, cursor, people, refs, joined, left, looked_up, undecided } =
            next;
        self.after = after;
        self.cursor = cursor;
        self.people.extend(people);
        self.refs.extend(refs);
        for pair in left {
            if !self.joined.remove(&pair) {
                self.left.insert(pair);
            }
        }
        for pair in joined {
            if !self.left.remove(&pair) {
                self.joined.insert(pair);
            }
        }
        self.looked_up |= looked_up;
        self.undecided = self.undecided.saturating_add(undecided);
    }
}

impl Mirror {
    /// This with what `deltas` told as `other` has it, and its cursor: for what was read while a feed
    /// went on telling, whose word is the younger one. `other` is of the rows that they touch
    /// ([`Touched::by_all`]) after them.
    ///
    /// # Errors
    /// There is no number left for what is new.
    pub fn with_rows_of(self, other: &MirrorRows, deltas: &[Delta]) -> Result<Mirror, TooMany> {
        let rows = self.rows(&Touched::by_all(deltas), None);
        let patch = Patch::between(&rows, other, &DeltaScope::by_all(deltas));
        self.patched(&patch)
    }

    /// As [`Mirror::apply_delta`] for several deltas, one after the other, in one pass.
    ///
    /// # Errors
    /// One of them does not fit what the mirror is by then, or contradicts itself.
    pub fn apply_deltas(self, deltas: &[Delta]) -> Result<Applied, Refusal> {
        // No digest is asked for here.
        let rows = self.rows(&Touched::by_all(deltas), None);
        let patch = rows.apply_all(deltas, &DigestKey::default())?;
        let undecided = patch.undecided;
        let mirror = self.patched(&patch)?;
        Ok(Applied { mirror, complete: false, undecided })
    }
}

//! A source's mirror as its feed asks about it: what is stored, and what was told since and is about
//! to be stored.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::directory::{
    Cursor, Delta, Directory, Enabled, ListChange, MirrorDigest, MirrorRows, OwnDomain, Patch,
    RefDelta, RefEntry, RefId, RefRow, Touched,
};
use crate::source::feed::{MirrorView, NoAnswer};
use crate::store::{Reader, Store, StoreError};

/// The mirror of one source.
pub struct StoredView {
    store: Arc<dyn Store>,
    source: String,
    /// DeltaScope, and not committed yet.
    pending: Mutex<Vec<Delta>>,
    /// The store opened for a burst: a group's members are asked about one by one.
    reader: Mutex<Option<Box<dyn Reader>>>,
    /// What leads to what, since each group is asked what leads to it, which only a look at all can tell:
    /// from one burst to the next.
    leading: Mutex<Option<Leading>>,
}

/// What leads to each reference, or is right below it, in the mirror of one digest.
#[derive(PartialEq, Eq, Debug)]
struct Leading {
    mirror: MirrorDigest,
    to: HashMap<RefId, BTreeSet<RefId>>,
    from: HashMap<RefId, BTreeSet<RefId>>,
}

impl Leading {
    /// Of a directory in which nobody need be.
    fn of(mirror: MirrorDigest, directory: &Directory) -> Leading {
        let id = |row: &RefRow| RefId { kind: row.kind, key: directory.text(row.key).to_owned() };
        let mut leading = Leading { mirror, to: HashMap::new(), from: HashMap::new() };
        for (row, implies) in directory.refs.iter().zip(&directory.implies) {
            let above = implies.iter().copied().chain(row.parent);
            let above = above.filter_map(|place| directory.refs.get(place).map(id));
            leading.lead(&id(row), above.collect());
        }
        leading
    }

    /// `from` leads to these, and to nothing else.
    fn lead(&mut self, from: &RefId, to: BTreeSet<RefId>) {
        for above in self.from.remove(from).unwrap_or_default() {
            if let Some(below) = self.to.get_mut(&above) {
                below.remove(from);
                if below.is_empty() {
                    self.to.remove(&above);
                }
            }
        }
        for above in &to {
            self.to.entry(above.clone()).or_default().insert(from.clone());
        }
        if !to.is_empty() {
            self.from.insert(from.clone(), to);
        }
    }

    /// What it is after `patch`. `None`: that was made for another mirror.
    fn after(mut self, patch: &Patch) -> Option<Leading> {
        if self.mirror != patch.before {
            return None;
        }
        for (id, entry) in &patch.refs {
            let entry = entry.iter();
            let above = entry.flat_map(|entry| entry.implies.iter().chain(&entry.parent)).cloned();
            self.lead(id, above.collect());
        }
        self.mirror = patch.after;
        Some(self)
    }
}

impl fmt::Debug for StoredView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredView").field("source", &self.source).finish_non_exhaustive()
    }
}

impl StoredView {
    /// The mirror of `source` in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, source: &str) -> Self {
        let (pending, reader, leading) = Default::default();
        StoredView { store, source: source.to_owned(), pending, reader, leading }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Delta>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This was told: the mirror is as if it were stored.
    pub fn push(&self, delta: Delta) {
        self.pending().push(delta);
    }

    /// What was told and is not stored.
    #[must_use]
    pub fn told(&self) -> Vec<Delta> {
        self.pending().clone()
    }

    /// Forgets what was told, which will be told again.
    pub fn clear(&self) {
        self.committed(None);
    }

    /// What was told is stored now: this is what it made of the mirror, where that is known.
    pub fn committed(&self, patch: Option<&Patch>) {
        self.pending().clear();
        let mut leading = self.leading();
        *leading = leading.take().zip(patch).and_then(|(known, patch)| known.after(patch));
        drop(leading);
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is known of the mirror as it is stored, without a look at all: neither less nor more than
    /// such a look finds.
    #[cfg(test)]
    pub(super) fn knows_what_leads_to_what(&self) -> bool {
        let is = self.read_leading().ok();
        self.leading().as_ref().is_some_and(|known| Some(known) == is.as_ref())
    }

    /// Asks the store as it is now.
    fn ask<T>(
        &self,
        question: impl FnOnce(&dyn Reader) -> Result<T, StoreError>,
    ) -> Result<T, NoAnswer> {
        let no_answer = |error: StoreError| NoAnswer::Store(error.into());
        // Whoever asks the gateway waits for one question at most, where both are on one processor.
        std::thread::yield_now();
        let mut open = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = match open.take() {
            Some(reader) => reader,
            None => {
                let reader = self.store.reader().map_err(no_answer)?;
                reader.ok_or(NoAnswer::NoStore)?
            }
        };
        // One that has failed is not asked again.
        let answer = question(&*reader).map_err(no_answer)?;
        *open = Some(reader);
        Ok(answer)
    }

    /// Whether there is a mirror, and its cursor. Blocks on the disk.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn stored(&self) -> Result<Option<Option<Cursor>>, NoAnswer> {
        let reader = self.store.reader().map_err(|error| NoAnswer::Store(error.into()))?;
        let Some(reader) = reader else { return Ok(None) };
        let rows = reader.mirror_rows(&self.source, &Touched::default());
        let rows = rows.map_err(|error| NoAnswer::Store(error.into()))?;
        Ok(rows.map(|(rows, _)| rows.head.cursor))
    }

    /// The digest of the mirror, without what was told since.
    fn stored_digest(&self) -> Result<MirrorDigest, NoAnswer> {
        let rows = self.ask(|reader| reader.mirror_rows(&self.source, &Touched::default()))?;
        Ok(rows.ok_or(NoAnswer::NoMirror)?.0.head.digest)
    }

    /// What leads to a reference, or is right below it, without what was told since; and in the mirror of
    /// which digest.
    fn stored_leading_to(&self, id: &RefId) -> Result<(MirrorDigest, Vec<RefId>), NoAnswer> {
        let mut leading = self.leading();
        let is = self.stored_digest()?;
        let known = match leading.take().filter(|known| known.mirror == is) {
            Some(known) => known,
            None => self.read_leading()?,
        };
        let below = known.to.get(id).into_iter().flatten().cloned().collect();
        let answer = (known.mirror, below);
        *leading = Some(known);
        Ok(answer)
    }

    fn read_leading(&self) -> Result<Leading, NoAnswer> {
        let mut read = None;
        self.ask(|reader| {
            reader.at_once(&mut |reader| {
                let rows = reader.mirror_rows(&self.source, &Touched::default())?;
                let digest = rows.map(|(rows, _)| rows.head.digest);
                read = digest.zip(reader.structure(&self.source)?);
                Ok(())
            })
        })?;
        let (mirror, directory) = read.ok_or(NoAnswer::NoMirror)?;
        Ok(Leading::of(mirror, &directory))
    }

    fn leading(&self) -> MutexGuard<'_, Option<Leading>> {
        self.leading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of a reference, without what was told since.
    fn stored_ref(&self, id: &RefId) -> Result<Option<RefEntry>, NoAnswer> {
        let rows = self.ask(|reader| reader.mirror_rows(&self.source, &reference(id)))?;
        let (mut rows, _) = rows.ok_or(NoAnswer::NoMirror)?;
        Ok(rows.refs.remove(id))
    }

    /// The rows that are asked for: those of references, and of the person `ext`. Whoever else was told
    /// of is not looked at.
    fn rows(&self, asked: Touched<'_>, ext: Option<&str>) -> Result<MirrorRows, NoAnswer> {
        let told: Vec<Delta> = self.pending().iter().map(|delta| delta.about(ext)).collect();
        let touched = Touched::by_all(&told).and(asked);
        let rows = self.ask(|reader| reader.mirror_rows(&self.source, &touched))?;
        let (rows, key) = rows.ok_or(NoAnswer::NoMirror)?;
        let told = not_stored(&told, rows.head.cursor.as_ref());
        Ok(rows.after(told, &key)?)
    }
}

/// What of `told` the mirror, which is at `cursor`, does not have. A feed may ask while what it told is being
/// committed: it is stored then, and not yet cleared.
fn not_stored<'t>(told: &'t [Delta], cursor: Option<&Cursor>) -> &'t [Delta] {
    let step = |delta: &'t Delta| delta.step.as_ref();
    match (told.first().and_then(step), told.last().and_then(step)) {
        (Some(first), Some(last)) if first.from != last.to && cursor == Some(&last.to) => &[],
        _ => told,
    }
}

/// People of whom it says something themselves.
fn told_of(delta: &Delta) -> impl Iterator<Item = &String> {
    delta.people.iter().map(|person| &person.ext).chain(&delta.gone_people)
}

fn person(ext: &str) -> Touched<'_> {
    Touched { people: BTreeSet::from([ext]), ..Touched::default() }
}

fn reference(id: &RefId) -> Touched<'_> {
    Touched { refs: BTreeSet::from([id]), ..Touched::default() }
}

impl MirrorView for StoredView {
    fn has_person(&self, ext: &str) -> Result<bool, NoAnswer> {
        // What was told last counts; of whom nothing was told there is a row, or none.
        let said = self.pending().iter().rev().find_map(|delta| {
            let person = delta.people.iter().find(|person| person.ext == ext);
            match person {
                // Whoever is new and not known to be enabled stays out.
                Some(person) => Some((person.enabled != Some(Enabled::Unknown)).then_some(true)),
                None => delta.gone_people.iter().any(|gone| gone == ext).then_some(Some(false)),
            }
        });
        match said {
            Some(Some(there)) => return Ok(there),
            Some(None) => {}
            None => {
                let account = self.ask(|reader| reader.account(&self.source, ext))?;
                return Ok(account.is_some());
            }
        }
        Ok(self.rows(person(ext), Some(ext))?.people.contains_key(ext))
    }

    fn own_domain(&self) -> Result<OwnDomain<String>, NoAnswer> {
        // No delta says anything of it.
        self.ask(|reader| reader.own_domain(&self.source))?.ok_or(NoAnswer::NoMirror)
    }

    fn has_ref(&self, id: &RefId) -> Result<bool, NoAnswer> {
        // What was told last counts; of which nothing was told there is a row, or none.
        let said = self.pending().iter().rev().find_map(|delta| {
            let told = delta.refs.iter().any(|reference| reference.id == *id);
            (told || delta.gone_refs.contains(id)).then_some(told)
        });
        match said {
            Some(there) => Ok(there),
            None => Ok(self.stored_ref(id)?.is_some()),
        }
    }

    fn knows_members(&self, id: &RefId) -> Result<bool, NoAnswer> {
        let said = self.pending().iter().rev().find_map(|delta| {
            let whole = |it: &RefDelta| it.id == *id && matches!(it.members, ListChange::Whole(_));
            let told = delta.refs.iter().any(whole);
            (told || delta.gone_refs.contains(id)).then_some(told)
        });
        match said {
            Some(known) => Ok(known),
            None => Ok(self.stored_ref(id)?.is_some_and(|entry| entry.known)),
        }
    }

    fn within(&self, ext: &str) -> Result<Vec<RefId>, NoAnswer> {
        Ok(self.person_within(ext)?.unwrap_or_default())
    }

    fn person_within(&self, ext: &str) -> Result<Option<Vec<RefId>>, NoAnswer> {
        let asked = Touched { everything_of: BTreeSet::from([ext]), ..person(ext) };
        let mut rows = self.rows(asked, Some(ext))?;
        Ok(rows.people.remove(ext).map(|entry| entry.within.into_iter().collect()))
    }

    fn surely_there(&self, exts: &BTreeSet<String>) -> Result<BTreeSet<String>, NoAnswer> {
        // Held meanwhile: what is stored and what was told belong together.
        let pending = self.pending();
        let mut people = self.ask(|reader| reader.has_accounts(&self.source, exts))?;
        for delta in pending.iter() {
            told_of(delta).for_each(|ext| {
                people.remove(ext);
            });
        }
        Ok(people)
    }

    fn surely_in(&self, id: &RefId) -> Result<BTreeSet<String>, NoAnswer> {
        let refs = BTreeSet::from([id.clone()]);
        // Held meanwhile: what is stored and what was told belong together.
        let pending = self.pending();
        let mut people = self.ask(|reader| reader.members(&self.source, &refs))?;
        for delta in pending.iter() {
            told_of(delta).for_each(|ext| {
                people.remove(ext);
            });
        }
        Ok(people)
    }

    fn leads_to(&self, id: &RefId) -> Result<Vec<RefId>, NoAnswer> {
        let rows = self.rows(reference(id), None)?;
        Ok(rows.refs.get(id).into_iter().flat_map(|entry| entry.implies.clone()).collect())
    }

    fn leading_to(&self, id: &RefId) -> Result<Vec<RefId>, NoAnswer> {
        // Not of who is in it: there may be very many.
        loop {
            let (mirror, stored) = self.stored_leading_to(id)?;
            let asked = Touched { refs: stored.iter().chain([id]).collect(), ..Touched::default() };
            let rows = self.rows(asked, None)?.refs.into_iter();
            let leads =
                |entry: &RefEntry| entry.implies.contains(id) || entry.parent.as_ref() == Some(id);
            let leading = rows.filter(|(_, entry)| leads(entry)).map(|(from, _)| from).collect();
            // Else somebody has written to the mirror in between.
            if self.stored_digest()? == mirror {
                return Ok(leading);
            }
        }
    }

    fn everything(&self) -> Result<(Vec<String>, Vec<RefId>), NoAnswer> {
        let no_answer = |error: StoreError| NoAnswer::Store(error.into());
        let told = self.told();
        let reader = self.store.reader().map_err(no_answer)?;
        let reader = reader.ok_or(NoAnswer::NoStore)?;
        let mirror = reader.mirror(&self.source).map_err(no_answer)?;
        let mirror = mirror.ok_or(NoAnswer::NoMirror)?.mirror;
        let told = not_stored(&told, mirror.cursor.as_ref());
        let mirror = mirror.apply_deltas(told)?.mirror;
        let directory = &mirror.directory;
        let people: BTreeSet<String> =
            directory.users.iter().map(|user| directory.text(user.ext).to_owned()).collect();
        let refs = directory
            .refs
            .iter()
            .map(|row| RefId { kind: row.kind, key: directory.text(row.key).to_owned() });
        Ok((people.into_iter().collect(), refs.collect()))
    }
}

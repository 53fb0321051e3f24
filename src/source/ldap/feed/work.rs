//! From what was told to what changed in the mirror.
//!
//! Nothing that came with the feed is believed but the id and the name: 389-DS sends entries without
//! their operational attributes (so a locked account would look enabled), a group of 50,000 would come
//! with each of its changes, and what came may be older than what is there now. So each entry is read
//! again ([`Asker`]), with the filter and the attributes of a full read, and understood as a full read
//! does. Each group that is concerned is read whole ([`groups`](super::groups)).
//!
//! Which groups that are: those that were told, and those of people (and of groups in groups) who are
//! new or have another name: the ones that list the name now, and the ones that the mirror has. A
//! server mends the lists of somebody renamed or deleted a moment later and says nothing of it
//! (OpenLDAP's `refint`), so their groups are read a moment later, and until then what they are in
//! stays as it is ([`Unsettled`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use super::ask::{Asker, Found, Sort};
use super::draft::{Draft, group_id};
use super::inbox::{Batch, Touch};
use super::index::Slot;
use super::meaning;
use super::memory::{Memory, Unsettled};
use super::server::Provider;
use super::stream::Stream;
use super::wire::Id;
use super::{Origin, Stop, url_groups};
use crate::directory::{Kind, dn};
use crate::source::feed::{MirrorView, WhyFull};
use crate::source::ldap::assemble::Assembler;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::explain::Fault;
use crate::source::ldap::presence::presence;
use crate::source::ldap::primary::{self, Primary};
use crate::source::ldap::shape::Shape;

/// Of so many at once the groups can be asked for one by one; beyond, a full read costs less.
const MOST_UNSETTLED: usize = 500;

/// An entry that was told.
pub(super) struct Told {
    pub id: Id,
    /// As spelled.
    pub dn: String,
    /// In normal form.
    pub norm: String,
    /// The id by which the mirror has it as a person.
    pub ext: String,
}

/// One step: what came, and who is due, worked on into one delta.
pub(super) struct Work<'a, 'v> {
    pub(super) origin: &'a Origin,
    pub(super) provider: Provider,
    pub(super) ask: Asker<'a>,
    pub(super) shape: Shape,
    /// For what entries mean; takes none in.
    meaning: Assembler,
    pub(super) view: &'v dyn MirrorView,
    pub(super) memory: &'a mut Memory,
    pub draft: Draft<'v>,
    /// Groups to be read, and their names.
    pub(super) groups: BTreeMap<Id, String>,
    /// User names that somebody has got or lost: whoever lists them is to be read.
    pub(super) uids: BTreeSet<String>,
    /// Numbers of primary groups that somebody has got or lost: whoever has one is to be read.
    pub(super) gids: BTreeSet<i64>,
    /// The number of the primary group of whoever was told, as it was read then.
    pub(super) numbers: BTreeMap<Id, Option<i64>>,
    /// It is not known which user names changed.
    pub(super) any_uid: bool,
    /// Entries that were not below the bases before, by name.
    pub(super) newcomers: Vec<String>,
    /// New groups whose own groups are looked for: once each, since they may list one another in a circle.
    pub(super) new_groups: BTreeSet<Id>,
    /// The entries that were told.
    pub(super) told: BTreeSet<Id>,
    /// Former names of those who are due now.
    pub(super) before: HashMap<String, (Id, Unsettled)>,
    /// Groups that are read since a URL means somebody else: once each.
    pub(super) by_url: BTreeSet<Id>,
    /// Whether some user shows an attribute.
    pub(super) shown: BTreeMap<String, bool>,
    /// What was told came in a refresh, whose changes may be older than the names in memory.
    refresh: bool,
}

impl<'a, 'v> Work<'a, 'v> {
    /// Begins one.
    pub fn new(
        origin: &'a Origin,
        stream: &Stream,
        view: &'v dyn MirrorView,
        memory: &'a mut Memory,
    ) -> Self {
        let shape = Shape { now: chrono::Utc::now(), ..origin.shape.clone() };
        Work {
            origin,
            provider: stream.provider,
            ask: Asker { origin, ldap: stream.second.ldap.clone() },
            meaning: Assembler::new(shape.clone()),
            shape,
            view,
            memory,
            draft: Draft::new(view),
            groups: BTreeMap::new(),
            uids: BTreeSet::new(),
            gids: BTreeSet::new(),
            numbers: BTreeMap::new(),
            any_uid: false,
            newcomers: Vec::new(),
            new_groups: BTreeSet::new(),
            told: BTreeSet::new(),
            before: HashMap::new(),
            by_url: BTreeSet::new(),
            shown: BTreeMap::new(),
            refresh: false,
        }
    }

    /// Takes in what the server told, but for the groups.
    pub async fn told(&mut self, batch: &Batch) -> Result<(), Stop> {
        self.refresh = batch.refresh;
        if batch.present {
            return Err(Stop::Read(WhyFull::NoSessionLog));
        }
        let mut changed: BTreeMap<Id, &str> = BTreeMap::new();
        let mut left = Vec::new();
        for (id, touch) in &batch.touched {
            match touch {
                Touch::Gone => left.extend(self.gone(*id)?),
                Touch::Changed(dn) => {
                    changed.insert(*id, dn);
                }
            }
        }
        if let Some(name) = left.into_iter().find(|name| self.memory.index.has_below(name)) {
            return Err(Stop::Read(WhyFull::Moved(name)));
        }
        // Entries without a word about what became of them, as groups with computed members come.
        for dn in &batch.unnamed {
            let id = dn::normalized(dn).ok().and_then(|norm| self.memory.index.at(&norm));
            id.into_iter().for_each(|id| {
                changed.entry(id).or_insert(dn);
            });
        }
        let mut told = Vec::with_capacity(changed.len());
        for (id, dn) in changed {
            told.extend(self.named(id, dn)?);
        }
        if self.memory.unsettled.len() > MOST_UNSETTLED {
            return Err(Stop::Read(WhyFull::TooMuch(MOST_UNSETTLED)));
        }
        self.told.extend(told.iter().map(|told| told.id));
        for told in &told {
            self.as_person(told).await?;
        }
        self.groups.extend(told.into_iter().map(|told| (told.id, told.dn)));
        Ok(())
    }

    /// Looks whether what was told last, and is not told anew, is as it was then. It may have changed again
    /// since the server began to tell, which it will say next time: so only what is undone twice, without a
    /// word between, was undone by a backup.
    pub async fn check_what_was_told_stands(
        &mut self,
        batch: &Batch,
        base: &str,
    ) -> Result<(), Stop> {
        if !batch.refresh {
            return Ok(());
        }
        for witness in self.memory.seen.clone().all() {
            let Some(id) = witness.id().filter(|id| !batch.touched.contains_key(id)) else {
                continue;
            };
            let found = self.ask.by_id(base, &self.key(id)).await?;
            let there = |entry: &&Entry| {
                dn::normalized(&entry.dn).is_ok_and(|norm| presence(entry, &norm).is_there())
            };
            if !witness.still_stands(found.as_ref().filter(there)) {
                if std::mem::replace(&mut self.memory.is_undone, true) {
                    return Err(Stop::Read(WhyFull::Newer));
                }
                let why = "what the server told last is undone there, without a word so far";
                return Err(Stop::Fault(Fault::local(why, true)));
            }
        }
        self.memory.is_undone = false;
        Ok(())
    }

    /// Notes an entry that was told, as it was read then.
    pub(super) fn note(&mut self, id: Id, entry: &Entry) {
        if self.provider == Provider::Ds389 && self.told.contains(&id) {
            self.memory.seen.read(id, entry);
        }
    }

    /// Reads the groups that are concerned: those that were told, and those of whoever is due.
    pub async fn settle(&mut self) -> Result<(), Stop> {
        loop {
            self.find_groups().await?;
            self.read_groups().await?;
            // Groups that turned out to be new, where there is nothing to wait for.
            if self.memory.due().is_none_or(|due| due > Instant::now()) {
                return Ok(());
            }
        }
    }

    /// Finds the groups of those who are due.
    async fn find_groups(&mut self) -> Result<(), Stop> {
        for (id, unsettled) in self.memory.take_due(Instant::now()) {
            let Some(slot) = self.memory.index.get(id).cloned() else { continue };
            let (ext, key) = (self.ext(id), self.key(id));
            let is_person = self.draft.has_person(&ext)?;
            if !(is_person || self.shape.nested && self.draft.has_group(&key)?) {
                continue;
            }
            let had = match is_person {
                true => self.view.within(&ext)?,
                false => self.view.leads_to(&group_id(&key))?,
            };
            self.groups.extend(self.ask.groups_that(&url_groups::lists(&slot, is_person)).await?);
            let had = had.iter().filter(|it| it.kind == Kind::Group);
            let had = had.filter_map(|it| Id::parse(&it.key));
            let again = self.memory.urls.due(id);
            let had: BTreeSet<Id> = had.filter(|it| !self.memory.urls.is_alone(*it)).collect();
            for group in had.into_iter().chain(again) {
                if let Some(slot) = self.memory.index.get(group) {
                    self.groups.entry(group).or_insert_with(|| slot.dn.to_string());
                }
            }
            for name in &unsettled.before {
                self.before.insert(name.clone(), (id, unsettled.clone()));
            }
        }
        Ok(())
    }

    /// Looks whether whoever the mirror has is there, or was told to be gone. The names in memory were read
    /// after the mirror was, so whoever is missing was deleted since. 389-DS never mentions somebody who was
    /// made and deleted after the cookie, and a mirror's read is always a little newer than its cookie.
    pub fn check_all_are_there(&self) -> Result<(), Stop> {
        const UNTOLD: &str = "somebody was deleted and the server does not say so";
        let untold = || Err(Stop::Read(WhyFull::Other(UNTOLD.to_owned())));
        let (people, refs) = self.view.everything()?;
        let index = &self.memory.index;
        let others = index.other_ids();
        let is_there = |ext: &str| {
            others.contains(ext) || Id::parse(ext).is_some_and(|id| index.get(id).is_some())
        };
        for ext in people.iter().filter(|ext| !is_there(ext)) {
            if self.draft.has_person(ext)? {
                return untold();
            }
        }
        for id in refs.iter().filter(|id| id.kind == Kind::Group && !is_there(&id.key)) {
            if self.draft.has_group(&id.key)? {
                return untold();
            }
        }
        Ok(())
    }

    /// The external id by which a full read knows the person `id`.
    pub(super) fn ext(&self, id: Id) -> String {
        match self.memory.index.get(id).and_then(|slot| slot.ext.as_deref()) {
            Some(ext) => ext.to_owned(),
            None => self.key(id),
        }
    }

    /// The external id by which a full read knows the group `id`.
    pub(super) fn key(&self, id: Id) -> String {
        id.text(self.provider == Provider::Ds389)
    }

    /// The server says that an entry is gone. One whom nobody knows is somebody else's. Returns the name
    /// that it had.
    fn gone(&mut self, id: Id) -> Result<Option<String>, Stop> {
        let (ext, key) = (self.ext(id), self.key(id));
        let is_known = self.memory.index.get(id).is_some();
        let is_ours = self.draft.has_person(&ext)? || self.draft.has_group(&key)?;
        if !is_known && !is_ours && self.memory.index.has_other_ids() {
            return Err(Stop::Read(WhyFull::UnknownId));
        }
        if self.provider == Provider::Ds389 {
            self.memory.seen.gone(id);
        }
        self.any_uid |= self.refresh && self.memory.wants.uids;
        self.memory.urls.remove(id);
        let slot = self.memory.index.remove(id);
        self.uids.extend(slot.iter().flat_map(|slot| slot.uids.lines()).map(str::to_owned));
        self.memory.unsettled.remove(&id);
        // Where ids are a directory's own, somebody else may have this one by now: it is they who
        // are there.
        if !self.memory.index.has_other_id(&ext) {
            self.draft.person_gone(&ext)?;
        }
        self.draft.group_gone(&key)?;
        Ok(slot.map(|slot| slot.dn.into_string()))
    }

    /// Notes the name that an entry was told with.
    fn named(&mut self, id: Id, dn: &str) -> Result<Option<Told>, Stop> {
        let Ok(norm) = dn::normalized(dn) else { return Ok(None) };
        let index = &mut self.memory.index;
        let before = index.get(id).cloned();
        let old = before.as_ref().map(|slot| slot.dn.to_string());
        let has_moved = old.as_deref() != Some(&*norm);
        // Of what is below an entry that was renamed no server says a word.
        let has_below = |name: &str| index.has_below(name);
        if (has_moved && old.as_deref().is_some_and(has_below))
            || (self.refresh && has_below(&norm))
        {
            return Err(Stop::Read(WhyFull::Moved(old.unwrap_or_else(|| norm.into_owned()))));
        }
        self.memory.nowhere.remove(&*norm);
        let told = Told { id, dn: dn.to_owned(), norm: norm.into_owned(), ext: self.ext(id) };
        if self.may_be(Sort::User, &told.norm) || self.may_be(Sort::Group, &told.norm) {
            if before.is_none() {
                self.newcomers.push(told.dn.clone());
            }
            let slot = before.unwrap_or_default();
            self.memory.index.put(id, Slot { dn: told.norm.as_str().into(), ..slot });
            if has_moved || self.refresh {
                let old = old.filter(|_| has_moved);
                self.memory.unsettle(id, old);
            }
        } else if let Some(slot) = self.memory.index.remove(id) {
            self.uids.extend(slot.uids.lines().map(str::to_owned));
            self.memory.unsettled.remove(&id);
        }
        Ok(Some(told))
    }

    /// What an entry that was told is as a person.
    async fn as_person(&mut self, told: &Told) -> Result<(), Stop> {
        let had = self.view.has_person(&told.ext)?;
        if self.may_be(Sort::User, &told.norm) {
            match self.ask.told(told.id, &told.dn, Sort::User, had).await? {
                Found::Entry(entry) if self.is_there(&entry, &told.norm) => {
                    self.note(told.id, &entry);
                    return self.person(told, &entry).await;
                }
                Found::Unclear => return Ok(()),
                Found::Entry(_) | Found::LeftOut => {}
            }
        }
        if had {
            self.any_uid |= self.refresh && self.memory.wants.uids;
            self.draft.person_gone(&told.ext)?;
        }
        if let Some(slot) = self.memory.index.get(told.id).filter(|slot| !slot.uids.is_empty()) {
            self.uids.extend(slot.uids.lines().map(str::to_owned));
            let slot = Slot { uids: "".into(), ..slot.clone() };
            self.memory.index.put(told.id, slot);
        }
        Ok(())
    }

    /// A person as it is now.
    async fn person(&mut self, told: &Told, entry: &Entry) -> Result<(), Stop> {
        // Hidden cannot be told from absent: without an id it is not known who that is.
        let Some(ext) = self.shape.dialect.person_id(entry) else { return Ok(()) };
        if ext != told.ext && self.view.has_person(&told.ext)? {
            let dn = entry.dn.escape_debug();
            return Err(Stop::Read(WhyFull::Other(format!("`{dn}` has another id"))));
        }
        let primary = primary::user(entry, self.shape.dialect.primary);
        if self.shape.primary && primary == Primary::Hidden {
            let dn = entry.dn.escape_debug();
            let number = primary::of_user(self.shape.dialect.primary);
            return Err(Stop::Read(WhyFull::Other(format!("`{dn}` shows no readable `{number}`"))));
        }
        let slot = self.memory.wants.slot(told.id, entry, &told.norm, self.shape.dialect);
        let (uids, gid) = (slot.uids.clone(), slot.gid);
        let before = self.memory.index.put(told.id, slot);
        let is_new = !self.view.has_person(&ext)?;
        if is_new && self.meaning.username_of(entry).is_none() {
            // Hidden cannot be told from absent: nobody new gets no name.
            tracing::debug!(source = %self.origin.name, dn = %entry.dn, "no readable user name");
            return Ok(());
        }
        self.numbers.insert(told.id, gid);
        match &before {
            Some(before) if !is_new => {
                let numbers = [before.gid, gid].into_iter().flatten();
                self.gids.extend(numbers.filter(|_| before.gid != gid));
            }
            _ => self.memory.unsettle_newly(told.id),
        }
        self.any_uid |= self.refresh && self.memory.wants.uids;
        let old = before.map(|slot| slot.uids).unwrap_or_default();
        let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
            (old.lines().collect(), uids.lines().collect());
        self.uids.extend(old.symmetric_difference(&new).map(|uid| (*uid).to_owned()));
        self.person_by_url(told.id, (entry, &told.norm), &ext).await?;
        let within = meaning::attributes(&self.shape, entry, self.view)?;
        self.draft.person(meaning::person(&self.meaning, entry, ext, within));
        Ok(())
    }

    /// Whether an entry is one that an ordinary search returns, and no second view of another.
    pub(super) fn is_there(&self, entry: &Entry, norm: &str) -> bool {
        presence(entry, norm).is_there() && !self.shape.dialect.is_set_aside(norm)
    }

    pub(super) fn may_be(&self, sort: Sort, norm: &str) -> bool {
        let base = match sort {
            Sort::User => Some(&self.shape.users_base),
            Sort::Group => self.shape.groups_base.as_ref(),
        };
        base.is_some_and(|base| dn::is_under(norm, base))
    }
}

//! Groups that name members by URL (`memberURL`). No server tells who comes to be in one or leaves it, so
//! whoever is told is held against the URLs, over the entry that was read again. A group that is told
//! itself is asked for whole, of the server: by its filter a server finds whom it means here, or the URL is
//! not evaluated.
//!
//! What an entry does not show is absent only where some user shows it, as in a full read. Everything else
//! that is not certain leaves who is in the group as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Stop;
use super::ask::{Asker, Sort};
use super::draft::group_id;
use super::index::Slot;
use super::meaning::Lists;
use super::wire::Id;
use super::work::Work;
use crate::directory::{Kind, RefId};
use crate::source::feed::WhyFull;
use crate::source::ldap::dynamic::{MEMBER_URL, urls_of};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::lookup::in_any_case;
use crate::source::ldap::member_url::{By, MemberUrl};
use crate::source::ldap::schema;
use crate::source::ldap::types::Types;

/// One of them.
pub(super) struct UrlGroup {
    /// Its URLs; nothing where one of them is not evaluated here.
    urls: Option<Vec<Arc<MemberUrl>>>,
    /// It lists members as well.
    lists: bool,
    /// The server puts members into its list.
    expanded: bool,
}

impl UrlGroup {
    /// What its URLs test, by one name.
    fn attributes(&self) -> BTreeSet<String> {
        let mut attributes = BTreeSet::new();
        self.urls.iter().flatten().for_each(|url| url.attributes(&mut attributes));
        attributes
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct UrlGroups {
    groups: BTreeMap<Id, Arc<UrlGroup>>,
    /// The URLs that groups had when following began: of what these test every entry is asked.
    known: HashMap<String, Option<Arc<MemberUrl>>>,
    /// Groups into whose lists servers put members, to be read once more when those settle who are new or
    /// have another name.
    again: BTreeMap<Id, BTreeSet<Id>>,
}

/// Whom a group's URLs mean.
#[derive(Default)]
pub(super) struct Meant {
    /// That is known.
    pub evaluated: bool,
    /// People and groups.
    pub ids: Vec<Id>,
    /// Nobody else is in it.
    pub alone: bool,
}

impl UrlGroups {
    /// Those that there are when following begins. `types`: nothing where the server hides its schema.
    pub async fn read(
        ask: &mut Asker<'_>,
        lists: &mut Lists,
        types: Option<&Types>,
    ) -> Result<Self, Stop> {
        let mut all = UrlGroups::default();
        if types.is_some_and(|types| !types.has(MEMBER_URL)) {
            return Ok(all);
        }
        let groups = ask.groups_by_url(false).await?;
        if groups.is_empty() {
            return Ok(all);
        }
        let stored = match ask.groups_by_url(true).await {
            // It tells nothing then, as in a full read.
            Err(Stop::Fault(fault)) if !fault.transient => Vec::new(),
            stored => stored?,
        };
        let count = |entry: &Entry| -> usize {
            schema::MEMBERS.iter().map(|name| entry.values(name).len()).sum()
        };
        let counts = stored.iter().filter_map(|entry| Some((Id::of(entry)?, count(entry))));
        let stored: HashMap<Id, usize> = counts.collect();
        for group in &groups {
            let stored = Id::of(group).and_then(|id| stored.get(&id));
            if stored.is_some_and(|stored| *stored < count(group)) {
                lists.expanded.insert(lists.classes.shown(group).classes);
            }
        }
        for text in groups.iter().flat_map(urls_of) {
            let by = types.map(|types| By::Schema { types, classes: &lists.schema });
            let url = by.and_then(|by| MemberUrl::parse(&text, by).ok());
            all.known.insert(text, url.map(Arc::new));
        }
        for group in &groups {
            if let Some(id) = Id::of(group) {
                all.put(id, group, lists);
            }
        }
        Ok(all)
    }

    /// What the URLs test, by one name.
    fn attributes(&self) -> BTreeSet<String> {
        let mut attributes = BTreeSet::new();
        self.known.values().flatten().for_each(|url| url.attributes(&mut attributes));
        attributes
    }

    /// Adds to `names` what else must be asked of each entry.
    pub fn add_attributes(&self, names: &mut Vec<String>) {
        for name in self.attributes() {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                names.push(name);
            }
        }
    }

    /// Notes what a group is; returns a URL that was not there when following began.
    fn put(&mut self, id: Id, entry: &Entry, lists: &mut Lists) -> Option<String> {
        let texts: Vec<String> = urls_of(entry).collect();
        if texts.is_empty() {
            self.groups.remove(&id);
            return None;
        }
        let mut urls = Some(Vec::new());
        for text in texts {
            match (self.known.get(&text), &mut urls) {
                (None, _) => return Some(text),
                (Some(Some(url)), Some(urls)) => urls.push(url.clone()),
                (Some(_), _) => urls = None,
            }
        }
        let shown = lists.classes.shown(entry);
        let expanded = lists.expanded.contains(&shown.classes);
        self.groups.insert(id, Arc::new(UrlGroup { urls, lists: !shown.is_bare(), expanded }));
        None
    }

    /// A group is not there any more.
    pub fn remove(&mut self, id: Id) {
        self.groups.remove(&id);
    }

    /// Whether a group's URLs alone say who is in it, so that no name in it matters.
    pub fn is_alone(&self, id: Id) -> bool {
        let alone = |it: &Arc<UrlGroup>| it.urls.is_some() && !it.lists && !it.expanded;
        self.groups.get(&id).is_some_and(alone)
    }

    /// The groups to be read once more since somebody has settled.
    pub fn due(&mut self, id: Id) -> BTreeSet<Id> {
        self.again.remove(&id).unwrap_or_default()
    }
}

impl Work<'_, '_> {
    /// Tells which groups mean this person by URL, and which no longer do.
    pub(super) async fn person_by_url(
        &mut self,
        id: Id,
        (entry, norm): (&Entry, &str),
        ext: &str,
    ) -> Result<(), Stop> {
        if self.memory.urls.groups.is_empty() {
            return Ok(());
        }
        let is_new = !self.view.has_person(ext)?;
        let within = if is_new { Vec::new() } else { self.view.within(ext)? };
        for (group, is_in) in self.changes_by_url(id, (entry, norm), &within).await? {
            self.draft.member(&self.key(group), ext, is_in);
        }
        Ok(())
    }

    /// The same of a group that is in others.
    pub(super) async fn group_by_url(
        &mut self,
        id: Id,
        (entry, norm): (&Entry, &str),
        key: &str,
    ) -> Result<(), Stop> {
        if !self.shape.nested || self.memory.urls.groups.is_empty() {
            return Ok(());
        }
        let within = self.view.leads_to(&group_id(key))?;
        for (group, is_in) in self.changes_by_url(id, (entry, norm), &within).await? {
            self.draft.inner(key, &self.key(group), is_in);
        }
        Ok(())
    }

    /// The groups that mean `id` by URL, or no longer do, other than `within` has it.
    async fn changes_by_url(
        &mut self,
        id: Id,
        (entry, norm): (&Entry, &str),
        within: &[RefId],
    ) -> Result<Vec<(Id, bool)>, Stop> {
        let within: BTreeSet<&str> =
            within.iter().filter(|it| it.kind == Kind::Group).map(|it| it.key.as_str()).collect();
        let groups = self.memory.urls.groups.clone();
        let mut changes = Vec::new();
        for (place, group) in groups.into_iter().filter(|(place, _)| *place != id) {
            let Some(urls) = &group.urls else { continue };
            let is_meant = urls.iter().any(|url| url.is_meant(entry, norm));
            if is_meant == within.contains(self.key(place).as_str()) {
                continue;
            }
            if group.expanded {
                self.read_once_more(place, id);
            } else if self.shows_enough(&group, entry).await?
                && (is_meant || !group.lists || self.is_listed_no_more(id, place).await?)
            {
                changes.push((place, is_meant));
            }
        }
        Ok(changes)
    }

    /// The server puts `id` into the list of `group`, or no longer does: that is read in this step, and
    /// when `id` is settled.
    fn read_once_more(&mut self, group: Id, id: Id) {
        let Some(slot) = self.memory.index.get(group) else { return };
        // Once a step: two may be in one another.
        if self.by_url.insert(group) {
            self.groups.entry(group).or_insert_with(|| slot.dn.to_string());
        }
        if self.memory.unsettled.contains_key(&id) {
            self.memory.urls.again.entry(id).or_default().insert(group);
        }
    }

    /// Whether all that the URLs of `group` test is shown by `entry`, or by some user: what is hidden is not
    /// absent.
    async fn shows_enough(&mut self, group: &UrlGroup, entry: &Entry) -> Result<bool, Stop> {
        for name in group.attributes() {
            if !entry.has(&name) && !self.is_shown(name).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether some user shows this attribute, asked once in a step.
    async fn is_shown(&mut self, name: String) -> Result<bool, Stop> {
        if let Some(shown) = self.shown.get(&name) {
            return Ok(*shown);
        }
        let shown = self.ask.some_user_shows(&name).await?;
        self.shown.insert(name, shown);
        Ok(shown)
    }

    /// Whether it is certain that `group` does not list `id`, whom its URLs do not mean. While it is open to
    /// whom names lead it is not; then the group is read when that is settled.
    async fn is_listed_no_more(&mut self, id: Id, group: Id) -> Result<bool, Stop> {
        let (index, unsettled) = (&self.memory.index, &self.memory.unsettled);
        let slots = index.get(id).zip(index.get(group));
        let Some((slot, group)) = slots.filter(|_| !unsettled.contains_key(&id)) else {
            return Ok(false);
        };
        let (test, dn) = (lists(slot, true), group.dn.to_string());
        Ok(self.ask.group_passes(&dn, &test).await? == Some(false))
    }

    /// Whom the group's URLs mean, as it is now.
    pub(super) async fn meant(&mut self, id: Id, entry: &Entry) -> Result<Meant, Stop> {
        let lists = &mut self.memory.lists;
        if let Some(url) = self.memory.urls.put(id, entry, lists) {
            let (dn, url) = (entry.dn.escape_debug(), url.escape_debug());
            let why = format!("the group `{dn}` names members by a URL that is new: `{url}`");
            return Err(Stop::Read(WhyFull::Other(why)));
        }
        let Some(group) = self.memory.urls.groups.get(&id).cloned() else {
            return Ok(Meant::default());
        };
        let none = Entry::default();
        let Some(urls) = group.urls.as_ref().filter(|_| !group.expanded) else {
            return Ok(Meant::default());
        };
        if !self.shows_enough(&group, &none).await? {
            return Ok(Meant::default());
        }
        let mut ids = Vec::new();
        for url in urls {
            ids.extend(self.ask.meant(url, Sort::User).await?);
            if self.shape.nested {
                ids.extend(self.ask.meant(url, Sort::Group).await?);
            }
        }
        Ok(Meant { evaluated: true, ids, alone: !group.lists })
    }
}

/// A test for groups that list what is known as `slot`: a person, or a group.
pub(super) fn lists(slot: &Slot, is_person: bool) -> String {
    let name = ldap3::ldap_escape(&*slot.dn);
    let mut test = format!("(member={name})(uniqueMember={name})");
    if is_person {
        slot.uids.lines().for_each(|uid| test.push_str(&in_any_case("memberUid", uid)));
        if let Some(gid) = slot.gid {
            test.push_str(&format!("(&(objectClass=posixGroup)(gidNumber={gid}))"));
        }
    }
    format!("(|{test})")
}

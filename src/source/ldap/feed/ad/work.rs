//! From what was told to what changed in the mirror.
//!
//! Each entry that was told is looked for among the users and among the groups, by its id and as a full
//! read would find it. Of one that is found the facts are told again in full, and of a group its whole
//! list. One that is not found and that the mirror has is gone where it is a tombstone, or where it is
//! there and base or filter leave it out; else nothing is said of it.
//!
//! A group is not told when somebody in its list is made a user by a filter, or comes back from among the
//! deleted: so whoever is new to the mirror is looked for in the lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::ask::{Asker, Sort};
use super::super::draft::{Draft, Foreign, group_id};
use super::super::meaning::{self, Lists};
use super::super::wire::Id;
use super::super::{Origin, Stop};
use super::again::Whereabouts;
use super::changes::{self, Touch, Touched};
use super::dc::Dc;
use crate::directory::{AccountSid, DomainSid, ListChange, OwnDomain, RefId, dn};
use crate::source::feed::{MirrorView, NotFollowed, WhyFull};
use crate::source::ldap::assemble::Assembler;
use crate::source::ldap::connect::Connection;
use crate::source::ldap::domain::{self, Domain, Principals};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::primary::{self, GroupNumber, Primary};
use crate::source::ldap::search::{named_with_id, named_with_sid};
use crate::source::ldap::shape::Shape;

/// Lists of members that a group of Active Directory seldom has and that are not followed.
pub(super) const OTHER_LISTS: [&str; 2] = ["memberUid", "uniqueMember"];

/// Why a domain where some group has such a list is not followed.
pub(super) fn other_list(attribute: &str) -> NotFollowed {
    let why =
        format!("some group names members by `{attribute}`, whose changes are not followed here");
    NotFollowed::Refused(why)
}

/// What following a domain knows besides the mirror.
pub(super) struct Known {
    lists: Lists,
    /// The names of containers, in normal form.
    containers: HashMap<Id, String>,
    /// Groups by their SIDs, as they were found for their primary members.
    by_sid: HashMap<Vec<u8>, Id>,
    /// Names of containers may be newer than what is told.
    is_catching_up: bool,
    /// The domain, in normal form.
    domain: String,
    /// Its SID.
    own: Domain,
    /// Whose change is asked for by DirSync; nothing where changes are told by number.
    pub attributes: Option<Vec<String>>,
    /// Deletions are told.
    pub sees_deleted: bool,
    /// The container of what was deleted is shown.
    pub sees_container: bool,
    /// A filter tests what a group says, and nobody says when that changes for a person.
    pub filters_by_groups: bool,
}

/// Whether a filter tests `memberOf` in some way.
pub(super) fn filters_by_groups(filter: &str) -> bool {
    let filter = filter.to_ascii_lowercase();
    ["memberof", "1.2.840.113556.1.2.102"].iter().any(|name| filter.contains(name))
}

impl Known {
    /// Asks the server. `attributes` are those of DirSync, where that tells what has changed.
    pub async fn ask(
        origin: &Origin,
        connection: &Connection,
        dc: &Dc,
        attributes: Option<Vec<String>>,
    ) -> Result<Known, Stop> {
        let dialect = origin.shape.dialect;
        let own = domain::own(connection, origin.limits(), dialect).await;
        let mut ask = Asker { origin, ldap: connection.ldap.clone() };
        let by_number = attributes.is_none();
        let containers = match by_number {
            true => ask.containers(&dc.domain).await?,
            false => Vec::new(),
        };
        let groups = origin.config.groups.as_ref().map(|groups| &groups.filter);
        let sees_container = changes::sees_deleted(origin, connection, dc).await?;
        let mut filters = groups.into_iter().chain([&origin.config.users.filter]);
        Ok(Known {
            lists: origin.lists(connection).await,
            containers: containers.into_iter().collect(),
            by_sid: HashMap::new(),
            is_catching_up: true,
            domain: dc.norm.clone(),
            own,
            attributes,
            sees_deleted: !by_number || sees_container,
            sees_container,
            filters_by_groups: filters.any(|filter| filters_by_groups(filter)),
        })
    }
}

/// What was told, worked on into one delta.
pub(super) struct Work<'a, 'v> {
    pub(super) ask: Asker<'a>,
    shape: Shape,
    /// For what entries mean; takes none in.
    meaning: Assembler,
    view: &'v dyn MirrorView,
    known: &'a mut Known,
    pub draft: Draft<'v>,
}

impl<'a, 'v> Work<'a, 'v> {
    /// Begins one.
    pub fn new(
        origin: &'a Origin,
        connection: &Connection,
        view: &'v dyn MirrorView,
        known: &'a mut Known,
    ) -> Self {
        let shape = Shape { now: chrono::Utc::now(), ..origin.shape.clone() };
        let meaning = Assembler::new(shape.clone());
        Work {
            ask: Asker { origin, ldap: connection.ldap.clone() },
            meaning,
            shape,
            view,
            known,
            draft: Draft::new(view),
        }
    }

    /// Takes in what the server told.
    pub async fn told(&mut self, touched: &Touched) -> Result<(), Stop> {
        // Numbers of another domain than the mirror's would be somebody else's there.
        let (own, of_mirror) = (&self.known.own, self.view.own_domain()?);
        let is_same = own.as_ref().map(DomainSid::as_str) == of_mirror.as_ref().map(String::as_str);
        self.meaning.domain(if is_same { own.clone() } else { OwnDomain::Unread });
        self.containers(touched).await?;
        let ids: Vec<Id> = touched.keys().copied().collect();
        let people = self.ask.among(&ids, Sort::User).await?;
        let mut groups = self.ask.among(&ids, Sort::Group).await?;
        groups.retain(|_, group| self.gives_rights(group));
        for (id, touch) in touched {
            let ext = id.text(false);
            let lost_person = !people.contains_key(id) && self.view.has_person(&ext)?;
            let lost_group = !groups.contains_key(id) && self.view.has_ref(&group_id(&ext))?;
            if lost_person || lost_group {
                self.lost(*id, touch).await?;
            }
        }
        // Groups by name, then people, then lists: whoever is listed is known by then.
        let mut newcomers = BTreeSet::new();
        for (id, group) in &groups {
            if self.group(group)? {
                newcomers.insert(*id);
            }
        }
        for (id, person) in &people {
            self.person(*id, person, &groups).await?;
        }
        for (id, group) in &groups {
            self.members(*id, group, newcomers.contains(id)).await?;
        }
        self.known.is_catching_up = false;
        Ok(())
    }

    /// Whether a group is one of those that count. One that does not show its type is passed over.
    fn gives_rights(&self, group: &Entry) -> bool {
        self.shape.distribution || self.shape.dialect.is_security_group(group) != Some(false)
    }

    /// Who or what the mirror has, and base and filter leave out.
    async fn lost(&mut self, id: Id, touch: &Touch) -> Result<(), Stop> {
        if !touch.is_deleted {
            match self.ask.whereabouts(id).await? {
                Whereabouts::Deleted | Whereabouts::Elsewhere => {}
                // It has changed again, which will be told; or it is hidden.
                Whereabouts::Unknown => return Ok(()),
            }
        }
        let ext = id.text(false);
        self.draft.person_gone(&ext)?;
        self.draft.group_gone(&ext)
    }

    /// With another name of a container everything below it has another, of which no server says a word.
    async fn containers(&mut self, touched: &Touched) -> Result<(), Stop> {
        for (id, touch) in touched.iter().filter(|(_, touch)| touch.is_container) {
            if touch.is_deleted {
                self.known.containers.remove(id);
                continue;
            }
            let Ok(norm) = dn::normalize(&touch.dn) else { continue };
            let before = self.known.containers.get(id);
            let has_moved = match (touch.has_moved, before) {
                (Some(has_moved), _) => has_moved,
                // The names that are known were read after some of what is told.
                (None, Some(_)) if self.known.is_catching_up => norm != self.known.domain,
                (None, Some(before)) => *before != norm,
                (None, None) => false,
            };
            if has_moved && self.ask.has_somebody_below(&touch.dn).await? {
                return Err(Stop::Read(WhyFull::Moved(before.cloned().unwrap_or(norm))));
            }
            // Not before it is known: where nobody answered, it is told again and must be found again.
            if touch.has_moved.is_none() {
                self.known.containers.insert(*id, norm);
            }
        }
        Ok(())
    }

    /// A person as it is now.
    async fn person(
        &mut self,
        id: Id,
        entry: &Entry,
        told: &BTreeMap<Id, Entry>,
    ) -> Result<(), Stop> {
        let ext = id.text(false);
        let is_new = !self.view.has_person(&ext)?;
        if is_new && self.meaning.username_of(entry).is_none() {
            // Hidden cannot be told from absent: nobody new gets no name.
            return Ok(());
        }
        let mut groups = BTreeSet::new();
        if is_new {
            groups = self.ask.groups_listing(&entry.dn).await?;
        }
        if self.shape.primary {
            groups.extend(self.primary_group(entry).await?);
        }
        let mut joined: Vec<RefId> = Vec::new();
        for group in groups.iter().filter(|group| !told.contains_key(*group)) {
            let key = group.text(false);
            if self.draft.has_group(&key)? {
                joined.push(group_id(&key));
            }
        }
        let within = match meaning::attributes(&self.shape, entry, self.view)? {
            kept @ ListChange::Kept if joined.is_empty() => kept,
            ListChange::Changed { mut added, removed } => {
                added.extend(joined);
                ListChange::Changed { added, removed }
            }
            _ => ListChange::Changed { added: joined, removed: Vec::new() },
        };
        self.draft.person(meaning::person(&self.meaning, entry, ext, within));
        Ok(())
    }

    /// The primary group of a person, if it is one of ours.
    async fn primary_group(&mut self, entry: &Entry) -> Result<Option<Id>, Stop> {
        match primary::user(entry, self.shape.dialect.primary) {
            Primary::Of(GroupNumber::Sid(sid)) => {
                if let Some(id) = self.known.by_sid.get(&sid) {
                    return Ok(Some(*id));
                }
                let found = self.ask.group_of_sid(&sid).await?;
                self.known.by_sid.extend(found.map(|id| (sid, id)));
                Ok(found)
            }
            Primary::Hidden => {
                let dn = entry.dn.escape_debug();
                let why = format!("`{dn}` shows no readable `primaryGroupID`");
                Err(Stop::Read(WhyFull::Other(why)))
            }
            Primary::Of(GroupNumber::Gid(_)) | Primary::No => Ok(None),
        }
    }

    /// A group's names as they are now. Whether it is new.
    fn group(&mut self, entry: &Entry) -> Result<bool, Stop> {
        // Hidden cannot be told from absent: without id, name and type it is not known which that is.
        let Some(key) = self.shape.dialect.group_id(entry) else { return Ok(false) };
        let Some(name) = entry.text(&self.shape.name) else { return Ok(false) };
        let Ok(norm) = dn::normalize(&entry.dn) else { return Ok(false) };
        if !self.shape.distribution && self.shape.dialect.is_security_group(entry).is_none() {
            return Ok(false);
        }
        let is_new = !self.view.has_ref(&group_id(&key))?;
        self.draft.group(&key, name.into_owned(), entry.dn.clone(), norm);
        self.draft.bears(&key, domain::rid_of(&self.meaning.domain, entry));
        Ok(is_new)
    }

    /// All that are directly in a group now.
    async fn members(&mut self, id: Id, entry: &Entry, is_new: bool) -> Result<(), Stop> {
        let key = id.text(false);
        if !self.draft.has_group(&key)? {
            return Ok(());
        }
        if let Some(other) = OTHER_LISTS.iter().find(|it| entry.has(&it.to_ascii_lowercase())) {
            return Err(Stop::Not(other_list(other)));
        }
        if is_new && self.shape.nested {
            let above = self.ask.groups_listing(&entry.dn).await?;
            self.draft.within(&key, above.into_iter().map(|id| id.text(false)).collect());
        }
        let primary = match self.shape.primary {
            true => primary::group(entry, self.shape.dialect.primary),
            false => Primary::No,
        };
        let shows_all = self.known.lists.shows_all(&mut self.ask, entry, false).await?;
        if !shows_all || primary == Primary::Hidden {
            if is_new {
                let dn = entry.dn.escape_debug();
                let why = format!("the members of the new group `{dn}` are not all to be seen");
                return Err(Stop::Read(WhyFull::Other(why)));
            }
            let source = &self.ask.origin.name;
            tracing::debug!(source = %source, dn = %entry.dn, "members are not all known");
            return Ok(());
        }
        let mut all = BTreeSet::new();
        let mut foreign = Vec::new();
        for value in entry.values("member") {
            let text = std::str::from_utf8(value).ok();
            foreign.extend(text.and_then(|text| self.foreign(text)));
            let id = text.and_then(|text| named_with_id(text).0);
            let Some(id) = id.and_then(Id::parse) else {
                let dn = entry.dn.escape_debug();
                let why = format!("the group `{dn}` shows a member without its id");
                return Err(Stop::Read(WhyFull::Other(why)));
            };
            all.insert(id);
        }
        if let Primary::Of(GroupNumber::Sid(sid)) = &primary {
            self.known.by_sid.insert(sid.clone(), id);
            all.extend(self.ask.primary_members(sid).await?);
        }
        self.draft.recall(&key, &all.iter().map(|member| member.text(false)).collect())?;
        let (mut people, mut inner) = (BTreeSet::new(), BTreeSet::new());
        for member in all.into_iter().filter(|member| *member != id) {
            let member = member.text(false);
            if self.draft.has_person(&member)? {
                people.insert(member);
            } else if self.shape.nested && self.draft.has_group(&member)? {
                inner.insert(member);
            }
        }
        if let Primary::Of(number) = &primary
            && !self.keep_primary(number, self.draft.known(&key)?, &mut people).await?
        {
            let source = &self.ask.origin.name;
            tracing::debug!(source = %source, dn = %entry.dn, "primary members are not all known");
            return Ok(());
        }
        self.draft.foreign(&key, foreign)?;
        self.draft.members(&key, people, self.shape.nested.then_some(inner))
    }

    /// Keeps those in the new list `people` of whom it is not to be seen that they left: of `known`, whom the
    /// mirror has in the primary group of this number. Whether the list is known then: whoever hides the
    /// number is found by no filter.
    async fn keep_primary(
        &mut self,
        number: &GroupNumber,
        known: BTreeSet<String>,
        people: &mut BTreeSet<String>,
    ) -> Result<bool, Stop> {
        let lacking = self.draft.lacking(known, people)?;
        let ids: Vec<Id> = lacking.iter().filter_map(|ext| Id::parse(ext)).collect();
        let now = self.ask.primaries(&self.known.domain, &ids).await?;
        for ext in lacking {
            match Id::parse(&ext).and_then(|id| now.get(&id)) {
                Some(Primary::Hidden) => return Ok(false),
                Some(Primary::No) => {}
                Some(Primary::Of(of)) if of != number => {}
                // Changed again meanwhile, which will be told; or hidden altogether, and hidden is not gone.
                Some(Primary::Of(_)) | None => {
                    people.insert(ext);
                }
            }
        }
        Ok(true)
    }

    /// A member of another domain, as a full read takes it.
    fn foreign(&self, value: &str) -> Option<Foreign> {
        let (_, identity) = named_with_id(value);
        let norm = dn::normalize(identity).ok()?;
        let counts = self.shape.nested && self.shape.dialect.is_foreign(&norm);
        let borne = || named_with_sid(value).and_then(AccountSid::of_text);
        let sid = borne().or_else(|| Principals::default().sid_of(&norm)).filter(|_| counts)?;
        Some(Foreign { sid: sid.to_string(), identity: identity.to_owned(), norm })
    }
}

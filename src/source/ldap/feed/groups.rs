//! Groups that are concerned, each read whole.
//!
//! A group's list is of names, and the mirror's is of ids. A name leads to whoever has it now
//! ([`Index`](super::index::Index)), but to nobody who is unsettled: what those are in stays as the
//! mirror has it, until their own groups are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Stop;
use super::ask::{Found, Sort};
use super::draft::group_id;
use super::index::Slot;
use super::memory::Unsettled;
use super::wire::Id;
use super::work::Work;
use crate::directory::{Kind, dn, value};
use crate::source::feed::WhyFull;
use crate::source::ldap::assemble::without_uid;
use crate::source::ldap::dialect::PrimaryBy;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::lookup::in_any_case;
use crate::source::ldap::primary::{self, GroupNumber, Primary};

/// Up to so many names that lead to nobody are looked for, in case somebody was renamed just now.
const MOST_UNKNOWN: usize = 5_000;
/// So many user names go into one filter.
const NAMES_AT_ONCE: usize = 50;

/// A name that a group lists.
struct Named<'e> {
    /// In normal form.
    norm: String,
    /// As spelled.
    text: &'e str,
    /// Who has it now.
    now: Option<Id>,
}

/// Who is directly in a group.
#[derive(Default)]
struct Members {
    people: BTreeSet<String>,
    inner: BTreeSet<String>,
}

impl Work<'_, '_> {
    /// Reads the groups that are concerned.
    pub(super) async fn read_groups(&mut self) -> Result<(), Stop> {
        let uids = std::mem::take(&mut self.uids);
        let by_uid = uids.iter().map(|uid| in_any_case("memberUid", uid));
        let by_gid = std::mem::take(&mut self.gids).into_iter();
        let by_gid = by_gid.map(|gid| format!("(&(objectClass=posixGroup)(gidNumber={gid}))"));
        let tests: Vec<String> = by_uid.chain(by_gid).collect();
        for some in tests.chunks(NAMES_AT_ONCE) {
            self.groups.extend(self.ask.groups_that(&format!("(|{})", some.concat())).await?);
        }
        if self.any_uid {
            self.groups.extend(self.ask.groups_that("(memberUid=*)").await?);
        }
        let held = self.held()?;
        let mut unmended = BTreeMap::new();
        while let Some((id, dn)) = self.groups.pop_first() {
            let none = Vec::new();
            let held = held.get(&self.key(id)).unwrap_or(&none);
            self.group_told(id, &dn, held, &mut unmended).await?;
        }
        self.memory.unsettled.extend(unmended);
        self.forget_others().await
    }

    /// Those who are unsettled, by the groups in which the mirror has them.
    fn held(&self) -> Result<HashMap<String, Vec<Id>>, Stop> {
        let mut held: HashMap<String, Vec<Id>> = HashMap::new();
        for id in self.memory.unsettled.keys() {
            let mut groups = self.view.within(&self.ext(*id))?;
            groups.extend(self.view.leads_to(&group_id(&self.key(*id)))?);
            for group in groups.into_iter().filter(|group| group.kind == Kind::Group) {
                held.entry(group.key).or_default().push(*id);
            }
        }
        Ok(held)
    }

    /// Those who turned out to be neither a person nor a group are of no concern. But what is below an
    /// entry that was moved here comes with it, and no server says a word of that.
    async fn forget_others(&mut self) -> Result<(), Stop> {
        for dn in std::mem::take(&mut self.newcomers) {
            if self.ask.has_below(&dn).await? {
                return Err(Stop::Read(WhyFull::Moved(dn)));
            }
        }
        let ids: Vec<Id> = self.memory.unsettled.keys().copied().collect();
        for id in ids {
            let is_group = self.shape.nested && self.draft.has_group(&self.key(id))?;
            if !is_group && !self.draft.has_person(&self.ext(id))? {
                self.memory.unsettled.remove(&id);
            }
        }
        Ok(())
    }

    /// What an entry that was told, or is concerned, is as a group.
    async fn group_told(
        &mut self,
        id: Id,
        dn: &str,
        held: &[Id],
        unmended: &mut BTreeMap<Id, Unsettled>,
    ) -> Result<(), Stop> {
        let Ok(norm) = dn::normalized(dn) else { return Ok(()) };
        let key = self.key(id);
        let had = self.view.has_ref(&group_id(&key))?;
        if self.may_be(Sort::Group, &norm) {
            match self.ask.told(id, dn, Sort::Group, had).await? {
                Found::Entry(entry) if self.is_there(&entry, &norm) => {
                    self.note(id, &entry);
                    return self.group(id, &entry, &norm, held, unmended).await;
                }
                Found::Unclear => return Ok(()),
                Found::Entry(_) | Found::LeftOut => {}
            }
        }
        self.memory.urls.remove(id);
        if had { self.draft.group_gone(&key) } else { Ok(()) }
    }

    /// A group as it is now.
    async fn group(
        &mut self,
        id: Id,
        entry: &Entry,
        norm: &str,
        held: &[Id],
        unmended: &mut BTreeMap<Id, Unsettled>,
    ) -> Result<(), Stop> {
        // Hidden cannot be told from absent: without id and name it is not known which that is.
        let Some(key) = self.shape.dialect.group_id(entry) else { return Ok(()) };
        let Some(name) = entry.text(&self.shape.name) else { return Ok(()) };
        let is_new = !self.view.has_ref(&group_id(&key))?;
        if self.memory.index.get(id).is_none_or(|slot| *slot.dn != *norm) {
            let slot = self.memory.index.get(id).cloned().unwrap_or_default();
            self.memory.index.put(id, Slot { dn: norm.into(), ..slot });
            self.memory.unsettle(id, None);
        } else if is_new && self.new_groups.insert(id) {
            self.memory.unsettle_newly(id);
        }
        self.draft.group(&key, name.into_owned(), entry.dn.clone(), norm.to_owned());
        let primary = match self.shape.primary {
            true => primary::group(entry, PrimaryBy::GidNumber),
            false => Primary::No,
        };
        self.group_by_url(id, (entry, norm), &key).await?;
        let meant = self.meant(id, entry).await?;
        let lists = &mut self.memory.lists;
        let shows_all = lists.shows_all(&mut self.ask, entry, meant.evaluated).await?;
        if !shows_all || primary == Primary::Hidden {
            if is_new {
                let dn = entry.dn.escape_debug();
                let why = format!("the members of the new group `{dn}` are not all to be seen");
                return Err(Stop::Read(WhyFull::Other(why)));
            }
            tracing::debug!(source = %self.origin.name, dn = %entry.dn, "members are not all known");
            return Ok(());
        }
        let named: Vec<Named<'_>> = names(entry)
            .into_iter()
            .map(|(norm, text)| Named { now: self.memory.index.at(&norm), norm, text })
            .collect();
        let listed = named.iter().filter_map(|it| it.now).chain(meant.ids.iter().copied());
        self.draft.recall(&key, &listed.map(|id| self.ext(id)).collect())?;
        let mut members = Members::default();
        self.listed(&key, (entry, named), &mut members, unmended).await?;
        self.by_user_name(entry, &mut members).await?;
        // Of whom a URL means names tell nothing.
        let held = held.iter().filter(|_| !meant.alone);
        for id in held.chain(&meant.ids) {
            self.count(*id, &mut members)?;
        }
        if let Primary::Of(number) = &primary
            && !self.by_number(number, self.draft.known(&key)?, &mut members).await?
        {
            tracing::debug!(source = %self.origin.name, dn = %entry.dn, "primary members are not all known");
            return Ok(());
        }
        members.inner.remove(&key);
        let inner = self.shape.nested.then_some(members.inner);
        self.draft.members(&key, members.people, inner)
    }

    /// Counts `id` as a member, if it is somebody.
    fn count(&self, id: Id, members: &mut Members) -> Result<(), Stop> {
        let (ext, key) = (self.ext(id), self.key(id));
        if self.draft.has_person(&ext)? {
            members.people.insert(ext);
        } else if self.shape.nested && self.draft.has_group(&key)? {
            members.inner.insert(key);
        }
        Ok(())
    }

    /// Counts `id` as a member of `group` if the mirror has it there.
    fn count_as_known(&self, id: Id, group: &str, members: &mut Members) -> Result<(), Stop> {
        let mut known = self.view.within(&self.ext(id))?;
        known.extend(self.view.leads_to(&group_id(&self.key(id)))?);
        if known.contains(&group_id(group)) { self.count(id, members) } else { Ok(()) }
    }

    /// The people and the groups that a group lists by name.
    async fn listed(
        &mut self,
        group: &str,
        (entry, named): (&Entry, Vec<Named<'_>>),
        members: &mut Members,
        unmended: &mut BTreeMap<Id, Unsettled>,
    ) -> Result<(), Stop> {
        let mut unknown = Vec::new();
        for Named { norm, text, now } in named {
            if let Some(id) = now {
                if !self.memory.unsettled.contains_key(&id) {
                    self.count(id, members)?;
                }
            } else if let Some((id, unsettled)) = self.before.get(&norm) {
                // The server may still be about to put the new name there.
                if let Some(doubt) = self.memory.doubt(unsettled) {
                    unmended.insert(*id, doubt);
                    self.count_as_known(*id, group, members)?;
                }
            } else if self.shape.may_be_ours(&norm) && !self.memory.nowhere.contains(&norm) {
                unknown.push((norm, text));
            }
        }
        if unknown.len() > MOST_UNKNOWN {
            // Somebody among them may have been renamed just now: not to look is no way to tell.
            let dn = entry.dn.escape_debug();
            let why = format!(
                "the group `{dn}` lists more than {MOST_UNKNOWN} names of whom nothing is known"
            );
            return Err(Stop::Read(WhyFull::Other(why)));
        }
        for (norm, text) in unknown {
            match self.ask.id_at(text).await? {
                // Renamed, and not told yet. Whoever is new will be told, too.
                Some(id) => self.count_as_known(id, group, members)?,
                None => {
                    self.memory.leads_nowhere(norm);
                }
            }
        }
        Ok(())
    }

    /// The people whom a group lists by their user name, which must be theirs alone.
    async fn by_user_name(&mut self, entry: &Entry, members: &mut Members) -> Result<(), Stop> {
        let names: BTreeSet<String> = entry
            .texts("memberuid")
            .filter(|uid| !uid.is_empty())
            .map(|uid| value::folded(uid).into_owned())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        if !self.memory.wants.uids {
            let why = "a group lists user names, for the first time".to_owned();
            return Err(Stop::Read(WhyFull::Other(why)));
        }
        let names: Vec<String> = names.into_iter().collect();
        let mut having: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for some in names.chunks(NAMES_AT_ONCE) {
            let tests: String = some
                .iter()
                .map(|uid| format!("(uid={})", ldap3::ldap_escape(uid.as_str())))
                .collect();
            for user in self.ask.users_that(&format!("(|{tests})")).await? {
                let Some(id) = Id::of(&user) else { continue };
                let uids: BTreeSet<String> =
                    user.plainest_texts("uid").map(|uid| value::folded(uid).into_owned()).collect();
                uids.into_iter().for_each(|uid| having.entry(uid).or_default().push(id));
            }
        }
        for name in &names {
            if let Some([id]) = having.get(name).map(Vec::as_slice)
                && !self.memory.unsettled.contains_key(id)
            {
                self.count(*id, members)?;
            }
        }
        Ok(())
    }

    /// The people whose primary group it is, of this number. `known` are those whom the mirror has in it. Whether
    /// that are all: whoever hides the number is found by no filter.
    async fn by_number(
        &mut self,
        number: &GroupNumber,
        known: BTreeSet<String>,
        members: &mut Members,
    ) -> Result<bool, Stop> {
        let GroupNumber::Gid(gid) = number else { return Ok(true) };
        for user in self.ask.users_that(&format!("(gidNumber={gid})")).await? {
            if let Some(id) = Id::of(&user)
                && !self.memory.unsettled.contains_key(&id)
            {
                self.count(id, members)?;
            }
        }
        let lacking = self.draft.lacking(known, &members.people)?;
        let here = self.memory.index.of(&lacking);
        let ids: Vec<Id> = here.values().copied().collect();
        let numbers = self.primaries(&ids).await?;
        for ext in lacking {
            match here.get(&ext).and_then(|id| numbers.get(id)) {
                Some(Primary::Hidden) => return Ok(false),
                Some(Primary::Of(of)) if of != number => {}
                Some(Primary::No) => {}
                // Changed again meanwhile, which will be told; or hidden altogether, and hidden is not gone.
                Some(Primary::Of(_)) | None => {
                    members.people.insert(ext);
                }
            }
        }
        Ok(true)
    }

    /// Whose primary group those are in who are there: as they were read when they were told, else asked
    /// for together, and one by one where that does not find them.
    async fn primaries(&mut self, ids: &[Id]) -> Result<HashMap<Id, Primary>, Stop> {
        let told = |id: &Id| {
            let gid = self.numbers.get(id)?;
            let primary = gid.map_or(Primary::No, |gid| Primary::Of(GroupNumber::Gid(gid)));
            Some((*id, primary))
        };
        let mut primaries: HashMap<Id, Primary> = ids.iter().filter_map(told).collect();
        let others: Vec<Id> =
            ids.iter().filter(|id| !primaries.contains_key(id)).copied().collect();
        for some in others.chunks(NAMES_AT_ONCE) {
            let texts: Vec<String> = some.iter().map(|id| self.key(*id)).collect();
            let found = self.ask.primaries_of(&texts, self.provider).await?;
            primaries.extend(found.into_iter().filter(|(id, _)| some.contains(id)));
        }
        for id in others {
            if let (false, Some(slot)) = (primaries.contains_key(&id), self.memory.index.get(id)) {
                primaries.extend(self.ask.primary_of(id, &slot.dn).await?.map(|it| (id, it)));
            }
        }
        Ok(primaries)
    }
}

/// The names that a group lists: in normal form, and as spelled.
fn names(entry: &Entry) -> BTreeMap<String, &str> {
    let values = entry.values("member").iter().map(|value| (value, false));
    let unique = entry.values("uniquemember").iter().map(|value| (value, true));
    let mut names = BTreeMap::new();
    for (value, unique) in values.chain(unique) {
        let Ok(text) = std::str::from_utf8(value) else { continue };
        let text = if unique { without_uid(text) } else { text };
        if let Ok(norm) = dn::normalized(text) {
            names.insert(norm.into_owned(), text);
        }
    }
    names
}

//! Groups: what they list, and whether that leads to somebody who was read.

use std::collections::{BTreeMap, BTreeSet};

use super::Assembler;
use crate::directory::{Rid, dn, value};
use crate::source::ldap::config::MembersFrom;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::lists::{Judge, Shown};
use crate::source::ldap::presence::presence;
use crate::source::ldap::primary::{self, Primary};
use crate::source::ldap::schema::{self, Schema};
use crate::source::ldap::shape::member_of;
use crate::source::ldap::{domain, dynamic};

idpsyncd_core::list_place! {
    /// The place of a group among those that were read.
    GroupIdx of "groups of a directory"
}

/// A group as it was read.
pub(in crate::source::ldap) struct Group {
    /// Stable id.
    pub key: String,
    /// Bare name.
    pub name: String,
    /// DN as spelled.
    pub identity: String,
    /// Its own DN, as a number.
    pub dn: u32,
    /// Members' DNs, as numbers.
    pub members: Vec<u32>,
    /// Members' usernames (posixGroup), as numbers.
    pub uids: Vec<u32>,
    /// Member values that are not DNs.
    pub bad: Vec<String>,
    /// Members of another directory.
    pub foreign: Vec<String>,
    /// Which of the SIDs of the domain it has.
    pub rid: Rid,
    /// Groups that this one is in by its own word, as numbers of their DNs.
    pub within: Vec<u32>,
    /// The URLs by which it names members.
    pub urls: Vec<String>,
    /// The places of the URLs of groups that mean it.
    pub meant_by: Vec<usize>,
    /// What it shows of its list.
    pub shown: Shown,
    /// Whose primary group it is.
    pub primary: Primary,
}

/// A group that gives no rights: a distribution group.
pub(in crate::source::ldap) struct LeftOut {
    pub key: String,
    pub name: String,
    pub identity: String,
    /// Its DN in normal form.
    pub norm: String,
}

impl Assembler {
    /// The usernames that posixGroups list and nobody has, prepared for comparing, distinct.
    #[must_use]
    pub fn unknown_uids(&self) -> Vec<String> {
        let listed = self.groups.iter().flat_map(|group| &group.uids);
        let unknown: BTreeSet<&str> = listed
            .filter(|uid| self.user_of_uid.get(**uid).is_none())
            .map(|uid| self.uids.text(*uid))
            .collect();
        unknown.into_iter().map(str::to_owned).collect()
    }

    /// Takes a group's entry in. One with an id that is there already replaces what was read
    /// before: it is newer.
    pub fn group(&mut self, entry: &Entry) {
        let Ok(norm) = dn::normalized(&entry.dn) else {
            return self.groups_without_id.add(&entry.dn);
        };
        if !self.is_there(entry, &norm) {
            return;
        }
        let key = match self.shape.dialect.group_id(entry) {
            Some(id) => id,
            None if !self.shape.file => return self.groups_without_id.add(&entry.dn),
            None => norm.to_string(),
        };
        let Some(name) = entry.text(&self.shape.name) else {
            return self.groups_without_name.add(&entry.dn);
        };
        let dn = self.dns.id(&norm);
        match self.shape.dialect.is_security_group(entry) {
            Some(true) => {}
            _ if self.shape.distribution => {}
            Some(false) => {
                if self.left_out_dns.insert(dn) {
                    let (name, norm) = (name.into_owned(), norm.into_owned());
                    let identity = entry.dn.clone();
                    self.left_out.push(LeftOut { key, name, identity, norm });
                }
                return;
            }
            None => return self.groups_without_type.add(&entry.dn),
        }
        let known = self.by_key.get(&key).copied();
        if self.group_at.get(dn).is_some_and(|at| Some(at) != known) {
            return self.groups_twice.add(&entry.dn);
        }
        let mut group = Group {
            key,
            name: name.into_owned(),
            identity: entry.dn.clone(),
            dn,
            members: Vec::new(),
            uids: Vec::new(),
            bad: Vec::new(),
            foreign: Vec::new(),
            rid: domain::rid_of(&self.domain, entry),
            within: Vec::new(),
            urls: Vec::new(),
            meant_by: Vec::new(),
            shown: self.classes.shown(entry),
            primary: match self.shape.primary {
                true => primary::group(entry, self.shape.dialect.primary),
                false => Primary::No,
            },
        };
        match self.shape.from {
            MembersFrom::Member => {
                self.members_of(entry, &mut group);
                group.urls = dynamic::urls_of(entry).collect();
                group.meant_by = self.dynamic.of_group(entry, &norm);
            }
            MembersFrom::MemberOf => group.within = self.within_of(entry),
        }
        self.nowhere.remove(&dn);
        self.left_out_dns.remove(&dn);
        self.keep(group, known);
    }

    /// Puts a group in the place of the one that was read before, or behind the others.
    fn keep(&mut self, group: Group, known: Option<GroupIdx>) {
        let (dn, key) = (group.dn, group.key.clone());
        let place = match known {
            Some(place) => {
                if let Some(slot) = self.groups.get_mut(place) {
                    *slot = group;
                }
                place
            }
            None => match self.groups.push(group) {
                Ok(place) => {
                    self.by_key.insert(key, place);
                    place
                }
                Err(full) => {
                    self.too_many = Some(full);
                    return;
                }
            },
        };
        self.group_at.set(dn, place);
    }

    fn members_of(&mut self, entry: &Entry, group: &mut Group) {
        let values = entry.values("member").iter().map(|value| (value, false));
        let unique = entry.values("uniquemember").iter().map(|value| (value, true));
        let mut spellings = Vec::with_capacity(values.len().saturating_add(unique.len()));
        let mut norms = Vec::with_capacity(spellings.capacity());
        for (value, unique) in values.chain(unique) {
            let text = std::str::from_utf8(value).ok();
            let text = text.map(|text| if unique { without_uid(text) } else { text });
            let Some((text, norm)) = text.and_then(|t| Some((t, dn::normalized(t).ok()?))) else {
                group.bad.push(String::from_utf8_lossy(value).into_owned());
                continue;
            };
            // The empty DN is the purest of placeholders: it names nobody.
            if self.shape.dialect.is_foreign(&norm) {
                group.foreign.push(text.to_owned());
            } else if !norm.is_empty() {
                spellings.push(text);
                norms.push(norm);
            }
        }
        group.members = self.dns.ids(&norms);
        if let Some(spelled) = &mut self.spelled {
            for ((text, norm), id) in spellings.into_iter().zip(&norms).zip(&group.members) {
                if self.user_at.get(*id).is_none() && self.shape.may_be_ours(norm) {
                    spelled.insert(*id, text.to_owned());
                }
            }
        }
        for uid in entry.texts("memberuid").filter(|uid| !uid.is_empty()) {
            group.uids.push(self.uids.id(&value::folded(uid)));
        }
        if let Some(external) = self.shape.dialect.external_members {
            let external = external.to_ascii_lowercase();
            let values = entry.texts(&external);
            group.foreign.extend(values.map(str::to_owned));
        }
    }

    /// The groups that an entry is in by its own word, as numbers of their DNs.
    pub(super) fn within_of(&mut self, entry: &Entry) -> Vec<u32> {
        let norms: Vec<_> = member_of(entry).filter_map(|text| dn::normalized(text).ok()).collect();
        self.dns.ids(&norms)
    }

    /// Whether an entry is one that an ordinary search returns, and no second view of another.
    pub(super) fn is_there(&self, entry: &Entry, norm: &str) -> bool {
        presence(entry, norm).is_there() && !self.shape.dialect.is_set_aside(norm)
    }

    /// Whether the server's schema is wanted to tell what groups without members are.
    #[must_use]
    pub fn wants_schema(&self) -> bool {
        let common = Schema::common();
        let judge = Judge::new(self.shown(), &self.classes, common, &self.expanded, false);
        self.shown().any(|shown| shown.is_bare() || judge.doubt(shown).is_some())
    }

    pub(in crate::source::ldap) fn shown(&self) -> impl Iterator<Item = Shown> {
        self.groups.iter().map(|group| group.shown)
    }

    /// Takes the server's schema in.
    pub fn schema_is(&mut self, schema: Schema) {
        self.schema = Some(schema);
    }

    /// Whether some group names members by what a server may put members in the place of.
    #[must_use]
    pub fn may_be_expanded(&self) -> bool {
        self.shown().any(Shown::may_be_expanded)
    }

    /// Takes in how a group is stored. Where it came with more members than it stores, the server
    /// has put them in, as it does for every group of such classes.
    pub fn stored(&mut self, entry: &Entry) {
        let key = self.shape.dialect.group_id(entry);
        let Some(known) = key.and_then(|key| self.by_key.get(&key).copied()) else { return };
        let Some(group) = self.groups.get(known) else { return };
        let came = [group.members.len(), group.uids.len(), group.bad.len()].iter().sum::<usize>();
        let stored: usize = schema::MEMBERS.iter().map(|name| entry.values(name).len()).sum();
        if stored < came {
            self.expanded.insert(group.shown.classes);
        }
    }

    /// Whether it is still open to what this DN leads.
    pub(in crate::source::ldap) fn is_open(&self, id: u32) -> bool {
        self.user_at.get(id).is_none()
            && self.group_at.get(id).is_none()
            && !self.nowhere.contains(&id)
            && !self.left_out_dns.contains(&id)
            && self.shape.may_be_ours(self.dns.text(id))
    }

    /// The DNs, as spelled, of groups with members of whom it is open to what they lead.
    #[must_use]
    pub fn open_groups(&self) -> Vec<String> {
        let open = |group: &&Group| group.members.iter().any(|id| self.is_open(*id));
        self.groups.iter().filter(open).map(|group| group.identity.clone()).collect()
    }

    /// From now on, until [`Assembler::take_open`], notes how open members are spelled.
    pub fn note_open(&mut self) {
        self.spelled = Some(BTreeMap::new());
    }

    /// The members noted since [`Assembler::note_open`] that are open even now: number, and DN as
    /// spelled.
    pub fn take_open(&mut self) -> Vec<(u32, String)> {
        let noted = self.spelled.take().unwrap_or_default();
        noted.into_iter().filter(|(id, _)| self.is_open(*id)).collect()
    }

    /// Settles that no user or group of ours has this DN: it was looked for and is not there.
    pub fn leads_nowhere(&mut self, id: u32) {
        if self.is_open(id) {
            self.nowhere.insert(id);
        }
    }
}

/// A `uniqueMember` without its optional unique identifier: `DN#'0101'B` (RFC 4517, section
/// 3.3.21).
pub(in crate::source::ldap) fn without_uid(text: &str) -> &str {
    let bits = text.strip_suffix("'B").and_then(|rest| rest.rsplit_once("#'"));
    match bits {
        Some((dn, bits)) if bits.bytes().all(|bit| matches!(bit, b'0' | b'1')) => dn,
        _ => text,
    }
}

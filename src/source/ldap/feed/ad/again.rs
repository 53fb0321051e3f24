//! Reading again whom the server has told of.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ldap3::Scope;

use super::super::Stop;
use super::super::ask::{Asker, Sort};
use super::super::wire::Id;
use super::changes::is_deleted;
use super::dc::of_one;
use crate::source::ldap::dialect::{Dialect, PrimaryBy};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::lookup::{by_id, escaped};
use crate::source::ldap::primary::{self, GroupNumber, Primary};
use crate::source::ldap::ranges;
use crate::source::ldap::search::{self, Search, both};

/// So many ids go into one filter.
const AT_ONCE: usize = 50;

/// What tells whose primary group somebody is in.
const PRIMARY: [&str; 4] = ["objectGUID", "objectClass", "objectSid", "primaryGroupID"];

/// Where somebody is whom base or filter leave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whereabouts {
    /// Among what was deleted.
    Deleted,
    /// Elsewhere, or of another kind by now.
    Elsewhere,
    /// Nowhere that this identity may see.
    Unknown,
}

impl Asker<'_> {
    /// Those of `ids` that are users, or groups, as a full read finds them. Members of groups come with
    /// their ids.
    pub(super) async fn among(
        &mut self,
        ids: &[Id],
        sort: Sort,
    ) -> Result<BTreeMap<Id, Entry>, Stop> {
        let mut found = BTreeMap::new();
        let Some(search) = self.search_of(sort) else { return Ok(found) };
        let dialect = match sort {
            Sort::User => search.dialect,
            Sort::Group => search.dialect.with_ids(),
        };
        for some in ids.chunks(AT_ONCE) {
            let tests: String =
                some.iter().map(|id| by_id(&id.text(false), &["objectGUID"])).collect();
            let filter = both(&search.filter, &format!("(|{tests})"));
            let search = Search { filter, dialect, ..search.clone() };
            let on_entry = |entry: Entry| {
                if let Some(id) = Id::of(&entry) {
                    found.insert(id, entry);
                }
            };
            let limits = self.origin.limits();
            let end = ranges::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                return Err(Stop::Fault(fault));
            }
        }
        Ok(found)
    }

    /// What became of somebody who is not among those of base and filter.
    pub(super) async fn whereabouts(&mut self, id: Id) -> Result<Whereabouts, Stop> {
        let search = Search {
            what: "who is gone",
            dialect: Dialect::ACTIVE_DIRECTORY.with_deleted(),
            ..of_one(format!("<GUID={}>", id.text(false)), &["objectGUID", "isDeleted"])
        };
        let mut found = None;
        let on_entry = |entry: Entry| found = Some(entry);
        let limits = self.origin.limits();
        let end = search::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await;
        match (end.fault, found) {
            (Some(fault), _) if fault.code == Some(32) => Ok(Whereabouts::Unknown),
            (Some(fault), _) => Err(Stop::Fault(fault)),
            (None, Some(entry)) if Id::of(&entry) != Some(id) => Ok(Whereabouts::Unknown),
            (None, Some(entry)) if is_deleted(&entry) => Ok(Whereabouts::Deleted),
            (None, Some(_)) => Ok(Whereabouts::Elsewhere),
            (None, None) => Ok(Whereabouts::Unknown),
        }
    }

    /// Whether a user or a group is somewhere below this name.
    pub(super) async fn has_somebody_below(&mut self, dn: &str) -> Result<bool, Stop> {
        for sort in [Sort::User, Sort::Group] {
            let Some(search) = self.search_of(sort) else { continue };
            let attributes = vec!["1.1".to_owned()];
            let search = Search { base: dn.to_owned(), attributes, ..search };
            // One of them may be who has this name.
            match self.at_most(2, false, search).await {
                Ok(entries) if entries.iter().all(|entry| entry.dn == dn) => {}
                Ok(_) => return Ok(true),
                Err(Stop::Fault(fault)) if fault.code == Some(32) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(false)
    }

    /// The ids of the groups that list this name.
    pub(super) async fn groups_listing(&mut self, dn: &str) -> Result<BTreeSet<Id>, Stop> {
        let test = format!("(member={})", ldap3::ldap_escape(dn));
        Ok(self.groups_that(&test).await?.into_iter().map(|(id, _)| id).collect())
    }

    /// The id of the group with this SID, if it is one of ours.
    pub(super) async fn group_of_sid(&mut self, sid: &[u8]) -> Result<Option<Id>, Stop> {
        let test = format!("(objectSid={})", escaped(sid));
        Ok(self.groups_that(&test).await?.pop().map(|(id, _)| id))
    }

    /// The ids of the users whose primary group has this SID.
    pub(super) async fn primary_members(&mut self, sid: &[u8]) -> Result<BTreeSet<Id>, Stop> {
        let (Some(search), Some(rid)) = (self.search_of(Sort::User), last_part(sid)) else {
            return Ok(BTreeSet::new());
        };
        let search = Search {
            filter: both(&search.filter, &format!("(primaryGroupID={rid})")),
            attributes: PRIMARY.map(str::to_owned).to_vec(),
            page_size: self.origin.config.page_size,
            ..search
        };
        // That of another domain, or of none, can end alike.
        let is_its = |user: &Entry| match primary::user(user, PrimaryBy::Sid) {
            Primary::Of(GroupNumber::Sid(of)) => of == sid,
            _ => false,
        };
        let mut members = BTreeSet::new();
        let on_entry = |user: Entry| {
            if is_its(&user) {
                members.extend(Id::of(&user));
            }
        };
        let limits = self.origin.limits();
        let end = search::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await;
        end.fault.map_or(Ok(members), |fault| Err(Stop::Fault(fault)))
    }

    /// Whose primary group these people are in, whether base and filter leave them out or not; nothing of
    /// whoever is not to be seen in `domain`.
    pub(super) async fn primaries(
        &mut self,
        domain: &str,
        ids: &[Id],
    ) -> Result<BTreeMap<Id, Primary>, Stop> {
        let mut found = BTreeMap::new();
        for some in ids.chunks(AT_ONCE) {
            let tests: String =
                some.iter().map(|id| by_id(&id.text(false), &["objectGUID"])).collect();
            let search = Search {
                what: "primary groups",
                scope: Scope::Subtree,
                filter: format!("(|{tests})"),
                ..of_one(domain.to_owned(), &PRIMARY)
            };
            let on_entry = |user: Entry| {
                found.extend(Id::of(&user).map(|id| (id, primary::user(&user, PrimaryBy::Sid))));
            };
            let limits = self.origin.limits();
            let end = search::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                return Err(Stop::Fault(fault));
            }
        }
        Ok(found)
    }

    /// The ids of all users and groups.
    pub(super) async fn all_ids(&mut self) -> Result<HashSet<Id>, Stop> {
        let mut ids = HashSet::new();
        for sort in [Sort::User, Sort::Group] {
            let Some(search) = self.search_of(sort) else { continue };
            let search = Search {
                attributes: vec!["objectGUID".to_owned()],
                page_size: self.origin.config.page_size,
                ..search
            };
            let limits = self.origin.limits();
            let on_entry = |entry: Entry| ids.extend(Id::of(&entry));
            let end = search::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                return Err(Stop::Fault(fault));
            }
        }
        Ok(ids)
    }

    /// The names of all containers of the domain, in normal form.
    pub(super) async fn containers(&mut self, domain: &str) -> Result<Vec<(Id, String)>, Stop> {
        let search = Search {
            what: "containers",
            scope: Scope::Subtree,
            filter: "(!(|(objectClass=person)(objectClass=group)))".to_owned(),
            page_size: self.origin.config.page_size,
            ..of_one(domain.to_owned(), &["objectGUID"])
        };
        let mut found = Vec::new();
        let on_entry = |entry: Entry| {
            let norm = crate::directory::dn::normalize(&entry.dn).ok();
            found.extend(Id::of(&entry).zip(norm));
        };
        let limits = self.origin.limits();
        let end = search::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await;
        end.fault.map_or(Ok(found), |fault| Err(Stop::Fault(fault)))
    }
}

/// The last part of a SID.
fn last_part(sid: &[u8]) -> Option<u32> {
    let bytes: [u8; 4] = sid.get(sid.len().checked_sub(4)?..)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

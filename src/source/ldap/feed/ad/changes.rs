//! Which entries have changed.

use std::collections::BTreeMap;

use ldap3::Scope;

use super::super::inbox::MOST;
use super::super::wire::Id;
use super::super::{Origin, Stop};
use super::dc::{Dc, of_one};
use crate::directory::dn;
use crate::source::feed::WhyFull;
use crate::source::ldap::connect::Connection;
use crate::source::ldap::dialect::Dialect;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::presence::{Presence, presence};
use crate::source::ldap::search::{self, Search};

/// What was told of an entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Touch {
    /// Its name.
    pub dn: String,
    /// It is a tombstone.
    pub is_deleted: bool,
    /// It may be one that others are below.
    pub is_container: bool,
    /// It has another name than before; nothing where the server does not say.
    pub has_moved: Option<bool>,
    /// It may be a group that has, or had, other members than before.
    pub may_be_group: bool,
}

impl Touch {
    fn of(entry: Entry) -> Self {
        Touch {
            is_deleted: is_deleted(&entry),
            is_container: is_container(&entry),
            has_moved: None,
            may_be_group: !entry.is_a("person"),
            dn: entry.dn,
        }
    }
}

/// Entries of which something was told.
pub(super) type Touched = BTreeMap<Id, Touch>;

/// Whether an entry is a tombstone.
pub(super) fn is_deleted(entry: &Entry) -> bool {
    let norm = dn::normalized(&entry.dn).unwrap_or_default();
    presence(entry, &norm) == Presence::Gone
}

/// Whether an entry is none of those that nothing of ours is ever below: accounts, contacts and groups.
pub(super) fn is_container(entry: &Entry) -> bool {
    !["person", "group"].iter().any(|class| entry.is_a(class))
}

/// The entries that have changed since the number `usn`.
pub(super) async fn since(
    origin: &Origin,
    connection: &Connection,
    dc: &Dc,
    usn: u64,
) -> Result<Touched, Stop> {
    let first = usn.saturating_add(1);
    let search = Search {
        what: "changes",
        scope: Scope::Subtree,
        filter: format!("(uSNChanged>={first})"),
        page_size: origin.config.page_size,
        dialect: Dialect::ACTIVE_DIRECTORY.with_deleted(),
        ..of_one(dc.domain.clone(), &["objectGUID", "isDeleted", "objectClass"])
    };
    let mut touched = Touched::new();
    let on_entry = |entry: Entry| {
        if let Some(id) = Id::of(&entry)
            && touched.len() <= MOST
        {
            touched.insert(id, Touch::of(entry));
        }
    };
    let mut ldap = connection.ldap.clone();
    let end = search::run(&mut ldap, &search, origin.limits(), on_entry, |_| {}).await;
    match end.fault {
        Some(fault) => Err(Stop::Fault(fault)),
        None if touched.len() > MOST => Err(Stop::Read(WhyFull::TooMuch(MOST))),
        None => Ok(touched),
    }
}

/// Whether this identity is shown what was deleted: the container of it, which is hidden from whom it
/// does not concern (MS-ADTS, section 6.1.1.4.2).
pub(super) async fn sees_deleted(
    origin: &Origin,
    connection: &Connection,
    dc: &Dc,
) -> Result<bool, Stop> {
    const DELETED_OBJECTS: &str = "18e2ea80684f11d2b9aa00c04f79f805";
    let base = format!("<WKGUID={DELETED_OBJECTS},{}>", dc.domain);
    let search = Search {
        what: "what was deleted",
        dialect: Dialect::ACTIVE_DIRECTORY.with_deleted(),
        ..of_one(base, &["isDeleted"])
    };
    let mut found = false;
    let mut ldap = connection.ldap.clone();
    let on_entry = |entry: Entry| found = entry.has("isdeleted");
    let end = search::run(&mut ldap, &search, origin.limits(), on_entry, |_| {}).await;
    match end.fault {
        Some(fault) if fault.code.is_none() || fault.transient => Err(Stop::Fault(fault)),
        _ => Ok(found),
    }
}

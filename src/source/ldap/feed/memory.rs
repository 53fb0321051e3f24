//! What a feed knows besides the mirror.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::index::{Index, Slot};
use super::meaning::Lists;
use super::server::Provider;
use super::wire::Id;
use crate::directory::value;
use crate::source::ldap::dialect::{Dialect, PrimaryBy};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::primary::{self, GroupNumber, Primary};

/// How long OpenLDAP is given to mend the groups of somebody who is new or has another name.
const MENDING: Duration = Duration::from_millis(250);

/// What a feed knows besides the mirror.
pub(super) struct Memory {
    /// Which entry has which name.
    pub index: Index,
    /// What of an entry is held besides its name.
    pub wants: Wants,
    /// What tells whether a group shows all of its members.
    pub lists: Lists,
    /// Names below the bases that lead to nothing, until an entry is told with one.
    pub nowhere: HashSet<String>,
    /// How long a server is given to mend the groups of somebody who is new or has another name.
    pub mending: Duration,
    /// Who is new or has another name, and whose groups may not say so yet.
    pub unsettled: HashMap<Id, Unsettled>,
}

/// 389-DS tells how it mends groups, so there is nothing to wait for. And nothing may be: who was made and
/// deleted after the cookie is never mentioned there, so the mirror must not run ahead of its cookie.
pub(super) fn mending(provider: Provider) -> Duration {
    match provider {
        Provider::OpenLdap => MENDING,
        Provider::Ds389 => Duration::ZERO,
    }
}

/// Somebody whose groups may be mended in a moment. Until then what they are in stays as it is.
#[derive(Clone)]
pub(super) struct Unsettled {
    /// When their groups are to be read.
    pub due: Instant,
    /// The name that they had before, in normal form.
    pub before: Option<String>,
    /// How often a group was found that still lists that name.
    pub found: u32,
}

impl Memory {
    /// Somebody is unsettled from now on. `before` is the name that they had.
    pub fn unsettle(&mut self, id: Id, before: Option<String>) {
        let before = before.filter(|_| !self.mending.is_zero());
        let due = Instant::now() + self.mending;
        self.unsettled.insert(id, Unsettled { due, before, found: 0 });
    }

    /// The same, unless they are already.
    pub fn unsettle_newly(&mut self, id: Id) {
        if !self.unsettled.contains_key(&id) {
            self.unsettle(id, None);
        }
    }

    /// When the next groups are to be read.
    pub fn due(&self) -> Option<Instant> {
        self.unsettled.values().map(|it| it.due).min()
    }

    /// Takes those whose groups are to be read by `now`.
    pub fn take_due(&mut self, now: Instant) -> Vec<(Id, Unsettled)> {
        let mut due: Vec<(Id, Unsettled)> = Vec::new();
        self.unsettled.retain(|id, it| {
            let waits = it.due > now;
            if !waits {
                due.push((*id, it.clone()));
            }
            waits
        });
        due.sort_unstable_by_key(|(id, _)| *id);
        due
    }
}

/// What of an entry is held in memory besides its name.
#[derive(Clone, Copy)]
pub(super) struct Wants {
    /// Its user names: some group lists those.
    pub uids: bool,
    /// Its `gidNumber`: primary groups count.
    pub gid: bool,
}

impl Wants {
    /// What is held of the user `entry`, whose DN is `norm` in normal form.
    pub fn slot(self, id: Id, entry: &Entry, norm: &str, dialect: Dialect) -> Slot {
        let mut uids: BTreeSet<String> = BTreeSet::new();
        if self.uids {
            let texts = entry.plainest_texts("uid").filter(|uid| !uid.is_empty());
            uids.extend(texts.map(|uid| value::folded(uid).into_owned()));
        }
        let gid = match self.gid.then(|| primary::user(entry, PrimaryBy::GidNumber)) {
            Some(Primary::Of(GroupNumber::Gid(gid))) => Some(gid),
            _ => None,
        };
        let ext = dialect.person_id(entry);
        let ext = ext.filter(|ext| Id::parse(ext) != Some(id));
        Slot {
            dn: norm.into(),
            ext: ext.map(String::into_boxed_str),
            uids: uids.into_iter().collect::<Vec<_>>().join("\n").into_boxed_str(),
            gid,
        }
    }
}

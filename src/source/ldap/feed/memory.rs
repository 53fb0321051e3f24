//! What a feed knows besides the mirror.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::index::{Index, Slot};
use super::meaning::Lists;
use super::server::Provider;
use super::url_groups::UrlGroups;
use super::wire::Id;
use super::witness::Witnesses;
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
    /// Groups that name members by URL.
    pub urls: UrlGroups,
    /// What was told last, where it may be that this is undone without a word.
    pub seen: Witnesses,
    /// It was undone when it was looked at last, without a word so far.
    pub is_undone: bool,
    /// A list was seen to keep a former name for good: this server mends none.
    pub keeps_names: bool,
    /// Who was unsettled before a step that has not come to its end.
    pub undo: Option<HashMap<Id, Unsettled>>,
}

/// So many names that lead to nothing are remembered.
const MOST_NOWHERE: usize = 100_000;
/// How often a list with a former name is taken for one that is still to be mended, and where it is known
/// that this server mends none. Each time it is given twice as long: four seconds together, and one.
const DOUBTS: u32 = 4;
const FEW_DOUBTS: u32 = 2;

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
    /// The names that they had before, in normal form.
    pub before: BTreeSet<String>,
    /// How often a group was found that still lists one of them.
    pub found: u32,
}

impl Memory {
    /// Somebody is unsettled from now on. `before` is the name that they had.
    pub fn unsettle(&mut self, id: Id, before: Option<String>) {
        // Whoever is renamed twice in a moment is mended twice.
        let known = self.unsettled.remove(&id).map(|it| it.before);
        let mut names = known.unwrap_or_default();
        names.extend(before.filter(|_| !self.mending.is_zero()));
        let due = Instant::now() + self.mending;
        self.unsettled.insert(id, Unsettled { due, before: names, found: 0 });
    }

    /// How long somebody is given whose former name was found in a list; nothing where it was there for
    /// so long that nobody will mend it.
    pub fn doubt(&mut self, unsettled: &Unsettled) -> Option<Unsettled> {
        let doubts = if self.keeps_names { FEW_DOUBTS } else { DOUBTS };
        if unsettled.found >= doubts {
            self.keeps_names = true;
            return None;
        }
        let wait = self.mending.saturating_mul(1 << unsettled.found);
        let found = unsettled.found.saturating_add(1);
        Some(Unsettled { due: Instant::now() + wait, before: unsettled.before.clone(), found })
    }

    /// A name leads to nothing.
    pub fn leads_nowhere(&mut self, norm: String) {
        if self.nowhere.len() >= MOST_NOWHERE {
            self.nowhere.clear();
        }
        self.nowhere.insert(norm);
    }

    /// A step begins. Until it comes to its end all of it can be undone.
    pub fn begin(&mut self) {
        self.index.begin();
        self.undo = Some(self.unsettled.clone());
    }

    /// The step came to its end.
    pub fn keep(&mut self) {
        self.index.keep();
        self.undo = None;
    }

    /// If a step broke off, it is as if it had not begun: what led to it will be told again, and must find
    /// the names that it found.
    pub fn go_back(&mut self) {
        self.index.go_back();
        if let Some(before) = self.undo.take() {
            self.unsettled = before;
        }
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

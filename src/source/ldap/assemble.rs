//! From entries to a snapshot: who is who, and who is in what. The same for a live directory and
//! for an LDIF.
//!
//! Entries come in any order and are not kept: a user costs its texts, a membership four bytes.
//! Members are resolved at the end, by normal DN, so a group may come before its members.
//!
//! What is not known stays unknown here: an entry without a readable id makes its scope partial, and
//! what a group without members is, [`lists`](super::lists) judges when all are there.

mod groups;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub(super) use groups::{Group, GroupIdx, LeftOut, without_uid};

use super::account;
use super::account::{Account, Unreadable};
use super::domain::{self, Domain, Principals};
use super::dynamic::Dynamic;
use super::entry::Entry;
use super::lists::Classes;
use super::names::{Names, Places};
use super::primary::{self, GroupNumber, Primary};
use super::roles::Inactivation;
use super::schema::Schema;
use super::shape::Shape;
use super::tally::{Odd, Unclear};
use crate::directory::{DirUserIdx, NewUser, SnapshotBuilder, dn, value};
use crate::model::{Diagnostic, IndexVec, TooMany};

/// Collects entries.
pub struct Assembler {
    pub(super) shape: Shape,
    pub(super) builder: SnapshotBuilder,
    pub(super) dns: Names,
    pub(super) user_at: Places<DirUserIdx>,
    pub(super) group_at: Places<GroupIdx>,
    pub(super) uids: Names,
    pub(super) user_of_uid: Places<DirUserIdx>,
    pub(super) shared_uids: HashSet<u32>,
    pub(super) groups: IndexVec<GroupIdx, Group>,
    /// There were more groups than can be numbered: not all are here.
    pub(super) too_many: Option<TooMany>,
    by_key: HashMap<String, GroupIdx>,
    /// For each wanted value, the users that have it.
    pub(super) having: Vec<Vec<DirUserIdx>>,
    /// For each wanted value, whether any user has the attribute at all.
    pub(super) seen: Vec<bool>,
    /// DNs of which it is certain that no user or group of ours has them.
    pub(super) nowhere: HashSet<u32>,
    /// While groups are read again: members that lead nowhere so far, as spelled.
    spelled: Option<BTreeMap<u32, String>>,
    /// The domain that is read.
    pub(super) domain: Domain,
    /// The SIDs of members of other domains.
    pub(super) principals: Principals,
    /// What object classes groups have.
    pub(super) classes: Classes,
    /// The live server's schema, once it was asked for.
    pub(super) schema: Option<Schema>,
    /// Classes of groups for which the server puts members in the place of a URL.
    pub(super) expanded: HashSet<u32>,
    /// Who is meant by the URLs of groups.
    pub(super) dynamic: Dynamic,
    /// Users by the number of their primary group.
    pub(super) of_primary: HashMap<GroupNumber, Vec<DirUserIdx>>,
    /// Users whose primary group cannot be read.
    pub(super) users_without_primary: Odd,
    /// Users and the groups that they are in by their own word, as numbers of those's DNs.
    pub(super) within: Vec<(DirUserIdx, u32)>,
    /// Some of them are groups of ours.
    pub(super) somebody_says: bool,
    /// Groups that give no rights.
    pub(super) left_out: Vec<LeftOut>,
    /// Their DNs, as numbers.
    pub(super) left_out_dns: HashSet<u32>,
    /// In a file: usernames (folded) of several entries without an id.
    shared_names: HashSet<String>,
    /// In a file: the roles by which accounts are inactivated.
    inactivation: Inactivation,
    pub(super) unclear: Unclear,
    pub(super) users_without_id: Odd,
    pub(super) users_without_name: Odd,
    pub(super) users_twice: Odd,
    pub(super) groups_without_id: Odd,
    pub(super) groups_without_name: Odd,
    /// Groups of which it cannot be told whether they give rights.
    pub(super) groups_without_type: Odd,
    pub(super) groups_twice: Odd,
}

impl Assembler {
    /// An empty one.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let wanted = shape.wanted.len();
        Assembler {
            shape,
            builder: SnapshotBuilder::new(true),
            dns: Names::default(),
            user_at: Places::default(),
            group_at: Places::default(),
            uids: Names::default(),
            user_of_uid: Places::default(),
            shared_uids: HashSet::new(),
            groups: IndexVec::default(),
            too_many: None,
            by_key: HashMap::new(),
            having: vec![Vec::new(); wanted],
            seen: vec![false; wanted],
            nowhere: HashSet::new(),
            spelled: None,
            domain: Domain::default(),
            principals: Principals::default(),
            classes: Classes::default(),
            schema: None,
            expanded: HashSet::new(),
            dynamic: Dynamic::default(),
            of_primary: HashMap::new(),
            users_without_primary: Odd::default(),
            within: Vec::new(),
            somebody_says: false,
            left_out: Vec::new(),
            left_out_dns: HashSet::new(),
            shared_names: HashSet::new(),
            inactivation: Inactivation::default(),
            unclear: Unclear::default(),
            users_without_id: Odd::default(),
            users_without_name: Odd::default(),
            users_twice: Odd::default(),
            groups_without_id: Odd::default(),
            groups_without_name: Odd::default(),
            groups_without_type: Odd::default(),
            groups_twice: Odd::default(),
        }
    }

    /// Forgets all users, to read them again.
    pub fn forget_users(&mut self) {
        self.builder = SnapshotBuilder::new(true);
        self.user_at.clear();
        self.uids = Names::default();
        self.user_of_uid.clear();
        self.shared_uids.clear();
        self.having.iter_mut().for_each(Vec::clear);
        self.seen.fill(false);
        self.unclear = Unclear::default();
        self.of_primary.clear();
        self.dynamic.forget();
        self.users_without_primary = Odd::default();
        self.within.clear();
        self.users_without_id = Odd::default();
        self.users_without_name = Odd::default();
        self.users_twice = Odd::default();
        // `memberUid` values were numbered with the names that are gone: groups go as well.
        self.forget_groups();
    }

    /// Forgets all groups, to read them again.
    pub fn forget_groups(&mut self) {
        self.groups = IndexVec::default();
        self.by_key.clear();
        self.group_at.clear();
        self.groups_without_id = Odd::default();
        self.groups_without_name = Odd::default();
        self.groups_without_type = Odd::default();
        self.groups_twice = Odd::default();
        self.left_out.clear();
        self.left_out_dns.clear();
    }

    /// In a file: usernames (folded) that several entries without an id bear. Their DNs are their
    /// ids then.
    pub fn shared_names(&mut self, names: HashSet<String>) {
        self.shared_names = names;
    }

    /// In a file: the roles by which accounts are inactivated.
    pub fn inactivation(&mut self, roles: Inactivation) {
        self.inactivation = roles;
    }

    /// The URLs by which groups name members, before any entry is taken in.
    pub fn dynamic(&mut self, dynamic: Dynamic) {
        self.dynamic = dynamic;
    }

    /// The domain that is read, before any entry is taken in.
    pub(super) fn domain(&mut self, domain: Domain) {
        self.domain = domain;
    }

    /// The DNs (in normal form) of members of other domains.
    pub(super) fn foreign_dns(&self) -> BTreeSet<String> {
        let foreign = self.groups.iter().flat_map(|group| &group.foreign);
        let norms = foreign.filter_map(|text| dn::normalized(text).ok());
        norms.filter(|norm| self.shape.dialect.is_foreign(norm)).map(Cow::into_owned).collect()
    }

    /// The SIDs of members of other domains.
    pub(super) fn principals(&mut self, principals: Principals) {
        self.principals = principals;
    }

    /// Notes something worth telling.
    pub fn tell(&mut self, diagnostic: Diagnostic) {
        self.builder.tell(diagnostic);
    }

    /// Whether no user was taken in.
    #[must_use]
    pub fn has_no_user(&self) -> bool {
        self.builder.counts().0 == 0
    }

    /// Whether nothing was read at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builder.counts().0 == 0 && self.groups.is_empty()
    }

    /// Whether two entries bore one DN, as happens when one is deleted and made again in
    /// mid-read: only another read can tell which is alive.
    #[must_use]
    pub fn saw_one_dn_twice(&self) -> bool {
        self.users_twice.count() > 0 || self.groups_twice.count() > 0
    }

    /// The username of an entry. Where it has one and none that is text, what can be shown of that:
    /// no name, as whoever reads it will find, but not nobody either.
    #[must_use]
    pub fn username_of<'e>(&self, entry: &'e Entry) -> Option<Cow<'e, str>> {
        let name = &self.shape.username;
        let odd = || entry.plainest(name).iter().find(|value| std::str::from_utf8(value).is_err());
        entry.text(name).or_else(|| odd().map(|value| String::from_utf8_lossy(value)))
    }

    /// The email address of an entry, or nothing. Spaces at its ends are no part of it.
    #[must_use]
    pub fn email_of<'e>(&self, entry: &'e Entry) -> Cow<'e, str> {
        match entry.text(&self.shape.email) {
            None => Cow::Borrowed(""),
            Some(Cow::Borrowed(text)) => Cow::Borrowed(text.trim()),
            Some(Cow::Owned(text)) => Cow::Owned(text.trim().to_owned()),
        }
    }

    /// What an entry says about its account.
    #[must_use]
    pub fn account_of(&self, entry: &Entry) -> Account {
        let norm = dn::normalized(&entry.dn).unwrap_or_default();
        account::judge(entry, &norm, &self.inactivation, self.shape.dialect.account, self.shape.now)
    }

    /// Takes a user's entry in. The same id under another DN is the same user (renamed while being
    /// read): both DNs lead to it.
    pub fn user(&mut self, entry: &Entry) {
        let Ok(norm) = dn::normalized(&entry.dn) else {
            return self.users_without_id.add(&entry.dn);
        };
        if !self.is_there(entry, &norm) {
            return;
        }
        let username = match self.username_of(entry) {
            Some(username) => username,
            None => {
                self.users_without_name.add(&entry.dn);
                if self.shape.file {
                    return;
                }
                // Hidden cannot be told from absent. Who it is says the id: somebody known keeps
                // the name, nobody new gets one.
                Cow::Borrowed("")
            }
        };
        let ext = match self.shape.dialect.person_id(entry) {
            Some(id) => id,
            None if !self.shape.file => return self.users_without_id.add(&entry.dn),
            None => {
                let folded = value::folded(&username).into_owned();
                if self.shared_names.contains(&folded) { norm.to_string() } else { folded }
            }
        };
        let dn = self.dns.id(&norm);
        if let Some(known) = self.builder.find_user(&ext) {
            if self.user_at.get(dn).is_none() {
                self.user_at.set(dn, known);
            }
            return self.uids_of(entry, known);
        }
        if self.user_at.get(dn).is_some() {
            return self.users_twice.add(&entry.dn);
        }
        let account = self.account_of(entry);
        let Some(user) = self.builder.user(&NewUser {
            ext: &ext,
            username: &username,
            email: &self.email_of(entry),
            email_verified: self.shape.email_verified,
            enabled: account.enabled,
            federation: "",
        }) else {
            return;
        };
        self.builder.user_is(user, domain::rid_of(&self.domain, entry));
        self.note_unclear(entry, account.unreadable);
        self.user_at.set(dn, user);
        self.nowhere.remove(&dn);
        self.uids_of(entry, user);
        self.dynamic.user(entry, &norm, user);
        if self.shape.primary {
            match primary::user(entry, self.shape.dialect.primary) {
                Primary::Of(number) => self.of_primary.entry(number).or_default().push(user),
                Primary::Hidden => self.users_without_primary.add(&entry.dn),
                Primary::No => {}
            }
        }
        if self.shape.reads_member_of() {
            let groups = self.within_of(entry);
            self.within.extend(groups.into_iter().map(|group| (user, group)));
        }
        let slots = self.having.iter_mut().zip(&mut self.seen);
        for (wanted, (having, seen)) in self.shape.wanted.iter().zip(slots) {
            *seen |= entry.has(&wanted.attribute);
            if wanted.is_of(entry) {
                having.push(user);
            }
        }
    }

    fn note_unclear(&mut self, entry: &Entry, of_account: Option<Unreadable>) {
        if let Some(value) = of_account {
            let what = format!(
                "{value}: whether the account is enabled is unknown, so what was last known \
                 stands, and a newcomer is left out"
            );
            self.unclear.add(&entry.dn, what);
        } else if entry.text(&self.shape.username).is_none() {
            let value = entry.plainest(&self.shape.username).first().map_or(&[][..], Vec::as_slice);
            let name = self.shape.username.clone();
            let value = Unreadable::new(name, value, "text (UTF-8)");
            self.unclear.add(&entry.dn, format!("{value}: not provisioned"));
        }
    }

    fn uids_of(&mut self, entry: &Entry, user: DirUserIdx) {
        for uid in entry.plainest_texts("uid") {
            let uid = self.uids.id(&value::folded(uid));
            match self.user_of_uid.get(uid) {
                Some(other) if other != user => {
                    self.shared_uids.insert(uid);
                }
                _ => self.user_of_uid.set(uid, user),
            }
        }
    }
}

//! The builder that every reader uses, whatever the order in which it finds things.

use hashbrown::HashMap;

use super::canonical::canonical;
use super::{
    Completeness, Cursor, DirUser, DirUserIdx, Directory, Enabled, Kind, Proven, RefIdx, RefRow,
    Snapshot,
};
use crate::model::diagnostic::Diagnostic;
use crate::model::{IndexVec, TooMany};

/// A user as a reader found it.
#[derive(Clone, Copy, Debug)]
pub struct NewUser<'a> {
    /// Stable external id.
    pub ext: &'a str,
    /// Username as the source spells it.
    pub username: &'a str,
    /// Email address, or empty.
    pub email: &'a str,
    /// Whether the source vouches for it.
    pub email_verified: bool,
    /// Whether the account is enabled.
    pub enabled: Enabled,
    /// Keycloak's federation link, or empty.
    pub federation: &'a str,
}

/// A reference as a reader found it.
#[derive(Clone, Copy, Debug)]
pub struct NewRef<'a> {
    /// What it is.
    pub kind: Kind,
    /// Stable external id.
    pub key: &'a str,
    /// Bare name.
    pub name: &'a str,
    /// Whole identity, for people.
    pub identity: &'a str,
    /// What identities are compared by.
    pub norm: &'a str,
}

/// Of what there was more than can be numbered.
#[derive(Clone, Copy, Default)]
struct TooManyOf {
    users: Option<TooMany>,
    refs: Option<TooMany>,
}

/// Collects what a reader finds, in any order, and makes a canonical [`Snapshot`] of it.
///
/// Users and refs are named by the numbers that [`SnapshotBuilder::user`] and
/// [`SnapshotBuilder::reference`] return. Members and `implies` of a reference are complete unless the
/// reader says otherwise; users, groups and roles too. What has no number left is not there, and its
/// list is not complete.
pub struct SnapshotBuilder {
    directory: Directory,
    by_ext: HashMap<Box<str>, DirUserIdx>,
    by_key: HashMap<(Kind, Box<str>), RefIdx>,
    too_many: TooManyOf,
    users: Completeness,
    unnamed: Option<String>,
    groups: Completeness,
    roles: Completeness,
    members: IndexVec<RefIdx, Completeness>,
    implies: IndexVec<RefIdx, Completeness>,
    diagnostics: Vec<Diagnostic>,
    from_file: bool,
    nested_by_list: bool,
    cursor: Option<Cursor>,
}

impl SnapshotBuilder {
    /// An empty snapshot. `ignore_case`: names compare ignoring case and repeated spaces (LDAP).
    #[must_use]
    pub fn new(ignore_case: bool) -> Self {
        SnapshotBuilder {
            directory: Directory { ignore_case, ..Directory::default() },
            by_ext: HashMap::new(),
            by_key: HashMap::new(),
            too_many: TooManyOf::default(),
            users: Completeness::Complete,
            unnamed: None,
            groups: Completeness::Complete,
            roles: Completeness::Complete,
            members: IndexVec::default(),
            implies: IndexVec::default(),
            diagnostics: Vec::new(),
            from_file: false,
            nested_by_list: false,
            cursor: None,
        }
    }

    /// Says that the facts come from a file that was read whole.
    pub fn from_file(&mut self) {
        self.from_file = true;
    }

    /// Says that a group's list of members says which groups are in it as well.
    pub fn nested_by_list(&mut self) {
        self.nested_by_list = true;
    }

    /// Says from where the source's feed goes on after this read.
    pub fn cursor(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// Adds a user and returns its number; for an external id that is there already, that one's
    /// number, and the first facts stay.
    pub fn user(&mut self, user: &NewUser<'_>) -> DirUserIdx {
        if let Some(index) = self.by_ext.get(user.ext) {
            return *index;
        }
        let texts = &mut self.directory.texts;
        let row = DirUser {
            ext: texts.add(user.ext),
            username: texts.add(user.username),
            email: texts.add(user.email),
            email_verified: user.email_verified,
            enabled: user.enabled,
            federation: texts.add(user.federation),
            linkable: true,
        };
        match self.directory.users.push(row) {
            Ok(index) => {
                self.by_ext.insert(user.ext.into(), index);
                index
            }
            Err(full) => {
                self.too_many.users = Some(full);
                DirUserIdx::NOWHERE
            }
        }
    }

    /// The number of the user with this external id.
    #[must_use]
    pub fn find_user(&self, ext: &str) -> Option<DirUserIdx> {
        self.by_ext.get(ext).copied()
    }

    /// The username of the user with this number, as the source spells it; empty for none.
    #[must_use]
    pub fn username(&self, user: DirUserIdx) -> &str {
        let user = self.directory.users.get(user);
        user.map_or("", |user| self.directory.text(user.username))
    }

    /// Adds a reference and returns its number; for a kind and key that are there already, that
    /// one's number.
    pub fn reference(&mut self, reference: &NewRef<'_>) -> RefIdx {
        if let Some(index) = self.by_key.get(&(reference.kind, Box::from(reference.key))) {
            return *index;
        }
        let texts = &mut self.directory.texts;
        let row = RefRow {
            kind: reference.kind,
            key: texts.add(reference.key),
            name: texts.add(reference.name),
            identity: texts.add(reference.identity),
            norm: texts.add(reference.norm),
            parent: None,
            known: true,
            implies_known: true,
        };
        match self.add_ref(row) {
            Ok(index) => {
                self.by_key.insert((reference.kind, reference.key.into()), index);
                index
            }
            Err(full) => {
                self.too_many.refs = Some(full);
                RefIdx::NOWHERE
            }
        }
    }

    fn add_ref(&mut self, row: RefRow) -> Result<RefIdx, TooMany> {
        let index = self.directory.refs.push(row)?;
        self.directory.members.push(Vec::new())?;
        self.directory.implies.push(Vec::new())?;
        self.members.push(Completeness::Complete)?;
        self.implies.push(Completeness::Complete)?;
        Ok(index)
    }

    /// The number of the reference of this kind and key.
    #[must_use]
    pub fn find_ref(&self, kind: Kind, key: &str) -> Option<RefIdx> {
        self.by_key.get(&(kind, Box::from(key))).copied()
    }

    /// Says that `child` is right below `parent` in Keycloak's tree, so that `child`'s members are
    /// `parent`'s as well.
    pub fn child(&mut self, parent: RefIdx, child: RefIdx) {
        if let Some(row) = self.directory.refs.get_mut(child) {
            row.parent = Some(parent);
        }
        self.leads_to(child, parent);
    }

    /// Whether `reference` has a parent already.
    #[must_use]
    pub fn has_parent(&self, reference: RefIdx) -> bool {
        self.directory.refs.get(reference).is_some_and(|row| row.parent.is_some())
    }

    /// Says that who is in `from` is in `to` as well.
    pub fn leads_to(&mut self, from: RefIdx, to: RefIdx) {
        if let Some(implies) = self.directory.implies.get_mut(from)
            && from != to
        {
            implies.push(to);
        }
    }

    /// Says that `user` is directly in `reference`.
    pub fn member(&mut self, reference: RefIdx, user: DirUserIdx) {
        if let Some(members) = self.directory.members.get_mut(reference) {
            members.push(user);
        }
    }

    /// Says how much of a reference's direct members was read.
    pub fn members_are(&mut self, reference: RefIdx, completeness: Completeness) {
        if let Some(slot) = self.members.get_mut(reference) {
            *slot = completeness;
        }
    }

    /// Says how much was read of the direct members of every reference of a kind so far.
    pub fn all_members_are(&mut self, kind: Kind, completeness: &Completeness) {
        for (reference, slot) in self.directory.refs.iter().zip(self.members.iter_mut()) {
            if reference.kind == kind {
                *slot = completeness.clone();
            }
        }
    }

    /// Says how much of what a reference leads to was read. [`Completeness::NotAsked`]: the source
    /// does not say, so what was known stands and is taken for all.
    pub fn implies_is(&mut self, reference: RefIdx, completeness: Completeness) {
        if let Some(slot) = self.implies.get_mut(reference) {
            *slot = completeness;
        }
    }

    /// Says whether all users are here.
    pub fn users_are(&mut self, completeness: Completeness) {
        self.users = completeness;
    }

    /// Says why not all users have the name that they should have.
    pub fn unnamed(&mut self, why: Option<String>) {
        self.unnamed = why;
    }

    /// Says whether all groups are here.
    pub fn groups_are(&mut self, completeness: Completeness) {
        self.groups = completeness;
    }

    /// Says whether all roles are here.
    pub fn roles_are(&mut self, completeness: Completeness) {
        self.roles = completeness;
    }

    /// Marks a user's account as [`Enabled::Unknown`], when a later answer belies the first.
    pub fn enabled_is(&mut self, user: DirUserIdx, enabled: Enabled) {
        if let Some(row) = self.directory.users.get_mut(user) {
            row.enabled = enabled;
        }
    }

    /// Tells people something. It comes out sorted, each once.
    pub fn tell(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// How many users and refs there are so far.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.directory.users.len(), self.directory.refs.len())
    }

    /// The canonical snapshot.
    #[must_use]
    pub fn finish(mut self) -> Snapshot {
        drop(std::mem::take(&mut self.by_ext));
        drop(std::mem::take(&mut self.by_key));
        let TooManyOf { users, refs } = self.too_many;
        if let Some(full) = users {
            self.users = Completeness::Partial(full.to_string());
        }
        if let Some(full) = refs {
            self.groups = Completeness::Partial(full.to_string());
            self.roles = Completeness::Partial(full.to_string());
        }
        self.diagnostics.sort();
        self.diagnostics.dedup();
        let whole = self.members.iter().zip(&self.implies);
        for (reference, (members, implies)) in self.directory.refs.iter_mut().zip(whole) {
            reference.known = members.is_complete();
            reference.implies_known = !matches!(implies, Completeness::Partial(_));
        }
        self.directory.proven = Proven {
            users: self.users.is_complete(),
            groups: self.groups.is_complete(),
            roles: self.roles.is_complete(),
        };
        let (directory, order) = canonical(self.directory);
        Snapshot {
            directory,
            users: self.users,
            unnamed: self.unnamed,
            groups: self.groups,
            roles: self.roles,
            members: self.members.select(&order),
            implies: self.implies.select(&order),
            diagnostics: self.diagnostics,
            from_file: self.from_file,
            nested_by_list: self.nested_by_list,
            cursor: self.cursor,
        }
    }
}

//! The builder that every reader uses, whatever the order in which it finds things.

use hashbrown::HashMap;

use super::canonical::canonical;
use super::{
    Completeness, Cursor, DirUser, DirUserIdx, Directory, DomainSid, Enabled, Kind, OwnDomain,
    Proven, RefIdx, RefRow, Rid, Snapshot, UntoldRoles,
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
/// reader says otherwise; users, groups and roles too. Organizations count as not asked for unless
/// the reader says otherwise. What there is no number left for is not there,
/// and its list is not complete.
pub struct SnapshotBuilder {
    directory: Directory,
    by_ext: HashMap<Box<str>, DirUserIdx>,
    by_key: HashMap<(Kind, Box<str>), RefIdx>,
    too_many: TooManyOf,
    users: Completeness,
    unnamed: Option<String>,
    groups: Completeness,
    roles: Completeness,
    untold_roles: UntoldRoles,
    organizations: Completeness,
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
            untold_roles: UntoldRoles::default(),
            organizations: Completeness::NotAsked,
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

    /// Says which domain of Active Directory the source is. [`OwnDomain::Unread`]: whichever it was stands.
    pub fn domain(&mut self, domain: OwnDomain<&DomainSid>) {
        self.is_domain(domain.map(DomainSid::as_str));
    }

    /// The same by the SID as it is written.
    pub(super) fn is_domain(&mut self, domain: OwnDomain<&str>) {
        let texts = &mut self.directory.texts;
        self.directory.domain = match domain.map(|domain| texts.add(domain)) {
            OwnDomain::None => OwnDomain::None,
            OwnDomain::Of(Ok(domain)) => OwnDomain::Of(domain),
            // Where there is no room left for it, it stands as if it had not been read.
            OwnDomain::Of(Err(_)) | OwnDomain::Unread => OwnDomain::Unread,
        };
    }

    /// Says from where the source's feed goes on after this read.
    pub fn cursor(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// Adds a user and returns its number; for an external id that is there already, that one's
    /// number, and the first facts stay. `None`: there is no number, or no room, left for it; the list
    /// of users is not complete then.
    pub fn user(&mut self, user: &NewUser<'_>) -> Option<DirUserIdx> {
        if let Some(index) = self.by_ext.get(user.ext) {
            return Some(*index);
        }
        match self.add_user(user) {
            Ok(index) => {
                self.by_ext.insert(user.ext.into(), index);
                Some(index)
            }
            Err(full) => {
                self.too_many.users = Some(full);
                None
            }
        }
    }

    fn add_user(&mut self, user: &NewUser<'_>) -> Result<DirUserIdx, TooMany> {
        let texts = &mut self.directory.texts;
        let row = DirUser {
            ext: texts.add(user.ext)?,
            username: texts.add(user.username)?,
            email: texts.add(user.email)?,
            email_verified: user.email_verified,
            enabled: user.enabled,
            federation: texts.add(user.federation)?,
            linkable: true,
            rid: Rid::Unread,
        };
        self.directory.users.push(row)
    }

    /// The number of the user with this external id.
    #[must_use]
    pub fn find_user(&self, ext: &str) -> Option<DirUserIdx> {
        self.by_ext.get(ext).copied()
    }

    /// The numbers of all users so far.
    pub fn users(&self) -> impl Iterator<Item = DirUserIdx> {
        self.directory.users.numbered().map(|(number, _)| number)
    }

    /// The username of the user with this number, as the source spells it.
    #[must_use]
    pub fn username(&self, user: DirUserIdx) -> &str {
        self.directory.text(self.directory.users.at(user).username)
    }

    /// Adds a reference and returns its number; for a kind and key that are there already, that
    /// one's number. `None`: there is no number, or no room, left for it; the lists of groups and of
    /// roles are not complete then.
    pub fn reference(&mut self, reference: &NewRef<'_>) -> Option<RefIdx> {
        if let Some(index) = self.by_key.get(&(reference.kind, Box::from(reference.key))) {
            return Some(*index);
        }
        match self.add_ref(reference) {
            Ok(index) => {
                self.by_key.insert((reference.kind, reference.key.into()), index);
                Some(index)
            }
            Err(full) => {
                self.too_many.refs = Some(full);
                None
            }
        }
    }

    fn add_ref(&mut self, reference: &NewRef<'_>) -> Result<RefIdx, TooMany> {
        let texts = &mut self.directory.texts;
        let row = RefRow {
            kind: reference.kind,
            key: texts.add(reference.key)?,
            name: texts.add(reference.name)?,
            identity: texts.add(reference.identity)?,
            norm: texts.add(reference.norm)?,
            parent: None,
            known: true,
            implies_known: true,
            rid: Rid::Unread,
        };
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
        self.directory.refs.at_mut(child).parent = Some(parent);
        self.leads_to(child, parent);
    }

    /// Whether `reference` has a parent already.
    #[must_use]
    pub fn has_parent(&self, reference: RefIdx) -> bool {
        self.directory.refs.at(reference).parent.is_some()
    }

    /// Says that who is in `from` is in `to` as well.
    pub fn leads_to(&mut self, from: RefIdx, to: RefIdx) {
        if from != to {
            self.directory.implies.at_mut(from).push(to);
        }
    }

    /// Says that `user` is directly in `reference`.
    pub fn member(&mut self, reference: RefIdx, user: DirUserIdx) {
        self.directory.members.at_mut(reference).push(user);
    }

    /// Says how much of a reference's direct members was read.
    pub fn members_are(&mut self, reference: RefIdx, completeness: Completeness) {
        *self.members.at_mut(reference) = completeness;
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
        *self.implies.at_mut(reference) = completeness;
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

    /// Says which lists of roles the source left out. What it says nobody holds is not here all the same.
    pub fn untold_roles_are(&mut self, untold: UntoldRoles) {
        self.untold_roles = untold;
    }

    /// Says whether all organizations are here.
    pub fn organizations_are(&mut self, completeness: Completeness) {
        self.organizations = completeness;
    }

    /// Marks a user's account as [`Enabled::Unknown`], when a later answer belies the first.
    pub fn enabled_is(&mut self, user: DirUserIdx, enabled: Enabled) {
        self.directory.users.at_mut(user).enabled = enabled;
    }

    /// Says which of the SIDs of the source's domain is a user's.
    pub fn user_is(&mut self, user: DirUserIdx, rid: Rid) {
        let row = self.directory.users.at_mut(user);
        row.rid = rid.or(row.rid);
    }

    /// Says which of the SIDs of the source's domain is a group's.
    pub fn ref_is(&mut self, reference: RefIdx, rid: Rid) {
        let row = self.directory.refs.at_mut(reference);
        row.rid = rid.or(row.rid);
    }

    /// Likewise, what was known of it: that stands where nothing was read.
    pub(super) fn ref_known(&mut self, reference: RefIdx, rid: Rid) {
        let row = self.directory.refs.at_mut(reference);
        row.rid = row.rid.or(rid);
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
            if self.organizations.is_complete() {
                self.organizations = Completeness::Partial(full.to_string());
            }
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
            organizations: self.organizations.is_complete(),
        };
        let (directory, order) = canonical(self.directory);
        Snapshot {
            directory,
            users: self.users,
            unnamed: self.unnamed,
            groups: self.groups,
            roles: self.roles,
            untold_roles: self.untold_roles,
            organizations: self.organizations,
            members: self.members.select(&order),
            implies: self.implies.select(&order),
            diagnostics: self.diagnostics,
            from_file: self.from_file,
            nested_by_list: self.nested_by_list,
            cursor: self.cursor,
        }
    }
}

//! What a source knows, in one compact shape for every kind of source.
//!
//! A directory holds *users* and *refs*. A reference is whatever a rule can name: a group,
//! a realm role, a client role, an attribute value. Users are directly in refs
//! (`members`), and a reference can lead to others (`implies`): who is in the first is in the second
//! as well. That one relation says subgroup → parent group, group → its roles, composite role →
//! what it contains (Keycloak) and nested group → the group that lists it (LDAP). Cycles are
//! legal everywhere.
//!
//! A directory is canonical: users sorted by external id, refs by kind and key, members and
//! `implies` sorted and distinct. Two readings of the same facts are equal whatever their order.
//!
//! A group of one domain of Active Directory may list people and groups of another: by a *foreign security
//! principal*, a reference that leads to the group and has no members of its own. Whom it stands for says
//! its SID: the person or group of whatever source is that domain (`resolve`).
//!
//! ```text
//! Snapshot (a full read) ─┐
//! Delta (what changed)   ─┴─► Mirror (a source as it is known) ─► resolve
//!            the same, row by row: MirrorRows ─► Patch ─► store
//! ```

mod apply;
mod builder;
mod canonical;
mod delta;
mod difference;
mod digest;
pub mod dn;
mod interest;
pub mod local;
mod merge;
mod mirror;
mod organization;
mod part;
mod person;
mod rows;
mod several;
mod sid;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod value;

pub use apply::Refusal;
pub use builder::{NewRef, NewUser, SnapshotBuilder};
pub(crate) use canonical::canonical;
pub use delta::{
    Cursor, Delta, DeltaScope, ListChange, PersonDelta, RefDelta, RefId, Step, Touched,
};
pub use difference::{Difference, RowId};
pub use digest::{DigestKey, DirectoryDigest, MirrorDigest, OtherEncoding, Sum};
pub use interest::Interest;
pub use mirror::{Applied, Mirror};
pub use organization::{OrganizationInterest, organization_group, split_organization_group};
pub use part::PartRefs;
pub use person::{Named, Sighting, Within, find_ref, with_people};
pub use rows::{
    Head, Listed, MirrorRows, Patch, PersonEntry, PersonRow, RefEntry, Staying, without_row,
};
pub use sid::{AccountSid, DomainSid, OwnDomain, Rid};
pub use snapshot::{Completeness, ScopeReport, Snapshot, UntoldRoles};

use std::collections::{BTreeMap, BTreeSet};

pub use crate::model::Kind;
use crate::model::index::place;
use crate::model::{ExternalRef, IndexVec, RefKind, Text, Texts, TooMany};

place! {
    /// A user's place in [`Directory::users`].
    DirUserIdx(u32) of "users of a source"
}

place! {
    /// A reference's place in [`Directory::refs`].
    RefIdx(u32) of "groups, roles and attributes of a source"
}

/// The key of a client's role. `client/role` would be the same for two roles where a client's id or
/// a role's name holds a slash.
#[must_use]
pub fn client_role_key(client: &str, role: &str) -> String {
    format!("{}/{role}", client.replace('%', "%25").replace('/', "%2F"))
}

/// Whether an account is enabled. `Unknown` is for answers that are known to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Enabled {
    /// The source says so outright.
    Yes,
    /// The source says outright that it is disabled, locked or expired.
    No,
    /// The source said something that cannot be believed.
    Unknown,
}

/// A person in a source.
#[derive(Clone, Copy, Debug)]
pub struct DirUser {
    /// Stable external id. Distinct in a directory.
    pub ext: Text,
    /// Username as the source spells it.
    pub username: Text,
    /// Email address, or empty.
    pub email: Text,
    /// Whether the source vouches for the address.
    pub email_verified: bool,
    /// Whether the account is enabled.
    pub enabled: Enabled,
    /// Keycloak's federation link (the provider's id), or empty.
    pub federation: Text,
    /// Another source's account of the same name may be the same person. `false`: whoever bears
    /// that name elsewhere is somebody else.
    pub linkable: bool,
    /// Which of the SIDs of the directory's domain is the user's.
    pub rid: Rid,
}

/// Something that a rule can name.
#[derive(Clone, Copy, Debug)]
pub struct RefRow {
    /// What it is.
    pub kind: Kind,
    /// Stable external id; for roles, attributes and things without an id, its identity. Distinct
    /// among the refs of its kind.
    pub key: Text,
    /// Bare name: the group's own name, the role's name, the organization's alias, the attribute's value.
    pub name: Text,
    /// The whole identity for people: DN as the server spells it, Keycloak path, realm role name,
    /// `client/role`, organization's alias, `alias:/path` of its group, `name=value`.
    pub identity: Text,
    /// What identities are compared by: for LDAP the normalised DN; elsewhere the identity.
    pub norm: Text,
    /// Keycloak: the group right above, as a place in [`Directory::refs`]. Of a group of an organization
    /// that has none above it: the organization's top ([`SnapshotBuilder::organization_top`]).
    pub parent: Option<RefIdx>,
    /// Its direct members have been read in full at least once since somebody asked for them.
    /// Where not, who is not among them is unknown, not absent.
    pub known: bool,
    /// What it leads to has been read in full at least once. Where not, its members may be in
    /// anything of the source.
    pub implies_known: bool,
    /// Which of the SIDs of the directory's domain is a group's.
    pub rid: Rid,
}

/// Which lists of a source have been read in full at least once. Where one has not, what is not on
/// it is unknown, not absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Proven {
    /// The users.
    pub users: bool,
    /// The groups.
    pub groups: bool,
    /// The roles.
    pub roles: bool,
    /// The organizations of a Keycloak realm, though not their groups: whether those of one are all here says
    /// its top ([`Directory::knows_groups_of`]). Where it is not set nobody asked, or nobody knows: as in what
    /// was read by a program that did not read them.
    pub organizations: bool,
}

impl Proven {
    /// Everything.
    pub const ALL: Proven = Proven { users: true, groups: true, roles: true, organizations: true };

    /// Whether both groups and roles have been: whatever a rule can name, but for organizations, which are
    /// read where a rule names one, and attributes, which are there because rules name them.
    #[must_use]
    pub fn refs(self) -> bool {
        self.groups && self.roles
    }
}

/// The content of one source.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// The texts of everything here.
    pub texts: Texts,
    /// Sorted by external id.
    pub users: IndexVec<DirUserIdx, DirUser>,
    /// Sorted by kind, then key.
    pub refs: IndexVec<RefIdx, RefRow>,
    /// For each reference the users directly in it, sorted, distinct.
    pub members: IndexVec<RefIdx, Vec<DirUserIdx>>,
    /// For each reference those that its members are in as well: places in `refs`, sorted,
    /// distinct.
    pub implies: IndexVec<RefIdx, Vec<RefIdx>>,
    /// Names compare ignoring case and repeated spaces (LDAP).
    pub ignore_case: bool,
    /// The domain of Active Directory that the source is: for the SIDs of this domain it answers, and for
    /// no other's.
    pub domain: OwnDomain<Text>,
    /// Which of the lists above are all there, or were once and have been kept up since.
    pub proven: Proven,
}

impl Directory {
    /// The text of `text`.
    #[must_use]
    pub fn text(&self, text: Text) -> &str {
        self.texts.get(text)
    }

    /// The domain of Active Directory that the source is.
    #[must_use]
    pub fn own_domain(&self) -> OwnDomain<&str> {
        self.domain.map(|domain| self.text(domain))
    }

    /// What a row of this directory has that bears `sid`. [`Rid::Unread`] where that is of another domain:
    /// its number would be somebody else's here.
    #[must_use]
    pub fn rid_of(&self, sid: Option<&AccountSid>) -> Rid {
        let mine = |sid: &&AccountSid| self.own_domain() == OwnDomain::Of(sid.domain().as_str());
        sid.filter(mine).map_or(Rid::Unread, AccountSid::rid)
    }

    /// Whether the SID of everybody here was read, and of every group.
    #[must_use]
    pub fn tells_sids(&self) -> bool {
        let unread = |row: &RefRow| row.kind == Kind::Group && row.rid == Rid::Unread;
        !self.users.iter().any(|user| user.rid == Rid::Unread) && !self.refs.iter().any(unread)
    }

    /// The SID of a row of this directory, where it is known.
    #[must_use]
    pub fn sid_of(&self, rid: Rid) -> Option<AccountSid> {
        AccountSid::of_domain(self.own_domain().sid()?, rid)
    }

    /// The user with this external id, of a canonical directory.
    #[must_use]
    pub fn find_user(&self, ext: &str) -> Option<DirUserIdx> {
        self.users.find_by(|user| self.text(user.ext).cmp(ext))
    }

    /// Whether nothing but the username tells who a user is: that is what a file without ids has in an id's
    /// place.
    #[must_use]
    pub fn is_known_by_name(&self, user: &DirUser) -> bool {
        let (ext, username) = (self.text(user.ext), self.text(user.username));
        ext == username || ext == value::folded(username)
    }

    /// Whether anybody here has an id. Namesakes without one are told apart otherwise, which is none either.
    #[must_use]
    pub fn shows_ids(&self) -> bool {
        self.users.iter().any(|user| self.has_id(user))
    }

    /// Whether this knew somebody by an id whom `now` knows by the username alone.
    #[must_use]
    pub fn knew_by_id(&self, now: &Directory) -> bool {
        self.users.iter().any(|user| {
            let username = self.text(user.username);
            let by_name = |name: &str| now.find_user(name).is_some();
            (by_name(username) || by_name(&value::folded(username))) && self.has_id(user)
        })
    }

    fn has_id(&self, user: &DirUser) -> bool {
        let folded = |user: &DirUser| value::folded(self.text(user.username));
        let namesakes = || self.users.iter().filter(|other| folded(other) == folded(user));
        !self.is_known_by_name(user) && namesakes().nth(1).is_none()
    }

    /// The reference of this kind and key, of a canonical directory.
    #[must_use]
    pub fn find_ref(&self, kind: Kind, key: &str) -> Option<RefIdx> {
        self.refs.find_by(|row| (row.kind, self.text(row.key)).cmp(&(kind, key)))
    }

    /// The reference as a value of its own.
    #[must_use]
    pub fn external(&self, reference: RefIdx) -> ExternalRef {
        let row = self.refs.at(reference);
        ExternalRef::new(row.kind, self.text(row.key), self.text(row.identity))
    }

    /// Whether `it`, by its kind and id, is among the refs.
    #[must_use]
    pub fn has(&self, it: &ExternalRef) -> bool {
        match (it.kind, &it.id) {
            (RefKind::Directory(kind), Some(id)) => self.find_ref(kind, id).is_some(),
            (RefKind::Directory(_), None) | (RefKind::TokenClaim, _) => false,
        }
    }

    /// This directory as if nobody but the people with these external ids were in it: what it is built
    /// of stays.
    ///
    /// # Errors
    /// None that could be: they are no more than here.
    pub fn of_people(&self, people: &BTreeSet<&str>) -> Result<Directory, TooMany> {
        let mut users = IndexVec::default();
        let mut moved = BTreeMap::new();
        for (place, user) in self.users.numbered() {
            if people.contains(self.text(user.ext)) {
                moved.insert(place, users.push(*user)?);
            }
        }
        let left = |list: &Vec<DirUserIdx>| {
            list.iter().filter_map(|user| moved.get(user).copied()).collect::<Vec<_>>()
        };
        Ok(Directory {
            texts: self.texts.clone(),
            users,
            refs: self.refs.clone(),
            members: self.members.map(left),
            implies: self.implies.clone(),
            ignore_case: self.ignore_case,
            domain: self.domain,
            proven: self.proven,
        })
    }

    /// A group's names from the top, by following `parent`; of a group of an organization without the
    /// organization. Its own name alone for other things.
    #[must_use]
    pub fn path(&self, reference: RefIdx) -> Vec<&str> {
        let mut names = Vec::new();
        let mut next = Some(reference);
        for _ in 0..=self.refs.len() {
            // A cycle of parents cannot be built in Keycloak; a broken export must not hang us.
            let Some(row) = next.map(|index| self.refs.at(index)) else { break };
            names.push(self.text(row.name));
            next = row.parent;
        }
        // What is above an organization's groups has no name.
        names.pop_if(|name| name.is_empty());
        names.reverse();
        names
    }
}

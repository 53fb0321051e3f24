//! Organizations of a Keycloak realm and their groups, as references.
//!
//! ```text
//! Organization `acme`   its members: Keycloak's list of them
//!   top                 OrganizationGroup of the organization's id, without a name: known (`RefRow::known`) once
//!    ├─ `acme:/eng`     every group of the organization has been told. Nobody is in it, no rule names it
//!    │   └─ `acme:/eng/ml`   who is in it is in `acme:/eng` as well
//!    └─ `acme:/ops`
//! ```
//!
//! What is not read is told from what is not there in three places: [`Proven::organizations`] says that every
//! organization of the realm is here, the top of one that all its groups are, and `known` of an organization or
//! a group that everybody is who is in it.
//!
//! A disabled organization is here with nobody in it, nor in its groups: that is known, not unknown.

use super::{Directory, Kind, NewRef, RefIdx, RefRow, SnapshotBuilder};

/// What rules name of one organization. No rule can name more of organizations than is said so, so a reader
/// may leave out the rest.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct OrganizationInterest {
    /// Its alias; case counts.
    pub alias: String,
    /// A rule names the organization: its members are asked for.
    pub members: bool,
    /// A rule names a group of it: all its groups are asked for, and the members of those that
    /// [`Interest::reaches`](super::Interest::reaches), and of all below them.
    pub groups: bool,
}

/// The identity of a group of the organization `alias` whose names from the top are `names`: as Keycloak
/// writes a path, so a `/` in a name stands as it is.
#[must_use]
pub fn organization_group(alias: &str, names: &[&str]) -> String {
    format!("{alias}:/{}", names.join("/"))
}

/// The alias and the path of a group's identity `alias:/path`. No alias holds a `/`.
#[must_use]
pub fn split_organization_group(identity: &str) -> Option<(&str, &str)> {
    let (before, _) = identity.split_once('/')?;
    let alias = before.strip_suffix(':')?;
    Some((alias, identity.get(before.len()..)?))
}

impl SnapshotBuilder {
    /// Adds an organization, as [`SnapshotBuilder::reference`]. How much of the list of its members was read
    /// is for [`SnapshotBuilder::members_are`] to say.
    pub fn organization(&mut self, id: &str, alias: &str) -> Option<RefIdx> {
        self.reference(&NewRef {
            kind: Kind::Organization,
            key: id,
            name: alias,
            identity: alias,
            norm: alias,
        })
    }

    /// Adds what is above all groups of an organization, which is where their list was asked for. How much
    /// of that was read is for [`SnapshotBuilder::members_are`] to say of this.
    pub fn organization_top(&mut self, id: &str, alias: &str) -> Option<RefIdx> {
        let identity = organization_group(alias, &[]);
        self.reference(&NewRef {
            kind: Kind::OrganizationGroup,
            key: id,
            name: "",
            identity: &identity,
            norm: &identity,
        })
    }

    /// Adds a group of the organization `alias` whose names from the top are `names`, right below `above`:
    /// the organization's top, or a group.
    pub fn organization_group(
        &mut self,
        id: &str,
        alias: &str,
        names: &[&str],
        above: RefIdx,
    ) -> Option<RefIdx> {
        let identity = organization_group(alias, names);
        let group = self.reference(&NewRef {
            kind: Kind::OrganizationGroup,
            key: id,
            name: names.last().unwrap_or(&""),
            identity: &identity,
            norm: &identity,
        })?;
        self.child(above, group);
        Some(group)
    }
}

impl Directory {
    /// Whether all groups are here of the organization with this id.
    #[must_use]
    pub fn knows_groups_of(&self, organization: &str) -> bool {
        let top = self.find_ref(Kind::OrganizationGroup, organization);
        top.is_some_and(|top| self.refs.at(top).known)
    }

    /// What is above all groups of the organization that the group `row` is of.
    pub(super) fn top_of<'d>(&'d self, row: &'d RefRow) -> &'d RefRow {
        let mut at = row;
        // A cycle of parents must not hang us.
        for _ in 0..self.refs.len() {
            match at.parent {
                Some(above) => at = self.refs.at(above),
                None => break,
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_taken_apart_at_its_first_slash() {
        for (alias, names) in [
            ("acme", ["eng", "ml"].as_slice()),
            ("acme", &["a/b"]),
            ("a:b", &[":/c", "d"]),
            ("", &["x"]),
        ] {
            let identity = organization_group(alias, names);
            let path = format!("/{}", names.join("/"));
            assert_eq!(split_organization_group(&identity), Some((alias, path.as_str())));
        }
        for other in ["", "acme", "acme:", "acme/eng", "/eng", "a b/c:/d"] {
            assert_eq!(split_organization_group(other), None, "{other}");
        }
    }
}

//! What somebody wants to know of a source.

use super::{Kind, OrganizationInterest};

/// What rules can name, so that a reader can leave out what nobody asks for.
pub trait Interest: Send + Sync {
    /// Whether some rule can name this thing. `key` and `norm` are what
    /// [`RefRow`](crate::directory::RefRow) holds under
    /// those names, `path` holds a group's names from the top (its own name alone in LDAP, without the
    /// organization for a group of one).
    fn reaches(
        &self,
        kind: Kind,
        key: &str,
        name: &str,
        identity: &str,
        norm: &str,
        path: &[&str],
    ) -> bool;

    /// The attribute values that rules name, as (name, value): a reader makes a
    /// [`Kind::Attribute`] reference of each.
    fn attributes(&self) -> &[(String, String)];

    /// The organizations of which rules name something, by alias. Where there are none nobody asks: a reader
    /// need not know what organizations there are then, and says so
    /// ([`SnapshotBuilder::organizations_are`](super::SnapshotBuilder::organizations_are)).
    fn organizations(&self) -> &[OrganizationInterest] {
        &[]
    }
}

//! What somebody wants to know of a source.

use super::Kind;

/// What rules can name, so that a reader can leave out what nobody asks for.
pub trait Interest: Send + Sync {
    /// Whether some rule can name this thing. `key` and `norm` are what
    /// [`RefRow`](crate::directory::RefRow) holds under
    /// those names, `path` holds a group's names from the top (its own name alone in LDAP).
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
}

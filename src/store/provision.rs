//! What bears on one stranger.

use std::collections::BTreeMap;

use super::Meta;
use crate::directory::{Directory, Named, Sighting};
use crate::model::{State, Status, UserId};
use crate::plan::Held;

/// Who is asked about.
#[derive(Clone, Debug)]
pub struct ProvisionQuery<'a> {
    /// The name.
    pub who: &'a Named,
    /// The configured sources, by name.
    pub sources: Vec<&'a str>,
    /// External ids that the person is known by: source, id.
    pub exts: Vec<(&'a str, &'a str)>,
    /// Addresses that may be the person's, lower case: who of a mirror has one of them is looked
    /// at as well.
    pub emails: Vec<String>,
}

/// What the store holds about a stranger's surroundings: one committed state.
#[derive(Clone, Debug)]
pub struct ProvisionContext {
    /// The store in a few numbers.
    pub meta: Meta,
    /// What waits for a person.
    pub held: Option<Held>,
    /// Everybody who bears the name, or who is known by one of the ids or mirror rows. Nobody: a
    /// stranger indeed.
    pub known: Vec<Acquaintance>,
    /// Roles, sources, catalog and the next free number; no users, links and grants.
    pub state: State,
    /// The configured sources that have a mirror, by name.
    pub mirrors: BTreeMap<String, MirrorOutline>,
}

/// Somebody whom the store knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acquaintance {
    /// The store's number.
    pub user: UserId,
    /// What the gateway calls them.
    pub username: String,
    /// How they stand.
    pub status: Status,
    /// By which of the ids that were asked for they are known: source, id, and whether the source
    /// calls that account otherwise than the person is called.
    pub ids: Vec<(String, String, bool)>,
}

/// A mirror without its people, but for those who may be the one in question.
#[derive(Clone, Debug)]
pub struct MirrorOutline {
    /// Groups, roles, attribute values, and what they lead to; nobody is in them.
    pub directory: Directory,
    /// Those who bear the name, the id or one of the addresses.
    pub rows: Vec<Sighting>,
}

/// How far the mirrors had grown at some moment: whoever comes later can be told from whoever was
/// there.
#[derive(Clone, Debug, Default)]
pub struct Marks(pub(super) BTreeMap<String, u32>);

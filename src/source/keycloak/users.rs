//! Who exists, and who is enabled.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{RawMember, UserList, each, json};
use super::client::Client;
use super::fault::CallError;
use super::lies;
use crate::source::{Completeness, Enabled, NewUser, ReadingBuilder};

/// How often users are read before a mismatch is taken as lasting.
const TRIES: usize = 3;

/// The users as the server listed them.
pub(super) struct Listed {
    pub list: UserList,
    pub completeness: Completeness,
}

/// Who is in the reading, by builder number.
pub(super) struct People {
    /// The federation of each user; empty for none. Places are builder numbers.
    pub links: Vec<Box<str>>,
    /// One user's id, for a question about anybody.
    pub anybody: Option<String>,
    count: BTreeMap<Box<str>, usize>,
}

impl People {
    /// How many people a federation has.
    pub(super) fn of(&self, federation: &str) -> usize {
        self.count.get(federation).copied().unwrap_or(0)
    }
}

/// Reads all users, counted before and after, again where the counts differ.
///
/// One call without offsets: listing imports and purges people of a directory while it runs, and
/// pages would slip. Without a filter service accounts are left out; any filter brings them, even
/// `exact=false`, which filters nothing.
pub(super) async fn read(
    client: &Client,
    service_accounts: bool,
    import_off: &[String],
) -> Result<Listed, CallError> {
    let filter: &[(&str, &str)] = if service_accounts { &[("exact", "false")] } else { &[] };
    let mut query = vec![("briefRepresentation", "true"), ("max", "-1")];
    query.extend(filter);
    let count = || client.get(&["users", "count"], filter, |body| json::<u64>(body));
    let mut before = count().await?;
    let mut tries = 0;
    loop {
        tries += 1;
        let list = client.get(&["users"], &query, UserList::parse).await?;
        let after = count().await?;
        let completeness = lies::users(before, &list, after, import_off);
        let again = before != after || !completeness.is_complete() && import_off.is_empty();
        if !again || tries == TRIES {
            return Ok(Listed { list, completeness });
        }
        before = after;
    }
}

/// The federations that are down, told by their people: see [`lies::belied`]. Asks only where
/// someone of a federation is shown disabled.
pub(super) async fn belied(
    client: &Client,
    list: &UserList,
) -> Result<BTreeMap<String, Vec<usize>>, CallError> {
    // Nobody is disabled by the database as far as we know: who would then be belied?
    if lies::belied(list, &BTreeSet::new()).is_empty() {
        return Ok(BTreeMap::new());
    }
    let query = [("enabled", "false"), ("briefRepresentation", "true"), ("max", "-1")];
    let disabled = client.get(&["users"], &query, |body| {
        let mut ids = BTreeSet::new();
        each(body, |row: RawMember<'_>| {
            ids.insert(row.id.into_owned());
        })?;
        Ok(ids)
    });
    Ok(lies::belied(list, &disabled.await?))
}

/// Puts the users into the reading. Those who are belied are neither enabled nor disabled.
pub(super) fn fill(
    builder: &mut ReadingBuilder,
    list: &UserList,
    belied: &BTreeMap<String, Vec<usize>>,
) -> People {
    let unknown: BTreeSet<usize> = belied.values().flatten().copied().collect();
    let mut people = People { links: Vec::new(), anybody: None, count: BTreeMap::new() };
    people.links.reserve(list.rows.len());
    for (place, row) in list.rows.iter().enumerate() {
        let enabled = match row.enabled {
            true => Enabled::Yes,
            false if unknown.contains(&place) => Enabled::Unknown,
            false => Enabled::No,
        };
        let federation = list.text(row.federation);
        builder.user(&NewUser {
            ext: list.text(row.id),
            username: list.text(row.username),
            email: list.text(row.email),
            email_verified: row.email_verified,
            enabled,
            federation,
        });
        people.links.push(federation.into());
        if !federation.is_empty() {
            *people.count.entry(federation.into()).or_default() += 1;
        }
    }
    let anybody = list.rows.get(list.rows.len() / 2);
    people.anybody = anybody.map(|row| list.text(row.id).to_owned());
    people
}

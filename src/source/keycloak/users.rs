//! Who exists, and who is enabled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::api::{UserList, json};
use super::asker::Asker;
use super::client::Client;
use super::consistency;
use super::fault::{CallError, Fault};
use super::organizations;
use super::pages::{self, Paging, TRIES};
use super::read::{Attempt, ProgressReporter};
use crate::directory::{Completeness, Enabled, NewUser, SnapshotBuilder};

/// The users as the server listed them.
pub(super) struct Listed {
    pub list: UserList,
    pub completeness: Completeness,
}

/// Who is in the snapshot, by builder number.
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

/// Reads all users, counted before and after, again where the counts differ or pages slipped:
/// listing imports and purges people of a directory while it runs.
///
/// Without a filter service accounts are left out; any filter brings them, even `exact=false`,
/// which filters nothing.
pub(super) async fn read(
    client: &Client,
    paging: Paging,
    service_accounts: bool,
    import_off: &[String],
    progress: &ProgressReporter<'_>,
) -> Result<Listed, CallError> {
    let filter: &[(&str, &str)] = if service_accounts { &[("exact", "false")] } else { &[] };
    let count = || client.get(&["users", "count"], filter, |body| json::<u64>(body));
    let mut before = count().await?;
    let mut tries = 0;
    loop {
        tries += 1;
        let total = usize::try_from(before).ok();
        let told = |read| progress.tell("users", read, total);
        let (list, slipped) = list(client, paging, filter, &told).await?;
        let after = count().await?;
        let mut completeness = consistency::users(before, &list, after, import_off);
        if slipped && completeness.is_complete() {
            completeness = Completeness::Partial(SLIPPED.to_owned());
        }
        let again = before != after || !completeness.is_complete() && import_off.is_empty();
        if !again || tries == TRIES {
            return Ok(Listed { list, completeness });
        }
        before = after;
    }
}

const SLIPPED: &str = "people came or went whenever the pages of users were read";

/// Lists users once, and says whether pages slipped. `told` hears how many were read so far.
async fn list(
    client: &Client,
    paging: Paging,
    filter: &[(&str, &str)],
    told: &(dyn Fn(usize) + Sync),
) -> Result<(UserList, bool), CallError> {
    let read = &AtomicUsize::new(0);
    let pass = pages::read(paging, pages::SMALL, |span| {
        Box::pin(async move {
            let mut query = vec![("briefRepresentation", "true")];
            query.extend(span.query.iter().map(|(key, value)| (*key, value.as_str())));
            query.extend(filter);
            let page = client.get(&["users"], &query, UserList::page).await?;
            told(read.fetch_add(page.rows, Ordering::Relaxed) + page.rows);
            Ok(Attempt::Got(page))
        })
    });
    let mut whole = UserList::default();
    let mut slipped = true;
    if let Attempt::Got(pass) = pass.await? {
        slipped = pass.slipped;
        let mut pages = pass.pages.into_iter();
        whole = pages.next().unwrap_or_default();
        pages.try_for_each(|page| whole.extend(&page)).map_err(|full| CallError {
            call: "GET users".to_owned(),
            fault: Fault::TooMany(full),
        })?;
    }
    Ok((whole, slipped))
}

/// The federations that are down, told by their people: see [`consistency::belied`]. Asks only where
/// someone of a federation is shown disabled. `sees_organizations`: of those whom a disabled one manages it can be told
/// that they are locked out, whatever their directory does.
pub(super) async fn belied(
    asker: Asker<'_>,
    sees_organizations: bool,
    all: &UserList,
) -> Result<BTreeMap<String, Vec<usize>>, CallError> {
    let Asker { client, paging, .. } = asker;
    // Nobody is disabled by the database as far as we know: who would then be belied?
    if consistency::belied(all, &BTreeSet::new()).is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let (disabled, slipped) = list(client, paging, &[("enabled", "false")], &|_| {}).await?;
        if !slipped || tries == TRIES {
            let ids = disabled.rows.iter().map(|row| disabled.text(row.id).to_owned());
            let mut ids: BTreeSet<String> = ids.collect();
            // Someone who slipped through is taken for belied: that takes nothing away.
            let belied = consistency::belied(all, &ids);
            if belied.is_empty() || !sees_organizations {
                return Ok(belied);
            }
            ids.extend(organizations::locked_out(asker).await?);
            return Ok(consistency::belied(all, &ids));
        }
    }
}

/// Puts the users into the snapshot. Those who are belied are neither enabled nor disabled.
pub(super) fn fill(
    builder: &mut SnapshotBuilder,
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

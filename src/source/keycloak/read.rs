//! One whole read: what is asked, in which order, and what the answers come to together.
//!
//! 1. rights, federations and whether their directories answer
//! 2. roles and what they contain, groups and their roles: the graph; organizations and their groups
//! 3. users, counted before and after
//! 4. members and holders, only of what leads to something that a rule can name
//! 5. attributes that rules name
//! 6. what shows that empty lists were no lies, the directories once more, the rights once more
//!
//! Steps 1 to 3 must work, or there is no snapshot: without them nobody knows what a member list
//! means. A list of step 4 or 5 that cannot be read is one partial scope.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, try_join};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::asker::Asker;
use super::attributes;
use super::client::Client;
use super::config::KeycloakConfig;
use super::consistency::{self, Fed, Health};
use super::fault::CallError;
use super::federation::{self, Federation};
use super::graph;
use super::groups;
use super::members::{self, Lists};
use super::organizations;
use super::pages;
use super::rights;
use super::roles;
use super::users::{self, People};
use crate::directory::{Completeness, Interest, Snapshot, SnapshotBuilder};
use crate::source::{OnProgress, Progress, SourceError};

/// Scopes in a row that may fail before the server is taken for broken.
const PATIENCE: usize = 5;

/// What one scope's question brought.
#[derive(Debug)]
pub(super) enum Attempt<T> {
    /// An answer.
    Got(T),
    /// None that can be believed; for people.
    Unknown(String),
}

/// Bears a few failing scopes, not a server that fails at everything.
#[derive(Default)]
pub(super) struct FailureBudget(AtomicUsize);

impl FailureBudget {
    /// As [`Client::get`]; the error is one that ends the read.
    pub(super) async fn get<R: Send>(
        &self,
        client: &Client,
        path: &[&str],
        query: &[(&str, &str)],
        parse: impl Fn(&[u8]) -> serde_json::Result<R> + Send + Sync,
    ) -> Result<Attempt<R>, CallError> {
        self.judge(path, client.get(path, query, parse).await)
    }

    /// What an answer about `path` comes to; the error is one that ends the read.
    pub(super) fn judge<R>(
        &self,
        path: &[&str],
        answer: Result<R, CallError>,
    ) -> Result<Attempt<R>, CallError> {
        match answer {
            // Whoever may not see organizations may see everything else.
            Err(error) if path.first() == Some(&"organizations") && error.fault.is_forbidden() => {
                Ok(Attempt::Unknown(error.to_string()))
            }
            Ok(answer) => {
                self.0.store(0, Ordering::Relaxed);
                Ok(Attempt::Got(answer))
            }
            Err(error) if error.fault.ends_the_read() => Err(error),
            Err(error) if self.0.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE => Err(error),
            Err(error) => Ok(Attempt::Unknown(error.to_string())),
        }
    }
}

/// Makes the calls `0..count`, several at once (the client bounds how many reach the server), and
/// stops at the first that ends the read. The answers come in no order.
pub(super) async fn fan_out<'a, T: Send + 'a>(
    count: usize,
    call: impl Fn(usize) -> BoxFuture<'a, Result<Option<T>, CallError>> + Send,
) -> Result<Vec<T>, CallError> {
    let answers = stream::iter(0..count).map(call).buffer_unordered(8);
    let answers: Vec<Option<T>> = answers.try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

/// Tells how far the read has come.
pub(super) struct ProgressReporter<'a> {
    pub source: &'a str,
    pub progress: &'a OnProgress,
}

impl ProgressReporter<'_> {
    pub(super) fn tell(&self, what: &'static str, done: usize, total: Option<usize>) {
        let total = total.map(|total| total as u64);
        (self.progress)(Progress {
            source: self.source.to_owned(),
            what,
            done: done as u64,
            total,
        });
    }
}

/// Reads everything that `interest` can reach.
pub(super) async fn read(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
    progress: &ProgressReporter<'_>,
) -> Result<Snapshot, SourceError> {
    let whole = |error| client.source_error(error);
    let budget = FailureBudget::default();
    progress.tell("roles and groups", 0, None);

    let mut federations = federation::read(client).await.map_err(whole)?;
    for federation in &mut federations {
        federation.health = federation::probe(client, federation).await.map_err(whole)?;
    }
    let clients = roles::clients(client, &config.clients).await.map_err(whole)?;
    let rights = match &client.token().await.map_err(whole)?.rights {
        Some(rights) => rights.iter().cloned().collect(),
        // The token does not tell its rights; the service account's roles do.
        None => rights::check(client, &clients).await?,
    };
    let paging = pages::paging(client, &rights, &federations).await.map_err(whole)?;
    let asker = Asker { client, budget: &budget, paging };
    let mut sees = organizations::seen_with(&rights);
    if !sees && !interest.organizations().is_empty() {
        // The token may be older than the right.
        sees = organizations::seen_with(rights::check(client, &clients).await?);
    }
    progress.tell("users", 0, None);
    let import_off: Vec<String> =
        federations.iter().filter(|it| !it.imports).map(|it| it.name.clone()).collect();
    // The list of users is one long matter, roles and groups are many short ones: neither needs the
    // other, so they share the time.
    let structure = async {
        let roles = roles::read(client, &budget, clients, &config.clients).await?;
        let groups = groups::read(client, &roles).await?;
        let organizations = organizations::read(asker, interest, sees).await?;
        Ok((roles, groups, organizations))
    };
    let people = users::read(client, paging, config.service_accounts, &import_off, progress);
    let ((roles, groups, organizations), list) =
        try_join(structure, people).await.map_err(whole)?;
    let mut builder = SnapshotBuilder::new(false);
    let belied = users::belied(asker, sees, &list.list).await.map_err(whole)?;
    let people = users::fill(&mut builder, &list.list, &belied);
    progress.tell("users", people.links.len(), Some(people.links.len()));
    doubt_belied(&mut federations, &belied, sees);

    let graph = graph::build(&mut builder, &roles, &groups, interest);
    let of_organizations = organizations.build(&mut builder, interest);
    let mut lists = members::wanted(&graph, &roles, &groups, &of_organizations.lists);
    members::read(asker, &builder, &roles, &people, &mut lists, progress).await.map_err(whole)?;
    let attributes =
        attributes::read(asker, &builder, interest.attributes()).await.map_err(whole)?;
    members::doubt_empties(asker, &builder, &roles, &people, &mut lists).await.map_err(whole)?;

    probe_again(client, &mut federations, &lists, &people).await.map_err(whole)?;
    let rights = rights::check(client, &roles.clients).await?;
    if organizations.are.is_complete() && !organizations::seen_with(&rights) {
        let why = organizations::unseen(client);
        of_organizations.lost(&mut builder, &why);
        lists.lost(&why);
    }

    let users_are = users_are(list.completeness, &federations, &people);
    lists.fill(&mut builder, &federations, users_are.is_complete());
    attributes::fill(&mut builder, attributes, &federations);
    builder.users_are(users_are);
    builder.groups_are(partial(groups.doubt));
    roles.diagnostics.iter().for_each(|told| builder.tell(told.clone()));
    organizations.told(interest, &config.clients).into_iter().for_each(|told| builder.tell(told));
    builder.roles_are(partial(roles.doubt));
    Ok(builder.finish())
}

/// People who look disabled and are not in the list of the disabled: their directory does not answer. `sees`: none of
/// them is managed by a disabled organization.
fn doubt_belied(federations: &mut [Federation], belied: &BTreeMap<String, Vec<usize>>, sees: bool) {
    let or = match sees {
        true => "",
        false => {
            " (or a disabled organization manages them, which is seen with the right `view-organizations`)"
        }
    };
    for federation in federations {
        if let Some(places) = belied.get(&federation.id) {
            let reason = format!(
                "{} people of federation `{}` look disabled and are not in the list of the disabled: its directory does not answer Keycloak{or}",
                places.len(),
                federation.name
            );
            federation.health = federation.health.clone().and(Health::Down(reason));
        }
    }
}

/// What was true at the start must be true at the end: what lies in between is then as well, but for
/// an outage that came and went within the read, which is seen by the lists that it emptied.
async fn probe_again(
    client: &Client,
    federations: &mut [Federation],
    lists: &Lists,
    people: &People,
) -> Result<(), CallError> {
    for federation in federations {
        let now = federation::probe(client, federation).await?;
        federation.health = federation.health.clone().and(now);
        let fed = lists.fed_by(federation, people);
        if consistency::emptied(fed, people.of(&federation.id)) {
            federation.health =
                federation.health.clone().and(Health::Down(emptied(federation, fed)));
        }
    }
    Ok(())
}

/// Whether the list holds everybody: not where a directory behind it is down that has people here, or
/// whose people are never imported.
fn users_are(list: Completeness, federations: &[Federation], people: &People) -> Completeness {
    let is_missed = |it: &&Federation| people.of(&it.id) > 0 || !it.imports;
    let reason = federations.iter().filter(is_missed).find_map(|it| match &it.health {
        Health::Down(reason) => Some(reason.clone()),
        _ => None,
    });
    match (list, reason) {
        (Completeness::Complete, Some(reason)) => Completeness::Partial(reason),
        (list, _) => list,
    }
}

fn partial(doubt: Option<String>) -> Completeness {
    doubt.map_or(Completeness::Complete, Completeness::Partial)
}

fn emptied(federation: &Federation, fed: Fed) -> String {
    format!(
        "none of the {} groups that federation `{}` feeds lists any of its people: an outage looks like that",
        fed.asked, federation.name
    )
}

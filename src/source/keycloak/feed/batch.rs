//! What the hints of one poll come to: one delta, or the reason for a full read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use super::person::{self, Now};
use super::structure::{self, Difference, Structure};
use crate::directory::{Delta, Interest, Kind, ListChange, RefDelta, RefId};
use crate::source::SourceError;
use crate::source::feed::{MirrorView, NoAnswer, WhyFull};
use crate::source::keycloak::asker::{self, Asker};
use crate::source::keycloak::client::Client;
use crate::source::keycloak::config::KeycloakConfig;
use crate::source::keycloak::fault::{CallError, Fault};
use crate::source::keycloak::members::{self, ListOf, Table};
use crate::source::keycloak::organizations;
use crate::source::keycloak::read::{Attempt, FailureBudget};
use crate::source::keycloak::rights;

/// With more people than this a full read costs less.
pub(super) const PEOPLE: usize = 500;
/// With more lists of people than this that nobody asked for before, too.
const LISTS: usize = 50;
/// People asked about at the same time; the client bounds the calls.
const AT_ONCE: usize = 4;
/// The longest that one person may take: with a directory behind them that hangs, it is for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no delta now.
pub(super) enum Trouble {
    /// A call failed.
    Call(CallError),
    /// It is told already, with what to do.
    Told(SourceError),
    /// What came cannot be believed.
    Doubt(String),
    /// The mirror does not answer.
    Mirror(NoAnswer),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Trouble::Call(error)
    }
}

impl From<NoAnswer> for Trouble {
    fn from(error: NoAnswer) -> Self {
        Trouble::Mirror(error)
    }
}

impl From<structure::Trouble> for Trouble {
    fn from(trouble: structure::Trouble) -> Self {
        match trouble {
            structure::Trouble::Call(error) => Trouble::Call(error),
            structure::Trouble::Told(error) => Trouble::Told(error),
            structure::Trouble::Doubt(doubt) => Trouble::Doubt(doubt),
        }
    }
}

/// What is asked with.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub client: &'a Client,
    pub config: &'a KeycloakConfig,
    pub interest: &'a dyn Interest,
    pub mirror: &'a dyn MirrorView,
}

/// What one batch came to.
pub(super) enum Outcome {
    /// This.
    Read(Box<Batch>),
    /// A full read is needed.
    Full(WhyFull),
}

/// What was read.
pub(super) struct Batch {
    /// The difference to the mirror, without its step. Empty: none.
    pub delta: Delta,
    /// The structure, where it was read.
    pub structure: Option<Structure>,
    /// Who could not be read, and why.
    pub failed: BTreeMap<String, String>,
}

/// A person who was read.
struct Read {
    now: Now,
    /// What the mirror had them in when they were asked about. `None`: it did not have them.
    before: Option<Vec<RefId>>,
}

/// What is to be read.
pub(super) struct Wanted<'a> {
    /// The groups and roles as well.
    pub structure: bool,
    /// As they were last read.
    pub last: &'a Structure,
    /// That is what the mirror was told.
    pub told: bool,
    /// These people.
    pub people: BTreeSet<String>,
    /// Those of these usernames, who joined an organization.
    pub joined: BTreeSet<String>,
    /// These organizations, by id: whom they manage, and who is in them and their groups.
    pub organizations: BTreeSet<String>,
}

impl Reader<'_> {
    /// Reads what is wanted, groups and roles first: people are in them.
    pub(super) async fn batch(&self, wanted: Wanted<'_>) -> Result<Outcome, Trouble> {
        let structure = match wanted.structure {
            true => Some(structure::read(self.client, self.config, self.interest).await?),
            false => None,
        };
        let now = structure.as_ref().unwrap_or(wanted.last);
        let mut difference = match &structure {
            Some(read) => read.since(wanted.last, wanted.told, self.mirror)?,
            None => Difference::default(),
        };
        if now.organizations != wanted.last.organizations {
            return Ok(Outcome::Full(WhyFull::Other(
                "the right to see organizations was given or taken".to_owned(),
            )));
        }
        for organization in &wanted.organizations {
            let of_it = now.rows.iter().filter(|(_, row)| row.matters && row.is_of(organization));
            difference.unread.extend(of_it.map(|(id, _)| id.clone()));
        }
        if difference.unread.len() > LISTS {
            return Ok(Outcome::Full(WhyFull::Other(format!(
                "rules can now come to {} groups and roles whose people nobody asked for before",
                difference.unread.len()
            ))));
        }
        let lists = match self.lists(now, &difference).await? {
            Ok(lists) => lists,
            Err(why) => return Ok(Outcome::Full(why)),
        };
        let mut people = wanted.people;
        match self.of_organizations(now, &wanted.joined, &wanted.organizations).await? {
            Ok(more) => people.extend(more),
            Err(why) => return Ok(Outcome::Full(why)),
        }
        for ext in lists.values().flatten() {
            if !self.mirror.has_person(ext)? {
                people.insert(ext.clone());
            }
        }
        if people.len() > PEOPLE {
            return Ok(Outcome::Full(WhyFull::TooMuch(PEOPLE)));
        }
        let (read, failed) = self.people(now, &people).await?;
        let delta = self.delta(now, difference, lists, read)?;
        if takes(&delta) {
            // With a right gone, lists and people's roles are short without saying so.
            let rights = rights::check(self.client, &now.roles.clients).await;
            let rights = rights.map_err(Trouble::Told)?;
            if now.organizations && !organizations::seen_with(rights) {
                return Ok(Outcome::Full(WhyFull::Other(organizations::unseen(self.client))));
            }
        }
        Ok(Outcome::Read(Box::new(Batch { delta, structure, failed })))
    }

    /// The people of what is to be read, by reference.
    async fn lists(
        &self,
        structure: &Structure,
        difference: &Difference,
    ) -> Result<Result<BTreeMap<RefId, Vec<String>>, WhyFull>, Trouble> {
        let budget = FailureBudget::default();
        let asker = Asker { client: self.client, budget: &budget, paging: structure.paging };
        let in_pages = Asker { paging: structure.paging.in_pages(), ..asker };
        let mut lists = BTreeMap::new();
        for id in &difference.unread {
            let Some(row) = structure.rows.get(id) else { continue };
            if row.nobody {
                lists.insert(id.clone(), Vec::new());
                continue;
            }
            let (of, asker) = match id.kind {
                Kind::Group => (ListOf::Group, asker),
                Kind::Organization => (ListOf::Organization, in_pages),
                Kind::OrganizationGroup => (ListOf::OrganizationGroup, in_pages),
                Kind::RealmRole | Kind::ClientRole | Kind::Attribute | Kind::ForeignPrincipal => {
                    (ListOf::Role, asker)
                }
            };
            let live = structure.federations.iter().find(|it| match of {
                ListOf::Group => it.feeds_group(row.identity()),
                ListOf::Role => it.feeds_roles(),
                // Those are in Keycloak's database alone.
                ListOf::Organization | ListOf::OrganizationGroup => false,
            });
            if let Some(live) = live {
                return Ok(Err(WhyFull::Other(format!(
                    "the members of `{}`, which nobody asked for before, come from federation `{}`",
                    row.identity(),
                    live.name
                ))));
            }
            let path: Vec<&str> = row.people.iter().map(String::as_str).collect();
            let Some(table) = of.table() else {
                let list = believed(organizations::members_of(asker, &path).await?)?;
                lists.insert(id.clone(), list);
                continue;
            };
            let mut list = ids(asker, &path).await?;
            // A group that is new begins empty. A role that is new may be one that was renamed.
            if list.is_empty() && (of == ListOf::Role || self.mirror.has_ref(id)?) {
                list = ids(asker, &path).await?;
                if list.is_empty() && !self.readable(asker, table, structure).await? {
                    return Ok(Err(WhyFull::Other(format!(
                        "the list of the people of `{}` came empty, and nothing shows that the server's database can be read",
                        row.identity()
                    ))));
                }
            }
            lists.insert(id.clone(), list);
        }
        Ok(Ok(lists))
    }

    /// The ids of those who joined an organization, by username, and of those whom changed ones manage: they are
    /// enabled or disabled with it.
    async fn of_organizations(
        &self,
        structure: &Structure,
        joined: &BTreeSet<String>,
        changed: &BTreeSet<String>,
    ) -> Result<Result<BTreeSet<String>, WhyFull>, Trouble> {
        let budget = FailureBudget::default();
        let asker = Asker { client: self.client, budget: &budget, paging: structure.paging };
        let mut people = BTreeSet::new();
        for name in joined {
            let query = [("username", name.as_str()), ("exact", "true")];
            let query = [query[0], query[1], ("briefRepresentation", "true"), ("max", "1")];
            match self.client.get(&["users"], &query, asker::first_id).await? {
                Some(id) => people.insert(id),
                None => {
                    let why = "nobody bears the name of somebody who joined an organization";
                    return Ok(Err(WhyFull::Other(why.to_owned())));
                }
            };
        }
        for organization in changed {
            let why = match organizations::managed(asker, organization).await? {
                Attempt::Got(ids) if !ids.is_empty() => {
                    people.extend(ids);
                    continue;
                }
                Attempt::Got(_) if self.readable(asker, Table::Members, structure).await? => {
                    continue;
                }
                Attempt::Got(_) => "the list came empty, and nothing shows that it is".to_owned(),
                Attempt::Unknown(why) => why,
            };
            return Ok(Err(WhyFull::Other(format!(
                "an organization was changed, and nothing tells whom it manages: {why}"
            ))));
        }
        Ok(Ok(people))
    }

    async fn readable(
        &self,
        asker: Asker<'_>,
        table: Table,
        structure: &Structure,
    ) -> Result<bool, Trouble> {
        let one = [("briefRepresentation", "true"), ("max", "1")];
        let Some(anybody) = self.client.get(&["users"], &one, asker::first_id).await? else {
            return Ok(false);
        };
        Ok(members::readable(asker, table, &structure.roles, &anybody).await?)
    }

    /// Who these people are now, and who could not be read.
    async fn people(
        &self,
        structure: &Structure,
        people: &BTreeSet<String>,
    ) -> Result<(BTreeMap<String, Read>, BTreeMap<String, String>), Trouble> {
        let mut read = BTreeMap::new();
        let mut failed = BTreeMap::new();
        let mut ids = Vec::new();
        for id in people {
            ids.push((id.clone(), self.mirror.person_within(id)?));
        }
        let budget = FailureBudget::default();
        let asker = Asker { client: self.client, budget: &budget, paging: structure.paging };
        let calls = ids.into_iter().map(|(id, before)| self.person(asker, structure, id, before));
        let mut answers = stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(person) => {
                    read.insert(id, person);
                }
                Err(error) if error.fault.ends_the_read() => return Err(error.into()),
                Err(error) => {
                    failed.insert(id, error.to_string());
                }
            }
        }
        Ok((read, failed))
    }

    /// Whether rules name this attribute's value now: of another nobody looked.
    fn asks_for(&self, id: &RefId) -> bool {
        self.interest.attributes().iter().any(|(name, value)| {
            id.key.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('='))
                == Some(value)
        })
    }

    fn person<'a>(
        &'a self,
        asker: Asker<'a>,
        structure: &'a Structure,
        id: String,
        before: Option<Vec<RefId>>,
    ) -> BoxFuture<'a, (String, Result<Read, CallError>)> {
        Box::pin(async move {
            let ask = async {
                let federations = &structure.federations;
                let mut now = person::read(self.client, self.interest, federations, &id).await?;
                if let Now::Here(here) = &mut now {
                    let before = before.as_deref().unwrap_or_default();
                    person::confirm_leaving(asker, structure, here, before).await?;
                }
                Ok(Read { now, before })
            };
            let answer = tokio::time::timeout(PATIENCE, ask).await;
            let answer = answer.unwrap_or_else(|_| {
                let fault = Fault::Timeout(PATIENCE);
                Err(CallError { call: format!("GET users/{id}"), fault })
            });
            (id, answer)
        })
    }

    fn delta(
        &self,
        structure: &Structure,
        difference: Difference,
        lists: BTreeMap<RefId, Vec<String>>,
        people: BTreeMap<String, Read>,
    ) -> Result<Delta, NoAnswer> {
        let Difference { refs, gone, unread: _ } = difference;
        let mut refs: BTreeMap<RefId, RefDelta> =
            refs.into_iter().map(|delta| (delta.id.clone(), delta)).collect();
        let mut lists: BTreeMap<RefId, BTreeSet<String>> =
            lists.into_iter().map(|(id, list)| (id, list.into_iter().collect())).collect();
        let mut delta = Delta::default();
        let mut left_out = BTreeSet::new();
        for (ext, Read { now, before }) in people {
            let known = before.is_some();
            let before = before.unwrap_or_default();
            let here = match now {
                Now::Here(here) if !here.is_nobody(self.config.service_accounts, known) => here,
                // Whoever is gone is in no list either.
                Now::Gone if known => {
                    delta.gone_people.push(ext.clone());
                    left_out.insert(ext);
                    continue;
                }
                Now::Gone | Now::Here(_) => {
                    left_out.insert(ext);
                    continue;
                }
            };
            let counts = |id: &RefId| {
                // What the mirror knows the people of it has.
                match structure.matters(id) {
                    true => Ok(refs.contains_key(id) || self.mirror.has_ref(id)?),
                    false => self.mirror.knows_members(id),
                }
            };
            let (mut added, mut removed) = here.within(structure, &before, counts)?;
            removed.retain(|id| id.kind != Kind::Attribute || self.asks_for(id));
            // Of a list that was read as well, what was read of the person counts: it came later.
            for (id, list) in &mut lists {
                if here.is_in(id) {
                    list.insert(ext.clone());
                } else if removed.contains(id) || !before.contains(id) {
                    list.remove(&ext);
                }
            }
            added.retain(|id| !lists.contains_key(id));
            removed.retain(|id| !lists.contains_key(id));
            delta.people.push(here.delta(added, removed));
        }
        for (id, list) in lists {
            let known = |ext: &String| -> Result<bool, NoAnswer> {
                let told = || delta.people.iter().any(|person| person.ext == *ext);
                Ok(!left_out.contains(ext) && (self.mirror.has_person(ext)? || told()))
            };
            let mut members = Vec::new();
            for ext in list {
                if known(&ext)? {
                    members.push(ext);
                }
            }
            let entry = refs.entry(id.clone()).or_insert_with(|| RefDelta::new(id));
            entry.members = ListChange::Whole(members);
        }
        delta.refs = refs.into_values().collect();
        delta.gone_refs = gone;
        Ok(delta)
    }
}

async fn ids(asker: Asker<'_>, path: &[&str]) -> Result<Vec<String>, Trouble> {
    believed(asker::ids(asker, path, None).await?)
}

fn believed<T>(answer: Attempt<T>) -> Result<T, Trouble> {
    match answer {
        Attempt::Got(answer) => Ok(answer),
        Attempt::Unknown(reason) => Err(Trouble::Doubt(reason)),
    }
}

/// Whether a delta takes anything away.
fn takes(delta: &Delta) -> bool {
    let removes = |change: &ListChange<RefId>| match change {
        ListChange::Changed { removed, .. } => !removed.is_empty(),
        ListChange::Whole(_) => true,
        ListChange::Kept => false,
    };
    !delta.gone_people.is_empty()
        || !delta.gone_refs.is_empty()
        || !delta.refs.is_empty()
        || delta.people.iter().any(|person| removes(&person.within))
}

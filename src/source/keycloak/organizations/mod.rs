//! The realm's organizations: which there are, their groups, who is in them, and whom a disabled one keeps from
//! signing in.
//!
//! They are seen with one of the rights [`SEE`]. With less the server says `200 []`, counts none, or answers 403:
//! nothing is concluded then. Switched off in the realm, there is none, and that is known.
//!
//! The server has a count of organizations and of the members of each, so those lists are proved. Of groups it has
//! none: each says how many are right below it, and so does the hidden group above all of an organization.
//! An organization's groups hold roles, but nobody gets them: they are not read.

mod groups;
mod person;
mod unused;

pub(super) use person::{Memberships, is_no_member, of_person};

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::api::json;
use super::asker::{self, Asker};
use super::client::Client;
use super::fault::{CallError, Fault, management_client};
use super::members::{ListOf, Wanted};
use super::pages::TRIES;
use super::read::{Attempt, fan_out};
use crate::directory::{
    Completeness, Interest, Kind, OrganizationInterest, RefId, RefIdx, SnapshotBuilder,
    organization_group,
};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use groups::OrganizationGroup;
pub(in crate::source) use unused::{names_a_role, roles_unused};

/// The rights that show organizations: each is enough.
const SEE: [&str; 3] = ["view-organizations", "manage-organizations", "manage-realm"];

/// Whether an account with these rights sees them.
pub(super) fn seen_with<S: AsRef<str>>(rights: impl IntoIterator<Item = S>) -> bool {
    rights.into_iter().any(|right| SEE.contains(&right.as_ref()))
}

/// What to say where the account may not see them and a rule names one.
pub(super) fn unseen(client: &Client) -> String {
    format!(
        "the service account of client `{}` may not see organizations, and rules name some: grant it the role `view-organizations` of client `{}`",
        client.client_id(),
        management_client(client.realm())
    )
}

/// An organization.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct Organization {
    pub id: String,
    /// What it is called for good: its name may change, this cannot.
    pub alias: String,
    /// Of a disabled one nobody is a member, as far as tokens go.
    pub enabled: bool,
}

/// What there is of organizations.
#[derive(Debug)]
pub(super) struct Organizations {
    /// All of them, with their groups where rules name one.
    pub rows: Vec<(Organization, Option<Attempt<Vec<OrganizationGroup>>>)>,
    /// Whether these are all.
    pub are: Completeness,
    /// They are switched off in the realm, so that there is none.
    off: bool,
}

/// Whether the realm says that it has none, since they are switched off.
fn are_off(fault: &Fault) -> bool {
    let off = |body: &str| body.contains("Organizations not enabled for this realm");
    matches!(fault, Fault::Status { status: 404, body, .. } if off(body))
}

/// Asks for all, counted before and after; none where they are switched off. Those who ask must be allowed to see
/// them.
///
/// # Errors
/// One that ends the read.
async fn list(asker: Asker<'_>) -> Result<Attempt<Option<Vec<Organization>>>, CallError> {
    let Asker { client, budget, .. } = asker;
    let path = ["organizations", "count"];
    let count = |body: &[u8]| json::<usize>(body);
    let rows = |body: &[u8]| json::<Vec<Organization>>(body);
    let mut tries = 0;
    loop {
        tries += 1;
        let before = match client.get(&path, &[], count).await {
            Err(error) if are_off(&error.fault) => return Ok(Attempt::Got(None)),
            before => budget.judge(&path, before)?,
        };
        let query = [("briefRepresentation", "true"), ("max", "-1")];
        let list = budget.get(client, &path[..1], &query, rows).await?;
        let after = budget.get(client, &path, &[], count).await?;
        let (before, list, after) = match (before, list, after) {
            (Attempt::Got(before), Attempt::Got(list), Attempt::Got(after)) => {
                (before, list, after)
            }
            (Attempt::Unknown(why), ..)
            | (_, Attempt::Unknown(why), _)
            | (.., Attempt::Unknown(why)) => return Ok(Attempt::Unknown(why)),
        };
        let distinct: BTreeSet<&str> = list.iter().map(|row| row.id.as_str()).collect();
        if distinct.len() == list.len() && list.len() == before && before == after {
            return Ok(Attempt::Got(Some(list)));
        }
        if tries == TRIES {
            return Ok(Attempt::Unknown(format!(
                "{before} organizations were counted, {} listed, then {after} counted",
                distinct.len()
            )));
        }
    }
}

/// Reads the organizations and, of those of which rules name a group, the groups; nothing where no rule names any.
///
/// # Errors
/// One that ends the read.
pub(super) async fn read(
    asker: Asker<'_>,
    interest: &dyn Interest,
    sees: bool,
) -> Result<Organizations, CallError> {
    let none = |are| Organizations { rows: Vec::new(), are, off: false };
    let asked = interest.organizations();
    if asked.is_empty() {
        return Ok(none(Completeness::NotAsked));
    }
    if !sees {
        return Ok(none(Completeness::Partial(unseen(asker.client))));
    }
    let list = match list(asker).await? {
        Attempt::Got(Some(list)) => list,
        Attempt::Got(None) => {
            return Ok(Organizations { off: true, ..none(Completeness::Complete) });
        }
        Attempt::Unknown(why) => return Ok(none(Completeness::Partial(why))),
    };
    let of = |alias: &str| wanted_of(asked, alias).is_some_and(|it| it.groups);
    let open: Vec<usize> =
        (0..list.len()).filter(|place| list.get(*place).is_some_and(|it| of(&it.alias))).collect();
    let (rows, open) = (&list, &open);
    let groups = fan_out(open.len(), |n| {
        Box::pin(async move {
            let Some((place, it)) = open.get(n).and_then(|place| Some((*place, rows.get(*place)?)))
            else {
                return Ok(None);
            };
            Ok(Some((place, groups::read(asker, it).await?)))
        })
    });
    let mut groups: BTreeMap<usize, Attempt<Vec<OrganizationGroup>>> =
        groups.await?.into_iter().collect();
    let rows = list.into_iter().enumerate().map(|(place, it)| (it, groups.remove(&place)));
    Ok(Organizations { rows: rows.collect(), ..none(Completeness::Complete) })
}

fn wanted_of<'i>(
    asked: &'i [OrganizationInterest],
    alias: &str,
) -> Option<&'i OrganizationInterest> {
    asked.iter().find(|it| it.alias == alias)
}

/// What was read as references, and whose lists there are.
pub(super) struct References {
    /// The lists of the people in each.
    pub lists: Vec<Wanted>,
    /// The tops of the organizations whose groups were asked for.
    tops: Vec<RefIdx>,
}

impl Organizations {
    /// Puts them into the snapshot.
    pub(super) fn build(
        &self,
        builder: &mut SnapshotBuilder,
        interest: &dyn Interest,
    ) -> References {
        builder.organizations_are(self.are.clone());
        let mut references = References { lists: Vec::new(), tops: Vec::new() };
        for (it, groups) in &self.rows {
            let asked = wanted_of(interest.organizations(), &it.alias);
            if let Some(reference) = builder.organization(&it.id, &it.alias) {
                references.lists.push(Wanted {
                    reference,
                    path: ["organizations", &it.id, "members"].map(str::to_owned).to_vec(),
                    of: ListOf::Organization,
                    identity: it.alias.clone(),
                    matters: asked.is_some_and(|asked| asked.members),
                    nobody: !it.enabled,
                });
            }
            let Some(groups) = groups else { continue };
            let Some(top) = builder.organization_top(&it.id, &it.alias) else { continue };
            references.tops.push(top);
            match groups {
                Attempt::Got(groups) => references.groups(builder, interest, (it, top), groups),
                Attempt::Unknown(why) => {
                    builder.members_are(top, Completeness::Partial(why.clone()));
                }
            }
        }
        references
    }
}

impl References {
    fn groups(
        &mut self,
        builder: &mut SnapshotBuilder,
        interest: &dyn Interest,
        (of, top): (&Organization, RefIdx),
        groups: &[OrganizationGroup],
    ) {
        // From the top down: whoever is in a group is in those above as well.
        let mut placed: Vec<(Option<RefIdx>, bool)> = Vec::with_capacity(groups.len());
        for group in groups {
            let names: Vec<&str> = group.path.iter().map(String::as_str).collect();
            let identity = organization_group(&of.alias, &names);
            let name = names.last().copied().unwrap_or_default();
            let kind = Kind::OrganizationGroup;
            let above = group.parent.and_then(|parent| placed.get(parent)).copied();
            let reached = interest.reaches(kind, &group.id, name, &identity, &identity, &names);
            let (above, matters) = match above {
                Some((above, matters)) => (above, matters || reached),
                None => (Some(top), reached),
            };
            let reference = above
                .and_then(|above| builder.organization_group(&group.id, &of.alias, &names, above));
            placed.push((reference, matters));
            let Some(reference) = reference else { continue };
            let path = ["organizations", &of.id, "groups", &group.id, "members"];
            self.lists.push(Wanted {
                reference,
                path: path.map(str::to_owned).to_vec(),
                of: ListOf::OrganizationGroup,
                identity,
                matters,
                nobody: !of.enabled,
            });
        }
    }

    /// Nothing of them is known after all: the right that shows them was lost while they were read.
    pub(super) fn lost(&self, builder: &mut SnapshotBuilder, why: &str) {
        let partial = || Completeness::Partial(why.to_owned());
        builder.organizations_are(partial());
        self.tops.iter().for_each(|top| builder.members_are(*top, partial()));
    }
}

/// The ids of the people whom a disabled organization manages: they cannot sign in, and are shown disabled in every
/// list, but not in that of the disabled. Nobody where that cannot be told.
///
/// # Errors
/// One that ends the read.
pub(super) async fn locked_out(asker: Asker<'_>) -> Result<BTreeSet<String>, CallError> {
    let mut people = BTreeSet::new();
    let Attempt::Got(Some(all)) = list(asker).await? else { return Ok(people) };
    for organization in all.iter().filter(|it| !it.enabled) {
        if let Attempt::Got(ids) = managed(asker, &organization.id).await? {
            people.extend(ids);
        }
    }
    Ok(people)
}

/// The ids of the people whom an organization manages, as they are listed.
///
/// # Errors
/// One that ends the read.
pub(super) async fn managed(
    asker: Asker<'_>,
    organization: &str,
) -> Result<Attempt<Vec<String>>, CallError> {
    // Never in one answer: this list is dearer than any other.
    let asker = Asker { paging: asker.paging.in_pages(), ..asker };
    let path = ["organizations", organization, "members"];
    asker::ids(asker, &path, Some(("membershipType", "MANAGED"))).await
}

/// The ids of the people whom `path` lists, the members of an organization: counted before and after.
///
/// # Errors
/// One that ends the read.
pub(super) async fn members_of(
    asker: Asker<'_>,
    path: &[&str],
) -> Result<Attempt<Vec<String>>, CallError> {
    let Asker { client, budget, .. } = asker;
    let counted: Vec<&str> = path.iter().copied().chain(["count"]).collect();
    let count = || budget.get(client, &counted, &[], |body| json::<usize>(body));
    let mut tries = 0;
    loop {
        tries += 1;
        let before = count().await?;
        let ids = asker::ids(asker, path, None).await?;
        let after = count().await?;
        let (before, ids, after) = match (before, ids, after) {
            (Attempt::Got(before), Attempt::Got(ids), Attempt::Got(after)) => (before, ids, after),
            (Attempt::Unknown(why), ..)
            | (_, Attempt::Unknown(why), _)
            | (.., Attempt::Unknown(why)) => return Ok(Attempt::Unknown(why)),
        };
        if before == ids.len() && before == after {
            return Ok(Attempt::Got(ids));
        }
        if tries == TRIES {
            let listed = ids.len();
            return Ok(Attempt::Unknown(format!(
                "{before} were counted, {listed} listed, then {after} counted"
            )));
        }
    }
}

/// What the mirror knows by this list of an organization.
pub(super) fn id_of(list: &Wanted) -> Option<RefId> {
    let path: Vec<&str> = list.path.iter().map(String::as_str).collect();
    let (kind, key) = match path.as_slice() {
        ["organizations", id, "members"] => (Kind::Organization, id),
        ["organizations", _, "groups", id, "members"] => (Kind::OrganizationGroup, id),
        _ => return None,
    };
    Some(RefId { kind, key: (*key).to_owned() })
}

impl Organizations {
    /// Why they or their groups may not be all.
    pub(super) fn doubt(&self) -> Option<&str> {
        let unknown = self.rows.iter().find_map(|(_, groups)| match groups {
            Some(Attempt::Unknown(why)) => Some(why),
            _ => None,
        });
        match &self.are {
            Completeness::Partial(why) => Some(why),
            Completeness::Complete | Completeness::NotAsked => unknown.map(String::as_str),
        }
    }

    /// The ids of the organizations whose groups were asked for.
    pub(super) fn tops(&self) -> impl Iterator<Item = &str> {
        let asked = self.rows.iter().filter(|(_, groups)| groups.is_some());
        asked.map(|(it, _)| it.id.as_str())
    }
}

impl Organizations {
    /// What people should hear of them. `counted` are the clients whose roles count.
    pub(super) fn told(&self, interest: &dyn Interest, counted: &[String]) -> Option<Diagnostic> {
        if self.off {
            let message = "organizations are off in the realm (`organizationsEnabled`), and rules name some: there is none";
            let subject = Subject::scope("organizations");
            return Some(Diagnostic::warning(
                DiagnosticCode::OrganizationsOff,
                subject,
                message.to_owned(),
            ));
        }
        let mut with_roles: Vec<String> = Vec::new();
        for (of, groups) in &self.rows {
            let Some(Attempt::Got(groups)) = groups else { continue };
            for group in groups.iter().filter(|group| has_role(group, interest, counted)) {
                let names: Vec<&str> = group.path.iter().map(String::as_str).collect();
                with_roles.push(organization_group(&of.alias, &names));
            }
        }
        roles_unused(with_roles)
    }
}

/// Whether a role that a rule can name is mapped to a group.
fn has_role(group: &OrganizationGroup, interest: &dyn Interest, counted: &[String]) -> bool {
    names_a_role(group.realm_roles.iter(), group.client_roles.iter(), interest, counted)
}

//! One person, read again, and how that differs from what the mirror has.
//!
//! Read by the code of a look-up. A look-up can only add; what is read here can take away, so what
//! could be a lie is kept apart:
//!
//! - someone who is in fewer organizations than before is asked for in each of the others, and has left one
//!   only where the server says so outright;
//! - someone is gone only where the server says so outright (404 `User not found`);
//! - someone of a federation whose directory does not answer afterwards is read again later; where nobody
//!   can tell whether it answers, nothing is taken away and nothing said of their being enabled; what a
//!   directory feeds live is left to full reads even where it answers;
//! - someone of a federation who looks disabled is looked at twice;
//! - an attribute that the server does not show is looked for by a count, as hidden ones are.

use std::collections::BTreeSet;

use futures_util::future::try_join;

use super::structure::Structure;
use crate::directory::{Enabled, Interest, Kind, ListChange, PersonDelta, RefId, Rid, Sighting};
use crate::source::feed::NoAnswer;
use crate::source::keycloak::api::json;
use crate::source::keycloak::asker::Asker;
use crate::source::keycloak::attributes;
use crate::source::keycloak::claims;
use crate::source::keycloak::client::Client;
use crate::source::keycloak::consistency::Health;
use crate::source::keycloak::fault::{CallError, Fault};
use crate::source::keycloak::federation::{self, Federation};
use crate::source::keycloak::lookup::{self, User};
use crate::source::keycloak::members::{self, Table};
use crate::source::keycloak::organizations;

/// What became of somebody.
#[derive(Debug)]
pub(super) enum Now {
    /// The server says that there is nobody of that id.
    Gone,
    /// This is who they are.
    Here(Box<Here>),
}

/// Somebody who is there.
#[derive(Debug)]
pub(super) struct Here {
    /// As they are shown.
    pub seen: Sighting,
    /// Of what they are in, what cannot be told: it is neither given nor taken.
    pub untold: BTreeSet<RefId>,
    /// Nothing is to be taken from them: nobody can tell whether their directory answers.
    pub only_adds: bool,
    /// The ids of their organizations, the disabled ones too. None: the account may not see them, or no rule
    /// names one.
    pub member_of: Option<BTreeSet<String>>,
}

/// Reads the person with this id again.
pub(super) async fn read(
    client: &Client,
    interest: &dyn Interest,
    federations: &[Federation],
    id: &str,
) -> Result<Now, CallError> {
    let Some(person) = lookup::person(client, interest, id).await? else { return Ok(Now::Gone) };
    if person.user.id != id {
        let fault = Fault::Broken("the server shows somebody else under that id".to_owned());
        return Err(CallError { call: format!("GET users/{id}"), fault });
    }
    let attributes = interest.attributes();
    let (enabled, untold) =
        try_join(lookup::enabled(client, &person.user), hidden(client, attributes, &person.user))
            .await?;
    let only_adds = match person.user.federation() {
        None => false,
        // The directory answered after the answer about the person, or nothing is believed.
        Some(link) => match federations.iter().find(|it| it.id == link) {
            Some(it) => match federation::probe(client, it).await? {
                Health::Answers => false,
                // No directory that could be asked.
                Health::Untold => true,
                // What was taken from the person meanwhile must not be forgotten: once it answers.
                Health::Down(why) => return Err(away(id, &it.name, &why)),
            },
            None => true,
        },
    };
    let enabled = match enabled {
        _ if only_adds => Enabled::Unknown,
        // A directory that was away for a moment makes somebody look disabled, and answers the probe.
        Enabled::No if person.user.federation().is_some() => {
            match lookup::person(client, interest, id).await? {
                Some(again) if again.user.enabled => Enabled::Yes,
                _ => Enabled::No,
            }
        }
        enabled => enabled,
    };
    let member_of = person
        .organizations
        .as_ref()
        .map(|it| it.organizations.iter().map(|organization| organization.id.clone()).collect());
    let seen = person.seen(enabled, attributes);
    Ok(Now::Here(Box::new(Here { seen, untold, only_adds, member_of })))
}

/// A person whose directory does not answer Keycloak.
fn away(id: &str, federation: &str, why: &str) -> CallError {
    let fault = Fault::Broken(format!("the directory of federation `{federation}` is away: {why}"));
    CallError { call: format!("GET users/{id}"), fault }
}

/// The attribute values that somebody has and the server does not show: a realm's user profile hides
/// what it does not declare.
async fn hidden(
    client: &Client,
    attributes: &[(String, String)],
    user: &User,
) -> Result<BTreeSet<RefId>, CallError> {
    let mut hidden = BTreeSet::new();
    for (name, value) in attributes {
        if user.attribute(name).is_some() {
            continue;
        }
        let has = match attributes::query(name, value) {
            // The search cannot express it.
            None => true,
            Some(q) => {
                let query = [("q", q.as_str()), ("username", &user.username), ("exact", "true")];
                let count = |body: &[u8]| json::<u64>(body);
                client.get(&["users", "count"], &query, count).await? > 0
            }
        };
        if has {
            hidden.insert(RefId { kind: Kind::Attribute, key: format!("{name}={value}") });
        }
    }
    Ok(hidden)
}

/// Makes sure that somebody is in fewer organizations, or in fewer groups of them, than `before`: a failing
/// statement gives `200 []` for both.
pub(super) async fn confirm_leaving(
    asker: Asker<'_>,
    structure: &Structure,
    here: &mut Here,
    before: &[RefId],
) -> Result<(), CallError> {
    let Some(member_of) = &here.member_of else { return Ok(()) };
    let id = here.seen.ext.as_str();
    let lost = |it: &&RefId| it.kind == Kind::Organization && !member_of.contains(&it.key);
    for organization in before.iter().filter(lost) {
        let path = ["organizations", organization.key.as_str(), "members", id];
        match asker.client.once(&path).await {
            Err(error) if organizations::is_no_member(&error) => {}
            Err(error) if error.fault.is_forbidden() => {
                here.member_of = None;
                return Ok(());
            }
            Err(error) => return Err(error),
            Ok(()) => {
                return Err(broken(id, "one answer shows an organization that another hides"));
            }
        }
    }
    let is_group = |it: &&RefId| it.kind == Kind::OrganizationGroup && !here.is_in(it);
    if before.iter().any(|it| is_group(&it))
        && !members::readable(asker, Table::Members, &structure.roles, id).await?
    {
        return Err(broken(id, "nothing shows that the server's database can be read"));
    }
    Ok(())
}

fn broken(id: &str, why: &str) -> CallError {
    CallError { call: format!("GET users/{id}"), fault: Fault::Broken(why.to_owned()) }
}

impl Here {
    /// The account of a client, which is nobody unless the configuration says otherwise or the mirror
    /// has it.
    pub(super) fn is_nobody(&self, accounts: bool, known: bool) -> bool {
        !accounts && !known && claims::is_service_account(&self.seen.username)
    }

    /// What they are directly in and were not before, and what they are no longer in. `counts`: whether
    /// the mirror has it, or will, and goes on knowing who is in it.
    pub(super) fn within(
        &self,
        structure: &Structure,
        before: &[RefId],
        counts: impl Fn(&RefId) -> Result<bool, NoAnswer>,
    ) -> Result<(Vec<RefId>, Vec<RefId>), NoAnswer> {
        let within = self.seen.within.iter();
        let now: BTreeSet<RefId> =
            within.map(|it| RefId { kind: it.kind, key: it.key.clone() }).collect();
        let mut added = Vec::new();
        for id in now.iter().filter(|id| !before.contains(id)) {
            if counts(id)? {
                added.push(id.clone());
            }
        }
        let link = Some(self.seen.federation.as_str()).filter(|link| !link.is_empty());
        let federation =
            link.and_then(|link| structure.federations.iter().find(|it| it.id == link));
        let kept = |id: &RefId| {
            let of_organizations = matches!(id.kind, Kind::Organization | Kind::OrganizationGroup);
            let live = federation.is_some_and(|it| match structure.rows.get(id) {
                // Those are in Keycloak's database alone.
                _ if of_organizations => false,
                Some(row) if id.kind == Kind::Group => it.feeds_group(row.identity()),
                Some(_) => it.feeds_roles(),
                None => false,
            });
            let unseen = of_organizations && self.member_of.is_none();
            self.only_adds || live || unseen || self.untold.contains(id)
        };
        let removed = before.iter().filter(|id| !now.contains(*id) && !kept(id)).cloned().collect();
        Ok((added, removed))
    }

    /// Whether they are directly in it.
    pub(super) fn is_in(&self, id: &RefId) -> bool {
        self.seen.within.iter().any(|it| it.kind == id.kind && it.key == id.key)
    }

    /// As a change of the mirror.
    pub(super) fn delta(self, added: Vec<RefId>, removed: Vec<RefId>) -> PersonDelta {
        let seen = self.seen;
        PersonDelta {
            ext: seen.ext,
            username: Some(seen.username),
            email: Some(seen.email),
            email_verified: Some(seen.email_verified),
            enabled: Some(seen.enabled),
            federation: Some(seen.federation),
            linkable: Some(true),
            rid: Rid::Unread,
            within: ListChange::Changed { added, removed },
        }
    }
}

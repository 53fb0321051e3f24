//! One person, asked for by id or by name.
//!
//! By id everything is asked at the same time; by name the id comes first. What is asked is what
//! the person is *directly* in: the groups, the role mappings, the attributes that rules name, and, where
//! rules name any, the organizations and their groups.
//!
//! The lies of the full read (`lies`) are watched for here too. An empty list of users is what a
//! failing statement gives, so "nobody" is believed only from a count, which fails instead, or
//! from the one 404 that says so. Someone of a federation is believed while its directory answers
//! Keycloak.

use futures_util::future::{join, try_join, try_join3};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::api::{Component, json, provider_of};
use super::claims;
use super::client::Client;
use super::config::KeycloakConfig;
use super::consistency::Health;
use super::fault::{CallError, Fault};
use super::federation;
use super::organizations::{self, Memberships};
use crate::directory::{Enabled, Interest, Kind, Named, Sighting, Within, client_role_key};
use crate::model::username::UsernameFrom;
use crate::source::{Looked, SourceError, Who};

/// A user in full.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub id: String,
    pub username: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<bool>,
    pub enabled: bool,
    #[serde(default)]
    federation_link: Option<String>,
    #[serde(default)]
    attributes: Option<BTreeMap<String, Vec<String>>>,
}

impl User {
    fn email(&self) -> &str {
        self.email.as_deref().unwrap_or_default()
    }

    /// The values of an attribute; none where the server shows none of that name.
    pub(super) fn attribute(&self, name: &str) -> Option<&[String]> {
        self.attributes.as_ref()?.get(name).map(Vec::as_slice)
    }

    /// The federation's id, where there is one.
    pub(super) fn federation(&self) -> Option<&str> {
        self.federation_link.as_deref().or_else(|| provider_of(&self.id))
    }
}

/// A group that somebody is in.
#[derive(Deserialize, Debug)]
struct GroupOf {
    id: String,
    name: String,
}

/// `role-mappings`; what is empty is not there.
#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
struct Mappings {
    realm_mappings: Vec<RoleOf>,
    client_mappings: BTreeMap<String, OfClient>,
}

#[derive(Deserialize, Debug)]
struct OfClient {
    client: String,
    #[serde(default)]
    mappings: Vec<RoleOf>,
}

#[derive(Deserialize, Debug)]
struct RoleOf {
    name: String,
}

/// Asks about `who`.
pub(super) async fn lookup(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
    who: &Who,
) -> Result<Looked, SourceError> {
    ask(client, config, interest, who).await.map_err(|error| client.source_error(error))
}

async fn ask(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
    who: &Who,
) -> Result<Looked, CallError> {
    match who {
        // URL libraries take these for directions, and nobody has such an id.
        Who::Id(id) if id.is_empty() || id == "." || id == ".." => Ok(Looked::Nobody),
        Who::Id(id) => {
            let Some(person) = person(client, interest, id).await? else {
                return Ok(Looked::Nobody);
            };
            if person.user.id != *id || left_out(config, &person.user) {
                return Ok(Looked::Nobody);
            }
            person.sees_organizations(client, interest)?;
            let enabled = enabled(client, &person.user).await?;
            Ok(Looked::Found(Box::new(person.seen(enabled, interest.attributes()))))
        }
        Who::Named(who) => {
            let Some(user) = by_name(client, config, who).await? else { return Ok(Looked::Nobody) };
            let Ok(user) = user else { return Ok(Looked::Several) };
            let rest = try_join3(
                groups(client, &user.id),
                mappings(client, &user.id),
                enabled(client, &user),
            );
            let of_organizations = organizations::of_person(client, interest, &user.id);
            let (rest, organizations) = join(rest, of_organizations).await;
            let (groups, mappings, enabled) = match rest {
                Ok(rest) => rest,
                Err(error) if is_gone(&error) => return Ok(Looked::Nobody),
                Err(error) => return Err(error),
            };
            let person = Person { user, groups, mappings, organizations: organizations? };
            person.sees_organizations(client, interest)?;
            Ok(Looked::Found(Box::new(person.seen(enabled, interest.attributes()))))
        }
    }
}

/// Someone, and what they are directly in.
pub(super) struct Person {
    pub user: User,
    groups: Vec<GroupOf>,
    mappings: Mappings,
    /// None: not asked, or the account may not see them.
    pub organizations: Option<Memberships>,
}

/// Asks about the person with this id; none where the server says outright that there is nobody.
pub(super) async fn person(
    client: &Client,
    interest: &dyn Interest,
    id: &str,
) -> Result<Option<Person>, CallError> {
    let rest = try_join3(by_id(client, id), groups(client, id), mappings(client, id));
    // Of somebody who is gone only the rest says so outright.
    match join(rest, organizations::of_person(client, interest, id)).await {
        (Ok((user, groups, mappings)), organizations) => {
            Ok(Some(Person { user, groups, mappings, organizations: organizations? }))
        }
        (Err(error), _) if is_gone(&error) => Ok(None),
        (Err(error), _) => Err(error),
    }
}

/// Only this says that a user is gone: a lost realm and a malformed path are 404s as well.
pub(super) fn is_gone(error: &CallError) -> bool {
    matches!(&error.fault, Fault::Status { status: 404, body, .. } if body == "User not found")
}

async fn by_id(client: &Client, id: &str) -> Result<User, CallError> {
    client.get(&["users", id], &[], |body| json::<User>(body)).await
}

/// More than one person has the name.
struct Several;

/// Looks for the name. Keycloak finds it ignoring case; what is found is compared as the store
/// compares.
async fn by_name(
    client: &Client,
    config: &KeycloakConfig,
    who: &Named,
) -> Result<Option<Result<User, Several>>, CallError> {
    let key = match who.by {
        UsernameFrom::Username => "username",
        UsernameFrom::Email => "email",
    };
    let filter = [(key, who.username.as_str()), ("exact", "true")];
    let query = [filter[0], filter[1], ("briefRepresentation", "false"), ("max", "10")];
    let found = client.get(&["users"], &query, |body| json::<Vec<User>>(body)).await?;
    if found.is_empty() {
        let count = client.get(&["users", "count"], &filter, |body| json::<u64>(body)).await?;
        if count > 0 {
            return Err(CallError {
                call: "GET users".to_owned(),
                fault: Fault::Broken(format!(
                    "nobody was listed for a name that {count} bear: the server's database may be \
                     in trouble"
                )),
            });
        }
    }
    let mut people: Vec<User> = Vec::new();
    for user in found {
        let known = people.iter().any(|other| other.id == user.id);
        if !known && who.is(&user.username, user.email()) && !left_out(config, &user) {
            people.push(user);
        }
    }
    let first = people.pop();
    Ok(first.map(|user| if people.is_empty() { Ok(user) } else { Err(Several) }))
}

/// The account of a client, which is nobody unless the configuration says otherwise.
fn left_out(config: &KeycloakConfig, user: &User) -> bool {
    !config.service_accounts && claims::is_service_account(&user.username)
}

async fn groups(client: &Client, id: &str) -> Result<Vec<GroupOf>, CallError> {
    let query = [("briefRepresentation", "true"), ("first", "0"), ("max", "-1")];
    client.get(&["users", id, "groups"], &query, |body| json::<Vec<GroupOf>>(body)).await
}

async fn mappings(client: &Client, id: &str) -> Result<Mappings, CallError> {
    client.get(&["users", id, "role-mappings"], &[], |body| json::<Mappings>(body)).await
}

/// Whether the account is enabled, as far as that can be believed: someone of a federation looks
/// disabled while its directory is away, or enabled from a cache.
pub(super) async fn enabled(client: &Client, user: &User) -> Result<Enabled, CallError> {
    let said = if user.enabled { Enabled::Yes } else { Enabled::No };
    let Some(link) = user.federation() else { return Ok(said) };
    let rows = |body: &[u8]| json::<Vec<Component>>(body);
    let (federations, health) = try_join(
        async { client.get(&["components"], &[("type", federation::STORAGE)], rows).await },
        federation::answers(client, link),
    )
    .await?;
    let health = match federations.into_iter().find(|it| it.id == link) {
        None => Health::Down("it is gone".to_owned()),
        Some(it) if it.setting("enabled").is_some_and(|on| on == "false") => {
            Health::Down("it is switched off".to_owned())
        }
        Some(it) if it.provider_id != "ldap" => Health::Untold,
        Some(_) => health,
    };
    Ok(match health {
        Health::Down(_) => Enabled::Unknown,
        Health::Answers | Health::Untold => said,
    })
}

impl Person {
    /// Makes sure that what rules name of organizations could be asked: whoever is in one may hold a role that
    /// denies.
    fn sees_organizations(
        &self,
        client: &Client,
        interest: &dyn Interest,
    ) -> Result<(), CallError> {
        if self.organizations.is_some() || interest.organizations().is_empty() {
            return Ok(());
        }
        let message = organizations::unseen(client);
        Err(CallError {
            call: "GET organizations/members".to_owned(),
            fault: Fault::SignIn { message, transient: false },
        })
    }

    /// As the source shows them: of the attributes those values that are asked for.
    pub(super) fn seen(self, enabled: Enabled, attributes: &[(String, String)]) -> Sighting {
        let Person { user, groups, mappings, organizations } = self;
        let mut within = organizations.map_or(Vec::new(), |it| it.within());
        for group in groups {
            within.push(Within { kind: Kind::Group, key: group.id, name: Some(group.name) });
        }
        let refused = |role: &RoleOf| role.name == "." || role.name == "..";
        for role in mappings.realm_mappings.into_iter().filter(|role| !refused(role)) {
            within.push(Within { kind: Kind::RealmRole, key: role.name, name: None });
        }
        for of in mappings.client_mappings.into_values() {
            for role in of.mappings.into_iter().filter(|role| !refused(role)) {
                let key = client_role_key(&of.client, &role.name);
                within.push(Within { kind: Kind::ClientRole, key, name: None });
            }
        }
        for (name, value) in attributes {
            if user.attribute(name).is_some_and(|values| values.contains(value)) {
                within.push(Within {
                    kind: Kind::Attribute,
                    key: format!("{name}={value}"),
                    name: None,
                });
            }
        }
        let mut sighting = Sighting {
            enabled,
            federation: user.federation().unwrap_or_default().to_owned(),
            email: user.email.unwrap_or_default(),
            email_verified: user.email_verified.unwrap_or(false),
            ext: user.id,
            username: user.username,
            sid: None,
            within,
        };
        sighting.sort();
        sighting
    }
}

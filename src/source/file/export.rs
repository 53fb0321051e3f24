//! The JSON of a Keycloak realm export, as far as it says who may do what.
//!
//! The shape is Keycloak 26's `RealmRepresentation`, and what its import still takes of older ones:
//! `applications`, `applicationRoles`, `defaultRoles`. Keys that do not matter here are skipped
//! without being looked at, so that no message can quote a credential or a client's secret. Users
//! are handed over one by one: a million of them never lie in memory as JSON.
//!
//! A text that is no whole JSON is refused with line and column. What is merely odd is left out and
//! told: [`super::odd`].

use serde_json::{Map, Value};

use super::document::{self, Fault};
use super::odd::{At, ByClient, Names, Oddities, kind};
use super::organizations::Organizations;

/// A realm without its users.
#[derive(Debug)]
pub(super) struct Export {
    /// The realm's name.
    pub(super) realm: String,
    /// Whether the realm is enabled, where the file says it.
    pub(super) enabled: Option<bool>,
    /// Its groups; absent where the export leaves them out.
    pub(super) groups: Option<Vec<Group>>,
    /// Its roles, as far as the export lists any.
    pub(super) roles: Roles,
    /// Its clients.
    pub(super) clients: Vec<Client>,
    /// The file has `users` of its own.
    pub(super) has_users: bool,
    /// Its organizations.
    pub(super) organizations: Organizations,
    /// How many people of federations without import there are: the export knows their ids alone.
    pub(super) federated: usize,
    /// The name of the role that new users are given. Keycloak 13 and later write it.
    pub(super) default_role: Option<String>,
    /// The realm roles that older servers gave to new users.
    pub(super) default_roles: Names,
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    /// Its client id.
    pub(super) id: String,
    /// Its roles that older servers gave to new users.
    pub(super) default_roles: Names,
}

/// A group with all below it.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) path: Option<String>,
    pub(super) realm_roles: Names,
    pub(super) client_roles: ByClient,
    pub(super) sub_groups: Vec<Group>,
}

/// The realm's roles and its clients'. A list that is absent is one that the export leaves out.
#[derive(Default, Debug)]
pub(super) struct Roles {
    /// The export has `roles`, whatever is in them.
    pub(super) there: bool,
    pub(super) realm: Option<Vec<Role>>,
    pub(super) client: Option<Vec<(String, Option<Vec<Role>>)>>,
}

impl Roles {
    /// Whether the export lists the roles of a client, or of the realm.
    pub(super) fn are_told(&self, client: Option<&str>) -> bool {
        match client {
            None => self.realm.is_some(),
            Some(client) => self.told_clients().any(|told| told == client),
        }
    }

    /// The clients whose roles the export lists, none of them too.
    pub(super) fn told_clients(&self) -> impl Iterator<Item = &str> {
        let lists = self.client.iter().flatten();
        lists.filter(|(_, list)| list.is_some()).map(|(client, _)| client.as_str())
    }
}

/// A role.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) composite: bool,
    /// What it contains; absent where the file does not say.
    pub(super) composites: Option<Composites>,
}

/// What a composite role contains.
#[derive(Default, Debug)]
pub(super) struct Composites {
    pub(super) realm: Names,
    pub(super) client: ByClient,
    /// Why that may not be all.
    pub(super) doubt: Option<String>,
}

/// Reads everything but the users.
///
/// # Errors
/// The text is no JSON object.
pub(super) fn parse(text: &str, odd: &mut Oddities) -> Result<Export, Fault> {
    let document::Realm { object, users, organizations, federated } = document::realm(text)?;
    let users: Vec<&Value> = users.iter().filter(|users| !users.is_null()).collect();
    let doubt = match users.as_slice() {
        [] | [Value::Array(_)] => None,
        [other] => Some(odd.note(At::top("users"), format!("is {}, not a list", kind(other)))),
        // Keycloak takes the last; what the others are for nobody can tell.
        _ => Some(odd.note(At::top("users"), "comes more than once")),
    };
    if let Some(doubt) = doubt {
        odd.doubts.somebody(&doubt);
    }
    let top = At::top;
    Ok(Export {
        realm: odd.text_at(object.get("realm"), top("realm")).ok().flatten().unwrap_or_default(),
        enabled: odd.flag_at(object.get("enabled"), top("enabled")).ok().flatten(),
        groups: said(object.get("groups")).map(|value| groups(value, top("groups"), odd)),
        roles: roles(&object, odd),
        clients: clients(&object, odd),
        has_users: !users.is_empty(),
        organizations: Organizations::of(&organizations, object.get("organizationsEnabled"), odd),
        federated,
        default_role: match object.get("defaultRole") {
            Some(Value::Object(role)) => odd.text(role, "name", top("defaultRole")).ok().flatten(),
            _ => None,
        },
        default_roles: odd.names(object.get("defaultRoles"), top("defaultRoles")),
    })
}

/// Null says no more than nothing.
pub(super) fn said(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn clients(object: &Map<String, Value>, odd: &mut Oddities) -> Vec<Client> {
    let mut clients = Vec::new();
    // Before clients had client ids of their own their names were those.
    for (key, id) in [("clients", "clientId"), ("applications", "name"), ("oauthClients", "name")] {
        let at = At::top(key);
        let list = match object.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(list)) => list,
            Some(other) => {
                odd.note(at, format!("is {}, not a list", kind(other)));
                continue;
            }
        };
        for (index, value) in list.iter().enumerate() {
            let at = at.item(index);
            let Value::Object(client) = value else {
                odd.note(at, format!("is {}, not a client: left out", kind(value)));
                continue;
            };
            let default_roles = odd.names(client.get("defaultRoles"), at.key("defaultRoles"));
            if let Ok(Some(id)) = odd.text(client, id, at) {
                clients.push(Client { id, default_roles });
            }
        }
    }
    clients
}

fn groups(value: &Value, at: At<'_>, odd: &mut Oddities) -> Vec<Group> {
    let Value::Array(list) = value else {
        let doubt = odd.note(at, format!("is {}, not a list", kind(value)));
        odd.doubts.groups.get_or_insert(doubt);
        return Vec::new();
    };
    list.iter().enumerate().filter_map(|(index, value)| group(value, at.item(index), odd)).collect()
}

fn group(value: &Value, at: At<'_>, odd: &mut Oddities) -> Option<Group> {
    let Value::Object(group) = value else {
        let doubt = odd.note(at, format!("is {}, not a group: left out", kind(value)));
        if !value.is_null() {
            odd.doubts.groups.get_or_insert(doubt);
        }
        return None;
    };
    let name = match odd.text(group, "name", at) {
        Ok(Some(name)) if !name.is_empty() => name,
        _ => {
            let doubt = odd.note(at, "has no `name`: left out, with what is below it");
            odd.doubts.groups.get_or_insert(doubt);
            return None;
        }
    };
    let id = odd.text(group, "id", at).unwrap_or_else(|doubt| {
        odd.doubts.groups.get_or_insert_with(|| doubt.to_string());
        None
    });
    let below = said(group.get("subGroups"));
    Some(Group {
        id: id.filter(|id| !id.is_empty()),
        name,
        path: odd.text(group, "path", at).ok().flatten(),
        realm_roles: odd.names(group.get("realmRoles"), at.key("realmRoles")),
        client_roles: odd.by_client(group.get("clientRoles"), at.key("clientRoles")),
        sub_groups: below.map_or_else(Vec::new, |list| groups(list, at.key("subGroups"), odd)),
    })
}

fn roles(object: &Map<String, Value>, odd: &mut Oddities) -> Roles {
    let at = At::top("roles");
    let object = match object.get("roles") {
        None | Some(Value::Null) => return Roles::default(),
        Some(Value::Object(object)) => object,
        Some(other) => {
            let doubt = odd.note(at, format!("is {}, not an object", kind(other)));
            odd.doubts.roles.get_or_insert(doubt);
            return Roles { there: true, ..Roles::default() };
        }
    };
    let realm = role_list(object.get("realm"), at.key("realm"), odd);
    let (value, key) = odd.renamed(object, "client", "application", at);
    let at = at.key(key);
    let client = match value {
        None => None,
        Some(Value::Object(clients)) => {
            let list =
                |(id, list): (&String, _)| (id.clone(), role_list(Some(list), at.name(id), odd));
            Some(clients.iter().map(list).collect())
        }
        Some(other) => {
            let doubt = odd.note(at, format!("is {}, not an object", kind(other)));
            odd.doubts.roles.get_or_insert(doubt);
            None
        }
    };
    Roles { there: true, realm, client }
}

fn role_list(value: Option<&Value>, at: At<'_>, odd: &mut Oddities) -> Option<Vec<Role>> {
    match said(value)? {
        Value::Array(list) => {
            let role = |(index, value)| role(value, at.item(index), odd);
            Some(list.iter().enumerate().filter_map(role).collect())
        }
        other => {
            let doubt = odd.note(at, format!("is {}, not a list", kind(other)));
            odd.doubts.roles.get_or_insert(doubt);
            None
        }
    }
}

fn role(value: &Value, at: At<'_>, odd: &mut Oddities) -> Option<Role> {
    let Value::Object(role) = value else {
        let doubt = odd.note(at, format!("is {}, not a role: left out", kind(value)));
        if !value.is_null() {
            odd.doubts.roles.get_or_insert(doubt);
        }
        return None;
    };
    let name = match odd.text(role, "name", at) {
        Ok(Some(name)) if !name.is_empty() => name,
        _ => {
            let doubt = odd.note(at, "has no `name`: left out");
            odd.doubts.roles.get_or_insert(doubt);
            return None;
        }
    };
    let composites = match role.get("composites") {
        None | Some(Value::Null) => None,
        Some(Value::Object(composites)) => {
            let at = at.key("composites");
            let realm = odd.names(composites.get("realm"), at.key("realm"));
            let (value, key) = odd.renamed(composites, "client", "application", at);
            let client = odd.by_client(value, at.key(key));
            let doubt = realm.doubt.clone().or(client.doubt.clone());
            Some(Composites { realm, client, doubt })
        }
        Some(other) => {
            let what = format!("is {}, not an object", kind(other));
            let doubt = Some(odd.note(at.key("composites"), what));
            Some(Composites { doubt, ..Composites::default() })
        }
    };
    Some(Role {
        id: odd.text(role, "id", at).ok().flatten().filter(|id| !id.is_empty()),
        name,
        composite: odd.flag(role, "composite", at).ok().flatten() == Some(true),
        composites,
    })
}

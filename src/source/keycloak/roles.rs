//! Roles of the realm and of its clients, and what the composite ones contain.
//!
//! Roles of clients that are not configured are no targets, but they may contain one: there is no
//! look-up from a role to the composites that contain it, so all of them are read.

use std::collections::HashMap;

use super::api::{ClientRow, RoleRow, each, json};
use super::client::Client;
use super::fault::CallError;
use super::read::{Attempt, FailureBudget, fan_out};
use crate::directory::client_role_key;
use crate::model::{Diagnostic, DiagnosticCode, Kind, Subject};

/// A client of the realm.
#[derive(Debug)]
pub(super) struct RealmClient {
    /// Its uuid.
    pub id: String,
    /// Its client id.
    pub name: String,
    /// Its roles count.
    pub configured: bool,
}

/// A role of the realm or of a client.
#[derive(Debug)]
pub(super) struct Role {
    /// Its uuid, which a role that is made anew under the same name does not share.
    pub id: String,
    /// Its bare name.
    pub name: String,
    /// The client, as a place in [`Roles::clients`]; none for the realm's.
    pub client: Option<usize>,
    /// It contains others.
    pub composite: bool,
    /// What it contains, as places in [`Roles::rows`].
    pub contains: Vec<usize>,
    /// Why `contains` may be short.
    pub doubt: Option<String>,
}

/// All roles.
#[derive(Default, Debug)]
pub(super) struct Roles {
    /// Sorted by client id.
    pub clients: Vec<RealmClient>,
    /// In no order that means anything.
    pub rows: Vec<Role>,
    /// Why the roles may not be all.
    pub doubt: Option<String>,
    /// For people.
    pub diagnostics: Vec<Diagnostic>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<(Option<usize>, String), usize>,
}

impl Roles {
    /// The realm's role of that name.
    pub(super) fn of_realm(&self, name: &str) -> Option<usize> {
        self.by_name.get(&(None, name.to_owned())).copied()
    }

    /// The role of that name of the client with that client id.
    pub(super) fn of_client(&self, client: &str, name: &str) -> Option<usize> {
        let client = self.clients.iter().position(|row| row.name == client)?;
        self.by_name.get(&(Some(client), name.to_owned())).copied()
    }

    /// Whether the role may be a target: the realm's, or a configured client's.
    pub(super) fn counts(&self, role: &Role) -> bool {
        role.client.is_none_or(|client| self.clients.get(client).is_some_and(|it| it.configured))
    }

    /// `client/role`, or the name of a realm role.
    pub(super) fn identity(&self, role: &Role) -> String {
        match role.client.and_then(|client| self.clients.get(client)) {
            Some(client) => format!("{}/{}", client.name, role.name),
            None => role.name.clone(),
        }
    }

    /// What the mirror knows it by.
    pub(super) fn key(&self, role: &Role) -> String {
        match role.client.and_then(|client| self.clients.get(client)) {
            Some(client) => client_role_key(&client.name, &role.name),
            None => role.name.clone(),
        }
    }

    /// The path of the role, followed by `what`.
    pub(super) fn path<'a>(&'a self, role: &'a Role, what: &'a str) -> Vec<&'a str> {
        match role.client.and_then(|client| self.clients.get(client)) {
            Some(client) => vec!["clients", &client.id, "roles", &role.name, what],
            None => vec!["roles", &role.name, what],
        }
    }

    fn add(&mut self, row: RoleRow, client: Option<usize>) {
        // A URL library takes `/roles/../users` for `/users`: everyone would hold such a role.
        if row.name == "." || row.name == ".." {
            let whose = client.and_then(|client| self.clients.get(client));
            let subject = match whose {
                Some(it) => {
                    Subject::reference(Kind::ClientRole, &format!("{}/{}", it.name, row.name))
                }
                None => Subject::reference(Kind::RealmRole, &row.name),
            };
            self.diagnostics.push(Diagnostic::warning(
                DiagnosticCode::RoleNameRefused,
                subject,
                format!(
                    "the role `{}` of {} cannot be asked about and is left out: rename it",
                    row.name,
                    whose.map_or_else(
                        || "the realm".to_owned(),
                        |it| format!("client `{}`", it.name)
                    ),
                ),
            ));
            return;
        }
        let place = self.rows.len();
        self.by_id.insert(row.id.clone(), place);
        self.by_name.insert((client, row.name.clone()), place);
        self.rows.push(Role {
            id: row.id,
            name: row.name,
            client,
            composite: row.composite,
            contains: Vec::new(),
            doubt: None,
        });
    }
}

/// The realm's clients, sorted by client id.
pub(super) async fn clients(
    client: &Client,
    configured: &[String],
) -> Result<Vec<RealmClient>, CallError> {
    let parse = |body: &[u8]| {
        let mut clients = Vec::new();
        each(body, |row: ClientRow| {
            let configured = configured.contains(&row.client_id);
            clients.push(RealmClient { id: row.id, name: row.client_id, configured });
        })?;
        clients.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(clients)
    };
    client.get(&["clients"], &[], parse).await
}

/// What to say of configured clients that are not there.
pub(super) fn absent_clients(clients: &[RealmClient], configured: &[String]) -> Vec<Diagnostic> {
    let mut absent = Vec::new();
    for wanted in configured.iter().filter(|name| !clients.iter().any(|it| it.name == **name)) {
        let near = clients
            .iter()
            .map(|it| (strsim::jaro_winkler(wanted, &it.name), &it.name))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"));
        let message = format!("`clients` names `{wanted}`, which is no client of the realm{near}");
        let subject = Subject::Client(wanted.clone());
        absent.push(Diagnostic::error(DiagnosticCode::ClientAbsent, subject, message));
    }
    absent
}

/// Reads all roles and what they contain.
pub(super) async fn read(
    client: &Client,
    budget: &FailureBudget,
    clients: Vec<RealmClient>,
    configured: &[String],
) -> Result<Roles, CallError> {
    let mut roles = Roles { doubt: None, ..Roles::default() };
    roles.doubt = absent_clients(&clients, configured).into_iter().next().map(|it| it.message);
    roles.clients = clients;
    let rows = |body: &[u8]| json::<Vec<RoleRow>>(body);

    let mut of_realm = client.get(&["roles"], &[], rows).await?;
    if of_realm.is_empty() {
        // A realm always has its default role, so this is no true answer; ask once more.
        of_realm = client.get(&["roles"], &[], rows).await?;
        if of_realm.is_empty() {
            roles.doubt = Some("the realm's roles came empty, which no realm's are".to_owned());
        }
    }
    let lists = {
        let clients = &roles.clients;
        fan_out(clients.len(), |place| {
            Box::pin(async move {
                let Some(it) = clients.get(place) else { return Ok(None) };
                let path = ["clients", it.id.as_str(), "roles"];
                let mut list = client.get(&path, &[], rows).await?;
                if list.is_empty() && it.configured {
                    // A failing statement looks like this; a client without roles as well. The
                    // second answer decides, beside the realm's list from the same table.
                    list = client.get(&path, &[], rows).await?;
                }
                Ok(Some((place, list)))
            })
        })
        .await?
    };
    of_realm.into_iter().for_each(|row| roles.add(row, None));
    for (place, list) in lists {
        list.into_iter().for_each(|row| roles.add(row, Some(place)));
    }

    let contained = {
        let roles = &roles;
        fan_out(roles.rows.len(), |place| {
            Box::pin(async move {
                let Some(role) = roles.rows.get(place).filter(|role| role.composite) else {
                    return Ok(None);
                };
                let path = roles.path(role, "composites");
                let mut list = budget.get(client, &path, &[], rows).await?;
                if matches!(&list, Attempt::Got(list) if list.is_empty()) {
                    list = budget.get(client, &path, &[], rows).await?;
                }
                Ok(Some((place, list)))
            })
        })
        .await?
    };
    for (place, list) in contained {
        let (contains, doubt) = match list {
            Attempt::Unknown(reason) => (Vec::new(), Some(reason)),
            Attempt::Got(list) if list.is_empty() => {
                (Vec::new(), Some("a composite role that contains nothing".to_owned()))
            }
            Attempt::Got(list) => roles.resolve(&list),
        };
        let identity = roles.rows.get(place).map(|role| roles.identity(role)).unwrap_or_default();
        if let Some(role) = roles.rows.get_mut(place) {
            role.contains = contains;
            role.doubt = doubt.map(|doubt| format!("what role `{identity}` contains: {doubt}"));
        }
    }
    Ok(roles)
}

impl Roles {
    /// The places of contained roles, and why they may be short.
    fn resolve(&self, list: &[RoleRow]) -> (Vec<usize>, Option<String>) {
        let mut contains = Vec::new();
        let mut doubt = None;
        for row in list {
            match self.by_id.get(&row.id) {
                Some(place) => contains.push(*place),
                None if row.name == "." || row.name == ".." => {}
                None => doubt = Some(format!("role `{}` is in no list of roles", row.name)),
            }
        }
        (contains, doubt)
    }
}

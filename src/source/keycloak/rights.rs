//! What the service account may do, told by Keycloak itself.

use serde::Deserialize;

use super::api::{RoleRow, json};
use super::client::Client;
use super::fault::{NEEDED, management_client};
use super::roles::RealmClient;
use super::token::lacking;
use crate::source::SourceError;

/// The user behind a client.
#[derive(Deserialize)]
struct Account {
    id: String,
}

/// Makes sure that the service account has its rights *now*, and returns the names of all that it
/// has. They count live, whatever a token says: taken away in mid-read, lists get short or empty
/// with status 200.
///
/// # Errors
/// A right that reading needs is missing, or nothing tells.
pub(super) async fn check(
    client: &Client,
    clients: &[RealmClient],
) -> Result<Vec<String>, SourceError> {
    let whole = |error| client.source_error(error);
    let id_of = |name: &str| clients.iter().find(|it| it.name == name).map(|it| it.id.as_str());
    let management = management_client(client.realm());
    let Some(uuid) = id_of(management) else {
        return Err(SourceError::fatal(format!(
            "the rights of client `{}` cannot be told: the realm shows no client `{management}`; grant its service account `view-clients`",
            client.client_id(),
        )));
    };
    let subject = match (&client.token().await.map_err(whole)?.subject, id_of(client.client_id())) {
        (Some(subject), _) => subject.clone(),
        // A token without `sub`: the mapper that puts it there is gone from the client's scopes.
        (None, Some(own)) => {
            let path = ["clients", own, "service-account-user"];
            client.get(&path, &[], |body| json::<Account>(body)).await.map_err(whole)?.id
        }
        (None, None) => {
            return Err(SourceError::fatal(format!(
                "the rights of client `{}` cannot be told: its token names no user, and the realm does not show the client; leave the `basic` scope to the client",
                client.client_id(),
            )));
        }
    };
    let path = ["users", &subject, "role-mappings", "clients", uuid, "composite"];
    let rows = |body: &[u8]| json::<Vec<RoleRow>>(body);
    let granted = client.get(&path, &[], rows).await.map_err(whole)?;
    let granted: Vec<String> = granted.into_iter().map(|role| role.name).collect();
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|right| !granted.iter().any(|it| it == right)).collect();
    if missing.is_empty() {
        return Ok(granted);
    }
    Err(SourceError::fatal(format!(
        "reading Keycloak at {} failed: {}",
        client.endpoint(),
        lacking(client.client_id(), client.realm(), &missing)
    )))
}

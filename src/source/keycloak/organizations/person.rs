//! The organizations of one person.

use futures_util::future::try_join_all;
use serde::Deserialize;

use super::super::api::json;
use super::super::client::Client;
use super::super::fault::{CallError, Fault};
use super::super::rights;
use super::super::roles;
use super::{Organization, are_off, seen_with, wanted_of};
use crate::directory::{Interest, Kind, Within};

/// What somebody is in.
#[derive(Debug)]
pub(in crate::source::keycloak) struct Memberships {
    /// The organizations, the disabled ones too.
    pub organizations: Vec<Organization>,
    /// Id and name of the groups that they are directly in, of enabled organizations of which rules name a group.
    groups: Vec<GroupOf>,
}

/// A group that somebody is in.
#[derive(Deserialize, Debug)]
struct GroupOf {
    id: String,
    name: String,
}

impl Memberships {
    /// As somebody is shown. In a disabled organization nobody is.
    pub(in crate::source::keycloak) fn within(&self) -> Vec<Within> {
        let enabled = self.organizations.iter().filter(|it| it.enabled);
        let organizations = enabled.map(|it| (Kind::Organization, &it.id, &it.alias));
        let groups = self.groups.iter().map(|it| (Kind::OrganizationGroup, &it.id, &it.name));
        let within = organizations.chain(groups).map(|(kind, key, name)| Within {
            kind,
            key: key.clone(),
            name: Some(name.clone()),
        });
        within.collect()
    }
}

/// What the person with this id is in, as far as rules ask; none where no rule names an organization, or the account
/// may not see them.
///
/// # Errors
/// That nobody has this id is one.
pub(in crate::source::keycloak) async fn of_person(
    client: &Client,
    interest: &dyn Interest,
    id: &str,
) -> Result<Option<Memberships>, CallError> {
    let asked = interest.organizations();
    if asked.is_empty() {
        return Ok(None);
    }
    let query = [("briefRepresentation", "true")];
    let path = ["organizations", "members", id, "organizations"];
    let list = client.get(&path, &query, |body| json::<Vec<Organization>>(body)).await;
    let organizations = match list {
        Ok(list) => list,
        Err(error) if are_off(&error.fault) => Vec::new(),
        Err(error) if error.fault.is_forbidden() => return Ok(None),
        Err(error) => return Err(error),
    };
    // With less than the right the answer is empty too, and so it is where a statement failed.
    if organizations.is_empty() && !sees(client).await? {
        return Ok(None);
    }
    let named = |it: &&Organization| {
        it.enabled && wanted_of(asked, &it.alias).is_some_and(|asked| asked.groups)
    };
    let groups = organizations.iter().filter(named).map(|it| {
        let path = ["organizations", it.id.as_str(), "members", id, "groups"];
        let query = [("briefRepresentation", "true"), ("first", "0"), ("max", "-1")];
        client.get(&path, &query, |body| json::<Vec<GroupOf>>(body))
    });
    let groups = try_join_all(groups).await?.into_iter().flatten().collect();
    Ok(Some(Memberships { organizations, groups }))
}

/// Whether an answer about one member of one organization says outright that they are in none such: they are not
/// a member, or there is no such organization, or none at all. Only the server's own words are believed, as Keycloak
/// 26.7 has them: a proxy's 404, a lost realm's and another route's say nothing of anybody.
pub(in crate::source::keycloak) fn is_no_member(error: &CallError) -> bool {
    let Fault::Status { status: 404, body, .. } = &error.fault else { return false };
    let no_member = body == "HTTP 404 Not Found";
    no_member || body == "Organization not found." || are_off(&error.fault)
}

/// Whether the account sees organizations now, whatever a token says.
async fn sees(client: &Client) -> Result<bool, CallError> {
    let count = client.get(&["organizations", "count"], &[], |body| json::<usize>(body)).await;
    match count {
        Ok(0) => {}
        Ok(_) => return Ok(true),
        Err(error) if are_off(&error.fault) => return Ok(true),
        Err(error) if error.fault.is_forbidden() => return Ok(false),
        Err(error) => return Err(error),
    }
    // There is none, or none to be seen.
    let clients = roles::clients(client, &[]).await?;
    let rights = rights::check(client, &clients).await.map_err(|error| CallError {
        call: "the account's rights".to_owned(),
        fault: Fault::SignIn { message: error.message, transient: error.transient },
    })?;
    Ok(seen_with(rights))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::keycloak::fault::scrub;

    #[test]
    fn only_the_servers_own_words_say_that_somebody_is_no_member() {
        for (status, body, says) in [
            (404, r#"{"error":"HTTP 404 Not Found"}"#, true),
            (404, r#"{"errorMessage":"Organization not found."}"#, true),
            (404, r#"{"errorMessage":"Organizations not enabled for this realm."}"#, true),
            (404, r#"{"error":"Realm not found."}"#, false),
            (404, r#"{"error":"Unable to find matching target resource method"}"#, false),
            (404, "<html>HTTP 404 Not Found</html>", false),
            (404, r#"{"error":"not_found","error_description":"HTTP 404 Not Found"}"#, false),
            (404, "", false),
            (403, r#"{"error":"HTTP 404 Not Found"}"#, false),
            (500, r#"{"errorMessage":"Organization not found."}"#, false),
        ] {
            let body = scrub(body.as_bytes(), &[]);
            let fault = Fault::Status { status, body: body.clone(), retry_after: None };
            let error = CallError { call: "GET x".to_owned(), fault };
            assert_eq!(is_no_member(&error), says, "{status} {body}");
        }
        let fault = Fault::Broken("HTTP 404 Not Found".to_owned());
        assert!(!is_no_member(&CallError { call: "GET x".to_owned(), fault }));
    }
}

//! What would make a read fail or lie, told before it does.

use super::asker::Asker;
use super::client::Client;
use super::config::KeycloakConfig;
use super::consistency::Health;
use super::fault::{NEEDED, management_client};
use super::federation::{self, Federation};
use super::feed;
use super::groups;
use super::organizations;
use super::pages::Paging;
use super::read::FailureBudget;
use super::rights;
use super::roles;
use super::token::{Token, lacking};
use crate::directory::Interest;
use crate::model::{Diagnostic, DiagnosticCode, Kind, Severity, Subject};
use crate::source::SourceError;

/// Signs in and asks one small question of each kind.
pub(super) async fn check(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
) -> Vec<Diagnostic> {
    let look = tokio::time::timeout(config.read_timeout, look(client, config, interest));
    let mut findings = match look.await {
        Ok(findings) => findings,
        Err(_) => vec![
            SourceError::transient(format!(
                "Keycloak at {} did not answer all questions within {} s",
                client.endpoint(),
                config.read_timeout.as_secs_f32()
            ))
            .into_diagnostic(),
        ],
    };
    findings.sort();
    findings.dedup();
    findings
}

/// Any JSON at all.
fn anything(body: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).map(|_| ())
}

fn client_of(client: &Client) -> Subject {
    Subject::Client(client.client_id().to_owned())
}

async fn look(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let token = match client.token().await {
        Ok(token) => token,
        Err(fault) => return vec![client.source_error(fault).into_diagnostic()],
    };
    let missing = token.missing_rights();
    if !missing.is_empty() {
        let message = lacking(client.client_id(), client.realm(), &missing);
        return vec![Diagnostic::error(DiagnosticCode::RightsMissing, client_of(client), message)];
    }
    if !about_rights(client, config, interest, &token, &mut findings).await {
        return findings;
    }
    let one = [("briefRepresentation", "true"), ("max", "1")];
    for (path, query) in [
        (&["users", "count"][..], &[][..]),
        (&["users"][..], &one[..]),
        (&["groups", "count"][..], &[][..]),
        (&["roles"][..], &[][..]),
    ] {
        if let Err(fault) = client.get(path, query, anything).await {
            findings.push(client.source_error(fault).into_diagnostic());
        }
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return findings;
    }
    match federation::read(client).await {
        Ok(federations) => {
            for it in federations {
                about_federation(client, &it, &mut findings).await;
            }
        }
        Err(fault) => findings.push(client.source_error(fault).into_diagnostic()),
    }
    if let Err(fault) = about_events(client, &mut findings).await {
        findings.push(client.source_error(fault).into_diagnostic());
    }
    if let Err(fault) = about_names(client, config, interest, &mut findings).await {
        findings.push(client.source_error(fault).into_diagnostic());
    }
    findings
}

/// What the account may do beyond what every read needs; whether it is worth while to go on.
async fn about_rights(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
    token: &Token,
    findings: &mut Vec<Diagnostic>,
) -> bool {
    let mut granted: Vec<String> = token.rights.iter().flatten().cloned().collect();
    match &token.rights {
        None => {
            findings.push(Diagnostic::warning(DiagnosticCode::RightsHidden, client_of(client), format!(
            "the token of client `{}` shows no roles of client `{}` (a lightweight token, or a client scope without its role mappers): rights are looked up instead",
                client.client_id(),
                management_client(client.realm()),
            )));
            let looked = match roles::clients(client, &config.clients).await {
                Ok(clients) => rights::check(client, &clients).await,
                Err(fault) => Err(client.source_error(fault)),
            };
            match looked {
                Ok(rights) => granted = rights,
                Err(missing) => {
                    let (code, subject) = (DiagnosticCode::RightsMissing, client_of(client));
                    findings.push(Diagnostic::error(code, subject, missing.message));
                    return false;
                }
            }
        }
        Some(rights) => {
            let more: Vec<&str> = rights
                .iter()
                .map(String::as_str)
                .filter(|right| right.starts_with("manage-") || *right == "realm-admin")
                .collect();
            if !more.is_empty() {
                findings.push(Diagnostic::warning(DiagnosticCode::RightsTooWide, client_of(client), format!(
                    "the service account of client `{}` may do more than reading needs (`{}`): `{}` of client `{}` are enough",
                    client.client_id(),
                    more.join("`, `"),
                    NEEDED.join("`, `"),
                    management_client(client.realm()),
                )));
            }
        }
    }
    if !interest.organizations().is_empty() && !organizations::seen_with(&granted) {
        let (code, subject) = (DiagnosticCode::RightsMissing, client_of(client));
        findings.push(Diagnostic::error(code, subject, organizations::unseen(client)));
        return false;
    }
    true
}

/// What must be switched on for changes to be seen within seconds, instead of by the next full read.
async fn about_events(
    client: &Client,
    findings: &mut Vec<Diagnostic>,
) -> Result<(), super::fault::CallError> {
    let settings = feed::settings::read(client).await?;
    let mut tell = |code, message: String| {
        findings.push(Diagnostic::warning(code, client_of(client), message));
    };
    if !settings.admin_events_enabled {
        tell(
            DiagnosticCode::EventsOff,
            format!("{}; until then changes are seen by full reads alone", feed::OFF),
        );
        return Ok(());
    }
    if let Some(why) = feed::may_not_see(client).await? {
        tell(
            DiagnosticCode::EventsUnseen,
            format!("{why}; until then changes are seen by full reads alone"),
        );
        return Ok(());
    }
    if !settings.events_enabled {
        tell(DiagnosticCode::EventsPartly, "the realm keeps no user events, so what people change of themselves (registering, a new address, deleting the account) is seen by full reads alone: switch them on (Realm settings, Events, User events settings)".to_owned());
    } else if !settings.types_missing().is_empty() {
        tell(
            DiagnosticCode::EventsPartly,
            format!(
                "the realm does not keep the user events `{}`, so what they tell is seen by full reads alone: add them (Realm settings, Events, User events settings)",
                settings.types_missing().join("`, `")
            ),
        );
    }
    if settings.admin_events_kept().is_none()
        || settings.events_enabled && settings.user_events_kept().is_none()
    {
        tell(DiagnosticCode::EventsUnbounded, "the realm keeps its events for ever, and its database grows with each: set an expiration (Realm settings, Events); a day is more than enough here".to_owned());
    }
    Ok(())
}

/// Clients that are not there, roles that cannot be asked about, what a read will cost.
async fn about_names(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
    findings: &mut Vec<Diagnostic>,
) -> Result<(), super::fault::CallError> {
    let clients = roles::clients(client, &config.clients).await?;
    findings.extend(roles::absent_clients(&clients, &config.clients));
    let budget = FailureBudget::default();
    let roles = roles::read(client, &budget, clients, &config.clients).await?;
    findings.extend(roles.diagnostics.iter().cloned());
    let groups = groups::read(client, &roles).await?;
    if let Some(doubt) = &groups.doubt {
        let message = format!("the groups of the realm cannot be read in full: {doubt}");
        let (code, subject) = (DiagnosticCode::SourcePartial, Subject::scope("groups"));
        findings.push(Diagnostic::error(code, subject, message));
    }
    // Those who may not see them have heard so.
    let asker = Asker { client, budget: &budget, paging: Paging::Whole };
    let organizations = organizations::read(asker, interest, true).await?;
    if let Some(doubt) = organizations.doubt() {
        let message = format!("the organizations of the realm cannot be read in full: {doubt}");
        let (code, subject) = (DiagnosticCode::SourcePartial, Subject::scope("organizations"));
        findings.push(Diagnostic::error(code, subject, message));
    }
    findings.extend(organizations.told(interest, &config.clients));
    let mut builder = crate::directory::SnapshotBuilder::new(false);
    let graph = super::graph::build(&mut builder, &roles, &groups, interest);
    let default = format!("default-roles-{}", client.realm().to_lowercase());
    let place = roles.of_realm(&default).and_then(|place| graph.roles.get(place)).copied();
    if let Some(Some((_, true))) = place {
        findings.push(Diagnostic::warning(DiagnosticCode::DefaultRolesMatched, Subject::reference(Kind::RealmRole, &default), format!(
            "`default-roles-{}`, which everyone normally holds, contains a role that a rule names: everyone gets what that rule gives, and reading it is the dearest call of all",
            client.realm().to_lowercase()
        )));
    }
    Ok(())
}

async fn about_federation(client: &Client, it: &Federation, findings: &mut Vec<Diagnostic>) {
    let name = &it.name;
    match federation::probe(client, it).await {
        Ok(Health::Down(reason)) => {
            let message = format!("{reason}: what it feeds is partial until it does");
            let (code, subject) =
                (DiagnosticCode::FederationDown, Subject::Federation(name.clone()));
            findings.push(Diagnostic::error(code, subject, message));
        }
        Ok(_) => {}
        Err(fault) => findings.push(client.source_error(fault).into_diagnostic()),
    }
    if !it.imports {
        findings.push(Diagnostic::warning(DiagnosticCode::FederationUncertain, Subject::Federation(name.clone()), format!(
            "federation `{name}` has `Import users` off: nothing proves that all of its people were listed, so nobody of this realm is ever taken for gone; switch it on, or read the directory itself"
        )));
    }
    if it.kind != "ldap" {
        findings.push(Diagnostic::warning(
            DiagnosticCode::FederationUncertain,
            Subject::Federation(name.clone()),
            format!(
                "federation `{name}` is of kind `{}`, whose outages cannot be told for sure",
                it.kind
            ),
        ));
    }
    for (kind, mapper) in &it.odd_mappers {
        findings.push(Diagnostic::warning(DiagnosticCode::MapperUnseen, Subject::Mapper { federation: name.clone(), mapper: mapper.clone() }, if kind.starts_with("msad-") {
            format!(
                "mapper `{mapper}` of federation `{name}` takes accounts that are disabled in the directory for disabled, which looks like an outage from outside: their state stays unknown; read the directory itself"
            )
        } else {
            format!(
                "mapper `{mapper}` (`{kind}`) of federation `{name}` gives something to all of its people without listing anyone: it is not seen here"
            )
        }));
    }
}

//! What the realm says of clients and of how long tokens live that it issues to them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::model::SessionScope;
use crate::source::keycloak::api::json;
use crate::source::keycloak::client::Client;
use crate::source::keycloak::fault::CallError;
use crate::source::sessions::{TokenLife, TokensOf};

/// As [`super::SUBJECT_SETTLES`]: a refresh before the commit.
const SETTLES: i64 = super::SUBJECT_SETTLES;

/// A client, as far as its tokens go.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientRow {
    client_id: String,
    enabled: bool,
    /// Seconds since 1970; 0: none.
    #[serde(default)]
    not_before: i64,
    #[serde(default)]
    implicit_flow_enabled: bool,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize, Clone, Default, Debug)]
struct Attributes {
    /// Seconds; -1: as long as the session.
    #[serde(rename = "access.token.lifespan", default)]
    lifespan: Option<String>,
}

/// The realm, as far as its tokens go. Seconds; -1: as long as the session.
#[derive(Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct RealmRow {
    access_token_lifespan: i64,
    #[serde(default)]
    access_token_lifespan_for_implicit_flow: i64,
}

/// The client with that client id. `None`: the realm shows none, since there is none or it may not be seen.
pub(super) async fn row(client: &Client, id: &str) -> Result<Option<ClientRow>, CallError> {
    let rows = |body: &[u8]| json::<Vec<ClientRow>>(body);
    let found = client.get(&["clients"], &[("clientId", id)], rows).await?;
    Ok(found.into_iter().find(|row| row.client_id == id))
}

pub(super) async fn realm(client: &Client) -> Result<RealmRow, CallError> {
    client.get(&[], &[], |body| json::<RealmRow>(body)).await
}

/// How long tokens live that are issued to `clients`; where none of them is one, to any
/// (`TokenManager.getTokenExpiration`).
pub(super) fn lives(realm: RealmRow, clients: &[ClientRow]) -> Vec<TokenLife> {
    let life = |of, seconds: i64| TokenLife {
        of,
        lives: u64::try_from(seconds).ok().map(Duration::from_secs),
    };
    let own = |client: &ClientRow| -> Option<i64> {
        client.attributes.lifespan.as_deref()?.trim().parse().ok()
    };
    let mut lives = Vec::new();
    if clients.is_empty() || clients.iter().any(|client| own(client).is_none()) {
        lives.push(life(TokensOf::Realm, realm.access_token_lifespan));
    }
    for client in clients {
        let id = || client.client_id.clone();
        lives.extend(own(client).map(|seconds| life(TokensOf::Client(id()), seconds)));
        if client.implicit_flow_enabled {
            let seconds = realm.access_token_lifespan_for_implicit_flow;
            lives.push(life(TokensOf::ImplicitFlow(id()), seconds));
        }
    }
    lives
}

/// What of clients is known, so that what is new ends something.
#[derive(Default)]
pub(super) struct Clients {
    /// Each one's not-before, and whether it is enabled.
    known: BTreeMap<String, (i64, bool)>,
}

impl Clients {
    /// What has ended by what is said of a client at `now`, in milliseconds of the server's clock; what is
    /// `back` milliseconds ago concerns no token any more. One that is not shown may be hidden: nothing has
    /// ended by that.
    pub(super) fn take(
        &mut self,
        row: &ClientRow,
        (now, back): (i64, i64),
    ) -> Vec<(SessionScope, i64)> {
        let ClientRow { client_id, enabled, not_before, .. } = row;
        let before = self.known.insert(client_id.clone(), (*not_before, *enabled));
        let (before, was_enabled) = before.unwrap_or((0, true));
        let mut ended = Vec::new();
        let mut end = |last_iat| ended.push((SessionScope::Client(client_id.clone()), last_iat));
        let recent = not_before.saturating_mul(1000) >= now.saturating_sub(back);
        if *not_before != before && recent {
            end(*not_before);
        }
        if was_enabled && !enabled {
            end(now.saturating_add(SETTLES).div_euclid(1000));
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(more: &str) -> ClientRow {
        let text = format!(r#"{{"clientId": "app", "secret": "s", "enabled": true{more}}}"#);
        json(text.as_bytes()).unwrap()
    }

    type Case = (&'static str, RealmRow, Vec<ClientRow>, Vec<(TokensOf, Option<u64>)>);

    #[test]
    fn a_clients_tokens_live_as_the_server_says() {
        let realm = |lifespan: i64| RealmRow {
            access_token_lifespan: lifespan,
            access_token_lifespan_for_implicit_flow: 900,
        };
        let own = |seconds: &str| {
            client(&format!(r#", "attributes": {{"access.token.lifespan": {seconds}}}"#))
        };
        let implicit = client(r#", "implicitFlowEnabled": true, "attributes": {}"#);
        let (of_realm, id) = (TokensOf::Realm, || "app".to_owned());
        let table: &[Case] = &[
            ("no client is known", realm(300), vec![], vec![(of_realm.clone(), Some(300))]),
            (
                "nothing of its own",
                realm(300),
                vec![client("")],
                vec![(of_realm.clone(), Some(300))],
            ),
            ("an empty text", realm(300), vec![own("\"\"")], vec![(of_realm.clone(), Some(300))]),
            ("null", realm(300), vec![own("null")], vec![(of_realm.clone(), Some(300))]),
            (
                "its own",
                realm(300),
                vec![own("\"7200\"")],
                vec![(TokensOf::Client(id()), Some(7200))],
            ),
            (
                "as its session",
                realm(300),
                vec![own("\"-1\"")],
                vec![(TokensOf::Client(id()), None)],
            ),
            ("the realm's as its session", realm(-1), vec![], vec![(of_realm.clone(), None)]),
            (
                "two, of which one has its own",
                realm(300),
                vec![client(""), own("\"60\"")],
                vec![(of_realm.clone(), Some(300)), (TokensOf::Client(id()), Some(60))],
            ),
            (
                "the implicit flow",
                realm(300),
                vec![implicit],
                vec![(of_realm, Some(300)), (TokensOf::ImplicitFlow(id()), Some(900))],
            ),
        ];
        for (what, realm, clients, expected) in table {
            let got: Vec<(TokensOf, Option<u64>)> = lives(*realm, clients)
                .into_iter()
                .map(|it| (it.of, it.lives.map(|lives| lives.as_secs())))
                .collect();
            assert_eq!(got, *expected, "{what}");
        }
    }

    #[test]
    fn what_is_new_of_a_client_ends_its_sessions_once() {
        const NOW: i64 = 1_800_000_000;
        let mut clients = Clients::default();
        let mut take = |more: &str, later: i64| -> Vec<i64> {
            let text = format!(r#"{{"clientId": "app"{more}}}"#);
            let now = (NOW + later) * 1000 + 600;
            let ended = clients.take(&json(text.as_bytes()).unwrap(), (now, 3_600_000));
            assert!(ended.iter().all(|(of, _)| *of == SessionScope::Client("app".to_owned())));
            ended.into_iter().map(|(_, last_iat)| last_iat - NOW).collect()
        };
        let not_before = |seconds: i64| format!(r#", "enabled": true, "notBefore": {seconds}"#);
        let none: [i64; 0] = [];
        assert_eq!(take(r#", "enabled": true"#, 0), none);
        assert_eq!(take(&not_before(NOW + 5), 6), [5]);
        assert_eq!(take(&not_before(NOW + 5), 7), none);
        assert_eq!(take(&not_before(NOW + 9), 10), [9]);
        assert_eq!(take(&not_before(0), 11), none, "it is taken back");
        assert_eq!(take(&not_before(NOW - 7_200), 12), none, "no token is so old");
        let disabled = format!(r#", "enabled": false, "notBefore": {}"#, NOW - 7_200);
        assert_eq!(take(&disabled, 20), [21]);
        assert_eq!(take(&disabled, 21), none);
        assert_eq!(take(r#", "enabled": true"#, 30), none);
        assert_eq!(take(r#", "enabled": false"#, 40), [41]);
        // Whoever begins ends what was disabled before.
        assert_eq!(
            Clients::default().take(
                &json(br#"{"clientId": "app", "enabled": false}"#).unwrap(),
                (NOW * 1000, 3_600_000)
            ),
            [(SessionScope::Client("app".to_owned()), NOW)]
        );
    }
}

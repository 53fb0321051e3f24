//! Who is asking, by the tokens of a real Keycloak, through a rotation of its keys.

#![cfg(test)]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use chrono::{TimeDelta, Utc};
use idpsyncd::config::{GatewayConfig, parse};
use idpsyncd::gateway::identity::{Identifier, JwksCache};
use idpsyncd::gateway::question::{Header, Headers, Identity, Unidentified};
use idpsyncd::model::Time;
use idpsyncd::model::caller::{Caller, KnownBy};
use serde_json::{Value, json};
use support::keycloak::{Keycloak, Realm};

const CLIENT: &str = "osmo-browser-flow";

struct Bearer(String);

impl Headers for Bearer {
    fn header(&self, name: &str) -> Header<'_> {
        if name == "authorization" { Header::One(&self.0) } else { Header::Absent }
    }
}

fn gateway(issuer: &str) -> GatewayConfig {
    let text = format!(
        r#"
        [store]
        path = "store.db"
        [[source]]
        name = "acme"
        kind = "file"
        realm_export = "realm.json"
        [gateway]
        http = "127.0.0.1:9180"
        identity = "jwt"
        [[gateway.jwt]]
        issuer = "{issuer}"
        source = "acme"
        audiences = ["{CLIENT}"]
        roles_claim = "realm_access.roles"
        "#
    );
    parse(&text, Path::new("/etc/idpsyncd.toml"), &idpsyncd::source::kinds())
        .unwrap()
        .gateway
        .unwrap()
}

fn public_client(realm: &Realm<'_>, client_id: &str, more: Value) -> String {
    let mut client = json!({"clientId": client_id, "enabled": true, "publicClient": true,
        "directAccessGrantsEnabled": true});
    for (key, value) in more.as_object().unwrap() {
        client[key] = value.clone();
    }
    realm.post("/clients", &client)
}

fn add_key(realm: &Realm<'_>, provider: &str, priority: u32, config: Value) -> String {
    let mut settings = json!({"priority": [priority.to_string()], "enabled": ["true"],
        "active": ["true"]});
    for (key, value) in config.as_object().unwrap() {
        settings[key] = value.clone();
    }
    realm.post(
        "/components",
        &json!({"name": format!("{provider}-{priority}"), "providerId": provider,
            "providerType": "org.keycloak.keys.KeyProvider", "config": settings}),
    )
}

fn access_token(realm: &Realm<'_>, client: &str) -> String {
    realm.sign_in(client, "Ann", "pw")["access_token"].as_str().unwrap().to_owned()
}

async fn ask_at(identifier: &Identifier, token: &str, now: Time) -> Result<Identity, Unidentified> {
    identifier.identify(&Bearer(format!("Bearer {token}")), None, now).await
}

async fn passes(identifier: &Identifier, token: &str) -> Arc<Caller> {
    match ask_at(identifier, token, Utc::now()).await {
        Ok(Identity::Caller(caller)) => caller,
        other => panic!("nobody is identified: {other:?}"),
    }
}

async fn refused(identifier: &Identifier, token: &str) -> String {
    match ask_at(identifier, token, Utc::now()).await {
        Err(Unidentified::Refused(why)) => why.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_are_proof_and_what_else_keycloak_issues_is_not() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("tokens");
    let ann = realm.person("Ann", "pw");
    let role = realm.realm_role("osmo-ml");
    realm.give(&format!("users/{ann}"), &role);
    public_client(&realm, CLIENT, json!({}));
    public_client(&realm, "shop", json!({}));
    let identifier = Identifier::new(&gateway(&realm.issuer()), None).unwrap();

    let answer = realm.sign_in(CLIENT, "Ann", "pw");
    let token = answer["access_token"].as_str().unwrap();
    let caller = passes(&identifier, token).await;
    assert_eq!(caller.name.as_deref(), Some("ann"));
    assert_eq!(caller.known_by, KnownBy::Id { source: "acme".to_owned(), ext: ann });
    assert_eq!(caller.issuer, Some(realm.issuer()));
    assert!(caller.roles.as_ref().unwrap().contains(&"osmo-ml".to_owned()), "{caller:?}");

    let id_token = refused(&identifier, answer["id_token"].as_str().unwrap()).await;
    assert!(id_token.contains("no access token"), "{id_token}");
    let refresh = refused(&identifier, answer["refresh_token"].as_str().unwrap()).await;
    assert!(refresh.contains("algorithm `HS512`"), "{refresh}");
    let shop = refused(&identifier, &access_token(&realm, "shop")).await;
    assert!(shop.contains("meant for") && shop.contains("shop"), "{shop}");

    let later = ask_at(&identifier, token, Utc::now() + TimeDelta::hours(1)).await;
    assert!(
        matches!(&later, Err(Unidentified::Refused(why)) if why.to_string().contains("expired")),
        "{later:?}"
    );

    let other = keycloak.realm("tokens-other");
    other.person("Ann", "pw");
    public_client(&other, CLIENT, json!({}));
    let foreign = access_token(&other, CLIENT);
    let why = refused(&identifier, &foreign).await;
    assert!(why.contains("no `[[gateway.jwt]]` is for its issuer"), "{why}");
    // Nor where the other realm's signature is put below our realm's claims.
    let (message, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{message}.{}", foreign.rsplit_once('.').unwrap().1);
    assert!(refused(&identifier, &forged).await.contains("signature is wrong"));
    passes(&identifier, token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_that_keycloak_signs_with_is_verified() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("algorithms");
    realm.person("Ann", "pw");
    add_key(&realm, "rsa-generated", 50, json!({"algorithm": ["PS256"]}));
    add_key(&realm, "rsa-generated", 51, json!({"algorithm": ["RS512"]}));
    add_key(&realm, "ecdsa-generated", 52, json!({"ecdsaEllipticCurveKey": ["P-256"]}));
    add_key(&realm, "ecdsa-generated", 53, json!({"ecdsaEllipticCurveKey": ["P-384"]}));
    // A curve that is not known here must not keep the other keys from being read.
    add_key(&realm, "ecdsa-generated", 54, json!({"ecdsaEllipticCurveKey": ["P-521"]}));
    add_key(&realm, "eddsa-generated", 55, json!({"eddsaEllipticCurveKey": ["Ed25519"]}));
    let client = public_client(&realm, CLIENT, json!({}));
    let identifier = Identifier::new(&gateway(&realm.issuer()), None).unwrap();
    for algorithm in ["RS256", "PS256", "RS512", "ES256", "ES384", "EdDSA"] {
        let attributes = json!({"access.token.signed.response.alg": algorithm});
        realm.put(
            &format!("/clients/{client}"),
            &json!({"clientId": CLIENT, "attributes": attributes}),
        );
        let token = access_token(&realm, CLIENT);
        assert_eq!(passes(&identifier, &token).await.name.as_deref(), Some("ann"), "{algorithm}");
    }
    let attributes = json!({"access.token.signed.response.alg": "ES512"});
    realm
        .put(&format!("/clients/{client}"), &json!({"clientId": CLIENT, "attributes": attributes}));
    let why = refused(&identifier, &access_token(&realm, CLIENT)).await;
    assert!(why.contains("`ES512`, which idpsyncd cannot verify"), "{why}");
}

/// Tells what is kept.
struct Told(Mutex<mpsc::Sender<String>>);

impl JwksCache for Told {
    fn load(&self, _: &str) -> Option<String> {
        None
    }

    fn keep(&self, _: &str, jwks: &str) -> bool {
        self.0.lock().unwrap().send(jwks.to_owned()).is_ok()
    }
}

/// What was kept once.
struct Kept(String);

impl JwksCache for Kept {
    fn load(&self, _: &str) -> Option<String> {
        Some(self.0.clone())
    }

    fn keep(&self, _: &str, _: &str) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_pass_through_a_rotation_and_fall_with_their_key() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("rotation");
    realm.person("Ann", "pw");
    public_client(&realm, CLIENT, json!({}));
    let (send, kept) = mpsc::channel();
    let config = gateway(&realm.issuer());
    let identifier = Identifier::new(&config, Some(Arc::new(Told(Mutex::new(send))))).unwrap();
    let identifier = Arc::new(identifier);
    let _reading = identifier.start();

    let first = access_token(&realm, CLIENT);
    passes(&identifier, &first).await;
    let after_first = kept.recv().unwrap();
    // Whoever restarts with the kept keys needs no Keycloak for that: it is not even asked.
    let restarted = Identifier::new(&config, Some(Arc::new(Kept(after_first.clone())))).unwrap();
    let sent = Bearer(format!("Bearer {first}"));
    let answer = restarted.identify(&sent, None, Utc::now());
    let answer = futures_util::FutureExt::now_or_never(answer).expect("nothing to wait for");
    assert!(matches!(answer, Ok(Identity::Caller(_))), "{answer:?}");

    let filter = "/components?type=org.keycloak.keys.KeyProvider";
    let providers = realm.get(filter);
    let old = providers.as_array().unwrap().iter().find(|it| it["providerId"] == "rsa-generated");
    let old = old.unwrap()["id"].as_str().unwrap().to_owned();

    add_key(&realm, "rsa-generated", 200, json!({}));
    let second = access_token(&realm, CLIENT);
    assert_ne!(header(&first), header(&second), "another `kid`");
    passes(&identifier, &second).await;
    passes(&identifier, &first).await;
    assert_ne!(kept.recv().unwrap(), after_first);

    realm.delete(&format!("/components/{old}"));
    add_key(&realm, "rsa-generated", 300, json!({}));
    let third = access_token(&realm, CLIENT);
    // Its key is unknown, so the keys are read again, and the first is no longer among them.
    passes(&identifier, &third).await;
    passes(&identifier, &second).await;
    let why = refused(&identifier, &first).await;
    assert!(why.contains("no key called"), "{why}");
}

/// The header of a token, as it is sent.
fn header(token: &str) -> &str {
    token.split('.').next().unwrap()
}

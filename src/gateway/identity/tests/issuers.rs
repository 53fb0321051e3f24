//! Issuers that change their keys, are sick, or are gone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::super::issuer::{Issuer, Pace};
use super::super::{Identifier, JwksCache, StoreJwksCache};
use super::kit::*;
use crate::config::{GatewayConfig, IdentityWay as Way};
use crate::gateway::question::{Identity, Unidentified};
use crate::store::{self, Meta, Store};

/// Reads as often as it is asked to.
const ALWAYS: Pace = Pace {
    refresh: Duration::from_secs(3600),
    ration: Duration::from_millis(1),
    burst: 1_000_000,
    wait: Duration::from_secs(60),
};

/// An issuer whose answers can be changed.
struct Idp {
    server: MockServer,
    issuer: String,
    answers: Arc<Mutex<[ResponseTemplate; 2]>>,
    reads: Arc<AtomicUsize>,
}

struct Answers(Arc<Mutex<[ResponseTemplate; 2]>>, usize, Option<Arc<AtomicUsize>>);

impl Respond for Answers {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        if let Some(reads) = &self.2 {
            reads.fetch_add(1, Ordering::SeqCst);
        }
        self.0.lock().unwrap()[self.1].clone()
    }
}

impl Idp {
    async fn start(keys: Vec<Value>) -> Idp {
        let server = MockServer::start().await;
        let issuer = format!("{}/realms/osmo", server.uri());
        let page = ResponseTemplate::new(200).set_body_json(discovery(&issuer));
        let set = ResponseTemplate::new(200).set_body_json(json!({"keys": keys}));
        let answers = Arc::new(Mutex::new([page, set]));
        let reads = Arc::new(AtomicUsize::new(0));
        for (place, at, reads) in [
            (0, "/realms/osmo/.well-known/openid-configuration", None),
            (1, "/realms/osmo/protocol/openid-connect/certs", Some(Arc::clone(&reads))),
        ] {
            let answer = Answers(Arc::clone(&answers), place, reads);
            Mock::given(method("GET")).and(path(at)).respond_with(answer).mount(&server).await;
        }
        Idp { server, issuer, answers, reads }
    }

    /// Answers that to whoever asks for its discovery page.
    fn discovery(&self, answer: ResponseTemplate) {
        self.answers.lock().unwrap()[0] = answer;
    }

    /// Answers that to whoever asks for its keys.
    fn answer(&self, answer: ResponseTemplate) {
        self.answers.lock().unwrap()[1] = answer;
    }

    fn keys(&self, keys: Vec<Value>) {
        self.answer(ResponseTemplate::new(200).set_body_json(json!({"keys": keys})));
    }

    /// How often its keys were asked for.
    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn identifier(&self, pace: Pace) -> Arc<Identifier> {
        self.with_cache(pace, Arc::new(MemoryJwksCache::default()))
    }

    fn with_cache(&self, pace: Pace, cache: Arc<MemoryJwksCache>) -> Arc<Identifier> {
        let config = config(Way::Jwt, vec![jwt(&self.issuer)]);
        Arc::new(Identifier::with_pace(&config, Some(cache), pace).unwrap())
    }

    fn token(&self, signer: &Signer) -> Sent {
        bearer(&signer.token(&claims_of(&self.issuer)))
    }
}

fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/protocol/openid-connect/auth"),
        "token_endpoint": format!("{issuer}/protocol/openid-connect/token"),
        "jwks_uri": format!("{issuer}/protocol/openid-connect/certs"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ML-DSA-44"],
    })
}

fn issuer(identifier: &Identifier) -> &Arc<Issuer> {
    &identifier.issuers()[0]
}

async fn ask(identifier: &Identifier, sent: &Sent) -> Result<Identity, Unidentified> {
    sendable(identifier.identify(sent, None, now())).await
}

/// Headers need not be shared among threads, and yet the answer may come on another.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

fn unavailable(answer: Result<Identity, Unidentified>) -> String {
    match answer {
        Err(Unidentified::Unavailable(why)) => why.to_string(),
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn keys_are_read_at_the_start_and_for_whoever_comes_first() {
    let key = Signer::es256("one");
    let idp = Idp::start(vec![key.jwk()]).await;
    let identifier = idp.identifier(NEVER);
    let sent = idp.token(&key);
    unavailable(ask(&identifier, &sent).await);
    assert_eq!(idp.reads(), 0, "the ration is empty");
    let _reading = identifier.start();
    assert!(issuer(&identifier).refresh().await);
    assert_eq!(caller(ask(&identifier, &sent).await).name.as_deref().unwrap_or_default(), "ann");

    let identifier = idp.identifier(ALWAYS);
    assert_eq!(
        caller(ask(&identifier, &sent).await).name.as_deref().unwrap_or_default(),
        "ann",
        "without a start as well"
    );
}

#[tokio::test]
async fn keys_are_read_again_and_again_without_being_asked_for() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let idp = Idp::start(vec![old.jwk()]).await;
    idp.discovery(ResponseTemplate::new(503));
    let often = Pace { refresh: Duration::from_millis(1), ..NEVER };
    let identifier = idp.identifier(often);
    let reading = identifier.start();
    while issuer(&identifier).fault().is_none() {
        tokio::task::yield_now().await;
    }
    idp.discovery(ResponseTemplate::new(200).set_body_json(discovery(&idp.issuer)));
    while ask(&identifier, &idp.token(&old)).await.is_err() {
        tokio::task::yield_now().await;
    }
    idp.keys(vec![new.jwk()]);
    while ask(&identifier, &idp.token(&new)).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(reason(ask(&identifier, &idp.token(&old)).await).contains("`old`"));
    // It ends with the handle, and what was read stays.
    drop(reading);
    caller(ask(&identifier, &idp.token(&new)).await);
}

/// What is logged, from here on and on this thread.
fn logged() -> (tracing::subscriber::DefaultGuard, impl Fn() -> String) {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    (guard, move || String::from_utf8(log.0.lock().unwrap().clone()).unwrap())
}

#[tokio::test]
async fn what_is_wrong_with_an_issuer_is_told_once_and_no_token_ever() {
    let (_guard, log) = logged();
    let key = Signer::es256("key");
    let idp = Idp::start(vec![key.jwk()]).await;
    let identifier = idp.identifier(ALWAYS);
    let warned = || log().lines().filter(|line| line.contains(" WARN ")).count();
    let token = key.token(&claims_of(&idp.issuer));
    caller(ask(&identifier, &bearer(&token)).await);
    reason(ask(&identifier, &idp.token(&Signer::es256("key"))).await);
    assert_eq!(warned(), 0, "{}", log());
    for (status, told) in [(500, 1), (500, 1), (404, 2), (404, 2), (200, 2), (404, 3)] {
        idp.discovery(ResponseTemplate::new(status).set_body_json(discovery(&idp.issuer)));
        assert_eq!(issuer(&identifier).refresh().await, status == 200);
        assert_eq!(warned(), told, "{}", log());
    }
    assert!(log().contains("those known stay in use"), "{}", log());
    assert!(log().contains("can be read again"), "{}", log());
    for part in token.split('.') {
        assert!(!log().contains(part), "{}", log());
    }
}

#[tokio::test]
async fn keys_rotate() {
    let (old, new) = (Signer::es256("old"), Signer::rsa("new", 0));
    let idp = Idp::start(vec![old.jwk()]).await;
    let identifier = idp.identifier(ALWAYS);
    let (before, after) = (idp.token(&old), idp.token(&new));
    caller(ask(&identifier, &before).await);
    idp.keys(vec![new.jwk(), old.jwk()]);
    caller(ask(&identifier, &after).await);
    assert_eq!(idp.reads(), 2, "the unknown key made it read once more");
    let remembered = caller(ask(&identifier, &before).await);
    assert_eq!(remembered.name.as_deref().unwrap_or_default(), "ann", "both are keys now");
    idp.keys(vec![new.jwk()]);
    caller(ask(&identifier, &before).await);
    assert!(issuer(&identifier).refresh().await);
    let why = reason(ask(&identifier, &before).await);
    assert!(why.contains("no key called `old`"), "a remembered token falls with its key: {why}");
    caller(ask(&identifier, &after).await);
    idp.keys(vec![new.jwk(), old.jwk()]);
    caller(ask(&identifier, &before).await);
}

#[tokio::test]
async fn a_key_replaced_under_its_name_no_longer_verifies() {
    let (old, new) = (Signer::es256("same"), Signer::es256("same"));
    let idp = Idp::start(vec![old.jwk()]).await;
    let identifier = idp.identifier(ALWAYS);
    let (before, after) = (idp.token(&old), idp.token(&new));
    caller(ask(&identifier, &before).await);
    idp.keys(vec![new.jwk()]);
    assert!(issuer(&identifier).refresh().await);
    caller(ask(&identifier, &after).await);
    assert!(reason(ask(&identifier, &before).await).contains("signature is wrong"));
}

#[tokio::test]
async fn keys_are_kept_through_whatever_is_no_answer() {
    let (key, other) = (Signer::es256("key"), Signer::es256("other"));
    let idp = Idp::start(vec![key.jwk()]).await;
    let cache = Arc::new(MemoryJwksCache::default());
    let identifier = idp.with_cache(ALWAYS, Arc::clone(&cache));
    let sent = idp.token(&key);
    assert!(issuer(&identifier).refresh().await);
    let html = || ResponseTemplate::new(200).set_body_raw("<html>sign in</html>", "text/html");
    let large = format!("{{\"keys\":[{}],\"x\":\"{}\"}}", other.jwk(), "x".repeat(600_000));
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    let mut encryption = other.jwk();
    encryption["use"] = json!("enc");
    let elsewhere = ResponseTemplate::new(302)
        .insert_header("location", format!("{}/elsewhere", idp.server.uri()));
    Mock::given(path("/elsewhere"))
        .respond_with(json(json!({"keys": [other.jwk()]})))
        .expect(0)
        .mount(&idp.server)
        .await;
    for (answer, why) in [
        (ResponseTemplate::new(500), "status 500"),
        (ResponseTemplate::new(404).set_body_string("not found"), "status 404"),
        (elsewhere, "status 302"),
        (html(), "not JSON"),
        (ResponseTemplate::new(200).set_body_raw(large, "application/json"), "more than 512 KiB"),
        (json(json!({"keys": []})), "empty"),
        (json(json!({})), "no list `keys`"),
        (json(json!({"keys": {"kid": "key"}})), "no list `keys`"),
        (
            json(json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, encryption, 7]})),
            "none of the 3 keys",
        ),
        (ResponseTemplate::new(200).set_body_string("{\"keys\":["), "not JSON"),
    ] {
        idp.answer(answer);
        assert!(!issuer(&identifier).refresh().await, "{why}");
        let fault = issuer(&identifier).fault().unwrap().to_string();
        assert!(fault.contains(why), "{fault}");
        assert!(!fault.contains("sign in"), "nothing of the answer: {fault}");
        caller(ask(&identifier, &sent).await);
        assert!(reason(ask(&identifier, &idp.token(&other)).await).contains("`other`"), "{why}");
    }
    let other_issuer = format!("{}/realms/other", idp.server.uri());
    let mut plain = discovery(&idp.issuer);
    plain.as_object_mut().unwrap().remove("jwks_uri");
    idp.keys(vec![other.jwk()]);
    for (answer, why) in [
        (ResponseTemplate::new(503), "status 503"),
        (html(), "not JSON"),
        (json(discovery(&other_issuer)), "calls itself otherwise"),
        (json(discovery(&format!("{}/", idp.issuer))), "calls itself otherwise"),
        (json(plain), "jwks_uri"),
        (json(json!([])), "not one of OpenID Connect"),
    ] {
        idp.discovery(answer);
        assert!(!issuer(&identifier).refresh().await, "{why}");
        let fault = issuer(&identifier).fault().unwrap().to_string();
        assert!(fault.contains(why) || why == "jwks_uri", "{fault}");
        caller(ask(&identifier, &sent).await);
    }
    idp.discovery(json(discovery(&idp.issuer)));
    assert!(issuer(&identifier).refresh().await, "well again");
    assert!(issuer(&identifier).fault().is_none());
    caller(ask(&identifier, &idp.token(&other)).await);
    assert!(reason(ask(&identifier, &sent).await).contains("no key called `key`"));
}

#[tokio::test]
async fn keys_of_kinds_that_are_not_known_do_not_spoil_the_others() {
    let key = Signer::ed25519("ed");
    let strange = vec![
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "pq"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "hmac", "alg": "HS256"}),
        json!(null),
        json!({"kty": "RSA", "use": "enc", "kid": 1}),
        key.jwk(),
    ];
    let idp = Idp::start(strange).await;
    let identifier = idp.identifier(ALWAYS);
    caller(ask(&identifier, &idp.token(&key)).await);
}

#[tokio::test]
async fn what_strangers_can_make_it_read_is_rationed() {
    let key = Signer::es256("key");
    let idp = Idp::start(vec![key.jwk()]).await;
    let identifier = idp.identifier(Pace { burst: 2, ..NEVER });
    assert!(issuer(&identifier).refresh().await);
    for kid in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let unknown = idp.token(&Signer { kid, ..key.clone() });
        assert!(reason(ask(&identifier, &unknown).await).contains(kid));
    }
    assert_eq!(idp.reads(), 1 + 2, "a burst of two");
    caller(ask(&identifier, &idp.token(&key)).await);
}

#[tokio::test]
async fn a_thousand_requests_with_a_new_key_make_one_read() {
    let (key, new) = (Signer::es256("key"), Signer::ed25519("new"));
    let idp = Idp::start(vec![key.jwk()]).await;
    let identifier = idp.identifier(Pace { burst: 1, ..NEVER });
    assert!(issuer(&identifier).refresh().await);
    idp.keys(vec![key.jwk(), new.jwk()]);
    let sent = idp.token(&new);
    for answer in join_all((0..1000).map(|_| ask(&identifier, &sent))).await {
        caller(answer);
    }
    assert_eq!(idp.reads(), 2);
}

#[tokio::test]
async fn the_read_goes_on_when_the_request_is_gone() {
    let (key, new) = (Signer::es256("key"), Signer::ed25519("new"));
    let idp = Idp::start(vec![key.jwk()]).await;
    let identifier = idp.identifier(Pace { burst: 1, ..NEVER });
    assert!(issuer(&identifier).refresh().await);
    idp.keys(vec![key.jwk(), new.jwk()]);
    let sent = idp.token(&new);
    let gone = ask(&identifier, &sent);
    assert!(futures_util::FutureExt::now_or_never(gone).is_none(), "it waits, and is dropped");
    // Joins the read that the other one began.
    caller(ask(&identifier, &sent).await);
    assert_eq!(idp.reads(), 2);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_bound() {
    let (key, new) = (Signer::es256("key"), Signer::ed25519("new"));
    let idp = Idp::start(vec![key.jwk()]).await;
    let pace = Pace { wait: Duration::from_millis(10), ..ALWAYS };
    let identifier = idp.identifier(pace);
    assert!(issuer(&identifier).refresh().await);
    // Longer than any test runs.
    idp.answer(ResponseTemplate::new(200).set_delay(Duration::from_secs(3600)));
    assert!(reason(ask(&identifier, &idp.token(&new)).await).contains("no key called `new`"));
    let fresh = idp.identifier(pace);
    let why = unavailable(ask(&fresh, &idp.token(&key)).await);
    assert!(why.contains("it has not answered so far"), "{why}");
}

#[tokio::test]
async fn without_any_key_it_cannot_be_told() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/realms/osmo", listener.local_addr().unwrap())
    };
    let key = Signer::es256("key");
    let config = config(Way::Jwt, vec![jwt(&gone)]);
    let identifier = Identifier::with_pace(&config, None, ALWAYS).unwrap();
    let good = bearer(&key.token(&claims_of(&gone)));
    let why = unavailable(ask(&identifier, &good).await);
    assert!(why.contains(&gone) && why.contains("refused"), "{why}");
    // What is bad under any key is refused all the same.
    let mut expired = claims_of(&gone);
    expired["exp"] = json!(NOW - 3600);
    assert!(reason(ask(&identifier, &bearer(&key.token(&expired))).await).contains("expired"));
    assert_eq!(ask(&identifier, &Sent(vec![])).await, Ok(Identity::Nobody));
}

#[tokio::test]
async fn kept_keys_work_before_any_issuer_was_reached() {
    let key = Signer::rsa("key", 0);
    let cache = Arc::new(MemoryJwksCache::default());
    let idp = Idp::start(vec![key.jwk()]).await;
    let sent = idp.token(&key);
    let identifier = idp.with_cache(ALWAYS, Arc::clone(&cache));
    caller(ask(&identifier, &sent).await);
    issuer(&identifier).shelved().await;
    assert!(cache.load(&idp.issuer).unwrap().contains("\"kid\":\"key\""));
    idp.discovery(ResponseTemplate::new(503));
    let restarted = idp.with_cache(NEVER, Arc::clone(&cache));
    assert_eq!(
        caller(at_once(&restarted, &sent, now())).name.as_deref().unwrap_or_default(),
        "ann"
    );
    // What is no JWK set is as good as nothing.
    cache.keep(&idp.issuer, "{}");
    let restarted = idp.with_cache(NEVER, cache);
    unavailable(ask(&restarted, &sent).await);
}

#[test]
fn the_store_keeps_keys_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let cache = |writes| StoreJwksCache::new(store_at(&path), writes);
    let first = cache(true);
    first.keep(ISSUER, "one");
    assert!(!path.exists(), "the store is not made by this");
    assert_eq!(first.load(ISSUER), None);

    let meta = || -> Meta { store_at(&path).reader().unwrap().unwrap().meta().unwrap() };
    store_at(&path).prepare().unwrap();
    let before = meta();
    first.keep(ISSUER, "one");
    assert_eq!(first.load(ISSUER).as_deref(), Some("one"), "kept once there is a store");
    first.keep("https://b.example", "two");
    cache(false).keep(ISSUER, "three");
    assert_eq!(cache(false).load(ISSUER).as_deref(), Some("one"), "one that only reads keeps none");
    cache(true).keep(ISSUER, "four");
    assert_eq!(cache(false).load(ISSUER).as_deref(), Some("four"));
    assert_eq!(cache(false).load("https://b.example").as_deref(), Some("two"));
    assert_eq!(cache(false).load("https://c.example"), None);
    assert_eq!(meta(), before, "neither generation nor version");
}

fn store_at(path: &std::path::Path) -> Arc<dyn Store> {
    store::open(&crate::model::StoreConfig::sqlite(path))
}

#[test]
fn the_same_keys_are_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let writer = store_at(&path);
    writer.prepare().unwrap();
    writer.keep_keys(ISSUER, "one", at(1)).unwrap();
    writer.keep_keys(ISSUER, "one", at(2)).unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let read_at = || conn.query_row("SELECT read_at FROM jwks", [], |row| row.get::<_, i64>(0));
    assert_eq!(read_at(), Ok(1));
    writer.keep_keys(ISSUER, "two", at(3)).unwrap();
    assert_eq!(read_at(), Ok(3));
}

#[test]
fn a_ca_file_that_cannot_be_used_is_said_at_once() {
    let mut one = jwt(ISSUER);
    one.ca_file = Some("/nonexistent/ca.pem".into());
    let error = Identifier::new(&config(Way::Jwt, vec![one]), None).err().unwrap().to_string();
    assert!(error.contains(ISSUER) && error.contains("/nonexistent/ca.pem"), "{error}");
}

/// A cache that somebody else holds for a while.
struct Held {
    kept: MemoryJwksCache,
    tries: AtomicUsize,
    busy: usize,
}

impl JwksCache for Held {
    fn load(&self, issuer: &str) -> Option<String> {
        self.kept.load(issuer)
    }

    fn keep(&self, issuer: &str, jwks: &str) -> bool {
        let free = self.tries.fetch_add(1, Ordering::SeqCst) >= self.busy;
        free && self.kept.keep(issuer, jwks)
    }
}

#[tokio::test]
async fn keys_that_could_not_be_kept_are_kept_in_the_end_and_the_newest_are() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let idp = Idp::start(vec![old.jwk()]).await;
    let cache =
        Arc::new(Held { kept: MemoryJwksCache::default(), tries: AtomicUsize::new(0), busy: 3 });
    let config = config(Way::Jwt, vec![jwt(&idp.issuer)]);
    let kept: Arc<dyn JwksCache> = Arc::clone(&cache) as _;
    let identifier = Arc::new(Identifier::with_pace(&config, Some(kept), ALWAYS).unwrap());
    let reading = identifier.start();
    caller(ask(&identifier, &idp.token(&old)).await);
    idp.keys(vec![new.jwk()]);
    assert!(issuer(&identifier).refresh().await);
    let has = |kid: &str| cache.load(&idp.issuer).is_some_and(|text| text.contains(kid));
    while !has("\"kid\":\"new\"") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!has("\"kid\":\"old\""));
    assert!(cache.tries.load(Ordering::SeqCst) > 3);
    reading.end(&identifier).await;
}

#[tokio::test]
async fn what_could_not_be_kept_gets_one_more_try_at_the_end() {
    let key = Signer::es256("key");
    let idp = Idp::start(vec![key.jwk()]).await;
    let cache = Arc::new(MemoryJwksCache::default());
    let identifier = idp.with_cache(ALWAYS, Arc::clone(&cache));
    // Read without a reading that would keep them.
    caller(ask(&identifier, &idp.token(&key)).await);
    assert_eq!(cache.load(&idp.issuer), None);
    let idle = super::super::KeyReading { tasks: tokio::task::JoinSet::new() };
    idle.end(&identifier).await;
    assert!(cache.load(&idp.issuer).is_some());
}

#[tokio::test]
async fn keys_at_an_address_of_their_own_need_no_discovery() {
    let key = Signer::es256("key");
    let idp = Idp::start(vec![key.jwk()]).await;
    idp.discovery(ResponseTemplate::new(500));
    let mut jwt = jwt("osmo");
    jwt.jwks_url = Some(format!("{}/realms/osmo/protocol/openid-connect/certs", idp.server.uri()));
    let config = config(Way::Jwt, vec![jwt]);
    let identifier = Identifier::with_pace(&config, None, ALWAYS).unwrap();
    // The issuer is a text to compare, and no more.
    caller(ask(&identifier, &bearer(&key.token(&claims_of("osmo")))).await);
    let other = bearer(&key.token(&claims_of("osmo2")));
    assert!(reason(ask(&identifier, &other).await).contains("no `[[gateway.jwt]]`"));
    idp.answer(ResponseTemplate::new(404));
    assert!(!issuer(&identifier).refresh().await);
    assert!(
        issuer(&identifier)
            .fault()
            .unwrap()
            .to_string()
            .contains("/certs` answered with status 404")
    );
}

async fn faults(config: &GatewayConfig) -> Vec<String> {
    super::super::faults(config).await.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_check_tells_which_keys_cannot_verify() {
    let key = Signer::es256("key");
    let x = "A".repeat(88);
    let large = json!({"kty": "EC", "crv": "P-521", "x": x, "y": x, "kid": "large", "use": "sig"});
    let encryption = json!({"kty": "RSA", "use": "enc", "kid": "e", "alg": "RSA-OAEP"});
    let idp = Idp::start(vec![key.jwk(), large, encryption]).await;
    let config = config(Way::Jwt, vec![jwt(&idp.issuer)]);
    let told = faults(&config).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("`large`") && told[0].contains("cannot verify"), "{told:?}");
    assert!(told[0].contains("ES512") && told[0].contains(&idp.issuer), "{told:?}");
    idp.discovery(ResponseTemplate::new(503));
    let told = faults(&config).await;
    assert!(told.len() == 1 && told[0].contains("status 503"), "{told:?}");
}

//! AuthZEN beside ext_authz, on the same gateway in the same run: what an evaluation costs the thread that
//! answers, beside a check over gRPC about the same people, actions and resources; and how long the first page of
//! each search takes among 100,000 people.
//!
//! `cargo bench --bench authzen`. Exits 1 where a limit is passed: 1.5 times the processor time of a check, 20 ms for a
//! first page.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot go on ends as a test does"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use idpsyncd::config::{self, Config};
use idpsyncd::gateway::{Gateway, ProcessKind};
use idpsyncd::store;
use idpsyncd::sync::{self, Options};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Channel;

const ROLES: usize = 50;
const POOLS: usize = 100;
const USERS: usize = 100_000;
/// Requests under way at once on one connection.
const AT_ONCE: usize = 64;
const REQUESTS: usize = 40_000;
const ROUNDS: usize = 3;
/// How often each search is asked.
const SEARCHES: usize = 30;

/// Fifty roles over a hundred pools, and one of everybody.
fn configuration(folder: &Path, grpc: SocketAddr, http: SocketAddr) -> Config {
    let pools: Vec<String> = (0..POOLS).map(|pool| format!("\"pool/p{pool}\"")).collect();
    let mut text = format!(
        "[store]\npath = \"store.db\"\n[[source]]\nname = \"acme\"\nkind = \"file\"\nrealm_export = \"realm.json\"\n\
         [gateway]\ngrpc = \"{grpc}\"\nhttp = \"{http}\"\nidentity = \"header\"\n\
         subject_header = \"x-osmo-subject\"\nmax_staleness = \"8760h\"\n\
         [[gateway.route]]\nmethods = [\"POST\"]\npath = \"/api/pool/{{pool}}/workflow\"\n\
         action = \"workflow:Create\"\nresource = \"pool/{{pool}}\"\n\
         [gateway.authzen]\nenabled = true\naction = \"workflow:{{action.name}}\"\n\
         [[gateway.authzen.subject]]\ntype = \"identity\"\nid = \"external_id\"\nsource = \"acme\"\n\
         [[gateway.authzen.subject]]\ntype = \"user\"\nid = \"username\"\n\
         [roles.everybody]\neveryone = true\nexternal_roles = []\n\
         [[roles.everybody.policies]]\nactions = [\"workflow:List\"]\nresources = [\"pool/*\"]\n\
         [[catalog]]\nactions = [\"workflow:Create\", \"workflow:List\"]\nresources = [{}]\n",
        pools.join(", ")
    );
    for role in 0..ROLES {
        text.push_str(&format!(
            "[roles.r{role}]\nexternal_roles = [\"g{role}\"]\n[[roles.r{role}.policies]]\n\
             actions = [\"workflow:*\"]\nresources = [\"pool/p{}\", \"pool/p{}\", \"pool/team{role}-*\"]\n",
            role * 2,
            role * 2 + 1
        ));
    }
    config::parse(&text, &folder.join("bench.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn id(user: usize) -> String {
    format!("{user:08x}-1111-4222-8333-444455556666")
}

/// A realm export: everybody is in three of the fifty groups.
fn realm() -> String {
    let groups: Vec<Value> = (0..ROLES)
        .map(|n| json!({"id": format!("g{n}"), "name": format!("g{n}"), "path": format!("/g{n}")}))
        .collect();
    let users: Vec<Value> = (0..USERS)
        .map(|n| {
            let mine = [n % ROLES, (n * 7 + 1) % ROLES, (n * 13 + 2) % ROLES];
            json!({"id": id(n), "username": format!("user{n}"), "enabled": true,
                "groups": mine.map(|group| format!("/g{group}"))})
        })
        .collect();
    json!({"realm": "acme", "groups": groups, "roles": {}, "users": users}).to_string()
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Who asks about what, the same for both.
fn user(n: usize) -> usize {
    (n * 7919) % USERS
}

fn pool(n: usize) -> String {
    format!("p{}", (user(n) % ROLES) * 2)
}

/// What Envoy sends of a request: the path, and a dozen headers.
fn check(n: usize) -> CheckRequest {
    let path = format!("/api/pool/{}/workflow?priority=high", pool(n));
    let headers = [
        (":authority", "platform.example.org".to_owned()),
        (":method", "POST".to_owned()),
        (":path", path.clone()),
        (":scheme", "https".to_owned()),
        ("accept", "application/json".to_owned()),
        ("accept-encoding", "gzip, deflate, br".to_owned()),
        ("authorization", "Bearer ".to_owned() + &"x".repeat(900)),
        ("content-length", "1024".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("user-agent", "osmo-cli/6.2".to_owned()),
        ("x-forwarded-for", "192.0.2.17".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-osmo-subject", id(user(n))),
    ];
    let http = HttpRequest {
        method: "POST".to_owned(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        path,
        host: "platform.example.org".to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        ..HttpRequest::default()
    };
    let request = Some(Request { http: Some(http), ..Request::default() });
    CheckRequest { attributes: Some(AttributeContext { request, ..AttributeContext::default() }) }
}

/// What Envoy's plug-in for AuthZEN sends of it.
fn evaluation(n: usize) -> String {
    json!({
        "subject": {"type": "identity", "id": id(user(n))},
        "action": {"name": "Create"},
        "resource": {"type": "pool", "id": pool(n), "properties": {
            "uri": "https://platform.example.org/api/pool/x/workflow?priority=high",
            "path": "/api/pool/x/workflow", "params": {"pool": "x"}, "ip": "192.0.2.17"}},
        "context": {},
    })
    .to_string()
}

/// The processor time of the thread that answers, as the scheduler counts it.
fn answering() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let own = tasks.map(|task| task.unwrap().path()).find(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "answers")
    });
    let counted = std::fs::read_to_string(own.unwrap().join("schedstat")).unwrap();
    Duration::from_nanos(counted.split(' ').next().unwrap().parse().unwrap())
}

/// The gateway on a thread of its own, ready to answer.
fn gateway(config: &Config) -> (Runtime, Gateway) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("answers")
        .enable_all()
        .build()
        .unwrap();
    let store = store::open(&config.store);
    let started = Gateway::start(config, &store, ProcessKind::Alone);
    let gateway = runtime.block_on(started).unwrap().unwrap();
    while gateway.not_ready().is_some() {
        std::thread::sleep(Duration::from_millis(20));
    }
    (runtime, gateway)
}

/// Asks so many times, 64 at once; what one took of the thread that answers.
fn cost<A, F>(client: &Runtime, count: usize, ask: A) -> Duration
where
    A: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let (ask, next) = (Arc::new(ask), Arc::new(AtomicUsize::new(0)));
    let before = answering();
    client.block_on(async {
        let tasks: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (ask, next) = (Arc::clone(&ask), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return;
                        }
                        ask(n).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    (answering() - before) / u32::try_from(count).unwrap()
}

fn verdict(met: bool) -> &'static str {
    if met { "PASS" } else { "FAIL" }
}

/// What an evaluation costs beside a check.
fn evaluations(client: &Runtime, grpc: SocketAddr, http: SocketAddr) -> bool {
    let connecting = Channel::from_shared(format!("http://{grpc}")).unwrap();
    let stub =
        client.block_on(async { AuthorizationClient::new(connecting.connect().await.unwrap()) });
    let checks: Arc<Vec<CheckRequest>> = Arc::new((0..4096).map(check).collect());
    let ext_authz = move |n: usize| {
        let (mut stub, request) = (stub.clone(), checks[n % checks.len()].clone());
        async move {
            let answer = stub.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status.unwrap().code, 0, "request {n} is let pass");
        }
    };
    let caller = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{http}/access/v1/evaluation");
    let bodies: Arc<Vec<String>> = Arc::new((0..4096).map(evaluation).collect());
    let authzen = move |n: usize| {
        let body = bodies[n % bodies.len()].clone();
        let request = caller.post(&url).header("content-type", "application/json").body(body);
        async move {
            let answer = request.send().await.unwrap().text().await.unwrap();
            assert_eq!(answer, "{\"decision\":true}", "request {n} is permitted");
        }
    };
    cost(client, REQUESTS / 10, ext_authz.clone());
    cost(client, REQUESTS / 10, authzen.clone());
    let (mut theirs, mut ours) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        theirs = theirs.min(cost(client, REQUESTS, ext_authz.clone()));
        ours = ours.min(cost(client, REQUESTS, authzen.clone()));
    }
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("a check of ext_authz   {theirs:?} of the thread that answers");
    println!("an AuthZEN evaluation  {ours:?}");
    println!("evaluation             {ratio:.2} x (at most 1.5)  {}", verdict(ratio <= 1.5));
    ratio <= 1.5
}

/// How long the first page of a search takes, the best of many.
fn searches(client: &Runtime, http: SocketAddr) -> bool {
    let caller = reqwest::Client::new();
    let on = json!({"type": "pool", "id": "p2"});
    let named = |name: &str| json!({"name": name});
    let somebody = json!({"type": "identity", "id": id(7)});
    let mut met = true;
    for (what, path, body, least) in [
        (
            "everybody, by id",
            "subject",
            json!({"subject": {"type": "identity"}, "action": named("List"), "resource": on}),
            1000,
        ),
        (
            "everybody, by name",
            "subject",
            json!({"subject": {"type": "user"}, "action": named("List"), "resource": on}),
            1000,
        ),
        (
            "those of a role",
            "subject",
            json!({"subject": {"type": "identity"}, "action": named("Create"), "resource": on}),
            1000,
        ),
        (
            "ten of a role",
            "subject",
            json!({"subject": {"type": "identity"}, "action": named("Create"), "resource": on,
                "page": {"limit": 10}}),
            10,
        ),
        (
            "nobody",
            "subject",
            json!({"subject": {"type": "identity"}, "action": named("Create"),
                "resource": {"type": "pool", "id": "none"}}),
            0,
        ),
        (
            "resources",
            "resource",
            json!({"subject": somebody, "action": named("Create"), "resource": {"type": "pool"}}),
            2,
        ),
        ("actions", "action", json!({"subject": somebody, "resource": on}), 1),
    ] {
        let url = format!("http://{http}/access/v1/search/{path}");
        let mut best = Duration::MAX;
        for _ in 0..SEARCHES {
            let request = caller.post(&url).header("content-type", "application/json");
            let request = request.body(body.to_string());
            let began = Instant::now();
            let answer =
                client.block_on(async { request.send().await.unwrap().text().await.unwrap() });
            best = best.min(began.elapsed());
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let found = answer["results"].as_array().unwrap().len();
            assert!(found >= least, "{what}: {found} results");
        }
        let within = best <= Duration::from_millis(20);
        println!("search: {what:18} {best:?} (at most 20 ms)  {}", verdict(within));
        met &= within;
    }
    met
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (grpc, http) = (free(), free());
    std::fs::write(folder.path().join("realm.json"), realm()).unwrap();
    let config = configuration(folder.path(), grpc, http);
    let client = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options =
        Options { dry_run: false, sources: None, what: "bench".to_owned(), ..Options::default() };
    let silent: idpsyncd::source::OnProgress = Arc::new(|_| {});
    let store = store::open(&config.store);
    client.block_on(sync::run(&config, &*store, &options, &silent, chrono::Utc::now())).unwrap();
    let (_runtime, _gateway) = gateway(&config);
    let met = [evaluations(&client, grpc, http), searches(&client, http)];
    std::process::exit(i32::from(met.contains(&false)));
}

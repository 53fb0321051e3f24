//! ext_authz over gRPC beside the barest tonic server that answers OK to the same requests, on the
//! same kind of runtime, in the same run: throughput and p99. Then p99 while a new generation of
//! many users loads.
//!
//! `cargo bench --bench ext_authz -- [--store STORE --next STORE]`; `bench/gateway.sh` makes the stores and
//! gives them. Exits 1 where a limit is passed: 0.75 of the throughput, 1.5 times the p99, twice
//! the p99 while loading.
//!
//! `… -- --steady ADDRESS --users N --seconds N` measures nothing of its own: it asks a gateway that runs,
//! a thousand times a second, and prints the p99 in microseconds (`bench/gateway_changes.py` calls it).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot go on ends as a test does"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, OkHttpResponse,
};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use idpsyncd::config::{self, Config};
use idpsyncd::gateway::{Gateway, ProcessKind};
use idpsyncd::store;
use idpsyncd::sync::{self, Options};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Server};

const ROLES: usize = 50;
const POOLS: usize = 100;
const USERS: usize = 100_000;
/// Requests under way at once, as from a busy Envoy on one connection.
const AT_ONCE: usize = 64;
const REQUESTS: usize = 60_000;
const ROUNDS: usize = 3;

/// Fifty roles over a hundred pools, OSMO's routes.
fn configuration(store: &Path, realm: &Path, grpc: SocketAddr) -> Config {
    let mut text = format!(
        "[store]\npath = \"{}\"\n[[source]]\nname = \"acme\"\nkind = \"file\"\nrealm_export = \"{}\"\n\
         [gateway]\ngrpc = \"{grpc}\"\nidentity = \"header\"\n\
         subject_header = \"x-osmo-subject\"\npreset = \"osmo\"\nmax_staleness = \"8760h\"\n\
         [roles.osmo-default]\neveryone = true\nexternal_roles = []\n\
         [[roles.osmo-default.policies]]\nactions = [\"profile:*\", \"pool:List\"]\n\
         [[catalog]]\nactions = [\"workflow:Create\"]\nresources = [{}]\n",
        store.display(),
        realm.display(),
        (0..POOLS).map(|pool| format!("\"pool/p{pool}\"")).collect::<Vec<_>>().join(", ")
    );
    for role in 0..ROLES {
        text.push_str(&format!(
            "[roles.r{role}]\nexternal_roles = [\"g{role}\"]\n[[roles.r{role}.policies]]\n\
             actions = [\"workflow:*\"]\nresources = [\"pool/p{}\", \"pool/p{}\", \"pool/team{role}-*\"]\n",
            role * 2,
            role * 2 + 1
        ));
    }
    config::parse(&text, Path::new("bench.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// A realm export: everybody is in three of the fifty groups.
fn realm(users: usize) -> String {
    let groups: Vec<String> = (0..ROLES)
        .map(|n| format!(r#"{{"id":"g{n}","name":"g{n}","path":"/g{n}","subGroups":[]}}"#))
        .collect();
    let people: Vec<String> = (0..users)
        .map(|n| {
            format!(
                r#"{{"id":"{n:08x}-1111-4222-8333-444455556666","username":"user{n}","enabled":true,"groups":["/g{}","/g{}","/g{}"]}}"#,
                n % ROLES,
                (n * 7 + 1) % ROLES,
                (n * 13 + 2) % ROLES
            )
        })
        .collect();
    format!(
        r#"{{"realm":"acme","groups":[{}],"roles":{{"realm":[],"client":{{}}}},"users":[{}]}}"#,
        groups.join(","),
        people.join(",")
    )
}

/// What Envoy sends of a request: the path, and a dozen headers.
fn request(n: usize, users: usize) -> CheckRequest {
    let user = (n * 7919) % users;
    let headers = [
        (":authority", "platform.example.org".to_owned()),
        (":method", "POST".to_owned()),
        (":path", format!("/api/pool/p{}/workflow?priority=high", (user % ROLES) * 2)),
        (":scheme", "https".to_owned()),
        ("accept", "application/json".to_owned()),
        ("accept-encoding", "gzip, deflate, br".to_owned()),
        ("authorization", "Bearer ".to_owned() + &"x".repeat(900)),
        ("content-length", "1024".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("user-agent", "osmo-cli/6.2".to_owned()),
        ("x-forwarded-for", "192.0.2.17".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-request-id", format!("6b2f3f0e-{user:08}")),
        ("x-osmo-subject", format!("{user:08x}-1111-4222-8333-444455556666")),
    ];
    let path = headers[2].1.clone();
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(HttpRequest {
                    id: n.to_string(),
                    method: "POST".to_owned(),
                    headers: headers.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
                    path,
                    host: "platform.example.org".to_owned(),
                    scheme: "https".to_owned(),
                    protocol: "HTTP/1.1".to_owned(),
                    ..HttpRequest::default()
                }),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

/// Answers OK to everything.
struct Barest;

#[tonic::async_trait]
impl Authorization for Barest {
    async fn check(
        &self,
        _: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(CheckResponse {
            status: Some(RpcStatus::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..CheckResponse::default()
        }))
    }
}

/// One thread for a server, as the other core is the client's.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    p99: Duration,
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

async fn connect(at: SocketAddr) -> AuthorizationClient<Channel> {
    let channel = Channel::from_shared(format!("http://{at}")).unwrap();
    for _ in 0..500 {
        if let Ok(channel) = channel.connect().await {
            return AuthorizationClient::new(channel);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing listens at {at}")
}

/// As many requests as fit, 64 at once.
fn hammer(at: SocketAddr, count: usize, users: usize) -> Measured {
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(async {
        let requests: Arc<Vec<CheckRequest>> =
            Arc::new((0..4096).map(|n| request(n, users)).collect());
        let next = Arc::new(AtomicUsize::new(0));
        let stub = connect(at).await;
        let began = Instant::now();
        let tasks: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (mut stub, requests, next) =
                    (stub.clone(), Arc::clone(&requests), Arc::clone(&next));
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return took;
                        }
                        let request = requests[n % requests.len()].clone();
                        let sent = Instant::now();
                        let answer = stub.check(request).await.unwrap().into_inner();
                        took.push(sent.elapsed());
                        assert_eq!(answer.status.unwrap().code, 0, "request {n} is let pass");
                    }
                })
            })
            .collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.unwrap());
        }
        Measured { per_second: count as f64 / began.elapsed().as_secs_f64(), p99: p99(took) }
    })
}

fn best(of: &[Measured]) -> Measured {
    Measured {
        per_second: of.iter().map(|one| one.per_second).fold(0.0, f64::max),
        p99: of.iter().map(|one| one.p99).min().unwrap(),
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "PASS" } else { "FAIL" }
}

/// The gateway on a runtime of its own, ready to answer.
fn gateway(config: &Config) -> (Runtime, Gateway) {
    let runtime = runtime();
    let gateway = runtime
        .block_on(Gateway::start(config, &store::open(&config.store), ProcessKind::Alone))
        .unwrap()
        .unwrap();
    while gateway.not_ready().is_some() {
        std::thread::sleep(Duration::from_millis(20));
    }
    (runtime, gateway)
}

fn throughput(folder: &Path) -> bool {
    let (barest_at, ours_at) = (free(), free());
    let realm_file = folder.join("realm.json");
    std::fs::write(&realm_file, realm(USERS)).unwrap();
    let config = configuration(&folder.join("store.db"), &realm_file, ours_at);
    let options =
        Options { dry_run: false, sources: None, what: "bench".to_owned(), ..Options::default() };
    let sync = Builder::new_multi_thread().enable_all().build().unwrap();
    sync.block_on(sync::run(
        &config,
        &*store::open(&config.store),
        &options,
        &(Arc::new(|_| ()) as _),
        chrono::Utc::now(),
    ))
    .unwrap();
    drop(sync);

    let barest = runtime();
    barest.spawn(async move {
        let service = AuthorizationServer::new(Barest);
        Server::builder().add_service(service).serve(barest_at).await.unwrap();
    });
    let (_runtime, _gateway) = gateway(&config);
    hammer(barest_at, REQUESTS / 10, USERS);
    hammer(ours_at, REQUESTS / 10, USERS);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(hammer(barest_at, REQUESTS, USERS));
        ours.push(hammer(ours_at, REQUESTS, USERS));
    }
    let (theirs, ours) = (best(&theirs), best(&ours));
    let speed = ours.per_second / theirs.per_second;
    let slow = ours.p99.as_secs_f64() / theirs.p99.as_secs_f64();
    println!("barest tonic server  {:9.0} requests/s  p99 {:?}", theirs.per_second, theirs.p99);
    println!("idpsyncd             {:9.0} requests/s  p99 {:?}", ours.per_second, ours.p99);
    println!("throughput           {speed:.2} x (at least 0.75)  {}", verdict(speed >= 0.75));
    println!("p99                  {slow:.2} x (at most 1.5)  {}", verdict(slow <= 1.5));
    speed >= 0.75 && slow <= 1.5
}

/// A steady thousand requests a second until `stop`; the p99.
fn steady(at: SocketAddr, users: usize, stop: &AtomicBool, at_least: Duration) -> Duration {
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(async {
        let stub = connect(at).await;
        let began = Instant::now();
        let mut every = tokio::time::interval(Duration::from_millis(1));
        let mut tasks = Vec::new();
        while !stop.load(Ordering::Relaxed) || began.elapsed() < at_least {
            every.tick().await;
            let (mut stub, request) = (stub.clone(), request(tasks.len(), users));
            tasks.push(tokio::spawn(async move {
                let sent = Instant::now();
                stub.check(request).await.unwrap();
                sent.elapsed()
            }));
        }
        let mut took = Vec::new();
        for task in tasks {
            took.push(task.await.unwrap());
        }
        p99(took)
    })
}

/// p99 while another generation loads, beside p99 in peace.
fn loading(folder: &Path, store: &Path, next: &Path) -> bool {
    let at = free();
    let path = folder.join("big.db");
    std::fs::copy(store, &path).unwrap();
    let config = configuration(&path, &folder.join("realm.json"), at);
    let (_runtime, gateway) = gateway(&config);
    let users = gateway.users();
    let over = AtomicBool::new(true);
    steady(at, users, &over, Duration::from_secs(1));
    let peace = steady(at, users, &over, Duration::from_secs(5));
    let before = gateway.generation();
    over.store(false, Ordering::Relaxed);
    let coming = folder.join("coming.db");
    std::fs::copy(next, &coming).unwrap();
    std::fs::rename(coming, &path).unwrap();
    let under_load = std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while gateway.generation() == before {
                assert!(began.elapsed() < Duration::from_secs(120), "it was never loaded");
                std::thread::sleep(Duration::from_millis(5));
            }
            println!("loading {users} users took {:.1} s", began.elapsed().as_secs_f64());
            over.store(true, Ordering::Relaxed);
        });
        steady(at, users, &over, Duration::ZERO)
    });
    let ratio = under_load.as_secs_f64() / peace.as_secs_f64();
    println!("p99 in peace         {peace:?}, while loading {under_load:?}");
    println!("ratio                {ratio:.2} x (at most 2)  {}", verdict(ratio <= 2.0));
    ratio <= 2.0
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut store, mut next): (Option<PathBuf>, Option<PathBuf>) = (None, None);
    let (mut at, mut users, mut seconds) = (None::<SocketAddr>, USERS, 5);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--store" => store = args.next().map(PathBuf::from),
            "--next" => next = args.next().map(PathBuf::from),
            "--steady" => at = args.next().map(|at| at.parse().unwrap()),
            "--users" => users = args.next().unwrap().parse().unwrap(),
            "--seconds" => seconds = args.next().unwrap().parse().unwrap(),
            // What `cargo bench` adds by itself.
            "--bench" => {}
            // `cargo test --benches` only wants to know that it builds.
            "--test" => return,
            other => panic!("unknown argument `{other}`"),
        }
    }
    if let Some(at) = at {
        let took = steady(at, users, &AtomicBool::new(true), Duration::from_secs(seconds));
        println!("{}", took.as_micros());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut met = throughput(folder.path());
    if let (Some(store), Some(next)) = (store, next) {
        met &= loading(folder.path(), &store, &next);
    }
    std::process::exit(i32::from(!met));
}

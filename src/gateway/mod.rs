//! The gateway asks: who is this, what does the request do, on what, and may they?
//!
//! ```text
//! Envoy gRPC ┐                     ┌ identity ─ who (JWT, token, metadata, …)    ┐
//! Envoy HTTP ┤                     │ path, route ─ which action, on what         │
//! nginx      ├─► grpc, http ─► authorizer┤ replica ─ the committed generation, memory ├─► answer
//! Traefik    │                     │ provision ─ someone nobody has seen yet     │
//! Caddy      ┘                     └─────────────────────────────────────────────┘
//! AuthZEN ───► authzen ─ about somebody else than who asks, from the same generation
//!                              watcher ─ swaps in each new generation whole
//!                      session_watcher ─ which sessions have ended
//! ```
//!
//! A request is answered from memory. What it may wait for is a just-in-time look-up of someone
//! whom the store does not know, and the keys of an issuer that signs with a key not seen before;
//! both are bounded. Nothing here can take anything from anybody.
//!
//! `idpsyncd run` serves beside the sync, `idpsyncd serve` alone: both start it from above.

pub mod answer;
pub mod app_state;
pub mod authorizer;
pub mod authzen;
pub mod ended;
pub mod exchange;
pub mod grpc;
mod host;
pub mod http;
mod http_exchange;
mod http_logout;
pub mod identity;
mod lines;
pub mod listen;
pub mod logout;
pub mod metrics;
pub mod provision;
pub mod question;
mod reload;
pub mod replica;
pub mod session_watcher;
pub mod throttle;
pub mod tls;
pub mod watcher;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use tokio::task::JoinHandle;

use crate::config::{Config, GatewayConfig, JustInTime, Listen, SecretError, SecretRef};
use crate::model::TooMany;
use crate::store::Store;
use app_state::AppState;
use authorizer::Authorizer;
use authzen::{Authzen, AuthzenError};
use ended::EndedSessions;
use exchange::{Exchange, SigningKeyError};
use grpc::ExtAuthz;
use identity::{Identifier, IdentityError, KeyReading, ProofMemory, StoreJwksCache};
use listen::{Bounds, Listening, Tls};
use logout::SessionLedger;
use metrics::Metrics;
use provision::{Limits, Observer, Provisioner};
use replica::Wanted;
use session_watcher::SessionWatcher;
use tls::TlsError;
use watcher::ReplicaWatcher;

/// Why the gateway's side did not start, or was not reloaded.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An address cannot be had.
    #[error("cannot listen at `{at}` (`gateway.{key}`): {why}{advice}")]
    Listen {
        /// The address.
        at: String,
        /// `grpc` or `http`.
        key: &'static str,
        /// Why.
        #[source]
        why: std::io::Error,
        /// What to do about it, or nothing.
        advice: String,
    },
    /// TLS cannot be had.
    #[error("`gateway.tls`: {0}")]
    Tls(#[from] TlsError),
    /// There are more routes than can be numbered.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// There are too many threads.
    #[error("cannot start a thread to follow the store: {0}")]
    Thread(#[source] std::io::Error),
    /// The key of the exchange cannot be read.
    #[error("`gateway.tokens.signing_key`: {0}")]
    NoSigningKey(#[source] SecretError),
    /// The key of the exchange will not do.
    #[error("`gateway.tokens.signing_key`: {from}: {why}")]
    SigningKey {
        /// Where it is.
        from: SecretRef,
        /// Why.
        #[source]
        why: SigningKeyError,
    },
    /// Nobody could be told.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// AuthZEN cannot be answered.
    #[error("`gateway.authzen`: {0}")]
    Authzen(#[from] AuthzenError),
}

/// What this process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessKind {
    /// `idpsyncd run`: syncs as well, and provisions just in time.
    Daemon,
    /// `idpsyncd serve`: only answers, over a store that another process writes.
    Alone,
}

/// The gateway's side at work.
pub struct Gateway {
    part: ProcessKind,
    config: GatewayConfig,
    store: Arc<dyn Store>,
    state: Arc<AppState>,
    metrics: Arc<Metrics>,
    identifier: Arc<Identifier>,
    /// The keys of the exchange that `identifier` was made with. Not the authorizer's, which may be an older
    /// one as long as a reload is under way.
    own_keys: Option<String>,
    reading: KeyReading,
    authzen: Option<Arc<Authzen>>,
    /// Which proofs of possession were here, whichever configuration was in force.
    proofs: Arc<ProofMemory>,
    watcher: Arc<ReplicaWatcher>,
    /// The sessions that have ended, through every reload.
    ended: Arc<EndedSessions>,
    /// What follows them, where any end.
    sessions: Option<Arc<SessionWatcher>>,
    /// Where this process ends sessions.
    ledger: Option<Arc<SessionLedger>>,
    tls: Tls,
    /// How many connections each listener may have.
    most: usize,
    grpc: Option<Listening>,
    http: Option<Listening>,
    /// Waits for the view of a configuration that was loaded anew.
    coming: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts what `config`'s `[gateway]` says, over its `store`; `None` where there is none. Listens at once:
    /// until a generation is loaded every request is refused.
    ///
    /// # Errors
    /// An address cannot be had, a TLS file cannot be used.
    pub async fn start(
        config: &Config,
        store: &Arc<dyn Store>,
        part: ProcessKind,
    ) -> Result<Option<Gateway>, GatewayError> {
        let Some(gateway) = &config.gateway else { return Ok(None) };
        let tls = Tls::default();
        tls.store(acceptor(gateway)?);
        let exchange = exchanging(gateway)?;
        let (ended, proofs) = (EndedSessions::new(), Arc::default());
        let beside = Beside { exchange: exchange.as_deref(), ended: &ended, proofs: &proofs };
        let (identifier, reading) = identifier(store, gateway, part, &beside)?;
        let own_keys = keys(exchange.as_deref());
        if let Some(logout) = gateway.logout {
            ended.tokens_live(logout.max_token_lifetime);
        }
        let watcher = watcher(store, Authorizer::wanted(gateway)?)?;
        let sessions = sessions(store, gateway, &ended)?;
        let ledger = ledger(store, gateway, part, &ended);
        let metrics = Arc::new(Metrics::new(part == ProcessKind::Daemon));
        let provisioner = provisioner(config, store, gateway, part, &metrics);
        let authorizer =
            Authorizer::new(gateway, Arc::clone(&identifier), Arc::clone(&watcher), provisioner)?;
        let authzen = authzen(store, gateway, part, &ended, None)?;
        let authorizer =
            authorizer.exchanging(exchange).ending(ledger.clone()).answering(authzen.clone());
        let authorizer = authorizer.holding_against(sessions.clone());
        let state = Arc::new(AppState::new(Arc::new(authorizer), Arc::clone(&metrics)));
        let mut this = Gateway {
            part,
            config: gateway.clone(),
            store: Arc::clone(store),
            state,
            metrics,
            identifier,
            own_keys,
            reading,
            authzen,
            proofs,
            watcher,
            ended,
            sessions,
            ledger,
            tls,
            most: affordable(gateway),
            grpc: None,
            http: None,
            coming: None,
        };
        this.grpc = this.listen_grpc(gateway).await?;
        this.http = this.listen_http(gateway).await?;
        Ok(Some(this))
    }

    /// Where gRPC is answered over TCP.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(Listening::address)
    }

    /// Where HTTP is answered over TCP.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(Listening::address)
    }

    /// The generation that requests are answered from; 0: none yet.
    #[must_use]
    pub fn generation(&self) -> u64 {
        let authorizer = self.state.authorizer();
        let loaded = authorizer.watcher().loaded();
        loaded.as_ref().map_or(0, |loaded| loaded.replica.generation())
    }

    /// How many users it has.
    #[must_use]
    pub fn users(&self) -> usize {
        let authorizer = self.state.authorizer();
        let loaded = authorizer.watcher().loaded();
        loaded.as_ref().map_or(0, |loaded| loaded.replica.users())
    }

    /// The metrics, for what a sync counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where sessions end, where this process ends any.
    #[must_use]
    pub fn ledger(&self) -> Option<&Arc<SessionLedger>> {
        self.ledger.as_ref()
    }

    /// Something was committed: look at the store at once.
    pub fn committed(&self) {
        self.watcher.nudge();
    }

    /// Why nothing can be decided now; `None`: a generation is loaded and fresh.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        self.state.authorizer().not_ready().map(|stale| stale.words)
    }

    /// Accepts nothing more and lets open requests end.
    pub async fn stop(mut self) {
        if let Some(coming) = self.coming.take() {
            coming.abort();
        }
        let (grpc, http) = (self.grpc.take(), self.http.take());
        tokio::join!(stop(grpc), stop(http), self.reading.end(&self.identifier));
    }

    async fn listen_grpc(&self, config: &GatewayConfig) -> Result<Option<Listening>, GatewayError> {
        let Some(at) = &config.grpc else { return Ok(None) };
        let service = AuthorizationServer::new(ExtAuthz::new(Arc::clone(&self.state)));
        let mut routes = tonic::service::Routes::new(service);
        if config.grpc_health {
            routes = routes.add_service(health().await);
        }
        self.listen("grpc", at, routes.prepare().into_axum_router()).await.map(Some)
    }

    async fn listen_http(&self, config: &GatewayConfig) -> Result<Option<Listening>, GatewayError> {
        let Some(at) = &config.http else { return Ok(None) };
        let state = Arc::clone(&self.state);
        let router = Router::new().fallback(move |request: Request<Body>| {
            let state = Arc::clone(&state);
            async move { http::respond(state, request).await }
        });
        self.listen("http", at, router).await.map(Some)
    }

    async fn listen(
        &self,
        key: &'static str,
        at: &Listen,
        router: Router,
    ) -> Result<Listening, GatewayError> {
        let shown = match at {
            Listen::Tcp(address) => address.to_string(),
            Listen::Unix(path) => format!("unix:{}", path.display()),
        };
        let (bounds, counts) = (Bounds::new(self.most), self.metrics.connections(key));
        let listening = Listening::start(at, Arc::clone(&self.tls), router, bounds, counts)
            .await
            .map_err(|why| {
            let own = std::env::var_os("RUNTIME_DIRECTORY");
            let advice = socket_advice(at, own.as_deref());
            GatewayError::Listen { at: shown.clone(), key, why, advice }
        })?;
        let address = listening.address().map_or(shown, |address| address.to_string());
        tracing::info!(address, "`gateway.{key}` listens at {address}");
        Ok(listening)
    }
}

/// What to do where a socket cannot be made. `own` is systemd's `$RUNTIME_DIRECTORY`
/// (systemd.exec(5)): the folders, separated by colons, that are the service's own below `/run`.
/// Empty where there is nothing to say.
fn socket_advice(at: &Listen, own: Option<&OsStr>) -> String {
    let (Listen::Unix(path), Some(own)) = (at, own.and_then(OsStr::to_str)) else {
        return String::new();
    };
    let folders: Vec<&str> = own.split(':').filter(|folder| !folder.is_empty()).collect();
    if folders.is_empty() || folders.iter().any(|folder| path.starts_with(folder)) {
        return String::new();
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let (folder, first) = (folders.join("` or `"), folders.first().copied().unwrap_or_default());
    format!(
        "; this service's own folder for sockets is `{folder}`: set `unix:{first}/{name}` in its \
         configuration"
    )
}

/// How many connections each listener may have.
fn affordable(config: &GatewayConfig) -> usize {
    let listeners = [&config.grpc, &config.http].into_iter().flatten().count();
    listen::affordable(config.max_connections, listeners)
}

async fn stop(listening: Option<Listening>) {
    if let Some(listening) = listening {
        listening.stop().await;
    }
}

/// `grpc.health.v1.Health`, which says that ext_authz is served.
async fn health()
-> tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_serving::<AuthorizationServer<ExtAuthz>>().await;
    service
}

fn acceptor(
    config: &GatewayConfig,
) -> Result<Option<Arc<tokio_rustls::TlsAcceptor>>, GatewayError> {
    let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
    Ok(tls.map(Arc::new))
}

fn watcher(
    store: &Arc<dyn Store>,
    wanted: Arc<Wanted>,
) -> Result<Arc<ReplicaWatcher>, GatewayError> {
    ReplicaWatcher::start(Arc::clone(store), wanted).map(Arc::new).map_err(GatewayError::Thread)
}

/// What follows which sessions have ended, from the beginning of the store's list on; `None`: none ends.
fn sessions(
    store: &Arc<dyn Store>,
    config: &GatewayConfig,
    ended: &Arc<EndedSessions>,
) -> Result<Option<Arc<SessionWatcher>>, GatewayError> {
    let Some(_) = config.logout else { return Ok(None) };
    let watcher = SessionWatcher::start(store, ended).map_err(GatewayError::Thread)?;
    Ok(Some(Arc::new(watcher)))
}

/// Where sessions end: where they do at all, and this process may write the store.
fn ledger(
    store: &Arc<dyn Store>,
    config: &GatewayConfig,
    part: ProcessKind,
    ended: &Arc<EndedSessions>,
) -> Option<Arc<SessionLedger>> {
    let writes = part == ProcessKind::Daemon && config.logout.is_some();
    writes.then(|| SessionLedger::new(Arc::clone(ended), Arc::clone(store)))
}

/// What access tokens are exchanged by, where the configuration says so.
fn exchanging(config: &GatewayConfig) -> Result<Option<Arc<Exchange>>, GatewayError> {
    let tokens = config.tokens.as_ref();
    let Some(key) = tokens.and_then(|tokens| tokens.signing_key.as_ref()) else { return Ok(None) };
    let pem = key.read().map_err(GatewayError::NoSigningKey)?;
    let exchange =
        Exchange::new(&pem).map_err(|why| GatewayError::SigningKey { from: key.clone(), why })?;
    Ok(Some(Arc::new(exchange)))
}

/// The public keys of an exchange, which tell it from others.
fn keys(exchange: Option<&Exchange>) -> Option<String> {
    exchange.map(|exchange| exchange.jwks().to_owned())
}

/// What `idpsyncd check` finds wrong with the key that signs what access tokens are exchanged for.
#[must_use]
pub fn signing_fault(config: &GatewayConfig) -> Option<GatewayError> {
    exchanging(config).err()
}

/// What telling who asks goes by beside the configuration.
struct Beside<'a> {
    exchange: Option<&'a Exchange>,
    ended: &'a Arc<EndedSessions>,
    proofs: &'a Arc<ProofMemory>,
}

fn identifier(
    store: &Arc<dyn Store>,
    gateway: &GatewayConfig,
    part: ProcessKind,
    beside: &Beside<'_>,
) -> Result<(Arc<Identifier>, KeyReading), GatewayError> {
    let Beside { exchange, ended, proofs } = *beside;
    let cache = StoreJwksCache::new(Arc::clone(store), part == ProcessKind::Daemon);
    let identifier = tokio::task::block_in_place(|| {
        let cache = Some(Arc::new(cache) as _);
        Identifier::beside_others(gateway, cache, exchange, ended)
    })?;
    let identifier = Arc::new(identifier.remembering(Arc::clone(proofs)));
    let reading = identifier.start();
    Ok((identifier, reading))
}

/// What answers AuthZEN, where the configuration says so. `before`: what did so far.
fn authzen(
    store: &Arc<dyn Store>,
    gateway: &GatewayConfig,
    part: ProcessKind,
    ended: &Arc<EndedSessions>,
    before: Option<&Authzen>,
) -> Result<Option<Arc<Authzen>>, GatewayError> {
    let Some(config) = &gateway.authzen else { return Ok(None) };
    let cache = StoreJwksCache::new(Arc::clone(store), part == ProcessKind::Daemon);
    let made = tokio::task::block_in_place(|| {
        Authzen::new((gateway, config), Some(Arc::new(cache) as _), ended, before)
    })?;
    Ok(Some(Arc::new(made)))
}

fn provisioner(
    config: &Config,
    store: &Arc<dyn Store>,
    gateway: &GatewayConfig,
    part: ProcessKind,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Provisioner>> {
    match (gateway.provision, part) {
        (JustInTime::Off, _) => None,
        (JustInTime::Lookup | JustInTime::Claims, ProcessKind::Alone) => {
            tracing::warn!(
                "`gateway.provision` needs the identity providers' credentials and a store to \
                 write: `idpsyncd serve` has neither, so whom the store does not know is refused"
            );
            None
        }
        (JustInTime::Lookup | JustInTime::Claims, ProcessKind::Daemon) => {
            let observer: Arc<dyn Observer> = Arc::<Metrics>::clone(metrics);
            let (config, store) = (Arc::new(config.clone()), Arc::clone(store));
            Some(Arc::new(Provisioner::new(config, store, Limits::default(), observer)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_another_services_folder_is_told_whose_folder_is_its_own() {
        let at = |path: &str| Listen::Unix(path.into());
        let serve = Some(OsStr::new("/run/idpsyncd-serve"));
        let said = socket_advice(&at("/run/idpsyncd/authz.sock"), serve);
        assert!(said.contains("set `unix:/run/idpsyncd-serve/authz.sock`"), "{said}");
        assert_eq!(socket_advice(&at("/run/idpsyncd-serve/authz.sock"), serve), "");
        assert_eq!(socket_advice(&at("/run/idpsyncd/authz.sock"), None), "");
        let tcp = Listen::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 9180)));
        assert_eq!(socket_advice(&tcp, serve), "");
    }
}

//! Where a request is answered: who, which action on what, may they, and what the upstream is told.
//!
//! One authorizer serves one configuration; a reload makes another. The order matters: a caller whom
//! nobody can identify learns nothing about routes, and evidence that is too old decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use super::answer::{Answer, Denial, Set};
use super::exchange::{Exchange, Exchanged};
use super::identity::Identifier;
use super::lines::Lines;
use super::provision::{Provisioned, Provisioner};
use super::question::{Digest, Headers, Identity, Unidentified};
use super::replica::{Bearer, Decided, Found, Held, Replica, Wanted};
use super::watcher::{NOTHING_LOADED, ReplicaWatcher, Stale};
use crate::config::{GatewayConfig, TOKEN_NAME};
use crate::model::Time;
use crate::model::caller::Caller;
use crate::routes::{ActionIdx, Matched, On, Path, Question, Refused, Routes};

/// How long a request waits for a generation that was committed for its caller to be loaded.
const LOADED_WITHIN: Duration = Duration::from_secs(2);

/// A header that OSMO believes, whoever sent it. With `preset = "osmo"` what a client sends of it
/// never reaches the upstream: it is set where the configuration says how, and removed otherwise.
const ALLOWED_POOLS: &str = "x-osmo-allowed-pools";

/// Another: set from OSMO's own tokens.
const WORKFLOW_ID: &str = "x-osmo-workflow-id";

/// What somebody is told whose account does not count.
const DISABLED: &str = "the user is disabled or deprovisioned";

/// What somebody is told who is called as a service account or the default admin.
const TOKENS_ALONE: &str = "only access tokens speak for this account";

/// What somebody is told whom the store does not know. Why is in the log: it may name sources.
const UNKNOWN: &str = "the store knows no such user";

/// An upgrade of the connection (RFC 9110, section 7.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// None.
    None,
    /// To a WebSocket: an action of its own.
    WebSocket,
    /// Perhaps to a WebSocket: the gateway does not tell of `Upgrade`, and the key that goes with a
    /// WebSocket is there, which a client can send with any GET.
    Hidden,
    /// To something else, such as `h2c`. A platform that takes it would serve whatever is sent
    /// afterwards, and nobody would be asked: refused.
    Other,
}

/// A request as a gateway tells of it.
pub struct Incoming<'a> {
    /// The original request's method, as it was sent.
    pub method: &'a str,
    /// The original request's target: path and query, as they were sent.
    pub target: &'a str,
    /// What upgrade it asks for.
    pub upgrade: Upgrade,
    /// Its headers.
    pub headers: &'a dyn Headers,
    /// What Envoy's `jwt_authn` verified, by payload name; absent where the protocol has no place
    /// for it.
    pub payloads: Option<&'a serde_json::Value>,
}

/// What kind of credential a request bears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credential {
    /// Something that has the shape of an access token.
    Token,
    /// Another, or none.
    Other,
}

/// Who asks, as the upstream and the log are told.
#[derive(Clone, Copy, Default)]
struct Who<'a> {
    /// The username; absent: nobody.
    user: Option<&'a str>,
    /// The access token that speaks for the user.
    token: Option<&'a str>,
    /// The workflow that does.
    workflow: Option<&'a str>,
}

impl<'a> Who<'a> {
    fn of(caller: &'a Caller) -> Who<'a> {
        let named = caller.named.as_ref();
        Who {
            user: Some(caller.shown()),
            token: named.and_then(|named| named.token.as_deref()),
            workflow: named.and_then(|named| named.workflow.as_deref()),
        }
    }
}

/// What whoever exchanges a token is told that is none.
const INVALID: &str = "Access Token is invalid";

/// Why an access token is not good. For the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum NotGood {
    /// It was never made, or is revoked.
    #[error("there is no such access token, or no more")]
    Unknown,
    /// Its owner holds nothing now.
    #[error("the owner `{owner}` of access token `{name}` is disabled")]
    OwnerDisabled {
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// It is over.
    #[error("access token `{name}` of `{owner}` has expired")]
    Expired {
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
    },
}

/// Whose the access token with this digest is, if it is good at `now`; else why not.
fn good<'s>(replica: &'s Replica, digest: &Digest, now: Time) -> Result<Bearer<'s>, NotGood> {
    let Some(bearer) = replica.token(digest) else {
        return Err(NotGood::Unknown);
    };
    match now.timestamp() < bearer.until {
        true => Ok(bearer),
        false => {
            let (name, owner) = (bearer.name.to_owned(), bearer.owner.to_owned());
            Err(NotGood::Expired { name, owner })
        }
    }
}

/// Everything that answering needs, for one configuration.
pub struct Authorizer {
    config: GatewayConfig,
    routes: Routes,
    identifier: Arc<Identifier>,
    watcher: Arc<ReplicaWatcher>,
    provisioner: Option<Arc<Provisioner>>,
    user_header: Arc<str>,
    roles_header: Arc<str>,
    allowed_headers: Vec<Arc<str>>,
    removed_headers: Vec<Arc<str>>,
    token_header: Arc<str>,
    /// Absent where nobody believes it: no preset, no issuer of OSMO's.
    workflow_header: Option<Arc<str>>,
    exchange: Option<Arc<Exchange>>,
    /// The last request found nothing to decide by.
    refusing: AtomicBool,
    lines: Lines,
}

impl Authorizer {
    /// What decisions will be asked for under `config`: what a [`ReplicaWatcher`] is to load.
    #[must_use]
    pub fn wanted(config: &GatewayConfig) -> Arc<Wanted> {
        Arc::new(Wanted {
            actions: Routes::new(config.route_specs()).actions().to_vec(),
            allowed: config.allowed.clone(),
            anonymous_role: config.anonymous_role.clone(),
            sources: config.id_sources(),
            tokens: config.tokens.is_some(),
        })
    }

    /// A authorizer. `watcher` must have been made for [`Authorizer::wanted`] of the same configuration;
    /// `provisioner` is absent where nobody is provisioned just in time.
    #[must_use]
    pub fn new(
        config: &GatewayConfig,
        identifier: Arc<Identifier>,
        watcher: Arc<ReplicaWatcher>,
        provisioner: Option<Arc<Provisioner>>,
    ) -> Authorizer {
        let named = |name: &str| Arc::from(name);
        let set: Vec<&str> = [&config.user_header, &config.roles_header]
            .into_iter()
            .chain(config.allowed.iter().map(|allowed| &allowed.header))
            .map(String::as_str)
            .collect();
        let free = |name: &str| !set.contains(&name);
        let osmo = config.preset.is_some();
        let named_here = config.jwt.iter().any(|jwt| jwt.service_roles.is_some());
        Authorizer {
            routes: Routes::new(config.route_specs()),
            identifier,
            watcher,
            provisioner,
            user_header: named(&config.user_header),
            roles_header: named(&config.roles_header),
            allowed_headers: config.allowed.iter().map(|allowed| named(&allowed.header)).collect(),
            removed_headers: Some(ALLOWED_POOLS)
                .filter(|name| osmo && free(name))
                .map(named)
                .into_iter()
                .collect(),
            token_header: named(TOKEN_NAME),
            workflow_header: Some(WORKFLOW_ID)
                .filter(|name| (osmo || named_here) && free(name))
                .map(named),
            exchange: None,
            config: config.clone(),
            refusing: AtomicBool::new(false),
            lines: Lines::new(),
        }
    }

    /// The same, which exchanges access tokens as well.
    #[must_use]
    pub fn exchanging(self, exchange: Option<Arc<Exchange>>) -> Authorizer {
        Authorizer { exchange, ..self }
    }

    /// What access tokens are exchanged by, where they are.
    #[must_use]
    pub fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.exchange.as_ref()
    }

    /// What follows the store for this authorizer.
    #[must_use]
    pub fn watcher(&self) -> &Arc<ReplicaWatcher> {
        &self.watcher
    }

    /// How many just-in-time look-ups are under way.
    #[must_use]
    pub fn lookups_running(&self) -> usize {
        self.provisioner.as_ref().map_or(0, |provisioner| provisioner.in_flight())
    }

    /// Why nothing can be decided now; `None`: a generation is loaded and fresh.
    #[must_use]
    pub fn not_ready(&self) -> Option<Stale> {
        self.watcher.stale(Utc::now(), self.config.max_staleness)
    }

    /// Answers one request.
    pub async fn answer(&self, incoming: &Incoming<'_>) -> Answer {
        self.decide(incoming).await.0
    }

    /// Answers one request, and tells by what kind of credential.
    pub async fn decide(&self, incoming: &Incoming<'_>) -> (Answer, Credential) {
        let (answer, credential) = self.decided(incoming).await;
        (answer, credential.unwrap_or(Credential::Other))
    }

    async fn decided(&self, incoming: &Incoming<'_>) -> (Answer, Option<Credential>) {
        if let Some(Stale { told, words, .. }) = self.not_ready() {
            // Once, however many ask meanwhile.
            if !self.refusing.swap(true, Ordering::Relaxed) {
                tracing::warn!("every request is refused: {words}");
            }
            return (Answer::Unavailable(told), None);
        }
        if self.refusing.load(Ordering::Relaxed) && self.refusing.swap(false, Ordering::Relaxed) {
            tracing::info!("requests are decided again");
        }
        let now = Utc::now();
        let identity = self.identifier.identify(incoming.headers, incoming.payloads, now).await;
        let caller = match identity {
            Ok(Identity::Nobody) => return (self.nobody(incoming), None),
            Ok(Identity::Caller(caller)) => caller,
            Ok(Identity::Token(digest)) => {
                return (self.token(&digest, incoming, now), Some(Credential::Token));
            }
            Err(Unidentified::Refused(why)) => {
                self.lines.unproven.note(&why.to_string());
                return (Answer::Unauthenticated, None);
            }
            Err(Unidentified::Unavailable(why)) => {
                self.lines.unjudged.note(&why.to_string());
                let why = "identities cannot be verified at the moment";
                return (Answer::Unavailable(why), None);
            }
        };
        match self.caller(&caller, incoming) {
            Some(answer) => (answer, None),
            None => (self.stranger(&caller, incoming).await, None),
        }
    }

    /// Answers whoever bears an access token. Nobody is told whether there ever was such a token.
    fn token(&self, digest: &Digest, incoming: &Incoming<'_>, now: Time) -> Answer {
        let loaded = self.watcher.loaded();
        let Some(loaded) = &*loaded else { return Answer::Unavailable(NOTHING_LOADED) };
        let bearer = match good(&loaded.replica, digest, now) {
            Ok(bearer) => bearer,
            Err(why) => {
                self.lines.unproven.note(&why.to_string());
                return Answer::Unauthenticated;
            }
        };
        let who = Who { user: Some(bearer.owner), token: Some(bearer.name), workflow: None };
        match bearer.found {
            Found::Enabled(set) => self.known(&loaded.replica, set.into(), who, incoming),
            Found::Disabled(why) => self.deny(who, incoming, DISABLED, why),
            Found::Unknown => Answer::Unauthenticated,
        }
    }

    /// Exchanges an access token for a JWT that names its owner and its roles, as OSMO does.
    pub async fn exchanged(&self, token: &str) -> Exchanged {
        let Some(exchange) = &self.exchange else { return Exchanged::Off };
        if let Some(stale) = self.not_ready() {
            return Exchanged::Unavailable(stale.told);
        }
        let Some(digest) = exchange.digest(token) else {
            return Exchanged::Refused(format!("Access token has invalid length {}", token.len()));
        };
        let now = Utc::now();
        let claims = {
            let loaded = self.watcher.loaded();
            let Some(loaded) = &*loaded else { return Exchanged::Unavailable(NOTHING_LOADED) };
            match good(&loaded.replica, &digest, now) {
                Ok(bearer @ Bearer { found: Found::Enabled(set), owner, name, .. }) => {
                    tracing::debug!(user = owner, token = name, "an access token is exchanged");
                    let roles = loaded.replica.roles_header(set);
                    exchange.claims(&digest, &bearer, roles, now)
                }
                Ok(Bearer { owner, name, .. }) => {
                    let (name, owner) = (name.to_owned(), owner.to_owned());
                    let why = NotGood::OwnerDisabled { name, owner };
                    self.lines.unexchanged.note(&why.to_string());
                    return Exchanged::Refused(INVALID.to_owned());
                }
                Err(why) => {
                    self.lines.unexchanged.note(&why.to_string());
                    return Exchanged::Refused(INVALID.to_owned());
                }
            }
        };
        exchange.sign(claims).await
    }

    /// Answers a caller whom the store knows; `None`: it does not. From one generation, however
    /// many are committed meanwhile.
    fn caller(&self, caller: &Caller, incoming: &Incoming<'_>) -> Option<Answer> {
        let loaded = self.watcher.loaded();
        let Some(loaded) = &*loaded else {
            return Some(Answer::Unavailable(NOTHING_LOADED));
        };
        let replica = &loaded.replica;
        let (found, name) = replica.caller(&caller.known_by);
        // A name is enough for nobody here: whoever may choose theirs could choose this one.
        if caller.named.is_none() && replica.speaks_by_tokens_alone(name) {
            return Some(self.deny(Who::of(caller), incoming, TOKENS_ALONE, TOKENS_ALONE));
        }
        let set = match found {
            Found::Enabled(set) => Some(set),
            Found::Disabled(why) => {
                return Some(self.deny(Who::of(caller), incoming, DISABLED, why));
            }
            Found::Unknown => None,
        };
        let (set, named) = match (&caller.named, set) {
            // The upstream is told what the store calls the person, not what the token does.
            (None, Some(set)) => {
                let who = Who { user: Some(name), token: None, workflow: None };
                return Some(self.known(replica, set.into(), who, incoming));
            }
            (Some(named), set) if named.service || set.is_some() => (set, named),
            (_, _) => return None,
        };
        let user = if set.is_some() { name } else { caller.shown() };
        let bounded = replica.bounded(set, named);
        let who = Who { user: Some(user), ..Who::of(caller) };
        Some(self.known(replica, Held::Bounded(&bounded), who, incoming))
    }

    /// A request without any identity.
    fn nobody(&self, incoming: &Incoming<'_>) -> Answer {
        let loaded = self.watcher.loaded();
        let Some(loaded) = &*loaded else { return Answer::Unauthenticated };
        let Some(set) = loaded.replica.anonymous() else {
            tracing::debug!("a request without identity is refused");
            return Answer::Unauthenticated;
        };
        match self.known(&loaded.replica, set.into(), Who::default(), incoming) {
            // What somebody might do there is not for strangers to know.
            Answer::Denied(_) => Answer::Unauthenticated,
            answer => answer,
        }
    }

    /// Someone whom the store does not know.
    async fn stranger(&self, caller: &Arc<Caller>, incoming: &Incoming<'_>) -> Answer {
        let who = Who::of(caller);
        // What OSMO's own tokens name are roles of the platform, and whoever they name is no source's
        // to vouch for.
        let provisioner = self.provisioner.as_ref().filter(|_| caller.named.is_none());
        let Some(provisioner) = provisioner else {
            return self.deny(who, incoming, UNKNOWN, UNKNOWN);
        };
        match provisioner.provision(caller).await {
            Provisioned::Committed { generation } => {
                self.watcher.nudge();
                let deadline = Instant::now() + LOADED_WITHIN;
                if !self.watcher.at_least(generation, deadline).await {
                    let why = "the user was provisioned just now and is not loaded yet";
                    return self.deny(who, incoming, why, why);
                }
            }
            Provisioned::Nobody => {
                let why = format!("{UNKNOWN}, nor does any source");
                return self.deny(who, incoming, UNKNOWN, &why);
            }
            Provisioned::Refused(why) => {
                return self.deny(who, incoming, UNKNOWN, &format!("{UNKNOWN}: {why}"));
            }
            Provisioned::Unavailable(why) => {
                let told = "the store knows no such user, and nobody can be asked at the moment";
                let why = format!("{UNKNOWN}, and the look-up did not succeed: {why}");
                return self.deny(who, incoming, told, &why);
            }
        }
        self.caller(caller, incoming).unwrap_or_else(|| self.deny(who, incoming, UNKNOWN, UNKNOWN))
    }

    /// Someone who holds the roles of `held`; nobody for the anonymous role.
    fn known(
        &self,
        replica: &Replica,
        held: Held<'_>,
        who: Who<'_>,
        incoming: &Incoming<'_>,
    ) -> Answer {
        let user = who.user;
        let refused =
            |why: String| self.denied(who, incoming, Denial { why, ..Denial::default() }, None);
        let path = match Path::parse(incoming.target) {
            Ok(path) => path,
            Err(error) => return refused(error.to_string()),
        };
        if incoming.upgrade == Upgrade::Other {
            return refused(
                "asks for an upgrade of the connection that is no WebSocket".to_owned(),
            );
        }
        let (matched, also) = match self.find(incoming, &path) {
            Ok(matched) => matched,
            Err(error) => return refused(error.to_string()),
        };
        for matched in std::iter::once(&matched).chain(&also) {
            let question = matched.question();
            let why = match replica.decide(held, user, &question) {
                Decided::Allow { role, policy } => {
                    tracing::debug!(user, role, policy, method = incoming.method, "allowed");
                    continue;
                }
                Decided::Deny { role, policy } => {
                    format!("role `{role}`, policy {} says Deny", policy.saturating_add(1))
                }
                Decided::NoPolicy => "no policy of the user's roles allows it".to_owned(),
            };
            return self.denied(who, incoming, self.about(&question, why), None);
        }
        Answer::Allow(self.headers(replica, held, who, matched.question().action))
    }

    /// The route of a request; two where it may be a WebSocket or not and the path has routes for
    /// both.
    fn find(
        &self,
        incoming: &Incoming<'_>,
        path: &Path<'_>,
    ) -> Result<(Matched<'_>, Option<Matched<'_>>), Refused> {
        match incoming.upgrade {
            Upgrade::Hidden => self.routes.find_either(incoming.method, path),
            upgrade => {
                let websocket = upgrade == Upgrade::WebSocket;
                Ok((self.routes.find(incoming.method, websocket, path)?, None))
            }
        }
    }

    /// The headers for the upstream. Each that is ever set is either set or removed, so that none
    /// comes from a client.
    fn headers(
        &self,
        replica: &Replica,
        held: Held<'_>,
        who: Who<'_>,
        action: ActionIdx,
    ) -> Vec<Set> {
        let user = who.user;
        let mut headers = Vec::with_capacity(5usize.saturating_add(self.allowed_headers.len()));
        headers.push(Set { name: Arc::clone(&self.user_header), value: user.map(str::to_owned) });
        let roles = replica.roles_header(held);
        headers.push(Set {
            name: Arc::clone(&self.roles_header),
            value: Some(roles.to_owned()).filter(|roles| !roles.is_empty()),
        });
        let action = self.routes.actions().get(action);
        for (place, (name, allowed)) in
            self.allowed_headers.iter().zip(&self.config.allowed).enumerate()
        {
            let wanted = action.is_some_and(|action| allowed.routes.contains(action));
            let value = wanted.then(|| replica.allowed_header(held, user, place).into_owned());
            headers.push(Set { name: Arc::clone(name), value });
        }
        for name in &self.removed_headers {
            headers.push(Set { name: Arc::clone(name), value: None });
        }
        headers.push(Set {
            name: Arc::clone(&self.token_header),
            value: who.token.map(str::to_owned),
        });
        if let Some(name) = &self.workflow_header {
            let value = who.workflow.map(str::to_owned);
            headers.push(Set { name: Arc::clone(name), value });
        }
        headers
    }

    /// Somebody is refused for who they are, whatever they ask: `told` so, while the log has `why`,
    /// which may name sources and addresses.
    fn deny(&self, who: Who<'_>, incoming: &Incoming<'_>, told: &str, why: &str) -> Answer {
        let path = Path::parse(incoming.target).ok();
        let matched = path.as_ref().and_then(|path| self.find(incoming, path).ok());
        let denial = match &matched {
            Some((matched, _)) => self.about(&matched.question(), told.to_owned()),
            None => Denial { why: told.to_owned(), ..Denial::default() },
        };
        self.denied(who, incoming, denial, Some(why))
    }

    /// A denial of `question`.
    fn about(&self, question: &Question<'_>, why: String) -> Denial {
        let action = self.routes.actions().get(question.action).map(ToString::to_string);
        let resource = match question.on {
            On::Nothing => None,
            On::Resource(resource) => Some(resource.to_owned()),
            On::SomeOf(scope) => Some(format!("{scope}/*")),
        };
        Denial { action, resource, why }
    }

    /// Logs a denial and makes the answer of it. `why` is for the log, where that says more than
    /// the caller is told.
    fn denied(
        &self,
        who: Who<'_>,
        incoming: &Incoming<'_>,
        denial: Denial,
        why: Option<&str>,
    ) -> Answer {
        let why = why.unwrap_or(&denial.why);
        match who.user {
            None => self.lines.anonymous.note(why),
            Some(user) => {
                let path = incoming.target.split('?').next().unwrap_or_default();
                tracing::info!(
                    user,
                    token = who.token,
                    method = %incoming.method.escape_debug(),
                    path = %path.escape_debug(),
                    action = denial.action,
                    resource = denial.resource,
                    "denied: {why}"
                );
            }
        }
        Answer::Denied(Box::new(denial))
    }
}

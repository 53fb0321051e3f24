//! Where a request is answered: who, which action on what, may they, and what the upstream is told.
//!
//! One authorizer serves one configuration; a reload makes another. The order matters: a caller whom
//! nobody can identify learns nothing about routes, and evidence that is too old decides nothing.

mod token;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use self::upstream::Upstream;
use super::answer::{Answer, Denial};
use super::authzen::Authzen;
use super::exchange::Exchange;
use super::host::{self, HostError};
use super::identity::{Identifier, LoggedOut, LogoutError};
use super::lines::Lines;
use super::logout::SessionLedger;
use super::provision::{Provisioned, Provisioner};
use super::question::{Header, Headers, Identity, RequestLine, Unidentified};
use super::replica::{Found, HeldRoles, Replica, Ruling, Wanted};
use super::session_watcher::SessionWatcher;
use super::watcher::{NOTHING_LOADED, ReplicaWatcher, Stale};
use crate::config::{AuthzenConfig, GatewayConfig};
use crate::model::caller::Caller;
use crate::model::{Time, TooMany};
use crate::routes::{Matched, On, Path, Question, Refused, Routes};

/// How long a request waits for a generation that was committed for its caller to be loaded.
const LOADED_WITHIN: Duration = Duration::from_secs(2);

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
    /// The host that it is for, as the protocol's own place for it tells: with its port, as it was sent.
    pub host: Header<'a>,
    /// The gateway says that it was asked over TLS.
    pub tls: bool,
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

/// Why a request takes no route.
#[derive(Debug, thiserror::Error)]
enum Unrouted {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Everything that answering needs, for one configuration.
pub struct Authorizer {
    config: GatewayConfig,
    routes: Routes,
    identifier: Arc<Identifier>,
    watcher: Arc<ReplicaWatcher>,
    provisioner: Option<Arc<Provisioner>>,
    upstream: Upstream,
    exchange: Option<Arc<Exchange>>,
    sessions: Option<Arc<SessionWatcher>>,
    ledger: Option<Arc<SessionLedger>>,
    authzen: Option<Arc<Authzen>>,
    /// The last request found nothing to decide by.
    refusing: AtomicBool,
    lines: Lines,
}

impl Authorizer {
    /// What decisions will be asked for under `config`: what a [`ReplicaWatcher`] is to load.
    ///
    /// # Errors
    /// There are more routes than can be numbered.
    pub fn wanted(config: &GatewayConfig) -> Result<Arc<Wanted>, TooMany> {
        Ok(Arc::new(Wanted {
            actions: Routes::new(config.route_specs())?.actions().to_vec(),
            allowed: config.allowed.clone(),
            anonymous_role: config.anonymous_role.clone(),
            sources: config.id_sources(),
            tokens: config.tokens.is_some(),
            subjects: config.authzen.as_ref().map(AuthzenConfig::subject_ids).unwrap_or_default(),
        }))
    }

    /// An authorizer. `watcher` must have been made for [`Authorizer::wanted`] of the same configuration;
    /// `provisioner` is absent where nobody is provisioned just in time.
    ///
    /// # Errors
    /// There are more routes than can be numbered.
    pub fn new(
        config: &GatewayConfig,
        identifier: Arc<Identifier>,
        watcher: Arc<ReplicaWatcher>,
        provisioner: Option<Arc<Provisioner>>,
    ) -> Result<Authorizer, TooMany> {
        Ok(Authorizer {
            routes: Routes::new(config.route_specs())?,
            identifier,
            watcher,
            provisioner,
            upstream: Upstream::new(config),
            exchange: None,
            sessions: None,
            ledger: None,
            authzen: None,
            config: config.clone(),
            refusing: AtomicBool::new(false),
            lines: Lines::new(),
        })
    }

    /// The same, which exchanges access tokens as well.
    #[must_use]
    pub fn exchanging(self, exchange: Option<Arc<Exchange>>) -> Authorizer {
        Authorizer { exchange, ..self }
    }

    /// The same, which judges no token before `sessions` knows what has ended.
    #[must_use]
    pub fn holding_against(self, sessions: Option<Arc<SessionWatcher>>) -> Authorizer {
        Authorizer { sessions, ..self }
    }

    /// The same, which ends sessions too, where this process may write the store.
    #[must_use]
    pub fn ending(self, ledger: Option<Arc<SessionLedger>>) -> Authorizer {
        Authorizer { ledger, ..self }
    }

    /// Whether sessions end before their tokens do.
    #[must_use]
    pub fn ends_sessions(&self) -> bool {
        self.config.logout.is_some()
    }

    /// What follows which sessions have ended, where any end.
    #[must_use]
    pub fn sessions(&self) -> Option<&Arc<SessionWatcher>> {
        self.sessions.as_ref()
    }

    /// Where sessions end, where this process may write that.
    #[must_use]
    pub fn ledger(&self) -> Option<&Arc<SessionLedger>> {
        self.ledger.as_ref()
    }

    /// What a logout token says.
    ///
    /// # Errors
    /// It proves no log-out.
    pub async fn logged_out(&self, token: &str, now: Time) -> Result<LoggedOut, LogoutError> {
        self.identifier.logged_out(token, now).await
    }

    /// What access tokens are exchanged by, where they are.
    #[must_use]
    pub fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.exchange.as_ref()
    }

    /// The same, which answers AuthZEN as well.
    #[must_use]
    pub fn answering(self, authzen: Option<Arc<Authzen>>) -> Authorizer {
        Authorizer { authzen, ..self }
    }

    /// What answers AuthZEN, where anything does.
    #[must_use]
    pub fn authzen(&self) -> Option<&Arc<Authzen>> {
        self.authzen.as_ref()
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

    /// Why nothing can be decided now; `None`: a generation is loaded and fresh, and it is known which sessions
    /// have ended.
    #[must_use]
    pub fn not_ready(&self) -> Option<Stale> {
        let stale = self.watcher.stale(Utc::now(), self.config.max_staleness);
        stale.or_else(|| self.sessions.as_ref().and_then(|sessions| sessions.stale()))
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

    /// What whoever asks now is told, if there is nothing to decide by. Logs when that begins and ends.
    pub(super) fn nothing_to_decide_by(&self) -> Option<&'static str> {
        if let Some(Stale { told, words, .. }) = self.not_ready() {
            // Once, however many ask meanwhile.
            if !self.refusing.swap(true, Ordering::Relaxed) {
                tracing::warn!("every request is refused: {words}");
            }
            return Some(told);
        }
        if self.refusing.load(Ordering::Relaxed) && self.refusing.swap(false, Ordering::Relaxed) {
            tracing::info!("requests are decided again");
        }
        None
    }

    async fn decided(&self, incoming: &Incoming<'_>) -> (Answer, Option<Credential>) {
        if let Some(told) = self.nothing_to_decide_by() {
            return (Answer::Unavailable(told), None);
        }
        let now = Utc::now();
        let Incoming { method, target, host, tls, headers, payloads, .. } = *incoming;
        let request = Some(RequestLine { method, target, host, tls });
        let identity = self.identifier.identify_request(headers, request, payloads, now).await;
        let caller = match identity {
            Ok(Identity::Nobody) => return (self.nobody(incoming), None),
            Ok(Identity::Caller(caller)) => caller,
            Ok(Identity::Token(digest)) => {
                return (self.token(&digest, incoming, now), Some(Credential::Token));
            }
            Err(Unidentified::Refused(why)) if why.session_ended() => {
                self.lines.ended.note(&why.to_string());
                return (Answer::SessionEnded, None);
            }
            Err(Unidentified::Refused(why)) => {
                self.lines.unproven.note(&why.to_string());
                let answer = why.possession().map_or(Answer::Unauthenticated, Answer::NotPossessed);
                return (answer, None);
            }
            Err(Unidentified::Unavailable(why)) => {
                self.lines.unjudged.note(&why.to_string());
                let why = "identities cannot be verified at the moment";
                return (Answer::Unavailable(why), None);
            }
        };
        match self.caller(&caller, incoming) {
            Some(answer) => (answer, None),
            None => (self.provision_caller(&caller, incoming).await, None),
        }
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
        Some(self.known(replica, HeldRoles::Bounded(&bounded), who, incoming))
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
    async fn provision_caller(&self, caller: &Arc<Caller>, incoming: &Incoming<'_>) -> Answer {
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
        held: HeldRoles<'_>,
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
                Ruling::Allow { role, policy } => {
                    tracing::debug!(user, role, policy, method = incoming.method, "allowed");
                    continue;
                }
                Ruling::Deny { role, policy } => {
                    format!("role `{role}`, policy {} says Deny", policy.saturating_add(1))
                }
                Ruling::NoPolicy => "no policy of the user's roles allows it".to_owned(),
            };
            return self.denied(who, incoming, self.about(&question, why), None);
        }
        let action = self.routes.actions().get(matched.question().action);
        Answer::Allow(self.upstream.headers(replica, held, who, action))
    }

    /// The route of a request; two where it may be a WebSocket or not and the path has routes for
    /// both.
    fn find(
        &self,
        incoming: &Incoming<'_>,
        path: &Path<'_>,
    ) -> Result<(Matched<'_>, Option<Matched<'_>>), Unrouted> {
        // Where no route names a host it decides nothing: nothing is asked of it.
        let host = match self.routes.name_hosts() {
            true => host::told(incoming.host, incoming.headers)?,
            false => None,
        };
        let site = self.routes.site(host.as_ref())?;
        Ok(match incoming.upgrade {
            Upgrade::Hidden => self.routes.find_either(site, incoming.method, path)?,
            upgrade => {
                let websocket = upgrade == Upgrade::WebSocket;
                (self.routes.find(site, incoming.method, websocket, path)?, None)
            }
        })
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
                let host = match incoming.host {
                    Header::One(host) if self.routes.name_hosts() => Some(host.escape_debug()),
                    _ => None,
                };
                tracing::info!(
                    user,
                    token = who.token,
                    method = %incoming.method.escape_debug(),
                    host = host.map(tracing::field::display),
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

//! Where a request is answered: who, which action on what, may they, and what the upstream is told.
//!
//! One desk serves one configuration; a reload makes another. The order matters: a caller whom
//! nobody can identify learns nothing about routes, and evidence that is too old decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;

use super::answer::{Answer, Denial, Set};
use super::follow::{Follower, NOTHING_LOADED, Stale};
use super::identity::Identifier;
use super::path::Path;
use super::provision::{Provisioned, Provisioner};
use super::question::{Caller, Headers, Identity, On, Question, Unidentified};
use super::route::{Matched, Refused, Routes};
use super::snapshot::{Decided, Found, SetRef, Snapshot, Wanted};
use super::throttle::Throttle;
use crate::config::GatewayConfig;

/// How long a request waits for a generation that was committed for its caller to be loaded.
const LOADED_WITHIN: Duration = Duration::from_secs(2);

/// Headers that OSMO believes, whoever sent them. With `preset = "osmo"` what a client sends of them
/// never reaches the upstream: each is set where the configuration says how, and removed otherwise.
const OSMO_HEADERS: [&str; 3] = ["x-osmo-allowed-pools", "x-osmo-token-name", "x-osmo-workflow-id"];

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

/// Everything that answering needs, for one configuration.
pub struct Desk {
    config: GatewayConfig,
    routes: Routes,
    identifier: Arc<Identifier>,
    follower: Arc<Follower>,
    provisioner: Option<Arc<Provisioner>>,
    user_header: Arc<str>,
    roles_header: Arc<str>,
    allowed_headers: Vec<Arc<str>>,
    removed_headers: Vec<Arc<str>>,
    /// The last request found nothing to decide by.
    refusing: AtomicBool,
    lines: Lines,
}

/// Log lines that strangers can cause.
struct Lines {
    unproven: Arc<Throttle>,
    unjudged: Arc<Throttle>,
    anonymous: Arc<Throttle>,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            unproven: Throttle::new(|why, count| match count {
                1 => {
                    tracing::info!(count, "a request is refused, its identity is not proven: {why}")
                }
                _ => tracing::info!(
                    count,
                    "{count} more requests are refused, their identity is not proven; the last: {why}"
                ),
            }),
            unjudged: Throttle::new(|why, count| match count {
                1 => tracing::warn!(
                    count,
                    "a request is refused, its identity cannot be judged now: {why}"
                ),
                _ => tracing::warn!(
                    count,
                    "{count} more requests are refused, their identity cannot be judged now; the \
                     last: {why}"
                ),
            }),
            anonymous: Throttle::new(|why, count| match count {
                1 => tracing::info!(count, "a request without identity is denied: {why}"),
                _ => tracing::info!(
                    count,
                    "{count} more requests without identity are denied; the last: {why}"
                ),
            }),
        }
    }
}

impl Desk {
    /// What decisions will be asked for under `config`: what a [`Follower`] is to load.
    #[must_use]
    pub fn wanted(config: &GatewayConfig) -> Arc<Wanted> {
        Arc::new(Wanted {
            actions: Routes::new(config).actions().to_vec(),
            allowed: config.allowed.clone(),
            anonymous_role: config.anonymous_role.clone(),
            sources: config.id_sources(),
        })
    }

    /// A desk. `follower` must have been made for [`Desk::wanted`] of the same configuration;
    /// `provisioner` is absent where nobody is provisioned just in time.
    #[must_use]
    pub fn new(
        config: &GatewayConfig,
        identifier: Arc<Identifier>,
        follower: Arc<Follower>,
        provisioner: Option<Arc<Provisioner>>,
    ) -> Desk {
        let named = |name: &str| Arc::from(name);
        let set: Vec<&str> = [&config.user_header, &config.roles_header]
            .into_iter()
            .chain(config.allowed.iter().map(|allowed| &allowed.header))
            .map(String::as_str)
            .collect();
        let foreign: &[&str] = if config.preset.is_some() { &OSMO_HEADERS } else { &[] };
        Desk {
            routes: Routes::new(config),
            identifier,
            follower,
            provisioner,
            user_header: named(&config.user_header),
            roles_header: named(&config.roles_header),
            allowed_headers: config.allowed.iter().map(|allowed| named(&allowed.header)).collect(),
            removed_headers: foreign
                .iter()
                .filter(|name| !set.contains(name))
                .map(|name| named(name))
                .collect(),
            config: config.clone(),
            refusing: AtomicBool::new(false),
            lines: Lines::new(),
        }
    }

    /// What follows the store for this desk.
    #[must_use]
    pub fn follower(&self) -> &Arc<Follower> {
        &self.follower
    }

    /// How many just-in-time look-ups are under way.
    #[must_use]
    pub fn lookups_running(&self) -> usize {
        self.provisioner.as_ref().map_or(0, |provisioner| provisioner.in_flight())
    }

    /// Why nothing can be decided now; `None`: a generation is loaded and fresh.
    #[must_use]
    pub fn not_ready(&self) -> Option<Stale> {
        self.follower.stale(Utc::now(), self.config.max_staleness)
    }

    /// Answers one request.
    pub async fn answer(&self, incoming: &Incoming<'_>) -> Answer {
        if let Some(Stale { told, words, .. }) = self.not_ready() {
            // Once, however many ask meanwhile.
            if !self.refusing.swap(true, Ordering::Relaxed) {
                tracing::warn!("every request is refused: {words}");
            }
            return Answer::Unavailable(told);
        }
        if self.refusing.load(Ordering::Relaxed) && self.refusing.swap(false, Ordering::Relaxed) {
            tracing::info!("requests are decided again");
        }
        let now = Utc::now();
        let identity = self.identifier.identify(incoming.headers, incoming.payloads, now).await;
        let caller = match identity {
            Ok(Identity::Nobody) => return self.nobody(incoming),
            Ok(Identity::Caller(caller)) => caller,
            Err(Unidentified::Refused(why)) => {
                self.lines.unproven.note(&why);
                return Answer::Unauthenticated;
            }
            Err(Unidentified::Unavailable(why)) => {
                self.lines.unjudged.note(&why);
                return Answer::Unavailable("identities cannot be verified at the moment");
            }
        };
        match self.caller(&caller, incoming) {
            Some(answer) => answer,
            None => self.stranger(&caller, incoming).await,
        }
    }

    /// Answers a caller whom the store knows; `None`: it does not. From one generation, however
    /// many are committed meanwhile.
    fn caller(&self, caller: &Caller, incoming: &Incoming<'_>) -> Option<Answer> {
        let loaded = self.follower.loaded();
        let Some(loaded) = &*loaded else {
            return Some(Answer::Unavailable(NOTHING_LOADED));
        };
        let (found, name) = loaded.snapshot.caller(&caller.known_by);
        match found {
            // The upstream is told what the store calls the person, not what the token does.
            Found::Enabled(set) => Some(self.known(&loaded.snapshot, set, Some(name), incoming)),
            Found::Disabled(why) => {
                Some(self.deny(caller, incoming, "the user is disabled or deprovisioned", why))
            }
            Found::Unknown => None,
        }
    }

    /// A request without any identity.
    fn nobody(&self, incoming: &Incoming<'_>) -> Answer {
        let loaded = self.follower.loaded();
        let Some(loaded) = &*loaded else { return Answer::Unauthenticated };
        let Some(set) = loaded.snapshot.anonymous() else {
            tracing::debug!("a request without identity is refused");
            return Answer::Unauthenticated;
        };
        match self.known(&loaded.snapshot, set, None, incoming) {
            // What somebody might do there is not for strangers to know.
            Answer::Denied(_) => Answer::Unauthenticated,
            answer => answer,
        }
    }

    /// Someone whom the store does not know.
    async fn stranger(&self, caller: &Arc<Caller>, incoming: &Incoming<'_>) -> Answer {
        let Some(provisioner) = &self.provisioner else {
            return self.deny(caller, incoming, UNKNOWN, UNKNOWN);
        };
        match provisioner.provision(caller).await {
            Provisioned::Committed { generation } => {
                self.follower.nudge();
                let deadline = Instant::now() + LOADED_WITHIN;
                if !self.follower.at_least(generation, deadline).await {
                    let why = "the user was provisioned just now and is not loaded yet";
                    return self.deny(caller, incoming, why, why);
                }
            }
            Provisioned::Nobody => {
                let why = format!("{UNKNOWN}, nor does any source");
                return self.deny(caller, incoming, UNKNOWN, &why);
            }
            Provisioned::Refused(why) => {
                return self.deny(caller, incoming, UNKNOWN, &format!("{UNKNOWN}: {why}"));
            }
            Provisioned::Unavailable(why) => {
                let told = "the store knows no such user, and nobody can be asked at the moment";
                let why = format!("{UNKNOWN}, and the look-up did not succeed: {why}");
                return self.deny(caller, incoming, told, &why);
            }
        }
        self.caller(caller, incoming)
            .unwrap_or_else(|| self.deny(caller, incoming, UNKNOWN, UNKNOWN))
    }

    /// Someone who holds the roles of `set`; `user` is absent for the anonymous role.
    fn known(
        &self,
        snapshot: &Snapshot,
        set: SetRef,
        user: Option<&str>,
        incoming: &Incoming<'_>,
    ) -> Answer {
        let refused =
            |why: String| self.denied(user, incoming, Denial { why, ..Denial::default() }, None);
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
            let why = match snapshot.decide(set, &question) {
                Decided::Allow { role, policy } => {
                    tracing::debug!(user, role, policy, method = incoming.method, "allowed");
                    continue;
                }
                Decided::Deny { role, policy } => {
                    format!("role `{role}`, policy {} says Deny", policy.saturating_add(1))
                }
                Decided::NoPolicy => "no policy of the user's roles allows it".to_owned(),
            };
            return self.denied(user, incoming, self.about(&question, why), None);
        }
        Answer::Allow(self.headers(snapshot, set, user, matched.question().action))
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
        snapshot: &Snapshot,
        set: SetRef,
        user: Option<&str>,
        action: super::question::ActionIdx,
    ) -> Vec<Set> {
        let mut headers =
            Vec::with_capacity(2usize.saturating_add(self.allowed_headers.len()).saturating_add(2));
        headers.push(Set { name: Arc::clone(&self.user_header), value: user.map(str::to_owned) });
        let roles = snapshot.roles_header(set);
        headers.push(Set {
            name: Arc::clone(&self.roles_header),
            value: Some(roles.to_owned()).filter(|roles| !roles.is_empty()),
        });
        let action = self.routes.actions().get(action as usize);
        for (place, (name, allowed)) in
            self.allowed_headers.iter().zip(&self.config.allowed).enumerate()
        {
            let wanted = action.is_some_and(|action| allowed.routes.contains(action));
            let value = wanted.then(|| snapshot.allowed_header(set, place).to_owned());
            headers.push(Set { name: Arc::clone(name), value });
        }
        for name in &self.removed_headers {
            headers.push(Set { name: Arc::clone(name), value: None });
        }
        headers
    }

    /// A caller is refused for who they are, whatever they ask: `told` so, while the log has `why`,
    /// which may name sources and addresses.
    fn deny(&self, caller: &Caller, incoming: &Incoming<'_>, told: &str, why: &str) -> Answer {
        let path = Path::parse(incoming.target).ok();
        let matched = path.as_ref().and_then(|path| self.find(incoming, path).ok());
        let denial = match &matched {
            Some((matched, _)) => self.about(&matched.question(), told.to_owned()),
            None => Denial { why: told.to_owned(), ..Denial::default() },
        };
        self.denied(Some(caller.shown()), incoming, denial, Some(why))
    }

    /// A denial of `question`.
    fn about(&self, question: &Question<'_>, why: String) -> Denial {
        let action = self.routes.actions().get(question.action as usize).map(ToString::to_string);
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
        user: Option<&str>,
        incoming: &Incoming<'_>,
        denial: Denial,
        why: Option<&str>,
    ) -> Answer {
        let why = why.unwrap_or(&denial.why);
        match user {
            None => self.lines.anonymous.note(why),
            Some(user) => {
                let path = incoming.target.split('?').next().unwrap_or_default();
                tracing::info!(
                    user,
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

//! OpenID AuthZEN Authorization API 1.0: the decision point that anything can ask which speaks it.
//!
//! ```text
//! http ─► callers ─ who asks (token, JWT, certificate)      401, 403: the body is not looked at
//!     ├─► request ─ what, strictly                          400
//!     │     └─ mapping ─ which action on what that means
//!     ├─► decide ── may they, from one generation           200
//!     ├─► search ── who may, on what, what                  200
//!     │     └─ page ─ a part of it, and where it goes on
//!     └─► metadata
//! ```
//!
//! What is asked is about somebody else than who asks: so there is nobody to provision here, and no role
//! for whoever has no identity. What is said of a subject beside its id is the word of the caller:
//! it chooses the action, and never gives a role.

mod body;
mod callers;
mod decide;
mod http;
mod mapping;
mod metadata;
mod page;
mod request;
mod search;

use std::sync::Arc;

use self::body::Room;
use self::callers::Callers;
use self::mapping::Mapping;
use super::ended::EndedSessions;
use super::identity::{Client, ClientSessions, Clients, IdentityError, JwksCache};
use super::throttle::Throttle;
use crate::config::{AuthzenConfig, CallerProof, GatewayConfig, SecretError};

pub(super) use self::http::respond;

/// Why nobody can ask by AuthZEN as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum AuthzenError {
    /// A caller's token cannot be read.
    #[error("the token of caller `{caller}`: {why}")]
    Token {
        /// The caller.
        caller: String,
        /// Why.
        #[source]
        why: SecretError,
    },
    /// A caller's token is none that a header can hold.
    #[error(
        "the token of caller `{0}` cannot stand in a header: it has characters that are not visible \
         ASCII"
    )]
    NoToken(String),
    /// Nobody could tell who asks.
    #[error("the callers `{one}` and `{other}` have the same token")]
    SameToken {
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// The issuer of a caller's tokens cannot be asked.
    #[error(transparent)]
    Issuer(#[from] IdentityError),
}

/// Everything that answering needs, for one configuration.
pub struct Authzen {
    config: AuthzenConfig,
    callers: Callers,
    mapping: Mapping,
    paths: http::Paths,
    /// `None`: there is none.
    metadata: Option<String>,
    room: Room,
    lines: Lines,
}

/// Log lines that whoever can connect can cause.
struct Lines {
    unproven: Arc<Throttle>,
    unclear: Arc<Throttle>,
}

impl Authzen {
    /// What `config`, that of `gateway`, says; callers' tokens are held against the sessions that have
    /// `ended`, where any end. Reads the callers' tokens, and what `keys` has kept of their issuers' keys,
    /// so it may block for a moment; reads these keys from then on, on the current runtime. `before`:
    /// what was in force so far, whose issuers stay where they are the same.
    ///
    /// # Errors
    /// A caller's token cannot be read, two are the same, an issuer cannot be asked.
    pub fn new(
        (gateway, config): (&GatewayConfig, &AuthzenConfig),
        keys: Option<Arc<dyn JwksCache>>,
        ended: &Arc<EndedSessions>,
        before: Option<&Authzen>,
    ) -> Result<Authzen, AuthzenError> {
        let named = programs(gateway, config);
        let lifetime = gateway.logout.map(|logout| logout.max_token_lifetime);
        let clients = match before.map(|before| before.callers.clients()) {
            Some(before) if before.are(&named, lifetime) => before,
            _ => {
                let ended = Arc::clone(ended);
                let sessions = lifetime.map(|lifetime| ClientSessions { ended, lifetime });
                Arc::new(Clients::new(named, keys, sessions)?)
            }
        };
        Ok(Authzen {
            callers: Callers::new(config, clients)?,
            mapping: Mapping::new(config),
            paths: http::Paths::new(config),
            metadata: metadata::metadata(config),
            config: config.clone(),
            room: before.map_or_else(Room::new, |before| before.room.clone()),
            lines: Lines::new(),
        })
    }
}

/// The callers that show JWTs.
fn programs(gateway: &GatewayConfig, config: &AuthzenConfig) -> Vec<Client> {
    let program = |name: &String, proof: &CallerProof| match proof {
        CallerProof::Jwt(jwt) => Some(Client {
            name: name.clone(),
            realm: Arc::new(gateway.caller_realm(jwt)),
            jwt: jwt.clone(),
        }),
        CallerProof::Token(_) | CallerProof::ClientCertificate(_) => None,
    };
    config.callers.iter().filter_map(|caller| program(&caller.name, &caller.proof)).collect()
}

impl Lines {
    fn new() -> Lines {
        Lines {
            unproven: Throttle::new(|why, count| {
                tracing::info!(
                    count,
                    "an AuthZEN request is refused, its caller is not proven: {why}"
                );
            }),
            unclear: Throttle::new(|why, count| {
                tracing::warn!(count, "an AuthZEN request is refused: {why}");
            }),
        }
    }
}

/// What a caller sent, for an answer or the log: short, and without characters that could forge a line.
fn shown(text: &str) -> String {
    super::identity::shown(text)
}

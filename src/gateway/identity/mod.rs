//! Who is asking: the room that turns a request's headers into a proven caller.
//!
//! ```text
//!            jwt ──► cache       verified before: no signature, no clock but `exp` and `nbf`
//!             │ ───► claims      strict JSON, what the claims must say
//! Identifier ─┤ ───► issuer ───► keys      fetch: discovery, JWKS; which key may verify what
//!             │        └───────► cache     where keys outlive a restart
//!             │ ───► dpop        the proof that goes with a token that is bound to a key
//!            metadata ─► claims  what Envoy's `jwt_authn` verified
//!            header              a name that the gateway vouches for
//! ```
//!
//! The configuration names one of the three ways. None is ever a fallback for another: with
//! `metadata` no JWT in a header is believed, with `jwt` no metadata is. Where access tokens count,
//! they do beside each: `credential` tells them by their shape. A request with one and an identity of
//! the other way as well is refused: it would be two people's.
//!
//! Where sessions end before their tokens do (`session`), a token is held against those that have ended
//! whenever it comes. `logout` reads what an issuer says of one.
//!
//! A request waits for an issuer only where its token names a key that is not known, and not
//! longer than a second. Keys are known, or the token is refused; nothing here is ever let
//! through for want of an answer.

mod cache;
mod claims;
mod clients;
mod credential;
mod dpop;
mod fault;
mod fetch;
mod header;
mod issuer;
mod jwks_cache;
mod jwt;
mod keys;
mod logout;
mod metadata;
mod proofs;
mod session;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

pub(super) use claims::{Strict, username};
pub use clients::{Client, ClientSessions, Clients};
pub use credential::digest;
pub use dpop::ProofError;
pub use fault::{
    ClaimError, CredentialError, NameError, NoKeys, NoProof, PartError, TokenError, Unidentified,
    UnnamedError,
};
pub use fetch::{FetchError, KeysError, NotDiscovered};
pub use jwks_cache::StoreJwksCache;
pub use keys::{JwksError, KeyError, LeftOut};
pub use logout::{LoggedOut, LogoutError};
pub use proofs::{NotTaken, ProofMemory};

use self::credential::{Places, Scheme, is_jwt, is_token};
use self::dpop::{Possession, Proofs};
use self::header::Vouched;
use self::issuer::{Issuer, Pace};
use self::jwt::{Look, Presented, Verifier};
use self::keys::KeySet;
use self::metadata::Payloads;
use self::session::Sessions;
use super::ended::EndedSessions;
use super::exchange::{Exchange, Seal};
use crate::config::{DpopConfig, GatewayConfig, IdentityWay as Way, JwtConfig, OSMO};
use crate::gateway::question::{Headers, Identity, RequestLine};
use crate::model::Time;
use crate::source::SourceError;

/// How long a request with an unknown key waits for the issuer.
const WAIT: Duration = Duration::from_secs(1);

/// Where keys outlive a restart. Both methods may block; neither is called while a request waits.
pub trait JwksCache: Send + Sync {
    /// The keys last kept for `issuer`: a JWK set (RFC 7517, section 5). `None`: there are none,
    /// or they cannot be had.
    fn load(&self, issuer: &str) -> Option<String>;

    /// Keeps `jwks`, a JWK set of public keys, for `issuer`, in place of what was kept before.
    /// `false`: not yet, it is to be tried again.
    fn keep(&self, issuer: &str, jwks: &str) -> bool;
}

/// Why nobody could be told by what a configuration says.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The issuer could not be asked: its `ca_file`, or TLS.
    #[error("issuer `{issuer}`: {why}")]
    Client {
        /// The issuer.
        issuer: String,
        /// Why.
        #[source]
        why: SourceError,
    },
    /// The keys of the exchange.
    #[error(transparent)]
    OwnKeys(JwksError),
}

/// What is wrong with the keys of an issuer.
#[derive(Debug, thiserror::Error)]
pub enum IssuerFault {
    /// They cannot be read.
    #[error("cannot read the keys of issuer `{issuer}`: {why}")]
    Keys {
        /// The issuer.
        issuer: String,
        /// Why.
        #[source]
        why: KeysError,
    },
    /// One of them verifies nothing.
    #[error(
        "a key of issuer `{issuer}` cannot be used, and tokens that it signs are refused: {key}"
    )]
    Key {
        /// The issuer.
        issuer: String,
        /// The key, and why.
        key: LeftOut,
    },
    /// It cannot even be asked.
    #[error(transparent)]
    Identity(IdentityError),
}

/// Tells who asks, in the way that the configuration names.
pub struct Identifier {
    way: Is,
    /// Access tokens count.
    tokens: bool,
    places: Places,
    /// Those whose keys are read: those that tokens are verified with, and with `metadata` those that
    /// logout tokens are.
    issuers: Vec<Arc<Issuer>>,
    dpop: DpopConfig,
    proofs: Arc<ProofMemory>,
}

enum Is {
    Jwt(Verifier),
    Metadata(Payloads),
    /// Beside what the gateway vouches for, what was exchanged here.
    Header(Vouched, Option<Verifier>),
}

/// Reads the issuers' keys for as long as it lives.
#[must_use = "dropping it ends the reading of keys"]
pub struct KeyReading {
    tasks: JoinSet<()>,
}

impl KeyReading {
    /// Ends it. What was read and could not be kept so far gets one more try.
    pub async fn end(mut self, identifier: &Identifier) {
        self.tasks.shutdown().await;
        for issuer in &identifier.issuers {
            issuer.keep().await;
        }
    }
}

impl Identifier {
    /// Ready to tell who asks, with the keys that `keys` has kept. Reads `ca_file`s and the cache,
    /// so it may block for a moment; asks no issuer.
    ///
    /// # Errors
    /// A `ca_file` cannot be used, or TLS cannot be set up.
    pub fn new(
        config: &GatewayConfig,
        keys: Option<Arc<dyn JwksCache>>,
    ) -> Result<Identifier, IdentityError> {
        Identifier::made(config, keys, (None, &EndedSessions::new()), Pace::default())
    }

    /// As [`Identifier::new`], with what access tokens are exchanged by here, where they are, and the
    /// sessions that have `ended`.
    ///
    /// # Errors
    /// Those of [`Identifier::new`].
    pub fn beside_others(
        config: &GatewayConfig,
        keys: Option<Arc<dyn JwksCache>>,
        own: Option<&Exchange>,
        ended: &Arc<EndedSessions>,
    ) -> Result<Identifier, IdentityError> {
        Identifier::made(config, keys, (own, ended), Pace::default())
    }

    #[cfg(test)]
    fn with_pace(
        config: &GatewayConfig,
        keys: Option<Arc<dyn JwksCache>>,
        pace: Pace,
    ) -> Result<Identifier, IdentityError> {
        Identifier::made(config, keys, (None, &EndedSessions::new()), pace)
    }

    fn made(
        config: &GatewayConfig,
        keys: Option<Arc<dyn JwksCache>>,
        (own, ended): (Option<&Exchange>, &Arc<EndedSessions>),
        pace: Pace,
    ) -> Result<Identifier, IdentityError> {
        let sessions =
            config.logout.map(|logout| Sessions::new(Arc::clone(ended), logout.max_token_lifetime));
        let seal: Option<Arc<Seal>> = own.map(Exchange::seal);
        let own = own.map(|own| KeySet::read(own.jwks().as_bytes(), None).map(Arc::new));
        let own = own.transpose().map_err(IdentityError::OwnKeys)?;
        let mut issuers = Vec::new();
        for jwt in config.jwt.iter().filter(|jwt| reads_keys(config, jwt)) {
            let own = own.clone().filter(|_| jwt.issuer == OSMO);
            issuers.push(Issuer::new(jwt, own, keys.clone(), pace)?);
        }
        let way = match config.identity {
            Way::Jwt => Is::Jwt(Verifier::new(issuers.clone(), seal, sessions)),
            Way::Metadata => Is::Metadata(Payloads::new(&config.jwt, seal, sessions)),
            Way::Header => {
                let issuer = own.map(|own| {
                    let jwt = JwtConfig::exchanged();
                    Issuer::new(&jwt, Some(own), None, pace)
                });
                let issuer = issuer.transpose()?;
                let own = issuer.map(|issuer| Verifier::new(vec![issuer], seal, None));
                Is::Header(Vouched::new(config), own)
            }
        };
        let places = Places { osmo_auth: config.preset.is_some() };
        let (tokens, dpop) = (config.tokens.is_some(), config.dpop.clone());
        Ok(Identifier { way, tokens, places, issuers, dpop, proofs: Arc::default() })
    }

    /// The same, which holds proofs against what others before it have seen as well.
    #[must_use]
    pub fn remembering(self, proofs: Arc<ProofMemory>) -> Identifier {
        Identifier { proofs, ..self }
    }

    /// Starts reading the issuers' keys (OpenID Connect Discovery 1.0, then `jwks_uri`) on the
    /// current runtime, at once and then every five minutes, so that a key that was removed stops
    /// verifying. A failed read keeps the keys that are known, and is tried again sooner. Where no
    /// token is verified here nothing is read.
    pub fn start(self: &Arc<Self>) -> KeyReading {
        let mut tasks = JoinSet::new();
        for issuer in self.issuers.iter().filter(|issuer| !issuer.is_own()) {
            tasks.spawn(Arc::clone(issuer).refresh_forever());
            tasks.spawn(Arc::clone(issuer).keep_forever());
        }
        KeyReading { tasks }
    }

    /// Tells who asks, where nothing but the headers is known of the request: so no proof of possession
    /// fits it. As [`Identifier::identify_request`].
    ///
    /// # Errors
    /// Those of [`Identifier::identify_request`].
    pub fn identify<'a>(
        &'a self,
        headers: &'a dyn Headers,
        payloads: Option<&Value>,
        now: Time,
    ) -> impl Future<Output = Result<Identity, Unidentified>> + Send + use<'a> {
        self.identify_request(headers, None, payloads, now)
    }

    /// Tells who asks. `request` is what a proof of possession must name; `payloads` is the filter metadata of `envoy.filters.http.jwt_authn`
    /// (`{"<payload key>": {claims…}, …}`) where the request came with some, `now` the wall clock.
    ///
    /// Whatever can be told from memory is told before this returns; the future then is ready at
    /// once. It waits, for a second at most, only where a token's key is not known yet.
    ///
    /// # Errors
    /// What the request bears proves nothing, or its issuer's keys could not be had yet. The texts
    /// are for the log: they hold neither a token nor a signature.
    pub fn identify_request<'a>(
        &'a self,
        headers: &'a dyn Headers,
        request: Option<RequestLine<'a>>,
        payloads: Option<&Value>,
        now: Time,
    ) -> impl Future<Output = Result<Identity, Unidentified>> + Send + use<'a> {
        let look = match &self.way {
            Is::Jwt(verifier) => match self.places.presented(headers) {
                Ok(None) => Look::Done(Ok(Identity::Nobody)),
                Ok(Some((Scheme::Bearer, token))) if self.tokens && is_token(token) => {
                    Look::Done(Ok(Identity::Token(digest(token))))
                }
                Ok(Some((Scheme::Bearer, token))) => verifier.look(token, Presented::Bearer, now),
                Ok(Some((Scheme::Dpop, token))) => {
                    let proofs = Proofs { memory: &self.proofs, config: &self.dpop };
                    let possession = Possession { proofs, headers, request };
                    verifier.look(token, Presented::Proven(possession), now)
                }
                Err(why) => Look::Done(Err(Unidentified::Refused(why.into()))),
            },
            Is::Metadata(known) => {
                Look::Done(self.beside(headers, || known.identify(payloads, now), |_| None))
            }
            Is::Header(vouched, own) => {
                let exchanged = |jwt: &str| match own.as_ref()?.look(jwt, Presented::Bearer, now) {
                    Look::Done(Ok(identity)) => Some(identity),
                    Look::Done(Err(_)) | Look::Wait(_) => None,
                };
                let told = || vouched.identify(headers).map_err(Unidentified::Refused);
                Look::Done(self.beside(headers, told, exchanged))
            }
        };
        async move {
            match look {
                Look::Done(done) => done,
                Look::Wait(pending) => pending.identify().await,
            }
        }
    }

    /// Who asks where access tokens come beside an identity that the gateway tells, if they count.
    /// What else a request bears is for the gateway to judge, which tells of somebody if it is good: of
    /// nobody, and it is not. `exchanged`: whom a JWT names that was made here.
    fn beside(
        &self,
        headers: &dyn Headers,
        told: impl FnOnce() -> Result<Identity, Unidentified>,
        exchanged: impl FnOnce(&str) -> Option<Identity>,
    ) -> Result<Identity, Unidentified> {
        if !self.tokens {
            return told();
        }
        let refused = |why: NoProof| Err(Unidentified::Refused(why));
        let found = match self.places.bearer(headers) {
            Ok(None) => return told(),
            Err(why) if self.places.twice(headers) => return refused(why.into()),
            found => found,
        };
        let token = match found {
            Ok(Some(found)) if is_token(found) => Some(Identity::Token(digest(found))),
            Ok(Some(found)) if is_jwt(found) => exchanged(found),
            _ => None,
        };
        match (token, told()?) {
            (Some(token), Identity::Nobody) => Ok(token),
            (Some(_), _) => refused(NoProof::TwoIdentities),
            (None, Identity::Nobody) => match found {
                Err(why) => refused(why.into()),
                Ok(_) => refused(NoProof::Unverified),
            },
            (None, told) => Ok(told),
        }
    }

    /// What the logout token `token` of an issuer says. Waits, as for any token, only where its key is
    /// not known yet.
    ///
    /// # Errors
    /// It proves no log-out. The text is for the log.
    pub async fn logged_out(&self, token: &str, now: Time) -> Result<LoggedOut, LogoutError> {
        logout::logged_out(&self.issuers, token, now).await
    }

    #[cfg(test)]
    fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }
}

/// Whether anything that `jwt` issues is verified here: every token, or logout tokens alone where a gateway
/// verifies the others.
fn reads_keys(config: &GatewayConfig, jwt: &JwtConfig) -> bool {
    match config.identity {
        Way::Jwt => true,
        Way::Metadata => config.logout.is_some() && jwt.has_sessions(),
        Way::Header => false,
    }
}

/// What `idpsyncd check` finds wrong with the keys of the issuers that tokens are verified with:
/// each is asked once, all at the same time.
pub async fn faults(config: &GatewayConfig) -> Vec<IssuerFault> {
    // What is exchanged here needs no keys from anywhere.
    let own = |jwt: &&JwtConfig| jwt.issuer == OSMO && jwt.jwks_url.is_none();
    let read = config.jwt.iter().filter(|jwt| reads_keys(config, jwt) && !own(jwt));
    let each = read.map(|jwt| async {
        match Issuer::new(jwt, None, None, Pace::default()) {
            Ok(issuer) => issuer.faults().await,
            Err(why) => vec![IssuerFault::Identity(why)],
        }
    });
    futures_util::future::join_all(each).await.into_iter().flatten().collect()
}

/// What a stranger sent, for the log: short, and without characters that could forge a line.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

//! Who is asking: the room that turns a request's headers into a proven caller.
//!
//! ```text
//!            jwt ──► cache       verified before: no signature, no clock but `exp` and `nbf`
//!             │ ───► claims      strict JSON, what the claims must say
//! Identifier ─┤ ───► issuer ───► keys      discovery, JWKS; which key may verify what
//!             │        └───────► shelf     where keys outlive a restart
//!            metadata ─► claims  what Envoy's `jwt_authn` verified
//!            header              a name that the gateway vouches for
//! ```
//!
//! The configuration names one of the three ways. None is ever a fallback for another: with
//! `metadata` the `authorization` header is not looked at, with `jwt` no metadata is.
//!
//! A request waits for an issuer only where its token names a key that is not known, and not
//! longer than a second. Keys are known, or the token is refused; nothing here is ever let
//! through for want of an answer.

mod cache;
mod claims;
mod header;
mod issuer;
mod jwt;
mod keys;
mod metadata;
mod shelf;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

pub use shelf::StoreShelf;

use self::header::Vouched;
use self::issuer::{Issuer, Pace};
use self::jwt::{Look, Verifier};
use self::metadata::Payloads;
use super::question::{Headers, Identity, Unidentified};
use crate::config::{GatewayConfig, Identity as Way};
use crate::model::Time;

/// How long a request with an unknown key waits for the issuer.
const WAIT: Duration = Duration::from_secs(1);

/// Where keys outlive a restart. Both methods may block; neither is called while a request waits.
pub trait KeyShelf: Send + Sync {
    /// The keys last kept for `issuer`: a JWK set (RFC 7517, section 5). `None`: there are none,
    /// or they cannot be had.
    fn load(&self, issuer: &str) -> Option<String>;

    /// Keeps `jwks`, a JWK set of public keys, for `issuer`, in place of what was kept before.
    /// `false`: not yet, it is to be tried again.
    fn keep(&self, issuer: &str, jwks: &str) -> bool;
}

/// Tells who asks, in the way that the configuration names.
pub struct Identifier {
    way: Is,
}

enum Is {
    Jwt(Verifier),
    Metadata(Payloads),
    Header(Vouched),
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
        for issuer in identifier.issuers() {
            issuer.keep().await;
        }
    }
}

impl Identifier {
    /// Ready to tell who asks, with the keys that `keys` has kept. Reads `ca_file`s and the shelf,
    /// so it may block for a moment; asks no issuer.
    ///
    /// # Errors
    /// A `ca_file` cannot be used, or TLS cannot be set up. One line for people.
    pub fn new(
        config: &GatewayConfig,
        keys: Option<Arc<dyn KeyShelf>>,
    ) -> Result<Identifier, String> {
        Identifier::with_pace(config, keys, Pace::default())
    }

    fn with_pace(
        config: &GatewayConfig,
        keys: Option<Arc<dyn KeyShelf>>,
        pace: Pace,
    ) -> Result<Identifier, String> {
        let way = match config.identity {
            Way::Jwt => {
                let issuers = config.jwt.iter().map(|jwt| Issuer::new(jwt, keys.clone(), pace));
                Is::Jwt(Verifier::new(issuers.collect::<Result<_, _>>()?))
            }
            Way::Metadata => Is::Metadata(Payloads::new(&config.jwt)),
            Way::Header => Is::Header(Vouched::new(config)),
        };
        Ok(Identifier { way })
    }

    /// Starts reading the issuers' keys (OpenID Connect Discovery 1.0, then `jwks_uri`) on the
    /// current runtime, at once and then every five minutes, so that a key that was removed stops
    /// verifying. A failed read keeps the keys that are known, and is tried again sooner. Where no
    /// token is verified here nothing is read.
    pub fn start(self: &Arc<Self>) -> KeyReading {
        let mut tasks = JoinSet::new();
        for issuer in self.issuers() {
            tasks.spawn(Arc::clone(issuer).refresh_forever());
            tasks.spawn(Arc::clone(issuer).keep_forever());
        }
        KeyReading { tasks }
    }

    /// Tells who asks. `payloads` is the filter metadata of `envoy.filters.http.jwt_authn`
    /// (`{"<payload key>": {claims…}, …}`) where the request came with some, `now` the wall clock.
    ///
    /// Whatever can be told from memory is told before this returns; the future then is ready at
    /// once. It waits, for a second at most, only where a token's key is not known yet.
    ///
    /// # Errors
    /// What the request bears proves nothing, or its issuer's keys could not be had yet. The texts
    /// are for the log: they hold neither a token nor a signature.
    pub fn identify<'a>(
        &'a self,
        headers: &'a dyn Headers,
        payloads: Option<&Value>,
        now: Time,
    ) -> impl Future<Output = Result<Identity, Unidentified>> + Send + use<'a> {
        let look = match &self.way {
            Is::Jwt(verifier) => verifier.look(headers.header("authorization"), now),
            Is::Metadata(known) => Look::Done(known.identify(payloads, now)),
            Is::Header(vouched) => Look::Done(vouched.identify(headers)),
        };
        async move {
            match look {
                Look::Done(done) => done,
                Look::Wait(pending) => pending.identify().await,
            }
        }
    }

    fn issuers(&self) -> &[Arc<Issuer>] {
        match &self.way {
            Is::Jwt(verifier) => verifier.issuers(),
            Is::Metadata(_) | Is::Header(_) => &[],
        }
    }
}

/// What `idpsyncd check` finds wrong with the keys of the issuers that tokens are verified with:
/// each is asked once, all at the same time.
pub async fn faults(config: &GatewayConfig) -> Vec<String> {
    if config.identity != Way::Jwt {
        return Vec::new();
    }
    let each = config.jwt.iter().map(|jwt| async {
        match Issuer::new(jwt, None, Pace::default()) {
            Ok(issuer) => issuer.faults().await,
            Err(why) => vec![why],
        }
    });
    futures_util::future::join_all(each).await.into_iter().flatten().collect()
}

/// What a stranger sent, for the log: short, and without characters that could forge a line.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

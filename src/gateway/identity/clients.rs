//! Programs that ask in their own name: a token that an issuer made for one of them (RFC 6749,
//! section 4.4), held to the same checks as a user's.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::issuer::{Issuer, Pace};
use super::jwt::{Look, Presented, Verifier};
use super::session::Sessions;
use super::{IdentityError, JwksCache, Unidentified};
use crate::config::{CallerJwt, IdentifyBy, JwtConfig};
use crate::gateway::ended::EndedSessions;
use crate::model::{SessionRealm, Time};

/// A program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// What it is called.
    pub name: String,
    /// What its tokens must say.
    pub jwt: CallerJwt,
    /// Whose sessions they are issued in.
    pub realm: Arc<SessionRealm>,
}

/// What programs' tokens are held against where sessions end before them.
pub struct ClientSessions {
    /// Those that have ended.
    pub ended: Arc<EndedSessions>,
    /// For how long after it was issued a token counts.
    pub lifetime: Duration,
}

/// Tells programs by their tokens. Reads their issuers' keys for as long as it lives.
pub struct Clients {
    /// Each with what its own tokens alone pass.
    list: Vec<(Client, Verifier)>,
    lifetime: Option<Duration>,
    _reading: JoinSet<()>,
}

impl Clients {
    /// Those of `named`, with the keys that `keys` has kept; their tokens are held against `sessions`, where
    /// any end: none is a program's own, but a realm's and a client's end as well. Reads `ca_file`s and the cache, so it may block for a moment; asks the issuers on the current
    /// runtime from then on.
    ///
    /// # Errors
    /// A `ca_file` cannot be used, or TLS cannot be set up.
    pub fn new(
        named: Vec<Client>,
        keys: Option<Arc<dyn JwksCache>>,
        sessions: Option<ClientSessions>,
    ) -> Result<Clients, IdentityError> {
        let mut reading = JoinSet::new();
        let mut list = Vec::with_capacity(named.len());
        for client in named {
            let issuer = Issuer::new(&terms(&client.jwt), None, keys.clone(), Pace::default())?;
            reading.spawn(Arc::clone(&issuer).refresh_forever());
            reading.spawn(Arc::clone(&issuer).keep_forever());
            let held = sessions.as_ref().map(|ClientSessions { ended, lifetime }| {
                Sessions::of_realm(Arc::clone(ended), *lifetime, Arc::clone(&client.realm))
            });
            list.push((client, Verifier::new(vec![issuer], None, held)));
        }
        let lifetime = sessions.map(|sessions| sessions.lifetime);
        Ok(Clients { list, lifetime, _reading: reading })
    }

    /// Whether they are these, whose tokens count for so long.
    #[must_use]
    pub fn are(&self, named: &[Client], lifetime: Option<Duration>) -> bool {
        self.lifetime == lifetime && self.list.iter().map(|(client, _)| client).eq(named)
    }

    /// The name of the one that bears `token` at `now`. It waits, for a second at most, only where the
    /// token's key is not known yet.
    ///
    /// # Errors
    /// `None`: no program is known by tokens. Else what is wrong with it: it is nobody's, or the keys
    /// of its issuer could not be had yet.
    pub async fn identify(&self, token: &str, now: Time) -> Result<&str, Option<Unidentified>> {
        let mut why = None;
        for (client, verifier) in &self.list {
            let looked = match verifier.look(token, Presented::Bearer, now) {
                Look::Done(done) => done,
                Look::Wait(pending) => pending.identify().await,
            };
            match looked {
                Ok(_) => return Ok(&client.name),
                // What cannot be judged now says more than what is another's.
                Err(other) => {
                    if !matches!(why, Some(Unidentified::Unavailable(_))) {
                        why = Some(other);
                    }
                }
            }
        }
        Err(why)
    }
}

/// What a program's tokens must say, in the words of those of users.
fn terms(jwt: &CallerJwt) -> JwtConfig {
    JwtConfig {
        issuer: jwt.issuer.clone(),
        // Who is meant is told by `azp`; `sub` must be there and names nobody here.
        identify: IdentifyBy::Source(String::new()),
        audiences: vec![jwt.audience.clone()],
        authorized_parties: Some(vec![jwt.client.clone()]),
        username_claim: "preferred_username".to_owned(),
        names_are_addresses: false,
        roles_claim: None,
        jwks_url: jwt.jwks_url.clone(),
        ca_file: jwt.ca_file.clone(),
        service_roles: None,
        dpop_required: false,
    }
}

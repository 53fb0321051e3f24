//! Whoever bears an access token, and whoever exchanges one.

use chrono::Utc;

use super::{Authorizer, DISABLED, Incoming, Who};
use crate::gateway::answer::Answer;
use crate::gateway::exchange::Exchanged;
use crate::gateway::question::TokenDigest;
use crate::gateway::replica::{Bearer, Found, Replica};
use crate::gateway::watcher::NOTHING_LOADED;
use crate::model::Time;

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
fn good<'s>(replica: &'s Replica, digest: &TokenDigest, now: Time) -> Result<Bearer<'s>, NotGood> {
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

impl Authorizer {
    /// Answers whoever bears an access token. Nobody is told whether there ever was such a token.
    pub(super) fn token(&self, digest: &TokenDigest, incoming: &Incoming<'_>, now: Time) -> Answer {
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
}

//! What Envoy's `jwt_authn` filter verified, and passes on as metadata
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/jwt_authn/v3/config.proto>,
//! `payload_in_metadata`).
//!
//! Envoy checked the signature, and nothing else that would not be checked here again: by the same
//! rules as a token that is verified here. So a provider that Envoy knows for another purpose, or
//! another kind of token, names nobody. The token's header counts where the filter passes it on
//! (`header_in_metadata`). The `authorization` header is not looked at.

use std::sync::Arc;

use serde_json::Value;

use super::super::exchange::Seal;
use super::claims::{self, Object};
use super::fault::{NoProof, TokenError};
use super::session::Sessions;
use crate::config::JwtConfig;
use crate::gateway::question::{Identity, Unidentified};
use crate::model::Time;

/// Reads verified payloads.
pub(super) struct Payloads {
    issuers: Vec<JwtConfig>,
    seal: Option<Arc<Seal>>,
    /// Sessions end before their tokens do.
    sessions: Option<Sessions>,
}

impl Payloads {
    /// `issuers` are those that count; `seal` opens what was exchanged here; `sessions` is what tokens
    /// are held against, where anything is.
    pub(super) fn new(
        issuers: &[JwtConfig],
        seal: Option<Arc<Seal>>,
        sessions: Option<Sessions>,
    ) -> Self {
        Payloads { issuers: issuers.to_vec(), seal, sessions }
    }

    /// Who asks, by the one payload with claims.
    ///
    /// # Errors
    /// There are several, or the one does not fit.
    pub(super) fn identify(
        &self,
        payloads: Option<&Value>,
        now: Time,
    ) -> Result<Identity, Unidentified> {
        self.judge(payloads, now).map_err(|why| Unidentified::Refused(NoProof::Payload(why)))
    }

    fn judge(&self, payloads: Option<&Value>, now: Time) -> Result<Identity, TokenError> {
        let payloads = match payloads {
            None | Some(Value::Null) => return Ok(Identity::Nobody),
            Some(Value::Object(payloads)) => payloads,
            Some(_) => return Err(TokenError::NotAnObject),
        };
        let objects = || payloads.values().filter_map(Value::as_object);
        let all: Vec<&Object> = objects().filter(|it| has_claims(it)).collect();
        let ours: Vec<(&JwtConfig, &Object)> =
            all.iter().filter_map(|object| Some((self.issuer(object)?, *object))).collect();
        match ours.as_slice() {
            [] => match all.first() {
                None => Ok(Identity::Nobody),
                Some(foreign) => Err(match claims::text(foreign, "iss")? {
                    Some(issuer) => TokenError::UnknownIssuer(issuer.to_owned()),
                    None => TokenError::NoIssuer,
                }),
            },
            [(config, one)] => {
                // Which header belongs to which payload nobody says: each must do.
                for header in objects().filter(|it| is_header(it)) {
                    claims::header(header)?;
                }
                let (identity, mut span) = claims::judge(one, config, self.seal.as_deref(), now)?;
                if let Some(sessions) = &self.sessions
                    && let Some(session) = sessions.of(one, config, &mut span, now)?
                {
                    sessions.lasts(&session)?;
                }
                // Where nobody else signs for the issuer, what it signs stands for a token.
                let own = self.seal.is_some() && **config == JwtConfig::exchanged();
                match identity {
                    Identity::Caller(_) if own => Err(TokenError::OfNoToken),
                    identity => Ok(identity),
                }
            }
            several => Err(TokenError::Several(several.len())),
        }
    }

    fn issuer(&self, object: &Object) -> Option<&JwtConfig> {
        let issuer = object.get("iss")?.as_str()?;
        self.issuers.iter().find(|config| config.issuer == issuer)
    }
}

/// Tells a payload from what else the filter may put there: a token's header
/// (`header_in_metadata`) or the reason of a failure (`failed_status_in_metadata`).
fn has_claims(object: &Object) -> bool {
    let claims = ["iss", "sub", "exp", "preferred_username"];
    claims.iter().any(|name| object.contains_key(*name))
}

fn is_header(object: &Object) -> bool {
    object.contains_key("alg") && !has_claims(object)
}

//! What Envoy's `jwt_authn` filter verified, and passes on as metadata
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/jwt_authn/v3/config.proto>,
//! `payload_in_metadata`).
//!
//! Envoy checked the signature. Which issuers and audiences count is checked here again, so that a
//! provider that Envoy knows for another purpose names nobody here. The `authorization` header is
//! not looked at.

use std::sync::Arc;

use serde_json::Value;

use super::super::question::{Identity, Unidentified};
use super::claims::{self, Object};
use super::shown;
use crate::config::JwtConfig;
use crate::model::Time;

/// The claim with the username where no `[[gateway.jwt]]` names one.
const USERNAME: &str = "preferred_username";

/// Reads verified payloads.
pub(super) struct Payloads {
    issuers: Vec<JwtConfig>,
}

impl Payloads {
    /// `issuers` are those that count; empty: whatever Envoy verified.
    pub(super) fn new(issuers: &[JwtConfig]) -> Self {
        Payloads { issuers: issuers.to_vec() }
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
        self.judge(payloads, now).map_err(|why| {
            Unidentified::Refused(format!("the verified payload that Envoy passed on: {why}"))
        })
    }

    fn judge(&self, payloads: Option<&Value>, now: Time) -> Result<Identity, String> {
        let payloads = match payloads {
            None | Some(Value::Null) => return Ok(Identity::Nobody),
            Some(Value::Object(payloads)) => payloads,
            Some(_) => return Err("it is not an object".to_owned()),
        };
        let all: Vec<&Object> =
            payloads.values().filter_map(Value::as_object).filter(|it| has_claims(it)).collect();
        if self.issuers.is_empty() {
            return match all.as_slice() {
                [] => Ok(Identity::Nobody),
                [one] => {
                    claims::span(one, false, now)?;
                    let issuer = claims::text(one, "iss")?;
                    Ok(Identity::Caller(Arc::new(claims::caller(one, issuer, USERNAME, None)?)))
                }
                several => {
                    Err(format!("there are {} of them, and one at most counts", several.len()))
                }
            };
        }
        let ours: Vec<(&JwtConfig, &Object)> =
            all.iter().filter_map(|object| Some((self.issuer(object)?, *object))).collect();
        match ours.as_slice() {
            [] => match all.first() {
                None => Ok(Identity::Nobody),
                Some(foreign) => Err(match claims::text(foreign, "iss")? {
                    Some(issuer) => {
                        format!("no `[[gateway.jwt]]` is for its issuer `{}`", shown(issuer))
                    }
                    None => "it names no issuer (`iss`)".to_owned(),
                }),
            },
            [(config, one)] => {
                claims::audience(one, &config.audiences)?;
                claims::span(one, false, now)?;
                Ok(Identity::Caller(Arc::new(claims::caller_of(one, config)?)))
            }
            several => Err(format!(
                "there are {} of configured issuers, and one at most counts",
                several.len()
            )),
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
    ["iss", "sub", "exp", USERNAME].iter().any(|name| object.contains_key(*name))
}

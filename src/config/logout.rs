//! `[gateway.logout]`: sessions that end before their tokens do.

use std::collections::BTreeSet;
use std::time::Duration;

use super::authzen::{CallerJwt, CallerProof};
use super::fault::Code;
use super::gateway::{GatewayConfig, IdentityWay};
use super::jwt::JwtConfig;
use super::reader::{Node, Read, Table};
use crate::model::SessionRealm;

/// For how long after it was issued a token counts, where the file does not say.
const LIFETIME: Duration = Duration::from_secs(3600);

/// `[gateway.logout]`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogoutConfig {
    /// For so long after it was issued a token counts at most, and for so long it is known which
    /// sessions have ended. Default 1 h.
    pub max_token_lifetime: Duration,
}

impl GatewayConfig {
    /// The clients that are named as those whose tokens count here, AuthZEN's callers among
    /// them, where the sessions are those of `realm`; in order, each once. `None`: no token of theirs counts.
    #[must_use]
    pub fn parties_of(&self, realm: &SessionRealm) -> Option<Vec<String>> {
        let those: Vec<&JwtConfig> =
            self.jwt.iter().filter(|jwt| jwt.session_realm() == *realm).collect();
        let parties = those.iter().flat_map(|jwt| {
            jwt.audiences.iter().chain(jwt.authorized_parties.iter().flatten()).cloned()
        });
        let callers = self.authzen.iter().flat_map(|authzen| &authzen.callers);
        let programs = callers.filter_map(|caller| match &caller.proof {
            CallerProof::Jwt(jwt) if self.caller_realm(jwt) == *realm => Some(jwt.client.clone()),
            _ => None,
        });
        let programs: Vec<String> = programs.collect();
        let nobody = those.is_empty() && programs.is_empty();
        let parties: BTreeSet<String> = parties.chain(programs).collect();
        (!nobody).then(|| parties.into_iter().collect())
    }

    /// Whose the sessions are that a caller's tokens are issued in.
    #[must_use]
    pub fn caller_realm(&self, jwt: &CallerJwt) -> SessionRealm {
        let known = self.jwt.iter().find(|known| known.issuer == jwt.issuer);
        known.map(JwtConfig::session_realm).unwrap_or_else(|| match &jwt.source {
            Some(source) => SessionRealm::Source(source.clone()),
            None => SessionRealm::Issuer(jwt.issuer.clone()),
        })
    }
}

/// Reads `[gateway.logout]` of the table `gateway`, whose other keys say how people are told, by tokens
/// of whom (absent where they are at fault). `None`: nothing ends before its token does.
pub(super) fn logout(
    gateway: &Table<'_>,
    identity: Option<IdentityWay>,
    jwt: Option<&[JwtConfig]>,
) -> Read<Option<LogoutConfig>> {
    let Some(node) = gateway.get("logout") else { return Ok(None) };
    let table = node.table()?;
    let enabled = table.or("enabled", true, Node::boolean);
    let max_token_lifetime = table.or("max_token_lifetime", LIFETIME, Node::some_duration);
    if matches!(enabled, Ok(true)) {
        if identity == Some(IdentityWay::Header) {
            node.fault(
                Code::Conflict,
                "with `identity = \"header\"` no token is seen here, so no session can be told: whoever \
                 sets the header ends it",
            );
        } else if jwt.is_some_and(|jwt| !jwt.iter().any(JwtConfig::has_sessions)) {
            node.fault(Code::Conflict, "there is no `[[gateway.jwt]]` whose sessions could end");
        }
    }
    table.finish();
    let (enabled, max_token_lifetime) = (enabled?, max_token_lifetime?);
    Ok(enabled.then_some(LogoutConfig { max_token_lifetime }))
}

//! `[gateway.logout]`: sessions that end before their tokens do.

use std::collections::BTreeSet;
use std::time::Duration;

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
    /// The clients that are named as those whose tokens count here, of people whose sessions are of `realm`;
    /// in order, each once. `None`: no token of theirs counts.
    #[must_use]
    pub fn parties_of(&self, realm: &SessionRealm) -> Option<Vec<String>> {
        let those: Vec<&JwtConfig> =
            self.jwt.iter().filter(|jwt| jwt.session_realm() == *realm).collect();
        let parties = those.iter().flat_map(|jwt| {
            jwt.audiences.iter().chain(jwt.authorized_parties.iter().flatten()).cloned()
        });
        let parties: BTreeSet<String> = parties.collect();
        (!those.is_empty()).then(|| parties.into_iter().collect())
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

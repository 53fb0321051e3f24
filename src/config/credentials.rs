//! `[gateway.tokens]`: access tokens as credentials, and what they are exchanged for.

use super::fault::Code;
use super::reader::{Node, Read, Table};
use super::types::SecretRef;

/// The header that tells the upstream which access token asks. It is the gateway's own, always.
pub const TOKEN_NAME: &str = "x-osmo-token-name";

/// `[gateway.tokens]` with `enabled = true`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenCredentials {
    /// With `exchange = true`: the key that signs what they are exchanged for, `signing_key`; RSA, in
    /// PEM, PKCS#8.
    pub signing_key: Option<SecretRef>,
}

/// Reads `[gateway.tokens]` of the table `gateway`. `None`: tokens are no credentials.
pub(super) fn tokens(gateway: &Table<'_>) -> Read<Option<TokenCredentials>> {
    let Some(node) = gateway.get("tokens") else { return Ok(None) };
    let table = node.table()?;
    let enabled = table.required("enabled", Node::boolean);
    let exchange = table.or("exchange", false, Node::boolean);
    let signing_key = table.optional("signing_key", Node::secret);
    let lacks = match (&enabled, &exchange) {
        (Ok(false), Ok(true)) => Some((
            "exchange",
            "there is nothing to exchange: access tokens are no credentials (`enabled = false`)",
        )),
        (_, Ok(false)) if table.has("signing_key") => {
            Some(("signing_key", "goes with `exchange = true`"))
        }
        (_, Ok(true)) if !gateway.has("http") => {
            Some(("exchange", "is answered over HTTP, and there is no `gateway.http` to listen on"))
        }
        _ => None,
    };
    if let Some((key, why)) = lacks
        && let Some(node) = table.get(key)
    {
        node.fault(Code::Conflict, why);
    }
    if matches!(exchange, Ok(true)) && !table.has("signing_key") {
        table.missing(
            "signing_key",
            "`exchange = true` needs the key to sign with, an RSA key in PEM (PKCS#8): \
             `signing_key = { file = \"…\" }`",
        );
    }
    table.finish();
    let (enabled, exchange, signing_key) = (enabled?, exchange?, signing_key?);
    Ok(enabled.then(|| TokenCredentials { signing_key: signing_key.filter(|_| exchange) }))
}

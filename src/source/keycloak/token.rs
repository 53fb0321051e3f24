//! Access tokens of the client's service account: fetched, renewed ahead of expiry.
//!
//! Everything is asked below `url`. A server behind an internal address names public ones in its
//! discovery page (`--hostname`, the realm's `frontendUrl`), which may not be reachable from here,
//! so that page is not asked.
//!
//! One fetch at a time: whoever needs a token while it is fetched waits for that one. Secret and
//! token never leave this module but as a request's header.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use openidconnect::core::CoreClient;
use openidconnect::{
    ClientId, ClientSecret, HttpRequest, HttpResponse, IssuerUrl, JsonWebKeySet,
    OAuth2TokenResponse, RequestTokenError, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::fault::{Fault, NEEDED, management_client, scrub};
use super::http::{Delays, Http, Response};

/// A token is renewed this long before it ends, or half its life before, whichever is shorter.
const AHEAD: Duration = Duration::from_secs(30);
/// The life of a token whose answer does not tell it.
const UNTOLD_LIFE: Duration = Duration::from_secs(60);

/// An access token.
pub(super) struct Token {
    /// Goes into the `Authorization` header, nowhere else.
    pub value: SecretString,
    /// Which fetch brought it; tells an old token from its successor.
    number: u64,
    /// Until when it is used.
    renew_at: Instant,
    /// The rights it shows; `None` where it shows none: a lightweight token, or a realm whose
    /// client scope has its role mappers renamed or deleted.
    pub rights: Option<BTreeSet<String>>,
    /// The service account's user id, where it shows it.
    pub subject: Option<String>,
    /// When the server issued it by its own clock, in milliseconds, and when that was here.
    issued: Option<(i64, Instant)>,
}

impl Token {
    /// What the server's clock shows now, in milliseconds: as old as the token as to its steps, and up
    /// to a second behind. No answer of the admin API tells the time.
    pub(super) fn server_time(&self) -> Option<i64> {
        let (issued, here) = self.issued?;
        let since = i64::try_from(here.elapsed().as_millis()).ok()?;
        issued.checked_add(since)
    }

    /// Those of [`NEEDED`] that the token shows not to be granted.
    pub(super) fn missing_rights(&self) -> Vec<&'static str> {
        match &self.rights {
            Some(rights) => NEEDED.into_iter().filter(|right| !rights.contains(*right)).collect(),
            None => Vec::new(),
        }
    }
}

/// What to say to someone whose service account lacks `missing`.
pub(super) fn lacking(client_id: &str, realm: &str, missing: &[&str]) -> String {
    format!(
        "the service account of client `{client_id}` lacks the right{} `{}`: grant it the role{} of that name of client `{}` (and leave its full scope allowed)",
        if missing.len() == 1 { "" } else { "s" },
        missing.join("`, `"),
        if missing.len() == 1 { "" } else { "s" },
        management_client(realm),
    )
}

/// Hands out tokens.
pub(super) struct Tokens {
    /// `…/realms/{realm}`
    realm_url: String,
    realm: String,
    client_id: String,
    secret: SecretString,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    fetched: u64,
}

impl Tokens {
    pub(super) fn new(base: &str, realm: &str, client_id: &str, secret: SecretString) -> Self {
        let realm_url = format!("{base}/realms/{}", super::client::encode(realm));
        Tokens {
            realm_url,
            realm: realm.to_owned(),
            client_id: client_id.to_owned(),
            secret,
            state: Mutex::default(),
        }
    }

    /// The secret, for cutting it out of texts.
    pub(super) fn secret(&self) -> &str {
        self.secret.expose_secret()
    }

    /// A token that is good for a while.
    pub(super) async fn get(&self, http: &Http) -> Result<Arc<Token>, Fault> {
        let mut state = self.state.lock().await;
        match &state.token {
            Some(token) if Instant::now() < token.renew_at => Ok(Arc::clone(token)),
            _ => self.fetch(http, &mut state).await,
        }
    }

    /// A token other than `refused`, which the server did not take.
    pub(super) async fn renew(&self, http: &Http, refused: &Token) -> Result<Arc<Token>, Fault> {
        let mut state = self.state.lock().await;
        match &state.token {
            // Another call has renewed it meanwhile.
            Some(token) if token.number != refused.number => Ok(Arc::clone(token)),
            _ => self.fetch(http, &mut state).await,
        }
    }

    async fn fetch(&self, http: &Http, state: &mut State) -> Result<Arc<Token>, Fault> {
        state.token = None;
        let unusable = |_| fatal(format!("`{}` cannot be asked; is `url` right?", self.realm_url));
        let endpoint = TokenUrl::new(self.endpoint()).map_err(unusable)?;
        let issuer = IssuerUrl::new(self.realm_url.clone()).map_err(unusable)?;
        let client = CoreClient::new(
            ClientId::new(self.client_id.clone()),
            issuer,
            // No ID token is ever asked for, so there is nothing to verify with keys.
            JsonWebKeySet::default(),
        )
        .set_client_secret(ClientSecret::new(self.secret.expose_secret().to_owned()))
        .set_token_uri(endpoint);

        let carrier = Carrier {
            http: http.clone(),
            secret: self.secret.clone(),
            status: AtomicU16::new(0),
            location: std::sync::Mutex::default(),
        };
        // Before the request: a token's life starts no later than this.
        let asked = Instant::now();
        let answer = client.exchange_client_credentials().request_async(&carrier).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(http, error, &carrier).await),
        };
        let life = answer.expires_in().unwrap_or(UNTOLD_LIFE);
        let ahead = AHEAD.min(life / 2);
        let value = answer.access_token().secret();
        let claims = claims(value);
        let token = Arc::new(Token {
            rights: claims
                .as_ref()
                .and_then(|claims| claims.rights(management_client(&self.realm))),
            issued: claims.as_ref().and_then(|claims| Some((claims.issued?, asked))),
            subject: claims.and_then(|claims| claims.sub),
            value: SecretString::from(value.clone()),
            number: state.fetched.wrapping_add(1),
            renew_at: asked + life.saturating_sub(ahead),
        });
        state.fetched = token.number;
        state.token = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Where tokens are handed out.
    fn endpoint(&self) -> String {
        format!("{}/protocol/openid-connect/token", self.realm_url)
    }

    /// Why there is no token, and what to do.
    async fn refused<T: openidconnect::ErrorResponse + serde::Serialize + 'static>(
        &self,
        http: &Http,
        error: RequestTokenError<Carried, T>,
        carrier: &Carrier,
    ) -> Fault {
        let (client, realm, endpoint) = (&self.client_id, &self.realm, self.endpoint());
        let status = carrier.status.load(Ordering::Relaxed);
        let said = match error {
            RequestTokenError::Request(Carried(fault)) => {
                return Fault::SignIn {
                    transient: fault.transient(),
                    message: format!(
                        "fetching a token for client `{client}` at `{endpoint}`: {fault}"
                    ),
                };
            }
            RequestTokenError::ServerResponse(said) => serde_json::to_vec(&said)
                .map(|body| scrub(&body, &[self.secret()]))
                .unwrap_or_default(),
            RequestTokenError::Parse(_, body) if status != 200 => scrub(&body, &[self.secret()]),
            // A 200 may hold a token: not a byte of it is shown.
            RequestTokenError::Parse(..) => "an answer that is no token response".to_owned(),
            RequestTokenError::Other(_) => "an answer without a body".to_owned(),
        };
        let known = said.contains("Realm does not exist");
        let next = if let Some(location) = carrier.location() {
            format!("it points to `{location}`: set `url` so that no redirect is needed")
        } else if status == 404
            && !known
            && let Some(better) = self.other_prefix(http).await
        {
            format!("this server answers below `{better}`: set `url` to that")
        } else {
            Self::advice(&said, status).to_owned()
        };
        fatal(format!(
            "signing in as client `{client}` in realm `{realm}` was refused at `{endpoint}` (status {status}: {said}): {next}"
        ))
    }

    /// What to do about a refusal.
    fn advice(said: &str, status: u16) -> &'static str {
        if said.contains("not enabled to retrieve service account") {
            "switch on `Service accounts roles` for this client"
        } else if said.contains("Public client") || said.contains("Bearer-only") {
            "switch on `Client authentication` and `Service accounts roles` for this client"
        } else if said.starts_with("unauthorized_client") {
            "`client_secret` is wrong: compare it with the client's `Credentials` in Keycloak"
        } else if said.starts_with("invalid_client") {
            "no enabled client of this name is in this realm: check `client_id` and `realm`"
        } else if said.starts_with("invalid_request") && said.contains("disabled") {
            "enable the service account's user"
        } else if said.contains("Realm does not exist") {
            "there is no such realm: check `realm`, upper and lower case count"
        } else if said.contains("Realm not enabled") {
            "the realm is disabled: enable it"
        } else if matches!(status, 400 | 401 | 403) {
            "check `client_id` and `client_secret`"
        } else {
            "check `url`: it is the part before `/realms/` (with `/auth` where the server has it)"
        }
    }

    /// The same server with `/auth` where `url` has none, or without it, if the realm is there.
    async fn other_prefix(&self, http: &Http) -> Option<String> {
        let (base, rest) = self.realm_url.rsplit_once("/realms/")?;
        let other = match base.strip_suffix("/auth") {
            Some(base) => base.to_owned(),
            None => format!("{base}/auth"),
        };
        let url = format!("{other}/realms/{rest}/.well-known/openid-configuration");
        let answer = http.send(http.client().get(url).build().ok()?).await.ok()?;
        (answer.status == 200).then_some(other)
    }
}

fn fatal(message: impl Into<String>) -> Fault {
    Fault::SignIn { message: message.into(), transient: false }
}

/// A [`Fault`] on its way through `openidconnect`.
#[derive(Debug, thiserror::Error)]
#[error("the request failed")]
struct Carried(Fault);

/// Sends `request` until it is answered with something other than "later".
async fn send(http: &Http, secret: &str, request: &reqwest::Request) -> Result<Response, Fault> {
    let mut delays = Delays::new();
    loop {
        let Some(again) = request.try_clone() else {
            return Err(fatal("the request cannot be sent twice"));
        };
        let fault = match http.send(again).await {
            Ok(answer) if answer.status == 429 || answer.status >= 500 => Fault::Status {
                status: answer.status,
                body: scrub(&answer.body, &[secret]),
                retry_after: answer.retry_after,
            },
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        delays.wait(fault).await?;
    }
}

/// Carries `openidconnect`'s requests to the token endpoint, and notes the status of the answer.
/// What is refused there is for `openidconnect` to read.
struct Carrier {
    http: Http,
    secret: SecretString,
    status: AtomicU16,
    /// Where a redirect would have led, without its query.
    location: std::sync::Mutex<Option<String>>,
}

impl Carrier {
    fn location(&self) -> Option<String> {
        self.location.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl<'c> openidconnect::AsyncHttpClient<'c> for Carrier {
    type Error = Carried;
    type Future = BoxFuture<'c, Result<HttpResponse, Carried>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request).map_err(|_| {
                Carried(fatal("the token request cannot be built; is `url` right?"))
            })?;
            let answer = send(&self.http, self.secret.expose_secret(), &request).await;
            let answer = answer.map_err(Carried)?;
            self.status.store(answer.status, Ordering::Relaxed);
            *self.location.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                answer.location;
            let mut response = HttpResponse::new(answer.body);
            *response.status_mut() = reqwest::StatusCode::from_u16(answer.status)
                .map_err(|_| Carried(fatal("the token endpoint answered without a status")))?;
            Ok(response)
        })
    }
}

/// What is read from an access token. It is *not* verified: it tells what the server granted us,
/// and the server that could forge it could as well answer anything else.
struct Claims {
    sub: Option<String>,
    /// `iat`, in milliseconds.
    issued: Option<i64>,
    resource_access: serde_json::Value,
}

impl Claims {
    /// The roles of `client`. `None` where the token shows none of that client: which claims bear
    /// roles is up to the mappers of the realm's client scopes, so their absence proves nothing.
    fn rights(&self, client: &str) -> Option<BTreeSet<String>> {
        let roles = self.resource_access.get(client)?.get("roles")?.as_array()?;
        roles.iter().map(|role| role.as_str().map(str::to_owned)).collect()
    }
}

fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&base64url(payload)?).ok()?;
    let text = |name: &str| claims.get(name).and_then(|it| it.as_str()).map(str::to_owned);
    let resource_access = claims.get("resource_access").cloned().unwrap_or_default();
    let issued = claims.get("iat").and_then(serde_json::Value::as_i64);
    let issued = issued.and_then(|seconds| seconds.checked_mul(1000));
    Some(Claims { sub: text("sub"), issued, resource_access })
}

/// Decodes base64url without padding (RFC 4648, section 5).
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_rights_are_read_from_its_claims() {
        // {"sub":"s","resource_access":{"realm-management":{"roles":["view-users"]}}}
        let payload = "eyJzdWIiOiJzIiwicmVzb3VyY2VfYWNjZXNzIjp7InJlYWxtLW1hbmFnZW1lbnQiOnsicm9sZXMiOlsidmlldy11c2VycyJdfX19";
        let claims = claims(&format!("x.{payload}.y")).unwrap();
        assert_eq!(claims.sub.as_deref(), Some("s"));
        let rights = claims.rights("realm-management").unwrap();
        assert!(rights.contains("view-users"));
        assert_eq!(claims.rights("other"), None, "not shown is not \"none\"");
    }

    #[test]
    fn a_token_whose_role_claims_are_renamed_or_gone_says_nothing_about_rights() {
        let shown =
            |value: serde_json::Value| Claims { sub: None, issued: None, resource_access: value };
        for value in [
            serde_json::Value::Null,
            serde_json::json!({}),
            serde_json::json!({"account": {"roles": ["view-profile"]}}),
            serde_json::json!({"roles": ["view-users"]}),
            serde_json::json!({"realm-management": ["view-users"]}),
            serde_json::json!({"realm-management": {"roles": "view-users"}}),
            serde_json::json!(["view-users"]),
        ] {
            assert_eq!(shown(value.clone()).rights("realm-management"), None, "{value}");
        }
        // {"sub":"s"}
        assert_eq!(claims("x.eyJzdWIiOiJzIn0.y").unwrap().rights("realm-management"), None);
    }

    #[test]
    fn what_is_not_a_jwt_has_no_claims() {
        for token in ["", "abc", "a.b.c", "a.!!.c", "a..c"] {
            assert!(claims(token).is_none(), "{token}");
        }
    }

    #[test]
    fn base64url_decodes_every_length() {
        for (text, bytes) in
            [("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob")]
        {
            assert_eq!(base64url(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64url("-_8").unwrap(), [0xfb, 0xff]);
    }
}

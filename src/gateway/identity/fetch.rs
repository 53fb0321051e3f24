//! Where an issuer's keys are (OpenID Connect Discovery 1.0), and what it answers there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use openidconnect::core::CoreProviderMetadata;
use openidconnect::{DiscoveryError, HttpRequest, HttpResponse, IssuerUrl};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::keys::JwksError;
use super::shown;
use crate::config::JwtConfig;
use crate::source::cause;

/// How long one answer of an issuer may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How large an issuer's answer may be. Keycloak's are 10 KB at most.
const LIMIT: usize = 512 * 1024;

/// Why the keys of an issuer were not read. Nothing of an answer's body is told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeysError {
    /// `issuer` is no URL.
    #[error("it is not a URL")]
    NotAUrl,
    /// No request can be made of the address.
    #[error("`{url}` cannot be asked for")]
    BadUrl {
        /// Where its keys are.
        url: String,
    },
    /// There was no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It answered with something else than keys.
    #[error("`{url}` answered with status {status}")]
    Status {
        /// Where its keys are.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// Where its keys are is not told.
    #[error(transparent)]
    Discovery(#[from] NotDiscovered),
    /// Keys that come less safely than the word of where they are.
    #[error(
        "it has its keys at `{url}`, without TLS, where anybody on the way could put their own"
    )]
    NotSafe {
        /// Where its keys are.
        url: String,
    },
    /// No keys that can be used.
    #[error(transparent)]
    Keys(#[from] JwksError),
}

/// Why there was no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    /// It took too long.
    #[error("`{url}` gave no whole answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// Who was asked.
        url: String,
    },
    /// It cannot be reached, or broke off.
    #[error("asking `{url}`: {why}")]
    Failed {
        /// Who was asked.
        url: String,
        /// The cause.
        why: String,
    },
    /// It does not end.
    #[error("`{url}` answered with more than {} KiB", LIMIT / 1024)]
    TooLarge {
        /// Who was asked.
        url: String,
    },
    /// No request can be made.
    #[error("the discovery request cannot be built")]
    NoRequest,
    /// It is no answer of HTTP.
    #[error("it answered without a status")]
    NoStatus,
}

/// Why the discovery page does not tell where the keys are.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotDiscovered {
    /// The server has a fault.
    #[error("its discovery page answered with status {status}")]
    ServerFault {
        /// The status of HTTP.
        status: u16,
    },
    /// There is no such page.
    #[error("its discovery page answered with status {status}: is `issuer` right?")]
    Status {
        /// The status of HTTP.
        status: u16,
    },
    /// Another page.
    #[error("its discovery page is not JSON: is `issuer` right?")]
    NotJson,
    /// Another JSON.
    #[error("its discovery page is not one of OpenID Connect (at `{}`)", shown(.at))]
    Shape {
        /// Where in it.
        at: String,
    },
    /// Another issuer's.
    #[error(
        "the server there calls itself otherwise: set `issuer` to exactly what its tokens have in \
         `iss` (it is `{issuer}` now)"
    )]
    OtherIssuer {
        /// `issuer`.
        issuer: String,
    },
    /// Anything else.
    #[error("its discovery page cannot be used: {0}")]
    Other(String),
}

/// The JWK set of an issuer, as it answers it.
pub(super) async fn fetch(
    client: &reqwest::Client,
    config: &JwtConfig,
) -> Result<Vec<u8>, KeysError> {
    let url = match &config.jwks_url {
        Some(url) => url.clone(),
        None => discover(client, &config.issuer).await?,
    };
    let request = client
        .get(&url)
        .header(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"))
        .build()
        .map_err(|_| KeysError::BadUrl { url: url.clone() })?;
    let answer = send(client, request).await?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(KeysError::Status { url, status }),
    }
}

/// Where the keys of an issuer are, as its discovery page says.
async fn discover(client: &reqwest::Client, issuer: &str) -> Result<String, KeysError> {
    let url = IssuerUrl::new(issuer.to_owned()).map_err(|_| KeysError::NotAUrl)?;
    let carrier = Carrier { client, discovered: AtomicBool::new(false) };
    let found = CoreProviderMetadata::discover_async(url, &carrier).await;
    let found = found.map_err(|error| not_discovered(error, issuer))?;
    let keys = found.jwks_uri();
    as_safe(issuer, keys.url())?;
    Ok(keys.url().to_string())
}

/// An answer, whole.
struct Fetched {
    status: u16,
    content_type: Option<HeaderValue>,
    body: Vec<u8>,
}

/// Sends `request` once. Redirects are not followed, and a body larger than [`LIMIT`] is refused.
async fn send(
    client: &reqwest::Client,
    mut request: reqwest::Request,
) -> Result<Fetched, FetchError> {
    *request.timeout_mut() = Some(TIMEOUT);
    let url = request.url().to_string();
    let failed = |error: &reqwest::Error| {
        if error.is_timeout() {
            FetchError::Timeout { url: url.clone() }
        } else {
            FetchError::Failed { url: url.clone(), why: cause(error) }
        }
    };
    let mut answer = client.execute(request).await.map_err(|error| failed(&error))?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > LIMIT {
            return Err(FetchError::TooLarge { url });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        status: answer.status().as_u16(),
        content_type: answer.headers().get(CONTENT_TYPE).cloned(),
        body,
    })
}

/// Refuses keys that come less safely than the word of where they are.
fn as_safe(issuer: &str, keys: &url::Url) -> Result<(), KeysError> {
    if issuer.starts_with("https:") && keys.scheme() != "https" {
        return Err(KeysError::NotSafe { url: keys.to_string() });
    }
    Ok(())
}

/// Why discovery brought nothing.
fn not_discovered(error: DiscoveryError<FetchError>, issuer: &str) -> KeysError {
    KeysError::Discovery(match error {
        DiscoveryError::Request(why) => return why.into(),
        DiscoveryError::Response(status, _, _) if status.is_server_error() => {
            NotDiscovered::ServerFault { status: status.as_u16() }
        }
        DiscoveryError::Response(status, _, _) if status != 200 => {
            NotDiscovered::Status { status: status.as_u16() }
        }
        DiscoveryError::Response(..) => NotDiscovered::NotJson,
        DiscoveryError::Parse(error) => NotDiscovered::Shape { at: error.path().to_string() },
        DiscoveryError::Validation(_) => NotDiscovered::OtherIssuer { issuer: issuer.to_owned() },
        error => NotDiscovered::Other(error.to_string()),
    })
}

/// Carries `openidconnect`'s requests.
///
/// After discovery it would read the keys itself, and let the whole set fall for one key of a kind
/// it does not know. So its second request, the one for the keys, is not sent but answered with an
/// empty set.
struct Carrier<'c> {
    client: &'c reqwest::Client,
    discovered: AtomicBool,
}

impl<'c> openidconnect::AsyncHttpClient<'c> for Carrier<'_> {
    type Error = FetchError;
    type Future = BoxFuture<'c, Result<HttpResponse, FetchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            if self.discovered.swap(true, Ordering::Relaxed) {
                return Ok(HttpResponse::new(br#"{"keys":[]}"#.to_vec()));
            }
            let request = reqwest::Request::try_from(request).map_err(|_| FetchError::NoRequest)?;
            let answer = send(self.client, request).await?;
            let mut response = HttpResponse::new(answer.body);
            *response.status_mut() =
                reqwest::StatusCode::from_u16(answer.status).map_err(|_| FetchError::NoStatus)?;
            if let Some(kind) = answer.content_type {
                response.headers_mut().insert(CONTENT_TYPE, kind);
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::as_safe;

    #[test]
    fn keys_come_over_tls_where_the_issuer_does() {
        for (issuer, keys, safe) in [
            ("https://a.example/realms/x", "https://b.example/keys", true),
            ("https://a.example/realms/x", "http://a.example/keys", false),
            ("https://a.example/realms/x", "file:///etc/keys", false),
            ("http://a.example/realms/x", "http://a.example/keys", true),
            ("http://a.example/realms/x", "https://a.example/keys", true),
        ] {
            let keys = url::Url::parse(keys).unwrap();
            assert_eq!(as_safe(issuer, &keys).is_ok(), safe, "{issuer} {keys}");
        }
    }
}

//! Calls of the admin API: a path, a query, and how to read the answer.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use url::Url;

use super::config::KeycloakConfig;
use super::fault::{CallError, Fault, scrub};
use super::http::{Delays, Http, Response};
use super::token::{Token, Tokens, lacking};
use crate::source::SourceError;

/// Everything but RFC 3986's unreserved characters: a name may hold `/ % ? # ;`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `text` as one segment of a path. Not for `.` and `..`, which URL libraries take for
/// directions even when encoded: such roles are refused before they get here.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The admin API of one realm.
pub(super) struct Client {
    http: Http,
    tokens: Tokens,
    /// `{origin}[/prefix]`, without a slash at the end.
    base: String,
    /// The same, read.
    origin: Url,
    realm: String,
    client_id: String,
    /// Bounds the requests at once, over everything that this source does.
    permits: Semaphore,
}

impl Client {
    pub(super) fn new(config: &KeycloakConfig, secret: SecretString) -> Result<Self, SourceError> {
        let base = config.url.as_str().trim_end_matches('/').to_owned();
        Ok(Client {
            http: Http::new(config.timeout, config.ca_file.as_deref())?,
            tokens: Tokens::new(&base, &config.realm, &config.client_id, secret),
            base,
            origin: config.url.clone(),
            realm: config.realm.clone(),
            client_id: config.client_id.clone(),
            permits: Semaphore::new(config.concurrency.max(1)),
        })
    }

    /// The server and realm, for messages.
    pub(super) fn endpoint(&self) -> String {
        format!("{} (realm `{}`)", self.base, self.realm)
    }

    /// The realm's name.
    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// The name of our own client.
    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// `error` as that of the whole read.
    pub(super) fn source_error(&self, error: CallError) -> SourceError {
        error.into_source_error(&self.endpoint(), &self.realm)
    }

    /// A token. Whoever goes on without the rights it lacks says so by calling this instead of
    /// [`Client::get`].
    pub(super) async fn token(&self) -> Result<Arc<Token>, CallError> {
        let fault = |fault| CallError { call: "fetching a token".to_owned(), fault };
        self.tokens.get(&self.http).await.map_err(fault)
    }

    /// Asks for `path` below the realm and reads the answer with `parse`, which takes the whole
    /// body and must refuse anything that is not exactly what it expects: a 200 with a body that
    /// is cut off is a fault like any other.
    ///
    /// Fails at once where the token shows that a right is missing: lists would be short then
    /// without saying so.
    pub(super) fn get<'a, R, P>(
        &'a self,
        path: &[&str],
        query: &[(&str, &str)],
        parse: P,
    ) -> impl Future<Output = Result<R, CallError>> + Send + use<'a, R, P>
    where
        R: Send,
        P: Fn(&[u8]) -> serde_json::Result<R> + Send + Sync,
    {
        let call = Call { request: self.request(path, query), shown: self.shown(path) };
        async move { self.call(call, parse).await }
    }

    /// Asks for `path` once, without trying again: for a question whose failing is an answer.
    pub(super) async fn once(&self, path: &[&str]) -> Result<(), CallError> {
        let call = Call { request: self.request(path, &[]), shown: self.shown(path) };
        let answer = match self.send(&call).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(self.status(&answer)),
            Err(Unanswered::Tokenless(fault) | Unanswered::Lost(fault)) => Err(fault),
        };
        answer.map_err(|fault| call.failed(fault))
    }

    /// Asks for what anybody may know of the realm, once, and reads the answer with `parse`.
    pub(super) async fn public<R>(
        &self,
        parse: impl Fn(&[u8]) -> serde_json::Result<R>,
    ) -> Result<R, CallError> {
        let shown = format!("/realms/{}", encode(&self.realm));
        let failed = |fault| CallError { call: format!("GET {shown}"), fault };
        let request = self.http.client().get(format!("{}{shown}", self.base)).build();
        let request = request.map_err(|_| {
            failed(Fault::Connect(format!("`url` `{}` cannot be asked", self.base)))
        })?;
        let answer = self.http.send(request).await.map_err(failed)?;
        if answer.status != 200 {
            return Err(failed(self.status(&answer)));
        }
        parse(&answer.body).map_err(|error| {
            failed(Fault::Broken(format!(
                "status 200, but not the JSON that was asked for (byte {} of {})",
                error.column(),
                answer.body.len()
            )))
        })
    }

    fn shown(&self, path: &[&str]) -> String {
        let mut shown = format!("/admin/realms/{}", encode(&self.realm));
        for segment in path {
            shown.push('/');
            shown.push_str(&encode(segment));
        }
        shown
    }

    fn request(&self, path: &[&str], query: &[(&str, &str)]) -> Result<reqwest::Request, Fault> {
        // Not read anew for each of them: its host is the same.
        let mut url = self.origin.clone();
        let prefix = self.origin.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}{}", self.shown(path)));
        self.http.client().get(url).query(query).build().map_err(|_| Fault::SignIn {
            message: format!("`url` `{}` cannot be asked", self.base),
            transient: false,
        })
    }

    async fn call<R>(
        &self,
        call: Call,
        parse: impl Fn(&[u8]) -> serde_json::Result<R>,
    ) -> Result<R, CallError> {
        let mut delays = Delays::new();
        loop {
            let fault = match self.send(&call).await {
                // The parser's own text may quote values, so only the place is told.
                Ok(answer) if answer.status == 200 => match parse(&answer.body) {
                    Ok(parsed) => return Ok(parsed),
                    Err(error) => Fault::Broken(format!(
                        "status 200, but not the JSON that was asked for (byte {} of {})",
                        error.column(),
                        answer.body.len()
                    )),
                },
                Ok(answer) => self.status(&answer),
                // Asking for a token has its own retries: with ours on top they would multiply.
                Err(Unanswered::Tokenless(fault)) => return Err(call.failed(fault)),
                Err(Unanswered::Lost(fault)) => fault,
            };
            if let Err(fault) = delays.wait(fault).await {
                return Err(call.failed(fault));
            }
        }
    }

    async fn send(&self, call: &Call) -> Result<Response, Unanswered> {
        let token = self.tokens.get(&self.http).await.map_err(Unanswered::Tokenless)?;
        let answer = self.send_with(call, &token).await.map_err(Unanswered::Lost)?;
        if answer.status != 401 {
            return Ok(answer);
        }
        // Ended early (a restarted server, a clock that jumped): a new one, once.
        let token = self.tokens.renew(&self.http, &token).await.map_err(Unanswered::Tokenless)?;
        self.send_with(call, &token).await.map_err(Unanswered::Lost)
    }

    async fn send_with(&self, call: &Call, token: &Token) -> Result<Response, Fault> {
        let missing = token.missing_rights();
        if !missing.is_empty() {
            let message = lacking(&self.client_id, &self.realm, &missing);
            return Err(Fault::SignIn { message, transient: false });
        }
        let Some(mut request) = call.request.as_ref().map_err(Clone::clone)?.try_clone() else {
            return Err(Fault::Connect("the request cannot be sent twice".to_owned()));
        };
        request.headers_mut().insert(reqwest::header::AUTHORIZATION, bearer(token)?);
        let Ok(_permit) = self.permits.acquire().await else {
            // The semaphore is never closed.
            return Err(Fault::Connect("shutting down".to_owned()));
        };
        let url = request.url();
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        tracing::debug!(path = %format_args!("{}{query}", url.path()), "GET");
        self.http.send(request).await
    }

    fn status(&self, answer: &Response) -> Fault {
        let mut body = scrub(&answer.body, &[self.tokens.secret()]);
        if let Some(location) = &answer.location {
            body = format!("a redirect to `{location}`; set `url` so that none is needed");
        }
        Fault::Status { status: answer.status, body, retry_after: answer.retry_after }
    }
}

/// Why a call that was sent once has no answer.
enum Unanswered {
    /// There is no token, however often one was asked for.
    Tokenless(Fault),
    /// The call itself went wrong.
    Lost(Fault),
}

/// One question, ready to be sent as often as needed.
struct Call {
    /// What went wrong in building it, if anything.
    request: Result<reqwest::Request, Fault>,
    /// The path, without the query.
    shown: String,
}

impl Call {
    fn failed(&self, fault: Fault) -> CallError {
        CallError { call: format!("GET {}", self.shown), fault }
    }
}

/// The header that shows `token`, marked so that no log prints it.
fn bearer(token: &Token) -> Result<reqwest::header::HeaderValue, Fault> {
    let value = format!("Bearer {}", token.value.expose_secret());
    let mut value = reqwest::header::HeaderValue::from_str(&value).map_err(|_| Fault::SignIn {
        message: "the token that was handed out is no text that a header can hold".to_owned(),
        transient: false,
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn any_role_name_is_one_segment() {
        for (name, encoded) in [
            ("team/ml ops", "team%2Fml%20ops"),
            ("a;b", "a%3Bb"),
            ("a%2Fb", "a%252Fb"),
            ("what?#", "what%3F%23"),
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("a-b_c.d~e", "a-b_c.d~e"),
        ] {
            assert_eq!(encode(name), encoded);
        }
    }
}

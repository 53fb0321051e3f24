//! What can go wrong with one call, and what to tell people about it.
//!
//! No message here holds a secret, a token, a query string or more than a short scrubbed piece of
//! a body.

use std::time::Duration;

use crate::model::TooMany;
use crate::source::{SourceError, SourceErrorKind};

/// Why one call brought no answer that can be believed.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// No connection, or one that broke before the answer began.
    Connect(String),
    /// A connection that only a person can mend: a certificate that is not trusted, a wrong scheme.
    Tls(String),
    /// No whole answer in time.
    Timeout(Duration),
    /// The answer began, and its body is cut off or not what it must be.
    Broken(String),
    /// More was answered than can be numbered.
    TooMany(TooMany),
    /// An answer other than 200.
    Status {
        /// The HTTP status.
        status: u16,
        /// A short, scrubbed piece of the body.
        body: String,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
    },
    /// Signing in did not work; the message is whole.
    SignIn {
        /// For people.
        message: String,
        /// Trying again may help.
        transient: bool,
    },
}

/// A call that failed.
#[derive(Clone, Debug)]
pub(super) struct CallError {
    /// `GET` and the path, without the query.
    pub call: String,
    /// Why.
    pub fault: Fault,
}

impl Fault {
    /// Whether the same call may work a moment later. A time-out is not one of these: the server
    /// goes on working on a request that its client has given up, so asking again only adds load.
    pub(super) fn worth_retrying(&self) -> bool {
        match self {
            Fault::Connect(_) | Fault::Broken(_) => true,
            Fault::Status { status, .. } => *status == 429 || *status >= 500,
            Fault::Tls(_) | Fault::Timeout(_) | Fault::TooMany(_) | Fault::SignIn { .. } => false,
        }
    }

    /// Whether a later *read* may work without anybody mending anything.
    pub(super) fn transient(&self) -> bool {
        match self {
            Fault::Timeout(_) => true,
            Fault::SignIn { transient, .. } => *transient,
            other => other.worth_retrying(),
        }
    }

    fn kind(&self) -> SourceErrorKind {
        match self {
            Fault::Connect(_) => SourceErrorKind::Unreachable,
            Fault::Tls(_) => SourceErrorKind::Tls,
            Fault::Timeout(_) => SourceErrorKind::TimedOut,
            Fault::Broken(_) => SourceErrorKind::Broken,
            Fault::TooMany(_) => SourceErrorKind::Lasting,
            Fault::Status { status, .. } => SourceErrorKind::Answered(u32::from(*status)),
            Fault::SignIn { .. } => SourceErrorKind::SignIn,
        }
    }

    /// Whether there is no point in asking this server anything else now: it is gone, or it no
    /// longer knows us.
    pub(super) fn ends_the_read(&self) -> bool {
        match self {
            Fault::Connect(_) | Fault::Tls(_) | Fault::SignIn { .. } => true,
            Fault::Status { status, .. } => matches!(status, 401 | 403),
            Fault::Timeout(_) | Fault::Broken(_) | Fault::TooMany(_) => false,
        }
    }

    /// Whether the account may not see what was asked for.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Fault::Status { status: 403, .. })
    }

    /// How long the server asked us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Fault::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Connect(cause) => {
                write!(f, "cannot connect: {cause}; is the server running, and is `url` right?")
            }
            Fault::Tls(cause) => write!(f, "cannot connect safely: {cause}"),
            Fault::Timeout(after) => write!(
                f,
                "no whole answer within {} s; raise `timeout` if the server needs longer",
                after.as_secs_f32()
            ),
            Fault::Broken(cause) => write!(f, "the answer is broken: {cause}"),
            Fault::TooMany(full) => write!(f, "{full}"),
            Fault::Status { status, body, .. } if body.is_empty() => {
                write!(f, "status {status} without a body")
            }
            Fault::Status { status, body, .. } => write!(f, "status {status}: {body}"),
            Fault::SignIn { message, .. } => f.write_str(message),
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.fault {
            // The message names its own endpoint.
            Fault::SignIn { .. } => write!(f, "{}", self.fault),
            _ => write!(f, "`{}`: {}", self.call, self.fault),
        }
    }
}

impl CallError {
    /// As the error of a whole read or check of `endpoint`.
    pub(super) fn into_source_error(self, endpoint: &str, realm: &str) -> SourceError {
        let hint = self.hint(realm);
        let message = format!("reading Keycloak at {endpoint} failed: {self}{hint}");
        SourceError { kind: self.fault.kind(), message, transient: self.fault.transient() }
    }

    /// What to do next, where the status tells.
    pub(super) fn hint(&self, realm: &str) -> String {
        match &self.fault {
            Fault::Status { status: 403, .. } => format!(
                "; grant the client's service account the roles {} of client `{}`",
                needed_list(),
                management_client(realm)
            ),
            Fault::Status { status: 401, .. } => {
                "; is the client, or its service account's user, still enabled?".to_owned()
            }
            Fault::Status { status: 404, body, .. } if body.contains("Realm not found") => {
                format!("; is `realm = \"{realm}\"` right? upper and lower case count")
            }
            _ => String::new(),
        }
    }
}

/// The rights that a read needs, as roles of [`management_client`]. Less than all three gives
/// lists that are short without saying so: without `view-clients` composites lack client roles,
/// without `view-users` lists show only what fine-grained permissions allow.
pub(super) const NEEDED: [&str; 3] = ["view-users", "view-realm", "view-clients"];

fn needed_list() -> String {
    format!("`{}`", NEEDED.join("`, `"))
}

/// The client whose roles are the rights on `realm`.
pub(super) fn management_client(realm: &str) -> &'static str {
    if realm == "master" { "master-realm" } else { "realm-management" }
}

/// A short piece of `body` that is safe to show: JSON errors by their texts, a page of HTML by
/// name only, no control characters, and nothing that looks like a token. `secrets` are cut out
/// even where they are short.
pub(super) fn scrub(body: &[u8], secrets: &[&str]) -> String {
    const SHOWN: usize = 160;
    // Only the beginning is looked at: an error page may be long.
    let text = String::from_utf8_lossy(body.get(..body.len().min(4096)).unwrap_or_default());
    let text = text.trim();
    if text.starts_with('<') {
        return "a page of HTML (from a proxy?)".to_owned();
    }
    let said = serde_json::from_slice::<ErrorBody>(body).ok().and_then(ErrorBody::text);
    let mut text = said.unwrap_or_else(|| text.to_owned());
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(*secret, "…");
    }
    let word = |word: &str| {
        // A token, a key, a hash: long and without spaces. A uuid (36) stays.
        if word.chars().count() > 40 || word.contains("eyJ") {
            "…".to_owned()
        } else {
            word.to_owned()
        }
    };
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    match clean.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", clean.get(..end).unwrap_or_default()),
        None => clean,
    }
}

/// The forms in which Keycloak says what is wrong.
#[derive(serde::Deserialize)]
struct ErrorBody {
    error: Option<String>,
    error_description: Option<String>,
    #[serde(rename = "errorMessage")]
    error_message: Option<String>,
}

impl ErrorBody {
    fn text(self) -> Option<String> {
        let parts: Vec<String> = [self.error, self.error_description, self.error_message]
            .into_iter()
            .flatten()
            .collect();
        if parts.is_empty() { None } else { Some(parts.join(": ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_shown_short_and_without_anything_that_looks_like_a_token() {
        let token = format!("eyJhbGciOi.{}", "A".repeat(80));
        let cases: [(&str, &str); 8] = [
            (r#"{"error":"HTTP 403 Forbidden"}"#, "HTTP 403 Forbidden"),
            (
                r#"{"error":"invalid_client","error_description":"Invalid client"}"#,
                "invalid_client: Invalid client",
            ),
            (r#"{"errorMessage":"no"}"#, "no"),
            ("", ""),
            ("<html><body>secret page</body></html>", "a page of HTML (from a proxy?)"),
            (
                "Bootstrap in progress.\r\nRetry in 1 seconds.",
                "Bootstrap in progress. Retry in 1 seconds.",
            ),
            (&format!("bad token {token} refused"), "bad token … refused"),
            ("you sent hunter2", "you sent …"),
        ];
        for (body, shown) in cases {
            assert_eq!(scrub(body.as_bytes(), &["hunter2"]), shown);
        }
        assert!(scrub("word ".repeat(1000).as_bytes(), &[]).chars().count() <= 161);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status| Fault::Status { status, body: String::new(), retry_after: None };
        for (fault, again) in [
            (status(500), true),
            (status(503), true),
            (status(429), true),
            (status(400), false),
            (status(401), false),
            (status(403), false),
            (status(404), false),
            (status(302), false),
            (Fault::Connect("refused".to_owned()), true),
            (Fault::Broken("cut off".to_owned()), true),
            (Fault::Tls("untrusted".to_owned()), false),
            (Fault::Timeout(Duration::from_secs(1)), false),
        ] {
            assert_eq!(fault.worth_retrying(), again, "{fault:?}");
        }
    }
}

//! One HTTP request, and the rules for sending it again.
//!
//! Knows nothing of Keycloak but how it says "later". Never follows a redirect: one would take
//! the token, or the secret, somewhere that nobody configured.

use std::path::Path;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::fault::Fault;
use crate::source::SourceError;
use crate::source::http::{deepest, http_client, tls_trouble};

/// How often a call is tried again: after about 0.25, 0.5, 1 and 2 s.
const RETRIES: usize = 4;
/// The longest wait that a `Retry-After` is granted.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// An answer, whole.
pub(super) struct Response {
    /// The HTTP status.
    pub status: u16,
    /// What `Retry-After` asked for.
    pub retry_after: Option<Duration>,
    /// Where a redirect would lead, without its query.
    pub location: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Sends requests.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    timeout: Duration,
}

impl Http {
    /// `ca_file` is trusted besides the system's certificates.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate, or TLS cannot be set up.
    pub(super) fn new(timeout: Duration, ca_file: Option<&Path>) -> Result<Self, SourceError> {
        Ok(Http { client: http_client(timeout, ca_file)?, timeout })
    }

    /// The client, to build requests with.
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends `request` once and reads the whole answer, whatever its status.
    pub(super) async fn send(&self, mut request: reqwest::Request) -> Result<Response, Fault> {
        *request.timeout_mut() = Some(self.timeout);
        let answer = self.client.execute(request).await.map_err(|error| self.fault(&error))?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let status = answer.status().as_u16();
        let retry_after = header(reqwest::header::RETRY_AFTER).and_then(seconds);
        let location = header(reqwest::header::LOCATION)
            .map(|target| target.split(['?', '#']).next().unwrap_or_default().to_owned());
        let body = answer.bytes().await.map_err(|error| self.fault(&error))?.into();
        Ok(Response { status, retry_after, location, body })
    }

    fn fault(&self, error: &reqwest::Error) -> Fault {
        if error.is_timeout() {
            return Fault::Timeout(self.timeout);
        }
        let cause = deepest(error);
        if let Some(tls) = tls_trouble(error) {
            return Fault::Tls(tls);
        }
        if error.is_body() || error.is_decode() {
            return Fault::Broken(format!("it was cut off: {cause}"));
        }
        Fault::Connect(cause)
    }
}

/// The waits between the attempts of one call.
pub(super) struct Delays(backon::ExponentialBackoff);

impl Delays {
    /// For a new call.
    pub(super) fn new() -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_factor(2.0)
            .with_jitter()
            .with_max_times(RETRIES);
        Delays(delays.build())
    }

    /// Waits until the call may be tried again, or returns `fault`: it is none that passes, or
    /// the call has been tried often enough.
    pub(super) async fn wait(&mut self, fault: Fault) -> Result<(), Fault> {
        if !fault.worth_retrying() {
            return Err(fault);
        }
        let Some(delay) = self.0.next() else { return Err(fault) };
        tokio::time::sleep(pause(delay, fault.retry_after())).await;
        Ok(())
    }
}

/// How long to wait: the server's wish counts, but only so far. A wait of hours is a failed read.
fn pause(delay: Duration, wish: Option<Duration>) -> Duration {
    delay.max(wish.unwrap_or_default().min(LONGEST_WAIT))
}

/// `Retry-After` in seconds. Its other form, a date, is left to the ordinary delays.
fn seconds(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_wish_is_granted_up_to_a_bound() {
        let seconds = Duration::from_secs;
        for (delay, wish, pause_) in [
            (seconds(1), None, seconds(1)),
            (seconds(1), Some(seconds(7)), seconds(7)),
            (seconds(2), Some(seconds(1)), seconds(2)),
            (seconds(1), Some(seconds(86_400)), LONGEST_WAIT),
        ] {
            assert_eq!(pause(delay, wish), pause_);
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_only() {
        assert_eq!(seconds(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(seconds("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(seconds("-1"), None);
    }
}

//! Which host a request is for, as its gateway tells.
//!
//! Each protocol has one place for it, which the gateway fills in itself (`http`, `grpc`). A client can
//! send the others, and a platform behind the gateway may believe one of them. So wherever one is
//! there, it must name the same host.

use super::question::{Header, Headers};
use crate::routes::{BadHost, Host};

/// The headers in which gateways tell a host, beside `Host`.
pub(super) const ORIGINAL: &str = "x-original-host";
/// What Traefik, Caddy and many others send.
pub(super) const FORWARDED: &str = "x-forwarded-host";

/// Why a request's host cannot be told. In words for the log and the answer's body; nothing of the
/// request is quoted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostError {
    /// It is none, or could be read in two ways.
    #[error(transparent)]
    Bad(#[from] BadHost),
    /// There is no one host.
    #[error("a header that tells the host is there more than once, or is no text")]
    Twice,
    /// The site that was decided on might not be the one that serves.
    #[error("two headers tell of different hosts: let the gateway remove what a client sends")]
    Different,
}

/// The host that a request is for; `None`: the gateway does not tell. `own`: what stands in the
/// protocol's own place.
///
/// # Errors
/// No one host with one reading is told.
pub(super) fn told<'a>(
    own: Header<'a>,
    headers: &dyn Headers,
) -> Result<Option<Host<'a>>, HostError> {
    let host = match own {
        Header::Absent => return Ok(None),
        Header::One(text) => Host::parse(text)?,
        Header::Bad => return Err(HostError::Twice),
    };
    for name in [FORWARDED, ORIGINAL] {
        match headers.header(name) {
            Header::Absent => {}
            Header::One(text) if Host::parse(text)?.name() == host.name() => {}
            Header::One(_) => return Err(HostError::Different),
            Header::Bad => return Err(HostError::Twice),
        }
    }
    Ok(Some(host))
}

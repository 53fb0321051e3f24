//! Where the facts come from: one reader a kind of source, one shape for what they say.
//!
//! A reader returns a [`Snapshot`]: the facts it got, and for each scope whether that was all
//! ([`Completeness::Complete`](crate::directory::Completeness::Complete)) or not. It never turns an
//! error into an empty list. What an incomplete scope means is decided in one place,
//! [`Mirror`](crate::directory::Mirror): it can add to the mirror, never take away.

pub mod feed;
pub mod file;
mod http;
pub mod keycloak;
mod kind;
pub mod ldap;
mod lookup;
pub mod sessions;

use futures_util::future::BoxFuture;

pub(crate) use http::{cause, http_client};
pub(crate) use kind::Kind;
use kind::settings;
pub use kind::{kinds, open_source};
pub use lookup::{Gone, Looked, Who};

use crate::directory::{Interest, Snapshot};
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// What kind of fault kept a source from being read: what programs go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceErrorKind {
    /// Nobody could be reached there.
    Unreachable,
    /// Whoever is there does not prove to be the server by TLS, or does not speak it.
    Tls,
    /// No whole answer came in time.
    TimedOut,
    /// The server does not take whoever asks for who they say they are.
    SignIn,
    /// The server refused with this code of its protocol: an LDAP result code, an HTTP status.
    Answered(u32),
    /// What came is cut off, or not what it must be.
    Broken,
    /// A file could not be read.
    File,
    /// Another process wrote to the source's mirror while it was read.
    Raced,
    /// A fault of this program ended the read.
    Panicked,
    /// Something else that may pass by itself.
    Passing,
    /// Something else that only a person can mend.
    Lasting,
}

/// Why a source could not be read at all: nothing is known, so nothing changes.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What kind of fault it is.
    pub kind: SourceErrorKind,
    /// What was tried, on what (endpoint redacted), why it failed, what to do next. One line, no
    /// secret, no response body beyond a short scrubbed excerpt.
    pub message: String,
    /// Trying again soon may help (a connection refused, a time-out, a 5xx), as opposed to what
    /// only a person can mend (a wrong password, missing rights, a malformed file).
    pub transient: bool,
}

impl SourceError {
    /// One that only a person can mend.
    #[must_use]
    pub fn fatal(message: impl Into<String>) -> Self {
        let kind = SourceErrorKind::Lasting;
        SourceError { kind, message: message.into(), transient: false }
    }

    /// One that may pass.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        let kind = SourceErrorKind::Passing;
        SourceError { kind, message: message.into(), transient: true }
    }

    /// The same, of a kind that is known better.
    #[must_use]
    pub fn of_kind(self, kind: SourceErrorKind) -> Self {
        SourceError { kind, ..self }
    }

    /// The same, and `place` where it was: a source, a server.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        SourceError { message: format!("{place}: {}", self.message), ..self }
    }

    /// As a finding of `idpsyncd check`.
    #[must_use]
    pub fn into_diagnostic(self) -> Diagnostic {
        Diagnostic::error(DiagnosticCode::SourceFailed, Subject::None, self.message)
    }
}

/// How far a read has come, for people on a terminal and for the watchdog.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The source's name.
    pub source: String,
    /// What is being read, such as `users` or `members of groups`.
    pub what: &'static str,
    /// How many so far.
    pub done: u64,
    /// How many there are, where that is known.
    pub total: Option<u64>,
}

/// Receives [`Progress`]. Called from any thread, often; must be quick and must not block.
pub type OnProgress = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;

/// A configured source of facts, and what it can do.
///
/// Every source can be read in full: that is what a mirror is made of, and what finds out whether
/// anything else was missed. Whatever more it can, it says here; a source's capability that nobody
/// else has needs no change outside its folder.
pub trait Source: FullRead {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// The same as one that can be asked about one person; nothing where it cannot be.
    fn as_lookup(&self) -> Option<&dyn Lookup>;

    /// The same as one whose changes can be followed; nothing where they cannot be.
    fn as_feed(&self) -> Option<&dyn feed::Feed> {
        None
    }

    /// The same as one whose sessions can be followed; nothing where it has none, or says nothing of them.
    fn as_sessions(&self) -> Option<&dyn sessions::Sessions> {
        None
    }

    /// Connects, signs in and looks for what would make a read fail or lie: missing rights, bases
    /// that do not exist, limits, groups fed by a federation. Reads no more than it must.
    fn check<'a>(&'a self, interest: &'a dyn Interest) -> BoxFuture<'a, Vec<Diagnostic>>;
}

/// A source that can be read in full.
pub trait FullRead: Send + Sync {
    /// Reads everything that `interest` can reach.
    ///
    /// # Errors
    /// Nothing at all could be read; whatever could be is in the snapshot's scopes instead.
    fn read<'a>(
        &'a self,
        interest: &'a dyn Interest,
        progress: OnProgress,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>>;
}

/// A source that can be asked about one person.
pub trait Lookup: Send + Sync {
    /// Asks about one person. Bounded in time, as each call is; meant to be asked many times on one
    /// and the same value, which keeps connections and tokens where it can.
    ///
    /// # Errors
    /// No answer, or none that can be believed: nothing is known of the person.
    fn lookup<'a>(
        &'a self,
        interest: &'a dyn Interest,
        who: &'a Who,
    ) -> BoxFuture<'a, Result<Looked, SourceError>>;
}

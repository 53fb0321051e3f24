//! Following the sessions of a source's people: which end before the tokens do that were issued in them.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::SourceError;
use crate::model::SessionScope;

/// The capability of a source to say which sessions end.
pub trait Sessions: Send + Sync {
    /// Follows them, beginning with those that ended in the last `back`; `clients`: those whose tokens
    /// count.
    fn sessions(&self, back: Duration, clients: Vec<String>) -> Box<dyn SessionsFollowing + '_>;

    /// How long tokens live that are issued to `clients`.
    ///
    /// # Errors
    /// No answer.
    fn token_lives<'a>(
        &'a self,
        clients: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<TokenLife>, SourceError>>;
}

/// The sessions of a source, as they are followed.
pub trait SessionsFollowing: Send {
    /// What has ended since it was asked last. Does not wait until something has.
    ///
    /// # Errors
    /// No answer: nothing is lost by that, whoever asks again is told.
    fn next(&mut self) -> BoxFuture<'_, Result<SessionsTold, SourceError>>;
}

/// How long some tokens live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenLife {
    /// Which.
    pub of: TokensOf,
    /// Absent: as long as the session that they are issued in.
    pub lives: Option<Duration>,
}

/// What says how long tokens live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokensOf {
    /// The realm, of clients that say nothing else.
    Realm,
    /// The client with this id.
    Client(String),
    /// The realm, of what is issued to the client with this id by the implicit flow.
    ImplicitFlow(String),
}

/// Which sessions have ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionsTold {
    /// What has ended, and the last `iat` that does not count any more: seconds of the source's clock.
    pub ended: Vec<(SessionScope, i64)>,
    /// What of it nobody tells, and what would help; absent: all is told.
    pub untold: Option<String>,
}

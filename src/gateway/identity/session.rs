//! The session that a token was issued in: whether it lasts, and for how long that can be told.

use std::sync::Arc;
use std::time::Duration;

use super::claims::{self, Object, Span};
use super::fault::TokenError;
use crate::config::JwtConfig;
use crate::gateway::ended::{EndedSessions, TokenSession};
use crate::model::{SessionRealm, Time};

/// What tokens are held against where sessions end before them (`[gateway.logout]`).
#[derive(Clone)]
pub(super) struct Sessions {
    ended: Arc<EndedSessions>,
    /// For how long after it was issued a token counts, in seconds.
    lifetime: i64,
    /// Whose the sessions are, where the issuer's configuration does not tell.
    realm: Option<Arc<SessionRealm>>,
}

impl Sessions {
    pub(super) fn new(ended: Arc<EndedSessions>, lifetime: Duration) -> Sessions {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        Sessions { ended, lifetime, realm: None }
    }

    /// The same, of tokens whose sessions are those of `realm`.
    pub(super) fn of_realm(
        ended: Arc<EndedSessions>,
        lifetime: Duration,
        realm: Arc<SessionRealm>,
    ) -> Sessions {
        Sessions { realm: Some(realm), ..Sessions::new(ended, lifetime) }
    }

    /// The session that the token of `claims` was issued in; `None`: there is no such thing with its
    /// issuer. Bounds `span` by what is remembered of ended sessions: of an older token nobody knows.
    ///
    /// # Errors
    /// It does not say when it was issued, or is older than that.
    pub(super) fn of(
        &self,
        claims: &Object,
        config: &JwtConfig,
        span: &mut Span,
        now: Time,
    ) -> Result<Option<TokenSession>, TokenError> {
        if !config.has_sessions() {
            return Ok(None);
        }
        let iat = claims::date(claims, "iat")?.ok_or(TokenError::NoIssuedAt)?;
        *span = span.at_most(iat.saturating_add(self.lifetime));
        if !span.holds(now) {
            let seconds = now.timestamp().abs_diff(iat);
            return Err(TokenError::TooOld { seconds });
        }
        let text = |name| -> Result<Option<Box<str>>, TokenError> {
            Ok(claims::text(claims, name)?.map(Into::into))
        };
        let realm = self.realm.clone().unwrap_or_else(|| Arc::new(config.session_realm()));
        let (sid, sub, azp) = (text("sid")?, text("sub")?, text("azp")?);
        Ok(Some(TokenSession { realm, sid, sub, azp, iat }))
    }

    /// Whether it lasts.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn lasts(&self, session: &TokenSession) -> Result<(), TokenError> {
        match self.ended.has_ended(session) {
            true => Err(TokenError::SessionEnded),
            false => Ok(()),
        }
    }
}

//! Tokens that were verified before.
//!
//! An entry counts while its claims hold and its key is alive: it never outlives `exp` (with the
//! same leeway) or the removal of its key. The key of an entry is the token itself, compared in
//! whole: a hit is as good as the verification.

use std::sync::Arc;

use quick_cache::Weighter;

use super::claims::Span;
use super::keys::Key;
use crate::gateway::ended::TokenSession;
use crate::gateway::question::Identity;
use crate::model::Time;

/// The most that verified tokens may take, in bytes: 20,000 tokens of usual size.
const BYTES: u64 = 32 * 1024 * 1024;
/// What is expected of them.
const TOKENS: usize = 20_000;
/// What an entry takes beside its token: caller, times, the cache's own, in bytes.
const BESIDE: u64 = 512;

/// What is known of a verified token.
pub(super) struct Verified {
    /// Whom it names. One that stands for an access token ends with that: the generation knows.
    pub identity: Identity,
    /// When its claims hold.
    pub span: Span,
    /// The session that it was issued in, which may end before.
    pub session: Option<TokenSession>,
    /// The thumbprint of the key that it is bound to.
    pub bound: Option<Arc<str>>,
    /// What its signature was verified with.
    pub key: Arc<Key>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Arc<Verified>> for Bytes {
    fn weight(&self, token: &Box<str>, _: &Arc<Verified>) -> u64 {
        BESIDE + token.len() as u64
    }
}

/// Verified tokens, the least used of which go first.
pub(super) struct Cache {
    tokens: quick_cache::sync::Cache<Box<str>, Arc<Verified>, Bytes>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Cache { tokens: quick_cache::sync::Cache::with_weighter(TOKENS, BYTES, Bytes) }
    }

    /// What `token` is, if it was verified before and still counts: unless its session has ended since.
    /// Whether whoever sends it may use it, where it is bound to a key, is yet to be seen.
    pub(super) fn get(&self, token: &str, now: Time) -> Option<Arc<Verified>> {
        let verified = self.tokens.get(token)?;
        if verified.key.is_alive() && verified.span.holds(now) {
            return Some(verified);
        }
        self.tokens.remove(token);
        None
    }

    /// Remembers a token that was just verified.
    pub(super) fn put(&self, token: &str, verified: Verified) {
        self.tokens.insert(token.into(), Arc::new(verified));
    }

    /// How many tokens are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }
}

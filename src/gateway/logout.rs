//! Log-outs as they come in: what has ended is refused here at once, and elsewhere as soon as the store
//! has it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;

use super::ended::EndedSessions;
use super::identity::LoggedOut;
use crate::model::{SessionEnd, Time};
use crate::store::{Store, StoreError};

/// How long whoever tells of a log-out waits for the store to have it. Keycloak waits for 5 s.
const PATIENCE: Duration = Duration::from_secs(4);
/// How soon it is tried again at first to write what could not be written; each further time after twice
/// that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest time until that.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So many log-outs are known at most, so that none comes twice.
const KNOWN: usize = 10_000;

/// What becomes of a log-out that was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogOutHeard {
    /// It is in the store.
    Kept,
    /// It was told before.
    Again,
    /// It counts here, and is not in the store yet: that is tried on.
    NotYet,
}

/// Where sessions end: the list in memory, and the store that carries it to everybody else.
pub struct SessionLedger {
    list: Arc<EndedSessions>,
    store: Arc<dyn Store>,
    /// The log-outs that were told, by issuer and `jti`, and until when they can come again.
    told: Mutex<HashMap<(String, String), i64>>,
    /// Of which sources it is known which sessions end.
    followed: Mutex<BTreeMap<String, bool>>,
    patience: Duration,
}

impl SessionLedger {
    /// Writes to `store`, which this process may write.
    #[must_use]
    pub fn new(list: Arc<EndedSessions>, store: Arc<dyn Store>) -> Arc<SessionLedger> {
        Arc::new(SessionLedger {
            list,
            store,
            told: Mutex::default(),
            followed: Mutex::default(),
            patience: PATIENCE,
        })
    }

    /// Ends what an issuer says has ended, once.
    pub async fn hear(self: &Arc<Self>, out: LoggedOut) -> LogOutHeard {
        let now = Utc::now();
        let LoggedOut { end, issuer, jti, until } = out;
        let log_out = (issuer, jti);
        if !self.is_new(log_out.clone(), until, now) {
            return LogOutHeard::Again;
        }
        // Here it counts before anything is waited for.
        self.list.add(std::slice::from_ref(&end), now);
        let this = Arc::clone(self);
        // A task of its own: it goes on when whoever told of it has gone.
        let keep = tokio::spawn(async move { this.keep(vec![end]).await });
        match tokio::time::timeout(self.patience, keep).await {
            Ok(Ok(())) => LogOutHeard::Kept,
            Ok(Err(_)) | Err(_) => {
                // Whoever was told that it is not done may tell once more.
                self.told().remove(&log_out);
                LogOutHeard::NotYet
            }
        }
    }

    /// Ends `ended`: in memory at once, and in the store as soon as it can be written, which is not waited
    /// for. To be called within a runtime.
    pub fn end(self: &Arc<Self>, ended: Vec<SessionEnd>) {
        if ended.is_empty() {
            return;
        }
        self.list.add(&ended, Utc::now());
        let this = Arc::clone(self);
        tokio::spawn(async move { this.keep(ended).await });
    }

    /// Whether it is known which sessions end at `source`.
    pub fn follows(&self, source: &str, follows: bool) {
        self.of_sources().insert(source.to_owned(), follows);
    }

    /// No source's sessions are followed any more.
    pub fn follows_nobody(&self) {
        self.of_sources().clear();
    }

    /// Of each source whose sessions are followed whether it is known which of them end.
    #[must_use]
    pub fn followed(&self) -> BTreeMap<String, bool> {
        self.of_sources().clone()
    }

    fn of_sources(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes it to the store, however often that must be tried.
    async fn keep(self: &Arc<Self>, ended: Vec<SessionEnd>) {
        let ended = Arc::new(ended);
        let mut pause = FIRST_PAUSE;
        loop {
            let (this, what) = (Arc::clone(self), Arc::clone(&ended));
            let written = tokio::task::spawn_blocking(move || this.write(&what)).await;
            match written {
                Ok(Ok(())) => return,
                Ok(Err(why)) if pause == FIRST_PAUSE => {
                    tracing::warn!(
                        "a session has ended, and other gateways do not know it yet: {why}"
                    );
                }
                Ok(Err(why)) => tracing::debug!("a session's end is still not kept: {why}"),
                Err(why) => tracing::error!("keeping a session's end: {why}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn write(&self, ended: &[SessionEnd]) -> Result<(), StoreError> {
        self.store.end_sessions(ended, self.list.forgets(Utc::now()))
    }

    fn told(&self) -> MutexGuard<'_, HashMap<(String, String), i64>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody told of that log-out yet; notes that somebody did.
    fn is_new(&self, log_out: (String, String), until: i64, now: Time) -> bool {
        let mut told = self.told();
        if told.contains_key(&log_out) {
            return false;
        }
        if told.len() >= KNOWN {
            told.retain(|_, until| *until > now.timestamp());
        }
        if told.len() >= KNOWN {
            // To hear of one again is no harm: what has ended has ended.
            told.clear();
        }
        told.insert(log_out, until);
        true
    }
}

#[cfg(test)]
mod tests;

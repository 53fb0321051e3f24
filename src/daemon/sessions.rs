//! Following which sessions end at sources: a task each, which puts what has ended on the list.
//!
//! This goes on beside whatever runs and feeds do: nothing of it waits for the store's lock, and nothing
//! here changes what anybody may.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Config, WatchMode};
use crate::gateway::logout::SessionLedger;
use crate::model::panicked::{own_fault, words_of};
use crate::model::{SessionEnd, SessionRealm};
use crate::source::{SourceError, open_source};

/// The time between two questions.
const EVERY: Duration = Duration::from_millis(500);
/// The longest time between two tries while a source does not answer.
const LONGEST: Duration = Duration::from_secs(5);
/// How long to wait before it is tried again what only a person can mend: asked again and again, a wrong
/// password would lock the account.
const REFUSED: Duration = Duration::from_secs(60);
/// What clocks and a commit may take, beside a token's life: so far back it is asked at first.
const BEYOND: Duration = Duration::from_secs(120);

/// Every source whose sessions are followed.
#[derive(Debug)]
pub struct SessionFollowers {
    /// Dropping it ends them.
    _tasks: JoinSet<()>,
}

impl SessionFollowers {
    /// Follows the sessions of those sources of `config` whose people's tokens count, where sessions end in
    /// `ledger`.
    #[must_use]
    pub fn start(config: &Arc<Config>, ledger: Option<&Arc<SessionLedger>>) -> Self {
        let mut tasks = JoinSet::new();
        let Some((ledger, gateway)) = ledger.zip(config.gateway.as_ref()) else {
            return SessionFollowers { _tasks: tasks };
        };
        let Some(logout) = gateway.logout else { return SessionFollowers { _tasks: tasks } };
        ledger.follows_nobody();
        for (place, source) in config.sources.iter().enumerate() {
            let realm = SessionRealm::Source(source.name.clone());
            let Some(clients) = gateway.parties_of(&realm) else { continue };
            if source.watch == WatchMode::Off || source.kind.is_local() {
                continue;
            }
            let follower = SessionFollower {
                config: Arc::clone(config),
                place,
                realm,
                name: source.name.clone(),
                ledger: Arc::clone(ledger),
                clients,
                back: logout.max_token_lifetime.saturating_add(BEYOND),
            };
            tasks.spawn(follower.run());
        }
        SessionFollowers { _tasks: tasks }
    }
}

struct SessionFollower {
    config: Arc<Config>,
    /// Which of its sources.
    place: usize,
    realm: SessionRealm,
    name: String,
    ledger: Arc<SessionLedger>,
    /// The clients whose tokens count.
    clients: Vec<String>,
    back: Duration,
}

impl SessionFollower {
    async fn run(self) {
        let mut told = None;
        loop {
            let followed = AssertUnwindSafe(self.follow(&mut told)).catch_unwind().await;
            let (why, pause) = match followed {
                // It has no sessions.
                Ok(None) => return,
                Ok(Some(error)) if error.transient => (error.message, LONGEST),
                Ok(Some(error)) => (error.message, REFUSED),
                Err(panic) => (own_fault(&words_of(&*panic)), LONGEST),
            };
            self.blind(&mut told, why);
            tokio::time::sleep(pause).await;
        }
    }

    /// Follows the source's sessions until only a person can mend what is wrong. `None`: there are none.
    async fn follow(&self, told: &mut Option<String>) -> Option<SourceError> {
        let source = self.config.sources.get(self.place)?;
        let opened = match open_source(source) {
            Ok(opened) => opened,
            Err(error) => return Some(error),
        };
        let mut following = opened.as_sessions()?.sessions(self.back, self.clients.clone());
        let mut pause = EVERY;
        loop {
            let began = Instant::now();
            match following.next().await {
                Ok(news) => {
                    pause = EVERY;
                    self.sees(told, news.untold);
                    let end = |(scope, last_iat)| SessionEnd {
                        realm: self.realm.clone(),
                        scope,
                        last_iat,
                    };
                    self.ledger.end(news.ended.into_iter().map(end).collect());
                }
                Err(error) if error.transient => {
                    pause = pause.saturating_mul(2).min(LONGEST);
                    self.blind(told, error.message);
                }
                Err(error) => return Some(error),
            }
            tokio::time::sleep_until(began + pause).await;
        }
    }

    /// It is followed; `untold` is what nobody tells.
    fn sees(&self, told: &mut Option<String>, untold: Option<String>) {
        self.ledger.follows(&self.name, untold.is_none());
        let text = untold.unwrap_or_default();
        if told.as_ref() == Some(&text) {
            return;
        }
        let source = &self.name;
        match text.as_str() {
            "" => tracing::info!(source, "source `{source}`: it is followed which sessions end"),
            why => tracing::warn!(
                source,
                "source `{source}`: not every session that ends is told of: {why}"
            ),
        }
        *told = Some(text);
    }

    /// Nobody knows which sessions end there.
    fn blind(&self, told: &mut Option<String>, why: String) {
        self.ledger.follows(&self.name, false);
        if told.as_ref() != Some(&why) {
            let source = &self.name;
            tracing::warn!(source, "source `{source}`: which sessions end cannot be told: {why}");
            *told = Some(why);
        }
    }
}

//! What a run's end means for the next: what is told, and whom a retry asks.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chrono::Utc;

use super::attempt::{Attempt, End, Ran};
use super::report::{self, LogKind, LogTopic};
use super::schedule::Why;
use super::{Daemon, jitter};
use crate::model::Time;
use crate::model::panicked::own_fault;
use crate::source::SourceError;
use crate::store::LockError;
use crate::sync::{RunError, SourceResult};

impl Daemon {
    /// The run under way has ended.
    pub(super) fn ended(&mut self, end: End) {
        let Some(Attempt { began, why, asked, .. }) = self.attempt.take() else { return };
        self.shared.heartbeat.fetch_add(1, Ordering::SeqCst);
        self.looked = None;
        let retry = match end {
            End::Ran(ran) => {
                self.told.clear(&LogTopic::Run);
                self.status.last = Some((began, None));
                self.ran(&ran, why, asked.is_none());
                ran.outcome.worth_retrying()
            }
            End::Failed(error) => {
                let locked = matches!(error, RunError::Locked(LockError::Held { .. }));
                self.failed(began, &error.to_string(), LogKind::Run(error.kind()), locked);
                self.ask_again(why, asked);
                true
            }
            End::Panicked(text) => {
                let told = own_fault(&text);
                self.failed(began, &told, LogKind::Panicked(text), false);
                self.ask_again(why, asked);
                true
            }
            End::Dropped => {
                tracing::info!("the run was dropped while the sources were read: nothing changed");
                false
            }
        };
        self.scheduler.end(Utc::now(), retry, &mut jitter);
        if let Some(followers) = &self.followers {
            followers.ran(&self.wanted);
        }
    }

    pub(super) fn ran(&mut self, ran: &Ran, why: Why, all: bool) {
        // A feed that asked for a read meanwhile has said that there is something to be found.
        let untold = ran.outcome.untold.iter().filter(|(source, _)| !self.wanted.contains(*source));
        for (source, rows) in untold {
            self.suspects.found(source, rows.clone(), Instant::now());
        }
        report::ran(&mut self.told, ran, why, all);
        if let Some(gateway) = &self.gateway {
            gateway.committed();
            gateway.metrics().ran(&ran.outcome, ran.summary.as_ref());
        }
        let mut again = Vec::new();
        for source in &ran.outcome.sources {
            match &source.result {
                SourceResult::NotAsked => continue,
                SourceResult::Complete(_) => {
                    self.status.failing.remove(&source.name);
                    continue;
                }
                SourceResult::Partial(_)
                | SourceResult::Failed(SourceError { transient: true, .. }) => {
                    again.push(source.name.clone());
                }
                SourceResult::Failed(SourceError { transient: false, .. }) => {}
            }
            self.status.failing.insert(source.name.clone());
        }
        // Who was not asked is as before: a retry for somebody else is due still.
        let before = self.again.take().filter(|_| why == Why::Feed);
        let asked = |name: &String| {
            ran.outcome.sources.iter().any(|source| {
                source.name == *name && !matches!(source.result, SourceResult::NotAsked)
            })
        };
        again.extend(before.into_iter().flatten().filter(|name| !asked(name)));
        self.again = Some(again);
    }

    /// A run came to nothing: whom it asked is asked again.
    pub(super) fn ask_again(&mut self, why: Why, asked: Option<Vec<String>>) {
        let before = self.again.take().filter(|_| why == Why::Feed);
        self.again = asked.map(|asked| {
            let all: BTreeSet<String> = before.into_iter().flatten().chain(asked).collect();
            all.into_iter().collect()
        });
    }

    fn failed(&mut self, began: Time, why: &str, kind: LogKind, passing: bool) {
        self.status.last = Some((began, Some(why.to_owned())));
        if let Some(gateway) = &self.gateway {
            gateway.metrics().run_failed();
        }
        if !self.told.news(LogTopic::Run, kind) {
            return;
        }
        if passing {
            tracing::warn!("the run came to nothing, it is tried again: {why}");
        } else {
            tracing::error!("the run came to nothing, it is tried again: {why}");
        }
    }
}

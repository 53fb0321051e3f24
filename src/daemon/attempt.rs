//! One run as a task of its own, so that the main loop goes on turning and a panic ends the run
//! and not the daemon.
//!
//! Until the sources have been read the task can be dropped at any moment: nothing is written
//! before, and the run's lock goes with it. Once it [settles](Attempt::settling) it is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use super::follow::Shared;
use super::schedule::Why;
use crate::config::Config;
use crate::model::Time;
use crate::model::panicked::words_of;
use crate::plan::{Summary, view};
use crate::source::OnProgress;
use crate::store::Store;
use crate::sync::{self, OnPhase, Options, Outcome, Phase, RunError};

/// What the lock says of its holder.
pub const WHAT: &str = "idpsyncd run";

/// Counts what runs get done, over all runs: what the watchdog is fed by.
pub type Heartbeat = Arc<AtomicU64>;

/// A run under way.
#[derive(Debug)]
pub struct Attempt {
    /// When it began.
    pub began: Time,
    /// Why it began.
    pub why: Why,
    /// Which sources it asks; absent: all.
    pub asked: Option<Vec<String>>,
    handle: JoinHandle<Result<Ran, RunError>>,
    phase: watch::Receiver<Phase>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// As the run tells it, without the plan: that holds the whole company.
    pub outcome: Outcome,
    /// How much changed; absent where there was nothing to plan.
    pub summary: Option<Summary>,
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// It came to something.
    Ran(Box<Ran>),
    /// It came to nothing, and nothing was changed.
    Failed(RunError),
    /// It was dropped while the sources were read: nothing was changed.
    Dropped,
    /// It panicked: nothing was changed, or everything.
    Panicked(String),
}

impl Attempt {
    /// Starts a run.
    #[must_use]
    pub fn start(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        asked: Option<Vec<String>>,
        why: Why,
        now: Time,
        shared: &Shared,
    ) -> Attempt {
        let heartbeat = &shared.heartbeat;
        heartbeat.fetch_add(1, Ordering::SeqCst);
        let progress: OnProgress = {
            let heartbeat = Arc::clone(heartbeat);
            Arc::new(move |_| {
                heartbeat.fetch_add(1, Ordering::SeqCst);
            })
        };
        let (entered, phase) = watch::channel(Phase::Reading);
        let on_phase: OnPhase = {
            let heartbeat = Arc::clone(heartbeat);
            Arc::new(move |phase| {
                entered.send_replace(phase);
                heartbeat.fetch_add(1, Ordering::SeqCst);
            })
        };
        let options = Options {
            dry_run: false,
            sources: asked.clone(),
            what: WHAT.to_owned(),
            feeds: shared.feeds.clone(),
            lock: shared.lock.clone(),
        };
        let handle = tokio::spawn(async move {
            let outcome =
                sync::run_in_phases(&config, &*store, &options, &progress, &on_phase, now);
            let outcome = outcome.await?;
            Ok(tokio::task::block_in_place(|| shorten(outcome)))
        });
        Attempt { began: now, why, asked, handle, phase }
    }

    /// How it ends. May be dropped and called again until it has returned.
    pub async fn end(&mut self) -> End {
        classify((&mut self.handle).await)
    }

    /// Drops it, if it is still reading. What is in its transaction goes on to its end.
    pub fn cancel(&self) {
        self.handle.abort();
    }

    /// Whether it may have begun to plan and to write. After [`Attempt::cancel`], `false` means
    /// that it never will.
    #[must_use]
    pub fn settling(&self) -> bool {
        !self.phase.borrow().may_be_dropped()
    }
}

fn classify(result: Result<Result<Ran, RunError>, JoinError>) -> End {
    match result {
        Ok(Ok(ran)) => End::Ran(Box::new(ran)),
        Ok(Err(error)) => End::Failed(error),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => End::Panicked(words_of(&*panic)),
            Err(_) => End::Dropped,
        },
    }
}

/// So many changes are told one by one.
const ONE_BY_ONE: usize = 20;

/// Logs the changes, and lets go of the plan, here and not in the main loop: it may be large. Few
/// changes are worth a line each; of many the summary is told, and each at level debug.
pub fn shorten(outcome: Outcome) -> Ran {
    if let Some(plan) = &outcome.plan {
        let few = plan.changes.len() <= ONE_BY_ONE;
        if few || tracing::enabled!(tracing::Level::DEBUG) {
            for change in &plan.changes {
                let generation = outcome.generation;
                match few {
                    true => tracing::info!(generation, "{}", view(change, plan)),
                    false => tracing::debug!(generation, "{}", view(change, plan)),
                }
            }
        }
    }
    without_plan(outcome)
}

/// Tells what the plan widens, and lets go of it.
fn without_plan(mut outcome: Outcome) -> Ran {
    let plan = outcome.plan.take();
    for widened in plan.iter().flat_map(|plan| &plan.widened) {
        for reached in &widened.reached {
            tracing::info!(
                generation = outcome.generation,
                identity = reached.row.identity.as_deref().unwrap_or("unknown"),
                pool = reached.row.pool,
                platform = reached.row.platform,
                via_action = reached.via_action(),
                people = widened.users.len(),
                "people reach a cloud identity that they did not reach before"
            );
        }
    }
    Ran { summary: plan.map(|plan| plan.summary), outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_end_of_the_run_with_its_message() {
        let handle = tokio::spawn(async { panic!("number {}", 7) });
        assert!(matches!(classify(handle.await), End::Panicked(text) if text == "number 7"));
    }

    #[tokio::test]
    async fn a_run_that_is_cancelled_is_dropped() {
        let handle = tokio::spawn(std::future::pending());
        handle.abort();
        assert!(matches!(classify(handle.await), End::Dropped));
    }

    #[tokio::test]
    async fn a_run_that_fails_says_why() {
        let handle = tokio::spawn(async { Err(RunError::NoStore { store: "a".to_owned() }) });
        assert!(matches!(classify(handle.await), End::Failed(RunError::NoStore { .. })));
    }
}

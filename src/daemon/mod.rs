//! `idpsyncd run`: schedule, signals, systemd; [`serve`] is the gateway's side alone.
//!
//! ```text
//!  SIGHUP ─► load the file ─► good: in force, run now │ broken: the old one stays
//!  SIGTERM, SIGINT ─► drop what is being read, finish what is being written, end
//!                         ┌───────────────────────────────┐
//!  scheduler ── it is time ─►│ one run, a task of its own    │── end ─► log, status line, scheduler
//!  (tick, due, retry)     │ (sync::run)               │
//!                         └───────────────────────────────┘
//! ```
//!
//! One loop owns everything and sleeps until something happens; at most one run is under way.
//! Of several daemons on one store one alone does all this, the [leader](leading); the others serve their
//! gateways and wait for their turn.
//!
//! What a run does is decided by [`crate::sync`], when there is one by [`schedule`], whether
//! systemd hears of life by [`watchdog`]. Nothing here can take anything from anybody.
//!
//! The daemon is ready (`READY=1`) once the store has been loaded, whatever the sources say: what
//! is in it is what gateways live on. A store that cannot be used is an error at start; later, and
//! while another process works on it, it is tried again.

mod attempt;
mod drift;
mod ended;
mod follow;
mod kept_feeds;
mod leading;
mod notify;
mod open_store;
mod reload;
mod report;
mod schedule;
pub mod serve;
mod sessions;
mod signals;
mod status;
mod store_status;
#[cfg(test)]
mod tests;
mod watchdog;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::gateway::{Gateway, GatewayError, ProcessKind};
use crate::model::{FollowMode, Time};
use crate::store::{Lead, StoreError, StoreErrorKind, StoreLeader};
use crate::sync::AdminError;
use chrono::Utc;

use attempt::{Attempt, End};
use drift::Suspects;
use follow::{Event, Followers, Shared};
use kept_feeds::KeptFeeds;
use leading::{Election, WhoLeads, elected};
use schedule::{Scheduler, Why};
use sessions::SessionFollowers;
use status::{DaemonStatus, Running};

use notify::{Notify, watchdog_limit};
use open_store::OpenStore;
pub use open_store::{open_store, store_password};
use report::{LogDedup, LogKind, LogTopic, log_diagnostics};
use signals::{Signals, Wish};
use watchdog::Watchdog;

/// How often the store is looked at between runs: this late, at most, is a grant's expiry seen
/// that was made after the last run and ends before the next one.
const LOOK: Duration = Duration::from_secs(2);

/// How long a dropped run may take to let go of the store's lock before the daemon ends without
/// waiting for it.
const LET_GO: Duration = Duration::from_secs(1);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The gateway's side did not start.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// `[default_admin]` has no secret that will do.
    #[error(transparent)]
    DefaultAdmin(#[from] AdminError),
    /// The gateway's side alone is asked for, and there is none.
    #[error("`{}` has no `[gateway]`: there is nothing to serve", .0.display())]
    NothingToServe(PathBuf),
}

/// Runs until SIGTERM or SIGINT. `config` is what `config_file` holds now; SIGHUP reads it again.
/// Needs a runtime of several threads. A source's read that does not give way may still be on one
/// of them when this returns: end the runtime without waiting for it.
///
/// # Errors
/// The store cannot be used, signals cannot be received, or the gateway's side cannot listen.
pub async fn run(config_file: &Path, config: Config) -> Result<(), DaemonError> {
    // First of all, so that a signal that comes early does not end the process.
    let mut signals = Signals::new().map_err(DaemonError::Signals)?;
    let mut daemon = Daemon::new(config_file, config);
    crate::sync::check_default_admin(&daemon.config)?;
    // Before any identity provider is asked: what is in the store is answered from at once.
    daemon.gateway =
        Gateway::start(&daemon.config, daemon.store.store(), ProcessKind::Daemon).await?;
    daemon.open()?;
    daemon.elect();
    loop {
        daemon.turn();
        let wake = daemon.wake();
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Reload => daemon.reload().await,
                Wish::Stop => break,
            },
            end = under_way(&mut daemon.attempt) => daemon.ended(end),
            event = followed(&mut daemon.followers) => daemon.followed(event),
            word = elected(&mut daemon.election) => daemon.elected(word),
            () = tokio::time::sleep(wake) => {}
        }
    }
    daemon.stop().await;
    Ok(())
}

/// The end of the run under way; never, where there is none.
async fn under_way(attempt: &mut Option<Attempt>) -> End {
    match attempt {
        Some(attempt) => attempt.end().await,
        None => std::future::pending().await,
    }
}

/// What becomes of following a source next; never, where none is followed.
async fn followed(followers: &mut Option<Followers>) -> Event {
    match followers {
        Some(followers) => followers.next().await,
        None => std::future::pending().await,
    }
}

fn jitter(limit: Duration) -> Duration {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(0..=limit))
}

struct Daemon {
    file: PathBuf,
    config: Arc<Config>,
    store: OpenStore,
    scheduler: Scheduler,
    attempt: Option<Attempt>,
    /// Which sources a retry asks; absent: all.
    again: Option<Vec<String>>,
    /// Which sources feeds wait for.
    wanted: BTreeSet<String>,
    /// What runs and those who follow sources share.
    shared: Shared,
    /// Trying to lead the daemons on this store.
    election: Option<Election>,
    /// The lead, while this one has it.
    lead: Option<Arc<dyn Lead>>,
    followers: Option<Followers>,
    /// Who follows which sessions end.
    sessions: Option<SessionFollowers>,
    /// What full reads found that feeds had not told.
    suspects: Suspects,
    /// How sources are followed, for the store.
    feeds: KeptFeeds,
    watchdog: Watchdog,
    notify: Notify,
    status: DaemonStatus,
    told: LogDedup,
    /// The store has been loaded once.
    ready: bool,
    /// When the store was looked at last.
    looked: Option<Instant>,
    /// The store's version of which it is known whether this configuration would have made it, while another
    /// daemon leads.
    compared: Option<i64>,
    /// What answers gateways, where it is configured.
    gateway: Option<Gateway>,
}

impl Daemon {
    fn new(file: &Path, config: Config) -> Self {
        Daemon {
            file: file.to_owned(),
            scheduler: Scheduler::new(&config.schedule, Utc::now()),
            store: OpenStore::of(&config),
            wanted: BTreeSet::new(),
            shared: Shared::default(),
            election: None,
            lead: None,
            followers: None,
            sessions: None,
            suspects: Suspects::default(),
            feeds: KeptFeeds::default(),
            config: Arc::new(config),
            attempt: None,
            again: None,
            watchdog: Watchdog::new(watchdog_limit()),
            notify: Notify::default(),
            status: DaemonStatus::default(),
            told: LogDedup::default(),
            ready: false,
            looked: None,
            compared: None,
            gateway: None,
        }
    }

    /// Makes sure of the store before anything else.
    fn open(&mut self) -> Result<(), DaemonError> {
        self.announce();
        let busy = tokio::task::block_in_place(|| {
            let store = &**self.store.store();
            match store.leader()? {
                // It has made sure of it, and need not wait for this one to do so too.
                StoreLeader::Seen(leader) => Ok(Some(format!("another daemon leads: {leader}"))),
                StoreLeader::Nobody | StoreLeader::Unseen => {
                    store_status::prepare(store, Utc::now())
                }
            }
        })?;
        let Some(busy) = busy else { return Ok(self.look()?) };
        // The first run says it too, and tries again.
        tracing::debug!("{busy}");
        match self.look() {
            // Whoever works on it may be making or migrating it.
            Err(error) if !matches!(error.kind, StoreErrorKind::Busy | StoreErrorKind::Older) => {
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// Looks at the store, loads it whole the first time.
    fn look(&mut self) -> Result<(), StoreError> {
        self.looked = Some(Instant::now());
        let store = &**self.store.store();
        let first = !self.ready;
        let seen = tokio::task::block_in_place(|| {
            if first { store_status::load(store) } else { store_status::store_status(store) }
        })?;
        let Some(seen) = seen else { return Ok(()) };
        self.scheduler.set_due(seen.next_due);
        self.status.generation = Some(seen.generation);
        report::held(&mut self.told, seen.held.as_ref());
        if let Some(gateway) = &self.gateway {
            gateway.metrics().held(seen.held.as_ref().map_or(0, |held| held.changes));
        }
        self.status.held = seen.held.map(|held| held.id);
        if matches!(self.status.leads, WhoLeads::Another(_)) && self.compared != Some(seen.version)
        {
            self.compared = self.compare().map(|_| seen.version);
        }
        if first {
            self.ready = true;
            tracing::info!(generation = seen.generation, "the store is loaded");
            self.notify.ready();
        }
        Ok(())
    }

    /// One turn of the loop: what time says is to be done.
    fn turn(&mut self) {
        self.scheduler.see(Utc::now(), &mut jitter);
        if self.attempt.is_none() && self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            match self.look() {
                Ok(()) => {
                    self.told.clear(&LogTopic::Store);
                }
                Err(error) if self.told.news(LogTopic::Store, LogKind::Store(error.kind)) => {
                    tracing::warn!("{error}");
                }
                Err(_) => {}
            }
        }
        let now = Utc::now();
        let due = self.scheduler.next().is_some_and(|(at, _)| at <= now);
        if self.leads() && self.attempt.is_none() && due {
            self.begin(now);
        }
        let count = self.shared.heartbeat.load(Ordering::SeqCst);
        if self.watchdog.feed(Instant::now(), self.attempt.is_some(), count) {
            self.notify.watchdog();
        }
        self.drift();
        self.tell();
    }

    /// Tells what has turned out to be drift.
    fn drift(&mut self) {
        for drift in self.suspects.settled(Instant::now()) {
            report::drift(&drift);
            if let Some(gateway) = &self.gateway {
                gateway.metrics().drifted(&drift.source, drift.changes);
            }
            self.feeds.drifted(&drift.source, drift.changes, Utc::now());
        }
        // Before that there may be no store, which nobody but a run makes.
        if self.ready {
            self.feeds.keep(self.store.store());
        }
    }

    /// How long to sleep if nothing happens.
    fn wake(&self) -> Duration {
        let mut wake = self.watchdog.look_every().unwrap_or(LOOK).min(LOOK);
        if self.leads()
            && self.attempt.is_none()
            && let Some((at, _)) = self.scheduler.next()
        {
            // Short sleeps also find out soon that the clock was set or the machine slept.
            wake = wake.min((at - Utc::now()).to_std().unwrap_or_default());
        }
        // A timer has milliseconds, the scheduler has finer moments: no turns in between.
        wake.max(Duration::from_millis(1))
    }

    fn begin(&mut self, now: Time) {
        let why = self.scheduler.begin(now);
        let asked = self.asked(why);
        tracing::debug!(why = why.as_str(), ?asked, "a run starts");
        let (config, store) = (Arc::clone(&self.config), Arc::clone(self.store.store()));
        self.attempt = Some(Attempt::start(config, store, asked, why, now, &self.shared));
    }

    /// Which sources a run asks; `None`: all.
    fn asked(&mut self, why: Why) -> Option<Vec<String>> {
        // Who could be read is left in peace by a retry, and who refuses is not asked in a hurry:
        // a wrong password tried again and again locks the account.
        match why {
            Why::Feed => Some(std::mem::take(&mut self.wanted).into_iter().collect()),
            Why::Retry => self.again.take(),
            Why::Start | Why::Reload | Why::Tick | Why::Due => {
                self.again = None;
                self.wanted.clear();
                None
            }
        }
    }

    /// Follows the sources of the configuration that is in force, and no others any more.
    fn follow(&mut self) {
        // Those of before end first.
        self.followers = None;
        if let Some(gateway) = &self.gateway {
            gateway.metrics().follows_nobody();
        }
        let ledger = self.gateway.as_ref().and_then(Gateway::ledger);
        self.sessions = Some(SessionFollowers::start(&self.config, ledger));
        self.told.feeds_anew();
        self.feeds.anew();
        match Followers::start(&self.config, self.store.store(), &self.shared) {
            Ok(followers) => self.followers = Some(followers),
            Err(error) => {
                tracing::error!(%error, "no source is followed: there are no threads for it");
            }
        }
    }

    /// Something became of following a source.
    fn followed(&mut self, event: Event) {
        match event {
            Event::Ingested { source, deltas, ran } => {
                self.suspects.told(&source, &deltas, Instant::now());
                report::ingested(&mut self.told, &source, &ran);
                if let Some(gateway) = &self.gateway {
                    gateway.committed();
                    gateway.metrics().ingested(&ran.outcome, ran.summary.as_ref());
                }
                self.looked = None;
            }
            Event::Wants { source, why } => {
                tracing::info!(source, "source `{source}` is read in full: {why}");
                self.suspects.forget(&source);
                self.wanted.insert(source);
                self.scheduler.want();
            }
            Event::State { source, state, quiet } => {
                if state.how == FollowMode::Full {
                    self.suspects.forget(&source);
                }
                self.suspects.is_held_up(&source, state.why.is_some(), Instant::now());
                if self.told.follows(&source, &state) && !quiet {
                    report::follows(&source, &state);
                }
                self.feeds.follows(&source, state.clone());
                if let Some(gateway) = &self.gateway {
                    gateway.metrics().follows(&source, state);
                }
            }
            Event::Failed { source, why, kind } => {
                report::feed_failed(&mut self.told, &source, &why, kind);
            }
        }
    }

    /// Logs what is worth telling about the configuration that is now in force.
    fn announce(&self) {
        log_diagnostics(&self.config.diagnostics);
    }

    /// Brings the status line up to date.
    fn tell(&mut self) {
        self.status.next = self.scheduler.next();
        self.status.running = self.attempt.as_ref().map(|attempt| {
            let phase = if attempt.settling() { Running::Writing } else { Running::Reading };
            phase(attempt.began)
        });
        self.notify.status(self.status.line());
    }

    /// SIGTERM: ends after the running transaction. Further signals change nothing.
    async fn stop(&mut self) {
        self.notify.stopping();
        self.followers = None;
        self.sessions = None;
        if let Some(gateway) = self.gateway.take() {
            // Another one need not wait until the last request is answered.
            let (stopped, ()) = tokio::join!(gateway.stop(), self.stop_leading());
            return stopped;
        }
        self.stop_leading().await;
    }

    /// Ends what only whoever leads does, and lets another one lead.
    async fn stop_leading(&mut self) {
        self.stop_run().await;
        self.resign();
    }

    /// Lets the run under way finish what it writes, and drops what it reads.
    async fn stop_run(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.cancel();
        if attempt.settling() {
            tracing::info!("stopping after the running transaction");
            let end = attempt.end().await;
            self.ended(end);
            return;
        }
        // It will not write any more. Given a moment, it lets go of the lock in good order; if it
        // hangs, the kernel does that when the process ends.
        if let Ok(end) = tokio::time::timeout(LET_GO, attempt.end()).await {
            self.ended(end);
        } else {
            tracing::info!("a source does not give way: its read is left, nothing is written");
        }
    }
}

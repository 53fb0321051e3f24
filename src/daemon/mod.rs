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
//! What a run does is decided by [`crate::sync`], when there is one by [`schedule`], whether
//! systemd hears of life by [`watchdog`]. Nothing here can take anything from anybody.
//!
//! The daemon is ready (`READY=1`) once the store has been loaded, whatever the sources say: what
//! is in it is what gateways live on. A store that cannot be used is an error at start; later, and
//! while another process works on it, it is tried again.

mod attempt;
mod drift;
mod follow;
mod kept_feeds;
mod notify;
mod open_store;
mod report;
mod schedule;
pub mod serve;
mod signals;
mod status;
mod store_status;
mod watchdog;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::{self, Config};
use crate::gateway::{Gateway, GatewayError, ProcessKind};
use crate::model::{FollowMode, Time};
use crate::source::{SourceError, kinds};
use crate::store::{LockError, Store, StoreError, StoreErrorKind};
use crate::sync::{AdminError, RunError, SourceResult};
use chrono::Utc;

use attempt::{Attempt, End, Ran};
use drift::Suspects;
use follow::{Event, Followers, Shared};
use kept_feeds::KeptFeeds;
use schedule::{Scheduler, Why};
use status::{DaemonStatus, Running, one_line};

use notify::{Notify, watchdog_limit};
use open_store::OpenStore;
use report::{Faulty, LogDedup, LogKind, LogTopic, log_diagnostics, log_faults};
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

/// Why a configuration was not put in force: the one before it stays.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The file is not there, or has faults.
    #[error(transparent)]
    Config(#[from] Faulty),
    /// `[default_admin]` has no secret that will do.
    #[error(transparent)]
    DefaultAdmin(#[from] AdminError),
    /// Its store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its gateway's side did not start.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
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
    daemon.follow();
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
    followers: Option<Followers>,
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
            followers: None,
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
            gateway: None,
        }
    }

    /// Makes sure of the store before anything else.
    fn open(&mut self) -> Result<(), DaemonError> {
        self.announce();
        let busy = tokio::task::block_in_place(|| {
            store_status::prepare(&**self.store.store(), Utc::now())
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
        if self.attempt.is_none() && self.scheduler.next().is_some_and(|(at, _)| at <= now) {
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
        if self.attempt.is_none()
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
                self.wanted.insert(source);
                self.scheduler.want();
            }
            Event::State { source, state, quiet } => {
                if state.how == FollowMode::Full {
                    self.suspects.forget(&source);
                }
                if self.told.follows(&source, &state) && !quiet {
                    report::follows(&source, &state);
                }
                self.feeds.follows(&source, state.clone());
                if let Some(gateway) = &self.gateway {
                    gateway.metrics().follows(&source, state);
                }
            }
            Event::Failed { source, why, kind } => {
                if self.told.news(LogTopic::Feed(source.clone()), kind) {
                    tracing::error!(source, "what the feed told could not be committed: {why}");
                }
            }
        }
    }

    /// The run under way has ended.
    fn ended(&mut self, end: End) {
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
                let told = format!("a fault in idpsyncd itself: {text}");
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
            followers.ran();
        }
    }

    fn ran(&mut self, ran: &Ran, why: Why, all: bool) {
        for (source, rows) in &ran.outcome.untold {
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
    fn ask_again(&mut self, why: Why, asked: Option<Vec<String>>) {
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

    /// SIGHUP.
    async fn reload(&mut self) {
        // Before the daemon is ready systemd does not expect to hear of a reload.
        if self.ready {
            self.notify.reloading();
        }
        let loaded = match tokio::task::block_in_place(|| self.load()) {
            Ok((config, store)) => {
                let done = self.reload_gateway(&config, store.store()).await;
                done.map(|()| (config, store)).map_err(ReloadError::from)
            }
            Err(why) => Err(why),
        };
        match loaded {
            Ok((config, store)) => {
                tracing::info!(file = %self.file.display(), "the configuration is in force");
                self.status.broken = None;
                self.scheduler.reload(&config.schedule);
                let names: BTreeSet<&str> =
                    config.sources.iter().map(|source| source.name.as_str()).collect();
                self.status.failing.retain(|name| names.contains(name.as_str()));
                if !self.store.names(&config) {
                    self.shared = self.shared.of_another_store();
                }
                self.config = Arc::new(config);
                self.store = store;
                self.announce();
                self.again = None;
                self.wanted.clear();
                self.follow();
                // A run under the old configuration is dropped while it reads; one that writes
                // already goes on to its end, and the new one's run follows.
                if let Some(attempt) = &self.attempt {
                    attempt.cancel();
                }
            }
            Err(why) => {
                tracing::error!("the configuration was not loaded, the old one stays: {why}");
                self.status.broken = Some(one_line(&why.to_string()));
            }
        }
        self.tell();
        if self.ready {
            self.notify.ready();
        }
    }

    /// Puts the gateway's part of `config` in force; where that fails nothing changes.
    async fn reload_gateway(
        &mut self,
        config: &Config,
        store: &Arc<dyn Store>,
    ) -> Result<(), GatewayError> {
        match &mut self.gateway {
            Some(gateway) if config.gateway.is_some() => gateway.reload(config, store).await,
            Some(_) => {
                if let Some(gateway) = self.gateway.take() {
                    gateway.stop().await;
                }
                Ok(())
            }
            None => {
                self.gateway = Gateway::start(config, store, ProcessKind::Daemon).await?;
                Ok(())
            }
        }
    }

    /// Loads the file and makes sure that its store can be used; logs each fault.
    fn load(&self) -> Result<(Config, OpenStore), ReloadError> {
        let config = config::load(&self.file, &kinds()).map_err(log_faults)?;
        crate::sync::check_default_admin(&config)?;
        let store = self.store.again(&config);
        if !self.store.names(&config) {
            store_status::prepare(&**store.store(), Utc::now())?;
        }
        Ok((config, store))
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
        if let Some(gateway) = self.gateway.take() {
            let (stopped, ()) = tokio::join!(gateway.stop(), self.stop_run());
            return stopped;
        }
        self.stop_run().await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Outcome, SourceOutcome};

    fn daemon() -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("idpsyncd.toml");
        let sources = ["a", "b", "c", "d"].map(|name| {
            format!(
                "[[source]]\nname = \"{name}\"\nkind = \"file\"\nrealm_export = \"{name}.json\"\n"
            )
        });
        let text = format!("[store]\npath = \"store.db\"\n[roles.r]\n{}", sources.concat());
        std::fs::write(&file, text).unwrap();
        Daemon::new(&file, config::load(&file, &kinds()).unwrap())
    }

    fn ran(sources: Vec<(&str, SourceResult)>) -> Ran {
        let sources = sources.into_iter().map(|(name, result)| SourceOutcome {
            name: name.to_owned(),
            kind: "file",
            result,
            mirror_at: None,
        });
        let outcome = Outcome {
            plan: None,
            held: None,
            sources: sources.collect(),
            untold: Default::default(),
            diagnostics: Vec::new(),
            before: 1,
            generation: 1,
            at: Utc::now(),
            next_due: None,
        };
        Ran { outcome, summary: None }
    }

    fn failed(transient: bool) -> SourceResult {
        SourceResult::Failed(if transient {
            SourceError::transient("no")
        } else {
            SourceError::fatal("no")
        })
    }

    fn failing(daemon: &Daemon) -> Vec<&str> {
        daemon.status.failing.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_retry_asks_only_sources_whose_fault_may_pass() {
        let mut daemon = daemon();
        let run = ran(vec![
            ("a", SourceResult::Complete(Vec::new())),
            ("b", failed(true)),
            ("c", failed(false)),
            ("d", SourceResult::Partial(Vec::new())),
        ]);
        daemon.ran(&run, Why::Tick, true);
        assert_eq!(failing(&daemon), ["b", "c", "d"]);
        assert_eq!(daemon.asked(Why::Retry).unwrap(), ["b", "d"]);

        // The retry brings one of them back; who was not asked stands as before.
        let run = ran(vec![
            ("a", SourceResult::NotAsked),
            ("b", SourceResult::Complete(Vec::new())),
            ("c", SourceResult::NotAsked),
            ("d", failed(true)),
        ]);
        daemon.ran(&run, Why::Retry, false);
        assert_eq!(failing(&daemon), ["c", "d"]);
        assert_eq!(daemon.asked(Why::Retry).unwrap(), ["d"]);
    }

    #[test]
    fn a_run_for_a_feed_asks_the_sources_that_are_waited_for_and_no_others() {
        let mut daemon = daemon();
        let wants = |daemon: &mut Daemon, source: &str| {
            daemon.followed(Event::Wants {
                source: source.to_owned(),
                why: crate::source::feed::WhyFull::NoCursor,
            });
        };
        wants(&mut daemon, "c");
        wants(&mut daemon, "a");
        assert_eq!(daemon.asked(Why::Feed).unwrap(), ["a", "c"]);
        // One that asks everybody is what they wait for.
        wants(&mut daemon, "b");
        assert_eq!(daemon.asked(Why::Tick), None);
        assert!(daemon.wanted.is_empty());
    }

    #[test]
    fn a_run_for_a_feed_leaves_those_to_a_retry_whom_it_did_not_ask() {
        let mut daemon = daemon();
        daemon.ran(&ran(vec![("a", failed(true)), ("b", failed(true))]), Why::Tick, true);
        let run = ran(vec![
            ("a", SourceResult::NotAsked),
            ("b", SourceResult::Complete(Vec::new())),
            ("c", failed(true)),
        ]);
        daemon.ran(&run, Why::Feed, false);
        daemon.ask_again(Why::Feed, Some(vec!["d".to_owned()]));
        assert_eq!(daemon.asked(Why::Retry).unwrap(), ["a", "c", "d"]);
    }

    #[test]
    fn every_other_run_asks_all_sources() {
        for why in [Why::Start, Why::Reload, Why::Tick, Why::Due] {
            let mut daemon = daemon();
            daemon.ran(&ran(vec![("b", failed(true))]), Why::Tick, true);
            assert_eq!(daemon.asked(why), None, "{why:?}");
        }
    }
}

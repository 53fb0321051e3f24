//! Following sources between full reads: a task each, which commits what its feed tells.
//!
//! ```text
//! the mirror's cursor ─► follow ─► deltas, gathered for a moment ─► sync::ingest ─► a generation
//!          ▲               │ cannot go on from there
//!          └─ a full read ◄┘
//! ```
//!
//! Nothing here can take anything from anybody that a feed did not say outright, and a feed that does
//! not know ends in a full read. The schedule's full reads go on whatever feeds do.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use chrono::Utc;
use futures_util::FutureExt as _;
use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::{Heartbeat, Ran, WHAT, shorten};
use super::report::LogKind;
use crate::config::{Config, SourceConfig, WatchMode};
use crate::directory::{Delta, Patch, Refusal};
use crate::model::FollowMode;
use crate::model::panicked::{own_fault, words_of};
use crate::source::feed::{
    FeedEvent, FollowState, Following, Mark, MirrorView, NotFollowed, Start, WhyFull,
};
use crate::source::{SourceError, open_source};
use crate::store::{Lead, LockError, Store};
use crate::sync::{self, FeedLog, IngestError, SharedLock, StoredView};

/// What the threads are called that follow sources.
const THREAD: &str = "feeds";

/// How much whoever asks the gateway goes before what follows sources, where both want the processor: a
/// nice value, as of `setpriority(2)`. Not the most there is: a denial must not wait for ever for those who
/// ask.
const NICE: i32 = 10;

/// What is told within this time of what was told before is committed with it.
const GAP: Duration = Duration::from_millis(20);

/// So long, at most, does a change wait for more to come.
const GATHER: Duration = Duration::from_millis(200);

/// How long another process's lock is waited for before it is tried again.
const LOCKED: Duration = Duration::from_millis(200);

/// The longest wait between tries to follow a source that does not answer.
const LONGEST: Duration = Duration::from_secs(5);

/// The longest wait before a full read is asked for again that led to another one.
const LONGEST_READ: Duration = Duration::from_secs(300);

/// The same where a file that changed could not be read: it may be mended at any time.
const LONGEST_FILE: Duration = Duration::from_secs(30);

/// Whoever has been followed for so long starts anew with waits for full reads.
const STEADY: Duration = Duration::from_secs(60);

/// What becomes of following a source.
#[derive(Debug)]
pub enum Event {
    /// What was told is committed.
    Ingested {
        /// The source.
        source: String,
        /// What was told.
        deltas: Vec<Delta>,
        /// As a run tells it.
        ran: Box<Ran>,
    },
    /// It must be read in full.
    Wants {
        /// The source.
        source: String,
        /// Why.
        why: WhyFull,
    },
    /// How it is followed now.
    State {
        /// The source.
        source: String,
        /// How.
        state: FollowState,
        /// Nobody need be told: it never was otherwise, or is so on purpose.
        quiet: bool,
    },
    /// What was told could not be committed, or the feed panicked: it is tried again.
    Failed {
        /// The source.
        source: String,
        /// Why.
        why: String,
        /// The same for programs.
        kind: LogKind,
    },
}

/// What following shares with runs.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// What feeds tell while sources are read.
    pub feeds: FeedLog,
    /// The store's lock within this process.
    pub lock: SharedLock,
    /// What all runs together got done.
    pub heartbeat: Heartbeat,
}

impl Shared {
    /// What is shared for as long as `lead` lasts.
    #[must_use]
    pub fn of_lead(&self, lead: &Arc<dyn Lead>) -> Self {
        Shared {
            feeds: FeedLog::default(),
            lock: SharedLock::of(Arc::clone(lead)),
            heartbeat: Arc::clone(&self.heartbeat),
        }
    }
}

/// The runs that have ended.
#[derive(Debug, Default)]
struct Runs {
    count: u64,
    /// Sources whose reads feeds wait for still.
    wanted: BTreeSet<String>,
}

/// Every source that is followed.
#[derive(Debug)]
pub struct Followers {
    events: mpsc::UnboundedReceiver<Event>,
    runs: watch::Sender<Runs>,
    /// Dropping it ends them.
    _tasks: JoinSet<()>,
    _threads: Threads,
}

/// Threads for following alone. A long list keeps one busy from beginning to end, and on the gateway's
/// whoever asks meanwhile would wait for it.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> std::io::Result<(Self, Handle)> {
        let mut threads = Builder::new_multi_thread();
        let threads = threads.worker_threads(1).thread_name(THREAD).on_thread_start(give_way);
        let runtime = threads.enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok((Threads(Some(runtime)), handle))
    }
}

/// Has the calling thread give way to others of this process.
fn give_way() {
    // Threads have priorities of their own on Linux.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread that follows sources keeps the priority of the gateway's");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // What is being committed is not waited for, as where the whole daemon ends.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Followers {
    /// Follows the sources of `config` that are to be.
    ///
    /// # Errors
    /// The system has no threads for it.
    pub fn start(
        config: &Arc<Config>,
        store: &Arc<dyn Store>,
        shared: &Shared,
    ) -> std::io::Result<Self> {
        let (threads, handle) = Threads::start()?;
        let (sender, events) = mpsc::unbounded_channel();
        let (runs, _) = watch::channel(Runs::default());
        let turn = Arc::new(Mutex::new(()));
        let mut tasks = JoinSet::new();
        for (place, source) in config.sources.iter().enumerate() {
            if source.kind.is_local() {
                continue;
            }
            let follower = Follower {
                config: Arc::clone(config),
                place,
                name: source.name.clone(),
                view: Arc::new(StoredView::new(Arc::clone(store), &source.name)),
                store: Arc::clone(store),
                shared: shared.clone(),
                events: sender.clone(),
                turn: Arc::clone(&turn),
            };
            tasks.spawn_on(follower.run(runs.subscribe()), &handle);
        }
        Ok(Followers { events, runs, _tasks: tasks, _threads: threads })
    }

    /// What becomes of one of them next. May be dropped and called again.
    pub async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // All have come to their end: they will not be followed any more.
            None => std::future::pending().await,
        }
    }

    /// A run has ended: mirrors may have other cursors. `wanted`: which sources feeds want read still.
    pub fn ran(&self, wanted: &BTreeSet<String>) {
        self.runs.send_modify(|runs| {
            runs.count = runs.count.wrapping_add(1);
            runs.wanted.clone_from(wanted);
        });
    }
}

/// Why a source is not followed just now.
enum Stopped {
    /// It cannot be; perhaps after the next run.
    Not(NotFollowed),
    /// It must be read in full first.
    Read(WhyFull),
    /// Soon: why not now.
    Again(String),
    /// At once: its mirror is elsewhere.
    Anew,
}

struct Follower {
    config: Arc<Config>,
    /// Which of its sources.
    place: usize,
    name: String,
    view: Arc<StoredView>,
    store: Arc<dyn Store>,
    shared: Shared,
    events: mpsc::UnboundedSender<Event>,
    /// One commits at a time.
    turn: Arc<Mutex<()>>,
}

fn waits(first: Duration, longest: Duration) -> ExponentialBackoff {
    let waits = ExponentialBuilder::new().with_factor(2.0).with_min_delay(first);
    waits.with_max_delay(longest).with_jitter().without_max_times().build()
}

impl Follower {
    async fn run(self, mut runs: watch::Receiver<Runs>) {
        let tries = || waits(Duration::from_millis(250), LONGEST);
        let reads = || waits(Duration::from_secs(1), LONGEST_READ);
        let (mut wait, mut wait_read) = (tries(), reads());
        // The first read that is asked for is not waited for. After another one that did not let it be
        // followed the schedule's reads will see to it.
        let (mut asked_before, mut followed_since) = (false, false);
        // Which state of a file was asked for last.
        let mut asked_for = None;
        loop {
            runs.borrow_and_update();
            let began = Instant::now();
            let mut followed = false;
            let stopped = self.until_it_stops(&mut followed).await;
            followed_since |= followed;
            if followed && began.elapsed() >= STEADY {
                (wait, wait_read, asked_before) = (tries(), reads(), false);
            }
            match stopped {
                Stopped::Not(why) => {
                    let quiet = matches!(
                        why,
                        NotFollowed::Off | NotFollowed::NotRead | NotFollowed::Unknown
                    );
                    self.state(why.to_string(), quiet);
                    if runs.changed().await.is_err() {
                        return;
                    }
                }
                // Reading it is how it is followed. What cannot be read is asked for again as all else is.
                Stopped::Read(WhyFull::Changed(what)) if asked_for.as_ref() != Some(&what) => {
                    asked_for = Some(what.clone());
                    let why = WhyFull::Changed(what);
                    let before = runs.borrow_and_update().count;
                    self.tell(Event::Wants { source: self.name.clone(), why });
                    // Another run may end before that one begins, and has left it to that.
                    let is_read = |it: &Runs| it.count != before && !it.wanted.contains(&self.name);
                    if runs.wait_for(is_read).await.is_err() {
                        return;
                    }
                }
                Stopped::Read(why) if asked_before && !followed_since => {
                    let why = match why {
                        WhyFull::NoCursor => self.why_no_cursor().await,
                        why => why.to_string(),
                    };
                    self.state(why, false);
                    if runs.changed().await.is_err() {
                        return;
                    }
                }
                Stopped::Read(why) => {
                    self.state(why.to_string(), why == WhyFull::NoCursor);
                    if asked_before {
                        let longest = match why {
                            WhyFull::Changed(_) => LONGEST_FILE,
                            _ => LONGEST_READ,
                        };
                        let pause = wait_read.next().unwrap_or(longest).min(longest);
                        // A run of the schedule may come first.
                        let _ = tokio::time::timeout(pause, runs.changed()).await;
                    }
                    (asked_before, followed_since) = (true, false);
                    self.tell(Event::Wants { source: self.name.clone(), why });
                    if runs.changed().await.is_err() {
                        return;
                    }
                }
                Stopped::Again(why) => {
                    self.state(why, false);
                    tokio::time::sleep(wait.next().unwrap_or(LONGEST)).await;
                }
                Stopped::Anew => {}
            }
        }
    }

    fn source(&self) -> Option<&SourceConfig> {
        self.config.sources.get(self.place)
    }

    /// Why the read before left no cursor to go on from.
    async fn why_no_cursor(&self) -> String {
        let none = || WhyFull::NoCursor.to_string();
        let Some(source) = self.source() else { return none() };
        let settings = self.config.settings();
        let rules = settings.rules(source.terms());
        let opened = match open_source(source) {
            Ok(opened) => opened,
            Err(error) => return error.to_string(),
        };
        let Some(feed) = opened.as_feed() else { return none() };
        match feed.mark(&rules).await {
            Ok(Mark::Not(why)) => why.to_string(),
            Ok(Mark::At(_)) => WhyFull::Incomplete.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn tell(&self, event: Event) {
        // Whoever does not listen any more has ended.
        let _ = self.events.send(event);
    }

    /// It is not followed now.
    fn state(&self, why: String, quiet: bool) {
        let how = FollowMode::Full;
        let state = FollowState { why: Some(why), ..FollowState::new(how, Utc::now()) };
        self.tell(Event::State { source: self.name.clone(), state, quiet });
    }

    /// [`Follower::follow`]; a panic is why it stopped, and told. What it was about to write it has written
    /// as a whole or not at all: it goes on from the cursor that is in the store.
    async fn until_it_stops(&self, followed: &mut bool) -> Stopped {
        match AssertUnwindSafe(self.follow(followed)).catch_unwind().await {
            Ok(stopped) => stopped,
            Err(panic) => {
                let text = words_of(&*panic);
                let why = own_fault(&text);
                let kind = LogKind::Panicked(text);
                self.tell(Event::Failed { source: self.name.clone(), why: why.clone(), kind });
                Stopped::Again(why)
            }
        }
    }

    /// Follows the source from its mirror's cursor for as long as it goes.
    ///
    /// `followed`: whether it went on from there.
    async fn follow(&self, followed: &mut bool) -> Stopped {
        let Some(source) = self.source() else { return Stopped::Not(NotFollowed::Unknown) };
        if source.watch == WatchMode::Off {
            return Stopped::Not(NotFollowed::Off);
        }
        let opened = match open_source(source) {
            Ok(opened) => opened,
            Err(error) => return Stopped::Again(error.to_string()),
        };
        let Some(feed) = opened.as_feed() else { return Stopped::Not(NotFollowed::Unknown) };
        self.view.clear();
        let cursor = match tokio::task::block_in_place(|| self.view.stored()) {
            Ok(Some(cursor)) => cursor,
            // The first run is about to make it.
            Ok(None) => return Stopped::Not(NotFollowed::NotRead),
            Err(error) => return Stopped::Again(error.to_string()),
        };
        let settings = self.config.settings();
        let rules = settings.rules(source.terms());
        let view: Arc<dyn MirrorView> = Arc::clone(&self.view) as Arc<dyn MirrorView>;
        match feed.follow(&rules, cursor, view).await {
            Ok(Start::Here(following)) => {
                let _followed = self.shared.feeds.follows(&self.name);
                *followed = true;
                self.listen(following).await
            }
            Ok(Start::Read(why)) => Stopped::Read(why),
            Ok(Start::Not(why)) => Stopped::Not(why),
            Err(error) if error.transient => Stopped::Again(error.to_string()),
            // Asked again and again, a wrong password would lock the account.
            Err(error) => Stopped::Not(NotFollowed::Refused(error.to_string())),
        }
    }

    async fn listen(&self, mut following: Box<dyn Following + '_>) -> Stopped {
        let mut state = following.state();
        self.pass_on(&mut state);
        loop {
            let event = tokio::select! {
                event = following.next() => event,
                Ok(()) = state.changed() => {
                    self.pass_on(&mut state);
                    continue;
                }
            };
            let mut next = Some(event);
            if let Some(Ok(FeedEvent::Changed(delta))) = next {
                self.view.push(delta);
                next = self.gather(&mut *following).await;
                if let Err(stopped) = self.commit(&state).await {
                    return stopped;
                }
                self.pass_on(&mut state);
            }
            match next {
                None | Some(Ok(FeedEvent::Changed(_))) => {}
                Some(Ok(FeedEvent::Read(why))) => return Stopped::Read(why),
                Some(Ok(FeedEvent::Not(why))) => return Stopped::Not(why),
                Some(Err(error)) if error.transient => return Stopped::Again(error.to_string()),
                Some(Err(error)) => {
                    return Stopped::Not(NotFollowed::Refused(error.to_string()));
                }
            }
        }
    }

    fn pass_on(&self, state: &mut watch::Receiver<FollowState>) {
        let state = state.borrow_and_update().clone();
        self.tell(Event::State { source: self.name.clone(), state, quiet: false });
    }

    /// Takes what is told right after what was told, for a moment. What is no delta is returned.
    async fn gather(
        &self,
        following: &mut (dyn Following + '_),
    ) -> Option<Result<FeedEvent, SourceError>> {
        let most = Instant::now() + GATHER;
        loop {
            let until = most.min(Instant::now() + GAP);
            match tokio::time::timeout_at(until, following.next()).await {
                Ok(Ok(FeedEvent::Changed(delta))) => self.view.push(delta),
                Ok(other) => return Some(other),
                Err(_) => return None,
            }
        }
    }

    /// Commits what was told.
    async fn commit(&self, state: &watch::Receiver<FollowState>) -> Result<(), Stopped> {
        let deltas = self.view.told();
        let _turn = self.turn.lock().await;
        let store = &*self.store;
        // It may be a database that is asked. At one go: each time another thread has to take this one's place.
        let locked = || {
            let _lock = self.shared.lock.take(store, WHAT, Utc::now())?;
            Ok(self.ingest(deltas.clone()))
        };
        let done = loop {
            match tokio::task::block_in_place(locked) {
                Ok(done) => break done,
                Err(held @ LockError::Held { .. }) => {
                    let state = state.borrow().clone();
                    let state = FollowState { why: Some(held.to_string()), ..state };
                    self.tell(Event::State { source: self.name.clone(), state, quiet: false });
                    tokio::time::sleep(LOCKED).await;
                }
                Err(error) => return Err(Stopped::Again(error.to_string())),
            }
        };
        self.shared.heartbeat.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match done {
            Ok((ran, patch)) => {
                self.view.committed(patch.as_ref());
                self.tell(Event::Ingested {
                    source: self.name.clone(),
                    deltas,
                    ran: Box::new(ran),
                });
                Ok(())
            }
            // Another process has read the source in full meanwhile: its mirror is elsewhere.
            Err(IngestError::Refused { why: Refusal::Cursor { .. }, .. }) => Err(Stopped::Anew),
            Err(IngestError::Refused { why, .. }) => Err(Stopped::Read(WhyFull::Refusal(why))),
            Err(IngestError::NoMirror { .. }) => Err(Stopped::Read(WhyFull::NoCursor)),
            Err(IngestError::Run(error)) => {
                let (why, kind) = (error.to_string(), LogKind::Run(error.kind()));
                self.tell(Event::Failed { source: self.name.clone(), why: why.clone(), kind });
                Err(Stopped::Again(why))
            }
        }
    }

    fn ingest(&self, deltas: Vec<Delta>) -> Result<(Ran, Option<Patch>), IngestError> {
        self.shared.feeds.tells(&self.name, &deltas);
        let told = BTreeMap::from([(self.name.clone(), deltas)]);
        let (outcome, mut patches) = sync::ingest(&self.config, &*self.store, &told, Utc::now())?;
        Ok((shorten(outcome), patches.remove(&self.name)))
    }
}

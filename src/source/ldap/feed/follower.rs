//! Follows one source: opens the search and opens it again, works on what comes, keeps the cursor.
//!
//! The cursor moves once everything that was told up to it has been worked on to its end. While
//! somebody is unsettled it stays, so that after a crash they are told again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::ask;
use super::cursor::{Bookmark, NoText};
use super::inbox::{Batch, MOST};
use super::memory::Memory;
use super::server::Provider;
use super::stream::{Stream, refused};
use super::work::Work;
use super::{Begun, Origin, Stop, recognise};
use crate::directory::Delta;
use crate::model::FollowMode;
use crate::source::SourceError;
use crate::source::feed::{FeedEvent, FollowState, MirrorView, NotFollowed, WhyFull};
use crate::source::ldap::connect::{Connection, shown};
use crate::source::ldap::explain::Fault;
use crate::source::ldap::server::{self, CanaryFault};

/// Between two tries to connect again: from the first to the second, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// After so many tries another server of the source is taken, if there is one.
pub(super) const LOYAL_TRIES: u32 = 5;
/// How long nothing may come before the server is asked whether it is there.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
const SLOW: &str = "`read_timeout` has passed, and the server has not told to its end what changed since \
                    the cursor; raise it, or ask why it is slow";

/// How long to wait after so many tries to connect.
pub(super) fn pause(tries: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << tries.min(6)).min(LONGEST_WAIT)
}

/// Says how a source is followed now.
pub(super) fn say(
    states: &watch::Sender<FollowState>,
    how: FollowMode,
    why: Option<String>,
    current: bool,
) {
    let now = chrono::Utc::now();
    states.send_modify(|state| {
        if state.how != how || state.why.is_some() != why.is_some() {
            state.since = now;
        }
        state.how = how;
        state.why = why;
        if current {
            state.current_at = Some(now);
        }
    });
}

/// Whether the canary can be read: else nothing that seems gone can be believed to be.
pub(super) async fn can_be_believed(origin: &Origin, connection: &Connection) -> Result<(), Stop> {
    let Some(canary) = &origin.config.canary else { return Ok(()) };
    match server::canary(connection, origin.limits(), origin.shape.dialect, canary).await {
        Ok(()) => Ok(()),
        // It may be there: the server does not answer.
        Err(CanaryFault::Unreadable { fault, .. }) if fault.transient => Err(Stop::Fault(fault)),
        Err(why) => Err(Stop::Read(WhyFull::Canary(why.to_string()))),
    }
}

/// Where a mirror stands.
pub(super) struct Place {
    /// Its cursor, and what is newer.
    pub mark: Bookmark,
    /// The server.
    pub url: url::Url,
    /// The base that is watched.
    pub base: String,
}

impl From<NoText> for Stop {
    fn from(why: NoText) -> Self {
        Stop::Not(NotFollowed::Refused(why.to_string()))
    }
}

/// Follows one source.
pub(super) struct Follower {
    origin: Origin,
    view: Arc<dyn MirrorView>,
    memory: Memory,
    at: Place,
    /// Whoever the mirror has was there when following began.
    is_checked: bool,
    states: watch::Sender<FollowState>,
    tries: u32,
}

impl Follower {
    pub fn new(
        origin: Origin,
        view: Arc<dyn MirrorView>,
        memory: Memory,
        at: Place,
        states: watch::Sender<FollowState>,
    ) -> Self {
        Follower { origin, view, memory, at, is_checked: false, states, tries: 0 }
    }

    /// Answers until nobody asks or nothing more can be said. Begins at `first`.
    pub async fn run(
        mut self,
        first: (Connection, Provider),
        mut requests: mpsc::Receiver<()>,
        answers: mpsc::Sender<Result<FeedEvent, SourceError>>,
    ) {
        let mut first = Some(first);
        let mut stream: Option<Stream> = None;
        while requests.recv().await.is_some() {
            let answer = self.next(&mut first, &mut stream).await;
            let ends = match &answer {
                Ok(FeedEvent::Changed(_)) => None,
                Ok(FeedEvent::Read(why)) => Some(why.to_string()),
                Ok(FeedEvent::Not(why)) => Some(why.to_string()),
                Err(error) => Some(error.message.clone()),
            };
            let goes_on = ends.is_none();
            if ends.is_some() {
                self.say(FollowMode::Full, ends, false);
            }
            if answers.send(answer).await.is_err() || !goes_on {
                return;
            }
        }
    }

    async fn next(
        &mut self,
        first: &mut Option<(Connection, Provider)>,
        stream: &mut Option<Stream>,
    ) -> Result<FeedEvent, SourceError> {
        loop {
            let done = match stream {
                Some(open) => self.step(open).await,
                None => match self.open(first.take()).await {
                    Ok(opened) => {
                        *stream = Some(opened);
                        continue;
                    }
                    Err(stop) => Err(stop),
                },
            };
            match done {
                Ok(delta) => return Ok(FeedEvent::Changed(delta)),
                Err(Stop::Read(why)) => return Ok(FeedEvent::Read(why)),
                Err(Stop::Not(why)) => return Ok(FeedEvent::Not(why)),
                Err(Stop::Fault(fault)) if fault.transient => {
                    // What was told since the cursor will be told again.
                    *stream = None;
                    self.at.mark.go_back();
                    self.memory.go_back();
                    self.wait(&fault).await;
                }
                Err(Stop::Fault(fault)) if stream.is_some() => {
                    return Ok(FeedEvent::Not(NotFollowed::Refused(fault.message)));
                }
                Err(Stop::Fault(fault)) => {
                    let message = format!("source `{}`: {}", self.origin.name, fault.message);
                    return Err(SourceError { message, transient: false, ..fault.into() });
                }
            }
        }
    }

    /// Waits before the next try.
    async fn wait(&mut self, fault: &Fault) {
        let wait = pause(self.tries);
        if self.tries == 0 {
            let (source, why) = (&self.origin.name, &fault.message);
            tracing::info!(source = %source, %why, "following is interrupted");
        }
        self.tries = self.tries.saturating_add(1);
        self.say(FollowMode::Persist, Some(fault.message.clone()), false);
        tokio::time::sleep(wait).await;
    }

    /// Opens the search, from the cookie.
    async fn open(&mut self, first: Option<(Connection, Provider)>) -> Result<Stream, Stop> {
        let (connection, provider) = match first {
            Some(given) => given,
            None => self.connect().await?,
        };
        let Place { base, mark, .. } = &self.at;
        Ok(Stream::open(&self.origin, connection, provider, base, mark.cookie()).await)
    }

    async fn connect(&mut self) -> Result<(Connection, Provider), Stop> {
        let fault = |error: SourceError| Stop::Fault(error.into());
        let Origin { name, config, connector, .. } = &self.origin;
        let connection = match self.tries < LOYAL_TRIES {
            true => connector.connect_to(&self.at.url).await.map_err(Stop::Fault)?,
            false => {
                connector.connect_rather_to(&self.at.mark.key().server).await.map_err(fault)?
            }
        };
        let (connection, server, base) =
            match recognise(name, config, connection).await.map_err(fault)? {
                Begun::Sync(begun) => *begun,
                // Another kind of server than that of the cookie.
                Begun::ActiveDirectory(_) => return Err(Stop::Read(WhyFull::Foreign("server"))),
                Begun::Not(why) => return Err(Stop::Not(why)),
            };
        // Another server's cookies are others.
        if shown(&connection.url) != self.at.mark.key().server {
            return Err(Stop::Read(WhyFull::Foreign("server")));
        }
        if base != self.at.base {
            return Err(Stop::Read(WhyFull::Foreign("base")));
        }
        server.accepts(self.at.mark.cookie())?;
        Ok((connection, server.provider))
    }

    /// The next delta.
    async fn step(&mut self, stream: &Stream) -> Result<Delta, Stop> {
        loop {
            let batch = self.batch(stream).await?;
            can_be_believed(&self.origin, &stream.second).await?;
            let view = self.view.clone();
            self.memory.begin();
            let mut work = Work::new(&self.origin, stream, &*view, &mut self.memory);
            if let Some(batch) = &batch {
                work.check_what_was_told_stands(batch, &self.at.base).await?;
                work.told(batch).await?;
            }
            work.settle().await?;
            let checks = !self.is_checked && batch.is_some();
            if checks {
                work.check_all_are_there()?;
            }
            let draft = work.draft;
            if let Some(cookie) = batch.and_then(|batch| batch.cookie) {
                self.at.mark.told(cookie, &self.memory.seen)?;
            }
            let step = self.at.mark.step(self.memory.unsettled.is_empty());
            let is_due = self.at.mark.due().is_some_and(|due| due <= Instant::now());
            let must_be_told = !draft.is_empty() || (step.from != step.to && is_due);
            let delta = must_be_told.then(|| draft.delta(step.clone())).transpose()?;
            // Nothing breaks off from here on: what was told up to there is told by the delta.
            self.memory.keep();
            self.is_checked |= checks;
            self.tries = 0;
            self.say(FollowMode::Persist, None, true);
            if let Some(delta) = delta {
                self.at.mark.take(&step);
                return Ok(delta);
            }
        }
    }

    /// Waits for something to be worked on: what the server told, or (nothing) that somebody is due or
    /// that a cookie alone has waited long enough.
    async fn batch(&mut self, stream: &Stream) -> Result<Option<Batch>, Stop> {
        loop {
            let came = stream.shared.changed.notified();
            if let Some(batch) = self.take(stream)? {
                return Ok(Some(batch));
            }
            let now = Instant::now();
            let refreshing = stream.shared.lock().is_refreshing();
            if refreshing && stream.since.elapsed() >= self.origin.config.read_timeout {
                return Err(Stop::Fault(Fault::local(SLOW, true)));
            }
            // Until the refresh has ended nothing can be settled: more may be told of whoever it is.
            let due = self.memory.due().or_else(|| self.at.mark.due()).filter(|_| !refreshing);
            if due.is_some_and(|due| due <= now) {
                return Ok(None);
            }
            let beat =
                now.checked_add(HEARTBEAT.min(self.origin.config.read_timeout)).unwrap_or(now);
            let until = due.map_or(beat, |due| due.min(beat));
            if tokio::time::timeout_at(until, came).await.is_err() && until == beat {
                self.ask_whether_it_is_there(stream).await?;
            }
        }
    }

    async fn ask_whether_it_is_there(&mut self, stream: &Stream) -> Result<(), Stop> {
        for connection in [&stream.connection, &stream.second] {
            let answer = ask::is_alive(&connection.ldap, &self.origin).await;
            answer.map_err(|fault| Stop::Fault(Fault { transient: true, ..fault }))?;
        }
        if !stream.shared.lock().is_refreshing() {
            self.say(FollowMode::Persist, None, true);
        }
        Ok(())
    }

    /// What has come, if that can be worked on.
    fn take(&mut self, stream: &Stream) -> Result<Option<Batch>, Stop> {
        let mut inbox = stream.shared.lock();
        if inbox.overflow {
            return Err(Stop::Read(WhyFull::TooMuch(MOST)));
        }
        if inbox.garbled {
            let why = "something that the server said of changes was not understood";
            return Err(Stop::Not(NotFollowed::Refused(why.to_owned())));
        }
        if let Some(ended) = inbox.ended.take() {
            return Err(refused(ended.code.unwrap_or(80), ended.fault));
        }
        let Some(batch) = inbox.take() else { return Ok(None) };
        drop(inbox);
        if batch.refresh || !batch.is_empty() {
            return Ok(Some(batch));
        }
        batch.cookie.map_or(Ok(()), |cookie| self.at.mark.told(cookie, &self.memory.seen))?;
        Ok(None)
    }

    /// Says how it is followed now.
    fn say(&self, how: FollowMode, why: Option<String>, current: bool) {
        say(&self.states, how, why, current);
    }
}

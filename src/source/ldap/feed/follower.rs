//! Follows one source: opens the search and opens it again, works on what comes, keeps the cursor.
//!
//! The cursor moves once everything that was told up to it has been worked on to its end. While
//! somebody is unsettled it stays, so that after a crash they are told again.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::ask;
use super::cursor::{Bookmark, NoText};
use super::drive::{self, Course, Follows, HEARTBEAT};
use super::inbox::{Batch, MOST};
use super::memory::Memory;
use super::server::Provider;
use super::stream::{Stream, refused};
use super::work::Work;
use super::{Answers, Begun, Origin, Stop, recognise};
use crate::directory::Delta;
use crate::model::FollowMode;
use crate::source::feed::{FollowState, MirrorView, NotFollowed, WhyFull};
use crate::source::ldap::connect::Connection;
use crate::source::ldap::explain::Fault;
use crate::source::ldap::server::{self, CanaryFault};

const SLOW: &str = "`read_timeout` has passed, and the server has not told to its end what changed since \
                    the cursor; raise it, or ask why it is slow";

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
    /// The connection that it began with, as long as nothing was asked over it.
    first: Option<(Connection, Provider)>,
    course: Course,
}

impl Follows for Follower {
    type Session = Stream;

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    async fn open(&mut self) -> Result<Stream, Stop> {
        if let Some((connection, provider)) = self.first.take() {
            return Ok(self.search(connection, provider).await);
        }
        let Place { mark, url, .. } = &self.at;
        let connection = self.course.connect(&self.origin, url, &mark.key().server).await?;
        let Origin { name, config, .. } = &self.origin;
        let recognised = recognise(name, config, connection).await;
        let (connection, server, base) =
            match recognised.map_err(|error| Stop::Fault(error.into()))? {
                Begun::Sync(begun) => *begun,
                // Another kind of server than that of the cookie.
                Begun::ActiveDirectory(_) => return Err(Stop::Read(WhyFull::Foreign("server"))),
                Begun::Not(why) => return Err(Stop::Not(why)),
            };
        if base != self.at.base {
            return Err(Stop::Read(WhyFull::Foreign("base")));
        }
        server.accepts(self.at.mark.cookie())?;
        Ok(self.search(connection, server.provider).await)
    }

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
            self.course.goes_on();
            self.course.is_current();
            if let Some(delta) = delta {
                self.at.mark.take(&step);
                return Ok(delta);
            }
        }
    }

    fn broke_off(&mut self) {
        self.at.mark.go_back();
        self.memory.go_back();
    }
}

impl Follower {
    pub fn new(
        origin: Origin,
        view: Arc<dyn MirrorView>,
        memory: Memory,
        at: Place,
        states: watch::Sender<FollowState>,
    ) -> Self {
        let course = Course::new(states, FollowMode::Persist);
        Follower { origin, view, memory, at, is_checked: false, first: None, course }
    }

    /// Answers until nobody asks or nothing more can be said. Begins at `first`.
    pub async fn run(
        mut self,
        first: (Connection, Provider),
        requests: mpsc::Receiver<()>,
        answers: Answers,
    ) {
        self.first = Some(first);
        drive::drive(self, requests, answers).await;
    }

    /// Opens the search, from the cookie.
    async fn search(&self, connection: Connection, provider: Provider) -> Stream {
        let Place { base, mark, .. } = &self.at;
        Stream::open(&self.origin, connection, provider, base, mark.cookie()).await
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
            self.course.is_current();
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
}

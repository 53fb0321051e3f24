//! What following any server is: a session with it is opened, and opened again, and asked for one delta at
//! a time.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use url::Url;

use super::{Answers, Origin, Stop};
use crate::directory::Delta;
use crate::model::FollowMode;
use crate::source::SourceError;
use crate::source::feed::{FeedEvent, FollowState, NotFollowed, WhyFull};
use crate::source::ldap::connect::{Connection, shown};
use crate::source::ldap::explain::Fault;

/// Between two tries to connect again: from the first to the second, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// After so many tries another server of the source is taken, if there is one.
const LOYAL_TRIES: u32 = 5;
/// How long nothing may come before the server is asked whether it is there, and how often it is said that
/// a mirror is current.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// One way to follow a server.
pub(super) trait Follows: Send {
    /// What it goes on over, until that breaks.
    type Session: Send + Sync;

    /// What is followed.
    fn origin(&self) -> &Origin;

    /// How that goes.
    fn course(&mut self) -> &mut Course;

    /// Opens a session: the first over the connection that it began with, later ones over others.
    fn open(&mut self) -> impl Future<Output = Result<Self::Session, Stop>> + Send;

    /// Waits for the next delta.
    fn step(&mut self, session: &Self::Session)
    -> impl Future<Output = Result<Delta, Stop>> + Send;

    /// The session broke: what was told since the mirror's cursor will be told again.
    fn broke_off(&mut self);
}

/// How following goes.
pub(super) struct Course {
    states: watch::Sender<FollowState>,
    /// How it is followed while it is.
    pub how: FollowMode,
    tries: u32,
}

impl Course {
    pub fn new(states: watch::Sender<FollowState>, how: FollowMode) -> Self {
        Course { states, how, tries: 0 }
    }

    /// The server answers.
    pub fn goes_on(&mut self) {
        self.tries = 0;
    }

    /// Says that the mirror is current.
    pub fn is_current(&self) {
        self.say(self.how, None, true);
    }

    fn say(&self, how: FollowMode, why: Option<String>, current: bool) {
        let now = chrono::Utc::now();
        self.states.send_modify(|state| {
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

    /// Connects to `url` again, and where that fails for long to another server of the source: which
    /// is of no use where it is another one than `server`, whose cookies the mirror has.
    pub async fn connect(
        &self,
        origin: &Origin,
        url: &Url,
        server: &str,
    ) -> Result<Connection, Stop> {
        let connection = match self.tries < LOYAL_TRIES {
            true => origin.connector.connect_to(url).await.map_err(Stop::Fault)?,
            false => {
                let connection = origin.connector.connect_rather_to(server).await;
                connection.map_err(|error| Stop::Fault(error.into()))?
            }
        };
        match shown(&connection.url) == server {
            true => Ok(connection),
            false => Err(Stop::Read(WhyFull::Foreign("server"))),
        }
    }
}

/// Answers until nobody asks or nothing more can be said.
pub(super) async fn drive<F: Follows>(
    mut follower: F,
    mut requests: mpsc::Receiver<()>,
    answers: Answers,
) {
    let mut session = None;
    while requests.recv().await.is_some() {
        let answer = next(&mut follower, &mut session).await;
        let ends = match &answer {
            Ok(FeedEvent::Changed(_)) => None,
            Ok(FeedEvent::Read(why)) => Some(why.to_string()),
            Ok(FeedEvent::Not(why)) => Some(why.to_string()),
            Err(error) => Some(error.message.clone()),
        };
        let goes_on = ends.is_none();
        if ends.is_some() {
            follower.course().say(FollowMode::Full, ends, false);
        }
        if answers.send(answer).await.is_err() || !goes_on {
            return;
        }
    }
}

async fn next<F: Follows>(
    follower: &mut F,
    session: &mut Option<F::Session>,
) -> Result<FeedEvent, SourceError> {
    loop {
        let done = match session {
            Some(open) => follower.step(open).await,
            None => match follower.open().await {
                Ok(opened) => {
                    *session = Some(opened);
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
                *session = None;
                follower.broke_off();
                wait(follower, &fault).await;
            }
            Err(Stop::Fault(fault)) if session.is_some() => {
                return Ok(FeedEvent::Not(NotFollowed::Refused(fault.message)));
            }
            Err(Stop::Fault(fault)) => {
                let source = format!("source `{}`", follower.origin().name);
                return Err(SourceError::from(fault).within(&source));
            }
        }
    }
}

/// Waits before the next try.
async fn wait<F: Follows>(follower: &mut F, fault: &Fault) {
    if follower.course().tries == 0 {
        let (source, why) = (&follower.origin().name, &fault.message);
        tracing::info!(source = %source, %why, "following is interrupted");
    }
    let course = follower.course();
    let pause = FIRST_WAIT.saturating_mul(1 << course.tries.min(6)).min(LONGEST_WAIT);
    course.tries = course.tries.saturating_add(1);
    course.say(course.how, Some(fault.message.clone()), false);
    tokio::time::sleep(pause).await;
}

//! Follows one domain controller: asks for the number of its last change, and where that has moved for
//! what has changed.
//!
//! The mirror's cursor moves with what is told, and where nothing is, once a minute.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::super::ask::Asker;
use super::super::cursor::{KEEP_COOKIE, Key};
use super::super::drive::{self, Course, Follows, HEARTBEAT};
use super::super::follower::can_be_believed;
use super::super::{Answers, Origin, Stop};
use super::changes::{self, Touched};
use super::cookie::Cookie;
use super::dc::{self, Dc};
use super::dirsync;
use super::look::{self, Looks};
use super::wake::Wake;
use super::work::{Known, Work};
use crate::directory::{Cursor, Delta, Step};
use crate::model::FollowMode;
use crate::source::feed::{FollowState, MirrorView, WhyFull};
use crate::source::ldap::connect::Connection;
use crate::source::ldap::explain::Fault;

/// How often the server is asked for the number of its last change.
const POLL: Duration = Duration::from_millis(500);
/// How often another domain controller behind the same name is met before that is believed to be the one.
const OTHERS: u32 = 10;

/// Where a mirror stands.
pub(super) struct Place {
    /// What cookies belong to.
    pub key: Key,
    /// The server.
    pub url: url::Url,
    /// The mirror's cursor.
    pub cursor: Cursor,
    /// Its cookie.
    pub cookie: Cookie,
}

/// A connection to the domain controller.
pub(super) struct Session {
    connection: Connection,
    dc: Dc,
    /// Says at once when something changes, where it does.
    wake: Option<Wake>,
}

/// Follows one source.
pub(super) struct Follower {
    origin: Origin,
    view: Arc<dyn MirrorView>,
    known: Known,
    at: Place,
    /// How far is told. The mirror's cursor has moved as far, or nothing came since.
    newest: Cookie,
    moved: Instant,
    looks: Looks,
    /// When it was said last that the mirror is current.
    said: Option<Instant>,
    /// So many other domain controllers were met.
    others: u32,
    /// The connection that it began with, as long as nothing was asked over it.
    first: Option<(Connection, Dc)>,
    course: Course,
}

impl Follows for Follower {
    type Session = Session;

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    async fn open(&mut self) -> Result<Session, Stop> {
        if let Some((connection, dc)) = self.first.take() {
            return Ok(self.session(connection, dc).await);
        }
        let Place { key, url, .. } = &self.at;
        let connection = self.course.connect(&self.origin, url, &key.server).await?;
        let dc = Dc::ask(&connection, self.origin.limits()).await?;
        if dc.database != self.newest.database && self.others < OTHERS {
            // Several may answer to one name, each in its turn.
            self.others = self.others.saturating_add(1);
            let why = "another domain controller answers under its name";
            return Err(Stop::Fault(Fault::local(why, true)));
        }
        self.newest.goes_on_at(&dc, chrono::Utc::now().timestamp())?;
        self.others = 0;
        Ok(self.session(connection, dc).await)
    }

    async fn step(&mut self, session: &Session) -> Result<Delta, Stop> {
        let Session { connection, dc, wake } = session;
        loop {
            self.course.how = match wake {
                Some(wake) if wake.is_open() => FollowMode::Persist,
                _ => FollowMode::Poll,
            };
            let usn = dc::usn(connection, self.origin.limits()).await?;
            if usn < self.newest.usn {
                return Err(Stop::Read(WhyFull::Newer));
            }
            let (touched, newest) = match usn > self.newest.usn {
                true => self.told(connection, dc, usn).await?,
                false => (Touched::new(), self.cookie(dc, usn, self.newest.dirsync()?.as_deref())),
            };
            let looks = !self.known.sees_deleted && self.looks.is_due(usn);
            let view = Arc::clone(&self.view);
            let mut work = Work::new(&self.origin, connection, &*view, &mut self.known);
            if !touched.is_empty() {
                can_be_believed(&self.origin, connection).await?;
                work.told(&touched).await?;
            }
            if looks {
                let began = Instant::now();
                look::all_are_there(&mut work.ask, &*view, &work.draft).await?;
                self.looks.looked(began, usn);
            }
            let draft = work.draft;
            self.is_current(session).await?;
            let must_be_kept =
                newest.usn != self.at.cookie.usn && self.moved.elapsed() >= KEEP_COOKIE;
            let step = (!draft.is_empty() || must_be_kept).then(|| self.step_to(&newest));
            let delta = step.map(|step| draft.delta(step)).transpose()?;
            // Nothing breaks off from here on: what was told up to there is told by the delta.
            self.newest = newest;
            self.course.goes_on();
            if let Some(delta) = delta {
                self.said = None;
                self.moves(&delta);
                return Ok(delta);
            }
            match wake {
                Some(wake) => drop(tokio::time::timeout(POLL, wake.woken.notified()).await),
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn broke_off(&mut self) {
        self.said = None;
    }
}

impl Follower {
    pub fn new(
        origin: Origin,
        view: Arc<dyn MirrorView>,
        known: Known,
        at: Place,
        states: watch::Sender<FollowState>,
    ) -> Self {
        if !known.sees_deleted {
            states.send_modify(|state| state.lacks = Some(super::UNTOLD.to_owned()));
        }
        Follower {
            newest: at.cookie.clone(),
            origin,
            view,
            known,
            at,
            moved: Instant::now(),
            looks: Looks::new(),
            said: None,
            others: 0,
            first: None,
            course: Course::new(states, FollowMode::Poll),
        }
    }

    /// Answers until nobody asks or nothing more can be said. Begins over `first`.
    pub async fn run(
        mut self,
        first: (Connection, Dc),
        requests: mpsc::Receiver<()>,
        answers: Answers,
    ) {
        self.first = Some(first);
        drive::drive(self, requests, answers).await;
    }

    async fn session(&self, connection: Connection, dc: Dc) -> Session {
        let wake = Wake::open(&self.origin, &connection, &dc.domain).await;
        Session { connection, dc, wake }
    }

    /// The cookie for what has been told up to here.
    fn cookie(&self, dc: &Dc, usn: u64, dirsync: Option<&[u8]>) -> Cookie {
        Cookie::of(dc, usn, dirsync, self.known.sees_container)
    }

    /// What has changed by `usn` since it was told, and the cookie for the next time.
    async fn told(
        &self,
        connection: &Connection,
        dc: &Dc,
        usn: u64,
    ) -> Result<(Touched, Cookie), Stop> {
        let origin = &self.origin;
        let (mut touched, cookie) = match (self.newest.dirsync()?, &self.known.attributes) {
            (Some(cookie), Some(attributes)) => {
                let asked = dirsync::since(origin, connection, dc, attributes, &cookie).await?;
                (asked.0, self.cookie(dc, usn, Some(&asked.1)))
            }
            _ => {
                let touched = changes::since(origin, connection, dc, self.newest.usn).await?;
                (touched, self.cookie(dc, usn, None))
            }
        };
        if self.known.filters_by_groups && touched.values().any(|touch| touch.may_be_group) {
            let mut ask = Asker { origin, ldap: connection.ldap.clone() };
            for id in look::others(&mut ask, &*self.view).await? {
                touched.entry(id).or_default();
            }
        }
        Ok((touched, cookie))
    }

    /// From where to where the mirror is brought by what was told up to `newest`.
    fn step_to(&self, newest: &Cookie) -> Step {
        let from = self.at.cursor.clone();
        let to = self.at.key.cursor(&newest.bytes()).unwrap_or_else(|| from.clone());
        Step { from, to }
    }

    /// Notes that the mirror will be where this delta leads, up to the newest that was told.
    fn moves(&mut self, delta: &Delta) {
        if let Some(step) = delta.step.as_ref().filter(|step| step.to != step.from) {
            self.at.cursor = step.to.clone();
            self.at.cookie = self.newest.clone();
            self.moved = Instant::now();
        }
    }

    /// Says that the mirror is current, every few seconds, where deletions are still told as before.
    async fn is_current(&mut self, Session { connection, dc, .. }: &Session) -> Result<(), Stop> {
        if self.said.is_none_or(|said| said.elapsed() >= HEARTBEAT) {
            let sees = changes::sees_deleted(&self.origin, connection, dc).await?;
            if sees != self.known.sees_container {
                return Err(Stop::Read(super::other_rights()));
            }
            self.said = Some(Instant::now());
            self.course.is_current();
        }
        Ok(())
    }
}

//! Following the store: the server tells of a commit (`LISTEN`), and now and then it is asked, in case a
//! word was lost.
//!
//! ```text
//! primary ── a commit is told ──► what is there now: its mark
//!    │                               │
//!    │            standby, once it has that too ──► shown     (within CATCH_UP)
//!    └──────────── else ──────────────────────────► shown
//! ```
//!
//! With `store.read_url` the standby is read, and the primary says how far: nobody is shown less than it has,
//! nor less than was shown before. Only while the primary cannot be asked the standby says it by itself. And
//! whatever is shown must go on from what was shown: a generation carries a token, so one of another history,
//! as a standby may have that was promoted without the last commits, is known as such.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::connect::identifier;
use super::reader::{PgReader, SNAPSHOT};
use super::session::{Session, SessionError};
use super::store::PostgresStore;
use super::transaction::channel;
use super::wire::PATIENCE;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::sql::db::{Conn, OptionalExtension};
use crate::store::sql::{Fault, Reads};
use crate::store::{Reader, Seen, StandbyFault, Store, StoreLag, Waker, Watch};

/// How often the store is asked.
const POLL: Duration = Duration::from_secs(2);

/// How long it is left alone after a fault, at first and at most.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// How long a standby may be behind: then the primary is read.
const CATCH_UP: Duration = Duration::from_millis(500);

/// How long one is left alone that has failed while what a change brought was read there.
const REST: Duration = Duration::from_secs(10);

/// How often a standby is asked whether it has something now.
const ASK: Duration = Duration::from_millis(20);

/// What tells whether there is something new: which store, how often it was written, and its generation.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mark {
    store: String,
    /// The schema's version.
    version: i64,
    commits: i64,
    generation: i64,
    /// The generation's own, and the last commit's; empty where there is none.
    token: String,
    last: String,
}

const MARK: &str = "SELECT m.schema_version || ' ' || m.commits || ' ' || m.generation || ' ' || \
                           coalesce(g.token, '') || ' ' || coalesce(m.token, '') || ' ' || m.store_id \
                    FROM meta m LEFT JOIN generation g ON g.num = m.generation";

/// `meta` has no row that is a [`Mark`].
fn no_mark() -> Fault {
    Fault::Damaged("its row of `meta` is none".to_owned())
}

/// A primary and a standby, by since when they run, of which it was seen that they have one history: none of
/// them goes back while it runs.
type Pair = (String, String);

impl Mark {
    /// As [`MARK`] finds it.
    fn read(told: &str) -> Option<Mark> {
        let mut parts = told.splitn(6, ' ');
        let version = parts.next()?.parse().ok()?;
        let (commits, generation) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let mut next = || parts.next().map(str::to_owned);
        Some(Mark { version, commits, generation, token: next()?, last: next()?, store: next()? })
    }

    fn of(conn: Conn<'_>) -> Result<Mark, Fault> {
        let told: String = conn.query_row(MARK, [], |row| row.get(0))?;
        Mark::read(&told).ok_or_else(no_mark)
    }

    /// The same, asked now and then: it takes no work, so a server that does not answer soon hangs.
    fn briefly(session: &Session) -> Result<Option<Mark>, SessionError> {
        Ok(session.brief(MARK)?.and_then(|told| Mark::read(&told)))
    }

    /// As [`Mark::is_past_of`], as a part of a question: `+` or `-`.
    fn in_past(&self) -> String {
        // The token was made by the server, and is quoted all the same.
        let (generation, token) = (self.generation, self.token.replace('\'', "''"));
        match generation {
            0 => "'+'".to_owned(),
            _ => format!(
                "(SELECT CASE WHEN count(*) > 0 THEN '+' ELSE '-' END FROM generation p \
                   WHERE p.num = {generation} AND coalesce(p.token, '') = '{token}')"
            ),
        }
    }

    /// Whether the store that `conn` reads has this generation in its history.
    fn is_past_of(&self, conn: Conn<'_>) -> Result<bool, Fault> {
        if self.generation == 0 {
            return Ok(true);
        }
        let sql = "SELECT coalesce(token, '') FROM generation WHERE num = ?1";
        let there = conn.query_row(sql, [self.generation], |row| row.get::<_, String>(0));
        Ok(there.optional()?.as_ref() == Some(&self.token))
    }

    /// Whether what `conn` reads has all of this, where both are known to have one history (`paired`), or
    /// where it can be seen: at the same commit.
    fn is_had_by(&self, conn: Conn<'_>, paired: bool) -> Result<bool, Fault> {
        let there = Mark::of(conn)?;
        if paired && there.store == self.store && there.commits >= self.commits {
            return self.is_past_of(conn);
        }
        Ok(there == *self)
    }
}

/// Follows a store.
pub(super) struct PgWatch {
    store: PostgresStore,
    standby: Option<Standby>,
    waker: Waker,
    /// The session that hears of commits, and reads what they brought: nothing is heard in the middle of that,
    /// and all of it afterwards.
    listening: Option<Listening>,
    /// It was seen that sessions are kept apart.
    apart: bool,
    /// How the last look went; `None`: there was none yet.
    last: Option<Last>,
    seen: Option<Shown>,
    lag: StoreLag,
    pace: Duration,
}

/// Where the store is read rather.
struct Standby {
    store: PostgresStore,
    /// Somebody still waits for it to have something.
    asked: Arc<AtomicBool>,
    /// Since when the primary runs that was asked last.
    primary: String,
    paired: Option<Pair>,
    /// Until then it is not read while the primary is there.
    rests: Option<Instant>,
}

struct Listening {
    reader: PgReader,
    /// It was seen that the store is there, of this schema's version.
    found: Option<i64>,
}

/// What was shown, and since when the server runs that showed it.
type Shown = (Mark, String);

enum Last {
    Well(Mark),
    /// It brought nothing, and is not worth trying again before this.
    Unwell(Instant),
}

impl PgWatch {
    pub(super) fn new(store: PostgresStore) -> Self {
        let standby = store.standby();
        PgWatch {
            standby: standby.map(|store| Standby {
                store,
                asked: Arc::default(),
                primary: String::new(),
                paired: None,
                rests: None,
            }),
            store,
            waker: Waker::default(),
            listening: None,
            apart: false,
            last: None,
            seen: None,
            lag: StoreLag::default(),
            pace: BACKOFF,
        }
    }

    /// Whether there may be something new since the last look.
    fn moved(&self) -> bool {
        match (&self.last, &self.listening) {
            (None, _) => true,
            (Some(Last::Unwell(until)), _) => Instant::now() >= *until,
            (Some(Last::Well(was)), Some(listening)) => {
                let now = Mark::briefly(listening.reader.session());
                let same = matches!(now, Ok(Some(now)) if now == *was);
                if same {
                    self.lag.still_none();
                } else {
                    self.lag.some();
                }
                !same
            }
            (Some(Last::Well(_)), None) => true,
        }
    }

    /// What the primary has.
    fn primary(&mut self) -> Result<Option<Mark>, StoreError> {
        let is_gone = |listening: &Listening| listening.reader.session().is_gone();
        if self.listening.as_ref().is_none_or(is_gone) {
            self.listening = None;
            // Heard from before the look on: what is committed during it is told.
            let (waker, apart) = (self.waker.clone(), self.apart);
            let begun = self.store.place.connect(None, Some(waker)).and_then(|session| {
                if !apart {
                    session.kept_apart(&self.store.place)?;
                }
                let channel = channel(&self.store.place.config.schema);
                session.batch(&format!("LISTEN {}", identifier(&channel)))?;
                Ok(session)
            });
            let session = begun.map_err(|error| self.store.told(error))?;
            self.apart = true;
            let reader = PgReader::over(&self.store.place, &self.store.lists, session);
            self.listening = Some(Listening { reader, found: None });
        }
        match (&mut self.standby, &self.listening) {
            // Without a standby nobody asks how far the primary is: it is read.
            (Some(standby), Some(listening)) => match Mark::briefly(listening.reader.session()) {
                Ok(mark) => {
                    listening.reader.session().server().clone_into(&mut standby.primary);
                    Ok(mark)
                }
                // There is no store yet, or none that this program reads: its reader says which.
                Err(error) if !error.is_cut() => Ok(None),
                Err(error) => Err(self.store.told(error)),
            },
            _ => Ok(None),
        }
    }

    fn attempt(
        &mut self,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<Shown, StoreError> {
        let primary = self.primary();
        let wanted = match &primary {
            Ok(mark) => mark.clone(),
            // It has gone, or is not to be reached: what was shown is the least that the standby must have.
            Err(_) => self.seen.as_ref().map(|(mark, _)| mark.clone()),
        };
        if let Some(reader) = self.standby_with(wanted, primary.is_err()) {
            match self.shown(&reader, (None, primary.is_ok()), work) {
                Ok(shown) => {
                    self.lag.read(true, primary.is_ok());
                    return Ok(shown);
                }
                Err(error) => tracing::debug!(%error, "the standby was not read"),
            }
            if let Some(standby) = &mut self.standby {
                standby.rests = Some(Instant::now() + REST);
            }
        }
        primary?;
        let absent = || {
            let text = format!("there is no store `{}` yet: run a sync", self.store.shown());
            StoreError::new(StoreErrorKind::Absent, text)
        };
        let Some(Listening { reader, found }) = &self.listening else { return Err(absent()) };
        let shown = match *found {
            Some(version) => self.shown(reader, (Some(version), false), work),
            None if self.store.is_there(reader.session())? => {
                self.shown(reader, (None, false), work)
            }
            None => return Err(absent()),
        };
        let found = shown.as_ref().ok().map(|(mark, _)| mark.version);
        if let Some(listening) = &mut self.listening {
            listening.found = found;
        }
        let shown = shown?;
        self.lag.read(false, true);
        Ok(shown)
    }

    /// The standby, once it has what is `wanted`; `None`: it has not in time, or there is none. One that hangs
    /// keeps nobody waiting: while it does, it is not asked again. `alone`: the primary is away.
    fn standby_with(&mut self, wanted: Option<Mark>, alone: bool) -> Option<PgReader> {
        let standby = self.standby.as_mut()?;
        if !alone && standby.rests.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        // While the primary is away whatever there is is more than nothing.
        if (wanted.is_none() && !alone) || standby.asked.swap(true, Ordering::SeqCst) {
            return None;
        }
        let (tell, told) = mpsc::channel();
        let (store, asked) = (standby.store.clone(), Arc::clone(&standby.asked));
        let (primary, paired) = (standby.primary.clone(), standby.paired.clone());
        let until = Instant::now() + CATCH_UP;
        let asking = std::thread::Builder::new().name("ask-standby".to_owned()).spawn(move || {
            let found = caught_up(&store, wanted.as_ref(), (&primary, paired.as_ref()), until);
            asked.store(false, Ordering::SeqCst);
            // Whoever asked may have turned to the primary.
            drop(tell.send(found));
        });
        if let Err(error) = asking {
            standby.asked.store(false, Ordering::SeqCst);
            tracing::debug!(%error, "the standby is not asked");
            return None;
        }
        // There is nobody else to ask.
        let most = if alone { PATIENCE } else { CATCH_UP };
        match told.recv_timeout(most).ok()? {
            Ok(reader) => {
                let reader = reader?;
                if !alone {
                    standby.paired =
                        Some((standby.primary.clone(), reader.session().server().to_owned()));
                }
                Some(reader)
            }
            Err(error) => {
                tracing::debug!(%error, "the standby is not read");
                None
            }
        }
    }

    /// `version`: of which it was seen before that the schema has it. `other`: there is another server to read: of a
    /// change there is little to read, and whoever is slow at that is not waited for. All that there is takes its
    /// time anywhere.
    fn shown(
        &self,
        reader: &PgReader,
        (version, other): (Option<i64>, bool),
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<Shown, StoreError> {
        let session = reader.session();
        // With whether what was seen is in its past, in one question.
        let past = match &self.seen {
            Some((before, _)) => before.in_past(),
            None => "'+'".to_owned(),
        };
        let told = session
            .begin_with(SNAPSHOT, &MARK.replace("SELECT ", &format!("SELECT {past} || ' ' || ")))
            .map_err(|error| reader.fault(error.into()));
        let mut work = |reader: &dyn Reader, seen: Seen| {
            session.wire.hurry(other && !seen.another);
            work(reader, seen)
        };
        let shown =
            told.and_then(|told| self.in_snapshot(reader, version, told.as_deref(), &mut work));
        session.wire.hurry(false);
        session.rollback();
        shown
    }

    fn in_snapshot(
        &self,
        reader: &PgReader,
        version: Option<i64>,
        told: Option<&str>,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<Shown, StoreError> {
        let told = told.and_then(|told| told.split_once(' '));
        let told = told.and_then(|(past, mark)| Some((past == "+", Mark::read(mark)?)));
        let Some((past, mark)) = told else { return Err(reader.fault(no_mark())) };
        if version.is_some_and(|version| version != mark.version) {
            // Somebody has migrated it: whether it can be read still is found out anew.
            return Err(reader.fault(Fault::Raced));
        }
        let server = reader.session().server();
        let seen = match &self.seen {
            None => Seen { another: true, elsewhere: true },
            Some((before, shown_by)) => {
                Seen { another: before.store != mark.store || !past, elsewhere: shown_by != server }
            }
        };
        work(reader, seen)?;
        Ok((mark, server.to_owned()))
    }
}

/// What is amiss with the standby of `store`.
pub(super) fn standby_fault(store: &PostgresStore) -> Result<Option<StandbyFault>, StoreError> {
    let (Some(standby), Some(reader)) = (store.standby(), store.opened()?) else { return Ok(None) };
    let wanted = Mark::of(Conn::Postgres(reader.session())).map_err(|fault| reader.fault(fault))?;
    let found = match standby.opened() {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Some(StandbyFault::NotThere)),
        Err(error) => return Ok(Some(StandbyFault::Unread(error))),
    };
    let there = Mark::of(Conn::Postgres(found.session()));
    let there = there.map_err(|fault| found.fault(fault)).map(|there| there.store == wanted.store);
    match there {
        Ok(true) => {}
        Ok(false) => return Ok(Some(StandbyFault::AnotherStore)),
        Err(error) => return Ok(Some(StandbyFault::Unread(error))),
    }
    // Who writes meanwhile makes it no less behind than it was.
    let pair = (reader.session().server().to_owned(), found.session().server().to_owned());
    let until = Instant::now() + CATCH_UP;
    Ok(match caught_up(&standby, Some(&wanted), (&pair.0, Some(&pair)), until) {
        Ok(Some(_)) => None,
        Ok(None) => Some(StandbyFault::Behind(CATCH_UP)),
        Err(error) => Some(StandbyFault::Unread(error)),
    })
}

/// A reader of `standby` once it has all of `wanted`; `None`: it has not until then.
fn caught_up(
    standby: &PostgresStore,
    wanted: Option<&Mark>,
    (primary, paired): (&str, Option<&Pair>),
    until: Instant,
) -> Result<Option<PgReader>, StoreError> {
    let Some(reader) = standby.opened()? else { return Ok(None) };
    let Some(wanted) = wanted else { return Ok(Some(reader)) };
    let server = reader.session().server();
    let paired = paired.is_some_and(|pair| pair.0 == primary && pair.1 == server);
    loop {
        let had = wanted.is_had_by(Conn::Postgres(reader.session()), paired);
        if had.map_err(|fault| reader.fault(fault))? {
            return Ok(Some(reader));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(ASK);
    }
}

impl Watch for PgWatch {
    fn lag(&self) -> StoreLag {
        self.lag.clone()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn wait(&mut self, most: Duration) -> bool {
        // `None`: for ever.
        let end = Instant::now().checked_add(most);
        let left = || end.map(|end| end.saturating_duration_since(Instant::now()));
        while let Some(last) = &self.last {
            let poll = match last {
                Last::Well(_) => POLL,
                Last::Unwell(until) => until.saturating_duration_since(Instant::now()),
            };
            let pause = left().map_or(poll, |left| left.min(poll));
            if self.waker.wait(pause) || self.moved() {
                return true;
            }
            if left().is_some_and(|left| left.is_zero()) {
                return false;
            }
        }
        true
    }

    fn look(
        &mut self,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.attempt(work) {
            Ok(shown) => {
                self.last = Some(Last::Well(shown.0.clone()));
                self.seen = Some(shown);
                self.pace = BACKOFF;
                Ok(())
            }
            Err(error) => {
                self.lag.some();
                if error.kind == StoreErrorKind::Absent {
                    self.pace = BACKOFF;
                }
                self.last = Some(Last::Unwell(Instant::now() + self.pace));
                self.pace = self.pace.saturating_mul(2).min(BACKOFF_MAX);
                Err(error)
            }
        }
    }
}

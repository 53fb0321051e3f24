//! Following the store by looking at its files, and at SQLite's counter of commits.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::{StoreError, StoreErrorKind};
use super::kept::Footprint;
use super::reader::SqliteReader;
use super::schema::SCHEMA_VERSION;
use crate::store::{Reader, Seen, Waker, Watch};

/// How often the store is looked at.
const POLL: Duration = Duration::from_millis(250);

/// How often a store at rest that somebody begins to write is opened anew before it is told, and how much longer
/// each time it is waited for the writer to make its log.
const REOPEN: u32 = 5;
const REOPEN_PAUSE: Duration = Duration::from_millis(5);

/// How long it is left alone at most after a fault that may go by itself.
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// Follows the store at a path.
pub(super) struct SqliteWatch {
    path: PathBuf,
    waker: Waker,
    /// How the last look went; `None`: there was none yet.
    last: Option<Last>,
    /// How the file stood when the last look began.
    seen: Option<Footprint>,
    /// The store as opened, and the file that was there then.
    reader: Option<(SqliteReader, Footprint)>,
    /// The file whose content cannot be read, and why: it is left alone until it changes.
    hopeless: Option<(Footprint, StoreError)>,
    /// The store is another file than at the last look that went well.
    another: bool,
    pace: Duration,
}

/// How a look went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Well, at this [`SqliteReader::data_version`].
    Well(i64),
    /// It brought nothing, and is not worth trying again before this.
    Unwell(Instant),
}

/// Why a look brought nothing.
enum Nothing {
    Fault(StoreError),
    /// The same file and fault as before.
    Hopeless(StoreError),
}

impl From<StoreError> for Nothing {
    fn from(error: StoreError) -> Self {
        Nothing::Fault(error)
    }
}

impl SqliteWatch {
    pub(super) fn new(path: PathBuf) -> Self {
        SqliteWatch {
            path,
            waker: Waker::default(),
            last: None,
            seen: None,
            reader: None,
            hopeless: None,
            another: true,
            pace: POLL,
        }
    }

    /// Whether there may be something new since the last look. A commit can leave the files as they
    /// were, but for their content, which the counter tells.
    fn moved(&self) -> bool {
        let (version, reader) = match (self.last, &self.reader) {
            (Some(Last::Unwell(until)), _) => return Instant::now() >= until,
            (Some(Last::Well(version)), Some((reader, _))) => (version, reader),
            (None, _) | (Some(Last::Well(_)), None) => return true,
        };
        !matches!(Footprint::of(&self.path), Ok(now) if now == self.seen)
            || !matches!(reader.data_version(), Ok(now) if now == version)
    }

    fn attempt(
        &mut self,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<i64, Nothing> {
        let shown = self.path.display();
        let absent = |what| StoreError::new(StoreErrorKind::Absent, what);
        self.seen = None;
        self.seen = Footprint::of(&self.path)?;
        let Some(now) = self.seen else {
            self.another = true;
            self.reader = None;
            return Err(absent(format!("there is no store `{shown}` yet: run a sync")).into());
        };
        // Opening again what failed would fail again, and may cost a descriptor each time.
        match &self.hopeless {
            Some((then, why)) if *then == now => return Err(Nothing::Hopeless(why.clone())),
            _ => self.hopeless = None,
        }
        if self.reader.as_ref().is_some_and(|(_, then)| !then.same_file(&now)) {
            self.another = true;
            self.reader = None;
        }
        let (reader, _) = match &mut self.reader {
            Some(opened) => opened,
            none => match SqliteReader::open(&self.path)? {
                Some(reader) => none.insert((reader, now)),
                None => {
                    return Err(absent(format!("the store `{shown}` is empty: run a sync")).into());
                }
            },
        };
        let seen = Seen { another: self.another, elsewhere: false };
        let version = reader.snapshot(|reader| {
            if reader.meta()?.schema_version != SCHEMA_VERSION {
                // Opening it anew says what that means.
                let text = format!("the store `{shown}` was migrated by another idpsyncd");
                return Err(StoreError::new(StoreErrorKind::Busy, text));
            }
            let version = reader.data_version()?;
            work(reader, seen)?;
            Ok(version)
        })?;
        self.another = false;
        Ok(version)
    }
}

impl Watch for SqliteWatch {
    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn wait(&mut self, most: Duration) -> bool {
        // `None`: for ever.
        let end = Instant::now().checked_add(most);
        let left = || end.map(|end| end.saturating_duration_since(Instant::now()));
        while self.last.is_some() {
            let pause = left().map_or(POLL, |left| left.min(POLL));
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
        let was_open = self.reader.is_some();
        let mut done = self.attempt(work);
        for number in 0..REOPEN {
            let at_rest = self.reader.as_ref().is_some_and(|(reader, _)| reader.is_at_rest());
            match &done {
                // A store that was at rest when it was opened, and is written now, is opened anew; again, where
                // the writer had not made its log yet.
                Err(Nothing::Fault(error))
                    if error.kind == StoreErrorKind::Busy
                        && (at_rest || (was_open && number == 0)) =>
                {
                    std::thread::sleep(REOPEN_PAUSE.saturating_mul(number));
                    self.reader = None;
                    done = self.attempt(work);
                }
                _ => break,
            }
        }
        let done = match done {
            Ok(version) => {
                self.last = Some(Last::Well(version));
                self.pace = POLL;
                return Ok(());
            }
            Err(Nothing::Hopeless(error)) => {
                self.pace = POLL;
                Err(error)
            }
            Err(Nothing::Fault(error)) if error.kind == StoreErrorKind::Absent => {
                self.pace = POLL;
                Err(error)
            }
            Err(Nothing::Fault(error)) => {
                // What was opened may be what is wrong.
                self.reader = None;
                self.pace = self.pace.saturating_mul(2).min(BACKOFF_MAX);
                if let (true, Some(seen)) = (is_content(error.kind), self.seen) {
                    self.hopeless = Some((seen, error.clone()));
                }
                Err(error)
            }
        };
        self.last = Some(Last::Unwell(Instant::now() + self.pace));
        done
    }
}

/// Whether the fault is in what the file holds, so that the same file has it again.
fn is_content(kind: StoreErrorKind) -> bool {
    match kind {
        StoreErrorKind::NotOurs
        | StoreErrorKind::Newer
        | StoreErrorKind::Older
        | StoreErrorKind::Damaged => true,
        StoreErrorKind::Absent
        | StoreErrorKind::NoFolder
        | StoreErrorKind::Full
        | StoreErrorKind::Denied
        | StoreErrorKind::Busy
        | StoreErrorKind::Other => false,
    }
}

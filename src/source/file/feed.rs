//! A file, or a folder of them, that is followed: looked at when something happens there, and read whole once it
//! has changed and then kept still.
//!
//! What wakes is [`watch`](super::watch); what counts is its metadata, through every link: so it does not
//! matter whether it is written in place, replaced by another under its name, or swapped with the folder that
//! a link leads to (as Kubernetes does with a ConfigMap). Now and then it is looked at all the same, since a
//! network's file system tells nobody of what another machine changes. A file that is not there is waited
//! for: nothing is taken from anybody for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::watch::Watch;
use super::{Content, FileSource, off_the_runtime, realm};
use crate::config::KindSettings;
use crate::directory::{Cursor, Interest};
use crate::model::FollowMode;
use crate::model::encoding::Encoder;
use crate::source::feed::{
    Feed, FeedEvent, FollowState, Following, Mark, MirrorView, Start, WhyFull,
};
use crate::source::{SourceError, SourceErrorKind};

/// The time between two looks where what happens there is seen as it happens, and where it is not.
const NOW_AND_THEN: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(250);
/// So long a file must have kept still before it is read: who writes it in pieces is done then.
const SETTLED: Duration = Duration::from_secs(2);
/// So long where somebody was seen to write to it and has not closed it.
const SETTLED_OPEN: Duration = Duration::from_secs(30);
/// One that never keeps still is told of after so long, and read as it is where nobody has it open: others are
/// put in its place all the time.
const RESTLESS: Duration = Duration::from_secs(60);

/// What the mirror was made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Written {
    /// The source's settings and the attributes that rules name, as a digest.
    settings: String,
    /// As [`look`] has it.
    look: String,
}

impl FileSource {
    fn path(&self) -> &Path {
        match &self.content {
            Content::RealmExport(config) => &config.path,
            Content::Ldif(config) => &config.path,
        }
    }

    fn is_export(&self) -> bool {
        matches!(self.content, Content::RealmExport(_))
    }

    fn written(&self, interest: &dyn Interest, look: String) -> Written {
        let mut encoder = Encoder::new("file feed 1");
        match &self.content {
            Content::RealmExport(config) => config.encode(&mut encoder),
            Content::Ldif(config) => config.encode(&mut encoder),
        }
        for (name, value) in interest.attributes() {
            encoder.list([name, value]);
        }
        Written { settings: encoder.hex(), look }
    }

    fn unread(&self, error: &std::io::Error) -> SourceError {
        SourceError::transient(format!("`{}` cannot be read: {error}", self.path().display()))
            .of_kind(SourceErrorKind::File)
    }
}

/// What tells one state of a file, or of a folder's files, from another, as a digest. Of a file that is
/// `read_with_others` those of its folder count, too, that may hold its people: of which realm it is says
/// its content alone, so those of every realm.
fn look(path: &Path, read_with_others: bool) -> std::io::Result<String> {
    let it = std::fs::metadata(path)?;
    let mut encoder = Encoder::new("look 2");
    state(&mut encoder, &it);
    let beside = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = match it.is_dir() {
        true => Some(path),
        false => read_with_others.then(|| beside.unwrap_or(Path::new("."))),
    };
    if let Some(folder) = folder {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if it.is_dir() || may_hold_people(&entry.file_name()) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        for path in paths {
            encoder.bytes(path.as_os_str().as_bytes());
            match std::fs::metadata(&path) {
                Ok(it) => state(&mut encoder, &it),
                // A link that leads nowhere is there as well.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => encoder.flag(false),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(encoder.hex())
}

/// Whether a file of this name may hold people of an export beside it.
pub(super) fn may_hold_people(name: &OsStr) -> bool {
    name.to_str().and_then(realm::users_in).is_some()
}

/// Which file it is, how long, when it was written, and when anything of it was changed.
fn state(encoder: &mut Encoder, it: &std::fs::Metadata) {
    for number in [it.dev(), it.ino(), it.size()] {
        encoder.number(number);
    }
    for number in [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()] {
        encoder.bytes(&number.to_le_bytes());
    }
}

impl Feed for FileSource {
    fn mark<'a>(&'a self, interest: &'a dyn Interest) -> BoxFuture<'a, Result<Mark, SourceError>> {
        Box::pin(async move {
            let look = off_the_runtime(|| look(self.path(), self.is_export()));
            let look = look.map_err(|error| self.unread(&error))?;
            // Text and numbers: nothing that JSON could not hold.
            let written = self.written(interest, look);
            let text = serde_json::to_string(&written).unwrap_or_default();
            Ok(Mark::At(Cursor::new(text)))
        })
    }

    /// A file that has changed may be half written: the feed has it read once it has kept still.
    fn stays<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<bool, SourceError>> {
        Box::pin(async move {
            // What is no cursor of a file's is told by whoever follows it.
            let read = serde_json::from_str::<Written>(cursor.as_str());
            let look = off_the_runtime(|| look(self.path(), self.is_export()));
            // Why it cannot be looked at is told by the read.
            Ok(read.is_err() || look.is_err() || read.ok().map(|it| it.look) == look.ok())
        })
    }

    fn follow<'a>(
        &'a self,
        interest: &'a dyn Interest,
        cursor: Option<Cursor>,
        _: Arc<dyn MirrorView>,
    ) -> BoxFuture<'a, Result<Start<'a>, SourceError>> {
        Box::pin(async move {
            let Some(cursor) = cursor else { return Ok(Start::Read(WhyFull::NoCursor)) };
            let Ok(written) = serde_json::from_str::<Written>(cursor.as_str()) else {
                return Ok(Start::Read(WhyFull::Unreadable));
            };
            if self.written(interest, written.look.clone()).settings != written.settings {
                return Ok(Start::Read(WhyFull::Foreign("set of the source's settings")));
            }
            let state = FollowState::new(FollowMode::Poll, chrono::Utc::now());
            Ok(Start::Here(Box::new(Watched {
                path: self.path(),
                is_export: self.is_export(),
                watch: Watch::new(),
                is_armed: false,
                read: written.look,
                seen: None,
                restless: None,
                state: watch::Sender::new(state),
            })))
        })
    }
}

/// A file that is looked at.
struct Watched<'a> {
    path: &'a Path,
    is_export: bool,
    watch: Watch,
    /// What happens there wakes.
    is_armed: bool,
    /// As it was when it was read.
    read: String,
    /// As it was seen last where that is different, and since when.
    seen: Option<(String, Instant)>,
    /// Since when it has been different, however often it changed since.
    restless: Option<Instant>,
    state: watch::Sender<FollowState>,
}

impl Watched<'_> {
    /// Whether it changed and kept still.
    fn changed(&mut self) -> bool {
        let began = chrono::Utc::now();
        let look = match off_the_runtime(|| {
            // First, so that what happens after the look is not missed.
            self.is_armed = self.watch.arm(self.path, self.is_export && !self.path.is_dir());
            look(self.path, self.is_export)
        }) {
            Ok(look) => look,
            Err(error) => {
                (self.seen, self.restless) = (None, None);
                self.held_up(format!("`{}` cannot be read: {error}", self.path.display()));
                return false;
            }
        };
        if look == self.read {
            (self.seen, self.restless) = (None, None);
            self.state.send_if_modified(|state| {
                let told = |at| began.signed_duration_since(at).num_seconds() < 1;
                let news = state.why.is_some() || !state.current_at.is_some_and(told);
                if news {
                    state.current_at = Some(began);
                    state.why = None;
                }
                news
            });
            return false;
        }
        match &self.seen {
            Some((seen, since)) if *seen == look => since.elapsed() >= self.settled(),
            _ => {
                let now = Instant::now();
                self.seen = Some((look, now));
                if *self.restless.get_or_insert(now) + RESTLESS <= now {
                    self.held_up(format!(
                        "`{}` is written to again and again and has not kept still",
                        self.path.display()
                    ));
                }
                false
            }
        }
    }

    /// Something stands in the way.
    fn held_up(&self, why: String) {
        self.state.send_if_modified(|state| {
            let news = state.why.as_ref() != Some(&why);
            state.why = Some(why);
            news
        });
    }

    /// How long it must have kept still.
    fn settled(&self) -> Duration {
        match self.restless {
            _ if self.watch.is_being_written() => SETTLED_OPEN,
            Some(since) if since.elapsed() >= RESTLESS => EVERY,
            _ => SETTLED,
        }
    }

    /// When to look again whatever happens.
    fn wait(&self) -> Duration {
        let pace = if self.is_armed { NOW_AND_THEN } else { EVERY };
        let left =
            self.seen.as_ref().map(|(_, since)| self.settled().saturating_sub(since.elapsed()));
        left.map_or(pace, |left| pace.min(left))
    }
}

impl Following for Watched<'_> {
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, SourceError>> {
        Box::pin(async move {
            while !self.changed() {
                self.watch.happens(self.wait()).await;
            }
            let seen = self.seen.as_ref().map(|(look, _)| look.clone());
            Ok(FeedEvent::Read(WhyFull::Changed(seen.unwrap_or_default())))
        })
    }

    fn state(&self) -> watch::Receiver<FollowState> {
        self.state.subscribe()
    }
}

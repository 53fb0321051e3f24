//! Following a source: what changes there, as [`Delta`]s.
//!
//! ```text
//! mark ─► cursor ─► (full read, whose mirror gets that cursor) ─► follow ─► next, next, …
//!                                   ▲                                        │
//!                                   └──────────── a full read is needed ◄────┘
//! ```
//!
//! A feed is never trusted alone. Whatever it cannot vouch for ends in [`WhyFull`], never in a delta
//! that might be wrong; and the periodic full read stays.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::SourceError;
use crate::directory::{Cursor, Delta, Interest, OwnDomain, RefId, Refusal};
use crate::model::{FollowMode, Followed, LastDrift, Time};

/// The capability of a source to say what changes.
pub trait Feed: Send + Sync {
    /// Where the feed stands now. To be asked *before* a full read: the mirror that the read makes gets
    /// this cursor, so that what changes in mid-read is told again.
    ///
    /// # Errors
    /// No answer: the read has no cursor then.
    fn mark<'a>(&'a self, interest: &'a dyn Interest) -> BoxFuture<'a, Result<Mark, SourceError>>;

    /// The full read that follows is made while the source is followed and has told all up to `cursor`: it
    /// is to know no less. Of several servers behind one name another may lag behind, and would bring back
    /// whoever is gone. Whether it is to be made now: `false` where the feed is about to ask for one itself.
    ///
    /// # Errors
    /// It would know less, or that cannot be told.
    fn stays<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<bool, SourceError>> {
        let _ = cursor;
        Box::pin(std::future::ready(Ok(true)))
    }

    /// Goes on from `cursor`, that of `mirror`, to which whoever follows applies each delta
    /// before asking for the next.
    ///
    /// # Errors
    /// No answer. Where that is transient it may be asked again soon.
    fn follow<'a>(
        &'a self,
        interest: &'a dyn Interest,
        cursor: Option<Cursor>,
        mirror: Arc<dyn MirrorView>,
    ) -> BoxFuture<'a, Result<Start<'a>, SourceError>>;
}

/// Where a feed stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Here.
    At(Cursor),
    /// It cannot be followed.
    Not(NotFollowed),
}

/// What must be done to follow a source.
pub enum Start<'a> {
    /// Nothing: it goes on from the cursor.
    Here(Box<dyn Following + 'a>),
    /// A full read first.
    Read(WhyFull),
    /// Full reads only.
    Not(NotFollowed),
}

impl fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Here(_) => f.write_str("Here"),
            Start::Read(why) => f.debug_tuple("Read").field(why).finish(),
            Start::Not(why) => f.debug_tuple("Not").field(why).finish(),
        }
    }
}

/// A source that is being followed. Dropping it ends that.
pub trait Following: Send {
    /// What comes next: waits until there is something, however long, and through outages.
    /// Asking again says that what was told before has been applied to the mirror. The wait may be
    /// given up and taken up again: nothing is lost by that.
    ///
    /// # Errors
    /// It cannot go on: only a person can mend that.
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, SourceError>>;

    /// How it is followed, as that changes.
    fn state(&self) -> watch::Receiver<FollowState>;
}

/// What a feed said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedEvent {
    /// This changed. The delta's step says to which cursor it leads.
    Changed(Delta),
    /// A full read is needed; nothing more will come.
    Read(WhyFull),
    /// It cannot be followed any longer; nothing more will come.
    Not(NotFollowed),
}

/// What a feed asks of the mirror that it feeds. Each is answered from an index, but the last.
pub trait MirrorView: Send + Sync {
    /// Whether the mirror has this person.
    ///
    /// # Errors
    /// No answer.
    fn has_person(&self, ext: &str) -> Result<bool, NoAnswer>;

    /// The domain of Active Directory that the mirror is of, by its SID: numbers of SIDs are relative to that.
    ///
    /// # Errors
    /// No answer.
    fn own_domain(&self) -> Result<OwnDomain<String>, NoAnswer>;

    /// Whether the mirror has this reference.
    ///
    /// # Errors
    /// No answer.
    fn has_ref(&self, id: &RefId) -> Result<bool, NoAnswer>;

    /// Whether everybody who is directly in this reference is known: its members were read in full once
    /// since somebody asked for them ([`RefRow::known`](crate::directory::RefRow::known)). Of one that
    /// the mirror does not have it is not.
    ///
    /// # Errors
    /// No answer.
    fn knows_members(&self, id: &RefId) -> Result<bool, NoAnswer>;

    /// What this person is directly in.
    ///
    /// # Errors
    /// No answer.
    fn within(&self, ext: &str) -> Result<Vec<RefId>, NoAnswer>;

    /// As [`MirrorView::within`]; `None` of whom the mirror does not have ([`MirrorView::has_person`]).
    ///
    /// # Errors
    /// No answer.
    fn person_within(&self, ext: &str) -> Result<Option<Vec<RefId>>, NoAnswer> {
        self.has_person(ext)?.then(|| self.within(ext)).transpose()
    }

    /// Those of `exts` who are in the mirror for certain: of whom nothing need be asked one by one, since
    /// there may be very many. May be fewer than there are.
    ///
    /// # Errors
    /// No answer.
    fn surely_there(&self, _exts: &BTreeSet<String>) -> Result<BTreeSet<String>, NoAnswer> {
        Ok(BTreeSet::new())
    }

    /// People who are in the mirror for certain, of those who are directly in this reference. May be
    /// fewer than there are.
    ///
    /// # Errors
    /// No answer.
    fn surely_in(&self, _id: &RefId) -> Result<BTreeSet<String>, NoAnswer> {
        Ok(BTreeSet::new())
    }

    /// What this reference leads to.
    ///
    /// # Errors
    /// No answer.
    fn leads_to(&self, id: &RefId) -> Result<Vec<RefId>, NoAnswer>;

    /// What leads to this reference.
    ///
    /// # Errors
    /// No answer.
    fn leading_to(&self, id: &RefId) -> Result<Vec<RefId>, NoAnswer>;

    /// Everybody and everything: asked only where a server says who is there instead of who is gone.
    ///
    /// # Errors
    /// No answer.
    fn everything(&self) -> Result<(Vec<String>, Vec<RefId>), NoAnswer>;
}

/// A mirror could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// There is no store.
    #[error("the mirror does not answer: there is no store")]
    NoStore,
    /// The store has no mirror of the source.
    #[error("the mirror does not answer: there is no mirror")]
    NoMirror,
    /// The store cannot be read.
    #[error("the mirror does not answer: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was told and is not stored yet does not fit what is stored.
    #[error("the mirror does not answer: {0}")]
    Refused(#[from] Refusal),
}

/// How a source is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowState {
    /// In which way.
    pub how: FollowMode,
    /// Why not in a better way, or what stands in the way just now.
    pub why: Option<String>,
    /// What it cannot tell as soon as all else, and what would help: nothing stands in its way.
    pub lacks: Option<String>,
    /// When the mirror was last known to be current.
    pub current_at: Option<Time>,
    /// Since when it is so.
    pub since: Time,
}

impl FollowState {
    /// At the beginning: nothing stands in the way.
    #[must_use]
    pub fn new(how: FollowMode, since: Time) -> Self {
        FollowState { how, why: None, lacks: None, current_at: None, since }
    }

    /// The same as others are shown it.
    #[must_use]
    pub fn shown(&self, last_drift: Option<LastDrift>) -> Followed {
        Followed {
            mode: self.how,
            why: self.why.clone().or_else(|| self.lacks.clone()),
            since: self.since,
            current_at: self.current_at,
            last_drift,
        }
    }
}

/// Why a source must be read in full before it can be followed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WhyFull {
    /// The mirror has no cursor.
    #[error("there is no cursor to go on from")]
    NoCursor,
    /// The mirror has no cursor although there could be one.
    #[error(
        "the last full read did not bring everything, and what it missed no feed would tell again"
    )]
    Incomplete,
    /// The cursor is of another server, base, filter, identity or set of attributes.
    #[error("the cursor is of another {0}")]
    Foreign(&'static str),
    /// The cursor says nothing.
    #[error("the cursor cannot be understood")]
    Unreadable,
    /// The server cannot go on from there (result 4096).
    #[error("the server cannot go on from the cursor: a refresh is required")]
    Refused,
    /// The server is older than the cursor: a restored backup, or it lost its last changes.
    #[error("the cursor is newer than the server, as after a restored backup")]
    Newer,
    /// The server's change log no longer reaches back.
    #[error("the server's change log begins at {first}, and the cursor is at {at}")]
    Trimmed {
        /// The first change that is left.
        first: u64,
        /// The last that was told.
        at: u64,
    },
    /// The server does not say how far back its change log reaches.
    #[error("the server does not show how far back its change log reaches")]
    UnknownLog,
    /// So much has changed that a full read costs less.
    #[error("more than {0} entries have changed")]
    TooMuch(usize),
    /// An entry with others below it has another name, which no server says of those below.
    #[error("`{}` was renamed or moved with what is below it", .0.escape_debug())]
    Moved(String),
    /// The server says who is there instead of who is gone: with access rules that hide somebody, that
    /// looks the same.
    #[error(
        "the server no longer knows who was deleted since the cursor: its session log does not reach \
         back, as after a restart"
    )]
    NoSessionLog,
    /// The canary cannot be read: nothing that seems gone can be believed to be.
    #[error("{0}")]
    Canary(String),
    /// An entry was deleted of which it is not known who it was.
    #[error("an entry was deleted whose id leads to nobody")]
    UnknownId,
    /// What was told does not fit the mirror.
    #[error("what the feed told does not fit: {0}")]
    Refusal(Refusal),
    /// The file changed: being read in full is how it is followed. Which state of it that is.
    #[error("the file changed")]
    Changed(String),
    /// What only this kind of source has.
    #[error("{0}")]
    Other(String),
}

/// Why a source cannot be followed at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotFollowed {
    /// The configuration says so.
    #[error("`watch = \"off\"`")]
    Off,
    /// It has not been read yet.
    #[error("it has not been read yet")]
    NotRead,
    /// No feed is known for this kind of server.
    #[error("no feed is known for this kind of server")]
    Unknown,
    /// The server does not offer it.
    #[error("{0}")]
    NotOffered(&'static str),
    /// Users and groups are in different trees.
    #[error("the bases of users and groups have nothing above them in common on this server")]
    Apart,
    /// A limit of the server stands in the way, or a right is missing.
    #[error("{0}")]
    Refused(String),
}

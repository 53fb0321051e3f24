//! The loop of a followed realm: poll, gather, read again, tell.
//!
//! Nothing is forgotten before it was told. What a poll brought is put into [`Pending`] as soon as the
//! place in the log moves on, and stays there until the delta that covers it is handed out; somebody who
//! cannot be read stays for longer, and meanwhile the mirror's cursor does not move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::{Batch, Outcome, PEOPLE, Reader, Trouble, Wanted};
use super::cursor::{Key, Written};
use super::hint::Hint;
use super::settings::{self, Settings};
use super::stream::{Log, Poll, Stream};
use super::structure::Structure;
use super::{OFF, refused, server_time, why};
use crate::directory::{Cursor, Delta, Interest, Step};
use crate::model::{FollowMode, Time};
use crate::source::SourceError;
use crate::source::feed::{
    FeedEvent, FollowState, Following, MirrorView, NoAnswer, NotFollowed, WhyFull,
};
use crate::source::keycloak::client::Client;
use crate::source::keycloak::config::KeycloakConfig;

/// The time between two polls.
const EVERY: Duration = Duration::from_secs(1);
/// Each so many polls the realm's settings are looked at.
const SETTINGS: u32 = 10;
/// The longest time between two tries while the server is away.
const LONGEST: Duration = Duration::from_secs(5);
/// So often in a row something may come that cannot be believed.
const DOUBTS: u32 = 5;
/// The longest time between two tries to read somebody who cannot be read.
const RETRY: Duration = Duration::from_secs(60);

/// From where it begins.
pub(super) struct Begin {
    pub at: Cursor,
    pub key: Key,
    pub written: Written,
    pub settings: Settings,
    pub structure: Structure,
}

/// What must be read, and was not yet told.
#[derive(Default)]
struct Pending {
    people: BTreeMap<String, Retry>,
    structure: bool,
    /// A role may have been made anew.
    remade: bool,
    /// Who joined an organization, by username.
    joined: BTreeSet<String>,
    /// Organizations that were changed, by id.
    organizations: BTreeSet<String>,
}

/// When somebody is to be read.
#[derive(Default)]
struct Retry {
    tries: u32,
    /// Not before; none: at once.
    after: Option<Instant>,
}

/// What was handed out and is applied once the next is asked for.
struct HandedOut {
    cursor: Cursor,
    structure: Option<Structure>,
    at: Time,
}

/// A realm that is followed.
pub(super) struct Follower<'a> {
    client: &'a Client,
    config: &'a KeycloakConfig,
    interest: &'a dyn Interest,
    mirror: Arc<dyn MirrorView>,
    key: Key,
    settings: Settings,
    admin: Stream,
    user: Option<Stream>,
    /// The mirror's cursor.
    at: Cursor,
    structure: Structure,
    /// The mirror was told that structure; otherwise it may have an older one.
    told_structure: bool,
    told: Option<HandedOut>,
    pending: Pending,
    next_poll: Instant,
    polls: u32,
    failures: u32,
    state: watch::Sender<FollowState>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        (client, config): (&'a Client, &'a KeycloakConfig),
        interest: &'a dyn Interest,
        mirror: Arc<dyn MirrorView>,
        begin: Begin,
    ) -> Result<Self, NoAnswer> {
        let Begin { at, key, written, settings, structure } = begin;
        let mut pending = Pending::default();
        // Rules may have changed since the mirror was read, or a group since.
        for (id, row) in structure.rows.iter().filter(|(_, row)| row.matters) {
            let unread = mirror.has_ref(id)? && !mirror.knows_members(id)?;
            pending.structure |= unread && row.matters;
        }
        let now = chrono::Utc::now();
        let state = FollowState::new(FollowMode::Poll, now);
        Ok(Follower {
            client,
            config,
            interest,
            mirror,
            key,
            settings,
            admin: Stream::new(Log::Admin, written.admin),
            user: written.user.map(|place| Stream::new(Log::User, place)),
            at,
            structure,
            told_structure: false,
            told: None,
            pending,
            next_poll: Instant::now(),
            polls: 0,
            failures: 0,
            state: watch::Sender::new(state),
        })
    }

    /// What was told last has been applied to the mirror.
    fn applied(&mut self) {
        let Some(told) = self.told.take() else { return };
        self.at = told.cursor;
        self.read_structure(told.structure);
        self.current(told.at);
    }

    fn read_structure(&mut self, structure: Option<Structure>) {
        if let Some(structure) = structure {
            self.structure = structure;
            self.told_structure = true;
        }
    }

    fn current(&self, at: Time) {
        let why = self.pending.stuck();
        let current = self.pending.people.is_empty() && self.pending.is_of_people_alone();
        self.state.send_modify(|state| {
            if current {
                state.current_at = Some(at);
            }
            state.why = why;
        });
    }

    /// One poll and what it comes to.
    async fn turn(&mut self) -> Result<Option<FeedEvent>, Trouble> {
        let began = chrono::Utc::now();
        if let Some(event) = self.poll().await? {
            return Ok(Some(event));
        }
        let due = self.pending.due();
        if due.is_empty() && self.pending.is_of_people_alone() {
            self.current(began);
            return Ok(None);
        }
        if self.pending.people.len() > PEOPLE {
            return Ok(Some(FeedEvent::Read(WhyFull::TooMuch(PEOPLE))));
        }
        if self.pending.remade && !self.told_structure {
            let why = "a role was deleted or made, and may bear the name of another one".to_owned();
            return Ok(Some(FeedEvent::Read(WhyFull::Other(why))));
        }
        let reader = Reader {
            client: self.client,
            config: self.config,
            interest: self.interest,
            mirror: &*self.mirror,
        };
        let wanted = Wanted {
            structure: self.pending.structure,
            last: &self.structure,
            told: self.told_structure,
            people: due.clone(),
            joined: self.pending.joined.clone(),
            organizations: self.pending.organizations.clone(),
        };
        // From here on there is no waiting any more: what is pending goes with what is told.
        match reader.batch(wanted).await? {
            Outcome::Full(why) => Ok(Some(FeedEvent::Read(why))),
            Outcome::Read(batch) => Ok(self.tell(*batch, &due, began)),
        }
    }

    fn tell(&mut self, batch: Batch, due: &BTreeSet<String>, began: Time) -> Option<FeedEvent> {
        let Batch { delta, structure, failed } = batch;
        if structure.is_some() {
            self.pending.structure = false;
            self.pending.remade = false;
        }
        self.pending.joined.clear();
        self.pending.organizations.clear();
        self.pending.done(due, failed);
        let nothing = Delta { step: None, ..delta.clone() } == Delta::default();
        if nothing {
            self.read_structure(structure);
            self.current(began);
            return None;
        }
        let cursor = match self.pending.people.is_empty() {
            true => self.written().cursor(),
            // Whoever is left is told again after a restart.
            false => self.at.clone(),
        };
        let step = Step { from: self.at.clone(), to: cursor.clone() };
        self.told = Some(HandedOut { cursor, structure, at: began });
        Some(FeedEvent::Changed(Delta { step: Some(step), ..delta }))
    }

    fn written(&self) -> Written {
        let user = self.user.as_ref().map(|stream| stream.place().clone());
        Written::new(self.key.clone(), self.admin.place().clone(), user)
    }

    /// Asks for new events, and puts what they say into what is pending.
    async fn poll(&mut self) -> Result<Option<FeedEvent>, Trouble> {
        let accounts = self.config.service_accounts;
        if self.polls.is_multiple_of(SETTINGS) {
            let settings = settings::read(self.client).await?;
            if let Some(event) = self.changed(&settings) {
                return Ok(Some(event));
            }
            self.settings = settings;
        }
        let now = server_time(self.client).await?;
        let user = self.user.as_ref().map(|stream| stream.poll(self.client, accounts));
        let polled = futures_util::future::join(
            self.admin.poll(self.client, accounts),
            OptionFuture::from(user),
        )
        .await;
        self.polls = self.polls.wrapping_add(1);
        let (admin, user) = match (polled.0, polled.1.transpose()) {
            (Ok(admin), Ok(user)) => (admin, user),
            (Err(error), _) | (_, Err(error)) => {
                return match refused(self.client, &error) {
                    Some(not) => Ok(Some(FeedEvent::Not(not))),
                    None => Err(error.into()),
                };
            }
        };
        let kept = (self.settings.admin_events_kept(), self.settings.user_events_kept());
        let mut hints = Vec::new();
        let polls = [
            Some((&mut self.admin, admin, kept.0)),
            self.user.as_mut().zip(user).map(|(stream, poll)| (stream, poll, kept.1)),
        ];
        for (stream, poll, kept) in polls.into_iter().flatten() {
            match poll.and_then(|poll: Poll| stream.take(poll, now, kept)) {
                Ok(new) => hints.extend(new),
                Err(broken) => return Ok(Some(FeedEvent::Read(why(broken)))),
            }
        }
        let first = self.polls == 1;
        let asks = !self.interest.organizations().is_empty();
        Ok(self.pending.add(hints, first, asks).map(|why| FeedEvent::Read(WhyFull::Other(why))))
    }

    /// What the realm's settings lead to by themselves.
    fn changed(&self, settings: &Settings) -> Option<FeedEvent> {
        if settings.id != self.settings.id {
            return Some(FeedEvent::Read(WhyFull::Foreign("realm")));
        }
        if !settings.admin_events_enabled {
            return Some(FeedEvent::Not(NotFollowed::NotOffered(OFF)));
        }
        (settings.events_enabled != self.user.is_some()).then(|| {
            FeedEvent::Read(WhyFull::Other("user events were switched on or off".to_owned()))
        })
    }

    /// What to do about `trouble`: an event, an error that ends it, or nothing but to wait.
    fn bear(&mut self, trouble: Trouble) -> Option<Result<FeedEvent, SourceError>> {
        self.failures = self.failures.saturating_add(1);
        let wait = EVERY.saturating_mul(1 << self.failures.min(3)).min(LONGEST);
        self.next_poll = Instant::now() + wait;
        let why = match trouble {
            Trouble::Call(error) => {
                // One odd answer may be a proxy's, or of a server that starts.
                let lasts = error.fault.ends_the_read() || self.failures >= DOUBTS;
                let error = self.client.source_error(error);
                if !error.transient && lasts {
                    return Some(Err(error));
                }
                error.message
            }
            Trouble::Told(error) if error.transient => error.message,
            Trouble::Told(error) => {
                return Some(Ok(FeedEvent::Not(NotFollowed::Refused(error.message))));
            }
            Trouble::Mirror(error) => error.to_string(),
            Trouble::Doubt(doubt) if self.failures < DOUBTS => doubt,
            Trouble::Doubt(doubt) => return Some(Ok(FeedEvent::Read(WhyFull::Other(doubt)))),
        };
        tracing::debug!(%why, "Keycloak's events wait");
        self.state.send_modify(|state| state.why = Some(why));
        None
    }
}

impl Following for Follower<'_> {
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, SourceError>> {
        Box::pin(async move {
            self.applied();
            loop {
                tokio::time::sleep_until(self.next_poll).await;
                self.next_poll = Instant::now() + EVERY;
                match self.turn().await {
                    Ok(event) => {
                        self.failures = 0;
                        if let Some(event) = event {
                            return Ok(event);
                        }
                    }
                    Err(trouble) => {
                        if let Some(end) = self.bear(trouble) {
                            return end;
                        }
                    }
                }
            }
        })
    }

    fn state(&self) -> watch::Receiver<FollowState> {
        self.state.subscribe()
    }
}

impl Pending {
    /// Takes in what events say; why everything must be read, where one says so.
    ///
    /// `first`: it happened before the groups and roles were read when following began, perhaps. `asks`: rules
    /// name organizations.
    fn add(&mut self, hints: Vec<Hint>, first: bool, asks: bool) -> Option<String> {
        for hint in hints {
            match hint {
                Hint::Person(id) => {
                    self.people.entry(id).or_default().after = None;
                }
                Hint::Structure { remade, made } => {
                    self.structure = true;
                    self.remade |= remade || (made && first);
                }
                Hint::Joined(Some(name)) if asks => {
                    self.joined.insert(name);
                }
                Hint::Joined(None) if asks => {
                    return Some(
                        "somebody joined an organization, and no event says who".to_owned(),
                    );
                }
                Hint::Organization(id) => {
                    self.organizations.insert(id);
                    self.structure |= asks;
                }
                Hint::Organizations => self.structure |= asks,
                Hint::Everything(why) => return Some(why),
                Hint::Joined(_) | Hint::Nothing => {}
            }
        }
        None
    }

    /// Whether nothing is to be read but some people.
    fn is_of_people_alone(&self) -> bool {
        !self.structure && self.joined.is_empty() && self.organizations.is_empty()
    }

    /// Who is to be read now.
    fn due(&self) -> BTreeSet<String> {
        let now = Instant::now();
        let due = |retry: &Retry| retry.after.is_none_or(|after| after <= now);
        self.people.iter().filter(|(_, retry)| due(retry)).map(|(id, _)| id.clone()).collect()
    }

    /// `due` were asked about, and these of them, or of others besides, could not be read.
    fn done(&mut self, due: &BTreeSet<String>, failed: BTreeMap<String, String>) {
        self.people.retain(|id, _| !due.contains(id) || failed.contains_key(id));
        for (id, why) in failed {
            let retry = self.people.entry(id).or_default();
            retry.tries = retry.tries.saturating_add(1);
            let wait = EVERY.saturating_mul(1 << retry.tries.min(6)).min(RETRY);
            retry.after = Some(Instant::now() + wait);
            tracing::debug!(%why, "somebody cannot be read again yet");
        }
    }

    /// What to say while somebody cannot be read.
    fn stuck(&self) -> Option<String> {
        let (id, retry) = self.people.iter().find(|(_, retry)| retry.tries > 1)?;
        Some(format!(
            "the person with the id `{}` changed and could not be read {} times",
            id.escape_debug(),
            retry.tries
        ))
    }
}

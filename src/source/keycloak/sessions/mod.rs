//! Which sessions of a realm end before their tokens do: what its not-before says, which anybody may ask,
//! its events and its clients.
//!
//! An event is there once its change is; each poll asks again for some time back, and what was seen there is
//! known by its id. Nothing is kept over a restart: whoever begins is told what ended as long ago as a token
//! lives, and to be told once more is no harm.

mod clients;
mod event;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;

use self::clients::Clients;
use self::event::{AdminRow, Meaning, OPERATIONS, SessionEvent, TYPES, UserRow};
use super::KeycloakSource;
use super::api::{each, json};
use super::client::Client;
use super::fault::{CallError, Fault, management_client};
use super::feed::OFF;
use super::feed::settings::{self, Settings};
use super::lookup::is_gone;
use crate::model::SessionScope;
use crate::source::SourceError;
use crate::source::sessions::{Sessions, SessionsFollowing, SessionsTold, TokenLife};

/// How late an event may turn up: longer than any transaction of the server's takes.
const LONG: i64 = 60_000;
/// How late one turns up that is no more than usual.
const SHORT: i64 = 5_000;
/// Each so many polls go back for [`LONG`], and look at the realm's settings.
const EACH: u32 = 10;
/// Each so many polls look at the clients.
const EACH_CLIENTS: u32 = 2;
/// Rows a page.
const PAGE: usize = 200;
/// The longest that one person may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest that all may take together in one poll: nothing else is heard meanwhile.
const ALTOGETHER: Duration = Duration::from_millis(500);
/// So many people are asked about at most in one poll, and the others in the next.
const PEOPLE: usize = 100;

/// A refresh may still give tokens of a session until its end is committed: by then at the latest.
const SESSION_SETTLES: i64 = 300;
/// The same of a person, in milliseconds after the event: what they sign in to then counts again.
const SUBJECT_SETTLES: i64 = 500;

impl Sessions for KeycloakSource {
    fn token_lives<'a>(
        &'a self,
        clients: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<TokenLife>, SourceError>> {
        Box::pin(async move {
            let whole = |error| self.client.source_error(error);
            let realm = clients::realm(&self.client).await.map_err(whole)?;
            let mut rows = Vec::new();
            for id in clients {
                rows.extend(clients::row(&self.client, id).await.map_err(whole)?);
            }
            Ok(clients::lives(realm, &rows))
        })
    }

    fn sessions(&self, back: Duration, clients: Vec<String>) -> Box<dyn SessionsFollowing + '_> {
        Box::new(Follower {
            client: &self.client,
            back: i64::try_from(back.as_millis()).unwrap_or(i64::MAX),
            heard: None,
            seen: BTreeMap::new(),
            polls: 0,
            events: None,
            not_before: 0,
            perhaps: BTreeMap::new(),
            asked: clients,
            clients: Clients::default(),
            ended: Vec::new(),
        })
    }
}

/// A realm whose sessions are followed.
struct Follower<'a> {
    client: &'a Client,
    /// How far back the first poll goes, in milliseconds.
    back: i64,
    /// When the last poll was made that was answered, in milliseconds of the server's clock.
    heard: Option<i64>,
    /// The events of the last [`LONG`], by id, and their times.
    seen: BTreeMap<String, i64>,
    polls: u32,
    /// Which events there are; absent: nobody has asked yet.
    events: Option<Events>,
    /// The realm's not-before that was told.
    not_before: i64,
    /// People who may have been disabled or deleted.
    perhaps: BTreeMap<String, Perhaps>,
    /// The ids of the clients that are looked at, and what is known of them.
    asked: Vec<String>,
    clients: Clients,
    /// What has ended and was not told yet.
    ended: Vec<(SessionScope, i64)>,
}

/// Somebody who may have been disabled or deleted.
#[derive(Clone, Copy)]
struct Perhaps {
    /// When, in milliseconds of the server's clock.
    time: i64,
    /// Not asked about before this poll.
    after: u32,
}

/// Which events can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Events {
    admin: bool,
    user: bool,
    /// The service account may not see them.
    forbidden: bool,
}

/// What anybody is told of a realm.
#[derive(Deserialize)]
struct PublicRealm {
    #[serde(rename = "tokens-not-before", default)]
    not_before: i64,
}

/// Which log.
#[derive(Clone, Copy)]
enum Log {
    Admin,
    User,
}

impl SessionsFollowing for Follower<'_> {
    fn next(&mut self) -> BoxFuture<'_, Result<SessionsTold, SourceError>> {
        Box::pin(async move {
            let polled = self.poll().await;
            if polled.is_err() {
                // After an outage it is asked for what came late before it, too.
                self.polls = self.polls.next_multiple_of(EACH);
            }
            // What was found before something went wrong is told all the same.
            if let Err(error) = polled
                && self.ended.is_empty()
            {
                return Err(self.client.source_error(error));
            }
            Ok(SessionsTold { ended: std::mem::take(&mut self.ended), untold: self.untold() })
        })
    }
}

impl Follower<'_> {
    async fn poll(&mut self) -> Result<(), CallError> {
        let now = self.now().await?;
        self.look_at_not_before(now).await?;
        if self.polls.is_multiple_of(EACH) {
            self.events = Some(Events::of(&settings::read(self.client).await?));
        }
        let events = self.events.unwrap_or(Events { admin: false, user: false, forbidden: false });
        let from = self.from(now);
        let mut new = Vec::new();
        for (log, there) in [(Log::Admin, events.admin), (Log::User, events.user)] {
            if !there {
                continue;
            }
            match all(self.client, log, from).await {
                Ok(found) => new.extend(found),
                Err(CallError { fault: Fault::Status { status: 403, .. }, .. }) => {
                    self.events = Some(Events { forbidden: true, ..events });
                }
                Err(error) => return Err(error),
            }
        }
        let first = self.heard.is_none();
        // What nobody could read is asked for once somebody can.
        if !self.events.is_some_and(|events| events.forbidden) {
            self.heard = Some(now);
        }
        self.polls = self.polls.wrapping_add(1);
        for event in new {
            self.take(event, (first, now));
        }
        self.seen.retain(|_, time| *time >= now.saturating_sub(2 * LONG));
        self.ask_about_people().await?;
        if self.polls.is_multiple_of(EACH_CLIENTS) || first {
            self.look_at_clients(now).await?;
        }
        Ok(())
    }

    /// The server's time in milliseconds; ours where no token tells it.
    async fn now(&self) -> Result<i64, CallError> {
        let told = self.client.token().await?.server_time();
        Ok(told.unwrap_or_else(|| chrono::Utc::now().timestamp_millis()))
    }

    /// From which time on this poll asks.
    fn from(&self, now: i64) -> i64 {
        let Some(heard) = self.heard else { return now.saturating_sub(self.back).max(0) };
        let back = if self.polls.is_multiple_of(EACH) { LONG } else { SHORT };
        // A clock that went back, or another node's.
        heard.min(now).saturating_sub(back).max(0)
    }

    async fn look_at_not_before(&mut self, now: i64) -> Result<(), CallError> {
        let realm = self.client.public(|body| json::<PublicRealm>(body)).await?;
        let recent = realm.not_before.saturating_mul(1000) >= now.saturating_sub(self.back);
        if realm.not_before != self.not_before && recent {
            // To the server what was issued in that second counts (`TokenManager`), a refresh before
            // the commit too. Here it does not: who signs in then refreshes soon.
            self.ended.push((SessionScope::Everybody, realm.not_before));
        }
        self.not_before = realm.not_before;
        Ok(())
    }

    /// A client's not-before, and one that is disabled: no event of theirs says enough.
    async fn look_at_clients(&mut self, now: i64) -> Result<(), CallError> {
        for id in &self.asked {
            if let Some(row) = clients::row(self.client, id).await? {
                self.ended.extend(self.clients.take(&row, (now, self.back)));
            }
        }
        Ok(())
    }

    fn take(&mut self, event: SessionEvent, (first, now): (bool, i64)) {
        let SessionEvent { id, time, meaning } = event;
        if self.seen.insert(id, time).is_some() {
            return;
        }
        let settled = |after: i64| time.saturating_add(after).div_euclid(1000);
        match meaning {
            Meaning::Ended(scope @ SessionScope::Session(_)) => {
                self.ended.push((scope, settled(SESSION_SETTLES * 1000)));
            }
            Meaning::Ended(scope) => self.ended.push((scope, settled(SUBJECT_SETTLES))),
            // Whoever was disabled while nobody followed is known by the read that comes with it.
            Meaning::IfDisabled(_) if first && time < now.saturating_sub(LONG) => {}
            Meaning::IfDisabled(person) => {
                let known = self.perhaps.entry(person).or_insert(Perhaps { time, after: 0 });
                *known = Perhaps { time: time.max(known.time), after: 0 };
            }
            Meaning::Nothing => {}
        }
    }

    /// Asks about those who may have been disabled or deleted. Somebody whose directory hangs keeps nobody
    /// else waiting for long.
    async fn ask_about_people(&mut self) -> Result<(), CallError> {
        let due = |perhaps: &Perhaps| perhaps.after <= self.polls;
        let due = self.perhaps.iter().filter(|(_, perhaps)| due(perhaps));
        let mut due: Vec<(String, Perhaps)> =
            due.map(|(id, perhaps)| (id.clone(), *perhaps)).collect();
        // Nobody is kept waiting by others for ever, and what else ends by none of them.
        due.sort_by_key(|(_, perhaps)| perhaps.time);
        due.truncate(PEOPLE);
        let began = tokio::time::Instant::now();
        for (person, Perhaps { time, .. }) in due {
            if began.elapsed() >= ALTOGETHER {
                break;
            }
            let asked = may_sign_in(self.client, &person);
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(true)) => drop(self.perhaps.remove(&person)),
                Ok(Ok(false)) => {
                    self.perhaps.remove(&person);
                    let last_iat = time.saturating_add(SUBJECT_SETTLES).div_euclid(1000);
                    self.ended.push((SessionScope::Subject(person), last_iat));
                }
                Ok(Err(error)) if error.fault.ends_the_read() => return Err(error),
                Ok(Err(_)) | Err(_) => {
                    let after = self.polls.saturating_add(EACH);
                    self.perhaps.insert(person, Perhaps { time, after });
                }
            }
        }
        Ok(())
    }

    /// What nobody tells.
    fn untold(&self) -> Option<String> {
        let events = self.events?;
        if events.forbidden {
            return Some(format!(
                "the service account of client `{}` may not read events: grant it the role `view-events` of client `{}`",
                self.client.client_id(),
                management_client(self.client.realm())
            ));
        }
        match events {
            Events { admin: false, .. } => Some(OFF.to_owned()),
            Events { user: false, .. } => Some(
                "the realm keeps no user events, so who signs out is told by back-channel logout alone: switch them on (Realm settings, Events, User events settings)".to_owned(),
            ),
            _ => None,
        }
    }
}

impl Events {
    fn of(settings: &Settings) -> Events {
        let (admin, user) = (settings.admin_events_enabled, settings.events_enabled);
        Events { admin, user, forbidden: false }
    }
}

/// All that is in a log since a time.
async fn all(client: &Client, log: Log, from: i64) -> Result<Vec<SessionEvent>, CallError> {
    let mut found: BTreeMap<String, SessionEvent> = BTreeMap::new();
    let (mut to, mut rows): (Option<i64>, usize) = (None, PAGE);
    loop {
        let page = page(client, log, (from, to), rows).await?;
        let (full, oldest) = (page.len() >= rows, page.iter().map(|event| event.time).min());
        found.extend(page.into_iter().map(|event| (event.id.clone(), event)));
        if !full {
            return Ok(found.into_values().collect());
        }
        // A page of one and the same moment cannot be gone behind, but by a larger one.
        if oldest == to {
            rows = rows.saturating_mul(10);
        }
        to = oldest;
    }
}

async fn page(
    client: &Client,
    log: Log,
    (from, to): (i64, Option<i64>),
    rows: usize,
) -> Result<Vec<SessionEvent>, CallError> {
    let (from, to, rows) = (from.to_string(), to.map(|to| to.to_string()), rows.to_string());
    let mut query =
        vec![("dateFrom", from.as_str()), ("max", rows.as_str()), ("direction", "desc")];
    query.extend(to.as_deref().map(|to| ("dateTo", to)));
    let path = match log {
        Log::Admin => {
            query.extend(OPERATIONS.map(|operation| ("operationTypes", operation)));
            "admin-events"
        }
        Log::User => {
            query.extend(TYPES.map(|kind| ("type", kind)));
            "events"
        }
    };
    client
        .get(&[path], &query, move |body| {
            let mut events = Vec::new();
            match log {
                Log::Admin => each(body, |row: AdminRow| events.push(row.event()))?,
                Log::User => each(body, |row: UserRow| events.push(row.event()))?,
            }
            Ok(events)
        })
        .await
}

/// Whether somebody may still sign in.
async fn may_sign_in(client: &Client, person: &str) -> Result<bool, CallError> {
    #[derive(Deserialize)]
    struct Person {
        enabled: bool,
    }
    match client.get(&["users", person], &[], |body| json::<Person>(body)).await {
        Ok(Person { enabled }) => Ok(enabled),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

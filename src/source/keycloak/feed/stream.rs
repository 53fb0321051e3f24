//! One of the realm's two logs of events, as it is polled.
//!
//! An event has its time before it is committed, so one may turn up behind others that are newer: each
//! poll asks again for some time back, and what was seen there is known by its id. A short time at most
//! polls, a long one at some; and once nothing new came for that long, only for the newest event itself.
//! The newest is always asked for, however old: where it is no longer there, the log was emptied, or is
//! another server's or an older one's, and nobody knows what else is missing.
//!
//! Pages go back from the newest by time, not by number: what comes meanwhile shifts nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::hint::{AdminEvent, Event, Hint, USER_EVENTS, UserEvent};
use crate::source::keycloak::api::each;
use crate::source::keycloak::client::Client;
use crate::source::keycloak::fault::CallError;

/// How late an event may turn up: longer than any transaction of the server's takes.
const LONG: Duration = Duration::from_secs(60);
/// How late one turns up that is no more than usual.
const SHORT: Duration = Duration::from_secs(5);
/// Each so many polls go back for [`LONG`].
const EACH: u32 = 10;
/// Rows a page.
const PAGE: usize = 200;
/// With more than this in one poll a full read costs less.
const MOST: usize = 4000;

/// Which log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Log {
    /// What administrators do.
    Admin,
    /// What people do with their own accounts.
    User,
}

/// How far a log was followed. What is written down of it is part of a cursor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// The newest event's time, or the server's where its clock went back.
    pub at: i64,
    /// The newest event, by id, and its time.
    pub last: Option<(String, i64)>,
    /// The events of the last [`LONG`] before `at`, by id.
    pub seen: BTreeMap<String, i64>,
}

/// What one poll brought: everything since a time.
#[derive(Debug)]
pub(super) struct Poll {
    events: BTreeMap<String, Event>,
}

/// Why a poll leads to no more than a full read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// The newest event that was known is no longer there.
    Lost,
    /// The server's clock went back by more than a late event is looked for.
    ClockBack,
    /// More than [`MOST`] events.
    TooMuch(usize),
}

/// A log while it is followed.
pub(super) struct Stream {
    log: Log,
    place: Place,
    polls: u32,
    quiet_since: Instant,
    /// Before this moment nothing is known of what was on its way when `place` was written down.
    long_since: Option<Instant>,
    /// When it was asked last, by the server's clock in milliseconds; absent: not since following began.
    heard: Option<i64>,
}

impl Stream {
    pub(super) fn new(log: Log, place: Place) -> Self {
        Stream { log, place, polls: 0, quiet_since: Instant::now(), long_since: None, heard: None }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether this poll goes back for long.
    fn goes_long(&self) -> bool {
        self.polls.is_multiple_of(EACH)
    }

    /// From which time on this poll asks.
    fn from(&self) -> i64 {
        let settled = self.quiet_since.elapsed() > LONG
            && self.long_since.is_some_and(|long| long > self.quiet_since + LONG);
        let back = match () {
            () if settled => Duration::ZERO,
            () if self.goes_long() => LONG,
            () => SHORT,
        };
        let from = self.place.at.saturating_sub(millis(back));
        self.place.last.as_ref().map_or(from, |(_, time)| from.min(*time)).max(0)
    }

    /// Asks for everything that is new, and for some that is not.
    pub(super) async fn poll(
        &self,
        client: &Client,
        accounts: bool,
    ) -> Result<Result<Poll, Broken>, CallError> {
        let from = self.from();
        let mut poll = Poll { events: BTreeMap::new() };
        let mut to: Option<i64> = None;
        loop {
            let page = page(client, self.log, accounts, (from, to), PAGE).await?;
            let (rows, oldest) = (page.len(), page.iter().map(|event| event.time).min());
            let before = poll.events.len();
            poll.events.extend(page.into_iter().map(|event| (event.id.clone(), event)));
            if rows < PAGE {
                return Ok(Ok(poll));
            }
            // A page of one and the same moment cannot be gone behind.
            if poll.events.len() > MOST || poll.events.len() == before || oldest == to {
                return Ok(Err(Broken::TooMuch(poll.events.len())));
            }
            to = oldest;
        }
    }

    /// Takes in a poll: what is new says what to do. `now` is the server's time, `kept` how long it
    /// keeps events where that is bounded, both in milliseconds.
    pub(super) fn take(
        &mut self,
        poll: Poll,
        now: Option<i64>,
        kept: Option<i64>,
    ) -> Result<Vec<Hint>, Broken> {
        // Where no token tells the server's time, ours will do for how long it keeps events.
        let here = now.unwrap_or_else(|| chrono::Utc::now().timestamp_millis());
        let now = now.unwrap_or(i64::MAX);
        if let Some((id, time)) = &self.place.last
            && !poll.events.contains_key(id)
        {
            // What came after it and went before it was asked for nobody has heard: so it must have been
            // there when it was asked for last, less than that ago.
            let expired = kept.is_some_and(|kept| here.saturating_sub(*time) >= kept);
            let heard = |at: i64| kept.is_some_and(|kept| here.saturating_sub(at) < kept);
            if !expired || !self.heard.is_some_and(heard) {
                return Err(Broken::Lost);
            }
            self.place.last = None;
        }
        // A clock that went back makes events that are older than those before.
        if now.saturating_add(millis(LONG)) < self.place.at {
            return Err(Broken::ClockBack);
        }
        self.heard = Some(here);
        self.place.at = self.place.at.min(now);
        if self.goes_long() {
            self.long_since = Some(Instant::now());
        }
        self.polls = self.polls.wrapping_add(1);
        let mut new: Vec<Event> = poll
            .events
            .into_values()
            .filter(|event| !self.place.seen.contains_key(&event.id))
            .collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        self.quiet_since = Instant::now();
        new.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        self.place.add(&new, now);
        Ok(new.into_iter().map(|event| event.hint).collect())
    }
}

impl Place {
    /// The place behind `events`, at the server's time `now`.
    fn add(&mut self, events: &[Event], now: i64) {
        for event in events {
            self.seen.insert(event.id.clone(), event.time);
            if self.last.as_ref().is_none_or(|(_, time)| event.time >= *time) {
                self.last = Some((event.id.clone(), event.time));
            }
        }
        let newest = self.last.as_ref().map_or(self.at, |(_, time)| *time);
        self.at = newest.min(now);
        let since = self.at.saturating_sub(millis(LONG));
        self.seen.retain(|_, time| *time >= since);
    }
}

/// Where a log stands now: its newest events.
pub(super) async fn stands(
    client: &Client,
    log: Log,
    accounts: bool,
    now: i64,
) -> Result<Result<Place, Broken>, CallError> {
    let newest = newest(client, log).await?;
    let mut place = Place::default();
    // An empty log: whatever comes is new.
    let Some(newest) = newest else { return Ok(Ok(place)) };
    place.at = newest.time.min(now);
    let stream = Stream::new(log, place.clone());
    Ok(stream.poll(client, accounts).await?.map(|poll| {
        let events: Vec<Event> = poll.events.into_values().collect();
        place.add(&events, now);
        place
    }))
}

/// The newest event there is.
pub(super) async fn newest(client: &Client, log: Log) -> Result<Option<Event>, CallError> {
    Ok(page(client, log, false, (0, None), 1).await?.pop())
}

async fn page(
    client: &Client,
    log: Log,
    accounts: bool,
    (from, to): (i64, Option<i64>),
    rows: usize,
) -> Result<Vec<Event>, CallError> {
    let (from, to, rows) = (from.to_string(), to.map(|to| to.to_string()), rows.to_string());
    let mut query =
        vec![("dateFrom", from.as_str()), ("max", rows.as_str()), ("direction", "desc")];
    query.extend(to.as_deref().map(|to| ("dateTo", to)));
    let path = match log {
        Log::Admin => "admin-events",
        Log::User => {
            query.extend(USER_EVENTS.map(|kind| ("type", kind)));
            "events"
        }
    };
    client
        .get(&[path], &query, move |body| {
            let mut events = Vec::new();
            match log {
                Log::Admin => each(body, |row: AdminEvent| events.push(row.event(accounts)))?,
                Log::User => each(body, |row: UserEvent| events.push(row.event(accounts)))?,
            }
            Ok(events)
        })
        .await
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn poll(events: &[(&str, i64)]) -> Poll {
        let event = |(id, time): &(&str, i64)| {
            let event = Event { id: (*id).to_owned(), time: NOW + time, hint: Hint::Nothing };
            ((*id).to_owned(), event)
        };
        Poll { events: events.iter().map(event).collect() }
    }

    /// How many of these are new.
    fn new(stream: &mut Stream, events: &[(&str, i64)]) -> Result<usize, Broken> {
        stream.take(poll(events), Some(NOW + 100_000), None).map(|hints| hints.len())
    }

    #[test]
    fn each_event_counts_once_however_late_it_comes() {
        let mut stream = Stream::new(Log::Admin, Place::default());
        assert_eq!(new(&mut stream, &[("a", 10)]), Ok(1));
        assert_eq!(new(&mut stream, &[("a", 10)]), Ok(0));
        assert_eq!(new(&mut stream, &[("a", 10), ("b", 10)]), Ok(1), "of the same moment");
        assert_eq!(new(&mut stream, &[("a", 10), ("b", 10), ("c", 4)]), Ok(1), "of before");
        let all = [("a", 10), ("b", 10), ("c", 4), ("d", 20)];
        assert_eq!(new(&mut stream, &all), Ok(1));
        let again = Stream::new(Log::Admin, stream.place().clone());
        assert_eq!(new(&mut { again }, &all), Ok(0), "after a restart as well");
    }

    #[test]
    fn each_poll_goes_back_for_some_time_and_some_for_long() {
        let mut stream = Stream::new(Log::Admin, Place::default());
        assert_eq!(stream.from(), 0, "nothing is known of an empty log");
        assert_eq!(new(&mut stream, &[("a", 10)]), Ok(1));
        let mut back = BTreeMap::new();
        for _ in 0..2 * EACH {
            *back.entry(NOW + 10 - stream.from()).or_insert(0) += 1;
            assert_eq!(new(&mut stream, &[("a", 10)]), Ok(0));
        }
        assert_eq!(back, [(millis(SHORT), 2 * EACH - 2), (millis(LONG), 2)].into());
    }

    #[test]
    fn the_newest_event_that_is_gone_is_a_loss_unless_its_time_was_up() {
        let mut stream = Stream::new(Log::Admin, Place::default());
        assert_eq!(new(&mut stream, &[("a", 10)]), Ok(1));
        let mut other = Stream::new(Log::Admin, stream.place().clone());
        assert_eq!(new(&mut stream, &[]), Err(Broken::Lost), "cleared");
        assert_eq!(new(&mut stream, &[("b", 30)]), Err(Broken::Lost), "and it went on");
        let late = Some(NOW + 10 + 900_000);
        let mut unheard = Stream::new(Log::Admin, other.place().clone());
        assert_eq!(
            unheard.take(poll(&[]), late, Some(900_000)),
            Err(Broken::Lost),
            "others may have come and expired"
        );
        assert_eq!(
            other.take(poll(&[("a", 10)]), Some(NOW + 600_000), Some(900_000)),
            Ok(Vec::new())
        );
        assert_eq!(other.take(poll(&[]), late, Some(900_001)), Err(Broken::Lost));
        assert_eq!(other.take(poll(&[]), late, Some(900_000)), Ok(Vec::new()), "expired");
        assert_eq!(new(&mut other, &[("b", 950_000)]), Ok(1), "and it goes on");
    }

    #[test]
    fn a_clock_that_went_back_is_noticed_and_a_little_of_it_is_borne() {
        let mut stream = Stream::new(Log::Admin, Place::default());
        assert_eq!(new(&mut stream, &[("a", 90_000)]), Ok(1));
        let at = |time: i64| Some(NOW + time);
        assert_eq!(stream.take(poll(&[("a", 90_000)]), at(29_000), None), Err(Broken::ClockBack));
        assert_eq!(stream.take(poll(&[("a", 90_000)]), at(31_000), None), Ok(Vec::new()));
        assert!(stream.from() < NOW + 31_000, "it asks from the clock on");
        let events = poll(&[("a", 90_000), ("b", 32_000)]);
        assert_eq!(stream.take(events, at(33_000), None).map(|new| new.len()), Ok(1));
    }
}

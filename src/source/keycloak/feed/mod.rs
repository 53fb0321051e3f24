//! A realm followed by its events.
//!
//! ```text
//! admin events ─┐                       ┌─► person ─────┐
//! user events  ─┴─► stream ─► hint ─────┼─► structure ──┴─► follow ─► Delta
//!   every second    what is   what to   └─► a full read
//!                   new       read again
//! ```
//!
//! An event is a hint of what to read again; nothing is ever taken from what it says. The server writes
//! it in the transaction of the change, so whoever sees an event sees its change. What no event tells
//! (what a directory behind the realm does, people who are imported, a provider of one's own) is found
//! by the periodic full read.

mod batch;
mod cursor;
mod follow;
mod hint;
mod person;
pub(super) mod settings;
mod stream;
mod structure;

use std::sync::{Arc, PoisonError};

use futures_util::future::BoxFuture;

use super::KeycloakSource;
use super::client::Client;
use super::fault::{CallError, Fault, management_client};
use super::federation;
use crate::directory::{Cursor, Interest, Kind, RefId};
use crate::source::SourceError;
use crate::source::feed::{Feed, Mark, MirrorView, NotFollowed, Start, WhyFull};
use cursor::{Key, Written};
use follow::{Begin, Follower};
use settings::Settings;
use stream::{Broken, Log, Place};
use structure::Trouble;

/// What to say where the realm keeps no admin events.
pub(super) const OFF: &str = "the realm keeps no admin events: switch them on (Realm settings, Events, Admin events settings)";

impl Feed for KeycloakSource {
    fn mark<'a>(&'a self, _: &'a dyn Interest) -> BoxFuture<'a, Result<Mark, SourceError>> {
        Box::pin(async move {
            let settings = match self.settings().await.map_err(|error| self.unanswered(error))? {
                Ok(settings) => settings,
                Err(not) => return Ok(Mark::Not(not)),
            };
            let accounts = self.config.service_accounts;
            let mut places = Vec::new();
            for log in logs(&settings) {
                match stands(&self.client, log, accounts).await {
                    Ok(place) => places.push(place),
                    Err(error) => match refused(&self.client, &error) {
                        Some(not) => return Ok(Mark::Not(not)),
                        None => return Err(self.client.source_error(error)),
                    },
                }
            }
            let mut places = places.into_iter();
            let admin = places.next().unwrap_or_default();
            let written = Written::new(Key::new(&self.config, &settings), admin, places.next());
            Ok(Mark::At(written.cursor()))
        })
    }

    fn follow<'a>(
        &'a self,
        interest: &'a dyn Interest,
        cursor: Option<Cursor>,
        mirror: Arc<dyn MirrorView>,
    ) -> BoxFuture<'a, Result<Start<'a>, SourceError>> {
        Box::pin(async move {
            let Some(cursor) = cursor else { return Ok(Start::Read(WhyFull::NoCursor)) };
            let settings =
                match self.settings().await.map_err(|error| self.client.source_error(error))? {
                    Ok(settings) => settings,
                    Err(not) => return Ok(Start::Not(not)),
                };
            let key = Key::new(&self.config, &settings);
            let written = match Written::read(&cursor, &key) {
                Ok(written) => written,
                Err(why) => return Ok(Start::Read(why)),
            };
            if written.user.is_some() != settings.events_enabled {
                let why = "user events were switched on or off".to_owned();
                return Ok(Start::Read(WhyFull::Other(why)));
            }
            let structure = match structure::read(&self.client, &self.config, interest).await {
                Ok(structure) => structure,
                Err(Trouble::Doubt(doubt)) => return Ok(Start::Read(WhyFull::Other(doubt))),
                Err(Trouble::Told(error)) => return Err(error),
                Err(Trouble::Call(error)) => return Err(self.client.source_error(error)),
            };
            let no_answer = |error: crate::source::feed::NoAnswer| {
                SourceError::transient(format!("following Keycloak: {error}"))
            };
            for (name, value) in interest.attributes() {
                let key = format!("{name}={value}");
                let id = RefId { kind: Kind::Attribute, key };
                if !mirror.has_ref(&id).map_err(no_answer)? {
                    let why = format!("nobody asked yet who has the attribute `{}`", id.key);
                    return Ok(Start::Read(WhyFull::Other(why)));
                }
            }
            // Whether all organizations are there is told by full reads alone.
            let organizations = structure.rows.iter().filter(|(id, row)| {
                id.kind == Kind::Organization
                    || id.kind == Kind::OrganizationGroup && row.people.is_empty()
            });
            for (id, _) in organizations {
                if !mirror.has_ref(id).map_err(no_answer)? {
                    let why = "nobody asked yet about an organization that rules name".to_owned();
                    return Ok(Start::Read(WhyFull::Other(why)));
                }
            }
            let begin = Begin { at: cursor, key, written, settings, structure };
            let source = (&self.client, &self.config);
            let follower = Follower::new(source, interest, mirror, begin).map_err(no_answer)?;
            Ok(Start::Here(Box::new(follower)))
        })
    }
}

impl KeycloakSource {
    /// What came of asking where the feed stands. That nobody answered is the answer of the read that
    /// follows.
    fn unanswered(&self, error: CallError) -> SourceError {
        let nobody =
            matches!(error.fault, Fault::Connect(_) | Fault::Tls(_) | Fault::SignIn { .. });
        let error = self.client.source_error(error);
        if nobody {
            let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            *unanswered = Some(error.clone());
        }
        error
    }

    /// The realm's settings, where its events can be followed.
    async fn settings(&self) -> Result<Result<Settings, NotFollowed>, CallError> {
        let settings = settings::read(&self.client).await?;
        if !settings.admin_events_enabled {
            return Ok(Err(NotFollowed::NotOffered(OFF)));
        }
        let federations = federation::read(&self.client).await?;
        if let Some(it) = federations.iter().find(|it| !it.imports) {
            return Ok(Err(NotFollowed::Refused(format!(
                "federation `{}` has `Import users` off, so no read of the realm is complete, and there is nothing to go on from",
                it.name
            ))));
        }
        Ok(Ok(settings))
    }
}

fn logs(settings: &Settings) -> Vec<Log> {
    match settings.events_enabled {
        true => vec![Log::Admin, Log::User],
        false => vec![Log::Admin],
    }
}

async fn stands(client: &Client, log: Log, accounts: bool) -> Result<Place, CallError> {
    let now = server_time(client).await?.unwrap_or(i64::MAX);
    stream::stands(client, log, accounts, now).await?.map_err(|broken| {
        let fault = Fault::Broken(why(broken).to_string());
        CallError { call: "the log of events".to_owned(), fault }
    })
}

/// The server's time in milliseconds, where a token tells it.
async fn server_time(client: &Client) -> Result<Option<i64>, CallError> {
    Ok(client.token().await?.server_time())
}

/// Why events may not be read, where that is so.
pub(super) async fn may_not_see(client: &Client) -> Result<Option<NotFollowed>, CallError> {
    match stream::newest(client, Log::Admin).await {
        Ok(_) => Ok(None),
        Err(error) => refused(client, &error).map_or(Err(error), |not| Ok(Some(not))),
    }
}

/// Why the events cannot be followed, where `error` says that they may not be read.
fn refused(client: &Client, error: &CallError) -> Option<NotFollowed> {
    let Fault::Status { status: 403, .. } = &error.fault else { return None };
    Some(NotFollowed::Refused(format!(
        "the service account of client `{}` may not read events: grant it the role `view-events` of client `{}`",
        client.client_id(),
        management_client(client.realm())
    )))
}

fn why(broken: Broken) -> WhyFull {
    match broken {
        Broken::Lost => WhyFull::Other(
            "events are gone that were there: they were cleared, or the server's database is an older one".to_owned(),
        ),
        Broken::ClockBack => WhyFull::Other("the server's clock went back".to_owned()),
        Broken::TooMuch(events) => WhyFull::TooMuch(events),
    }
}

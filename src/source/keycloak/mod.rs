//! A realm of a Keycloak 26 server, read through its admin API.
//!
//! ```text
//! read ─► federation   which directories are behind the realm, and do they answer
//!      ─► roles        roles of the realm and its clients, composites
//!      ─► groups       the tree, each group's roles
//!      ─► users        who exists, who is enabled; counted before and after
//!         pages        lists of people, as large as the server bears
//!      ─► organizations   which there are, their groups, whom a disabled one locks out
//!      ─► graph        what leads to something that a rule can name
//!      ─► members      who is in it: one call a group or role that matters
//!      ─► attributes   who has a value that a rule names
//!      ─► lies         where a 200 is not believed (pure)
//! lookup ─► one person, by id or name
//! feed ─► the realm followed by its events
//! sessions ─► which of its sessions end
//! client ─► token, http, fault, api
//! ```
//!
//! As many calls as scopes (and pages of large ones), never one a user. Nothing here knows the mirror: an answer that
//! cannot be believed makes its scope partial, and what that means is decided elsewhere.
//!
//! The service account needs the roles `view-users`, `view-realm` and `view-clients` of client
//! `realm-management`. With less, Keycloak's lists are short without saying so, so nothing is
//! read at all. Where rules name organizations it needs `view-organizations` besides: without it those are unknown, and
//! all else is read.

mod api;
mod asker;
mod attributes;
mod check;
mod claims;
mod client;
mod config;
mod consistency;
mod fault;
mod federation;
mod feed;
mod graph;
mod groups;
mod http;
mod lookup;
mod members;
mod organizations;
mod pages;
mod read;
mod rights;
mod roles;
mod sessions;
mod token;
mod users;

pub(super) use claims::claimed;
pub(crate) use config::Keycloak;
pub use config::KeycloakConfig;
pub(super) use config::{clients, realm_name};
pub(super) use organizations::{names_a_role, roles_unused};

use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use secrecy::SecretString;

use super::feed::Feed;
use super::sessions::Sessions;
use super::{FullRead, Looked, Lookup, OnProgress, Source, SourceError, Who};
use crate::directory::{Interest, Snapshot};
use crate::model::Diagnostic;

/// A realm as a source.
pub struct KeycloakSource {
    name: String,
    config: KeycloakConfig,
    client: client::Client,
    /// Why nobody answered who was asked where the feed stands: the read that follows has its answer
    /// already, and does not besiege the server once more.
    unanswered: Mutex<Option<SourceError>>,
}

impl KeycloakSource {
    /// The source `name`. Reads the secret and the CA file; opens no connection.
    ///
    /// # Errors
    /// The secret or the CA file cannot be read.
    pub fn new(name: &str, config: &KeycloakConfig) -> Result<Self, SourceError> {
        let secret = config.client_secret.read().map_err(|error| {
            SourceError::fatal(format!(
                "`client_secret` of source `{name}` cannot be read: {error}"
            ))
        })?;
        KeycloakSource::with_secret(name, config, secret)
    }

    /// As [`KeycloakSource::new`], with a secret that has been read.
    ///
    /// # Errors
    /// The CA file cannot be read, or TLS cannot be set up.
    pub fn with_secret(
        name: &str,
        config: &KeycloakConfig,
        secret: SecretString,
    ) -> Result<Self, SourceError> {
        let client = client::Client::new(config, secret)?;
        let (name, config) = (name.to_owned(), config.clone());
        Ok(KeycloakSource { name, config, client, unanswered: Mutex::default() })
    }

    async fn read_in_time(
        &self,
        interest: &dyn Interest,
        progress: &OnProgress,
    ) -> Result<Snapshot, SourceError> {
        let progress = read::ProgressReporter { source: &self.name, progress };
        let read = read::read(&self.client, &self.config, interest, &progress);
        // A directory that hangs behind Keycloak makes each of its people cost seconds.
        match tokio::time::timeout(self.config.read_timeout, read).await {
            Ok(snapshot) => snapshot,
            Err(_) => Err(SourceError::transient(format!(
                "reading Keycloak at {} was not done after {} s; raise `read_timeout` if it needs longer, or see whether a directory behind it hangs",
                self.client.endpoint(),
                self.config.read_timeout.as_secs_f32()
            ))),
        }
    }
}

impl Source for KeycloakSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn as_lookup(&self) -> Option<&dyn Lookup> {
        Some(self)
    }

    fn as_feed(&self) -> Option<&dyn Feed> {
        Some(self)
    }

    fn as_sessions(&self) -> Option<&dyn Sessions> {
        Some(self)
    }

    fn check<'a>(&'a self, interest: &'a dyn Interest) -> BoxFuture<'a, Vec<Diagnostic>> {
        Box::pin(check::check(&self.client, &self.config, interest))
    }
}

impl FullRead for KeycloakSource {
    fn read<'a>(
        &'a self,
        interest: &'a dyn Interest,
        progress: OnProgress,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            let unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).take();
            match unanswered {
                Some(error) => Err(error),
                None => self.read_in_time(interest, &progress).await,
            }
        })
    }
}

impl Lookup for KeycloakSource {
    fn lookup<'a>(
        &'a self,
        interest: &'a dyn Interest,
        who: &'a Who,
    ) -> BoxFuture<'a, Result<Looked, SourceError>> {
        Box::pin(lookup::lookup(&self.client, &self.config, interest, who))
    }
}

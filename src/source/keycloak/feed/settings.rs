//! What the realm's settings say of its events.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::hint::USER_EVENTS;
use crate::source::keycloak::api::json;
use crate::source::keycloak::client::Client;
use crate::source::keycloak::fault::CallError;

/// The realm, as far as its events go.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(in crate::source::keycloak) struct Settings {
    /// Its id.
    pub id: String,
    /// Admin events are kept.
    pub admin_events_enabled: bool,
    /// User events are kept.
    pub events_enabled: bool,
    /// For how many seconds user events are kept; 0: for ever.
    #[serde(default)]
    events_expiration: i64,
    /// The types of user events that are kept; empty: those that the server keeps by default, which all
    /// that count here are among.
    #[serde(default)]
    enabled_event_types: Vec<String>,
    #[serde(default)]
    attributes: BTreeMap<String, Option<String>>,
}

impl Settings {
    /// For how many milliseconds admin events are kept, where that is bounded.
    pub(in crate::source::keycloak) fn admin_events_kept(&self) -> Option<i64> {
        let seconds = self.attributes.get("adminEventsExpiration")?.as_deref()?;
        seconds.parse().ok().filter(|seconds| *seconds > 0).map(|seconds: i64| seconds * 1000)
    }

    /// As [`Settings::admin_events_kept`], of user events.
    pub(in crate::source::keycloak) fn user_events_kept(&self) -> Option<i64> {
        Some(self.events_expiration).filter(|seconds| *seconds > 0).map(|seconds| seconds * 1000)
    }

    /// The types of user events that count and are not kept.
    pub(in crate::source::keycloak) fn types_missing(&self) -> Vec<&'static str> {
        let kept = |kind: &&str| self.enabled_event_types.iter().any(|it| it == kind);
        match self.enabled_event_types.is_empty() {
            true => Vec::new(),
            false => USER_EVENTS.into_iter().filter(|kind| !kept(kind)).collect(),
        }
    }
}

/// Asks for them.
pub(in crate::source::keycloak) async fn read(client: &Client) -> Result<Settings, CallError> {
    client.get(&[], &[], |body| json::<Settings>(body)).await
}

//! The words of the design as types: times, texts, usernames, roles, users, grants, tokens, state.
//!
//! Nothing here reads a clock, a file or a socket; nothing here knows how it is stored.

pub mod account;
mod actor;
pub mod caller;
pub mod change;
pub mod diagnostic;
mod diagnostic_code;
pub mod encoding;
pub mod external;
pub mod fault;
pub mod following;
pub mod index;
pub mod panicked;
mod reason_book;
pub mod role_map;
mod role_name;
pub mod session;
pub mod state;
pub mod store_config;
pub mod texts;
pub mod token;
pub mod username;
mod words;
pub mod workload;

pub use account::{Deed, Done, LastDeed, LocalAccount};
pub use actor::Actor;
pub use change::{Cause, CauseKind, Change, ChangeKind};
pub use diagnostic::{Diagnostic, Severity, Subject};
pub use diagnostic_code::DiagnosticCode;
pub use external::{ExternalRef, Kind, Reason, RefKind};
pub use following::{FollowMode, Followed, LastDrift};
pub use index::{
    Inconsistent, IndexVec, LocalIdx, ReasonIdx, RoleIdx, RoleListIdx, SetIdx, SourceIdx, TokenIdx,
    TooMany, UserId,
};
pub use reason_book::ReasonBook;
pub use role_map::RoleMap;
pub use role_name::{RoleNameError, check_role_name};
pub use session::{SessionEnd, SessionRealm, SessionScope};
pub use state::{
    Grant, GrantKind, Link, LocalGrant, Mode, Origin, Role, RoleSetId, Standing, State, Status,
    User,
};
pub use store_config::{PostgresConfig, StoreConfig, StoreTls};
pub use texts::{Text, Texts};
pub use token::{NewToken, Token, Tokens};
pub use username::UsernameError;
pub use workload::{Cloud, WorkloadIdentity};

/// A moment in UTC. Stored and printed as RFC 3339 with whole seconds.
pub type Time = chrono::DateTime<chrono::Utc>;

/// `time` as RFC 3339 in UTC with whole seconds, such as `2026-11-23T20:15:00Z`.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Reads what [`rfc3339`] wrote (any RFC 3339 time will do).
///
/// # Errors
/// The text is not an RFC 3339 time; the message says why.
pub fn parse_rfc3339(text: &str) -> Result<Time, TimeError> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.with_timezone(&chrono::Utc))
        .map_err(|why| TimeError { text: text.to_owned(), why })
}

/// A text that is no time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 time: {why}")]
pub struct TimeError {
    text: String,
    why: chrono::ParseError,
}

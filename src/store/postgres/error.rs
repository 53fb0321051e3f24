//! PostgreSQL's faults in words.

use std::fmt::Display;

use super::session::{SessionError, named};
use crate::store::error::{StoreError, StoreErrorKind};

/// What the server says, else the error with what caused it.
pub(super) fn cause(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return told.message().to_owned();
    }
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// What to do where none of the hosts takes writes.
const NAME_PRIMARY: &str = "name the primary too, or take that setting back";

impl SessionError {
    /// The fault of the store `shown`. Whatever was under way was taken back, or will be when the server
    /// notices that nobody is there.
    pub(in crate::store) fn store(&self, shown: &dyn Display) -> StoreError {
        let at = named(shown);
        let code = match self {
            SessionError::Database(error) => error.code().map_or("", |code| code.code()),
            _ => "",
        };
        // https://www.postgresql.org/docs/current/errcodes-appendix.html
        let (kind, text) = match code {
            "53100" => (
                StoreErrorKind::Full,
                format!(
                    "cannot write {at}: its server's disk is full; nothing was changed, free some space \
                     there and run it again"
                ),
            ),
            "42501" => (
                StoreErrorKind::Denied,
                format!(
                    "cannot use {at}: {self}; `idpsyncd store grant` gives a gateway's role its rights, and \
                     the owner's role has those to write"
                ),
            ),
            "25006" => (
                StoreErrorKind::Denied,
                format!("cannot write {at}: {}; {NAME_PRIMARY}", SessionError::ReadOnly),
            ),
            _ if matches!(self, SessionError::ReadOnly) => (
                StoreErrorKind::Denied,
                format!("cannot use {at}: {self}; nothing was changed, {NAME_PRIMARY}"),
            ),
            // 53400: a limit of the configuration's.
            "53300" | "53400" => (
                StoreErrorKind::Other,
                format!(
                    "cannot use {at}: {self}; nothing was changed, look at `max_connections` and the role's and \
                     the database's `CONNECTION LIMIT`"
                ),
            ),
            "28P01" | "28000" => (
                StoreErrorKind::Denied,
                format!(
                    "cannot sign in at {at}: {self}; look at `store.password` and the server's pg_hba.conf"
                ),
            ),
            "55P03" | "40001" | "40P01" => (
                StoreErrorKind::Busy,
                format!("{at} is being written by another process: try again"),
            ),
            "XX001" | "XX002" => (
                StoreErrorKind::Damaged,
                format!("{at} is damaged: {self}; restore it from a backup"),
            ),
            _ if matches!(self, SessionError::Unanswered(_)) => (
                StoreErrorKind::Other,
                format!("{at}: {self}; it is there in whole or not at all: run it again"),
            ),
            _ if self.is_cut() => (
                StoreErrorKind::Other,
                format!(
                    "cannot reach {at}: {self}; nothing was changed, look at the server and the way to it"
                ),
            ),
            _ => (StoreErrorKind::Other, format!("cannot use {at}: {self}")),
        };
        StoreError::new(kind, text)
    }
}

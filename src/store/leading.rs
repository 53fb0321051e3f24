//! Which daemon leads: of several on one store one alone reads the sources, until it ends.
//!
//! That lock is held for as long as the daemon leads, and keeps nobody but other daemons waiting. The lock of
//! a run is another one, held while a run or a feed plans and writes: so people's commands find it free
//! between runs, whoever leads.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{LockError, RunLock, StoreError};
use crate::model::{Time, parse_rfc3339, rfc3339};

/// How often whoever leads shows that it lives.
pub const BEAT: Duration = Duration::from_secs(1);

/// Who leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    /// The machine's name.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// Since when.
    pub since: Time,
}

impl Leader {
    /// A process of the machine called `host`. What a name of a machine cannot have stands as `_`: it is
    /// kept as one word.
    #[must_use]
    pub fn new(host: &str, pid: u32, since: Time) -> Self {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let host: String = host.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        let host = if host.is_empty() { "_".to_owned() } else { host };
        Leader { host, pid, since }
    }
}

/// As it is kept, and told.
impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leader { host, pid, since } = self;
        write!(f, "process {pid} on {host} since {}", rfc3339(*since))
    }
}

/// It is not as a [`Leader`] is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoLeader;

impl FromStr for Leader {
    type Err = NoLeader;

    fn from_str(text: &str) -> Result<Self, NoLeader> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let ["process", pid, "on", host, "since", since] = words.as_slice() else {
            return Err(NoLeader);
        };
        let since = parse_rfc3339(since).map_err(|_| NoLeader)?;
        Ok(Leader::new(host, pid.parse().map_err(|_| NoLeader)?, since))
    }
}

/// Who leads, as whoever asks sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreLeader {
    /// Nobody does.
    Nobody,
    /// Who does, this account may not see, nor perhaps whether anybody does.
    Unseen,
    /// This one.
    Seen(Leader),
}

impl StoreLeader {
    /// Of somebody who leads: who, where that can be read.
    pub(super) fn by(read: Option<Leader>) -> Self {
        read.map_or(StoreLeader::Unseen, StoreLeader::Seen)
    }
}

/// Why a daemon does not lead.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// Another one does; who, where that can be told.
    #[error("another idpsyncd leads{}", .by.as_ref().map_or_else(String::new, |by| format!(": {by}")))]
    Led {
        /// Who.
        by: Option<Leader>,
    },
    /// It cannot be told, or not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The lead, until it is resigned, dropped or lost. It ends with the process that has it, however that ends.
pub trait Lead: Send + Sync + fmt::Debug {
    /// Shows that this process lives: call it every [`BEAT`], from a thread that nothing else keeps busy.
    /// Whoever does not show it for too long is taken the lead where the store can do that.
    ///
    /// # Errors
    /// It leads no more: why.
    fn beat(&self) -> Result<(), StoreError>;

    /// As [`super::Store::lock`], for whoever leads: nobody who leads no more gets it.
    ///
    /// # Errors
    /// Somebody else has it, or this process leads no more.
    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError>;

    /// Lets another one lead. A lock of a run that is held goes on until it is dropped, or somebody else takes it.
    fn resign(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_read_as_it_was_kept_and_nothing_else_is() {
        let since = parse_rfc3339("2026-03-01T10:00:00Z").unwrap();
        for (host, kept) in [
            ("db-1.example.org", "db-1.example.org"),
            ("a b*/c", "a_b__c"),
            ("büro", "b_ro"),
            ("", "_"),
        ] {
            let leader = Leader::new(host, 4_194_304, since);
            let text = leader.to_string();
            assert_eq!(text, format!("process 4194304 on {kept} since 2026-03-01T10:00:00Z"));
            assert_eq!(text.parse(), Ok(leader));
        }
        for text in [
            "",
            "process 12, `idpsyncd run`, since 2026-03-01T10:00:00Z",
            "process x on a since 2026-03-01T10:00:00Z",
            "process 1 on a since yesterday",
            "process 1 on a b since 2026-03-01T10:00:00Z",
        ] {
            assert_eq!(text.parse::<Leader>(), Err(NoLeader), "{text}");
        }
    }
}

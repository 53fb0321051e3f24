//! How a source is followed between full reads, as the daemon found it and others are shown it.

use std::time::Duration;

use super::Time;

/// In which way a source is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FollowMode {
    /// The server says each change as it comes.
    Persist,
    /// The server is asked every moment.
    Poll,
    /// By full reads alone.
    Full,
}

impl FollowMode {
    /// The word in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FollowMode::Persist => "persist",
            FollowMode::Poll => "poll",
            FollowMode::Full => "full",
        }
    }

    /// The way that [`FollowMode::as_str`] calls `word`.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let all = [FollowMode::Persist, FollowMode::Poll, FollowMode::Full];
        all.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// What the last full read found that no feed had told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastDrift {
    /// When that was known.
    pub at: Time,
    /// How many rows.
    pub changes: u64,
}

/// How a source is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Followed {
    /// In which way.
    pub mode: FollowMode,
    /// Why not in a better way, or what stands in the way just now.
    pub why: Option<String>,
    /// Since when it is so.
    pub since: Time,
    /// When the mirror was last known to be current.
    pub current_at: Option<Time>,
    /// Absent before a full read of a source that is followed.
    pub last_drift: Option<LastDrift>,
}

impl Followed {
    /// Since when the mirror was last known to be current; `None`: it is not followed.
    #[must_use]
    pub fn lag(&self, now: Time) -> Option<Duration> {
        match self.mode {
            FollowMode::Full => None,
            FollowMode::Persist | FollowMode::Poll => {
                let at = self.current_at.unwrap_or(self.since);
                Some((now - at).to_std().unwrap_or_default())
            }
        }
    }
}

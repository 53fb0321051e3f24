//! What is known of people who were added by hand, beside what their source says of them; and who
//! did something by hand.

use super::{Actor, Time};

/// Who did something by hand, and why.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Deed {
    /// Who.
    pub by: Actor,
    /// Why, in their words.
    pub reason: String,
}

/// A local account's story: what the mirror of `local` does not say.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct LocalAccount {
    /// Its external id in the source `local`.
    pub ext: String,
    /// Nobody signs in as it: only tokens speak for it.
    pub service: bool,
    /// It is the default admin's.
    pub admin: bool,
    /// Who added it, and why.
    pub added: Deed,
    /// When.
    pub added_at: Time,
    /// What was done to it last, since it was added.
    pub last: Option<LastDeed>,
}

/// What was done to a local account.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct LastDeed {
    /// What.
    pub what: Done,
    /// Who did it, and why.
    pub deed: Deed,
    /// When.
    pub at: Time,
}

/// Something that is done to a local account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Done {
    /// `user disable`
    Disabled,
    /// `user enable`
    Enabled,
    /// `user remove`
    Removed,
}

impl Done {
    /// Every one of them.
    pub const ALL: [Done; 3] = [Done::Disabled, Done::Enabled, Done::Removed];

    /// A stable word: `disabled`, `enabled`, `removed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Done::Disabled => "disabled",
            Done::Enabled => "enabled",
            Done::Removed => "removed",
        }
    }
}

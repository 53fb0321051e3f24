//! Why what somebody asks for by hand is not done.

use crate::model::{Done, UsernameError};
use crate::plan::NotPlanned;
use crate::plan::local::Shortfall;

/// Why what somebody asks for by hand is not done: nothing was changed. Names are usernames where
/// nothing else is said.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// No such plan waits.
    #[error("there is no held plan `{id}`{}", instead(.waits.as_deref()))]
    NotHeld {
        /// The plan that was asked for.
        id: String,
        /// The one that waits.
        waits: Option<String>,
    },
    /// A run has held something else in between.
    #[error("there is no held plan `{id}` any more: nothing was discarded")]
    HeldNoMore {
        /// The plan.
        id: String,
    },
    /// The state has moved on.
    #[error(
        "plan {id} does not stand any more, nothing was applied; run `idpsyncd sync` for a new one; \
         these changes do not stand:\n  {}",
        .gone.join("\n  ")
    )]
    StandsNoMore {
        /// The plan.
        id: String,
        /// The changes that do not stand.
        gone: Vec<String>,
    },
    /// Nobody can be called so.
    #[error(transparent)]
    Username(#[from] UsernameError),
    /// The store has nobody of the name.
    #[error("the store knows no user `{}`: `idpsyncd user list` shows all", .name.escape_debug())]
    UnknownUser {
        /// As it was asked for.
        name: String,
    },
    /// The store has nobody of the name, whom to grant a role.
    #[error(
        "the store knows no user `{name}`: only someone whom a source lists can be granted a role"
    )]
    NobodyToGrant {
        /// The name.
        name: String,
    },
    /// The store has no role of the name.
    #[error("the store knows no role `{}`{}", .role.escape_debug(), hint(.near.as_deref()))]
    UnknownRole {
        /// As it was asked for.
        role: String,
        /// A role that may be meant.
        near: Option<String>,
    },
    /// Planning refuses it.
    #[error(transparent)]
    NotPlanned(NotPlanned),
    /// A protected role needs its holders.
    #[error(transparent)]
    Shortfall(#[from] Shortfall),
    /// `local` lists somebody of the name.
    #[error("there is a local user `{}` already", .name.escape_debug())]
    AddedAlready {
        /// The name.
        name: String,
    },
    /// An account of `local` without a story.
    #[error("the store does not say who added `{}`: it is damaged", .name.escape_debug())]
    NoStory {
        /// The name.
        name: String,
    },
    /// The default admin stays as the configuration says.
    #[error(
        "`{}` is the default admin, who holds `{role}`: take `[default_admin]` out of the \
         configuration and sync",
        .name.escape_debug()
    )]
    DefaultAdmin {
        /// The name.
        name: String,
        /// What the section gives.
        role: String,
    },
    /// The default admin is made by a run.
    #[error(
        "`{}` is the default admin of the configuration: `idpsyncd sync` makes it",
        .name.escape_debug()
    )]
    MadeBySync {
        /// The name.
        name: String,
    },
    /// `local` lists somebody whom the store does not know yet.
    #[error("the store knows no user `{}`: run `idpsyncd sync`", .name.escape_debug())]
    NotSynced {
        /// The name.
        name: String,
    },
    /// A service account is nobody else.
    #[error(
        "`{}` is somebody whom {} knows: a service account needs a name of its own",
        .name.escape_debug(),
        listed(.sources)
    )]
    ServiceNameTaken {
        /// The name.
        name: String,
        /// Who knows them.
        sources: Vec<String>,
    },
    /// Other sources list the person, `local` does not.
    #[error(
        "`{}` is known in {} alone and was not added by hand: they are {} there",
        .name.escape_debug(),
        listed(.sources),
        .what.as_str()
    )]
    NotAddedByHand {
        /// The name.
        name: String,
        /// Who knows them.
        sources: Vec<String>,
        /// What is to be done there.
        what: Done,
    },
    /// Whom a source lists is not known.
    #[error(
        "the people of source `{name}` were never read in full, so whom it lists is not known: run \
         `idpsyncd sync` first"
    )]
    NeverRead {
        /// The source's name.
        name: String,
    },
}

fn instead(waits: Option<&str>) -> String {
    waits.map_or_else(
        || ": nothing is held".to_owned(),
        |waits| format!("; the one that waits is `{waits}`"),
    )
}

fn hint(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// Names of sources in words.
fn listed(sources: &[String]) -> String {
    let names: Vec<String> = sources.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "a source that is not configured any more".to_owned(),
        names => names.join(" and "),
    }
}

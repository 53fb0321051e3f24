//! Why what somebody asks for by hand is not planned.

use crate::model::diagnostic::{Diagnostic, texts};
use crate::model::token::TokenNameError;
use crate::model::{Inconsistent, Mode, Time, rfc3339};

/// Why what somebody asks for by hand is not planned: nothing is changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPlanned {
    /// The role is not in the state.
    #[error("no such role")]
    NoSuchRole,
    /// The user is not in the state.
    #[error("there is no such user")]
    NoSuchUser,
    /// Everybody has the role already.
    #[error("role `{role}` is everyone's: it needs no grant")]
    EveryonesRole {
        /// Its name.
        role: String,
    },
    /// Mode force: a local grant would not outlast the next sync.
    #[error(
        "role `{role}` has mode force: the IdP decides alone, and the next sync would drop a local \
         grant; grant it at the IdP, or set sync_mode = \"merge\""
    )]
    DecidedByIdp {
        /// Its name.
        role: String,
    },
    /// The user has a local grant of the role.
    #[error(
        "there is a local grant of `{role}` already: remove it first (`idpsyncd grant remove`)"
    )]
    GrantedAlready {
        /// Its name.
        role: String,
    },
    /// The user has no such grant of the role.
    #[error("there is {} of `{role}` to remove", no_grant(*.imported))]
    NoGrant {
        /// Its name.
        role: String,
        /// Whether an IdP's grant or a local one was to go; `None`: either.
        imported: Option<bool>,
    },
    /// The grant is the IdP's, and its mode would bring it back.
    #[error(
        "the grant of `{role}` comes from the IdP and its mode is {mode}: take it away at the IdP, \
         the next sync would bring it back"
    )]
    GrantedByIdp {
        /// Its name.
        role: String,
        /// Its mode.
        mode: Mode,
    },
    /// The user has no token of the name.
    #[error("there is no token `{}` of that user", .name.escape_debug())]
    NoToken {
        /// The name.
        name: String,
    },
    /// No token may be called so.
    #[error(transparent)]
    TokenName(#[from] TokenNameError),
    /// The token would be of no use.
    #[error("it would have expired at {}", rfc3339(*.at))]
    ExpiresInThePast {
        /// When.
        at: Time,
    },
    /// A token for all that is granted to its owner, who is granted nothing.
    #[error(
        "nothing is granted to the user: a token needs at least one role; grant one, or name a role \
         that everyone holds"
    )]
    NothingGranted,
    /// A token can have no more than its owner.
    #[error(
        "the user does not hold `{}` now: a token can have no more than its owner (who holds: {})",
        .role.escape_debug(),
        listed(.held)
    )]
    NotHeld {
        /// The role's name.
        role: String,
        /// What the owner holds now, sorted.
        held: Vec<String>,
    },
    /// The owner has a token of the name, and it is not to be replaced.
    #[error("the user has a token `{name}` already: take another name, or revoke that one first")]
    TokenThere {
        /// The name.
        name: String,
    },
    /// Two tokens of one secret could not be told apart.
    #[error("another token has this secret: take one of your own")]
    SecretTaken,
    /// Whoever is disabled gets no token.
    #[error("user `{user}` is disabled in `{source_name}`: no token is made for them meanwhile")]
    OwnerDisabled {
        /// Their name.
        user: String,
        /// Which source says so.
        source_name: String,
    },
    /// Whoever is gone gets no token.
    #[error("user `{user}` is gone: no token is made for them")]
    OwnerGone {
        /// Their name.
        user: String,
    },
    /// Resolving makes nobody of the new account.
    #[error("{}", not_added(.name, .why))]
    NotAdded {
        /// What the account is called.
        name: String,
        /// What resolving had to tell about it.
        why: Vec<Diagnostic>,
    },
    /// The name is not free yet.
    #[error(
        "`{name}` is still the name of somebody whom no source lists any more: it is free once they \
         are deprovisioned (`on_missing`), or under another name"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Nobody has the local account.
    #[error("the store knows nobody by that local account")]
    NoLocalAccount,
    /// The states do not fit together.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
}

fn no_grant(imported: Option<bool>) -> &'static str {
    match imported {
        Some(true) => "no imported grant",
        Some(false) => "no local grant",
        None => "no grant",
    }
}

fn listed(held: &[String]) -> String {
    if held.is_empty() { "none".to_owned() } else { held.join(", ") }
}

fn not_added(name: &str, why: &[Diagnostic]) -> String {
    if why.is_empty() {
        format!("`{name}` cannot be added: nothing says why")
    } else {
        texts(why).join("; ")
    }
}

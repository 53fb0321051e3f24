//! What the roles of a verified token mean: which of the source's groups and roles they are.
//!
//! A token says names, not ids. A name counts where it can mean one thing only; where it could be
//! a group or a role, or a role of either of two clients, it gives nothing until the next sync.

use super::provision::Claimed;
use crate::config::{ClaimedNames, Config, SourceConfig};
use crate::directory::{
    Directory, Enabled, Kind, Named, RefIdx, RefRow, Sighting, Within, client_role_key,
};
use crate::model::username::UsernameFrom;
use crate::model::{Change, ExternalRef, GrantKind, Inconsistent, Reason, RefKind, Role, TooMany};
use crate::resolve::{Resolved, may_deny};
use crate::store::MirrorOutline;

/// Why nobody is provisioned by what their token says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ClaimsError {
    /// The caller has not shown a token.
    #[error("no token names the caller's roles")]
    NoToken,
    /// More is in doubt than can be numbered.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The token's issuer is no source.
    #[error("issuer `{}` is no source: its tokens give nothing", .issuer.escape_debug())]
    NoSource {
        /// Its `iss`.
        issuer: String,
    },
    /// The token's issuer is a source that is not configured.
    #[error("no source is called `{name}`")]
    UnknownSource {
        /// Its name.
        name: String,
    },
    /// The token does not have the claim.
    #[error("the token lacks the claim with the roles")]
    NoRoles,
    /// Nobody says which claim it is.
    #[error("no `roles_claim` is configured for the token's issuer")]
    NoRolesClaim,
    /// Whom the token shows is no person to the source: why.
    #[error("{0}")]
    NotAPerson(&'static str),
    /// The mirror has the id under another name.
    #[error("the mirror knows the token's `sub` by another name")]
    OtherName,
    /// A name of the claim means several things, and one of them takes something away.
    #[error(
        "the claim names `{}`, which can mean several things, and a role that denies hangs on one of \
         them: left to the next sync",
        .name.escape_debug()
    )]
    InDoubt {
        /// The name.
        name: String,
    },
}

/// Whom the token of source `name` shows. The mirror, where it has them, knows whether they are disabled.
///
/// # Errors
/// The mirror has that id under another name, or it is no person to the source.
pub(super) fn sighting(
    config: &Config,
    source: &SourceConfig,
    who: &Named,
    claimed: &Claimed,
    outline: &MirrorOutline,
    roles: &[Role],
) -> Result<Sighting, ClaimsError> {
    if let Some(why) = source.kind.not_a_person(&who.username) {
        return Err(ClaimsError::NotAPerson(why));
    }
    let names = source.kind.claimed(&claimed.claim);
    if names == ClaimedNames::Anything {
        restricted(config, source, claimed, outline, roles)?;
    }
    let within = within(&outline.directory, names, &claimed.roles);
    let row = outline.rows.iter().find(|row| row.ext == claimed.subject);
    if let Some(row) = row {
        if !who.is(&row.username, &row.email) {
            return Err(ClaimsError::OtherName);
        }
        return Ok(Sighting { within, ..row.clone() });
    }
    let (username, email) = match config.sync.username {
        UsernameFrom::Username => (who.username.clone(), String::new()),
        UsernameFrom::Email => (String::new(), who.username.clone()),
    };
    Ok(Sighting {
        ext: claimed.subject.clone(),
        username,
        email,
        // A token is no proof that another source's address is the same person's.
        email_verified: false,
        enabled: Enabled::Yes,
        federation: String::new(),
        sid: None,
        within,
    })
}

/// Refuses a claim with a name that can mean several things where one of them brings a role that
/// only denies: which is meant is told by the next sync, and until then nobody escapes it so.
fn restricted(
    config: &Config,
    source: &SourceConfig,
    claimed: &Claimed,
    outline: &MirrorOutline,
    roles: &[Role],
) -> Result<(), ClaimsError> {
    for name in &claimed.roles {
        let bearers = bearers(&outline.directory, name);
        if bearers.len() > 1
            && may_deny(&config.settings(), source.terms(), &outline.directory, roles, &bearers)?
        {
            return Err(ClaimsError::InDoubt { name: name.clone() });
        }
    }
    Ok(())
}

/// What the claim's names `roles`, which are such `names`, are in the mirror. Sorted, distinct.
fn within(directory: &Directory, names: ClaimedNames<'_>, roles: &[String]) -> Vec<Within> {
    let mut found = Vec::new();
    for name in roles {
        match names {
            ClaimedNames::ClientRoles(client) => found.push(Within {
                kind: Kind::ClientRole,
                key: client_role_key(client, name),
                name: None,
            }),
            ClaimedNames::RealmRoles => {
                found.push(Within { kind: Kind::RealmRole, key: name.clone(), name: None });
            }
            ClaimedNames::Anything => found.extend(only(directory, name)),
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The one thing that `name` can mean.
fn only(directory: &Directory, name: &str) -> Option<Within> {
    let bearers = bearers(directory, name);
    let [only] = bearers.as_slice() else { return None };
    let only = directory.refs.get(*only)?;
    Some(Within { kind: only.kind, key: directory.text(only.key).to_owned(), name: None })
}

/// What `name` can mean: a group by its path, or whatever bears the bare name.
fn bearers(directory: &Directory, name: &str) -> Vec<RefIdx> {
    let by_path = name.starts_with('/');
    let bears = |reference: &RefRow| {
        if by_path {
            reference.kind == Kind::Group && directory.text(reference.identity) == name
        } else {
            reference.kind.has_bare_name() && directory.text(reference.name) == name
        }
    };
    let all = directory.refs.numbered();
    all.filter(|(_, reference)| bears(reference)).map(|(index, _)| index).collect()
}

/// Says in the reasons that come through `source` that a token's claim said so, and takes back
/// what only a group of the claim would give of a protected role.
///
/// # Errors
/// What was resolved contradicts itself.
pub(super) fn mark(
    config: &Config,
    source: &str,
    claim: &str,
    resolved: &mut Resolved,
) -> Result<(), Inconsistent> {
    let Resolved { state, changes, .. } = resolved;
    let roles = &state.roles;
    let book = &mut state.reasons;
    for mut change in std::mem::take(changes) {
        let Change::GrantAdded { role, kind: GrantKind::Idp(set), .. } = &mut change else {
            changes.push(change);
            continue;
        };
        let protected = roles.get(*role).is_some_and(|role| config.is_protected(&role.name));
        let kept: Vec<Reason> = book
            .of_set(*set)?
            .filter(|reason| reason.source != source || !protected || !by_group(reason))
            .cloned()
            .collect();
        let numbers = kept
            .into_iter()
            .map(|mut reason| {
                if reason.source == source {
                    reason.path.insert(0, ExternalRef::new(RefKind::TokenClaim, claim, claim));
                }
                book.reason(reason)
            })
            .collect::<Result<Vec<_>, _>>()?;
        *set = book.set(&numbers)?;
        if !numbers.is_empty() {
            changes.push(change);
        }
    }
    Ok(())
}

/// Whether the way begins at a group.
fn by_group(reason: &Reason) -> bool {
    reason.path.first().is_some_and(|first| first.kind == RefKind::Directory(Kind::Group))
}

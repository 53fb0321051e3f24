//! Changes in words.

use crate::model::{
    Cause, Change, GrantKind, Mode, NewToken, Reason, RoleIdx, Status, Text, UserId, rfc3339,
};

use super::change::{ChangeView, ReasonView};
use super::encoding::definition;
use super::tables::TablesRef;

/// Puts `change` into words. `names`: what its numbers mean, of the plan that has it.
#[must_use]
pub fn view<'a>(change: &Change, names: impl Into<TablesRef<'a>>) -> ChangeView {
    let names: TablesRef<'a> = names.into();
    let mut view = ChangeView {
        change: change.kind().to_owned(),
        user: None,
        user_id: None,
        role: None,
        token: None,
        origin: None,
        old: None,
        new: None,
        cause: None,
        why: None,
        reasons: Vec::new(),
    };
    let user = |view: &mut ChangeView, id: UserId| {
        view.user_id = Some(id);
        let user = names.user(id);
        view.user = user.map(|user| names.texts.get(user.username).to_owned());
        user
    };
    let role = |view: &mut ChangeView, role: RoleIdx| {
        view.role = names.role(role).map(|role| role.name.clone());
    };
    let text = |text: Text| Some(names.texts.get(text).to_owned());
    match change {
        Change::RoleAdded { role: index } => {
            role(&mut view, *index);
            let def = names.role(*index);
            view.new = def.map(definition);
            view.why = def.and_then(|def| {
                def.template.as_ref().map(|name| format!("made by the template `{name}`"))
            });
        }
        Change::RoleChanged { role: index, old } => {
            role(&mut view, *index);
            let new = names.role(*index);
            view.new = new.map(definition);
            view.why = new.map(|new| difference(old, new));
        }
        Change::RoleRemoved { role: index } => {
            role(&mut view, *index);
            view.cause = Some(Cause::RoleGone.code().to_owned());
            view.why = Some(because(&Cause::RoleGone));
        }
        Change::UserCreated { user: id } => {
            let user = user(&mut view, *id);
            if let Some(Status::Disabled { by }) = user.map(|user| &user.status) {
                view.why = Some(format!("disabled in `{by}`"));
            }
            view.new = user.map(|user| user.email).filter(|email| !email.is_empty()).and_then(text);
        }
        Change::UserRenamed { user: id, old } => {
            let name = user(&mut view, *id).map(|user| user.username);
            view.old = text(*old);
            view.new = name.and_then(text);
        }
        Change::EmailChanged { user: id, old } => {
            let email = user(&mut view, *id).map(|user| user.email);
            view.old = text(*old);
            view.new = email.and_then(text);
        }
        Change::UserDisabled { user: id, by, .. } => {
            user(&mut view, *id);
            view.why = Some(format!("`{by}` says that the account is disabled"));
        }
        Change::UserEnabled { user: id }
        | Change::UserReturned { user: id }
        | Change::UserMissing { user: id } => {
            user(&mut view, *id);
            if matches!(change, Change::UserMissing { .. }) {
                view.why = Some("no source lists the user any more".to_owned());
            }
        }
        Change::UserDeprovisioned { user: id, cause } => {
            user(&mut view, *id);
            view.cause = Some(cause.code().to_owned());
            view.why = Some(because(cause));
        }
        Change::LinkAdded { user: id, source, ext } => {
            user(&mut view, *id);
            view.new = text(*ext);
            view.why = names.sources.get(*source).map(|name| format!("in `{name}`"));
        }
        Change::LinkRemoved { user: id, source, ext } => {
            user(&mut view, *id);
            view.old = text(*ext);
            view.why = names.sources.get(*source).map(|name| outgrown(name));
        }
        Change::LinkClaims { user: id, source, ext, claim } => {
            user(&mut view, *id);
            view.new = text(*ext);
            let source = names.sources.get(*source).map_or("", String::as_str);
            view.why = Some(claims(source, claim.map(|claim| names.texts.get(claim))));
        }
        Change::GrantAdded { user: id, role: index, kind } => {
            user(&mut view, *id);
            role(&mut view, *index);
            view.origin = Some(origin(*kind).to_owned());
            view.why = Some(reasons(names, *kind));
            view.reasons = reason_views(all_reasons(names, *kind));
        }
        Change::GrantReasons { user: id, role: index, old, new } => {
            user(&mut view, *id);
            role(&mut view, *index);
            view.origin = Some("idp".to_owned());
            view.old = Some(reasons(names, GrantKind::Idp(*old)));
            view.new = Some(reasons(names, GrantKind::Idp(*new)));
            view.reasons = reason_views(all_reasons(names, GrantKind::Idp(*new)));
        }
        Change::GrantRemoved { user: id, role: index, kind, cause } => {
            user(&mut view, *id);
            role(&mut view, *index);
            view.origin = Some(origin(*kind).to_owned());
            view.cause = Some(cause.code().to_owned());
            view.reasons = reason_views(all_reasons(names, *kind));
            view.why = Some(match (cause, kind) {
                (Cause::NotAtIdp, GrantKind::Idp(_)) => {
                    format!("{}; it came {}", because(cause), reasons(names, *kind))
                }
                // Only force takes a local grant for it, and no source ever said so of that one.
                (Cause::NotAtIdp, GrantKind::Local(_)) => LOCAL_NOT_AT_IDP.to_owned(),
                _ => because(cause),
            });
        }
        Change::TokenAdded { user: id, token } => {
            user(&mut view, *id);
            view.token = Some(token.name.clone());
            view.why = Some(token_story(token));
        }
        Change::TokenRemoved { user: id, name, cause } => {
            user(&mut view, *id);
            view.token = Some(names.token_names.get(*name).to_owned());
            view.cause = Some(cause.code().to_owned());
            view.why = Some(because(cause));
        }
        Change::TokenRoleLost { user: id, name, role: index, cause } => {
            user(&mut view, *id);
            role(&mut view, *index);
            view.token = Some(names.token_names.get(*name).to_owned());
            view.cause = Some(cause.code().to_owned());
            view.why = Some(because(cause));
        }
        Change::CatalogChanged => {
            view.why = Some("the catalog of requests in the configuration changed".to_owned());
        }
        Change::WorkloadChanged => {
            view.why = Some("who pools' pods are in the clouds changed".to_owned());
        }
    }
    view
}

/// What it means that `source` calls an account `claim`.
pub fn claims(source: &str, claim: Option<&str>) -> String {
    match claim {
        None => format!("`{source}` calls the account as the person is called"),
        Some("") => format!(
            "`{source}` calls the account by what is no username: at the gateway it is nobody's"
        ),
        Some(name) => format!(
            "`{source}` calls the account `{}`, as the person is not called: at the gateway it is \
             nobody's",
            name.escape_debug()
        ),
    }
}

impl Change {
    /// The stable word for it: see [`ChangeView::change`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Change::RoleAdded { .. } => "role-added",
            Change::RoleChanged { .. } => "role-changed",
            Change::RoleRemoved { .. } => "role-removed",
            Change::UserCreated { .. } => "user-created",
            Change::UserRenamed { .. } => "user-renamed",
            Change::EmailChanged { .. } => "email-changed",
            Change::UserDisabled { .. } => "user-disabled",
            Change::UserEnabled { .. } => "user-enabled",
            Change::UserMissing { .. } => "user-missing",
            Change::UserReturned { .. } => "user-returned",
            Change::UserDeprovisioned { .. } => "user-deprovisioned",
            Change::LinkAdded { .. } => "link-added",
            Change::LinkRemoved { .. } => "link-removed",
            Change::LinkClaims { claim: Some(_), .. } => "link-refused",
            Change::LinkClaims { claim: None, .. } => "link-accepted",
            Change::GrantAdded { .. } => "grant-added",
            Change::GrantReasons { .. } => "grant-reasons",
            Change::GrantRemoved { .. } => "grant-removed",
            Change::CatalogChanged => "catalog-changed",
            Change::WorkloadChanged => "workload-changed",
            Change::TokenAdded { .. } => "token-added",
            Change::TokenRemoved { .. } => "token-removed",
            Change::TokenRoleLost { .. } => "token-role-lost",
        }
    }
}

impl Change {
    /// Whom it speaks of, if of somebody.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Change::UserCreated { user }
            | Change::UserRenamed { user, .. }
            | Change::EmailChanged { user, .. }
            | Change::UserDisabled { user, .. }
            | Change::UserEnabled { user }
            | Change::UserMissing { user }
            | Change::UserReturned { user }
            | Change::UserDeprovisioned { user, .. }
            | Change::LinkAdded { user, .. }
            | Change::LinkRemoved { user, .. }
            | Change::LinkClaims { user, .. }
            | Change::GrantAdded { user, .. }
            | Change::GrantReasons { user, .. }
            | Change::GrantRemoved { user, .. }
            | Change::TokenAdded { user, .. }
            | Change::TokenRemoved { user, .. }
            | Change::TokenRoleLost { user, .. } => Some(*user),
            Change::RoleAdded { .. }
            | Change::RoleChanged { .. }
            | Change::RoleRemoved { .. }
            | Change::CatalogChanged
            | Change::WorkloadChanged => None,
        }
    }
}

fn origin(kind: GrantKind) -> &'static str {
    if kind.is_idp() { "idp" } else { "local" }
}

/// Why a local grant goes that no source backs.
pub const LOCAL_NOT_AT_IDP: &str = "mode force: the IdP decides alone, and gives no such role";

/// Why a link goes, as a sentence.
#[must_use]
pub fn outgrown(source: &str) -> String {
    if source == crate::directory::local::NAME {
        return format!("removed from `{source}`");
    }
    format!("`{source}` shows an id for the person now, and named them by username alone before")
}

/// A cause as a sentence.
#[must_use]
pub fn because(cause: &Cause) -> String {
    match cause {
        Cause::NotAtIdp => "no source says so any more".to_owned(),
        Cause::RoleGone => "the role left the configuration or its source".to_owned(),
        Cause::UserGone { since } => {
            format!("the user is gone from every source since {}", rfc3339(*since))
        }
        Cause::Replaced => "another person has the username now".to_owned(),
        Cause::Expired => "its time is over".to_owned(),
        Cause::IdpDecides => format!("mode {}: the IdP decides alone", Mode::Force),
        Cause::NotEveryone => "everyone held the role, and does no more".to_owned(),
        Cause::NewSecret => "a token of that name with another secret takes its place".to_owned(),
        Cause::ByHand { by } => format!("removed by {by}"),
    }
}

/// How a token came to be, as a phrase.
#[must_use]
pub fn token_story(token: &NewToken) -> String {
    let NewToken { name: _, digest: _, expires_at, roles, description, by, at: _ } = token;
    let roles = if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") };
    let until = rfc3339(*expires_at);
    let what = if description.is_empty() { String::new() } else { format!(": {description}") };
    format!("by {by} until {until} with {roles}{what}")
}

/// Every way an idp grant came, shortest first; none for a local one.
fn all_reasons(names: TablesRef<'_>, kind: GrantKind) -> Vec<&Reason> {
    let GrantKind::Idp(set) = kind else { return Vec::new() };
    // Of what no table has there is nothing to say: nothing is decided here.
    sorted(names.reasons.of_set(set).into_iter().flatten())
}

/// Reasons in the form for programs.
#[must_use]
pub fn reason_views<'r>(reasons: impl IntoIterator<Item = &'r Reason>) -> Vec<ReasonView> {
    reasons.into_iter().map(ReasonView::from).collect()
}

/// Reasons with the shortest way first.
#[must_use]
pub fn sorted<'r>(reasons: impl IntoIterator<Item = &'r Reason>) -> Vec<&'r Reason> {
    let mut reasons: Vec<&Reason> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| by_way(a, b));
    reasons
}

/// The shorter way first, then by what people read.
#[must_use]
pub fn by_way(a: &Reason, b: &Reason) -> std::cmp::Ordering {
    fn key(reason: &Reason) -> impl Ord + '_ {
        let Reason { source, rule, path } = reason;
        (path.len(), source, rule, reason.target(), path)
    }
    key(a).cmp(&key(b))
}

/// Several reasons as a phrase: the shortest way, and how many more there are.
#[must_use]
pub fn shortest(reasons: &[&Reason]) -> String {
    match reasons {
        [] => String::new(),
        [only] => reason(only),
        [first, rest @ ..] => and_more(&reason(first), rest.len()),
    }
}

/// The way `first` in words, and how many more there are: at least one.
#[must_use]
pub fn and_more(first: &str, more: usize) -> String {
    let ways = if more == 1 { "way" } else { "ways" };
    format!("{first}, and {more} more {ways}")
}

/// Why a grant exists, as a phrase.
#[must_use]
pub fn reasons<'a>(names: impl Into<TablesRef<'a>>, kind: GrantKind) -> String {
    let names: TablesRef<'a> = names.into();
    match kind {
        GrantKind::Idp(_) => shortest(&all_reasons(names, kind)),
        GrantKind::Local(local) => match names.locals.get(local) {
            None => String::new(),
            Some(local) => {
                let until = local.until.map(|until| format!(" until {}", rfc3339(until)));
                format!("by {}{}: {}", local.by, until.unwrap_or_default(), local.reason)
            }
        },
    }
}

/// One reason as a phrase: ``through group `/Eng/ML` → role … (source, rule)``.
#[must_use]
pub fn reason(reason: &Reason) -> String {
    format!("through {} ({}, {})", way(reason), reason.source, reason.rule)
}

/// The path of a reason as a phrase.
#[must_use]
pub fn way(reason: &Reason) -> String {
    let steps: Vec<String> = reason.path.iter().map(ToString::to_string).collect();
    steps.join(" → ")
}

fn difference(old: &crate::model::Role, new: &crate::model::Role) -> String {
    // Taken apart, so that a new field has to be thought of here.
    let crate::model::Role { name: _, description, everyone, mode, template, policies } = old;
    let mut parts = Vec::new();
    if *policies != new.policies {
        parts.push("policies".to_owned());
    }
    if *mode != new.mode {
        parts.push(format!("mode {mode} → {}", new.mode));
    }
    if *everyone != new.everyone {
        parts.push(format!("everyone {everyone} → {}", new.everyone));
    }
    if *description != new.description {
        parts.push("description".to_owned());
    }
    if *template != new.template {
        parts.push("template".to_owned());
    }
    parts.join(", ")
}

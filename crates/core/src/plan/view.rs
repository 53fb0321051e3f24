//! Changes in words.

use crate::model::{
    Cause, Change, GrantKind, Mode, NewToken, Origin, Reason, RoleIdx, Status, Text, UserId,
    rfc3339,
};

use super::change::{ChangeView, ReasonView};
use super::difference::RoleDifference;
use super::encoding::definition;
use super::tables::TablesRef;

/// Puts `change` into words. `names`: what its numbers mean, of the plan that has it.
#[must_use]
pub fn view<'a>(change: &Change, names: impl Into<TablesRef<'a>>) -> ChangeView {
    let names: TablesRef<'a> = names.into();
    let mut view = ChangeView {
        change: change.kind(),
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
            view.why = new.map(|new| RoleDifference::of(old, new).planned());
        }
        Change::RoleRemoved { role: index } => {
            role(&mut view, *index);
            view.cause = Some(Cause::RoleGone.kind());
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
            view.why = Some(disabled_by(by));
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
            view.cause = Some(cause.kind());
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
            view.origin = Some(kind.origin());
            view.why = Some(reasons(names, *kind));
            view.reasons = reason_views(all_reasons(names, *kind));
        }
        Change::GrantReasons { user: id, role: index, old, new } => {
            user(&mut view, *id);
            role(&mut view, *index);
            view.origin = Some(Origin::Idp);
            view.old = Some(reasons(names, GrantKind::Idp(*old)));
            view.new = Some(reasons(names, GrantKind::Idp(*new)));
            view.reasons = reason_views(all_reasons(names, GrantKind::Idp(*new)));
        }
        Change::GrantRemoved { user: id, role: index, kind, cause } => {
            user(&mut view, *id);
            role(&mut view, *index);
            view.origin = Some(kind.origin());
            view.cause = Some(cause.kind());
            view.reasons = reason_views(all_reasons(names, *kind));
            let why = lost(cause, kind.origin());
            view.why = Some(match (cause, kind) {
                (Cause::NotAtIdp, GrantKind::Idp(_)) => came(&why, &reasons(names, *kind)),
                _ => why,
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
            view.cause = Some(cause.kind());
            view.why = Some(because(cause));
        }
        Change::TokenRoleLost { user: id, name, role: index, cause } => {
            user(&mut view, *id);
            role(&mut view, *index);
            view.token = Some(names.token_names.get(*name).to_owned());
            view.cause = Some(cause.kind());
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

/// Why a grant goes, as a sentence.
#[must_use]
pub fn lost(cause: &Cause, origin: Origin) -> String {
    match (cause, origin) {
        // Only force takes a local grant for it, and no source ever said so of that one.
        (Cause::NotAtIdp, Origin::Local) => {
            "mode force: the IdP decides alone, and gives no such role".to_owned()
        }
        _ => because(cause),
    }
}

/// Why an idp grant goes, and by which ways it had come.
#[must_use]
pub fn came(why: &str, ways: &str) -> String {
    format!("{why}; it came {ways}")
}

/// The ways of which `why`, the sentence for [`Cause::NotAtIdp`], tells: a held change is kept with the
/// sentence and without its reasons, of which a plan of a million changes has too many.
pub(super) fn ways_told(why: &str) -> &str {
    why.strip_prefix(&came(&because(&Cause::NotAtIdp), THROUGH)).unwrap_or_default()
}

/// What it means that `source` says that somebody is disabled.
#[must_use]
pub fn disabled_by(source: &str) -> String {
    format!("`{source}` says that the account is disabled")
}

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

/// How a reason begins.
pub(super) const THROUGH: &str = "through ";

/// One reason as a phrase: ``through group `/Eng/ML` → role … (source, rule)``.
#[must_use]
pub fn reason(reason: &Reason) -> String {
    format!("{THROUGH}{} ({}, {})", way(reason), reason.source, reason.rule)
}

/// The path of a reason as a phrase.
#[must_use]
pub fn way(reason: &Reason) -> String {
    let steps: Vec<String> = reason.path.iter().map(ToString::to_string).collect();
    steps.join(" → ")
}

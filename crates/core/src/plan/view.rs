//! Changes in words.

use crate::model::{
    Cause, Change, ChangeKind, GrantKind, Mode, NewToken, Origin, Reason, Role, RoleIdx, SourceIdx,
    Status, Text, User, UserId, rfc3339,
};

use super::change::{ChangeView, ReasonView};
use super::difference::RoleDifference;
use super::encoding::definition;
use super::tables::TablesRef;

/// Puts `change` into words. `names`: what its numbers mean, of the plan that has it.
#[must_use]
pub fn view<'a>(change: &Change, names: impl Into<TablesRef<'a>>) -> ChangeView {
    let mut told = Wording::new(change.kind(), names.into());
    match change {
        Change::RoleAdded { role } => told.role_added(*role),
        Change::RoleChanged { role, old } => told.role_changed(*role, old),
        Change::RoleRemoved { role } => {
            told.role(*role);
            told.goes(&Cause::RoleGone);
        }
        Change::UserCreated { user } => told.user_created(*user),
        Change::UserRenamed { user, old } => {
            let name = told.user(*user).map(|user| user.username);
            told.becomes(Some(*old), name);
        }
        Change::EmailChanged { user, old } => {
            let email = told.user(*user).map(|user| user.email);
            told.becomes(Some(*old), email);
        }
        Change::UserDisabled { user, by, .. } => {
            told.user(*user);
            told.view.why = Some(disabled_by(by));
        }
        Change::UserEnabled { user } | Change::UserReturned { user } => drop(told.user(*user)),
        Change::UserMissing { user } => {
            told.user(*user);
            told.view.why = Some("no source lists the user any more".to_owned());
        }
        Change::UserDeprovisioned { user, cause } => {
            told.user(*user);
            told.goes(cause);
        }
        Change::LinkAdded { user, source, ext } => {
            told.user(*user);
            told.becomes(None, Some(*ext));
            told.view.why = told.source(*source).map(|name| format!("in `{name}`"));
        }
        Change::LinkRemoved { user, source, ext } => {
            told.user(*user);
            told.becomes(Some(*ext), None);
            told.view.why = told.source(*source).map(outgrown);
        }
        Change::LinkClaims { user, source, ext, claim } => {
            told.user(*user);
            told.becomes(None, Some(*ext));
            let claim = claim.map(|claim| told.names.texts.get(claim));
            told.view.why = Some(claims(told.source(*source).unwrap_or_default(), claim));
        }
        Change::GrantAdded { user, role, kind } => {
            told.grant(*user, *role, *kind);
            told.view.why = Some(reasons(told.names, *kind));
        }
        Change::GrantReasons { user, role, old, new } => {
            told.grant(*user, *role, GrantKind::Idp(*new));
            told.view.old = Some(reasons(told.names, GrantKind::Idp(*old)));
            told.view.new = Some(reasons(told.names, GrantKind::Idp(*new)));
        }
        Change::GrantRemoved { user, role, kind, cause } => {
            told.grant(*user, *role, *kind);
            told.grant_goes(*kind, cause);
        }
        Change::TokenAdded { user, token } => {
            told.token(*user, &token.name);
            told.view.why = Some(token_story(token));
        }
        Change::TokenRemoved { user, name, cause } => {
            told.token(*user, told.names.token_names.get(*name));
            told.goes(cause);
        }
        Change::TokenRoleLost { user, name, role, cause } => {
            told.token(*user, told.names.token_names.get(*name));
            told.role(*role);
            told.goes(cause);
        }
        Change::CatalogChanged => {
            told.view.why = Some("the catalog of requests in the configuration changed".to_owned());
        }
        Change::WorkloadChanged => {
            told.view.why = Some("who pools' pods are in the clouds changed".to_owned());
        }
    }
    told.view
}

/// A change as far as it is in words.
struct Wording<'a> {
    names: TablesRef<'a>,
    view: ChangeView,
}

impl<'a> Wording<'a> {
    fn new(change: ChangeKind, names: TablesRef<'a>) -> Self {
        let view = ChangeView {
            change,
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
        Wording { names, view }
    }

    /// It is about this person.
    fn user(&mut self, id: UserId) -> Option<&'a User> {
        self.view.user_id = Some(id);
        let user = self.names.user(id);
        self.view.user = user.map(|user| self.names.texts.get(user.username).to_owned());
        user
    }

    /// It is about this role.
    fn role(&mut self, role: RoleIdx) -> Option<&'a Role> {
        let role = self.names.role(role);
        self.view.role = role.map(|role| role.name.clone());
        role
    }

    /// It is about this token.
    fn token(&mut self, owner: UserId, name: &str) {
        self.user(owner);
        self.view.token = Some(name.to_owned());
    }

    /// It is about this grant.
    fn grant(&mut self, user: UserId, role: RoleIdx, kind: GrantKind) {
        self.user(user);
        self.role(role);
        self.view.origin = Some(kind.origin());
        self.view.reasons = reason_views(all_reasons(self.names, kind));
    }

    fn source(&self, source: SourceIdx) -> Option<&'a str> {
        self.names.sources.get(source).map(String::as_str)
    }

    /// What was before and what is after.
    fn becomes(&mut self, old: Option<Text>, new: Option<Text>) {
        let text = |text: Text| self.names.texts.get(text).to_owned();
        (self.view.old, self.view.new) = (old.map(text), new.map(text));
    }

    /// It goes for this cause.
    fn goes(&mut self, cause: &Cause) {
        self.view.cause = Some(cause.kind());
        self.view.why = Some(because(cause));
    }

    fn role_added(&mut self, role: RoleIdx) {
        let def = self.role(role);
        self.view.new = def.map(definition);
        let template = def.and_then(|def| def.template.as_ref());
        self.view.why = template.map(|name| format!("made by the template `{name}`"));
    }

    fn role_changed(&mut self, role: RoleIdx, old: &Role) {
        let new = self.role(role);
        self.view.new = new.map(definition);
        self.view.why = new.map(|new| RoleDifference::of(old, new).planned());
    }

    fn user_created(&mut self, id: UserId) {
        let user = self.user(id);
        if let Some(Status::Disabled { by }) = user.map(|user| &user.status) {
            self.view.why = Some(format!("disabled in `{by}`"));
        }
        self.becomes(None, user.map(|user| user.email).filter(|email| !email.is_empty()));
    }

    fn grant_goes(&mut self, kind: GrantKind, cause: &Cause) {
        self.view.cause = Some(cause.kind());
        let why = lost(cause, kind.origin());
        self.view.why = Some(match (cause, kind) {
            (Cause::NotAtIdp, GrantKind::Idp(_)) => came(&why, &reasons(self.names, kind)),
            _ => why,
        });
    }
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

//! From policies to decisions.

use super::{Action, ActionPattern, Resource, ResourcePattern};

/// What a policy does with what it matches.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Effect {
    /// Permit it, unless some policy denies it.
    Allow,
    /// Refuse it, whatever else allows it.
    Deny,
}

impl Effect {
    /// `Allow` or `Deny`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        }
    }
}

/// One policy of a role.
#[derive(Clone, PartialEq, Eq, Debug, Hash, serde::Serialize, serde::Deserialize)]
pub struct Policy {
    /// Allow or Deny.
    pub effect: Effect,
    /// At least one.
    pub actions: Vec<ActionPattern>,
    /// Absent: matches only requests without a resource. Never an empty list.
    pub resources: Option<Vec<ResourcePattern>>,
}

impl Policy {
    /// Whether the policy speaks of this request of somebody called `me` (`None`: of nobody who has
    /// a username): the design's section 8.
    #[must_use]
    pub fn matches(&self, action: &Action, resource: Option<&Resource>, me: Option<&str>) -> bool {
        if !self.actions.iter().any(|pattern| pattern.matches(action)) {
            return false;
        }
        match (&self.resources, resource) {
            (None, None) | (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(patterns), Some(resource)) => {
                patterns.iter().any(|pattern| pattern.matches(resource, me))
            }
        }
    }
}

/// Whether `policies` allow every action, on whatever resources.
#[must_use]
pub fn allow_all(policies: &[Policy]) -> bool {
    policies.iter().any(|policy| {
        policy.effect == Effect::Allow && policy.actions.iter().any(ActionPattern::is_any)
    })
}

/// Whether `policies` do nothing but deny, and do so at all: who holds them has less, never more.
#[must_use]
pub fn only_deny(policies: &[Policy]) -> bool {
    !policies.is_empty() && policies.iter().all(|policy| policy.effect == Effect::Deny)
}

/// What was decided, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<'a> {
    /// A policy of this role decided: its effect, the role's name, the policy's place (from 0).
    Decided(Effect, &'a str, usize),
    /// No policy speaks of it: denied.
    NoPolicy,
}

impl Verdict<'_> {
    /// Whether the request is permitted.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        matches!(self, Verdict::Decided(Effect::Allow, _, _))
    }
}

/// Decides one request for someone called `me` (`None`: nobody who has a username) who effectively
/// holds `roles` (name and policies). The first Deny in the given order wins, else the first Allow:
/// give roles sorted by name, so that the role named is the same in every run.
pub fn decide<'a>(
    roles: impl IntoIterator<Item = (&'a str, &'a [Policy])>,
    action: &Action,
    resource: Option<&Resource>,
    me: Option<&str>,
) -> Verdict<'a> {
    let mut allowed = Verdict::NoPolicy;
    for (role, policies) in roles {
        for (position, policy) in policies.iter().enumerate() {
            if !policy.matches(action, resource, me) {
                continue;
            }
            match policy.effect {
                Effect::Deny => return Verdict::Decided(Effect::Deny, role, position),
                Effect::Allow if allowed == Verdict::NoPolicy => {
                    allowed = Verdict::Decided(Effect::Allow, role, position);
                }
                Effect::Allow => {}
            }
        }
    }
    allowed
}

/// Decides a request on some resource of `scope` that its path does not tell, for someone called
/// `me` who effectively holds `roles` (as in [`decide`]): the design's section 11. A Deny that covers the
/// whole scope wins, else the first Allow that could match a resource of it. Only policies with
/// `resources` speak of such a request. Who gets an Allow may still be denied each single resource:
/// what serves the request narrows it.
pub fn decide_some<'a>(
    roles: impl IntoIterator<Item = (&'a str, &'a [Policy])>,
    action: &Action,
    scope: &str,
    me: Option<&str>,
) -> Verdict<'a> {
    let mut allowed = Verdict::NoPolicy;
    for (role, policies) in roles {
        for (position, policy) in policies.iter().enumerate() {
            let Some(resources) = &policy.resources else { continue };
            if !policy.actions.iter().any(|pattern| pattern.matches(action)) {
                continue;
            }
            match policy.effect {
                Effect::Deny if resources.iter().any(|pattern| pattern.covers(scope)) => {
                    return Verdict::Decided(Effect::Deny, role, position);
                }
                Effect::Allow
                    if allowed == Verdict::NoPolicy
                        && resources.iter().any(|pattern| pattern.reaches(scope, me)) =>
                {
                    allowed = Verdict::Decided(Effect::Allow, role, position);
                }
                Effect::Deny | Effect::Allow => {}
            }
        }
    }
    allowed
}

/// One row of decisions: a request of the catalog, what was decided, and the role that decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<'a> {
    /// A place in the catalog.
    pub request: usize,
    /// Allow or Deny.
    pub effect: Effect,
    /// The role's name.
    pub role: &'a str,
}

/// The decisions for the whole catalog of someone called `me` (as in [`decide`]) who effectively
/// holds `roles` (sorted by name). Requests that no policy speaks of have no row: they are denied.
#[must_use]
pub fn decide_catalog<'a>(
    roles: &[(&'a str, &'a [Policy])],
    catalog: &[(Action, Option<Resource>)],
    me: Option<&str>,
) -> Vec<Decision<'a>> {
    catalog
        .iter()
        .enumerate()
        .filter_map(|(request, (action, resource))| {
            match decide(roles.iter().copied(), action, resource.as_ref(), me) {
                Verdict::Decided(effect, role, _) => Some(Decision { request, effect, role }),
                Verdict::NoPolicy => None,
            }
        })
        .collect()
}

/// Something that is said of a request to whoever asks, and something to the one alone whom its
/// resource is named after: of `user/ann` to Ann. The latter differs only by `${self}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Said<T> {
    /// To everybody; where `own` differs, to everybody but that one.
    pub others: T,
    /// To that one.
    pub own: T,
}

/// What one role's policies say of each request of the catalog; nothing where none speaks of it.
/// Many role sets have the role: [`combined`] decides for each of them from this.
#[must_use]
pub fn effects(
    policies: &[Policy],
    catalog: &[(Action, Option<Resource>)],
) -> Vec<Said<Option<Effect>>> {
    let says = |action: &Action, resource: Option<&Resource>, me: Option<&str>| match decide(
        [("", policies)],
        action,
        resource,
        me,
    ) {
        Verdict::Decided(effect, ..) => Some(effect),
        Verdict::NoPolicy => None,
    };
    catalog
        .iter()
        .map(|(action, resource)| {
            let resource = resource.as_ref();
            let others = says(action, resource, None);
            let own = resource.map_or(others, |it| says(action, resource, Some(it.id())));
            Said { others, own }
        })
        .collect()
}

/// What is decided of the request at `request` of the catalog for someone who effectively holds
/// roles with these [`effects`] (sorted by the roles' names): the effect, and the place of the role
/// that decides. The same as [`decide`] of all their policies: the first Deny wins, else the first
/// Allow. Where the effect is the same for everybody, so is the role that is named.
#[must_use]
pub fn combined(
    roles: &[&[Said<Option<Effect>>]],
    request: usize,
) -> Said<Option<(Effect, usize)>> {
    type Says = Said<Option<Effect>>;
    let first = |of: fn(&Says) -> Option<Effect>, effect: Effect| {
        let says = |role: &&[Says]| role.get(request).and_then(of) == Some(effect);
        roles.iter().position(says).map(|place| (effect, place))
    };
    let decided = |of: fn(&Says) -> Option<Effect>| {
        first(of, Effect::Deny).or_else(|| first(of, Effect::Allow))
    };
    let (others, own) = (decided(|says| says.others), decided(|says| says.own));
    match (others, own) {
        (Some((one, _)), Some((other, _))) if one == other => Said { others, own: others },
        _ => Said { others, own },
    }
}

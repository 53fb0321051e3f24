//! May it happen? What the guard holds: the design's section 9. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use crate::model::{
    Cause, Change, Diagnostic, DiagnosticCode, Inconsistent, RoleIdx, RoleMap, State, Subject,
    UserId,
};

use super::effective::Effective;

/// The limits: `[guard]`.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Of all effective user-role pairs. Default 10.
    pub max_lost_percent: f64,
    /// This many lost pairs or fewer never hold. Default 20.
    pub max_lost_floor: u64,
    /// Of all enabled users. Default 10.
    pub max_disabled_percent: f64,
    /// Role name to the fewest effective holders it may have. Only configured or templated roles.
    pub protected_roles: BTreeMap<String, u64>,
    /// How far back the limits look: what went in this time counts with what a plan takes away, so
    /// that what trickles in one by one is caught like what comes at once. Default one hour.
    pub window: std::time::Duration,
}

/// What earlier plans took away: effective pairs because of absence, and users disabled by a source.
/// Neither what was held nor what a person did or approved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Taken {
    /// Effective user-role pairs.
    pub lost_pairs: u64,
    /// Users who were enabled before.
    pub disabled: u64,
}

/// Those whom a plan for some people does not look at: limits are shares of everybody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Others {
    /// Their effective user-role pairs.
    pub pairs: u64,
    /// How many of them are enabled.
    pub enabled: u64,
    /// How many of them effectively hold each protected role, by its name.
    pub holders: BTreeMap<String, u64>,
    /// For each federation link (source and provider) how many of their accounts are of somebody who
    /// is enabled.
    pub federated: BTreeMap<(String, String), u64>,
}

/// What the guard says of a list of changes.
#[derive(Debug, Default)]
pub struct GuardVerdict {
    /// For each change whether it waits for a person.
    pub held: Vec<bool>,
    /// Why, a sentence for each limit that was passed.
    pub why: Vec<String>,
    /// How many effective pairs the held changes would take away.
    pub lost_pairs: u64,
    /// What the changes that are not held take away.
    pub taken: Taken,
    /// Worth telling although nothing is held for it.
    pub diagnostics: Vec<Diagnostic>,
}

/// What the guard looks at.
pub struct Case<'a> {
    /// The limits.
    pub guard: &'a Guard,
    /// The state before.
    pub old: &'a State,
    /// The state once all changes are applied.
    pub new: &'a State,
    /// From the one to the other.
    pub changes: &'a [Change],
    /// Who effectively holds what before.
    pub before: &'a Effective,
    /// Who effectively holds what after.
    pub after: &'a Effective,
    /// For each federation link (source and provider) how many of its users were enabled before.
    pub federated: &'a std::collections::HashMap<(String, String), u64>,
    /// What went within [`Guard::window`] already.
    pub recent: Taken,
    /// Those whom the states do not have.
    pub others: &'a Others,
}

type Pair = (UserId, RoleIdx);

/// Weighs `case`.
///
/// # Errors
/// The new state has lost a role of the old one.
pub fn weigh(case: &Case<'_>) -> Result<GuardVerdict, Inconsistent> {
    let mut verdict =
        GuardVerdict { held: vec![false; case.changes.len()], ..GuardVerdict::default() };
    // Disables first: what else happens to someone whose disable looks like an outage must not
    // pass as "disabled anyway".
    hold_disables(case, &mut verdict);
    let causes = Causes::of(case.changes, &verdict.held);
    let lost = lost_pairs(case, &causes)?;
    let mut held: BTreeSet<Pair> = BTreeSet::new();
    let (now, earlier) = (lost.len() as u64, case.recent.lost_pairs);
    let (count, total) = (now + earlier, case.before.pairs() + case.others.pairs + earlier);
    let (percent, floor) = (case.guard.max_lost_percent, case.guard.max_lost_floor);
    if now > 0 && exceeds(count, total, percent, floor) {
        verdict.why.push(format!(
            "{now} of {total} effective user-role pairs would be lost because of absence{}: more \
             than max_lost_percent = {percent} and max_lost_floor = {floor}",
            after(earlier, case.guard)
        ));
        held.extend(lost.iter().copied());
    }
    protected(case, &lost, &mut held, &mut verdict);
    verdict.lost_pairs = held.len() as u64;
    verdict.taken.lost_pairs = now - lost.intersection(&held).count() as u64;
    hold_pairs(case, &held, &causes, &mut verdict);
    Ok(verdict)
}

/// What went before, for a sentence that says what would go now.
fn after(earlier: u64, guard: &Guard) -> String {
    match earlier {
        0 => String::new(),
        _ => format!(", after {earlier} in the last {} s (`window`)", guard.window.as_secs()),
    }
}

fn exceeds(count: u64, total: u64, percent: f64, floor: u64) -> bool {
    // Counts stay far below 2^52, where f64 is exact.
    #[expect(clippy::cast_precision_loss, reason = "counts of users and pairs are far below 2^52")]
    let over = count as f64 * 100.0 > percent * total as f64;
    count > floor && over
}

/// Why each grant and each user goes.
struct Causes<'a> {
    grants: HashMap<Pair, bool>,
    users: HashMap<UserId, &'a Cause>,
    disabled: HashSet<UserId>,
    roles: BTreeSet<RoleIdx>,
}

impl<'a> Causes<'a> {
    fn of(changes: &'a [Change], held: &[bool]) -> Self {
        let mut causes = Causes {
            grants: HashMap::new(),
            users: HashMap::new(),
            disabled: HashSet::new(),
            roles: BTreeSet::new(),
        };
        for (index, change) in changes.iter().enumerate() {
            match change {
                Change::GrantRemoved { user, role, cause, .. } => {
                    *causes.grants.entry((*user, *role)).or_default() |= cause.is_absence();
                }
                Change::UserDeprovisioned { user, cause } => {
                    causes.users.insert(*user, cause);
                }
                Change::UserDisabled { user, .. } if held.get(index) == Some(&false) => {
                    causes.disabled.insert(*user);
                }
                Change::RoleRemoved { role } => {
                    causes.roles.insert(*role);
                }
                Change::RoleChanged { role, old } if old.everyone => {
                    causes.roles.insert(*role);
                }
                _ => {}
            }
        }
        causes
    }

    /// Whether this loss is for absence, not for what an IdP or a person says outright.
    fn is_absence(&self, pair: Pair) -> bool {
        if self.disabled.contains(&pair.0) {
            return false;
        }
        self.users.get(&pair.0).is_some_and(|cause| cause.is_absence())
            || self.grants.get(&pair).copied().unwrap_or(false)
            || self.roles.contains(&pair.1)
    }
}

/// Effective pairs that all changes together would take away because of absence, roles by their
/// new numbers. A pair that passes to the person who has the username now is not lost.
fn lost_pairs(case: &Case<'_>, causes: &Causes<'_>) -> Result<BTreeSet<Pair>, Inconsistent> {
    let moved = RoleMap::of(&case.old.roles, &case.new.roles)?;
    let mut lost = BTreeSet::new();
    let mut same_name: Option<HashMap<&str, usize>> = None;
    let mut after = 0;
    for (place, user) in case.old.users.iter().enumerate() {
        let before = case.before.roles(place);
        if before.is_empty() {
            continue;
        }
        while case.new.users.get(after).is_some_and(|other| other.id < user.id) {
            after += 1;
        }
        let kept = match case.new.users.get(after) {
            Some(other) if other.id == user.id => case.after.roles(after),
            _ => &[],
        };
        let replaced = matches!(causes.users.get(&user.id), Some(Cause::Replaced));
        for role in before {
            let role = moved.get(*role)?;
            if kept.binary_search(&role).is_ok() || !causes.is_absence((user.id, role)) {
                continue;
            }
            if replaced {
                let heirs = same_name.get_or_insert_with(|| by_name(case.new));
                let name = case.old.texts.get(user.username);
                let inherited = |heir: &usize| case.after.roles(*heir).binary_search(&role).is_ok();
                if heirs.get(name).is_some_and(inherited) {
                    continue;
                }
            }
            lost.insert((user.id, role));
        }
    }
    Ok(lost)
}

/// Places of users that are not deprovisioned, by username.
fn by_name(state: &State) -> HashMap<&str, usize> {
    state
        .users
        .iter()
        .enumerate()
        .filter(|(_, user)| !user.status.is_deprovisioned())
        .map(|(place, user)| (state.texts.get(user.username), place))
        .collect()
}

fn protected(
    case: &Case<'_>,
    lost: &BTreeSet<Pair>,
    held: &mut BTreeSet<Pair>,
    verdict: &mut GuardVerdict,
) {
    for (name, minimum) in &case.guard.protected_roles {
        let Some(role) = case.new.roles.find_by(|role| role.name.cmp(name)) else { continue };
        let holders = |effective: &Effective, role: RoleIdx| {
            (0..effective.users())
                .filter(|place| effective.roles(*place).binary_search(&role).is_ok())
                .count() as u64
        };
        let earlier = case.old.roles.find_by(|role| role.name.cmp(name));
        let others = case.others.holders.get(name).copied().unwrap_or(0);
        let before = others + earlier.map_or(0, |role| holders(case.before, role));
        let left = others + holders(case.after, role);
        if left >= *minimum || left >= before {
            continue;
        }
        let absent: Vec<Pair> = lost.iter().filter(|pair| pair.1 == role).copied().collect();
        if absent.is_empty() {
            let message = format!(
                "protected role `{name}` is left with {left} of at least {minimum} effective \
                 holders: an identity provider says outright that the others are disabled, or \
                 they were taken out by hand"
            );
            let (code, subject) =
                (DiagnosticCode::ProtectedBelowMinimum, Subject::Role(name.clone()));
            verdict.diagnostics.push(Diagnostic::warning(code, subject, message));
        } else {
            verdict.why.push(format!(
                "protected role `{name}` would be left with {left} effective holders, fewer than \
                 its minimum of {minimum}"
            ));
            held.extend(absent);
        }
    }
}

/// Holds the changes that take the pairs in `held` away, and what hangs on those changes.
fn hold_pairs(
    case: &Case<'_>,
    held: &BTreeSet<Pair>,
    causes: &Causes<'_>,
    verdict: &mut GuardVerdict,
) {
    if held.is_empty() {
        return;
    }
    let users: BTreeSet<UserId> = held.iter().map(|pair| pair.0).collect();
    let roles: BTreeSet<RoleIdx> =
        held.iter().map(|pair| pair.1).filter(|role| causes.roles.contains(role)).collect();
    // Whoever has the username of someone who must stay has to wait.
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for user in &users {
        if matches!(causes.users.get(user), Some(Cause::Replaced))
            && let Ok(place) = case.old.users.binary_search_by_key(user, |user| user.id)
            && let Some(user) = case.old.users.get(place)
        {
            names.insert(case.old.texts.get(user.username));
        }
    }
    let mut heirs: BTreeSet<UserId> = BTreeSet::new();
    if !names.is_empty() {
        // Whoever has to wait keeps the name that somebody else may want in turn.
        loop {
            let mut more = false;
            for user in &case.new.users {
                let stays = !user.status.is_deprovisioned();
                if stays && names.contains(case.new.texts.get(user.username)) {
                    more |= heirs.insert(user.id);
                }
            }
            for heir in heirs.iter().filter_map(|heir| old_user(case, *heir)) {
                if !heir.status.is_deprovisioned() {
                    names.insert(case.old.texts.get(heir.username));
                }
            }
            if !more {
                break;
            }
        }
    }
    for (change, slot) in case.changes.iter().zip(&mut verdict.held) {
        *slot |= match change {
            Change::GrantRemoved { user, role, cause, .. } => {
                (cause.is_absence() && held.contains(&(*user, *role)))
                    || (*cause == Cause::RoleGone && roles.contains(role))
                    || (*cause == Cause::Replaced && users.contains(user))
            }
            Change::UserDeprovisioned { user, .. } => users.contains(user),
            Change::RoleRemoved { role } | Change::RoleChanged { role, .. } => roles.contains(role),
            Change::UserCreated { user }
            | Change::UserRenamed { user, .. }
            | Change::EmailChanged { user, .. }
            | Change::UserReturned { user }
            | Change::LinkAdded { user, .. }
            | Change::LinkRemoved { user, .. }
            | Change::GrantAdded { user, .. }
            | Change::GrantReasons { user, .. }
            | Change::TokenAdded { user, .. } => heirs.contains(user),
            // Whoever stays keeps the token that would have gone along.
            Change::TokenRemoved { user, cause, .. } => cause.is_absence() && users.contains(user),
            // Someone who comes back disabled under a name that is not free yet stays away.
            Change::UserDisabled { user, .. } => {
                heirs.contains(user)
                    && old_user(case, *user).is_some_and(|user| user.status.is_deprovisioned())
            }
            Change::UserEnabled { .. }
            | Change::UserMissing { .. }
            | Change::LinkClaims { .. }
            | Change::RoleAdded { .. }
            | Change::TokenRoleLost { .. }
            | Change::CatalogChanged
            | Change::WorkloadChanged => false,
        };
    }
}

fn old_user<'a>(case: &Case<'a>, id: UserId) -> Option<&'a crate::model::User> {
    let place = case.old.users.binary_search_by_key(&id, |user| user.id).ok()?;
    case.old.users.get(place)
}

/// Holds disables that look like an outage: too many at once, of everyone or of one federation.
fn hold_disables(case: &Case<'_>, verdict: &mut GuardVerdict) {
    let enabled = |user: UserId| {
        let place = case.old.users.binary_search_by_key(&user, |user| user.id).ok();
        place.and_then(|place| case.old.users.get(place)).is_some_and(|user| user.status.counts())
    };
    let mut all: Vec<usize> = Vec::new();
    let mut by_federation: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (index, change) in case.changes.iter().enumerate() {
        if let Change::UserDisabled { user, by, federation } = change
            && enabled(*user)
        {
            all.push(index);
            let federation = case.new.texts.get(*federation);
            if !federation.is_empty() {
                by_federation.entry((by.clone(), federation.to_owned())).or_default().push(index);
            }
        }
    }
    let (percent, floor) = (case.guard.max_disabled_percent, case.guard.max_lost_floor);
    let everyone = case.old.users.iter().filter(|user| user.status.counts()).count() as u64
        + case.others.enabled;
    let mut hold = |indexes: &[usize]| {
        for index in indexes {
            if let Some(slot) = verdict.held.get_mut(*index) {
                *slot = true;
            }
        }
    };
    let mut why = Vec::new();
    let (now, earlier) = (all.len() as u64, case.recent.disabled);
    let everyone = everyone + earlier;
    if now > 0 && exceeds(now + earlier, everyone, percent, floor) {
        hold(&all);
        why.push(format!(
            "{now} of {everyone} enabled users would be disabled at once{}: more than \
             max_disabled_percent = {percent} and max_lost_floor = {floor}",
            after(earlier, case.guard)
        ));
    }
    for ((source, federation), indexes) in by_federation {
        let key = (source.clone(), federation.clone());
        let members = case.federated.get(&key).copied().unwrap_or(0)
            + case.others.federated.get(&key).copied().unwrap_or(0);
        if exceeds(indexes.len() as u64, members, percent, floor) {
            hold(&indexes);
            why.push(format!(
                "{} of {members} enabled users of `{source}` that come through the federation \
                 `{federation}` would be disabled at once: more than max_disabled_percent = \
                 {percent} and max_lost_floor = {floor}; an outage of the directory behind \
                 Keycloak looks like that",
                indexes.len()
            ));
        }
    }
    let held = all.iter().filter(|index| verdict.held.get(**index) == Some(&true)).count() as u64;
    verdict.taken.disabled = now - held;
    verdict.why.extend(why);
}

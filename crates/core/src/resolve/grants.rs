//! What a sync does to each person: the design's section 7. What becomes of their grants says
//! [`super::modes`].

use std::collections::{BTreeSet, HashSet};

use crate::directory::DirUserIdx;
use crate::model::index::Place as _;
use crate::model::{
    Cause, Change, Grant, GrantKind, Inconsistent, IndexVec, Link, ReasonIdx, RoleIdx, RoleMap,
    RoleSetId, SetIdx, SourceIdx, State, Status, Text, Time, TooMany, User, UserId,
};

use super::closure::RoleClosure;
use super::current::CurrentMatches;
use super::gaps::Gaps;
use super::people::{OldIdx, People, Person, PersonLink, SourceView, ViewIdx};
use super::roles::Roles;
use super::settings::Settings;

/// The new state before anything happened: the old one with the new list of roles, and without
/// users and grants, which [`Resolver::run`] fills in. With it each old role's new place.
pub fn start(old: &State, roles: &Roles) -> Result<(State, RoleMap), Inconsistent> {
    let state = State {
        texts: old.texts.clone(),
        roles: roles.defs.clone(),
        sources: old.sources.clone(),
        users: Vec::with_capacity(old.users.len()),
        links: old.links.clone(),
        grants: Vec::with_capacity(old.grants.len()),
        reasons: old.reasons.clone(),
        locals: old.locals.clone(),
        tokens: old.tokens.clone(),
        catalog: old.catalog.clone(),
        workload: old.workload.clone(),
        next_user: old.next_user,
    };
    let moved = RoleMap::of(&old.roles, &state.roles)?;
    Ok((state, moved))
}

/// Says which roles are new, different or gone.
pub fn role_changes(old: &State, roles: &Roles, state: &mut State, changes: &mut Vec<Change>) {
    let mut removed = Vec::new();
    for ((role, def), live) in roles.defs.numbered().zip(&roles.live) {
        let before = old.roles.find_by(|other| other.name.cmp(&def.name));
        match before.map(|place| old.roles.at(place)) {
            None => changes.push(Change::RoleAdded { role }),
            Some(_) if !live => {
                let slot = state.roles.at_mut(role);
                slot.everyone = false;
                slot.policies.clear();
                removed.push(Change::RoleRemoved { role });
            }
            Some(before) if before != def => {
                changes.push(Change::RoleChanged { role, old: Box::new(before.clone()) });
            }
            Some(_) => {}
        }
    }
    changes.extend(removed);
}

/// Walks through everyone once.
pub struct Resolver<'a> {
    /// What it goes by.
    pub settings: &'a Settings<'a>,
    /// Every role a change can name.
    pub roles: &'a Roles,
    /// What the sources say.
    pub sources: &'a IndexVec<ViewIdx, SourceView<'a>>,
    /// What nobody has ever read in full.
    pub gaps: &'a Gaps<'a>,
    /// Roles that somebody may hold through a reference whose members nobody has read in full.
    pub unknown_roles: &'a BTreeSet<RoleIdx>,
    /// What rules match now, in every source. Empty where no role is unknown.
    pub current: &'a CurrentMatches<'a>,
    /// The state before.
    pub old: &'a State,
    /// Each old role's new place.
    pub moved: &'a RoleMap,
    /// The moment of the run.
    pub now: Time,
    /// The state after.
    pub state: &'a mut State,
    /// From the one to the other.
    pub changes: &'a mut Vec<Change>,
    /// The next moment at which something falls due by itself.
    pub next_due: Option<Time>,
}

impl<'a> Resolver<'a> {
    /// Settles everyone: old users in order, then newcomers.
    ///
    /// # Errors
    /// A grant is of a role that the old state has not, or there are no numbers left for newcomers.
    pub fn run(&mut self, people: &People) -> Result<(), Inconsistent> {
        let mut views = IndexVec::with_capacity(self.sources.len());
        for view in self.sources {
            views.push(self.state.source(view.name)?)?;
        }
        let mut persons = people.persons.numbered().peekable();
        let mut links = people.links.as_slice();
        let mut grants = self.old.grants.as_slice();
        let maybe_there = self.maybe_there();
        for (place, user) in self.old.users.iter().enumerate() {
            let place = OldIdx::from_place(place).ok_or(TooMany(OldIdx::OF))?;
            let held = take_while(&mut grants, |grant| grant.user == user.id);
            let held = &self.moved.grants(held)?[..];
            match persons.next_if(|(_, person)| person.old == Some(place)) {
                Some((index, person)) => {
                    let links = take_while(&mut links, |link| link.person == index);
                    self.present(user, person, links, held, &views)?;
                }
                None if people.replaced.contains(&place) => {
                    self.deprovision(user, held, &Cause::Replaced)?;
                }
                None if maybe_there.binary_search(&user.id).is_ok() => self.stay(user, held)?,
                None => self.absent(user, held)?,
            }
        }
        for (index, person) in persons {
            let links = take_while(&mut links, |link| link.person == index);
            self.newcomer(person, links, &views)?;
        }
        self.forget(&people.outgrown);
        Ok(())
    }

    /// Takes away links that an id has taken the place of.
    fn forget(&mut self, outgrown: &[(OldIdx, SourceIdx, Text)]) {
        if outgrown.is_empty() {
            return;
        }
        let mut gone = HashSet::new();
        for (place, source, ext) in outgrown {
            let Some(user) = self.old.users.get(place.place()).map(|user| user.id) else {
                continue;
            };
            gone.insert((user, *source, *ext));
            self.changes.push(Change::LinkRemoved { user, source: *source, ext: *ext });
        }
        self.state.links.retain(|link| !gone.contains(&(link.user, link.source, link.ext)));
    }

    /// Users (ids, sorted) whom a source may still list unseen.
    fn maybe_there(&self) -> Vec<UserId> {
        let blind: Vec<bool> =
            self.old.sources.iter().map(|name| self.gaps.may_list(name)).collect();
        if !blind.contains(&true) {
            return Vec::new();
        }
        let mut users: Vec<UserId> = self
            .old
            .links
            .iter()
            .filter(|link| blind.get(link.source.place()).copied().unwrap_or(false))
            .map(|link| link.user)
            .collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    fn present(
        &mut self,
        user: &User,
        person: &Person,
        links: &[PersonLink],
        held: &[Grant],
        views: &IndexVec<ViewIdx, SourceIdx>,
    ) -> Result<(), Inconsistent> {
        if person.name != user.username {
            self.changes.push(Change::UserRenamed { user: user.id, old: user.username });
        }
        if person.email != user.email {
            self.changes.push(Change::EmailChanged { user: user.id, old: user.email });
        }
        let seen = self.seen(links);
        let disabled = person.disabled.map(|by| self.disabled_by(by));
        let unread = if disabled.is_none() { self.disabled_unread(user, &seen) } else { None };
        let was_enabled = match &user.status {
            Status::Enabled => true,
            Status::Disabled { .. } => {
                if disabled.is_none() && unread.is_none() {
                    self.changes.push(Change::UserEnabled { user: user.id });
                }
                false
            }
            Status::Missing { disabled_by, .. } => {
                self.changes.push(Change::UserReturned { user: user.id });
                disabled_by.is_none()
            }
            Status::Deprovisioned { .. } => {
                self.changes.push(Change::UserReturned { user: user.id });
                true
            }
        };
        let status = match (disabled, person.disabled) {
            (Some(by), Some(at)) => {
                let before = match &user.status {
                    Status::Disabled { by } => Some(by),
                    _ => None,
                };
                if was_enabled || before != Some(&by) {
                    self.disable(user.id, &by, at)?;
                }
                Status::Disabled { by }
            }
            _ => unread.map_or(Status::Enabled, |by| Status::Disabled { by }),
        };
        self.state.users.push(User {
            id: user.id,
            username: person.name,
            email: person.email,
            status,
            role_set: user.role_set,
        });
        self.add_links(user.id, links, views)?;
        let wanted = self.wanted(links, held)?;
        self.reconcile(user.id, held, &wanted, &seen)
    }

    /// The source that had disabled the user, where nobody knows what it says now: it may list people whom
    /// nobody saw, or has left the configuration while another does, and does not list them so far. That it
    /// enables them must be read. `seen`: the sources that list them.
    fn disabled_unread(&self, user: &User, seen: &[&str]) -> Option<String> {
        let Status::Disabled { by } = &user.status else { return None };
        (!seen.contains(&by.as_str()) && self.gaps.may_list(by)).then(|| by.clone())
    }

    fn disabled_by(&self, (view, _): (ViewIdx, DirUserIdx)) -> String {
        self.sources.at(view).name.to_owned()
    }

    fn disable(
        &mut self,
        user: UserId,
        by: &str,
        (view, at): (ViewIdx, DirUserIdx),
    ) -> Result<(), TooMany> {
        let directory = self.sources.at(view).directory;
        let federation = directory.text(directory.users.at(at).federation);
        let federation = self.state.texts.add(federation)?;
        self.changes.push(Change::UserDisabled { user, by: by.to_owned(), federation });
        Ok(())
    }

    fn newcomer(
        &mut self,
        person: &Person,
        links: &[PersonLink],
        views: &IndexVec<ViewIdx, SourceIdx>,
    ) -> Result<(), Inconsistent> {
        let id = self.state.next_user;
        self.state.next_user = id.next().ok_or(TooMany("users"))?;
        let status = match person.disabled.map(|by| self.disabled_by(by)) {
            Some(by) => Status::Disabled { by },
            None => Status::Enabled,
        };
        self.state.users.push(User {
            id,
            username: person.name,
            email: person.email,
            status,
            role_set: RoleSetId::EMPTY,
        });
        self.changes.push(Change::UserCreated { user: id });
        self.add_links(id, links, views)?;
        let wanted = self.wanted(links, &[])?;
        self.reconcile(id, &[], &wanted, &[])
    }

    fn add_links(
        &mut self,
        user: UserId,
        links: &[PersonLink],
        views: &IndexVec<ViewIdx, SourceIdx>,
    ) -> Result<(), TooMany> {
        for link in links.iter().filter(|link| link.new) {
            let (source, directory) = (*views.at(link.view), self.sources.at(link.view).directory);
            let ext = directory.text(directory.users.at(link.user).ext);
            let ext = self.state.texts.add(ext)?;
            self.state.links.push(Link { source, ext, user, claim: None });
            self.changes.push(Change::LinkAdded { user, source, ext });
        }
        Ok(())
    }

    /// The sources that list the person with these links.
    fn seen(&self, links: &[PersonLink]) -> Vec<&'a str> {
        links.iter().map(|link| self.sources.at(link.view).name).collect()
    }

    /// What the IdPs say yes to for someone with these links: role and reasons, by role.
    fn wanted(
        &mut self,
        links: &[PersonLink],
        held: &[Grant],
    ) -> Result<Vec<(RoleIdx, SetIdx)>, Inconsistent> {
        let mut closure = Vec::new();
        for link in links {
            let source = self.sources.at(link.view);
            source.closure.of_user(link.user, &mut closure);
        }
        let mut kept = Vec::new();
        for link in links {
            let source = self.sources.at(link.view);
            self.kept_in_doubt(&source.closure, link.user, held, &closure, &mut kept)?;
        }
        closure.append(&mut kept);
        closure.sort_unstable();
        closure.dedup();
        let mut wanted: Vec<(RoleIdx, SetIdx)> = Vec::new();
        for run in closure.chunk_by(|a, b| a.0 == b.0) {
            let Some((role, _)) = run.first() else { continue };
            let reasons: Vec<ReasonIdx> = run.iter().map(|(_, reason)| *reason).collect();
            wanted.push((*role, self.state.reasons.set(&reasons)?));
        }
        Ok(wanted)
    }

    /// Appends what someone keeps who is in a bearer of a name in doubt, and holds the role through
    /// that name. A reason that is among the `certain` ones says nothing of the name: a rule that is
    /// in no doubt gives the role for it.
    fn kept_in_doubt(
        &self,
        closure: &RoleClosure,
        user: DirUserIdx,
        held: &[Grant],
        certain: &[(RoleIdx, ReasonIdx)],
        out: &mut Vec<(RoleIdx, ReasonIdx)>,
    ) -> Result<(), Inconsistent> {
        let mut doubtful = Vec::new();
        closure.doubtful_of_user(user, &mut doubtful);
        for (role, reason, (view, doubt)) in doubtful {
            let source = self.sources.at(view);
            let doubt = source.doubts.list.at(doubt);
            let by = &self.state.reasons.reasons().at(reason).rule;
            for grant in held.iter().filter(|grant| grant.role == role) {
                let GrantKind::Idp(set) = grant.kind else { continue };
                let members = self.old.reasons.numbered_of(set)?;
                let mut uncertain = members.filter(|(place, _)| !certain.contains(&(role, *place)));
                if uncertain.any(|(_, it)| doubt.is_behind(by, source.name, source.directory, it)) {
                    out.push((role, reason));
                }
            }
        }
        Ok(())
    }

    pub(super) fn due(&mut self, at: Time) {
        self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
    }

    /// Someone whose standing is unknown: nothing changes but what time and the configuration do.
    fn stay(&mut self, user: &User, held: &[Grant]) -> Result<(), Inconsistent> {
        self.state.users.push(user.clone());
        self.hold_on(user.id, held, None)
    }

    /// Someone whom no source lists.
    fn absent(&mut self, user: &User, held: &[Grant]) -> Result<(), Inconsistent> {
        let (since, disabled_by) = match &user.status {
            Status::Deprovisioned { .. } => {
                return self.stay(user, held);
            }
            Status::Enabled => (self.now, None),
            Status::Disabled { by } => (self.now, Some(by.clone())),
            Status::Missing { since, disabled_by } => (*since, disabled_by.clone()),
        };
        let last = self.settings.missing_after.map(|after| {
            chrono::Duration::from_std(after)
                .ok()
                .and_then(|after| since.checked_add_signed(after))
                .unwrap_or(Time::MAX_UTC)
        });
        if last.is_some_and(|last| last <= self.now) {
            return self.deprovision(user, held, &Cause::UserGone { since });
        }
        if let Some(last) = last {
            self.due(last);
        }
        if !matches!(user.status, Status::Missing { .. }) {
            self.changes.push(Change::UserMissing { user: user.id });
        }
        self.state
            .users
            .push(User { status: Status::Missing { since, disabled_by }, ..user.clone() });
        self.hold_on(user.id, held, None)
    }

    fn deprovision(
        &mut self,
        user: &User,
        held: &[Grant],
        cause: &Cause,
    ) -> Result<(), Inconsistent> {
        self.changes.push(Change::UserDeprovisioned { user: user.id, cause: cause.clone() });
        self.state
            .users
            .push(User { status: Status::Deprovisioned { since: self.now }, ..user.clone() });
        self.hold_on(user.id, held, Some(cause))
    }
}

/// Splits the leading items for which `wanted` holds off `list`.
pub(super) fn take_while<'l, T>(list: &mut &'l [T], wanted: impl Fn(&T) -> bool) -> &'l [T] {
    let count = list.iter().take_while(|item| wanted(item)).count();
    let (taken, rest) = list.split_at(count);
    *list = rest;
    taken
}

//! Brings what a plan names from its tables into others: into smaller ones of its own, or into the
//! state that it is applied to.

use hashbrown::HashMap;

use super::tables::Tables;
use crate::model::{
    Change, GrantKind, Inconsistent, IndexVec, LocalGrant, LocalIdx, ReasonBook, RoleIdx, SetIdx,
    SourceIdx, Text, Texts, User,
};

/// What has been copied, by its old number.
#[derive(Default)]
pub(super) struct Copied {
    texts: HashMap<Text, Text>,
    sets: HashMap<SetIdx, SetIdx>,
    locals: HashMap<LocalIdx, LocalIdx>,
}

/// Brings what a plan names from its tables into others.
pub(super) struct Copy<'a> {
    pub(super) from: &'a Tables,
    pub(super) texts: Texts,
    pub(super) reasons: ReasonBook,
    pub(super) locals: IndexVec<LocalIdx, LocalGrant>,
    /// For each role of `from` its place there; none for one that no change names.
    pub(super) roles: IndexVec<RoleIdx, Option<RoleIdx>>,
    /// For each source of `from` its place there.
    pub(super) sources: IndexVec<SourceIdx, SourceIdx>,
    pub(super) copied: Copied,
}

impl<'a> Copy<'a> {
    /// Into tables that have nothing yet but the same roles and sources, at the same places.
    pub(super) fn into_nothing(from: &'a Tables) -> Self {
        Copy {
            from,
            texts: Texts::default(),
            reasons: ReasonBook::default(),
            locals: IndexVec::default(),
            roles: from.roles.map_numbered(|place, _| Some(place)),
            sources: from.sources.map_numbered(|place, _| place),
            copied: Copied::default(),
        }
    }

    pub(super) fn text(&mut self, text: Text) -> Result<Text, Inconsistent> {
        if let Some(copied) = self.copied.texts.get(&text) {
            return Ok(*copied);
        }
        let new = self.texts.add(self.from.texts.find(text)?)?;
        self.copied.texts.insert(text, new);
        Ok(new)
    }

    fn set(&mut self, set: SetIdx) -> Result<SetIdx, Inconsistent> {
        if let Some(copied) = self.copied.sets.get(&set) {
            return Ok(*copied);
        }
        let mut reasons = Vec::new();
        for reason in self.from.reasons.of_set(set)? {
            reasons.push(self.reasons.reason(reason.clone())?);
        }
        let new = self.reasons.set(&reasons)?;
        self.copied.sets.insert(set, new);
        Ok(new)
    }

    fn local(&mut self, local: LocalIdx) -> Result<LocalIdx, Inconsistent> {
        if let Some(copied) = self.copied.locals.get(&local) {
            return Ok(*copied);
        }
        let story = self.from.locals.get(local).ok_or(Inconsistent::NoSuchLocal(local))?;
        let new = self.locals.push(story.clone())?;
        self.copied.locals.insert(local, new);
        Ok(new)
    }

    fn kind(&mut self, kind: GrantKind) -> Result<GrantKind, Inconsistent> {
        Ok(match kind {
            GrantKind::Idp(set) => GrantKind::Idp(self.set(set)?),
            GrantKind::Local(local) => GrantKind::Local(self.local(local)?),
        })
    }

    fn role(&self, role: RoleIdx) -> Result<RoleIdx, Inconsistent> {
        self.roles.get(role).copied().flatten().ok_or(Inconsistent::NoSuchRole(role))
    }

    fn source(&self, source: SourceIdx) -> Result<SourceIdx, Inconsistent> {
        self.sources.get(source).copied().ok_or(Inconsistent::NoSuchSource(source))
    }

    pub(super) fn user(&mut self, user: &User) -> Result<User, Inconsistent> {
        let User { id, username, email, status, role_set } = user;
        Ok(User {
            id: *id,
            username: self.text(*username)?,
            email: self.text(*email)?,
            status: status.clone(),
            role_set: *role_set,
        })
    }

    pub(super) fn change(&mut self, change: &Change) -> Result<Change, Inconsistent> {
        let mut copy = change.clone();
        match &mut copy {
            Change::RoleAdded { role }
            | Change::RoleChanged { role, old: _ }
            | Change::RoleRemoved { role } => *role = self.role(*role)?,
            Change::UserRenamed { user: _, old } | Change::EmailChanged { user: _, old } => {
                *old = self.text(*old)?;
            }
            Change::UserDisabled { user: _, by: _, federation } => {
                *federation = self.text(*federation)?;
            }
            Change::LinkAdded { user: _, source, ext }
            | Change::LinkRemoved { user: _, source, ext } => {
                (*source, *ext) = (self.source(*source)?, self.text(*ext)?);
            }
            Change::LinkClaims { user: _, source, ext, claim } => {
                (*source, *ext) = (self.source(*source)?, self.text(*ext)?);
                *claim = claim.map(|claim| self.text(claim)).transpose()?;
            }
            Change::GrantAdded { user: _, role, kind }
            | Change::GrantRemoved { user: _, role, kind, cause: _ } => {
                (*role, *kind) = (self.role(*role)?, self.kind(*kind)?);
            }
            Change::GrantReasons { user: _, role, old, new } => {
                (*role, *old, *new) = (self.role(*role)?, self.set(*old)?, self.set(*new)?);
            }
            Change::TokenRemoved { user: _, name, cause: _ } => *name = self.text(*name)?,
            Change::TokenRoleLost { user: _, name, role, cause: _ } => {
                (*name, *role) = (self.text(*name)?, self.role(*role)?);
            }
            Change::UserCreated { user: _ }
            | Change::UserEnabled { user: _ }
            | Change::UserMissing { user: _ }
            | Change::UserReturned { user: _ }
            | Change::UserDeprovisioned { user: _, cause: _ }
            | Change::TokenAdded { user: _, token: _ }
            | Change::CatalogChanged
            | Change::WorkloadChanged => {}
        }
        Ok(copy)
    }
}

//! What a sync does to the grants of one person, role by role: the design's section 6.

use crate::model::{
    Cause, Change, Grant, GrantKind, Inconsistent, LocalIdx, Mode, Reason, RoleIdx, SetIdx, UserId,
};

use super::grants::{Resolver, take_while};

/// What one person holds of one role, before and by the IdP's word now.
#[derive(Clone, Copy, Default)]
struct Held {
    idp: Option<SetIdx>,
    local: Option<LocalIdx>,
    yes: Option<SetIdx>,
}

impl Resolver<'_> {
    /// Applies the mode table to everything that someone present holds or should hold.
    pub(super) fn reconcile(
        &mut self,
        user: UserId,
        held: &[Grant],
        wanted: &[(RoleIdx, SetIdx)],
        seen: &[&str],
    ) -> Result<(), Inconsistent> {
        let mut held = held;
        let mut wanted = wanted;
        loop {
            let next_held = held.first().map(|grant| grant.role);
            let next_wanted = wanted.first().map(|(role, _)| *role);
            let role = match (next_held, next_wanted) {
                (None, None) => break,
                (Some(role), None) | (None, Some(role)) => role,
                (Some(a), Some(b)) => a.min(b),
            };
            let mut now = Held::default();
            for grant in take_while(&mut held, |grant| grant.role == role) {
                match grant.kind {
                    GrantKind::Idp(set) => now.idp = Some(set),
                    GrantKind::Local(local) => now.local = Some(local),
                }
            }
            for (_, set) in take_while(&mut wanted, |(other, _)| *other == role) {
                now.yes = Some(*set);
            }
            self.settle(user, role, now, seen)?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        user: UserId,
        role: RoleIdx,
        mut held: Held,
        seen: &[&str],
    ) -> Result<(), Inconsistent> {
        let Some(mode) = self.mode(role) else {
            // While the guard holds this, time goes on for local grants.
            if let Some(local) = held.local {
                self.note_end(local)?;
            }
            self.drop_all(user, role, held, &Cause::RoleGone);
            return Ok(());
        };
        if let Some(local) = held.local
            && self.expire(user, role, local)?
        {
            held.local = None;
        }
        match (mode, held.yes) {
            (Mode::Ignore, _) | (Mode::Import, None) => self.keep(user, role, held),
            (Mode::Import | Mode::Merge, Some(yes)) => {
                self.grant(user, role, held.idp, yes);
                self.keep(user, role, Held { idp: None, ..held });
            }
            (Mode::Force, Some(yes)) => {
                self.grant(user, role, held.idp, yes);
                if let Some(local) = held.local {
                    self.remove(user, role, GrantKind::Local(local), Cause::IdpDecides);
                }
            }
            (Mode::Merge, None) => {
                if let Some(set) = held.idp {
                    self.no(user, role, set, seen)?;
                }
                self.keep(user, role, Held { idp: None, ..held });
            }
            (Mode::Force, None) => {
                if let Some(set) = held.idp {
                    self.no(user, role, set, seen)?;
                }
                match held.local {
                    // What nobody has read in full might say yes: that is not a no.
                    Some(_) if self.gaps.may_give(seen) || self.unknown_roles.contains(&role) => {
                        self.keep(user, role, Held { idp: None, ..held });
                    }
                    Some(local) => {
                        self.remove(user, role, GrantKind::Local(local), Cause::NotAtIdp);
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// The role's mode; `None` where the role is gone.
    fn mode(&self, role: RoleIdx) -> Option<Mode> {
        let live = *self.roles.live.at(role);
        live.then(|| self.roles.defs.at(role).mode)
    }

    fn grant(&mut self, user: UserId, role: RoleIdx, old: Option<SetIdx>, new: SetIdx) {
        let kind = GrantKind::Idp(new);
        self.state.grants.push(Grant { user, role, kind });
        match old {
            None => self.changes.push(Change::GrantAdded { user, role, kind }),
            Some(old) if old != new => {
                self.changes.push(Change::GrantReasons { user, role, old, new });
            }
            Some(_) => {}
        }
    }

    /// No source says yes. Where the grant came through something that nobody has read in full,
    /// that is not a no: the grant stays.
    fn no(
        &mut self,
        user: UserId,
        role: RoleIdx,
        set: SetIdx,
        seen: &[&str],
    ) -> Result<(), Inconsistent> {
        let kind = GrantKind::Idp(set);
        if self.may_hold_still(role, set, seen)? {
            self.state.grants.push(Grant { user, role, kind });
        } else {
            self.remove(user, role, kind, Cause::NotAtIdp);
        }
        Ok(())
    }

    /// Whether what nobody has read in full may say yes to `role`, which somebody held for `set`.
    fn may_hold_still(
        &self,
        role: RoleIdx,
        set: SetIdx,
        seen: &[&str],
    ) -> Result<bool, Inconsistent> {
        let mut reasons = self.state.reasons.of_set(set)?;
        if !self.unknown_roles.contains(&role) {
            return Ok(reasons.any(|reason| self.gaps.may_stand(reason, seen)));
        }
        // A reference that nobody has read in full may say yes. Only a rule that gave the role,
        // still stands, and is known not to list the person any more is a no; and not while another
        // way by which the person held the role leads through what nobody has read.
        let reasons: Vec<&Reason> = reasons.collect();
        let open = reasons
            .iter()
            .any(|reason| self.current.is_open(reason) || self.gaps.may_stand_abroad(reason));
        Ok(open || !reasons.iter().any(|reason| self.current.denies(reason)))
    }

    fn keep(&mut self, user: UserId, role: RoleIdx, held: Held) {
        if let Some(set) = held.idp {
            self.state.grants.push(Grant { user, role, kind: GrantKind::Idp(set) });
        }
        if let Some(local) = held.local {
            self.state.grants.push(Grant { user, role, kind: GrantKind::Local(local) });
        }
    }

    fn remove(&mut self, user: UserId, role: RoleIdx, kind: GrantKind, cause: Cause) {
        self.changes.push(Change::GrantRemoved { user, role, kind, cause });
    }

    fn drop_all(&mut self, user: UserId, role: RoleIdx, held: Held, cause: &Cause) {
        if let Some(set) = held.idp {
            self.remove(user, role, GrantKind::Idp(set), cause.clone());
        }
        if let Some(local) = held.local {
            self.remove(user, role, GrantKind::Local(local), cause.clone());
        }
    }

    /// Removes a local grant whose time is over; otherwise notes when it will be.
    fn expire(
        &mut self,
        user: UserId,
        role: RoleIdx,
        local: LocalIdx,
    ) -> Result<bool, Inconsistent> {
        let over = self.old.local(local)?.until.is_some_and(|until| until <= self.now);
        if over {
            self.remove(user, role, GrantKind::Local(local), Cause::Expired);
        } else {
            self.note_end(local)?;
        }
        Ok(over)
    }

    /// Notes when a local grant ends, if that is to come.
    fn note_end(&mut self, local: LocalIdx) -> Result<(), Inconsistent> {
        if let Some(until) = self.old.local(local)?.until.filter(|until| *until > self.now) {
            self.due(until);
        }
        Ok(())
    }

    /// Keeps grants of someone who is not there for a return, but what expired, what belongs to a
    /// role that is gone, and with `gone` the idp grants of `force` and `merge` roles.
    pub(super) fn hold_on(
        &mut self,
        user: UserId,
        held: &[Grant],
        gone: Option<&Cause>,
    ) -> Result<(), Inconsistent> {
        for grant in held {
            let role = grant.role;
            let mode = self.mode(role);
            match (grant.kind, mode, gone) {
                (kind, None, _) => {
                    if let GrantKind::Local(local) = kind {
                        self.note_end(local)?;
                    }
                    self.remove(user, role, kind, Cause::RoleGone);
                }
                (GrantKind::Local(local), _, _) if self.expire(user, role, local)? => {}
                (kind @ GrantKind::Idp(_), Some(Mode::Force | Mode::Merge), Some(cause)) => {
                    self.remove(user, role, kind, cause.clone());
                }
                (kind, _, _) => self.state.grants.push(Grant { user, role, kind }),
            }
        }
        Ok(())
    }
}

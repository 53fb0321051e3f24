//! What those are called whom the state knows by external id: who keeps a name, who gets another, and
//! who may not.

use hashbrown::{HashMap, HashSet};

use super::{Absent, Draft, DraftIdx, Finder, OldIdx, ViewIdx};
use crate::directory::DirUserIdx;
use crate::model::{Diagnostic, DiagnosticCode as Code, IndexVec, Subject, User};

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    /// Settles what those known by id are called. Who keeps a name goes before who wants it, and
    /// nobody takes a name by which another source knows somebody whom nobody here is: that account
    /// would be linked to whoever has its name, and give them its roles.
    pub(super) fn name_known(
        &mut self,
        absent: &Absent<'_>,
        unlinked: &IndexVec<ViewIdx, Vec<DirUserIdx>>,
    ) {
        let mut movers: Vec<DraftIdx> = Vec::new();
        for index in self.drafts.indices() {
            let Some((draft, old)) = self.draft_of_old(index) else { continue };
            let returning = old.status.is_deprovisioned();
            let old_name = self.old.texts.get(old.username);
            if !returning && draft.claim.is_none_or(|claim| claim == old_name) {
                self.call(index, old_name);
            } else {
                movers.push(index);
            }
        }
        let elsewhere = self.borne_elsewhere(&movers, unlinked);
        let mut refused: HashSet<DraftIdx> = HashSet::new();
        loop {
            let mut wanted: HashMap<&str, u32> = HashMap::new();
            for index in movers.iter().filter(|index| !refused.contains(*index)) {
                if let Some(claim) = self.drafts.at(*index).claim {
                    *wanted.entry(claim).or_default() += 1;
                }
            }
            let mut changed = false;
            for index in &movers {
                let Some((draft, old)) = self.draft_of_old(*index) else { continue };
                let old_name = self.old.texts.get(old.username);
                let free = draft.claim.is_some_and(|claim| {
                    !self.taken.contains_key(claim)
                        && !absent.by_name.get(claim).is_some_and(|(_, maybe_there)| *maybe_there)
                        && wanted.get(claim).is_some_and(|count| *count == 1)
                        && (claim == old_name || !elsewhere.contains(index))
                });
                if free || !refused.insert(*index) {
                    continue;
                }
                changed = true;
                self.refuse_rename(*index, draft, old);
            }
            if !changed {
                break;
            }
        }
        for index in movers.into_iter().filter(|index| !refused.contains(index)) {
            if let Some(claim) = self.drafts.at(index).claim {
                if let Some((place, _)) = absent.by_name.get(claim) {
                    self.replace(*place, claim);
                }
                self.call(index, claim);
            }
        }
    }

    /// The draft at `index` with the old user that it is of; nothing of someone new.
    fn draft_of_old(&self, index: DraftIdx) -> Option<(Draft<'n>, &'a User)> {
        let draft = *self.drafts.at(index);
        Some((draft, self.old_of(&draft)?))
    }

    /// Of those who want another name, those who want one that an account bears which nobody is
    /// linked to, in a source where they are not known themselves.
    fn borne_elsewhere(
        &self,
        movers: &[DraftIdx],
        unlinked: &IndexVec<ViewIdx, Vec<DirUserIdx>>,
    ) -> HashSet<DraftIdx> {
        let mut bearers: HashMap<&str, Vec<ViewIdx>> = HashMap::new();
        for index in movers {
            if let Some(claim) = self.drafts.at(*index).claim {
                bearers.insert(claim, Vec::new());
            }
        }
        if bearers.is_empty() {
            return HashSet::new();
        }
        for (view, users) in unlinked.numbered() {
            for user in users {
                let bearer = self.name_of(view, *user).and_then(|name| bearers.get_mut(name));
                if let Some(views) = bearer {
                    views.push(view);
                }
            }
        }
        bearers.retain(|_, views| !views.is_empty());
        if bearers.is_empty() {
            return HashSet::new();
        }
        let mut at_home: HashSet<(DraftIdx, ViewIdx)> = HashSet::new();
        for link in &self.links {
            at_home.insert((link.person, link.view));
        }
        let elsewhere = |index: &&DraftIdx| {
            let claim = self.drafts.at(**index).claim;
            let views = claim.and_then(|claim| bearers.get(claim));
            views.is_some_and(|views| views.iter().any(|it| !at_home.contains(&(**index, *it))))
        };
        movers.iter().filter(elsewhere).copied().collect()
    }

    fn refuse_rename(&mut self, index: DraftIdx, draft: Draft<'n>, old: &'a User) {
        let old_name = self.old.texts.get(old.username);
        // Where no source's name will do there is none to tell.
        let claim = draft.claim.unwrap_or_default();
        let subject = Subject::Rename { from: old_name.to_owned(), to: claim.to_owned() };
        if old.status.is_deprovisioned() {
            // Someone else has the name by now, so the person cannot come back under it.
            self.drafts.at_mut(index).out = true;
            let message = format!(
                "`{old_name}` is back, but the username `{claim}` belongs to someone else now: not \
                 provisioned"
            );
            self.warnings.insert(Diagnostic::warning(Code::ReturnRefused, subject, message));
        } else {
            self.call(index, old_name);
            let message = format!(
                "user `{old_name}` cannot be renamed to `{claim}`: someone else has or wants that \
                 username; the old one stays"
            );
            self.warnings.insert(Diagnostic::warning(Code::RenameRefused, subject, message));
        }
    }

    pub(super) fn call(&mut self, index: DraftIdx, name: &'n str) {
        self.drafts.at_mut(index).name = name;
        self.taken.insert(name, index);
    }

    pub(super) fn replace(&mut self, place: OldIdx, name: &str) {
        self.replaced.insert(place);
        let message = format!(
            "username `{name}` belongs to another person now (a new id under an old name): the \
             earlier one's grants do not pass over"
        );
        let subject = Subject::User(name.to_owned());
        self.warnings.insert(Diagnostic::warning(Code::UsernameReused, subject, message));
    }
}

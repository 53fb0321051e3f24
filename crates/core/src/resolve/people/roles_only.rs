//! `lifecycle = false`: a source that gives roles only. It adds to those whom other sources list;
//! whether somebody is there, enabled or gone is not for it to say.

use hashbrown::{HashMap, HashSet};

use super::{DraftIdx, Finder, ViewIdx};
use crate::directory::DirUserIdx;
use crate::model::{Diagnostic, DiagnosticCode as Code, Subject};

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    /// Links those of a view whom the state knows by external id and whom another source lists.
    /// Returns those whom it does not know, and how many it knows that nobody else lists.
    pub(super) fn known_to_others(&mut self, view: ViewIdx) -> (Vec<DirUserIdx>, u64) {
        let source = self.sources.at(view);
        let by_ext = self.by_ext(view);
        let (mut rest, mut alone) = (Vec::new(), 0);
        for (index, user) in source.directory.users.numbered() {
            let Some(link) = by_ext.get(source.directory.text(user.ext)) else {
                rest.push(index);
                continue;
            };
            match *self.draft_of.at(link.place) {
                Some(draft) => self.link(draft, view, index, false),
                None => alone += 1,
            }
        }
        let with_ids = self.with_ids_now(view, &rest, &by_ext);
        rest.retain(|index| {
            let Some(link) = with_ids.get(index) else { return true };
            let draft = *self.draft_of.at(link.place);
            if let Some(draft) = draft {
                self.link(draft, view, *index, true);
                self.outgrow(*link);
            }
            draft.is_none()
        });
        (rest, alone)
    }

    /// Links the others of a view to those whom other sources list, and counts whom none does.
    pub(super) fn join(&mut self, view: ViewIdx, users: &[DirUserIdx], mut alone: u64) {
        let source = self.sources.at(view);
        let acquaintances = self.acquaintances(view, users);
        let mut here: HashSet<DraftIdx> =
            self.links.iter().filter(|link| link.view == view).map(|link| link.person).collect();
        let mut namesakes: HashMap<&str, u32> = HashMap::new();
        for user in users {
            if let Some(name) = self.name_of(view, *user) {
                *namesakes.entry(name).or_default() += 1;
            }
        }
        for user in users {
            let Some(name) = self.name_of(view, *user) else { continue };
            if namesakes.get(name).is_some_and(|count| *count > 1) {
                self.collision(source.name, name);
                continue;
            }
            match acquaintances.same_person(self, view, *user, name) {
                Some(person) if self.apart.contains(&person) => {
                    self.stays_apart(source.name, name);
                }
                Some(person) if acquaintances.was_otherwise(self, person) => {
                    self.other_id(source.name, name);
                }
                Some(person) if here.insert(person) => self.link(person, view, *user, true),
                Some(_) => self.collision(source.name, name),
                None => alone += 1,
            }
        }
        if alone > 0 {
            let message = format!(
                "{alone} people are known to it alone, and `lifecycle = false` leaves it to the \
                 other sources to say who is there: not provisioned"
            );
            let told = Diagnostic::warning(Code::KnownAlone, Subject::None, message);
            self.warnings.insert(told.said_by(source.name));
        }
    }
}

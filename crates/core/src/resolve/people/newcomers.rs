//! Those whom the state does not know by external id: another source's person, or someone new.

use hashbrown::{HashMap, HashSet};

use crate::directory::{DirUser, DirUserIdx};
use crate::model::username::UsernameFrom;
use crate::model::{Diagnostic, DiagnosticCode as Code, Subject, TooMany, UserId};

use super::super::settings::LinkBy;
use super::{Absent, DraftIdx, Finder, OldIdx, ViewIdx};

/// What it takes to tell whether a view's newcomers are somebody whom another source lists.
pub(super) struct Acquaintances {
    link_by: LinkBy,
    /// By verified address, lower case, persons of other views; `None` where two share one.
    by_email: HashMap<String, Option<DraftIdx>>,
    /// Verified addresses, lower case, that several of the newcomers have.
    shared_emails: HashSet<String>,
    /// Persons whom some verified address stands for.
    vouched: HashSet<DraftIdx>,
    /// Persons whom a name may stand for: known in a source that links by it. Absent: everybody is.
    by_name: Option<HashSet<DraftIdx>>,
    /// Of those whose names newcomers bear, the old users whom this source knows, or knew, by
    /// another id.
    otherwise: HashSet<UserId>,
}

impl Acquaintances {
    /// The person whom `user` of `view`, called `name`, is.
    pub(super) fn same_person(
        &self,
        finder: &Finder<'_, '_>,
        view: ViewIdx,
        user: DirUserIdx,
        name: &str,
    ) -> Option<DraftIdx> {
        let source = finder.sources.at(view);
        let row = source.directory.users.at(user);
        match self.link_by {
            LinkBy::Username => finder.taken.get(name).copied().filter(|person| {
                let any_name = finder.settings.username == UsernameFrom::Username;
                finder.is_called(*person, name)
                    && finder.may_link(row)
                    && (any_name || self.vouched.contains(person))
                    && self.by_name.as_ref().is_none_or(|known| known.contains(person))
            }),
            LinkBy::Email if row.email_verified => {
                let email = source.directory.text(row.email).to_lowercase();
                self.by_email
                    .get(&email)
                    .copied()
                    .flatten()
                    .filter(|_| !email.is_empty() && !self.shared_emails.contains(&email))
            }
            LinkBy::Email => None,
        }
    }

    /// Whether the source of these newcomers knew the person by another id: a new id under an old
    /// name is another person. A verified address says more than a name.
    pub(super) fn was_otherwise(&self, finder: &Finder<'_, '_>, person: DraftIdx) -> bool {
        let old = finder.old_of(finder.drafts.at(person));
        self.link_by == LinkBy::Username && old.is_some_and(|it| self.otherwise.contains(&it.id))
    }
}

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    /// Finds out about those whom the state does not know by id.
    pub(super) fn meet(
        &mut self,
        view: ViewIdx,
        users: &[DirUserIdx],
        absent: &Absent<'_>,
    ) -> Result<(), TooMany> {
        let source = self.sources.at(view);
        let mut namesakes: HashMap<&str, u32> = HashMap::new();
        for user in users {
            if let Some(name) = self.name_of(view, *user) {
                *namesakes.entry(name).or_default() += 1;
            }
        }
        let mut here: HashSet<DraftIdx> =
            self.links.iter().filter(|link| link.view == view).map(|link| link.person).collect();
        let acquaintances = self.acquaintances(view, users);
        for user in users {
            let Some(name) = self.name_of(view, *user) else { continue };
            if namesakes.get(name).is_some_and(|count| *count > 1) {
                self.collision(source.name, name);
                continue;
            }
            let same_person = acquaintances.same_person(self, view, *user, name);
            if let Some(stale) = self.stale_holder(name) {
                if !here.contains(&stale) {
                    self.collision(source.name, name);
                    continue;
                }
                // The source itself calls that person something else now, and someone new by the
                // old name: the gateway must not take the one for the other.
                self.leave(stale, name);
                self.newcomer(view, *user, name, absent)?;
                continue;
            }
            if let Some(holder) = self.taken.get(name)
                && same_person.is_none_or(|person| person == *holder)
                && (self.apart.contains(holder) || !self.linkable(view, *user))
            {
                self.stays_apart(source.name, name);
                continue;
            }
            match (same_person, self.taken.get(name)) {
                (Some(person), _)
                    if !here.contains(&person) && acquaintances.was_otherwise(self, person) =>
                {
                    self.other_id(source.name, name);
                }
                (Some(person), _) if here.insert(person) => self.link(person, view, *user, true),
                (Some(_), _) | (None, Some(_)) => self.collision(source.name, name),
                (None, None) => self.newcomer(view, *user, name, absent)?,
            }
        }
        Ok(())
    }

    /// What tells who of a view's newcomers is whom.
    pub(super) fn acquaintances(&self, view: ViewIdx, users: &[DirUserIdx]) -> Acquaintances {
        let link_by = self.terms_of(view).link_by;
        let by_username = link_by == LinkBy::Username;
        // With `username = "email"` a name is an address: nobody becomes another source's person
        // by an address that only an unverified row has given that person.
        let vouched = match self.settings.username {
            UsernameFrom::Email if by_username => self.vouched(),
            UsernameFrom::Email | UsernameFrom::Username => HashSet::new(),
        };
        let mixed = self.terms.iter().any(|terms| terms.link_by == LinkBy::Email);
        let names = users.iter().filter_map(|user| self.name_of(view, *user));
        let (by_email, shared_emails, otherwise) = if by_username {
            (HashMap::new(), HashSet::new(), self.known_otherwise(view, names))
        } else {
            (self.by_email(view), self.shared_emails(view, users), HashSet::new())
        };
        let by_name = (by_username && mixed).then(|| self.known_by_name());
        Acquaintances { link_by, by_email, shared_emails, vouched, by_name, otherwise }
    }

    /// Whether a source calls `person` so now, not only the store.
    fn is_called(&self, person: DraftIdx, name: &str) -> bool {
        self.drafts.at(person).claim == Some(name)
    }

    /// Who has `name` in the store although no source calls that person so any more.
    fn stale_holder(&self, name: &str) -> Option<DraftIdx> {
        let person = *self.taken.get(name)?;
        (!self.is_called(person, name)).then_some(person)
    }

    /// Lets a person go whose name another one has now.
    fn leave(&mut self, person: DraftIdx, name: &'n str) {
        self.taken.remove(name);
        let draft = self.drafts.at_mut(person);
        draft.out = true;
        if let Some(old) = draft.old {
            self.replace(old, name);
        }
    }

    /// Links of sources that say who is there: person, and the source's row.
    fn vouchers(&self) -> impl Iterator<Item = (ViewIdx, DraftIdx, &'a DirUser)> {
        self.links.iter().filter_map(|link| {
            let row = self.sources.at(link.view).directory.users.at(link.user);
            self.terms_of(link.view).lifecycle.then_some((link.view, link.person, row))
        })
    }

    /// Persons whom some verified address stands for.
    fn vouched(&self) -> HashSet<DraftIdx> {
        let verified = self.vouchers().filter(|(_, _, row)| row.email_verified);
        verified.map(|(_, person, _)| person).collect()
    }

    /// Persons who are known in a source that links by name.
    fn known_by_name(&self) -> HashSet<DraftIdx> {
        self.vouchers()
            .filter(|(view, _, _)| self.terms_of(*view).link_by == LinkBy::Username)
            .map(|(_, person, _)| person)
            .collect()
    }

    /// Of the persons called by `names`, the old users whom the state knows in this view's source.
    fn known_otherwise<'x>(
        &self,
        view: ViewIdx,
        names: impl Iterator<Item = &'x str>,
    ) -> HashSet<UserId> {
        let old_id = |person: &DraftIdx| Some(self.old_of(self.drafts.at(*person))?.id);
        let candidates: HashSet<UserId> =
            names.filter_map(|name| self.taken.get(name)).filter_map(old_id).collect();
        if candidates.is_empty() {
            return candidates;
        }
        let name = Some(self.sources.at(view).name);
        let of = |source| self.old.sources.get(source).map(String::as_str);
        let links = self.old.links.iter().filter(|link| of(link.source) == name);
        links.map(|link| link.user).filter(|user| candidates.contains(user)).collect()
    }

    /// Whether a name is proof enough that two sources mean one person: an address that nobody
    /// verified is not.
    fn may_link(&self, row: &DirUser) -> bool {
        self.settings.username == UsernameFrom::Username || row.email_verified
    }

    fn newcomer(
        &mut self,
        view: ViewIdx,
        user: DirUserIdx,
        name: &'n str,
        absent: &Absent<'_>,
    ) -> Result<(), TooMany> {
        let source = self.sources.at(view);
        let mut place = None;
        if let Some((old, maybe_there)) = absent.by_name.get(name).copied() {
            if self.moved_here(view, user, old, absent) {
                place = Some(old);
            } else if maybe_there {
                self.collision(source.name, name);
                return Ok(());
            } else {
                self.replace(old, name);
            }
        }
        let person = self.add(place, Some(name))?;
        self.call(person, name);
        self.link(person, view, user, true);
        Ok(())
    }

    /// Whether a newcomer is the person of that name whom no source lists: one whose sources are
    /// not asked any more, none of which is this one. Where they are asked and do not list the
    /// person, that one is gone, and a stranger may have taken the name.
    fn moved_here(
        &self,
        view: ViewIdx,
        user: DirUserIdx,
        old: OldIdx,
        absent: &Absent<'_>,
    ) -> bool {
        let source = self.sources.at(view);
        let row = source.directory.users.at(user);
        let configured = |name: &&str| self.settings.sources.iter().any(|it| it.name == *name);
        let elsewhere = absent
            .sources
            .get(&old)
            .is_none_or(|names| !names.is_empty() && !names.iter().any(configured));
        elsewhere
            && row.linkable
            && self.may_link(row)
            && self.terms_of(view).link_by == LinkBy::Username
            // Whether the one who is gone had the address verified is not known any more.
            && self.settings.username == UsernameFrom::Username
    }

    /// Persons of other views by verified address; `None` where two share one.
    fn by_email(&self, view: ViewIdx) -> HashMap<String, Option<DraftIdx>> {
        let mut found: HashMap<String, Option<DraftIdx>> = HashMap::new();
        for (other, person, row) in self.vouchers().filter(|(other, _, _)| *other != view) {
            let source = self.sources.at(other);
            let email = source.directory.text(row.email).to_lowercase();
            let usable = row.email_verified && !email.is_empty();
            if !usable || self.apart.contains(&person) || self.drafts.at(person).out {
                continue;
            }
            found
                .entry(email)
                .and_modify(|known| {
                    if *known != Some(person) {
                        *known = None;
                    }
                })
                .or_insert(Some(person));
        }
        found
    }

    /// Verified addresses, lower case, that several of `users` have: nobody can tell whose.
    fn shared_emails(&self, view: ViewIdx, users: &[DirUserIdx]) -> HashSet<String> {
        let source = self.sources.at(view);
        let rows = users.iter().map(|user| source.directory.users.at(*user));
        let mut once: HashSet<String> = HashSet::new();
        rows.filter(|row| row.email_verified)
            .map(|row| source.directory.text(row.email).to_lowercase())
            .filter(|email| !email.is_empty() && !once.insert(email.clone()))
            .collect()
    }

    pub(super) fn collision(&mut self, source: &str, name: &str) {
        let message = format!(
            "more than one user comes to the username `{name}`: the newcomer is not provisioned"
        );
        self.refuse(Code::UsernameCollision, source, name, message);
    }

    /// Somebody bears the name of an account that is nobody else's.
    pub(super) fn stays_apart(&mut self, source: &str, name: &str) {
        let message = format!(
            "`{name}` is the name of a service account or the default admin, which is never linked \
             with another source's account: the newcomer is not provisioned"
        );
        self.refuse(Code::NeverLinked, source, name, message);
    }

    /// Somebody whom the source knew by another id, and whom others still list, has a namesake
    /// there.
    pub(super) fn other_id(&mut self, source: &str, name: &str) {
        let message = format!(
            "`{name}` has another id there than before, and a new id under an old name is another \
             person: the newcomer is not provisioned while another source lists the one before; \
             where the accounts were only made anew, give the source another `name`"
        );
        self.refuse(Code::OtherId, source, name, message);
    }

    fn refuse(&mut self, code: Code, source: &str, name: &str, message: String) {
        let told = Diagnostic::warning(code, Subject::User(name.to_owned()), message);
        self.warnings.insert(told.said_by(source));
    }
}

//! From drafts to people: who is left out, what each comes to, and their links.

use super::{Draft, DraftIdx, Finder, People, Person, PersonIdx, PersonLink};
use crate::directory::Enabled;
use crate::model::{IndexVec, State, Status, Text, Texts, TooMany};
use crate::resolve::settings::Provision;

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    /// `provision = "mapped"`: leaves out newcomers whom no rule gives a role.
    pub(super) fn drop_unmapped(&mut self) {
        if self.settings.provision == Provision::All {
            return;
        }
        let mut mapped = self.drafts.map(|_| false);
        let mut closure = Vec::new();
        for link in &self.links {
            if self.terms_of(link.view).provision == Provision::All {
                *mapped.at_mut(link.person) = true;
                continue;
            }
            closure.clear();
            self.sources.at(link.view).closure.of_user(link.user, &mut closure);
            *mapped.at_mut(link.person) |= !closure.is_empty();
        }
        for (draft, mapped) in self.drafts.iter_mut().zip(mapped) {
            draft.out |= draft.old.is_none() && !mapped;
        }
    }

    /// What the source calls an account that the state knows, where the person is to be called so,
    /// and may not; empty: by what is no username.
    fn claim(&self, draft: &Draft<'n>, link: &PersonLink) -> Option<&'n str> {
        if link.new {
            return None;
        }
        let old_name = self.old.texts.get(self.old_of(draft)?.username);
        match self.name_of(link.view, link.user) {
            None => Some(""),
            Some(name) => (draft.claim == Some(name) && name != old_name).then_some(name),
        }
    }

    pub(super) fn finish(mut self, state: &mut State) -> Result<People, TooMany> {
        // Old ones by id, new ones by name: numbers and output never depend on the input's order.
        let mut order: Vec<DraftIdx> = self
            .drafts
            .numbered()
            .filter(|(_, draft)| !draft.out)
            .map(|(index, _)| index)
            .collect();
        let drafts = &self.drafts;
        let key = |index: &DraftIdx| {
            let it = drafts.at(*index);
            (it.old.is_none(), it.old, it.name)
        };
        order.sort_by(|a, b| key(a).cmp(&key(b)));
        let order: IndexVec<PersonIdx, DraftIdx> = order.try_into()?;
        let mut place = self.drafts.map(|_| None);
        for (new, old) in order.numbered() {
            *place.at_mut(*old) = Some(new);
        }
        let links = std::mem::take(&mut self.links).into_iter();
        // Of the same size as before: done in place.
        let mut links: Vec<PersonLink> = links
            .filter_map(|link| {
                let PersonLink { person, view, user, new, claim } = link;
                let person = (*place.at(person))?;
                Some(PersonLink { person, view, user, new, claim })
            })
            .collect();
        links.sort_unstable();

        let (replaced, outgrown) =
            (std::mem::take(&mut self.replaced), std::mem::take(&mut self.outgrown));
        let terms = std::mem::take(&mut self.terms);
        let mut people = People { replaced, outgrown, ..People::default() };
        people.persons = IndexVec::with_capacity(order.len());
        let mut at = 0;
        for (person, index) in order.numbered() {
            let draft = self.drafts.at(*index);
            let old = self.old_of(draft);
            let mut email = "";
            let mut disabled = None;
            while let Some(link) = links.get(at).copied().filter(|link| link.person == person) {
                if let Some(claim) = self.claim(draft, &link)
                    && let Some(slot) = links.get_mut(at)
                {
                    slot.claim = Some(state.texts.add(claim)?);
                }
                at += 1;
                let source = self.sources.at(link.view);
                let row = source.directory.users.at(link.user);
                // Whoever gives roles only has no say in the rest.
                if !terms.at(link.view).lifecycle {
                    continue;
                }
                if email.is_empty() {
                    email = source.directory.text(row.email);
                }
                if row.enabled == Enabled::No && disabled.is_none() {
                    disabled = Some((link.view, link.user));
                }
                let federation = source.directory.text(row.federation);
                if !federation.is_empty() && old.is_some_and(|u| u.status == Status::Enabled) {
                    let key = (source.name.to_owned(), federation.to_owned());
                    *people.federated.entry(key).or_default() += 1;
                }
            }
            let keep = |text: Option<Text>, wanted: &str, texts: &mut Texts| match text {
                Some(text) if self.old.texts.get(text) == wanted => Ok(text),
                _ => texts.add(wanted),
            };
            people.persons.push(Person {
                old: draft.old,
                name: keep(old.map(|user| user.username), draft.name, &mut state.texts)?,
                email: keep(old.map(|user| user.email), email, &mut state.texts)?,
                disabled,
            })?;
        }
        people.links = links;
        Ok(people)
    }
}

//! Whose an email address is.
//!
//! An address may be several people's, in one spelling or in several: then it is nobody's, since
//! nobody can tell who is meant.

use super::people::People;
use crate::model::{Text, Texts, TooMany};

/// Addresses in order, each with whoever has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Emails {
    texts: Texts,
    /// Address, and the owner's name in the [`People`] of the same age; sorted by [`key`].
    list: Vec<(Text, Text)>,
}

/// The form in which addresses are compared.
pub(super) fn key(email: &str) -> String {
    email.to_lowercase()
}

impl Emails {
    /// Adds an address of `owner`; an empty one is none. [`Emails::sort`] must follow.
    pub(super) fn add(&mut self, email: &str, owner: Text) -> Result<(), TooMany> {
        if !email.is_empty() {
            self.list.push((self.texts.add(email)?, owner));
        }
        Ok(())
    }

    /// Puts them in order.
    pub(super) fn sort(&mut self) {
        let Emails { texts, list } = self;
        list.sort_by_cached_key(|(email, owner)| {
            let email = texts.get(*email);
            (key(email), email.to_owned(), *owner)
        });
    }

    /// The same without those of owners of whom `gone` holds.
    pub(super) fn without(&self, gone: impl Fn(Text) -> bool) -> Result<Emails, TooMany> {
        let mut kept = Emails::default();
        for (email, owner) in &self.list {
            if !gone(*owner) {
                kept.add(self.texts.get(*email), *owner)?;
            }
        }
        Ok(kept)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The address at a place, and whose it is.
    pub(super) fn at(&self, place: usize) -> Option<(&str, Text)> {
        self.list.get(place).map(|(email, owner)| (self.texts.get(*email), *owner))
    }

    /// Where the addresses begin that come after the form `wanted`, or with `within` that form itself.
    pub(super) fn after(&self, wanted: &str, within: bool) -> usize {
        self.list.partition_point(|(email, _)| {
            let email = key(self.texts.get(*email));
            if within { *email < *wanted } else { *email <= *wanted }
        })
    }

    /// What those are called who have the address of the form `wanted`.
    pub(super) fn owners<'a, 'w>(
        &'a self,
        wanted: &'w str,
        people: &'a People,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'w> {
        let from = self.after(wanted, true);
        let rest = self.list.get(from..).unwrap_or_default().iter();
        rest.take_while(move |(email, _)| key(self.texts.get(*email)) == wanted)
            .map(|(_, owner)| people.name(*owner))
    }
}

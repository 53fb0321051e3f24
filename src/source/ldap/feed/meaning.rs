//! What an entry that was read again means for the mirror, whichever server told that it changed.

use std::collections::{BTreeMap, HashSet};

use super::Stop;
use super::ask::Asker;
use crate::directory::{Kind, ListChange, PersonDelta, RefId};
use crate::source::feed::{MirrorView, WhyFull};
use crate::source::ldap::assemble::Assembler;
use crate::source::ldap::domain;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::lists::{Classes, Doubt, Judge, Shown};
use crate::source::ldap::schema::{self, Schema};
use crate::source::ldap::shape::Shape;

/// The facts of a person. `meaning` takes no entry in.
pub(super) fn person(
    meaning: &Assembler,
    entry: &Entry,
    ext: String,
    within: ListChange<RefId>,
) -> PersonDelta {
    PersonDelta {
        ext,
        username: meaning.username_of(entry).map(|name| name.into_owned()),
        email: Some(meaning.email_of(entry).into_owned()),
        email_verified: Some(meaning.shape.email_verified),
        enabled: Some(meaning.account_of(entry).enabled),
        federation: Some(String::new()),
        linkable: None,
        rid: domain::rid_of(&meaning.domain, entry),
        within,
    }
}

/// Which of the attribute values that rules name a person has.
pub(super) fn attributes(
    shape: &Shape,
    entry: &Entry,
    view: &dyn MirrorView,
) -> Result<ListChange<RefId>, Stop> {
    let wanted = &shape.wanted;
    let id = |key: &str| RefId { kind: Kind::Attribute, key: key.to_owned() };
    for wanted in wanted.iter().filter(|wanted| entry.has(&wanted.attribute)) {
        if !view.knows_members(&id(&wanted.identity))? {
            // Until now nobody showed it, and hidden could not be told from absent.
            let why = format!("somebody shows an attribute `{}` now", wanted.attribute);
            return Err(Stop::Read(WhyFull::Other(why)));
        }
    }
    let values: BTreeMap<&str, bool> =
        wanted.iter().map(|it| (it.identity.as_str(), it.is_of(entry))).collect();
    let those = |has: bool| -> Vec<RefId> {
        values.iter().filter(|(_, it)| **it == has).map(|(key, _)| id(key)).collect()
    };
    Ok(match values.is_empty() {
        true => ListChange::Kept,
        false => ListChange::Changed { added: those(true), removed: those(false) },
    })
}

/// What tells whether a group shows all of its members.
pub(super) struct Lists {
    /// What object classes groups have.
    pub classes: Classes,
    /// The server's object classes.
    pub schema: Schema,
    /// Classes of groups for which the server puts members in the place of a URL.
    pub expanded: HashSet<u32>,
}

impl Lists {
    /// Whether what a group's entry shows is all of its members, as a full read judges it. `evaluated`: it
    /// is known whom its URLs mean.
    pub async fn shows_all(
        &mut self,
        ask: &mut Asker<'_>,
        entry: &Entry,
        evaluated: bool,
    ) -> Result<bool, Stop> {
        let mut shown = self.classes.shown(entry);
        shown.evaluated = evaluated;
        match self.doubt(shown, &[]) {
            None => Ok(true),
            // Some other group that shows members tells that they can be seen.
            Some(Doubt::Unseen(_)) => {
                let mut others = Vec::new();
                for name in schema::MEMBERS {
                    let found = ask.witnesses(name).await?;
                    others.extend(found.iter().map(|entry| self.classes.shown(entry)));
                }
                Ok(self.doubt(shown, &others).is_none())
            }
            Some(_) => Ok(false),
        }
    }

    fn doubt(&self, shown: Shown, others: &[Shown]) -> Option<Doubt> {
        let all = others.iter().copied().chain([shown]);
        Judge::new(all, &self.classes, &self.schema, &self.expanded, false).doubt(shown)
    }
}

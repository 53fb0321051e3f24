//! The three searches (AuthZEN 1.0, section 8). Each result is what an evaluation would say; what the
//! catalog does not have cannot be found.

use serde::Serialize;

use super::Authzen;
use super::mapping::{Chosen, Inexpressible};
use super::page::{PageAnswer, Part};
use super::request::{BadRequest, Evaluation, Named, Search, Searched};
use crate::config::{Ending, SubjectId};
use crate::gateway::replica::{KnownPerson, OpenQuestion, Replica, SetRef, Span, sort_key};

/// The answer to a search.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Found {
    page: PageAnswer,
    results: Vec<FoundOne>,
}

impl Found {
    /// How many results are on the page.
    pub(super) fn count(&self) -> usize {
        self.results.len()
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
enum FoundOne {
    Entity {
        #[serde(rename = "type")]
        kind: String,
        id: String,
    },
    Action {
        name: String,
    },
}

/// Somebody whose roles count.
#[derive(Clone, Copy)]
struct Whose<'r> {
    set: SetRef,
    name: &'r str,
}

impl Authzen {
    /// Answers a search.
    ///
    /// # Errors
    /// The page's token is not of this search.
    pub(super) fn search(
        &self,
        replica: &Replica,
        search: &Search<'_>,
    ) -> Result<Found, BadRequest> {
        let part = Part::of(search, self.config.page_size)?;
        // One more tells whether any are left.
        let most = if part.limit == 0 { 0 } else { part.limit.saturating_add(1) };
        let after = part.after.as_deref();
        let about = &search.about;
        let mut sorted: Option<SubjectId> = None;
        let ids = match search.searched {
            Searched::Subjects => {
                let kind = self.subject_type(about.subject.kind).map(|kind| &kind.id);
                sorted = kind.cloned();
                kind.map(|kind| self.subjects(replica, about, kind, Span { after, most }))
            }
            Searched::Resources => {
                let whose = self.whose(replica, about);
                whose.map(|whose| self.resources(replica, about, whose, Span { after, most }))
            }
            Searched::Actions => {
                let whose = self.whose(replica, about);
                whose.map(|whose| self.actions(replica, about, whose, Span { after, most }))
            }
        };
        // What cannot be expressed can nobody do.
        let mut ids = ids.and_then(Result::ok).unwrap_or_default();
        let left = ids.len() > part.limit;
        ids.truncate(part.limit);
        let last = ids.last().map(|last| match &sorted {
            Some(kind) => sort_key(kind, last),
            None => last.clone(),
        });
        let page = part.page(search, ids.len(), last.as_deref(), left);
        let results = ids.into_iter().map(|id| match search.searched {
            Searched::Subjects => FoundOne::Entity { kind: about.subject.kind.to_owned(), id },
            Searched::Resources => FoundOne::Entity { kind: about.resource.kind.to_owned(), id },
            Searched::Actions => FoundOne::Action { name: id },
        });
        Ok(Found { page, results: results.collect() })
    }

    /// The subject of a search for what somebody may.
    fn whose<'r>(&self, replica: &'r Replica, about: &Evaluation<'_>) -> Option<Whose<'r>> {
        let kind = self.subject_type(about.subject.kind)?;
        match replica.person(&kind.id, about.subject.id) {
            KnownPerson::Enabled { set, name } => Some(Whose { set, name }),
            _ => None,
        }
    }

    /// Who may do what is asked, by the role sets that allow it.
    fn subjects(
        &self,
        replica: &Replica,
        about: &Evaluation<'_>,
        kind: &SubjectId,
        span: Span<'_>,
    ) -> Result<Vec<String>, Inexpressible> {
        let meant = self.mapping.meant(about)?;
        let question = OpenQuestion { action: &meant.action, resource: meant.resource.as_deref() };
        Ok(replica.who(kind, question, span))
    }

    /// What of the catalog somebody may do this on: its resources as the pattern that counts has them,
    /// and as the plain one has.
    fn resources(
        &self,
        replica: &Replica,
        about: &Evaluation<'_>,
        whose: Whose<'_>,
        span: Span<'_>,
    ) -> Result<Vec<String>, Inexpressible> {
        let kind = about.resource.kind;
        let chosen = self.mapping.chosen(about)?;
        let action = chosen.action(kind, about.action.name);
        let plain = self.mapping.plain_resource().start(kind);
        let own = chosen.resource.filter(|pattern| pattern.ending == Ending::Named);
        let own = own.map(|pattern| pattern.start(kind)).filter(|own| *own != plain);
        let mut one = replica.catalog_resources(&plain, span.after).peekable();
        let mut other =
            own.iter().flat_map(|own| replica.catalog_resources(own, span.after)).peekable();
        let mut found: Vec<String> = Vec::new();
        while found.len() < span.most {
            let next = match (one.peek(), other.peek()) {
                (Some(one_id), Some(other_id)) if other_id < one_id => other.next(),
                (Some(_), _) => one.next(),
                (None, _) => other.next(),
            };
            let Some(id) = next else { break };
            if found.last().is_some_and(|last| last == id) {
                continue;
            }
            if allowed(replica, whose, &chosen, &action, (kind, id)) {
                found.push(id.to_owned());
            }
        }
        Ok(found)
    }

    /// What somebody may do on this.
    fn actions(
        &self,
        replica: &Replica,
        about: &Evaluation<'_>,
        whose: Whose<'_>,
        span: Span<'_>,
    ) -> Result<Vec<String>, Inexpressible> {
        let names = self.mapping.names(about.resource.kind, replica.catalog_actions())?;
        let from = span.after.map_or(0, |after| names.partition_point(|name| *name <= after));
        let may = |name: &&&str| {
            let named = Named { name, properties: None };
            let question = Evaluation { action: named, ..*about };
            self.mapping.meant(&question).is_ok_and(|meant| {
                let asked =
                    OpenQuestion { action: &meant.action, resource: meant.resource.as_deref() };
                replica.decide_open(whose.set, Some(whose.name), asked).is_allow()
            })
        };
        let those = names.get(from..).unwrap_or_default().iter().filter(may);
        Ok(those.take(span.most).map(|name| (*name).to_owned()).collect())
    }
}

/// Whether somebody may do this on the resource of a type with an id.
fn allowed(
    replica: &Replica,
    whose: Whose<'_>,
    chosen: &Chosen<'_>,
    action: &str,
    (kind, id): (&str, &str),
) -> bool {
    chosen.resource(kind, id).is_ok_and(|resource| {
        let asked = OpenQuestion { action, resource: resource.as_deref() };
        replica.decide_open(whose.set, Some(whose.name), asked).is_allow()
    })
}

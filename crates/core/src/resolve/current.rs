//! Whether the reason for which somebody held a role is known not to hold of them any more, though
//! nobody has read all who hold the role.

use std::collections::HashMap;

use crate::directory::RefIdx;
use crate::model::Reason;

use super::known::KnownRefs;
use super::matching::SourceMatches;
use super::people::SourceView;

/// What is known of one source's ways to roles.
#[derive(Debug, Default)]
struct Ways<'a> {
    /// By rule what it matches, of that whose members are known.
    stands: HashMap<String, KnownRefs<'a>>,
    /// What may list somebody, or lead to something, unread.
    unread: KnownRefs<'a>,
}

/// What rules match now, in every source.
#[derive(Debug, Default)]
pub(super) struct CurrentMatches<'a> {
    sources: HashMap<&'a str, Ways<'a>>,
}

impl<'a> CurrentMatches<'a> {
    /// Adds what the rules make of `source`. What is matched by a name in doubt counts only where the
    /// members of all its bearers are known: who is in any of them keeps the role. `is_open`: for whom
    /// something of it stands is not known.
    pub fn add(
        &mut self,
        source: &SourceView<'a>,
        matched: &SourceMatches,
        is_open: impl Fn(RefIdx) -> bool,
    ) {
        let directory = source.directory;
        let ways = self.sources.entry(source.name).or_default();
        let sure = |doubt| source.doubts.list.at(doubt).known;
        for ((place, row), gives) in directory.refs.numbered().zip(&matched.gives) {
            if !(row.known && row.implies_known) || is_open(place) {
                ways.unread.insert(directory, row);
            }
            if !row.known {
                continue;
            }
            for given in gives.iter().filter(|given| given.doubt.is_none_or(sure)) {
                ways.stands.entry(given.rule.clone()).or_default().insert(directory, row);
            }
        }
    }

    /// Whether `reason`, by which nobody gives the role now, says no: its rule still matches what it
    /// matched, and that is known not to list the person.
    pub fn denies(&self, reason: &Reason) -> bool {
        let Reason { source, rule, path: _ } = reason;
        let stands = self.sources.get(source.as_str()).and_then(|ways| ways.stands.get(rule));
        stands.zip(reason.target()).is_some_and(|(stands, target)| stands.contains(target))
    }

    /// Whether `reason` leads through something that nobody has read in full, so that it may hold
    /// still.
    pub fn is_open(&self, reason: &Reason) -> bool {
        let abroad = reason.leads_abroad();
        let ways = self.sources.iter().filter(|(name, _)| abroad || **name == reason.source);
        let open = |ways: &Ways<'_>| reason.path.iter().any(|step| ways.unread.contains(step));
        ways.into_iter().any(|(_, ways)| open(ways))
    }
}

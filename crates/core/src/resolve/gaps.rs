//! What is not known of the sources, list by list.
//!
//! A source says many things, and each that was read in full counts by itself: who is not on a
//! list that was read is not on it, whatever became of the other lists. What is kept here is the
//! rest: lists of which nobody ever saw the whole.

use std::collections::HashMap;

use super::View;
use super::known::KnownRefs;
use super::settings::Settings;
use crate::model::{ExternalRef, Reason};

/// The lists that nobody ever saw in full.
pub struct Gaps<'a> {
    settings: &'a Settings<'a>,
    /// Configured sources without a word: neither read nor kept.
    silent: Vec<&'a str>,
    /// Sources that may hold users whom nobody saw.
    users: Vec<&'a str>,
    /// Sources that may hold groups or roles that nobody saw.
    refs: Vec<&'a str>,
    /// The groups and roles that are there, by source, in sources that may hold others.
    seen: HashMap<&'a str, KnownRefs<'a>>,
}

impl<'a> Gaps<'a> {
    /// Looks for them in `views`.
    pub fn of(settings: &'a Settings<'a>, views: &[View<'a>]) -> Self {
        let mut gaps = Gaps {
            settings,
            silent: Vec::new(),
            users: Vec::new(),
            refs: Vec::new(),
            seen: HashMap::new(),
        };
        for source in &settings.sources {
            let name = source.name;
            let Some(view) = views.iter().find(|view| view.source == name) else {
                gaps.silent.push(name);
                gaps.users.push(name);
                gaps.refs.push(name);
                continue;
            };
            if !view.directory.proven.users {
                gaps.users.push(name);
            }
            if !view.directory.proven.refs() {
                gaps.refs.push(name);
                let seen = gaps.seen.entry(name).or_default();
                view.directory.refs.iter().for_each(|row| seen.insert(view.directory, row));
            }
        }
        gaps
    }

    /// Whether there are none.
    pub fn none(&self) -> bool {
        self.users.is_empty() && self.refs.is_empty()
    }

    /// Whether some source may hold a group or role that nobody saw.
    pub fn refs(&self) -> bool {
        !self.refs.is_empty()
    }

    /// Whether `source` may list people whom nobody saw, and it is for it to say who is there. Of a
    /// source that is not configured any more that is so while another has such a gap: it may be
    /// the same one under a new name.
    pub fn may_list(&self, source: &str) -> bool {
        let open = |name: &&&str| self.settings.says_who_is_there(name);
        let mut gaps = self.users.iter().filter(open);
        if self.is_gone(source) { gaps.next().is_some() } else { gaps.any(|name| *name == source) }
    }

    /// Whether what `reason` says may still hold of somebody for whom no source says it now. `seen`:
    /// the sources that list the person.
    pub fn may_stand(&self, reason: &Reason, seen: &[&str]) -> bool {
        let Reason { source, rule: _, path } = reason;
        let source = source.as_str();
        if self.silent.contains(&source) || (!self.none() && self.is_gone(source)) {
            return true;
        }
        if self.may_stand_abroad(reason) {
            return true;
        }
        let known = self.seen.get(source);
        let unseen = |step: &ExternalRef| !known.is_some_and(|known| known.contains(step));
        (self.users.contains(&source) && !seen.contains(&source))
            || (self.refs.contains(&source) && path.iter().any(unseen))
    }

    /// Whether what `reason` says of other sources than its own may still hold: any that is not known in
    /// full may be the domain through which it leads.
    pub fn may_stand_abroad(&self, reason: &Reason) -> bool {
        !self.none() && reason.leads_abroad()
    }

    /// Whether some source may give somebody a role without anybody having seen it. `seen`: the
    /// sources that list the person.
    pub fn may_give(&self, seen: &[&str]) -> bool {
        self.refs() || self.users.iter().any(|source| !seen.contains(source))
    }

    fn is_gone(&self, source: &str) -> bool {
        !self.settings.sources.iter().any(|known| known.name == source)
    }
}

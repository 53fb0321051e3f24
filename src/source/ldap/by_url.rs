//! Members by URL at the end of assembling: each group gets whom its URLs mean, and what is not
//! evaluated has its reason.

use std::collections::HashMap;

use super::assemble::{Assembler, Group, GroupIdx};
use super::member_url::NotEvaluated;
use crate::directory::RefIdx;
use crate::model::IndexVec;

impl Assembler {
    /// The places of the URLs by which `group` names members.
    pub(super) fn places_of<'g>(
        &self,
        group: &'g Group,
    ) -> Result<Vec<usize>, (&'g str, NotEvaluated)> {
        let place = |url: &'g String| self.dynamic.place(url).map_err(|why| (url.as_str(), why));
        group.urls.iter().map(place).collect()
    }

    /// Whether it is known here whom the URLs of `group` mean. Where the server puts those into its
    /// list, that counts.
    pub(super) fn is_dynamic(&self, group: &Group) -> bool {
        !group.urls.is_empty() && !self.expanded.contains(&group.shown.classes)
    }

    /// For the place of each URL the groups that it means.
    pub(super) fn meant_by_url(
        &self,
        groups: &IndexVec<GroupIdx, Group>,
    ) -> HashMap<usize, Vec<GroupIdx>> {
        let mut meant: HashMap<usize, Vec<GroupIdx>> = HashMap::new();
        for (place, group) in groups.numbered().filter(|_| self.shape.nested) {
            group.meant_by.iter().for_each(|url| meant.entry(*url).or_default().push(place));
        }
        meant
    }

    /// Puts into the group whom its URLs mean, as far as that is known.
    pub(super) fn resolve_urls(
        &mut self,
        group: &Group,
        number: RefIdx,
        meant: &HashMap<usize, Vec<GroupIdx>>,
        numbers: &IndexVec<GroupIdx, Option<RefIdx>>,
    ) {
        if !self.is_dynamic(group) {
            return;
        }
        for place in group.urls.iter().filter_map(|url| self.dynamic.place(url).ok()) {
            for user in self.dynamic.users(place) {
                self.builder.member(number, *user);
            }
            let groups = meant.get(&place).into_iter().flatten();
            for child in groups.filter_map(|group| *numbers.at(*group)) {
                self.builder.leads_to(child, number);
            }
        }
    }
}

//! A part of a directory: some of its people, and of its references those that bear on them.
//!
//! What rules give to somebody hangs on what the person is in, on what that leads to, on what is above
//! it (its path), and on what else is called so (a name in doubt): on nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::mirror::without;
use super::{Directory, Kind, RefId, RefIdx, value};
use crate::model::TooMany;

/// Which references a part of a directory has.
#[derive(Clone, Copy, Debug)]
pub enum PartRefs<'a> {
    /// All of them.
    All,
    /// Those that its people are directly in, and those of `refs` that are there. With each of them
    /// everything that it leads to, the group right above it, whatever of its kind has the same
    /// identity; and with a group whose name, folded, is one of `names` all groups of that name.
    Near {
        /// References, whether or not they are there.
        refs: &'a BTreeSet<RefId>,
        /// Groups' bare names, folded.
        names: &'a BTreeSet<String>,
    },
}

impl Directory {
    /// This directory as if nobody but the people with these external ids were in it, and nothing but
    /// the references that `refs` says.
    ///
    /// # Errors
    /// None that could be: they are no more than here.
    pub fn part(&self, people: &BTreeSet<&str>, refs: PartRefs<'_>) -> Result<Directory, TooMany> {
        let part = self.of_people(people)?;
        let PartRefs::Near { refs, names } = refs else { return Ok(part) };
        let in_it = part.members.numbered().filter(|(_, members)| !members.is_empty());
        let asked = refs.iter().filter_map(|id| self.find_ref(id.kind, &id.key));
        let open: Vec<RefIdx> = in_it.map(|(place, _)| place).chain(asked).collect();
        let near = self.near(open, names);
        let gone = part.refs.numbered().map(|(place, _)| place);
        let gone = gone.filter(|place| !near.contains(place)).collect();
        Ok(without(part, &BTreeSet::new(), &gone))
    }

    /// The references `open` with everything that goes with them.
    fn near(&self, mut open: Vec<RefIdx>, names: &BTreeSet<String>) -> BTreeSet<RefIdx> {
        let mut called: BTreeMap<String, Vec<RefIdx>> = BTreeMap::new();
        let mut identical: BTreeMap<(Kind, &str), Vec<RefIdx>> = BTreeMap::new();
        let bare = |name| Some(value::folded(name).into_owned()).filter(|it| names.contains(it));
        for (place, row) in self.refs.numbered() {
            identical.entry((row.kind, self.text(row.identity))).or_default().push(place);
            if let Some(bare) = bare(self.text(row.name)).filter(|_| row.kind == Kind::Group) {
                called.entry(bare).or_default().push(place);
            }
        }
        let mut near = BTreeSet::new();
        while let Some(place) = open.pop() {
            let Some(row) = self.refs.get(place).filter(|_| near.insert(place)) else { continue };
            open.extend(self.implies.get(place).into_iter().flatten().copied());
            open.extend(row.parent);
            open.extend(identical.get(&(row.kind, self.text(row.identity))).into_iter().flatten());
            if let Some(bare) = bare(self.text(row.name)).filter(|_| row.kind == Kind::Group) {
                open.extend(called.get(&bare).into_iter().flatten());
            }
        }
        near
    }
}

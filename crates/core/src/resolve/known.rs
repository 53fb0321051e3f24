//! Things of sources in a form that reasons can be held against: by id, and by what they are called
//! for reasons of which an older store kept no id.

use std::collections::HashSet;

use crate::directory::{Directory, RefRow};
use crate::model::{ExternalRef, Kind, RefKind};

/// Things of one source.
#[derive(Debug, Default)]
pub(super) struct KnownRefs<'a> {
    ids: HashSet<(Kind, &'a str)>,
    identities: HashSet<(Kind, &'a str)>,
}

impl<'a> KnownRefs<'a> {
    pub fn insert(&mut self, directory: &'a Directory, row: &RefRow) {
        self.ids.insert((row.kind, directory.text(row.key)));
        self.identities.insert((row.kind, directory.text(row.identity)));
    }

    /// Whether `it` is among them. A renamed group is the group it was, and another that is called
    /// as it was is not.
    pub fn contains(&self, it: &ExternalRef) -> bool {
        let RefKind::Directory(kind) = it.kind else { return false };
        match &it.id {
            Some(id) => self.ids.contains(&(kind, id.as_str())),
            None => self.identities.contains(&(kind, it.identity.as_str())),
        }
    }
}

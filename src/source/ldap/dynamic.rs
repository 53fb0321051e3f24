//! The dynamic groups of a read: by which URLs they name members, and who was found by each.

use std::collections::{BTreeMap, BTreeSet};

use super::connect::Connection;
use super::entry::Entry;
use super::known;
use super::member_url::{By, MemberUrl, NotEvaluated};
use super::search::{self, Limits, Search};
use super::types::Types;
use crate::directory::DirUserIdx;

/// The attribute with the URLs, by its one name.
pub(super) const MEMBER_URL: &str = "memberurl";

/// The URLs of a read, and whom each means.
#[derive(Default)]
pub struct Dynamic {
    urls: BTreeMap<String, Result<usize, NotEvaluated>>,
    evaluated: Vec<Found>,
    /// What filters test, by one name, and whether some user has shown it.
    attributes: BTreeMap<String, bool>,
    /// Of a file: what is not in it is not there.
    file: bool,
    /// The server hides its schema.
    no_schema: bool,
}

/// A URL, and the users that it means.
struct Found {
    url: MemberUrl,
    attributes: BTreeSet<String>,
    users: Vec<DirUserIdx>,
}

impl Dynamic {
    fn new(urls: BTreeSet<String>, by: By<'_>) -> Self {
        let mut dynamic = Dynamic { file: matches!(by, By::Own), ..Dynamic::default() };
        for text in urls {
            let place = MemberUrl::parse(&text, by).map(|url| {
                let mut attributes = BTreeSet::new();
                url.attributes(&mut attributes);
                dynamic.attributes.extend(attributes.iter().map(|name| (name.clone(), false)));
                dynamic.evaluated.push(Found { url, attributes, users: Vec::new() });
                dynamic.evaluated.len().saturating_sub(1)
            });
            dynamic.urls.insert(text, place);
        }
        dynamic
    }

    /// Those of a file.
    #[must_use]
    pub fn of_file(urls: BTreeSet<String>) -> Self {
        Dynamic::new(urls, By::Own)
    }

    /// Those of a server, by its schema; `types`: nothing where it hides that.
    pub(super) async fn of_server(
        connection: &Connection,
        limits: Limits,
        urls: BTreeSet<String>,
        types: Option<&Types>,
    ) -> Self {
        let Some(types) = types else {
            return Dynamic { no_schema: true, ..Dynamic::default() };
        };
        if urls.is_empty() {
            return Dynamic::default();
        }
        let classes = known::object_classes(connection, limits).await;
        Dynamic::new(urls, By::Schema { types, classes: &classes })
    }

    /// Those that the groups of `groups` have just now. Where not all came, others are new to the read
    /// and are not evaluated.
    pub(super) async fn of_groups(
        connection: &Connection,
        limits: Limits,
        groups: &Search,
        types: Option<&Types>,
    ) -> Self {
        let mut urls = BTreeSet::new();
        if !types.is_some_and(|types| types.has(MEMBER_URL)) {
            return Dynamic::of_server(connection, limits, urls, types).await;
        }
        let search = Search {
            filter: search::both(&groups.filter, "(memberURL=*)"),
            attributes: vec!["memberURL".to_owned()],
            ..groups.clone()
        };
        let on_entry = |entry: Entry| urls.extend(urls_of(&entry));
        let mut ldap = connection.ldap.clone();
        search::run(&mut ldap, &search, limits, on_entry, |_| {}).await;
        Dynamic::of_server(connection, limits, urls, types).await
    }

    /// `names` and what else must be asked for.
    pub(super) fn with_attributes(&self, mut names: Vec<String>) -> Vec<String> {
        for name in self.attributes.keys() {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Forgets who was found.
    pub(super) fn forget(&mut self) {
        self.evaluated.iter_mut().for_each(|found| found.users.clear());
        self.attributes.values_mut().for_each(|seen| *seen = false);
    }

    /// Takes in a user's entry, whose DN is `norm` in normal form.
    pub(super) fn user(&mut self, entry: &Entry, norm: &str, user: DirUserIdx) {
        for (name, seen) in &mut self.attributes {
            *seen = *seen || entry.has(name);
        }
        for found in &mut self.evaluated {
            if found.url.is_meant(entry, norm) {
                found.users.push(user);
            }
        }
    }

    /// The places of the URLs that mean a group's entry.
    pub(super) fn of_group(&self, entry: &Entry, norm: &str) -> Vec<usize> {
        let all = self.evaluated.iter().enumerate();
        all.filter(|(_, found)| found.url.is_meant(entry, norm)).map(|(place, _)| place).collect()
    }

    /// The place of `url`, once all users have been taken in.
    ///
    /// # Errors
    /// It is not evaluated.
    pub(super) fn place(&self, url: &str) -> Result<usize, NotEvaluated> {
        let place = match self.urls.get(url) {
            Some(Ok(place)) => *place,
            Some(Err(why)) => return Err(why.clone()),
            None if self.no_schema => return Err(NotEvaluated::NoSchema),
            None => return Err(NotEvaluated::New),
        };
        let tested = self.evaluated.get(place).into_iter().flat_map(|found| &found.attributes);
        let hidden = |name: &&String| !self.file && self.attributes.get(*name) != Some(&true);
        match tested.into_iter().find(hidden) {
            Some(name) => Err(NotEvaluated::Unseen(name.clone())),
            None => Ok(place),
        }
    }

    /// The users whom the URL at this place means.
    pub(super) fn users(&self, place: usize) -> &[DirUserIdx] {
        self.evaluated.get(place).map_or(&[], |found| &found.users)
    }

    /// Whether the URL means this one person, who must show all that it tests: what is hidden of one
    /// person cannot be told from what is absent.
    pub(super) fn is_shown(&self, url: &str, entry: &Entry, norm: &str) -> bool {
        let Some(Ok(place)) = self.urls.get(url) else { return false };
        self.evaluated.get(*place).is_some_and(|found| {
            found.attributes.iter().all(|name| entry.has(name)) && found.url.is_meant(entry, norm)
        })
    }
}

/// The URLs of a group's entry.
pub fn urls_of(entry: &Entry) -> impl Iterator<Item = String> {
    entry.texts(MEMBER_URL).map(str::to_owned)
}

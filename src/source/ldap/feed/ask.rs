//! What is asked beside the search that stays open.
//!
//! An answer counts as an absence only where it shows what it speaks of: an entry that is there, has the
//! id in question and does not pass the filter. That a name leads to nothing, or to somebody else, says
//! only that something has changed again meanwhile, which will be told.

use std::collections::BTreeSet;

use ldap3::{Ldap, Scope};

use super::server::Provider;
use super::wire::Id;
use super::witness::CHANGED;
use super::{EVERYTHING, Origin, Stop};
use crate::directory::dn;
use crate::source::ldap::dialect::PrimaryBy;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::explain::Fault;
use crate::source::ldap::member_url::MemberUrl;
use crate::source::ldap::presence::presence;
use crate::source::ldap::primary::{self, Primary};
use crate::source::ldap::schema;
use crate::source::ldap::search::{self, End, Search, both};

/// As what an entry is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    User,
    Group,
}

/// What looking for a certain entry brought.
pub(super) enum Found {
    /// It, as a full read would have it.
    Entry(Box<Entry>),
    /// It is there, and the filter leaves it out.
    LeftOut,
    /// Its name leads to nothing, or to somebody else.
    Unclear,
}

/// The attributes that hold the id that the protocol tells.
const IDS: [&str; 3] = ["entryUUID", "nsUniqueId", "objectGUID"];

/// Asks one server.
pub(super) struct Asker<'a> {
    pub origin: &'a Origin,
    pub ldap: Ldap,
}

impl Asker<'_> {
    /// The entry `id`, which was told with this name. `had`: the mirror has it, so that it matters why
    /// the filter does not find it.
    pub async fn told(&mut self, id: Id, dn: &str, sort: Sort, had: bool) -> Result<Found, Stop> {
        let Some(search) = self.search_of(sort) else { return Ok(Found::Unclear) };
        let search = Search { base: dn.to_owned(), scope: Scope::Base, ..search };
        let Some(mut entries) = self.at_a_name(search).await? else { return Ok(Found::Unclear) };
        match entries.pop() {
            Some(entry) if Id::of(&entry) == Some(id) => Ok(Found::Entry(Box::new(entry))),
            Some(_) => Ok(Found::Unclear),
            None if had && self.id_at(dn).await? != Some(id) => Ok(Found::Unclear),
            None => Ok(Found::LeftOut),
        }
    }

    /// Whose name this is, whether the filters leave it out or not.
    pub async fn id_at(&mut self, dn: &str) -> Result<Option<Id>, Stop> {
        Ok(self.entry_at(dn, &[]).await?.and_then(|entry| Id::of(&entry)))
    }

    /// Whose primary group the person `id` is in, whether the filters leave that person out or not; nothing
    /// where the name leads to nobody, or to somebody else.
    pub async fn primary_of(&mut self, id: Id, dn: &str) -> Result<Option<Primary>, Stop> {
        let entry = self.entry_at(dn, &["objectClass", "gidNumber"]).await?;
        let entry = entry.filter(|entry| Id::of(entry) == Some(id));
        Ok(entry.map(|entry| primary::user(&entry, PrimaryBy::GidNumber)))
    }

    /// The same of those below the base of users who have one of these ids (as the server spells them), whether
    /// the filter leaves them out or not.
    pub async fn primaries_of(
        &mut self,
        ids: &[String],
        provider: Provider,
    ) -> Result<Vec<(Id, Primary)>, Stop> {
        let Some(search) = self.search_of(Sort::User) else { return Ok(Vec::new()) };
        let name = match provider {
            Provider::OpenLdap => "entryUUID",
            Provider::Ds389 => "nsUniqueId",
        };
        let tests: String = ids.iter().map(|id| format!("({name}={id})")).collect();
        let attributes = IDS.into_iter().chain(["objectClass", "gidNumber"]);
        let filter = format!("(|{tests})");
        let attributes = attributes.map(str::to_owned).collect();
        let found = self.run(Search { what: "entries", filter, attributes, ..search }).await?;
        let primary = |entry: &Entry| primary::user(entry, PrimaryBy::GidNumber);
        Ok(found.iter().filter_map(|entry| Some((Id::of(entry)?, primary(entry)))).collect())
    }

    /// The entry of this name, with its ids and these attributes.
    async fn entry_at(&mut self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, Stop> {
        let search = Search {
            what: "an entry",
            base: dn.to_owned(),
            scope: Scope::Base,
            filter: EVERYTHING.to_owned(),
            attributes: IDS.iter().chain(attributes).map(|name| (*name).to_owned()).collect(),
            page_size: 0,
            as_stored: false,
            dialect: self.origin.shape.dialect,
        };
        Ok(self.at_a_name(search).await?.and_then(|mut entries| entries.pop()))
    }

    /// The entry `id` (as 389-DS spells ids) below `base`, with the time of its last change.
    pub async fn by_id(&mut self, base: &str, id: &str) -> Result<Option<Entry>, Stop> {
        let mut attributes = IDS.map(str::to_owned).to_vec();
        attributes.push(CHANGED.to_owned());
        let search = Search {
            what: "an entry",
            base: base.to_owned(),
            scope: Scope::Subtree,
            filter: format!("(nsUniqueId={id})"),
            attributes,
            page_size: 0,
            as_stored: false,
            dialect: self.origin.shape.dialect,
        };
        Ok(self.run(search).await?.pop())
    }

    /// Whether there is something below this name.
    pub async fn has_below(&mut self, dn: &str) -> Result<bool, Stop> {
        let search = Search {
            what: "an entry",
            base: dn.to_owned(),
            scope: Scope::OneLevel,
            filter: EVERYTHING.to_owned(),
            attributes: vec!["1.1".to_owned()],
            page_size: 0,
            as_stored: false,
            dialect: self.origin.shape.dialect,
        };
        match self.at_most(1, false, search).await {
            Ok(entries) => Ok(!entries.is_empty()),
            Err(Stop::Fault(fault)) if matches!(fault.code, Some(32 | 34)) => Ok(false),
            Err(stop) => Err(stop),
        }
    }

    /// Runs a search for the one entry of a name; nothing where there is none.
    async fn at_a_name(&mut self, search: Search) -> Result<Option<Vec<Entry>>, Stop> {
        match self.run(search).await {
            Ok(entries) => Ok(Some(entries)),
            // 32: no such entry. 34: a name that the server cannot make sense of names nobody.
            Err(Stop::Fault(fault)) if matches!(fault.code, Some(32 | 34)) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    /// The users that pass `test`.
    pub async fn users_that(&mut self, test: &str) -> Result<Vec<Entry>, Stop> {
        let Some(search) = self.search_of(Sort::User) else { return Ok(Vec::new()) };
        let filter = both(&search.filter, test);
        self.run(Search { filter, page_size: self.origin.config.page_size, ..search }).await
    }

    /// The groups that pass `test`, with their names.
    pub async fn groups_that(&mut self, test: &str) -> Result<Vec<(Id, String)>, Stop> {
        let Some(search) = self.search_of(Sort::Group) else { return Ok(Vec::new()) };
        let search = Search {
            filter: both(&search.filter, test),
            attributes: IDS.map(str::to_owned).to_vec(),
            page_size: self.origin.config.page_size,
            ..search
        };
        let found = self.run(search).await?;
        Ok(found.into_iter().filter_map(|group| Some((Id::of(&group)?, group.dn))).collect())
    }

    /// Whether some user shows `attribute` just now.
    pub async fn some_user_shows(&mut self, attribute: &str) -> Result<bool, Stop> {
        let Some(search) = self.search_of(Sort::User) else { return Ok(false) };
        let filter = both(&search.filter, &format!("({attribute}=*)"));
        let search = Search { filter, attributes: vec![attribute.to_owned()], ..search };
        let found = self.at_most(20, true, search).await?;
        Ok(found.iter().any(|entry| entry.names().next().is_some()))
    }

    /// The groups that name members by URL, with what they show of their members; `stored`: with what is
    /// stored of that, and nothing that the server puts in.
    pub async fn groups_by_url(&mut self, stored: bool) -> Result<Vec<Entry>, Stop> {
        let Some(search) = self.search_of(Sort::Group) else { return Ok(Vec::new()) };
        let attributes = IDS.into_iter().chain(schema::MEMBERS);
        let search = Search {
            filter: both(&search.filter, "(memberURL=*)"),
            attributes: attributes.chain(["objectClass", "memberURL"]).map(str::to_owned).collect(),
            page_size: self.origin.config.page_size,
            as_stored: stored,
            ..search
        };
        self.run(search).await
    }

    /// The ids of the users, or of the groups, that `url` means.
    pub async fn meant(&mut self, url: &MemberUrl, sort: Sort) -> Result<Vec<Id>, Stop> {
        let Some(search) = self.search_of(sort) else { return Ok(Vec::new()) };
        // Not below the URL's own base: where that is hidden a server may say that nobody is there.
        let search = Search {
            filter: both(&search.filter, url.test()),
            attributes: IDS.map(str::to_owned).to_vec(),
            page_size: self.origin.config.page_size,
            ..search
        };
        let found = self.run(search).await?;
        let is_meant = |entry: &&Entry| {
            dn::normalized(&entry.dn).is_ok_and(|norm| {
                let is_there = presence(entry, &norm).is_there();
                is_there && !self.origin.shape.dialect.is_set_aside(&norm) && url.is_in_scope(&norm)
            })
        };
        Ok(found.iter().filter(is_meant).filter_map(Id::of).collect())
    }

    /// Whether the group of this name passes `test`; nothing where none has that name any more.
    pub async fn group_passes(&mut self, dn: &str, test: &str) -> Result<Option<bool>, Stop> {
        let Some(search) = self.search_of(Sort::Group) else { return Ok(None) };
        let search = Search {
            base: dn.to_owned(),
            scope: Scope::Base,
            filter: both(&search.filter, test),
            attributes: vec!["1.1".to_owned()],
            ..search
        };
        Ok(self.at_a_name(search).await?.map(|found| !found.is_empty()))
    }

    /// Whether some group has `attribute`.
    pub async fn some_group_has(&mut self, attribute: &str) -> Result<bool, Stop> {
        Ok(!self.few(attribute, &["1.1"], false).await?.is_empty())
    }

    /// A few groups that have the attribute `shows`, with their classes, and that attribute as if it had
    /// one value: it is there, and not asked for what it holds.
    pub async fn witnesses(&mut self, shows: &str) -> Result<Vec<Entry>, Stop> {
        let mut classes = self.few(shows, &["objectClass"], false).await?;
        let types = self.few(shows, &[shows], true).await?;
        let shown = types.into_iter().filter(|entry| entry.names().next().is_some());
        let shown: BTreeSet<String> = shown.map(|entry| entry.dn).collect();
        classes.retain(|entry| shown.contains(&entry.dn));
        for entry in &mut classes {
            entry.add(shows, [b"shown".to_vec()]);
        }
        Ok(classes)
    }

    /// Up to 20 groups that have `having`; with `types` the attributes without their values.
    async fn few(
        &mut self,
        having: &str,
        attributes: &[&str],
        types: bool,
    ) -> Result<Vec<Entry>, Stop> {
        let Some(search) = self.search_of(Sort::Group) else { return Ok(Vec::new()) };
        let search = Search {
            filter: both(&search.filter, &format!("({having}=*)")),
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
            ..search
        };
        self.at_most(20, types, search).await
    }

    /// The first so many entries; with `types` their attributes without values.
    pub async fn at_most(
        &mut self,
        count: i32,
        types: bool,
        search: Search,
    ) -> Result<Vec<Entry>, Stop> {
        let options = ldap3::SearchOptions::new().typesonly(types).sizelimit(count);
        self.ldap.with_search_options(options);
        let mut entries = Vec::new();
        let on_entry = |entry| entries.push(entry);
        let limits = self.origin.limits();
        match search::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await {
            // 4: cut short as it should be.
            End { fault: Some(fault), .. } if fault.code != Some(4) => Err(Stop::Fault(fault)),
            _ => Ok(entries),
        }
    }

    pub fn search_of(&self, sort: Sort) -> Option<Search> {
        let Origin { config, user_attributes, group_attributes, .. } = self.origin;
        let (what, base, filter, attributes) = match (sort, &config.groups) {
            (Sort::User, _) => ("users", &config.users.base, &config.users.filter, user_attributes),
            (Sort::Group, Some(groups)) => {
                ("groups", &groups.base, &groups.filter, group_attributes)
            }
            (Sort::Group, None) => return None,
        };
        Some(Search {
            what,
            base: base.clone(),
            scope: Scope::Subtree,
            filter: filter.clone(),
            attributes: attributes.clone(),
            page_size: 0,
            as_stored: false,
            dialect: self.origin.shape.dialect,
        })
    }

    async fn run(&mut self, search: Search) -> Result<Vec<Entry>, Stop> {
        let mut entries = Vec::new();
        let on_entry = |entry| entries.push(entry);
        let limits = self.origin.limits();
        let end = search::run(&mut self.ldap, &search, limits, on_entry, |_| {}).await;
        end.fault.map_or(Ok(entries), |fault| Err(Stop::Fault(fault)))
    }
}

/// Whether the server answers.
pub(super) async fn is_alive(ldap: &Ldap, origin: &Origin) -> Result<(), Fault> {
    let search = Search {
        what: "the root DSE",
        base: String::new(),
        scope: Scope::Base,
        filter: EVERYTHING.to_owned(),
        attributes: vec!["1.1".to_owned()],
        page_size: 0,
        as_stored: false,
        dialect: origin.shape.dialect,
    };
    let end = search::run(&mut ldap.clone(), &search, origin.limits(), |_| {}, |_| {}).await;
    // Whatever it answers, it answers.
    end.fault.filter(|fault| fault.code.is_none()).map_or(Ok(()), Err)
}

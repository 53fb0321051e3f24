//! Which entries of a file are users, which are groups: what a server's searches would bring.

use super::config::LdifConfig;
use super::records::{self, Fault, Record, whole};
use crate::directory::{dn, value};
use crate::source::ldap::entry::Entry;
use crate::source::ldap::filter::Filter;
use crate::source::ldap::presence::{is_the_servers_own, presence};
use crate::source::ldap::{Shape, Verdict};

/// The two searches.
pub(super) struct Choice {
    users: Search,
    /// Absent: there are no groups.
    groups: Option<Search>,
}

/// What an entry is to us. It can be both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Chosen {
    /// The search for users brings it.
    pub user: bool,
    /// The search for groups brings it.
    pub group: bool,
}

/// The class of entries that say where others are (RFC 3296), in lower case.
const REFERRAL: &str = "referral";

/// One of the two searches.
struct Search {
    base: String,
    filter: Filter,
    /// What is read to evaluate the filter.
    tested: Vec<String>,
    /// What is read of an entry that it brings.
    read: Vec<String>,
}

impl Search {
    fn new(key: &str, base: &str, filter: &str, read: &[String]) -> Result<Self, Fault> {
        let filter =
            Filter::parse(filter).map_err(|error| whole(format!("`{key}.filter`: {error}")))?;
        let mut tested = vec!["objectclass".to_owned()];
        filter.each_attribute(&mut |name| tested.push(name.to_owned()));
        let read = read.iter().map(|name| value::attribute(name).into_owned());
        let read = read.chain(["nsuniqueid", "objectguid"].map(str::to_owned)).collect();
        Ok(Search { base: base.to_owned(), filter, tested, read })
    }

    /// Whether the search goes over the entry `norm`. The server's own suffixes are below no
    /// company's.
    fn covers(&self, norm: &str) -> bool {
        dn::is_under(norm, &self.base) && (!self.base.is_empty() || !is_the_servers_own(norm))
    }
}

impl Choice {
    /// Makes the searches that `config` asks for.
    ///
    /// # Errors
    /// A filter is malformed.
    pub fn new(config: &LdifConfig, shape: &Shape) -> Result<Self, Fault> {
        let LdifConfig { users, groups, .. } = config;
        Ok(Choice {
            users: Search::new(
                "users",
                &shape.users_base,
                &users.filter,
                &shape.user_attributes(),
            )?,
            groups: groups
                .as_ref()
                .zip(shape.groups_base.as_ref())
                .map(|(groups, base)| {
                    Search::new("groups", base, &groups.filter, &shape.group_attributes())
                })
                .transpose()?,
        })
    }

    /// What `entry` is, whose DN is `norm` in normal form; `None` where no ordinary search returns it.
    pub fn of(&self, entry: &Entry, norm: &str) -> Option<Chosen> {
        if !presence(entry, norm).is_there() {
            return None;
        }
        // A server returns a reference in the place of a referral, whatever else it is.
        let brings = |search: &Search| {
            !entry.is_a(REFERRAL) && search.covers(norm) && search.filter.matches(entry)
        };
        let group = self.groups.as_ref().is_some_and(brings);
        Some(Chosen { user: brings(&self.users), group })
    }

    /// Where `entry` is a referral: what is below it is elsewhere, so not all users, or groups, are
    /// in the file.
    pub fn refer(&self, entry: &Entry, norm: &str, verdict: &mut Verdict) {
        if !entry.is_a(REFERRAL) {
            return;
        }
        let concerns = |search: &Search| search.covers(norm) || dn::is_under(&search.base, norm);
        let why = |what: &str| {
            format!(
                "`{}` refers to another server, and the {what} below it are not in the file: \
                 narrow `{what}.base`, or export the server that holds them all",
                entry.dn.escape_debug()
            )
        };
        if concerns(&self.users) {
            verdict.users.get_or_insert_with(|| why("users"));
        }
        if self.groups.as_ref().is_some_and(concerns) {
            verdict.groups.get_or_insert_with(|| why("groups"));
        }
    }

    /// Whether everything that is read of an entry stands in the file itself.
    ///
    /// # Errors
    /// It does not: the value's line.
    pub fn is_whole(&self, record: &Record, norm: &str, chosen: Chosen) -> Result<(), Fault> {
        let users = [(&self.users, chosen.user)].into_iter();
        let searches = users.chain(self.groups.as_ref().map(|groups| (groups, chosen.group)));
        for (name, line) in &record.elsewhere {
            let needed = searches.clone().filter(|(search, _)| search.covers(norm)).any(
                |(search, brings)| {
                    search.tested.contains(name) || (brings && search.read.contains(name))
                },
            );
            if needed {
                return Err(Fault { line: *line, why: records::from_url(name) });
            }
        }
        Ok(())
    }
}

//! LDIF (RFC 2849): a directory in a file.
//!
//! A file that is cut off, malformed or empty is an error that names the place ([`records`]).
//! Entries become a reading by the same logic as those of a live directory ([`Assembler`]); what a
//! server does before is done here: it evaluates the filters, and keeps to itself what no ordinary
//! search returns.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::encoding;
use super::records::{self, Fault, Record, Records, whole};
use crate::config::LdifConfig;
use crate::model::Time;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::filter::Filter;
use crate::source::ldap::presence::{Presence, is_the_servers_own, presence};
use crate::source::ldap::roles::Roles;
use crate::source::ldap::{Assembler, Shape, Verdict, dn, value};
use crate::source::{Interest, Reading, SourceError};

/// Reads the LDIF that `config` names. Accounts are judged at the present moment.
///
/// # Errors
/// The file cannot be read, is not whole or not LDIF (with the line), a base or filter of the
/// configuration is malformed, or there is no user in it.
pub fn read_ldif(config: &LdifConfig, interest: &dyn Interest) -> Result<Reading, SourceError> {
    read_ldif_at(config, interest, chrono::Utc::now())
}

/// [`read_ldif`] with the moment at which accounts are judged.
///
/// # Errors
/// As [`read_ldif`].
pub fn read_ldif_at(
    config: &LdifConfig,
    interest: &dyn Interest,
    now: Time,
) -> Result<Reading, SourceError> {
    let path = config.path.as_path();
    let bytes = std::fs::read(path).map_err(|error| {
        SourceError::fatal(format!("cannot read `{}`: {error}", path.display()))
    })?;
    let bytes =
        encoding::utf8(bytes).map_err(|why| SourceError::fatal(located(path, &whole(why))))?;
    let assembler = read_bytes(&bytes, config, interest, now)
        .map_err(|why| SourceError::fatal(located(path, &why)))?;
    // The bytes are half of what this needs, and what follows needs as much again.
    drop(bytes);
    Ok(assembler.finish(Verdict::default()))
}

fn located(path: &Path, fault: &Fault) -> String {
    match fault.line {
        0 => format!("`{}`: {}", path.display(), fault.why),
        line => format!("`{}:{line}`: {}", path.display(), fault.why),
    }
}

fn read_bytes(
    bytes: &[u8],
    config: &LdifConfig,
    interest: &dyn Interest,
    now: Time,
) -> Result<Assembler, Fault> {
    let shape = Shape::new(&config.users, &config.groups, interest.attributes(), true, now)
        .map_err(whole)?;
    let choice = Choice::new(config, &shape)?;
    let mut assembler = Assembler::new(shape);
    let mut shared = SharedNames::default();
    let mut people = 0_u64;
    let mut lines_of: HashMap<String, usize> = HashMap::new();
    let mut with_id = 0_u64;
    let mut last_with_id = true;
    let mut last_line = 0;
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut roles = Roles::default();
    let mut conflicts = Conflicts::default();
    let mut records = Records::new(bytes)?;
    let mut count = 0_u64;
    // Entries are read twice and never kept: a million of them with their members would take
    // several times the file's size. The first time shows whether the file is whole, and which
    // names are borne twice.
    while let Some(record) = records.next_record()? {
        let Record { line, entry, .. } = &record;
        let line = *line;
        count += 1;
        let norm = dn::normalize(&entry.dn).map_err(|e| Fault { line, why: e.to_string() })?;
        let id = entry.stable_id();
        last_with_id = id.is_some();
        with_id += u64::from(last_with_id);
        last_line = line;
        match presence(entry, &norm) {
            Presence::There | Presence::Subentry => roles.see(entry, &norm),
            Presence::Gone => {}
            Presence::Conflict => conflicts.see(&norm),
        }
        let chosen = choice.of(entry, &norm);
        if chosen == Chosen::NotThere {
            continue;
        }
        choice.is_whole(&record, &norm, &chosen)?;
        if chosen == Chosen::User {
            people += 1;
            if id.is_none() {
                shared.see(assembler.username_of(entry));
            }
        }
        if let Some(first) = lines_of.insert(norm, line) {
            let why = format!("the entry `{}` stands in line {first} already", entry.dn);
            return Err(Fault { line, why });
        }
        if let Some(id) = id
            && let Some(first) = ids.insert(id, line)
        {
            let why = format!(
                "the entry `{}` has the id of the one in line {first}: two exports in one file?",
                entry.dn
            );
            return Err(Fault { line, why });
        }
    }
    let SharedNames { once, twice } = shared;
    drop((lines_of, ids, once));
    if count == 0 {
        return Err(whole("there is no entry in it: a directory is never empty"));
    }
    if count > 2 && with_id == count.saturating_sub(1) && !last_with_id {
        // An export ends each entry with its operational attributes.
        let why = "the last entry has no id, unlike all others: the file looks cut off";
        return Err(Fault { line: last_line, why: why.to_owned() });
    }
    if people == 0 {
        return Err(whole(format!(
            "no user: none of its {count} entries is below `{}` and matches `{}` (`users.base`, \
             `users.filter`)",
            config.users.base, config.users.filter
        )));
    }
    assembler.shared_names(twice);
    assembler.inactivation(roles.inactivation());
    conflicts.tell(&mut assembler);
    let mut records = Records::new(bytes)?;
    while let Some(Record { line, entry, .. }) = records.next_record()? {
        let norm = dn::normalize(&entry.dn).map_err(|e| Fault { line, why: e.to_string() })?;
        match choice.of(&entry, &norm) {
            Chosen::User => assembler.user(&entry),
            Chosen::Group => assembler.group(&entry),
            Chosen::Other | Chosen::NotThere => {}
        }
    }
    if assembler.has_no_user() {
        return Err(whole(format!(
            "no user: none of its {people} users has a `{}` (`users.username`)",
            config.users.username
        )));
    }
    Ok(assembler)
}

/// Which entries of the file are users, which are groups: what a server's searches would say.
struct Choice {
    users: Search,
    groups: Search,
}

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
    fn new(config: &LdifConfig, shape: &Shape) -> Result<Self, Fault> {
        let LdifConfig { users, groups, .. } = config;
        Ok(Choice {
            users: Search::new(
                "users",
                &shape.users_base,
                &users.filter,
                &shape.user_attributes(),
            )?,
            groups: Search::new(
                "groups",
                &shape.groups_base,
                &groups.filter,
                &shape.group_attributes(),
            )?,
        })
    }

    /// What `entry` is, whose DN is `norm` in normal form.
    fn of(&self, entry: &Entry, norm: &str) -> Chosen {
        if !presence(entry, norm).is_there() {
            Chosen::NotThere
        } else if self.users.covers(norm) && self.users.filter.matches(entry) {
            Chosen::User
        } else if self.groups.covers(norm) && self.groups.filter.matches(entry) {
            Chosen::Group
        } else {
            Chosen::Other
        }
    }

    /// Whether everything that is read of an entry stands in the file itself.
    fn is_whole(&self, record: &Record, norm: &str, chosen: &Chosen) -> Result<(), Fault> {
        for (name, line) in &record.elsewhere {
            let needed = [(&self.users, Chosen::User), (&self.groups, Chosen::Group)]
                .into_iter()
                .filter(|(search, _)| search.covers(norm))
                .any(|(search, is)| {
                    search.tested.contains(name) || (*chosen == is && search.read.contains(name))
                });
            if needed {
                return Err(Fault { line: *line, why: records::from_url(name) });
            }
        }
        Ok(())
    }
}

/// Entries that replication left beside another of their name: nobody, and worth telling.
#[derive(Default)]
struct Conflicts {
    count: u64,
    /// The smallest DN in normal form.
    first: Option<String>,
}

impl Conflicts {
    fn see(&mut self, norm: &str) {
        self.count += 1;
        if self.first.as_deref().is_none_or(|first| norm < first) {
            self.first = Some(norm.to_owned());
        }
    }

    fn tell(&self, assembler: &mut Assembler) {
        if let Some(first) = &self.first {
            assembler.warn(format!(
                "{} entries are replication conflicts, which no search returns, and are passed \
                 over (such as `{}`): settle them on the server",
                self.count,
                first.escape_debug()
            ));
        }
    }
}

/// What an entry is to us.
#[derive(PartialEq, Eq)]
enum Chosen {
    User,
    Group,
    Other,
    /// No ordinary search returns it.
    NotThere,
}

/// Usernames (folded) of entries without an id.
#[derive(Default)]
struct SharedNames {
    once: HashSet<String>,
    /// Those that several bear: such people are told apart by DN, so that resolving sees two and
    /// provisions neither.
    twice: HashSet<String>,
}

impl SharedNames {
    fn see(&mut self, name: Option<Cow<'_, str>>) {
        let Some(name) = name else { return };
        let folded = value::folded(&name).into_owned();
        if self.once.contains(&folded) {
            self.twice.insert(folded);
        } else {
            self.once.insert(folded);
        }
    }
}

#[cfg(test)]
#[path = "ldif_tests.rs"]
mod tests;

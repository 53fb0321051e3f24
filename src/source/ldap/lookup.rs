//! One person: the entry that has the id or bears the name, then the groups that list it.
//!
//! Groups in groups are the mirror's business: what the person is *directly* in is asked here.
//! Names and DNs go into filters escaped (RFC 4515, section 3).

use ldap3::{Scope, ldap_escape};
use tokio::time::Instant;

use super::assemble::Assembler;
use super::connect::{Connection, shown};
use super::dn;
use super::entry::Entry;
use super::presence::presence;
use super::search::{self, Limits, Search};
use super::shape::Shape;
use super::{LdapSource, server};
use crate::config::UsernameFrom;
use crate::model::Time;
use crate::source::{Kind, Looked, Sighting, SourceError, Who, Within};

/// Asks about `who`. `wanted` are the attribute values that rules name, `now` is the moment at
/// which the account is judged.
pub(super) async fn lookup(
    source: &LdapSource,
    wanted: &[(String, String)],
    who: &Who,
    now: Time,
) -> Result<Looked, SourceError> {
    let config = &source.config;
    let named = |error: SourceError| SourceError {
        message: format!("source `{}`: {}", source.name, error.message),
        transient: error.transient,
    };
    let shape = Shape::new(&config.users, &config.groups, wanted, false, now)
        .map_err(|why| named(SourceError::fatal(why)))?;
    let limits =
        Limits { operation: config.timeout, deadline: Instant::now() + config.read_timeout };
    let connection = source.connector.connect().await.map_err(named)?;
    let at = |error: SourceError| SourceError {
        message: format!("source `{}`: {}: {}", source.name, shown(&connection.url), error.message),
        transient: error.transient,
    };
    server::recognise(&connection, limits, config.flavor).await.map_err(at)?;
    let assembler = Assembler::new(shape);
    let mut asker = Asker { source, connection: connection.clone(), limits, assembler };
    asker.ask(who).await.map_err(at)
}

struct Asker<'a> {
    source: &'a LdapSource,
    connection: Connection,
    limits: Limits,
    /// For what entries mean; takes none in.
    assembler: Assembler,
}

impl Asker<'_> {
    async fn ask(&mut self, who: &Who) -> Result<Looked, SourceError> {
        let users = &self.source.config.users;
        let test = match who {
            Who::Id(id) => by_id(id),
            Who::Named(who) => {
                let attribute = match who.by {
                    UsernameFrom::Username => &users.username,
                    UsernameFrom::Email => &users.email,
                };
                format!("({attribute}={})", ldap_escape(who.username.as_str()))
            }
        };
        let entries = self.users(&test).await?;
        let mut found: Vec<(Entry, String)> = Vec::new();
        for entry in entries {
            let Some(username) = self.assembler.username_of(&entry) else { continue };
            let username = username.into_owned();
            let meant = match who {
                Who::Id(id) => entry.stable_id().as_ref() == Some(id),
                Who::Named(who) => who.is(&username, &self.assembler.email_of(&entry)),
            };
            if meant {
                found.push((entry, username));
            }
        }
        let (entry, username) = match (found.pop(), found.is_empty()) {
            (Some(only), true) => only,
            (Some(_), false) => return Ok(Looked::Several),
            (None, _) => return self.nobody().await,
        };
        let Some(ext) = entry.stable_id() else {
            return Err(SourceError::fatal(format!(
                "`{}` shows no readable `entryUUID`: grant this identity read access to it",
                entry.dn.escape_debug()
            )));
        };
        let account = self.assembler.account_of(&entry);
        if let Some(unreadable) = account.unreadable {
            return Err(SourceError::fatal(format!(
                "`{}`: {unreadable}: whether the account is enabled cannot be told",
                entry.dn.escape_debug()
            )));
        }
        let mut within = self.groups(&entry).await?;
        for wanted in &self.assembler.shape.wanted {
            if wanted.is_of(&entry) {
                within.push(Within {
                    kind: Kind::Attribute,
                    key: wanted.identity.clone(),
                    name: None,
                });
            }
        }
        let mut sighting = Sighting {
            ext,
            username,
            email: self.assembler.email_of(&entry).into_owned(),
            email_verified: self.assembler.shape.email_verified,
            enabled: account.enabled,
            federation: String::new(),
            within,
        };
        sighting.sort();
        Ok(Looked::Found(Box::new(sighting)))
    }

    /// Nothing came: that is a no unless the server hides from us what we must see.
    async fn nobody(&self) -> Result<Looked, SourceError> {
        if let Some(canary) = &self.source.config.canary {
            let found = server::canary(&self.connection, self.limits, canary).await;
            found.map_err(SourceError::transient)?;
        }
        Ok(Looked::Nobody)
    }

    /// The groups that list the entry: by its DN, or by its `uid`, which must be its alone.
    async fn groups(&mut self, entry: &Entry) -> Result<Vec<Within>, SourceError> {
        let it = ldap_escape(entry.dn.as_str()).into_owned();
        let mut entries =
            self.found_groups(&format!("(|(member={it})(uniqueMember={it}))")).await?;
        let uids: Vec<String> =
            entry.plainest_texts("uid").filter(|uid| !uid.is_empty()).map(str::to_owned).collect();
        for uid in uids {
            let uid = ldap_escape(uid).into_owned();
            let listed = self.found_groups(&format!("(memberUid={uid})")).await?;
            if !listed.is_empty() && self.users(&format!("(uid={uid})")).await?.len() == 1 {
                entries.extend(listed);
            }
        }
        let mut within = Vec::new();
        for group in entries {
            let name = group.text(&self.assembler.shape.name);
            if let (Some(key), Some(name)) = (group.stable_id(), name) {
                let name = Some(name.into_owned());
                within.push(Within { kind: Kind::Group, key, name });
            }
        }
        Ok(within)
    }

    async fn users(&mut self, test: &str) -> Result<Vec<Entry>, SourceError> {
        let config = &self.source.config;
        let attributes = self.assembler.shape.user_attributes();
        let (base, filter) = (config.users.base.clone(), both(&config.users.filter, test));
        self.search("users", base, filter, attributes).await
    }

    async fn found_groups(&mut self, test: &str) -> Result<Vec<Entry>, SourceError> {
        let config = &self.source.config;
        // Not the members: there may be many, and one of them is known.
        let attributes = vec!["entryUUID".to_owned(), self.assembler.shape.name.clone()];
        let (base, filter) = (config.groups.base.clone(), both(&config.groups.filter, test));
        self.search("groups", base, filter, attributes).await
    }

    async fn search(
        &mut self,
        what: &'static str,
        base: String,
        filter: String,
        attributes: Vec<String>,
    ) -> Result<Vec<Entry>, SourceError> {
        let page_size = self.source.config.page_size;
        let search = Search { what, base, scope: Scope::Subtree, filter, attributes, page_size };
        let mut entries = Vec::new();
        let ldap = &mut self.connection.ldap;
        let on_entry = |entry: Entry| {
            if dn::normalized(&entry.dn).is_ok_and(|norm| presence(&entry, &norm).is_there()) {
                entries.push(entry);
            }
        };
        let end = search::run(ldap, &search, self.limits, on_entry, |_| {}).await;
        match end.fault {
            None => Ok(entries),
            Some(fault) => Err(SourceError { message: fault.message, transient: fault.transient }),
        }
    }
}

/// A filter for the entry with this stable id, by whichever attribute the server has for it.
fn by_id(id: &str) -> String {
    let text = ldap_escape(id);
    let mut tests = format!("(entryUUID={text})(nsUniqueId={text})");
    // Active Directory's is bytes, of which the first three fields are the other way round.
    let digits: Vec<char> = id.chars().filter(|c| *c != '-').collect();
    if digits.len() == 32 && digits.iter().all(char::is_ascii_hexdigit) {
        let pairs: Vec<&[char]> = digits.chunks(2).collect();
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        let pairs = order.into_iter().filter_map(|place: usize| pairs.get(place));
        let bytes: String = pairs.flat_map(|pair| std::iter::once(&'\\').chain(*pair)).collect();
        tests.push_str(&format!("(objectGUID={bytes})"));
    }
    format!("(|{tests})")
}

/// Both filters at once. A filter may be configured without its brackets.
fn both(filter: &str, test: &str) -> String {
    if filter.starts_with('(') {
        format!("(&{filter}{test})")
    } else {
        format!("(&({filter}){test})")
    }
}

//! One person: the entry that has the id or bears the name, then the groups that list it.
//!
//! Groups in groups are the mirror's business: what the person is *directly* in is asked here.
//! Names and DNs go into filters escaped (RFC 4515, section 3).
//!
//! What a full read finds, a look-up must find as well. Two things a plain filter does not: a name
//! in another case where servers compare the attribute exactly (`memberUid`), and a `uniqueMember`
//! with a unique identifier behind its DN, which matches no DN alone (RFC 4517, section 4.2.31).

use std::collections::HashMap;

use ldap3::{Scope, ldap_escape};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::assemble::{Assembler, without_uid};
use super::connect::{Connection, shown};
use super::entry::Entry;
use super::presence::presence;
use super::search::{self, Limits, Search, both};
use super::shape::Shape;
use super::{LdapSource, server};
use crate::directory::{Kind, Sighting, Within, dn, value};
use crate::model::Time;
use crate::model::username::UsernameFrom;
use crate::source::{Looked, SourceError, Who};

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
    let shape = Shape::new(&config.users, config.groups.as_ref(), wanted, false, now)
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

/// How long what [`Unfiltered`] holds counts.
const UNFILTERED_FOR: std::time::Duration = std::time::Duration::from_secs(60);

/// Members that no filter finds: the groups by the member's normal DN.
type Lists = HashMap<String, Vec<Within>>;

/// Those of a source, and when they were looked through.
#[derive(Default)]
pub(super) struct Unfiltered(Mutex<Option<(Instant, Lists)>>);

/// A filter for `value`, in any case even where servers compare `attribute` exactly.
fn in_any_case(attribute: &str, value: &str) -> String {
    // caseIgnoreMatch and caseIgnoreIA5Match: the one that does not fit the attribute is undefined,
    // which in an `|` is as good as false.
    const RULES: [&str; 2] = ["2.5.13.2", "1.3.6.1.4.1.1466.109.114.2"];
    let value = ldap_escape(value);
    let plain = format!("({attribute}={value})");
    if !value::is_exact(&value::attribute(attribute)) {
        return plain;
    }
    let any = RULES.map(|rule| format!("({attribute}:{rule}:={value})"));
    format!("(|{plain}{})", any.concat())
}

/// Being directly in `group`, whose name is in the attribute `name`.
fn within_of(group: &Entry, name: &str) -> Option<Within> {
    let name = group.text(name)?.into_owned();
    Some(Within { kind: Kind::Group, key: group.stable_id()?, name: Some(name) })
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
                in_any_case(attribute, &who.username)
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

    /// The groups that list the entry: by its DN, or by its `uid`, which must be its alone; and its
    /// primary group.
    async fn groups(&mut self, entry: &Entry) -> Result<Vec<Within>, SourceError> {
        let it = ldap_escape(entry.dn.as_str()).into_owned();
        let mut entries =
            self.found_groups(&format!("(|(member={it})(uniqueMember={it}))")).await?;
        let uids: Vec<String> =
            entry.plainest_texts("uid").filter(|uid| !uid.is_empty()).map(str::to_owned).collect();
        for uid in uids {
            let listed = self.found_groups(&in_any_case("memberUid", &uid)).await?;
            if !listed.is_empty() && self.is_alone(&uid).await? {
                entries.extend(listed);
            }
        }
        if self.assembler.shape.primary
            && let Some(Ok(gid)) = entry.texts("gidnumber").next().map(|t| t.trim().parse::<i64>())
        {
            let test = format!("(&(objectClass=posixGroup)(gidNumber={gid}))");
            entries.extend(self.found_groups(&test).await?);
        }
        let mut within = self.unfiltered(entry).await?;
        let name = &self.assembler.shape.name;
        within.extend(entries.iter().filter_map(|group| within_of(group, name)));
        Ok(within)
    }

    /// Whether one user alone has this `uid`.
    async fn is_alone(&mut self, uid: &str) -> Result<bool, SourceError> {
        let users = self.users(&format!("(uid={})", ldap_escape(uid))).await?;
        let folded = value::folded(uid);
        let has = |user: &&Entry| user.plainest_texts("uid").any(|u| value::folded(u) == folded);
        Ok(users.iter().filter(has).count() == 1)
    }

    /// The groups that list the entry's DN with a unique identifier behind it. All lists are looked
    /// through for that, once in [`UNFILTERED_FOR`] at most.
    async fn unfiltered(&mut self, entry: &Entry) -> Result<Vec<Within>, SourceError> {
        let source = self.source;
        let Some(groups) = &source.config.groups else { return Ok(Vec::new()) };
        let mut known = source.unfiltered.0.lock().await;
        if known.as_ref().is_none_or(|(at, _)| at.elapsed() >= UNFILTERED_FOR) {
            let name = self.assembler.shape.name.as_str();
            let search = Search {
                what: "groups",
                base: groups.base.clone(),
                scope: Scope::Subtree,
                filter: both(&groups.filter, "(uniqueMember=*)"),
                attributes: ["entryUUID", "uniqueMember", name].map(str::to_owned).to_vec(),
                page_size: source.config.page_size,
            };
            let mut lists = Lists::new();
            let on_entry = |group: Entry| {
                for value in group.texts("uniquemember") {
                    let dn = without_uid(value);
                    if dn.len() < value.len()
                        && let (Ok(norm), Some(it)) = (dn::normalize(dn), within_of(&group, name))
                    {
                        lists.entry(norm).or_default().push(it);
                    }
                }
            };
            let ldap = &mut self.connection.ldap;
            let end = search::run(ldap, &search, self.limits, on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                return Err(SourceError { message: fault.message, transient: fault.transient });
            }
            *known = Some((Instant::now(), lists));
        }
        let lists = known.as_ref().zip(dn::normalize(&entry.dn).ok());
        let found = lists.and_then(|((_, lists), norm)| lists.get(&norm));
        Ok(found.cloned().unwrap_or_default())
    }

    async fn users(&mut self, test: &str) -> Result<Vec<Entry>, SourceError> {
        let config = &self.source.config;
        let attributes = self.assembler.shape.user_attributes();
        let (base, filter) = (config.users.base.clone(), both(&config.users.filter, test));
        self.search("users", base, filter, attributes).await
    }

    async fn found_groups(&mut self, test: &str) -> Result<Vec<Entry>, SourceError> {
        let config = &self.source.config;
        let Some(groups) = &config.groups else { return Ok(Vec::new()) };
        // Not the members: there may be many, and one of them is known.
        let attributes = vec!["entryUUID".to_owned(), self.assembler.shape.name.clone()];
        let (base, filter) = (groups.base.clone(), both(&groups.filter, test));
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

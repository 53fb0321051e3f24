//! One person: the entry that has the id or bears the name, then the groups that list it.
//!
//! Groups in groups are the mirror's business: what the person is *directly* in is asked here.
//! Names and DNs go into filters escaped (RFC 4515, section 3).
//!
//! What a full read finds, a look-up must find as well. Two things a plain filter does not: a name
//! in another case where servers compare the attribute exactly (`memberUid`), and a `uniqueMember`
//! with a unique identifier behind its DN, which matches no DN alone (RFC 4517, section 4.2.31).

use std::collections::HashMap;
use std::sync::Arc;

use ldap3::{Scope, ldap_escape};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::assemble::{Assembler, without_uid};
use super::config::MembersFrom;
use super::connect::{Connection, shown};
use super::dialect::{Deleted, PrimaryBy};
use super::domain::account_sid;
use super::dynamic::{self, Dynamic};
use super::entry::Entry;
use super::presence::{Presence, presence};
use super::primary::{self, GroupNumber, Primary};
use super::search::{self, Limits, Search, both};
use super::shape::{Shape, member_of};
use super::{LdapSource, known, ranges, server};
use crate::directory::{Kind, Sighting, Within, dn, value};
use crate::model::Time;
use crate::model::username::UsernameFrom;
use crate::source::{Gone, Looked, SourceError, Who};

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
        ..error
    };
    let limits =
        Limits { operation: config.timeout, deadline: Instant::now() + config.read_timeout };
    let connection = source.connector.connect().await.map_err(named)?;
    let at = |error: SourceError| SourceError {
        message: format!("source `{}`: {}: {}", source.name, shown(&connection.url), error.message),
        ..error
    };
    let dialect = server::recognise(&connection, limits, config.flavor).await.map_err(at)?;
    let shape = Shape::new(&config.users, config.groups.as_ref(), wanted, dialect, now)
        .map_err(|why| named(SourceError::fatal(why.to_string())))?;
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

/// The dynamic groups, and when they were looked through.
#[derive(Default)]
pub(super) struct DynamicGroups(Mutex<Option<(Instant, Arc<ByUrl>)>>);

/// Groups that name members by URLs.
#[derive(Default)]
struct ByUrl {
    dynamic: Dynamic,
    groups: Vec<(Vec<String>, Within)>,
}

/// A filter for `value`, in any case even where servers compare `attribute` exactly.
pub(super) fn in_any_case(attribute: &str, value: &str) -> String {
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

/// Being directly in `group`; nothing where it is one that gives no rights.
fn within_of(group: &Entry, shape: &Shape) -> Option<Within> {
    let dialect = &shape.dialect;
    if !shape.distribution && dialect.is_security_group(group) != Some(true) {
        return None;
    }
    let name = group.text(&shape.name)?.into_owned();
    Some(Within { kind: Kind::Group, key: dialect.group_id(group)?, name: Some(name) })
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
            Who::Id(id) => by_id(id, self.assembler.shape.dialect.person_ids()),
            Who::Named(who) => {
                let attribute = match who.by {
                    UsernameFrom::Username => &users.username,
                    UsernameFrom::Email => &users.email,
                };
                in_any_case(attribute, &who.username)
            }
        };
        let by_url = self.dynamic_groups().await?;
        let entries = self.users(&test, &by_url.dynamic).await?;
        let mut found: Vec<(Entry, String)> = Vec::new();
        for entry in entries {
            let Some(username) = self.assembler.username_of(&entry) else { continue };
            let username = username.into_owned();
            let meant = match who {
                Who::Id(id) => self.id_of(&entry).as_ref() == Some(id),
                Who::Named(who) => who.is(&username, &self.assembler.email_of(&entry)),
            };
            if meant {
                found.push((entry, username));
            }
        }
        let (entry, username) = match (found.pop(), found.is_empty()) {
            (Some(only), true) => only,
            (Some(_), false) => return Ok(Looked::Several),
            (None, _) => return self.nobody(who).await,
        };
        let Some(ext) = self.id_of(&entry) else {
            return Err(SourceError::fatal(format!(
                "`{}` shows no readable `{}`: grant this identity read access to it",
                entry.dn.escape_debug(),
                self.assembler.shape.dialect.id_attribute()
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
        if let Ok(norm) = dn::normalized(&entry.dn) {
            let meant = by_url.groups.iter().filter(|(urls, _)| {
                urls.iter().any(|url| by_url.dynamic.is_shown(url, &entry, &norm))
            });
            within.extend(meant.map(|(_, group)| group.clone()));
        }
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
            sid: account_sid(&entry),
            within,
        };
        sighting.sort();
        Ok(Looked::Found(Box::new(sighting)))
    }

    /// Nothing came: that is a no unless the server hides from us what we must see.
    async fn nobody(&self, who: &Who) -> Result<Looked, SourceError> {
        if let Some(canary) = &self.source.config.canary {
            let found =
                server::canary(&self.connection, self.limits, self.assembler.shape.dialect, canary)
                    .await;
            found.map_err(|why| SourceError::transient(why.to_string()))?;
        }
        Ok(match who {
            Who::Id(id) => self.gone(id).await.map_or(Looked::Nobody, Looked::Gone),
            Who::Named(_) => Looked::Nobody,
        })
    }

    /// What became of whoever has this id and is not among the users, where the server says it.
    async fn gone(&self, id: &str) -> Option<Gone> {
        let dialect = self.assembler.shape.dialect;
        if dialect.deleted != Deleted::Kept || guid(id).is_none() {
            return None;
        }
        let search = Search {
            what: "who is gone",
            base: format!("<GUID={id}>"),
            scope: Scope::Base,
            filter: "(objectClass=*)".to_owned(),
            attributes: vec!["isDeleted".to_owned()],
            page_size: 0,
            as_stored: false,
            dialect: dialect.with_deleted(),
        };
        let mut found = None;
        let mut ldap = self.connection.ldap.clone();
        let on_entry = |entry| found = Some(entry);
        // That nobody is there is certain already: without an answer, or without the right to see the
        // deleted, nothing more is.
        search::run(&mut ldap, &search, self.limits, on_entry, |_| {}).await;
        let entry = found?;
        let norm = dn::normalized(&entry.dn).unwrap_or_default();
        Some(match presence(&entry, &norm) {
            Presence::Gone => Gone::Deleted,
            _ => Gone::Left(entry.dn.clone()),
        })
    }

    /// The groups that list the entry: by its DN, or by its `uid`, which must be its alone; and its
    /// primary group.
    async fn groups(&mut self, entry: &Entry) -> Result<Vec<Within>, SourceError> {
        if self.assembler.shape.from == MembersFrom::MemberOf {
            return self.groups_by_word(entry).await;
        }
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
        entries.extend(self.primary_groups(entry).await?);
        let mut within = self.unfiltered(entry).await?;
        let shape = &self.assembler.shape;
        within.extend(entries.iter().filter_map(|group| within_of(group, shape)));
        Ok(within)
    }

    /// The groups that the entry itself names, and its primary group.
    async fn groups_by_word(&mut self, entry: &Entry) -> Result<Vec<Within>, SourceError> {
        let mut entries = self.primary_groups(entry).await?;
        let base = self.assembler.shape.groups_base.clone().unwrap_or_default();
        for group in member_of(entry) {
            if dn::normalized(group).is_ok_and(|norm| dn::is_under(&norm, &base)) {
                entries.extend(self.group_at(group).await?);
            }
        }
        let shape = &self.assembler.shape;
        Ok(entries.iter().filter_map(|group| within_of(group, shape)).collect())
    }

    /// The entry's primary group.
    async fn primary_groups(&mut self, entry: &Entry) -> Result<Vec<Entry>, SourceError> {
        let shape = &self.assembler.shape;
        if !shape.primary {
            return Ok(Vec::new());
        }
        match primary::user(entry, shape.dialect.primary) {
            Primary::No => Ok(Vec::new()),
            Primary::Of(GroupNumber::Gid(gid)) => {
                self.found_groups(&format!("(&(objectClass=posixGroup)(gidNumber={gid}))")).await
            }
            Primary::Of(GroupNumber::Sid(sid)) => {
                self.found_groups(&format!("(objectSid={})", escaped(sid))).await
            }
            Primary::Hidden if shape.dialect.primary == PrimaryBy::GidNumber => Ok(Vec::new()),
            Primary::Hidden => Err(SourceError::fatal(format!(
                "`{}` shows no readable `{}`, so its primary group is unknown: grant this identity \
                 read access to it",
                entry.dn.escape_debug(),
                primary::of_user(shape.dialect.primary)
            ))),
        }
    }

    /// The stable id of a person.
    fn id_of(&self, entry: &Entry) -> Option<String> {
        self.assembler.shape.dialect.person_id(entry)
    }

    /// Whether one user alone has this `uid`.
    async fn is_alone(&mut self, uid: &str) -> Result<bool, SourceError> {
        let test = format!("(uid={})", ldap_escape(uid));
        let users = self.users(&test, &Dynamic::default()).await?;
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
            let shape = &self.assembler.shape;
            let search = Search {
                what: "groups",
                base: groups.base.clone(),
                scope: Scope::Subtree,
                filter: both(&groups.filter, "(uniqueMember=*)"),
                attributes: group_attributes(shape, &["uniqueMember"]),
                page_size: source.config.page_size,
                as_stored: false,
                dialect: shape.dialect,
            };
            let mut lists = Lists::new();
            let on_entry = |group: Entry| {
                for value in group.texts("uniquemember") {
                    let dn = without_uid(value);
                    if dn.len() < value.len()
                        && let (Ok(norm), Some(it)) = (dn::normalize(dn), within_of(&group, shape))
                    {
                        lists.entry(norm).or_default().push(it);
                    }
                }
            };
            let ldap = &mut self.connection.ldap;
            let end = search::run(ldap, &search, self.limits, on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                return Err(SourceError::from(fault));
            }
            *known = Some((Instant::now(), lists));
        }
        let lists = known.as_ref().zip(dn::normalize(&entry.dn).ok());
        let found = lists.and_then(|((_, lists), norm)| lists.get(&norm));
        Ok(found.cloned().unwrap_or_default())
    }

    /// The groups that name members by URLs. All are looked for, once in [`UNFILTERED_FOR`] at most.
    async fn dynamic_groups(&mut self) -> Result<Arc<ByUrl>, SourceError> {
        let source = self.source;
        let mut known = source.dynamic.0.lock().await;
        if let Some((at, by_url)) = &*known
            && at.elapsed() < UNFILTERED_FOR
        {
            return Ok(by_url.clone());
        }
        let mut by_url = ByUrl::default();
        if self.assembler.shape.from == MembersFrom::Member
            && let Some(groups) = &source.config.groups
        {
            let attributes = group_attributes(&self.assembler.shape, &["memberURL"]);
            let filter = both(&groups.filter, "(memberURL=*)");
            let base = groups.base.clone();
            let found = self.search("groups", base, Scope::Subtree, filter, attributes).await?;
            let shape = &self.assembler.shape;
            let group =
                |entry: &Entry| Some((dynamic::urls_of(entry).collect(), within_of(entry, shape)?));
            by_url.groups = found.iter().filter_map(group).collect();
        }
        if !by_url.groups.is_empty() {
            let urls = by_url.groups.iter().flat_map(|(urls, _)| urls.iter().cloned()).collect();
            let types = known::attribute_types(&self.connection, self.limits).await;
            let (connection, limits) = (&self.connection, self.limits);
            by_url.dynamic = Dynamic::of_server(connection, limits, urls, types.as_ref()).await;
        }
        let by_url = Arc::new(by_url);
        *known = Some((Instant::now(), by_url.clone()));
        Ok(by_url)
    }

    async fn users(&mut self, test: &str, dynamic: &Dynamic) -> Result<Vec<Entry>, SourceError> {
        let config = &self.source.config;
        let attributes = dynamic.with_attributes(self.assembler.shape.user_attributes());
        let (base, filter) = (config.users.base.clone(), both(&config.users.filter, test));
        self.search("users", base, Scope::Subtree, filter, attributes).await
    }

    async fn found_groups(&mut self, test: &str) -> Result<Vec<Entry>, SourceError> {
        let config = &self.source.config;
        let Some(groups) = &config.groups else { return Ok(Vec::new()) };
        let attributes = group_attributes(&self.assembler.shape, &[]);
        let (base, filter) = (groups.base.clone(), both(&groups.filter, test));
        self.search("groups", base, Scope::Subtree, filter, attributes).await
    }

    /// The group with this DN, if it is one of ours.
    async fn group_at(&mut self, dn: &str) -> Result<Vec<Entry>, SourceError> {
        let Some(groups) = &self.source.config.groups else { return Ok(Vec::new()) };
        let attributes = group_attributes(&self.assembler.shape, &[]);
        let filter = both(&groups.filter, "(objectClass=*)");
        self.search("groups", dn.to_owned(), Scope::Base, filter, attributes).await
    }

    async fn search(
        &mut self,
        what: &'static str,
        base: String,
        scope: Scope,
        filter: String,
        attributes: Vec<String>,
    ) -> Result<Vec<Entry>, SourceError> {
        let page_size = if scope == Scope::Base { 0 } else { self.source.config.page_size };
        let dialect = self.assembler.shape.dialect;
        let search =
            Search { what, base, scope, filter, attributes, page_size, as_stored: false, dialect };
        let mut entries = Vec::new();
        let ldap = &mut self.connection.ldap;
        let on_entry = |entry: Entry| {
            let there =
                |norm: &str| presence(&entry, norm).is_there() && !dialect.is_set_aside(norm);
            if dn::normalized(&entry.dn).is_ok_and(|norm| there(&norm)) {
                entries.push(entry);
            }
        };
        let end = ranges::run(ldap, &search, self.limits, on_entry, |_| {}).await;
        match end.fault {
            None => Ok(entries),
            // A group that went away since.
            Some(fault) if scope == Scope::Base && fault.code == Some(32) => Ok(Vec::new()),
            Some(fault) => Err(SourceError::from(fault)),
        }
    }
}

/// What is asked of a group: not the members, of whom there may be many and one is known.
fn group_attributes(shape: &Shape, more: &[&str]) -> Vec<String> {
    let dialect = &shape.dialect;
    let of_type: &[&str] = if dialect.group_types { &["objectClass", "groupType"] } else { &[] };
    let names = [dialect.group_ids(), of_type, more, &[shape.name.as_str()]].concat();
    names.into_iter().map(str::to_owned).collect()
}

/// A filter for the entry with this stable id, in one of these attributes.
pub(super) fn by_id(id: &str, attributes: &[&str]) -> String {
    let text = ldap_escape(id);
    let tests: String = attributes
        .iter()
        .filter_map(|attribute| match *attribute {
            "objectGUID" => Some(format!("(objectGUID={})", escaped(guid(id)?))),
            attribute => Some(format!("({attribute}={text})")),
        })
        .collect();
    // What is no id of that server is nobody's.
    if tests.is_empty() { "(!(objectClass=*))".to_owned() } else { format!("(|{tests})") }
}

/// The bytes of Active Directory's GUID, of which the first three fields are the other way round.
fn guid(id: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = id.chars().filter_map(|c| c.to_digit(16)).collect();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    if digits.len() != 32 || id.chars().any(|c| c != '-' && !c.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .map(|byte| u8::try_from(byte).unwrap_or(0))
        .collect();
    order.into_iter().map(|place: usize| bytes.get(place).copied()).collect()
}

/// Bytes as a filter has them (RFC 4515, section 3).
pub(super) fn escaped(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("\\{byte:02x}")).collect()
}

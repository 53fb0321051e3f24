//! Following a directory: OpenLDAP and 389-DS by content synchronization (RFC 4533), as below; Active
//! Directory in its own ways ([`ad`]).
//!
//! ```text
//! server ─► stream ─► inbox (ids and names) ─► work (each is read again) ─► draft ─► Delta + cookie
//!                                                ▲ memory (id ↔ name)
//!                                                ▲ MirrorView
//! ```
//!
//! One search watches the lowest entry above the bases of users and groups, for every entry there: a
//! filter on what can change would hide who leaves it. It asks for ids alone; what is told is which
//! entries changed, and each is read again as a full read would ([`work`]). So a group of 50,000 comes
//! once however often it changes meanwhile, and no server's way of leaving things out counts.
//!
//! What may take away: an entry that the server says is gone, and one that is there under its id and
//! that the filter leaves out. Where the server cannot vouch for the deletions since the cookie, the
//! cookie is not sent ([`server`]); where it says who is there instead of who is gone, and wherever else
//! something is odd, a full read is asked for.
//!
//! Held in memory: the names of all entries below the two bases ([`index`], about 130 bytes each), and
//! of what waits its id and name ([`inbox`]). Nothing else grows with the directory, and a change costs
//! what it touches: one search for each entry, one more for a new name, and the groups that list it.
//! The names are read once, when following begins.
//!
//! Not told, so left to the periodic full read: an account that expires by the clock, an account locked by
//! a role that is computed, members by a URL that only the server evaluates, a change of access rules, members
//! outside the bases, an entry above the bases that is renamed.

mod ad;
mod ask;
mod cursor;
mod draft;
mod drive;
mod followed;
mod follower;
mod groups;
mod inbox;
mod index;
mod meaning;
mod memory;
mod server;
mod stream;
mod url_groups;
mod wire;
mod witness;
mod work;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ldap3::{Ldap, Scope};
use tokio::sync::watch;
use tokio::time::Instant;

use self::ask::Asker;
use self::cursor::{Bookmark, Key};
use self::followed::{Answers, Followed};
use self::follower::{Follower, Place};
use self::index::Index;
use self::meaning::Lists;
use self::memory::{Memory, Wants};
use self::server::{Kind, Provider, Server};
use self::url_groups::UrlGroups;
use self::wire::Id;
use self::witness::Witnesses;
use super::config::{LdapConfig, MembersFrom};
use super::connect::{Connection, Connector, shown};
use super::dialect::Dialect;
use super::entry::Entry;
use super::explain::Fault;
use super::lists::Classes;
use super::search::{self, Limits, Search};
use super::shape::Shape;
use super::types::Types;
use super::{LdapSource, known};
use crate::directory::{Cursor, Interest, dn};
use crate::model::FollowMode;
use crate::source::SourceError;
use crate::source::feed::{
    Feed, FollowState, Mark, MirrorView, NoAnswer, NotFollowed, Start, WhyFull,
};

/// All entries: a filter on what can change would hide who leaves it.
const EVERYTHING: &str = "(objectClass=*)";

/// Why following stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// A full read is needed.
    Read(WhyFull),
    /// It cannot be followed.
    Not(NotFollowed),
    /// Something broke.
    Fault(Fault),
}

impl From<WhyFull> for Stop {
    fn from(why: WhyFull) -> Self {
        Stop::Read(why)
    }
}

impl From<NoAnswer> for Stop {
    fn from(error: NoAnswer) -> Self {
        Stop::Fault(Fault::local(error.to_string(), true))
    }
}

/// What is followed, and how it is read.
pub(super) struct Origin {
    name: String,
    config: LdapConfig,
    connector: Connector,
    shape: Shape,
    user_attributes: Vec<String>,
    group_attributes: Vec<String>,
    /// Attribute values that rules name.
    values: Vec<String>,
}

impl Origin {
    fn new(
        source: &LdapSource,
        interest: &dyn Interest,
        dialect: Dialect,
    ) -> Result<Self, SourceError> {
        let LdapSource { name, config, connector, .. } = source;
        let now = crate::model::Time::default();
        let groups = config.groups.as_ref();
        let shape = Shape::new(&config.users, groups, interest.attributes(), dialect, now)
            .map_err(|why| SourceError::fatal(format!("source `{name}`: {why}")))?;
        let (mut user_attributes, mut group_attributes) =
            (shape.user_attributes(), shape.group_attributes());
        for attributes in [&mut user_attributes, &mut group_attributes] {
            for id in ["entryUUID", "nsUniqueId"] {
                if !attributes.iter().any(|known| known.eq_ignore_ascii_case(id)) {
                    attributes.push(id.to_owned());
                }
            }
        }
        let mut values: Vec<String> = shape.wanted.iter().map(|it| it.identity.clone()).collect();
        values.sort_unstable();
        Ok(Origin {
            name: name.clone(),
            config: config.clone(),
            connector: connector.clone(),
            shape,
            user_attributes,
            group_attributes,
            values,
        })
    }

    fn limits(&self) -> Limits {
        from_now(&self.config)
    }

    /// An error with the source's name and the server's.
    fn at(&self, connection: &Connection, fault: Fault) -> SourceError {
        let server = shown(&connection.url);
        SourceError {
            message: format!("source `{}`: {server}: {}", self.name, fault.message),
            ..SourceError::from(fault)
        }
    }

    /// What a cookie of `connection`'s server belongs to.
    fn key(&self, connection: &Connection, base: &str) -> Key {
        let LdapConfig { users, groups, bind_dn, kerberos, client_cert, .. } = &self.config;
        let mut filter = vec![users.base.clone(), users.filter.clone()];
        if let Some(groups) = groups {
            filter.extend([groups.base.clone(), groups.filter.clone()]);
            filter.extend([format!("{} {}", groups.nested, groups.primary)]);
        }
        let lists = [&self.user_attributes, &self.group_attributes, &self.values];
        Key {
            server: shown(&connection.url),
            base: base.to_owned(),
            filter,
            attributes: lists.into_iter().flatten().cloned().collect(),
            identity: match (bind_dn, client_cert) {
                _ if *kerberos => "GSSAPI".to_owned(),
                (Some(dn), _) => dn.clone(),
                (None, Some(cert)) => cert.cert_file.display().to_string(),
                (None, None) => String::new(),
            },
        }
    }

    /// The names of all entries below the bases.
    /// `seen`: where it may be that what was told is undone without a word, gets those that changed last.
    async fn names(
        &self,
        ldap: &mut Ldap,
        wants: Wants,
        mut seen: Option<&mut Witnesses>,
    ) -> Result<Index, Fault> {
        let mut index = Index::default();
        let dialect = self.shape.dialect;
        let users = self.config.users.base.as_str();
        let mut bases = vec![users];
        if let (Some(groups), Some(norm)) = (&self.config.groups, &self.shape.groups_base) {
            if dn::is_under(&self.shape.users_base, norm) {
                bases = vec![groups.base.as_str()];
            } else if !dn::is_under(norm, &self.shape.users_base) {
                bases.push(groups.base.as_str());
            }
        }
        let mut attributes: BTreeSet<&str> = ["entryUUID", "nsUniqueId"].into();
        attributes.extend(dialect.person_ids());
        attributes.extend(dialect.ids_go_by_class().then_some("objectClass"));
        attributes.extend(wants.uids.then_some("uid"));
        attributes.extend(wants.gid.then_some("gidNumber"));
        attributes.extend(seen.is_some().then_some(witness::CHANGED));
        let attributes: Vec<String> = attributes.into_iter().map(str::to_owned).collect();
        for base in bases {
            let search = Search {
                what: "names",
                base: base.to_owned(),
                scope: Scope::Subtree,
                filter: EVERYTHING.to_owned(),
                attributes: attributes.clone(),
                page_size: self.config.page_size,
                as_stored: false,
                dialect,
            };
            let on_entry = |entry: Entry| {
                if let (Some(id), Ok(norm)) = (Id::of(&entry), dn::normalized(&entry.dn)) {
                    index.put(id, wants.slot(id, &entry, &norm, dialect));
                    if let Some(seen) = &mut seen {
                        seen.there(id, &entry);
                    }
                }
            };
            let end = search::run(ldap, &search, self.limits(), on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                return Err(fault);
            }
        }
        Ok(index)
    }

    /// What tells whether groups show all of their members.
    async fn lists(&self, connection: &Connection) -> Lists {
        let schema = known::object_classes(connection, self.limits()).await;
        Lists { classes: Classes::default(), schema, expanded: HashSet::new() }
    }

    /// What a feed must know besides the mirror.
    async fn memory(
        &self,
        connection: &Connection,
        provider: Provider,
        types: Option<&Types>,
    ) -> Result<Memory, Stop> {
        let mut ask = Asker { origin: self, ldap: connection.ldap.clone() };
        let uids = ask.some_group_has("memberUid").await?;
        let wants = Wants { uids, gid: self.shape.primary };
        let mut seen = Witnesses::default();
        let to = (provider == Provider::Ds389).then_some(&mut seen);
        let index = self.names(&mut ask.ldap, wants, to).await.map_err(Stop::Fault)?;
        let mut lists = self.lists(connection).await;
        Ok(Memory {
            index,
            wants,
            urls: UrlGroups::read(&mut ask, &mut lists, types).await?,
            lists,
            nowhere: HashSet::new(),
            mending: memory::mending(provider),
            unsettled: HashMap::new(),
            keeps_names: false,
            seen,
            is_undone: false,
            undo: None,
        })
    }
}

/// The deadlines of what begins now.
fn from_now(config: &LdapConfig) -> Limits {
    Limits { operation: config.timeout, deadline: Instant::now() + config.read_timeout }
}

impl Feed for LdapSource {
    fn mark<'a>(&'a self, interest: &'a dyn Interest) -> BoxFuture<'a, Result<Mark, SourceError>> {
        async move {
            let (connection, server, base) = match begin(self, None).await? {
                Begun::Sync(begun) => *begun,
                Begun::ActiveDirectory(connection) => {
                    return ad::mark(self, interest, connection).await;
                }
                Begun::Not(why) => return Ok(Mark::Not(why)),
            };
            let origin = Origin::new(self, interest, server.dialect)?;
            match stream::cookie(&origin, &connection, &base).await {
                Ok(cookie) => match origin.key(&connection, &base).cursor(&cookie) {
                    Some(cursor) => {
                        self.marked(connection);
                        Ok(Mark::At(cursor))
                    }
                    None => Ok(Mark::Not(NotFollowed::Refused(cursor::NoText.to_string()))),
                },
                Err(Stop::Not(why)) => Ok(Mark::Not(why)),
                Err(Stop::Read(why)) => Ok(Mark::Not(NotFollowed::Refused(why.to_string()))),
                Err(Stop::Fault(fault)) => Err(origin.at(&connection, fault)),
            }
        }
        .boxed()
    }

    fn stays<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<bool, SourceError>> {
        async move {
            if ad::stays(self, cursor).await? {
                return Ok(true);
            }
            let Some(server) = cursor::server_of(cursor) else { return Ok(true) };
            let connection = self.connector.connect_only_to(&server).await;
            self.marked(connection.map_err(|error| SourceError {
                message: format!("source `{}`: {}", self.name, error.message),
                ..error
            })?);
            Ok(true)
        }
        .boxed()
    }

    fn follow<'a>(
        &'a self,
        interest: &'a dyn Interest,
        cursor: Option<Cursor>,
        mirror: Arc<dyn MirrorView>,
    ) -> BoxFuture<'a, Result<Start<'a>, SourceError>> {
        async move {
            let Some(cursor) = cursor else { return Ok(Start::Read(WhyFull::NoCursor)) };
            let rather = cursor::server_of(&cursor);
            let (connection, server, base) = match begin(self, rather.as_deref()).await? {
                Begun::Sync(begun) => *begun,
                Begun::ActiveDirectory(connection) => {
                    return ad::follow(self, interest, connection, cursor, mirror).await;
                }
                Begun::Not(why) => return Ok(Start::Not(why)),
            };
            let mut origin = Origin::new(self, interest, server.dialect)?;
            let key = origin.key(&connection, &base);
            let sent = key.cookie(&cursor).and_then(|cookie| {
                server.accepts(&cookie)?;
                Ok(cookie)
            });
            let cookie = match sent {
                Ok(cookie) => cookie,
                Err(why) => return Ok(Start::Read(why)),
            };
            let types = known::attribute_types(&connection, origin.limits()).await;
            let memory = origin.memory(&connection, server.provider, types.as_ref()).await;
            let mut memory = match memory {
                Ok(memory) => memory,
                Err(Stop::Read(why)) => return Ok(Start::Read(why)),
                Err(Stop::Not(why)) => return Ok(Start::Not(why)),
                Err(Stop::Fault(fault)) if fault.transient => {
                    return Err(origin.at(&connection, fault));
                }
                Err(Stop::Fault(fault)) => {
                    return Ok(Start::Not(NotFollowed::Refused(fault.message)));
                }
            };
            let seen = cursor::witnesses_of(&cursor);
            if !seen.is_empty() {
                memory.seen = seen;
            }
            let attributes = std::mem::take(&mut origin.user_attributes);
            // After the key was made: a cookie outlives a change of the schema, and of the URLs of groups.
            origin.user_attributes = known::asked(attributes, types.as_ref());
            for attributes in [&mut origin.user_attributes, &mut origin.group_attributes] {
                memory.urls.add_attributes(attributes);
            }
            if server.provider == Provider::Ds389 {
                origin.user_attributes.push(witness::CHANGED.to_owned());
                origin.group_attributes.push(witness::CHANGED.to_owned());
            }
            let now = chrono::Utc::now();
            let (states, state) = watch::channel(FollowState::new(FollowMode::Persist, now));
            let mark = Bookmark::new(key, cursor, cookie);
            let at = Place { mark, url: connection.url.clone(), base };
            let follower = Follower::new(origin, mirror, memory, at, states);
            let first = (connection, server.provider);
            let run = |asked, told| follower.run(first, asked, told);
            Ok(Start::Here(Box::new(Followed::new(&self.name, state, run))))
        }
        .boxed()
    }
}

/// What this identity lacks to be told of all changes; nothing where the full read says all that is wrong.
pub(super) async fn lacks(source: &LdapSource, interest: &dyn Interest) -> Option<&'static str> {
    match begin(source, None).await {
        Ok(Begun::ActiveDirectory(connection)) => ad::lacks(source, interest, &connection).await,
        _ => None,
    }
}

/// A connection, and how what is there can be followed.
enum Begun {
    /// By content synchronization below this base.
    Sync(Box<(Connection, Server, String)>),
    /// In the ways of Active Directory.
    ActiveDirectory(Connection),
    /// Not at all.
    Not(NotFollowed),
}

/// A connection, to the server `rather` where that is one of the source's and answers, and how what is there
/// can be followed.
async fn begin(source: &LdapSource, rather: Option<&str>) -> Result<Begun, SourceError> {
    let LdapSource { name, config, connector, .. } = source;
    if config.groups.as_ref().is_some_and(|groups| groups.from == MembersFrom::MemberOf) {
        let why = "with `groups.from = \"memberOf\"` changes are not told: servers that compute \
                   `memberOf` say nothing of it";
        return Ok(Begun::Not(NotFollowed::Refused(why.to_owned())));
    }
    let connection = match rather {
        Some(server) => connector.connect_rather_to(server).await,
        None => connector.connect().await,
    };
    let connection = connection.map_err(|error| SourceError {
        message: format!("source `{name}`: {}", error.message),
        ..error
    })?;
    recognise(name, config, connection).await
}

/// How what is behind `connection` can be followed.
async fn recognise(
    name: &str,
    config: &LdapConfig,
    connection: Connection,
) -> Result<Begun, SourceError> {
    let fatal = |why: String| SourceError::fatal(format!("source `{name}`: {why}"));
    let limits = from_now(config);
    let kind = Server::ask(&connection, limits, config.flavor).await;
    let server = match kind.map_err(|fault| SourceError {
        message: format!("source `{name}`: {}: {}", shown(&connection.url), fault.message),
        ..SourceError::from(fault)
    })? {
        Kind::Sync(server) => server,
        Kind::ActiveDirectory => return Ok(Begun::ActiveDirectory(connection)),
        Kind::Not(why) => return Ok(Begun::Not(why)),
    };
    let normal = |base: &str| dn::normalize(base).map_err(|error| fatal(error.to_string()));
    let users = normal(&config.users.base)?;
    let groups = config.groups.as_ref().map(|groups| normal(&groups.base)).transpose()?;
    Ok(match server.above(&users, groups.as_deref()) {
        Ok(base) => Begun::Sync(Box::new((connection, server, base))),
        Err(why) => Begun::Not(why),
    })
}

//! An LDAP directory.
//!
//! ```text
//! connect ─► search (users ∥ groups) ─► entry ─► assemble ─► finish ─► Snapshot
//!                                                   ▲
//!                           file::ldif ─► filter ───┘
//! ```
//!
//! The rules that keep a read honest: an error is never an empty list ([`search`]); who changes
//! its name in mid-read is looked for ([`read`]); what is hidden is not absent ([`finish`]); names
//! compare as the directory compares them ([`dn`](crate::directory::dn), [`value`](crate::directory::value)); ids, not names, say who is who, and of
//! several values one rule says which counts ([`entry`]); what an ordinary search does not return is
//! not there ([`presence`]); whom a URL means is said only where the server would find the same
//! ([`dynamic`]). OpenLDAP, 389-DS with FreeIPA, and Active Directory each have ways of their own
//! to tell things and to leave them out: those are in [`dialect`].

pub mod account;
mod address;
mod assemble;
mod by_url;
mod check;
mod config;
mod connect;
pub mod dialect;
mod dns;
mod domain;
pub mod dynamic;
pub mod entry;
mod explain;
mod extensible;
mod feed;
pub mod filter;
mod finish;
pub mod kerberos;
mod known;
mod lists;
mod lookup;
mod member_url;
mod names;
pub mod options;
pub mod presence;
mod primary;
mod ranges;
mod read;
mod refused;
pub mod roles;
pub mod schema;
mod search;
mod server;
mod shape;
mod sides;
mod tally;
pub mod time;
mod tls;
mod types;

use std::sync::PoisonError;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub use address::{Domain, Server};
pub use assemble::Assembler;
pub(crate) use config::Ldap;
pub use config::{ClientCert, Flavor, LdapConfig, LdapGroups, LdapUsers, MembersFrom};
pub(super) use config::{encode_groups, groups, users};
pub use finish::Verdict;
pub use shape::Shape;

use self::connect::{Connection, Connector};
use self::dialect::Dialect;
use super::feed::Feed;
use super::{FullRead, Looked, Lookup, OnProgress, Source, SourceError, Who};
use crate::directory::{Interest, Snapshot, dn};
use crate::model::Diagnostic;

/// A directory that is read over LDAP.
pub struct LdapSource {
    name: String,
    config: LdapConfig,
    connector: Connector,
    /// For look-ups: members that no filter finds.
    unfiltered: lookup::Unfiltered,
    /// For look-ups: groups that name members by URLs.
    dynamic: lookup::DynamicGroups,
    /// Where the feed's place was asked for, for the read that follows.
    marked: std::sync::Mutex<Option<Connection>>,
}

impl LdapSource {
    /// Makes a source of its configuration: reads the password and the CA file, checks names and
    /// filters. Opens no connection.
    ///
    /// # Errors
    /// One of them cannot be read or is not what it should be; none of these is transient.
    pub fn new(name: &str, config: &LdapConfig) -> Result<Self, SourceError> {
        let fatal = |what: String| SourceError::fatal(format!("source `{name}`: {what}"));
        if config.urls.is_empty() {
            return Err(fatal("`url` names no server".to_owned()));
        }
        let users = ("users", &config.users.filter);
        let groups = config.groups.as_ref().map(|groups| ("groups", &groups.filter));
        for (key, text) in [users].into_iter().chain(groups) {
            if ldap3::parse_filter(text).is_err() {
                let why = match filter::Filter::parse(text) {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("`{}` is not a search filter", text.escape_debug()),
                };
                return Err(fatal(format!("`{key}.filter`: {why}")));
            }
        }
        let now = crate::model::Time::default();
        Shape::new(&config.users, config.groups.as_ref(), &[], Dialect::OPENLDAP, now)
            .map_err(|why| fatal(why.to_string()))?;
        if let Some(canary) = &config.canary {
            dn::normalize(canary).map_err(|error| fatal(format!("`canary`: {error}")))?;
        }
        let connector = Connector::new(name, config)?;
        Ok(LdapSource {
            name: name.to_owned(),
            config: config.clone(),
            connector,
            unfiltered: lookup::Unfiltered::default(),
            dynamic: lookup::DynamicGroups::default(),
            marked: std::sync::Mutex::default(),
        })
    }

    /// The read that follows is to go over this connection: the feed's place is one of its server's.
    fn marked(&self, connection: Connection) {
        *self.marked.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    /// The connection for a read.
    async fn for_reading(&self) -> Result<Connection, SourceError> {
        let marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner).take();
        match marked {
            Some(connection) => Ok(connection),
            None => self.connector.connect().await,
        }
    }
}

impl Source for LdapSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn as_lookup(&self) -> Option<&dyn Lookup> {
        Some(self)
    }

    fn as_feed(&self) -> Option<&dyn Feed> {
        Some(self)
    }

    fn check<'a>(&'a self, interest: &'a dyn Interest) -> BoxFuture<'a, Vec<Diagnostic>> {
        check::check(self, interest, chrono::Utc::now()).boxed()
    }
}

impl FullRead for LdapSource {
    fn read<'a>(
        &'a self,
        interest: &'a dyn Interest,
        progress: OnProgress,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        read::read(self, interest, read::Sides::One, chrono::Utc::now(), progress).boxed()
    }
}

impl Lookup for LdapSource {
    fn lookup<'a>(
        &'a self,
        interest: &'a dyn Interest,
        who: &'a Who,
    ) -> BoxFuture<'a, Result<Looked, SourceError>> {
        lookup::lookup(self, interest.attributes(), who, chrono::Utc::now()).boxed()
    }
}

//! What a domain controller says of itself.

use ldap3::Scope;

use super::super::{EVERYTHING, Stop};
use crate::directory::dn;
use crate::source::feed::NotFollowed;
use crate::source::ldap::connect::Connection;
use crate::source::ldap::dialect::Dialect;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::explain::Fault;
use crate::source::ldap::search::{self, Limits, Search};
use crate::source::ldap::shape::Shape;

/// A domain controller, as far as its feed depends on that.
#[derive(Clone, Debug)]
pub(super) struct Dc {
    /// Its domain, as spelled.
    pub domain: String,
    /// The same in normal form.
    pub norm: String,
    /// The database that its numbers belong to (`invocationId`).
    pub database: String,
    /// The number of its last change.
    pub usn: u64,
}

impl Dc {
    /// Asks it.
    pub async fn ask(connection: &Connection, limits: Limits) -> Result<Self, Stop> {
        let root = root(connection, limits, &["defaultNamingContext", "dsServiceName", USN]).await;
        let root = root.map_err(Stop::Fault)?;
        let text = |name: &str| root.text(name).map(|text| text.into_owned());
        let (Some(domain), Some(service), Some(usn)) =
            (text("defaultnamingcontext"), text("dsservicename"), number(&root))
        else {
            return Err(silent("its domain, its settings or the number of its last change"));
        };
        let search = Search { what: "its settings", ..of_one(service, &["invocationId"]) };
        let mut settings = None;
        let mut ldap = connection.ldap.clone();
        let on_entry = |entry| settings = Some(entry);
        let end = search::run(&mut ldap, &search, limits, on_entry, |_| {}).await;
        if let Some(fault) = end.fault.filter(|fault| fault.transient || fault.code.is_none()) {
            return Err(Stop::Fault(fault));
        }
        let settings = settings.unwrap_or_default();
        let Some(id) = settings.values("invocationid").first() else {
            return Err(silent("`invocationId` of its settings"));
        };
        Ok(Dc {
            norm: dn::normalize(&domain).map_err(|_| silent("its domain"))?,
            domain,
            database: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            usn,
        })
    }

    /// Whether users and groups are in its domain.
    ///
    /// # Errors
    /// They are not, or not all.
    pub fn holds(&self, shape: &Shape) -> Result<(), Stop> {
        let mut bases = shape.groups_base.iter().chain([&shape.users_base]);
        if bases.all(|base| dn::is_under(base, &self.norm)) {
            return Ok(());
        }
        let domain = self.domain.escape_debug();
        let why = format!("the bases of users and groups are not both in the domain `{domain}`");
        Err(Stop::Not(NotFollowed::Refused(why)))
    }
}

/// The number of the last change, which only what is committed has.
const USN: &str = "highestCommittedUSN";

fn number(root: &Entry) -> Option<u64> {
    root.text("highestcommittedusn")?.trim().parse().ok()
}

fn silent(what: &str) -> Stop {
    Stop::Not(NotFollowed::Refused(format!("the server does not show {what}")))
}

/// The number of the last change now.
pub(super) async fn usn(connection: &Connection, limits: Limits) -> Result<u64, Stop> {
    let root = root(connection, limits, &[USN]).await.map_err(Stop::Fault)?;
    number(&root).ok_or_else(|| silent("the number of its last change"))
}

async fn root(
    connection: &Connection,
    limits: Limits,
    attributes: &[&str],
) -> Result<Entry, Fault> {
    let mut root = Entry::default();
    let mut ldap = connection.ldap.clone();
    let search = of_one(String::new(), attributes);
    let end = search::run(&mut ldap, &search, limits, |entry| root = entry, |_| {}).await;
    end.fault.map_or(Ok(root), Err)
}

/// A search for one entry.
pub(super) fn of_one(base: String, attributes: &[&str]) -> Search {
    Search {
        what: "the root DSE",
        base,
        scope: Scope::Base,
        filter: EVERYTHING.to_owned(),
        attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
        page_size: 0,
        as_stored: false,
        dialect: Dialect::ACTIVE_DIRECTORY,
    }
}

//! What kind of server this is, and whether it shows us what it must.

use ldap3::Scope;

use super::config::Flavor;
use super::connect::Connection;
use super::dialect::Dialect;
use super::entry::Entry;
use super::explain::Fault;
use super::search::{self, Limits, Search};
use crate::source::SourceError;

/// Reads the root DSE and says what the ways of this server are.
///
/// # Errors
/// It does not answer.
pub(super) async fn recognise(
    connection: &Connection,
    limits: Limits,
    configured: Flavor,
) -> Result<Dialect, SourceError> {
    let search = Search {
        what: "the root DSE",
        base: String::new(),
        scope: Scope::Base,
        filter: "(objectClass=*)".to_owned(),
        attributes: [
            "objectClass",
            "vendorName",
            "vendorVersion",
            "forestFunctionality",
            "dsServiceName",
        ]
        .map(str::to_owned)
        .to_vec(),
        page_size: 0,
        as_stored: false,
        dialect: Dialect::OPENLDAP,
    };
    let mut root = Entry::default();
    let mut ldap = connection.ldap.clone();
    let end = search::run(&mut ldap, &search, limits, |entry| root = entry, |_| {}).await;
    // What passes by itself says nothing of the server's kind, and to take it for another kind would
    // make others of its people.
    if let Some(fault) = end.fault
        && (fault.code.is_none() || fault.transient)
    {
        return Err(SourceError::from(fault));
    }
    // A server may hide its root DSE: then the configured flavor stands, else OpenLDAP's ways.
    Ok(Dialect::of(match (told_by(&root), configured) {
        (Some(told), Flavor::Auto) => told,
        (_, configured) => configured,
    }))
}

/// Whether both connections lead to one server. Of several domain controllers behind one name each knows
/// what the others have told it so far; other kinds of servers do not tell, and are taken for one.
pub(super) async fn is_one(first: &Connection, second: &Connection, limits: Limits) -> bool {
    let mut services = Vec::new();
    for connection in [first, second] {
        let search = Search {
            what: "the root DSE",
            base: String::new(),
            scope: Scope::Base,
            filter: "(objectClass=*)".to_owned(),
            attributes: vec!["dsServiceName".to_owned()],
            page_size: 0,
            as_stored: false,
            dialect: Dialect::OPENLDAP,
        };
        let mut root = Entry::default();
        let mut ldap = connection.ldap.clone();
        search::run(&mut ldap, &search, limits, |entry| root = entry, |_| {}).await;
        services.push(root.text("dsservicename").map(|text| text.into_owned()));
    }
    services.windows(2).all(|pair| pair.first() == pair.last())
}

pub(super) fn told_by(root: &Entry) -> Option<Flavor> {
    let vendor = |name: &str| root.text(name).unwrap_or_default().to_ascii_lowercase();
    if root.is_a("openldaprootdse") {
        Some(Flavor::OpenLdap)
    } else if vendor("vendorname").contains("389") || vendor("vendorversion").contains("389") {
        Some(Flavor::Ds389)
    } else if root.has("forestfunctionality") || root.has("dsservicename") {
        Some(Flavor::ActiveDirectory)
    } else {
        None
    }
}

/// Why everything may be hidden that is not seen. Each is a reason for making every scope partial.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum CanaryFault {
    #[error("the canary `{}` cannot be read: {}", dn.escape_debug(), fault.message)]
    Unreadable { dn: String, fault: Fault },
    #[error(
        "the canary `{}` cannot be read: the server's access rules hide it, and so perhaps others",
        .0.escape_debug()
    )]
    Hidden(String),
    #[error(
        "the canary `{}` is a group and shows no members: the server's access rules hide them",
        .0.escape_debug()
    )]
    NoMembers(String),
}

/// Whether the entry `dn` can be read, and has members where it is a group.
///
/// # Errors
/// It is not.
pub(super) async fn canary(
    connection: &Connection,
    limits: Limits,
    dialect: Dialect,
    dn: &str,
) -> Result<(), CanaryFault> {
    let search = Search {
        what: "the canary",
        base: dn.to_owned(),
        scope: Scope::Base,
        filter: "(objectClass=*)".to_owned(),
        attributes: ["objectClass", "member", "uniqueMember", "memberUid"]
            .map(str::to_owned)
            .to_vec(),
        page_size: 0,
        as_stored: false,
        dialect,
    };
    let mut found = None;
    let mut ldap = connection.ldap.clone();
    let end = search::run(&mut ldap, &search, limits, |entry| found = Some(entry), |_| {}).await;
    if let Some(fault) = end.fault {
        return Err(CanaryFault::Unreadable { dn: dn.to_owned(), fault });
    }
    let Some(found) = found else { return Err(CanaryFault::Hidden(dn.to_owned())) };
    let group = ["groupofnames", "groupofuniquenames", "posixgroup", "group"];
    let members = ["member", "uniquemember", "memberuid"];
    let shows = members.iter().any(|name| found.has(name)) || !found.ranged.is_empty();
    if group.iter().any(|class| found.is_a(class)) && !shows {
        return Err(CanaryFault::NoMembers(dn.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_dse_tells_the_kind_of_server() {
        let root = |name: &str, value: &str| {
            let mut entry = Entry::default();
            entry.add(name, [value.as_bytes().to_vec()]);
            told_by(&entry)
        };
        assert_eq!(root("objectClass", "OpenLDAProotDSE"), Some(Flavor::OpenLdap));
        assert_eq!(root("vendorName", "389 Project"), Some(Flavor::Ds389));
        assert_eq!(root("vendorVersion", "389-Directory/2.3.1"), Some(Flavor::Ds389));
        assert_eq!(root("forestFunctionality", "7"), Some(Flavor::ActiveDirectory));
        assert_eq!(root("dsServiceName", "CN=NTDS"), Some(Flavor::ActiveDirectory));
        assert_eq!(root("vendorName", "Apache"), None);
    }
}

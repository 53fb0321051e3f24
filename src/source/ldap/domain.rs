//! Active Directory beyond one domain: which domain a server is of, which of its SIDs somebody bears,
//! and which SIDs of others its groups list.
//!
//! A group lists a member of another domain by a foreign security principal, an entry in
//! `CN=ForeignSecurityPrincipals` that is named by the SID and bears it (MS-ADTS, section 6.1.1.4.10).
//! For whom that stands only the other domain can say.

use std::collections::{BTreeSet, HashMap};

use ldap3::Scope;

use super::connect::Connection;
use super::dialect::Dialect;
use super::entry::Entry;
use super::known::one;
use super::primary;
use super::search::{self, Limits, Search};
use crate::directory::{AccountSid, DomainSid, OwnDomain, Rid, dn};

/// The domain that is read.
pub(super) type Domain = OwnDomain<DomainSid>;

/// Asks the server which domain it is of, where it is of a kind that has them.
pub(super) async fn own(connection: &Connection, limits: Limits, dialect: Dialect) -> Domain {
    if !dialect.foreign_principals {
        return OwnDomain::None;
    }
    sid(connection, limits).await.map_or(OwnDomain::Unread, OwnDomain::Of)
}

/// What an entry of `domain` shows of its SID.
pub(super) fn rid_of(domain: &Domain, entry: &Entry) -> Rid {
    let (OwnDomain::Of(domain), Some(sid)) = (domain, primary::sid(entry)) else {
        return Rid::Unread;
    };
    match AccountSid::of_bytes(sid) {
        Some(sid) if sid.domain() == domain => sid.rid(),
        Some(_) | None => Rid::Elsewhere,
    }
}

/// The SID of the domain that the server is of.
async fn sid(connection: &Connection, limits: Limits) -> Option<DomainSid> {
    const CONTEXT: &str = "defaultNamingContext";
    let root = one(connection, limits, String::new(), CONTEXT).await?;
    let domain = root.text(&CONTEXT.to_ascii_lowercase())?.into_owned();
    let domain = one(connection, limits, domain, "objectSid").await?;
    DomainSid::of_bytes(primary::sid(&domain)?)
}

/// The SIDs that foreign security principals bear, by their DN in normal form.
#[derive(Debug, Default)]
pub(super) struct Principals(HashMap<String, Option<AccountSid>>);

impl Principals {
    /// Reads those that stand where `dns` (in normal form) do. Whatever is not to be seen has the SID that
    /// it is named by.
    pub async fn read(
        connection: &Connection,
        limits: Limits,
        (dialect, page_size): (Dialect, u32),
        dns: &BTreeSet<String>,
    ) -> Self {
        let parents = dns.iter().filter_map(|norm| Some(norm.split_once(',')?.1));
        let mut found = Principals::default();
        for parent in parents.collect::<BTreeSet<_>>() {
            let search = Search {
                what: "foreign security principals",
                base: parent.to_owned(),
                scope: Scope::OneLevel,
                filter: "(objectClass=foreignSecurityPrincipal)".to_owned(),
                attributes: vec!["objectSid".to_owned()],
                page_size,
                as_stored: false,
                dialect,
            };
            let mut ldap = connection.ldap.clone();
            let on_entry = |entry: Entry| found.take(&entry);
            let end = search::run(&mut ldap, &search, limits, on_entry, |_| {}).await;
            if let Some(fault) = end.fault {
                tracing::debug!(%parent, why = %fault.message, "foreign security principals");
            }
        }
        found
    }

    fn take(&mut self, entry: &Entry) {
        if let (Ok(norm), Some(sid)) = (dn::normalized(&entry.dn), primary::sid(entry)) {
            self.0.insert(norm.into_owned(), AccountSid::of_bytes(sid));
        }
    }

    /// The SID of a domain's person or group that the principal at this DN (in normal form) bears.
    pub fn sid_of(&self, norm: &str) -> Option<AccountSid> {
        match self.0.get(norm) {
            Some(sid) => sid.clone(),
            None => AccountSid::of_text(dn::first_rdn(norm).split_once('=')?.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid_of(parts: &[u32]) -> Vec<u8> {
        let mut sid = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, 5];
        sid.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        sid
    }

    fn entry(dn: &str, parts: &[u32]) -> Entry {
        let mut entry = Entry::new(dn.to_owned());
        entry.add("objectSid", [sid_of(parts)]);
        entry
    }

    #[test]
    fn nobody_bears_a_sid_of_another_domain_than_the_one_that_is_read() {
        let domain = OwnDomain::Of(DomainSid::of_bytes(&sid_of(&[21, 1, 2, 3])).unwrap());
        let own = entry("cn=a,dc=x", &[21, 1, 2, 3, 1105]);
        assert_eq!(rid_of(&domain, &own).code(), Some(1105));
        assert_eq!(rid_of(&domain, &entry("cn=a,dc=x", &[21, 1, 2, 4, 1105])), Rid::Elsewhere);
        assert_eq!(rid_of(&domain, &entry("cn=a,dc=x", &[32, 544])), Rid::Elsewhere);
        assert_eq!(rid_of(&domain, &Entry::new("cn=a,dc=x".to_owned())), Rid::Unread);
        assert_eq!(rid_of(&OwnDomain::Unread, &own), Rid::Unread);
        assert_eq!(rid_of(&OwnDomain::None, &own), Rid::Unread);
    }

    #[test]
    fn a_foreign_principal_has_the_sid_that_it_bears_and_where_that_is_hidden_the_one_in_its_name()
    {
        let at = |name: &str| format!("cn={name},cn=foreignsecurityprincipals,dc=x");
        let mut found = Principals::default();
        found.take(&entry(&at("S-1-5-21-1-2-3-4"), &[21, 1, 2, 3, 5]));
        found.take(&entry(&at("S-1-5-21-1-2-3-6"), &[11]));
        let sid = |name: &str| found.sid_of(&at(name)).map(|sid| sid.to_string());
        assert_eq!(sid("s-1-5-21-1-2-3-4").as_deref(), Some("S-1-5-21-1-2-3-5"));
        assert_eq!(sid("s-1-5-21-1-2-3-6"), None);
        assert_eq!(sid("s-1-5-21-1-2-3-7").as_deref(), Some("S-1-5-21-1-2-3-7"));
        assert_eq!(sid("s-1-5-11"), None);
        assert_eq!(sid("bob"), None);
    }
}

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

/// The SID of a domain's person that an entry shows.
pub(super) fn account_sid(entry: &Entry) -> Option<AccountSid> {
    AccountSid::of_bytes(primary::sid(entry)?)
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
pub(super) struct Principals {
    sids: HashMap<String, Option<AccountSid>>,
    /// Those that do not show their SID, and what those stand in that were not all read.
    unread: BTreeSet<String>,
}

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
                found.unread.insert(parent.to_owned());
            }
        }
        found
    }

    fn take(&mut self, entry: &Entry) {
        let Ok(norm) = dn::normalized(&entry.dn) else { return };
        match primary::sid(entry) {
            Some(sid) => drop(self.sids.insert(norm.into_owned(), AccountSid::of_bytes(sid))),
            None => drop(self.unread.insert(norm.into_owned())),
        }
    }

    /// The SID of a domain's person or group that the principal at this DN (in normal form) bears.
    pub fn sid_of(&self, norm: &str) -> Option<AccountSid> {
        match self.sids.get(norm) {
            Some(sid) => sid.clone(),
            None => AccountSid::of_text(name_of(norm)?),
        }
    }

    /// Whether the principal at this DN (in normal form) bears a SID that was not to be seen, and is named
    /// by none (`CN=S-1-5-21-…\\0ACNF:…`): for whom it stands is not known then.
    pub fn is_unread(&self, norm: &str) -> bool {
        let parent = norm.split_once(',').map_or("", |(_, parent)| parent);
        !self.sids.contains_key(norm)
            && (self.unread.contains(norm) || self.unread.contains(parent))
            && !name_of(norm).is_some_and(is_sid)
    }
}

/// The name of what stands at this DN.
fn name_of(norm: &str) -> Option<&str> {
    Some(dn::first_rdn(norm).split_once('=')?.1)
}

/// Whether this is a SID as it is written, of whomever.
fn is_sid(name: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix("s-1-").is_some_and(|rest| rest.split('-').all(number))
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

    #[test]
    fn who_is_named_by_no_sid_is_unknown_where_the_sid_that_they_bear_is() {
        let dn = |name: &str| format!("cn={name},cn=foreignsecurityprincipals,dc=x");
        let at = |name: &str| dn::normalize(&dn(name)).unwrap();
        let twice = "s-1-5-21-1-2-3-4\\0acnf:1d9f";
        let mut found = Principals::default();
        assert!(!found.is_unread(&at("bob")), "all were read, and he is none of them");
        found.take(&Entry::new(dn(twice)));
        assert!(found.is_unread(&at(twice)), "it was there and did not show its SID");
        assert!(!found.is_unread(&at("bob")));
        found.take(&entry(&dn("ann"), &[21, 1, 2, 3, 5]));
        found.unread.insert("cn=foreignsecurityprincipals,dc=x".to_owned());
        for name in [twice, "bob"] {
            assert!(found.is_unread(&at(name)), "{name}");
        }
        for name in ["ann", "s-1-5-21-1-2-3-4", "s-1-5-11"] {
            assert!(!found.is_unread(&at(name)), "{name}");
        }
        assert!(!found.is_unread("cn=bob,cn=foreignsecurityprincipals,dc=y"));
    }
}

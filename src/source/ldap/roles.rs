//! 389-DS's roles, as far as accounts are inactivated by them.
//!
//! An account is inactivated by giving it the managed role `nsManagedDisabledRole`, a whole role by
//! nesting it in `nsDisabledRole`; a class of service makes `nsAccountLock` of both. A server
//! computes all that; an export has only the definitions, which are followed here.

use std::collections::{BTreeMap, BTreeSet};

use super::account::Unreadable;
use super::entry::Entry;
use super::filter::Filter;
use crate::directory::dn;

/// The roles in which an account is inactive, wherever they are defined.
const ROOTS: &[&str] = &["cn=nsdisabledrole", "cn=nsmanageddisabledrole"];

/// The definitions of roles (`nsRoleDefinition`) of an export.
#[derive(Debug, Default)]
pub struct Roles(BTreeMap<String, Definition>);

#[derive(Debug)]
struct Definition {
    /// Roles that are nested in this one.
    nested: Vec<String>,
    /// Who has it, where a filter says so.
    filter: Option<Vec<u8>>,
}

impl Roles {
    /// Takes the entry in where it defines a role; `norm` is its DN in normal form.
    pub fn see(&mut self, entry: &Entry, norm: &str) {
        if !entry.is_a("nsroledefinition")
            && !entry.is_a("nsnestedroledefinition")
            && !entry.is_a("nsfilteredroledefinition")
        {
            return;
        }
        let nested = dns(entry, "nsroledn").collect();
        let filter = entry.values("nsrolefilter").first().cloned();
        self.0.insert(norm.to_owned(), Definition { nested, filter });
    }

    /// Whom the roles inactivate.
    #[must_use]
    pub fn inactivation(self) -> Inactivation {
        let mut open: Vec<String> = self.0.keys().filter(|norm| is_root(norm)).cloned().collect();
        let mut found = Inactivation::default();
        while let Some(role) = open.pop() {
            if !found.roles.insert(role.clone()) {
                continue;
            }
            let Some(definition) = self.0.get(&role) else { continue };
            open.extend(definition.nested.iter().cloned());
            if let Some(filter) = &definition.filter {
                // A role is for those beside it and below.
                let scope = role.split_once(',').map_or("", |(_, parent)| parent).to_owned();
                let parsed = std::str::from_utf8(filter).ok().and_then(|f| Filter::parse(f).ok());
                found.filtered.push((scope, parsed.ok_or_else(|| filter.clone())));
            }
        }
        found
    }
}

/// Which entries are inactivated by a role.
#[derive(Clone, Debug, Default)]
pub struct Inactivation {
    /// DNs in normal form of roles whose holders are inactive.
    roles: BTreeSet<String>,
    /// Base, and the filter for those who are inactive below it, or what stands in its place.
    filtered: Vec<(String, Result<Filter, Vec<u8>>)>,
}

impl Inactivation {
    /// Whether `entry`, whose DN is `norm` in normal form, holds a role that inactivates it.
    #[must_use]
    pub fn concerns(&self, entry: &Entry, norm: &str) -> bool {
        dns(entry, "nsroledn")
            .chain(dns(entry, "nsrole"))
            .any(|role| is_root(&role) || self.roles.contains(&role))
            || self.filters_for(norm).any(|f| f.as_ref().is_ok_and(|f| f.matches(entry)))
    }

    /// A filter that decides about `entry` and cannot be understood.
    #[must_use]
    pub fn unreadable(&self, norm: &str) -> Option<Unreadable> {
        let mut filters = self.filters_for(norm).filter_map(|filter| filter.as_ref().err());
        filters.next().map(|text| Unreadable::new("nsRoleFilter", text, "search filter (RFC 4515)"))
    }

    fn filters_for(&self, norm: &str) -> impl Iterator<Item = &Result<Filter, Vec<u8>>> {
        let here = self.filtered.iter().filter(move |(scope, _)| dn::is_under(norm, scope));
        here.map(|(_, filter)| filter)
    }
}

fn is_root(norm: &str) -> bool {
    ROOTS.contains(&dn::first_rdn(norm))
}

/// The DNs, in normal form, that are values of `attribute` (its one name).
fn dns(entry: &Entry, attribute: &str) -> impl Iterator<Item = String> {
    entry.texts(attribute).filter_map(|text| dn::normalize(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dn: &str, attributes: &[(&str, &str)]) -> (Entry, String) {
        let mut entry = Entry::new(dn.to_owned());
        for (name, value) in attributes {
            entry.add(name, [value.as_bytes().to_vec()]);
        }
        (entry, dn::normalize(dn).unwrap())
    }

    fn definition(dn: &str, attribute: (&str, &str)) -> (Entry, String) {
        entry(dn, &[("objectClass", "nsRoleDefinition"), attribute])
    }

    #[test]
    fn a_role_nested_in_the_disabled_role_inactivates_its_holders() {
        let mut roles = Roles::default();
        for (entry, norm) in [
            definition("cn=nsManagedDisabledRole,dc=x", ("cn", "nsManagedDisabledRole")),
            definition("cn=nsDisabledRole,dc=x", ("nsRoleDN", "cn=nsManagedDisabledRole,dc=x")),
            definition("CN=nsDisabledRole, DC=y", ("nsRoleDN", "cn=Outer,dc=y")),
            definition("cn=outer,dc=y", ("nsRoleDN", "cn=leavers,dc=y")),
            definition("cn=leavers,dc=y", ("nsRoleDN", "cn=outer,dc=y")),
            definition("cn=far,dc=y", ("nsRoleDN", "cn=nsDisabledRole,dc=y")),
            entry("cn=no role,dc=y", &[("nsRoleDN", "cn=far,dc=y")]),
        ] {
            roles.see(&entry, &norm);
        }
        let inactivation = roles.inactivation();
        for (role, inactive) in [
            ("cn=nsManagedDisabledRole,dc=x", true),
            ("cn=nsManagedDisabledRole,ou=a,dc=z", true),
            ("cn=Leavers,dc=y", true),
            ("cn=outer,dc=y", true),
            ("cn=leavers,dc=x", false),
            ("cn=far,dc=y", false),
            ("not a dn", false),
        ] {
            let (bo, norm) = entry("uid=bo,dc=y", &[("nsRoleDN", role)]);
            assert_eq!(inactivation.concerns(&bo, &norm), inactive, "{role}");
        }
        let deleted = "nsRoleDN;vdcsn-6b08;deleted";
        let (bo, norm) = entry("uid=bo,dc=y", &[(deleted, "cn=nsManagedDisabledRole,dc=x")]);
        assert!(!inactivation.concerns(&bo, &norm), "a role that was taken away again");
    }

    #[test]
    fn a_filtered_role_concerns_whom_its_filter_fits_beside_it_and_below() {
        let mut roles = Roles::default();
        for (entry, norm) in [
            definition("cn=nsDisabledRole,dc=x", ("nsRoleDN", "cn=left,ou=a,dc=x")),
            definition("cn=left,ou=a,dc=x", ("nsRoleFilter", "(employeeType=left)")),
            definition("cn=nsDisabledRole,dc=y", ("nsRoleDN", "cn=odd,dc=y")),
            definition("cn=odd,dc=y", ("nsRoleFilter", "(employeeType")),
        ] {
            roles.see(&entry, &norm);
        }
        let inactivation = roles.inactivation();
        for (dn, kind, inactive, unreadable) in [
            ("uid=bo,ou=a,dc=x", "left", true, false),
            ("uid=bo,ou=b,ou=a,dc=x", "Left", true, false),
            ("uid=bo,ou=a,dc=x", "staff", false, false),
            ("uid=bo,ou=b,dc=x", "left", false, false),
            ("uid=bo,dc=y", "left", false, true),
        ] {
            let (bo, norm) = entry(dn, &[("employeeType", kind)]);
            assert_eq!(inactivation.concerns(&bo, &norm), inactive, "{dn} {kind}");
            assert_eq!(inactivation.unreadable(&norm).is_some(), unreadable, "{dn} {kind}");
        }
    }
}

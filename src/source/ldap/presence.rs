//! Whether an entry is there for an ordinary search.
//!
//! A server keeps more than it returns, and an export of its database holds all of it: entries
//! that were deleted, two of one name that replication brought together, entries about the
//! directory itself. None of them is anybody: who was deleted does not come back by being
//! exported.

use super::entry::Entry;
use crate::directory::dn;

/// How an entry is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// An ordinary search returns it.
    There,
    /// It is about the directory (RFC 3672; `ldapSubEntry`): policies, roles, collective values.
    Subentry,
    /// It was deleted, or stands where something is missing (`glue`).
    Gone,
    /// Replication brought two entries to one name; this is the one that had to step aside.
    Conflict,
}

impl Presence {
    /// Whether this is [`Presence::There`].
    #[must_use]
    pub fn is_there(self) -> bool {
        self == Presence::There
    }
}

/// How `entry`, whose DN is `norm` in normal form, is there. An attribute that was not read says
/// nothing.
#[must_use]
pub fn presence(entry: &Entry, norm: &str) -> Presence {
    let structural = |class: &str| {
        let mut classes = entry.texts("structuralobjectclass");
        entry.is_a(class) || classes.any(|known| known.eq_ignore_ascii_case(class))
    };
    if entry.has("nstombstonecsn") || entry.is_a("nstombstone") {
        return Presence::Gone;
    }
    if entry.has("nsds5replconflict") {
        return Presence::Conflict;
    }
    // 389-DS gives this name to the deleted (`nsuniqueid=…,uid=bo`) and to conflicts
    // (`nsuniqueid=…+uid=bo`), and to nothing else.
    let rdn = dn::first_rdn(norm);
    if rdn.starts_with("cenotaphid=") {
        // What it leaves under the old name of someone who was renamed.
        return Presence::Gone;
    }
    if rdn.split('+').any(|part| part.starts_with("nsuniqueid=")) {
        return if rdn.contains('+') { Presence::Conflict } else { Presence::Gone };
    }
    let says = |name: &str| entry.texts(name).any(|text| text.trim().eq_ignore_ascii_case("true"));
    if says("isdeleted") || says("isrecycled") || is_active_directorys_deleted(&entry.dn, norm) {
        return Presence::Gone;
    }
    if structural("glue") {
        return Presence::Gone;
    }
    if structural("subentry") || structural("ldapsubentry") {
        return Presence::Subentry;
    }
    Presence::There
}

/// Active Directory moves what is deleted to `CN=Deleted Objects` and puts a line feed, `DEL:` and
/// its id behind the name.
fn is_active_directorys_deleted(dn: &str, norm: &str) -> bool {
    if norm.split(',').any(|rdn| rdn == "cn=deleted objects") {
        return true;
    }
    // In normal form the line feed is a space.
    let lower = || dn.to_ascii_lowercase();
    norm.contains(" del:") && (dn.contains("\nDEL:") || lower().contains("\\0adel:"))
}

/// Whether `norm` is below one of the suffixes that are the server's own affair, which no search
/// below a company's suffix reaches: configuration, statistics, logs of changes.
#[must_use]
pub fn is_the_servers_own(norm: &str) -> bool {
    const OWN: &[&str] =
        &["cn=config", "cn=monitor", "cn=changelog", "cn=accesslog", "cn=schema", "cn=subschema"];
    OWN.iter().any(|suffix| dn::is_under(norm, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dn: &str, attributes: &[(&str, &str)]) -> Presence {
        let mut entry = Entry::new(dn.to_owned());
        entry.add("objectClass", [b"inetOrgPerson".to_vec()]);
        for (name, value) in attributes {
            entry.add(name, [value.as_bytes().to_vec()]);
        }
        presence(&entry, &dn::normalize(dn).unwrap())
    }

    #[test]
    fn what_no_ordinary_search_returns_is_not_there() {
        const BO: &str = "uid=bo,ou=people,dc=x";
        const ID: &str = "37308bb0-e9a511f1-b677cffc-6c9d0053";
        let tombstone = format!("nsuniqueid={ID},{BO}");
        let conflict = format!("nsUniqueId={ID}+{BO}");
        let renamed = format!("cenotaphID={ID},{BO}");
        let turned = format!("uid=bo+nsuniqueid={ID},ou=people,dc=x");
        for (dn, attribute, expected) in [
            (BO, ("cn", "bo"), Presence::There),
            (BO, ("objectClass", "nsTombstone"), Presence::Gone),
            (BO, ("objectClass;vucsn-6b084167000500070000", "NSTOMBSTONE"), Presence::Gone),
            (BO, ("objectClass;vdcsn-6b08;deleted", "nsTombstone"), Presence::There),
            (BO, ("nsTombstoneCSN", "6b084167000500070000"), Presence::Gone),
            (BO, ("nsds5ReplConflict", "namingConflict uid=bo"), Presence::Conflict),
            (BO, ("nsds5ReplConflict;vdcsn-6b08;deleted", "namingConflict"), Presence::There),
            (&tombstone, ("cn", "bo"), Presence::Gone),
            (&renamed, ("cn", "bo"), Presence::Gone),
            (&conflict, ("cn", "bo"), Presence::Conflict),
            (&turned, ("cn", "bo"), Presence::Conflict),
            ("uid=nsuniqueid\\=1,dc=x", ("cn", "bo"), Presence::There),
            (BO, ("nsUniqueId", ID), Presence::There),
            (BO, ("isDeleted", "TRUE"), Presence::Gone),
            (BO, ("isDeleted", "false"), Presence::There),
            (BO, ("isRecycled", "true"), Presence::Gone),
            ("CN=Bo\\0ADEL:0c9f-1,DC=x", ("cn", "bo"), Presence::Gone),
            ("cn=bo\\0adel:0c9f-1,dc=x", ("cn", "bo"), Presence::Gone),
            ("cn=bo\nDEL:0c9f-1,dc=x", ("cn", "bo"), Presence::Gone),
            ("cn=bo DEL:0c9f-1,dc=x", ("cn", "bo"), Presence::There),
            ("cn=bo,CN=Deleted  Objects,dc=x", ("cn", "bo"), Presence::Gone),
            ("cn=bo\\0ACNF:0c9f-1,dc=x", ("cn", "bo"), Presence::There),
            (BO, ("objectClass", "glue"), Presence::Gone),
            (BO, ("structuralObjectClass", "glue"), Presence::Gone),
            (BO, ("objectClass", "LDAPsubentry"), Presence::Subentry),
            (BO, ("objectClass", "subentry"), Presence::Subentry),
            (BO, ("structuralObjectClass", "subentry"), Presence::Subentry),
        ] {
            assert_eq!(of(dn, &[attribute]), expected, "{dn} {attribute:?}");
        }
    }

    #[test]
    fn the_servers_own_suffixes_are_known_whole() {
        for (norm, own) in [
            ("cn=replication manager,cn=config", true),
            ("cn=config", true),
            ("cn=monitor", true),
            ("reqstart=1,cn=accesslog", true),
            ("cn=config,dc=x", false),
            ("cn=aconfig", false),
            ("uid=bo,dc=x", false),
        ] {
            assert_eq!(is_the_servers_own(norm), own, "{norm}");
        }
    }
}

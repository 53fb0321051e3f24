//! Primary groups: a number that the account and its one group both bear, instead of a place in the
//! group's list.
//!
//! A POSIX account has the `gidNumber` of its group (RFC 2307, section 2.2). In Active Directory
//! `primaryGroupID` is the last part of the group's `objectSid`, whose other parts are those of the
//! account's own (MS-ADTS, section 2.2.9).

use super::dialect::PrimaryBy;
use super::entry::Entry;

/// Whose primary group something is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Primary {
    /// Nobody's.
    No,
    /// Those of this number.
    Of(GroupNumber),
    /// What would tell cannot be read.
    Hidden,
}

/// By what an account and its primary group find each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum GroupNumber {
    /// `gidNumber`
    Gid(i64),
    /// `objectSid`
    Sid(Vec<u8>),
}

/// The attribute that tells an account's primary group, for messages.
pub(super) fn of_user(by: PrimaryBy) -> &'static str {
    match by {
        PrimaryBy::GidNumber => "gidNumber",
        PrimaryBy::Sid => "primaryGroupID",
    }
}

/// The attribute that tells whose primary group a group is, for messages.
pub(super) fn of_group(by: PrimaryBy) -> &'static str {
    match by {
        PrimaryBy::GidNumber => "gidNumber",
        PrimaryBy::Sid => "objectSid",
    }
}

/// The primary group of a user's entry.
pub(super) fn user(entry: &Entry, by: PrimaryBy) -> Primary {
    match by {
        PrimaryBy::GidNumber => gid(entry, "posixaccount"),
        PrimaryBy::Sid if !entry.has("primarygroupid") && !entry.is_a("user") => Primary::No,
        PrimaryBy::Sid => by_sid(entry).map_or(Primary::Hidden, Primary::Of),
    }
}

/// Whose primary group a group's entry is.
pub(super) fn group(entry: &Entry, by: PrimaryBy) -> Primary {
    match by {
        PrimaryBy::GidNumber if !entry.is_a("posixgroup") => Primary::No,
        PrimaryBy::GidNumber => gid(entry, "posixgroup"),
        PrimaryBy::Sid if !entry.has("objectsid") && !entry.is_a("group") => Primary::No,
        PrimaryBy::Sid => {
            sid(entry).map_or(Primary::Hidden, |sid| Primary::Of(GroupNumber::Sid(sid.to_vec())))
        }
    }
}

/// The `gidNumber` of an entry that must have one if it is of the class `class` (lower case).
fn gid(entry: &Entry, class: &str) -> Primary {
    let number = entry.texts("gidnumber").next().map(|text| text.trim().parse());
    match number {
        Some(Ok(number)) => Primary::Of(GroupNumber::Gid(number)),
        Some(Err(_)) => Primary::Hidden,
        None if entry.is_a(class) => Primary::Hidden,
        None => Primary::No,
    }
}

/// The bytes of the entry's SID (MS-DTYP, section 2.4.2.2): revision, number of parts, authority,
/// and the parts, four bytes each.
pub(super) fn sid(entry: &Entry) -> Option<&[u8]> {
    let sid = entry.values("objectsid").first()?;
    let parts = usize::from(*sid.get(1)?);
    (parts > 0 && sid.len() == parts.checked_mul(4)?.checked_add(8)?).then_some(sid)
}

fn by_sid(entry: &Entry) -> Option<GroupNumber> {
    let own = sid(entry)?;
    let number: u32 = entry.text("primarygroupid")?.trim().parse().ok()?;
    let mut group = own.get(..own.len().checked_sub(4)?)?.to_vec();
    group.extend(number.to_le_bytes());
    Some(GroupNumber::Sid(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `S-1-5-21-1-2-3-RID`
    fn sid_of(rid: u32) -> Vec<u8> {
        let mut sid = vec![1, 5, 0, 0, 0, 0, 0, 5];
        for part in [21, 1, 2, 3, rid] {
            sid.extend(u32::to_le_bytes(part));
        }
        sid
    }

    fn entry(class: &str, sid: Option<Vec<u8>>, primary: Option<&str>) -> Entry {
        let mut entry = Entry::new("cn=a".to_owned());
        entry.add("objectClass", [class.as_bytes().to_vec()]);
        if let Some(sid) = sid {
            entry.add("objectSid", [sid]);
        }
        if let Some(primary) = primary {
            entry.add("primaryGroupID", [primary.as_bytes().to_vec()]);
        }
        entry
    }

    #[test]
    fn an_account_of_active_directory_names_its_primary_group_by_the_last_part_of_its_sid() {
        let of = |sid, primary| user(&entry("user", sid, primary), PrimaryBy::Sid);
        let users = group(&entry("group", Some(sid_of(513)), None), PrimaryBy::Sid);
        assert_eq!(of(Some(sid_of(1104)), Some("513")), users);
        assert_ne!(of(Some(sid_of(1104)), Some("514")), users);
        let other_domain = [&sid_of(1104)[..20], &[9, 0, 0, 0], &sid_of(1104)[24..]].concat();
        assert_ne!(of(Some(other_domain), Some("513")), users);
        assert_eq!(of(Some(sid_of(1104)), None), Primary::Hidden);
        assert_eq!(of(None, Some("513")), Primary::Hidden);
        assert_eq!(of(Some(vec![1, 5, 0]), Some("513")), Primary::Hidden);
        assert_eq!(of(Some(vec![1, 0, 0, 0, 0, 0, 0, 5]), Some("513")), Primary::Hidden);
        assert_eq!(user(&entry("contact", None, None), PrimaryBy::Sid), Primary::No);
        assert_eq!(group(&entry("group", None, None), PrimaryBy::Sid), Primary::Hidden);
    }
}

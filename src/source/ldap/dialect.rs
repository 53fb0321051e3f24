//! What is peculiar to a kind of server, as a value: nothing else asks which kind it is.
//!
//! | | OpenLDAP | 389-DS, FreeIPA | Active Directory |
//! |---|---|---|---|
//! | a person's id | `entryUUID` | `ipaUniqueID` where there is one, else `nsUniqueId` | `objectGUID` |
//! | a group's id | `entryUUID` | `nsUniqueId` | `objectGUID` |
//! | a person must show | | | `userAccountControl` |
//! | primary groups | by `gidNumber`, if `groups.primary` | the same | by `objectSid` and `primaryGroupID` |
//! | groups of another type | | | distribution groups (`groupType`) |
//! | members of another directory | | `ipaExternalMember` | `CN=ForeignSecurityPrincipals` |
//! | who was deleted | is gone | is gone | is shown to whom it may concern (`isDeleted`) |
//! | set aside | | FreeIPA's `cn=compat`, `cn=provisioning` | |
//!
//! Which one it is, the root DSE says ([`server`](super::server)), never which attributes happened to
//! come: one that an access rule hides would make another person of everybody.

use super::config::Flavor;
use super::entry::Entry;
use crate::directory::dn;

/// The ways of one kind of server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dialect {
    /// The facts come from a file: it holds what any server wrote, and is read whole.
    pub file: bool,
    /// Attributes of which the first that an entry has is a person's stable id.
    person_ids: &'static [&'static str],
    /// The same of a group.
    group_ids: &'static [&'static str],
    /// What an account of the class `user` must show to be judged.
    pub account: Option<&'static str>,
    /// How primary groups are told.
    pub primary: PrimaryBy,
    /// A group's type says whether it is one of those that give rights.
    pub group_types: bool,
    /// Members may be foreign security principals.
    pub foreign_principals: bool,
    /// An attribute of groups that names members of another directory.
    pub external_members: Option<&'static str>,
    /// FreeIPA's trees may stand beside its accounts.
    freeipa: bool,
    /// Searches say that they mean this domain alone (MS-ADTS, section 3.1.1.3.4.1.4), so that no
    /// references to others come.
    pub domain_scope: bool,
    /// What becomes of the deleted.
    pub deleted: Deleted,
    /// Names of entries come with their ids (MS-ADTS, section 3.1.1.3.4.1.5).
    pub names_with_ids: bool,
    /// What lifts the server's limits.
    pub limits: Limits,
}

/// What searches say of entries that were deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// Nothing, and there is no way to ask.
    Gone,
    /// Nothing, unless that is asked for.
    Kept,
    /// It is asked for (MS-ADTS, section 3.1.1.3.4.1.14).
    Shown,
}

/// How an account names its primary group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrimaryBy {
    /// By the `gidNumber` of a `posixGroup`.
    GidNumber,
    /// By the last part of the group's `objectSid`, in `primaryGroupID`.
    Sid,
}

/// What to do when a limit cuts a search short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Result 3.
    pub time: &'static str,
    /// Result 4.
    pub size: &'static str,
    /// Result 11.
    pub administrative: &'static str,
    /// Where to raise the size of a page.
    pub pages: &'static str,
}

impl Dialect {
    /// OpenLDAP, and whatever is unknown and follows the standards.
    pub const OPENLDAP: Dialect = Dialect {
        file: false,
        person_ids: &["entryUUID"],
        group_ids: &["entryUUID"],
        account: None,
        primary: PrimaryBy::GidNumber,
        group_types: false,
        foreign_principals: false,
        external_members: None,
        freeipa: false,
        domain_scope: false,
        deleted: Deleted::Gone,
        names_with_ids: false,
        limits: Limits {
            time: "let the server's `limits` rule for this identity give more time",
            size: "on OpenLDAP add a `limits` rule for this identity, such as `limits \
                   dn.exact=\"…\" size=unlimited`, or `size.prtotal=unlimited`",
            administrative: "on OpenLDAP look at `size.pr` and `size.prtotal` in the `limits` \
                             rule for this identity, and at `page_size`",
            pages: "`size.pr` in the server's `limits` rule",
        },
    };

    /// 389 Directory Server, FreeIPA's among them.
    pub const DS389: Dialect = Dialect {
        person_ids: &["ipaUniqueID", "nsUniqueId"],
        group_ids: &["nsUniqueId"],
        external_members: Some("ipaExternalMember"),
        freeipa: true,
        limits: Limits {
            time: "raise `nsTimeLimit` on this identity's entry, or the server's \
                   `nsslapd-timelimit`",
            size: "389-DS counts `nsslapd-sizelimit` for each page: set `page_size` below it, or \
                   raise `nsSizeLimit` on this identity's entry",
            administrative: "389-DS looks through no more entries than `nsslapd-lookthroughlimit` \
                             over all pages: raise `nsLookThroughLimit` (or \
                             `nsPagedLookThroughLimit`) on this identity's entry; \
                             `-1` is no limit",
            pages: "`nsSizeLimit` on this identity's entry",
        },
        ..Dialect::OPENLDAP
    };

    /// Active Directory, Samba's among them.
    pub const ACTIVE_DIRECTORY: Dialect = Dialect {
        person_ids: &["objectGUID"],
        group_ids: &["objectGUID"],
        account: Some("userAccountControl"),
        primary: PrimaryBy::Sid,
        group_types: true,
        foreign_principals: true,
        domain_scope: true,
        deleted: Deleted::Kept,
        limits: Limits {
            time: "raise `MaxQueryDuration` in the domain's LDAP policies, or narrow the filters",
            size: "set `page_size` no larger than `MaxPageSize` in the domain's LDAP policies \
                   (1000 unless changed)",
            administrative: "look at the domain's LDAP policies (`MaxResultSetSize`, \
                             `MaxTempTableSize`), and at `page_size`",
            pages: "`MaxPageSize` in the domain's LDAP policies",
        },
        ..Dialect::OPENLDAP
    };

    /// A file: each entry's id is by the server that wrote it.
    pub const FILE: Dialect = Dialect {
        file: true,
        person_ids: Entry::ANY_ID,
        group_ids: Entry::ANY_ID,
        ..Dialect::OPENLDAP
    };

    /// That of a server of this kind.
    #[must_use]
    pub fn of(flavor: Flavor) -> Dialect {
        match flavor {
            Flavor::Auto | Flavor::OpenLdap => Dialect::OPENLDAP,
            Flavor::Ds389 => Dialect::DS389,
            Flavor::ActiveDirectory => Dialect::ACTIVE_DIRECTORY,
        }
    }

    /// The same of searches that bring what was deleted as well.
    #[must_use]
    pub fn with_deleted(self) -> Dialect {
        Dialect { deleted: Deleted::Shown, ..self }
    }

    /// The same of searches whose values that are names have the ids beside them.
    #[must_use]
    pub fn with_ids(self) -> Dialect {
        Dialect { names_with_ids: true, ..self }
    }

    /// The attributes to ask for, to have a person's id.
    #[must_use]
    pub fn person_ids(&self) -> &'static [&'static str] {
        self.person_ids
    }

    /// The attributes to ask for, to have a group's id.
    #[must_use]
    pub fn group_ids(&self) -> &'static [&'static str] {
        self.group_ids
    }

    /// The id of a person that stays through rename and move. An `ipaObject` must have an
    /// `ipaUniqueID`: where that is hidden the other id is not taken for it, which would make another
    /// person of everybody.
    #[must_use]
    pub fn person_id(&self, entry: &Entry) -> Option<String> {
        if self.freeipa && entry.is_a("ipaobject") && !entry.has("ipauniqueid") {
            return None;
        }
        entry.id_by(self.person_ids)
    }

    /// Whether a person's object classes say which id counts.
    #[must_use]
    pub fn ids_go_by_class(&self) -> bool {
        self.freeipa
    }

    /// The id of a group that stays through rename and move.
    #[must_use]
    pub fn group_id(&self, entry: &Entry) -> Option<String> {
        entry.id_by(self.group_ids)
    }

    /// The attribute that every entry has an id in, for messages.
    #[must_use]
    pub fn id_attribute(&self) -> &'static str {
        if self.file { "entryUUID" } else { self.group_ids.last().copied().unwrap_or("entryUUID") }
    }

    /// Whether a DN (in normal form) stands for somebody of another domain.
    #[must_use]
    pub fn is_foreign(&self, norm: &str) -> bool {
        self.foreign_principals
            && norm
                .split_once(',')
                .is_some_and(|(_, parent)| dn::first_rdn(parent) == "cn=foreignsecurityprincipals")
    }

    /// Whether an entry (its DN in normal form) stands for nobody who is there: FreeIPA's `cn=compat`,
    /// directly below the suffix, has all people and groups once more, and `cn=provisioning` those
    /// who are not there yet, or no longer.
    #[must_use]
    pub fn is_set_aside(&self, norm: &str) -> bool {
        const TREES: [&str; 2] = ["cn=compat", "cn=accounts,cn=provisioning"];
        let mut own = norm;
        while let Some((rest, suffix)) = own.rsplit_once(',')
            && suffix.starts_with("dc=")
        {
            own = rest;
        }
        let below = |tree: &&str| {
            own.strip_suffix(tree).is_some_and(|rest| rest.is_empty() || rest.ends_with(','))
        };
        self.freeipa && own.len() < norm.len() && TREES.iter().any(below)
    }

    /// Whether a group's entry is of a type that gives rights: a security group (MS-ADTS, section
    /// 2.2.12). Nothing where its type is not to be seen.
    #[must_use]
    pub fn is_security_group(&self, entry: &Entry) -> Option<bool> {
        const SECURITY_ENABLED: i64 = 0x8000_0000;
        if !self.group_types || !entry.is_a("group") {
            return Some(true);
        }
        let of_type: i64 = entry.text("grouptype")?.trim().parse().ok()?;
        Some(of_type & SECURITY_ENABLED != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attributes: &[(&str, &str)]) -> Entry {
        let mut entry = Entry::new("cn=a,dc=x".to_owned());
        for (name, value) in attributes {
            entry.add(name, [value.as_bytes().to_vec()]);
        }
        entry
    }

    #[test]
    fn who_somebody_is_depends_on_the_server_and_never_on_what_came_along() {
        let all = entry(&[("entryUUID", "E"), ("nsUniqueId", "N"), ("ipaUniqueID", "I")]);
        assert_eq!(Dialect::OPENLDAP.person_id(&all).as_deref(), Some("e"));
        assert_eq!(Dialect::DS389.person_id(&all).as_deref(), Some("i"));
        assert_eq!(Dialect::DS389.group_id(&all).as_deref(), Some("n"));
        assert_eq!(Dialect::ACTIVE_DIRECTORY.person_id(&all), None);
        assert_eq!(Dialect::FILE.person_id(&all).as_deref(), Some("n"));
        let plain = entry(&[("entryUUID", "E"), ("nsUniqueId", "N")]);
        assert_eq!(Dialect::DS389.person_id(&plain).as_deref(), Some("n"));
        let hidden = entry(&[("objectClass", "ipaObject"), ("nsUniqueId", "N")]);
        assert_eq!(Dialect::DS389.person_id(&hidden), None);
        assert_eq!(Dialect::FILE.person_id(&hidden).as_deref(), Some("n"));
    }

    #[test]
    fn only_active_directory_has_groups_that_give_no_rights() {
        let group = |group_type| entry(&[("objectClass", "group"), ("groupType", group_type)]);
        for (group_type, security) in [
            ("-2147483646", Some(true)),
            ("-2147483643", Some(true)),
            ("2", Some(false)),
            ("8", Some(false)),
            ("x", None),
        ] {
            let group = group(group_type);
            assert_eq!(
                Dialect::ACTIVE_DIRECTORY.is_security_group(&group),
                security,
                "{group_type}"
            );
            assert_eq!(Dialect::DS389.is_security_group(&group), Some(true));
        }
        let hidden = entry(&[("objectClass", "group")]);
        assert_eq!(Dialect::ACTIVE_DIRECTORY.is_security_group(&hidden), None);
    }

    #[test]
    fn what_stands_for_others_is_told_by_its_place() {
        let ad = Dialect::ACTIVE_DIRECTORY;
        assert!(ad.is_foreign("cn=s-1-5-21-1-2-3-4,cn=foreignsecurityprincipals,dc=x"));
        assert!(!ad.is_foreign("cn=foreignsecurityprincipals,dc=x"));
        assert!(!ad.is_foreign("cn=a,cn=users,dc=x"));
        assert!(!Dialect::OPENLDAP.is_foreign("cn=a,cn=foreignsecurityprincipals,dc=x"));
        let ipa = Dialect::DS389;
        assert!(ipa.is_set_aside("uid=a,cn=users,cn=compat,dc=x,dc=org"));
        assert!(ipa.is_set_aside("cn=compat,dc=x"));
        let deleted = "uid=a,cn=deleted users,cn=accounts,cn=provisioning,dc=x,dc=org";
        assert!(ipa.is_set_aside(deleted));
        assert!(!ipa.is_set_aside("uid=a,cn=users,cn=accounts,dc=x,dc=org"));
        assert!(!ipa.is_set_aside("uid=a,cn=accounts,dc=x") && !ipa.is_set_aside("cn=compat"));
        assert!(!ipa.is_set_aside("uid=a,cn=compat,ou=b,dc=x"));
        assert!(!ipa.is_set_aside("uid=a,ou=cn=compat,dc=x"));
        assert!(!Dialect::OPENLDAP.is_set_aside("uid=a,cn=compat,dc=x"));
    }
}

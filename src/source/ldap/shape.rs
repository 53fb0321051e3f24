//! What the configuration says about users and groups, made ready for comparing.

use super::config::{LdapGroups, LdapUsers, MembersFrom};
use super::dialect::{Dialect, PrimaryBy};
use super::entry::Entry;
use super::options::Description;
use super::{account, lists};
use crate::directory::dn::{self, DnError};
use crate::directory::value;
use crate::model::Time;

/// A value of an attribute that some rule names.
#[derive(Clone, Debug)]
pub struct WantedValue {
    /// The attribute's one name.
    pub attribute: String,
    /// Which of its values count.
    pub description: Description,
    /// The value, prepared for comparing.
    prepared: String,
    /// The value as a DN in normal form, where one can stand.
    dn: Option<String>,
    /// The value as configured.
    pub value: String,
    /// `name=value` as configured: the reference's key and identity.
    pub identity: String,
}

impl WantedValue {
    fn new(name: &str, value: &str) -> Self {
        let description = Description::new(name);
        // Of an attribute that is not known to hold DNs, two parts are proof enough: nothing else
        // is written so.
        let may_be_dn = value::holds_dns(&description.name) || value.contains(',');
        WantedValue {
            prepared: value::folded(value).into_owned(),
            dn: if may_be_dn { dn::normalize(value).ok() } else { None },
            value: value.to_owned(),
            identity: format!("{name}={value}"),
            attribute: description.name.clone(),
            description,
        }
    }

    /// Whether `entry` has this value.
    #[must_use]
    pub fn is_of(&self, entry: &Entry) -> bool {
        let texts = entry.described(&self.description).filter_map(|v| std::str::from_utf8(v).ok());
        texts.into_iter().any(|text| self.is(text))
    }

    fn is(&self, text: &str) -> bool {
        value::folded(text) == self.prepared
            || self.dn.as_ref().is_some_and(|dn| dn::normalized(text).is_ok_and(|it| it == *dn))
    }
}

/// The groups that an entry is in, where a server keeps that.
pub(super) const MEMBER_OF: &str = "memberOf";

/// The DNs of the groups that `entry` says it is in.
pub(super) fn member_of(entry: &Entry) -> impl Iterator<Item = &str> {
    entry.texts("memberof")
}

/// The configuration of a directory, live or in a file.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Base of the users, in normal form.
    pub users_base: String,
    /// Base of the groups, in normal form; absent: there are none.
    pub groups_base: Option<String>,
    /// The one name of the attribute that holds the username, with the options its values must have.
    pub username: String,
    /// The same for the email address.
    pub email: String,
    /// What stands there was verified: nobody can write their own.
    pub email_verified: bool,
    /// The same for a group's bare name.
    pub name: String,
    /// Groups in groups count.
    pub nested: bool,
    /// A group has its primary members too.
    pub primary: bool,
    /// What rules want to know of users.
    pub wanted: Vec<WantedValue>,
    /// The server's ways, or those of files.
    pub dialect: Dialect,
    /// The facts come from a file that is read whole.
    pub file: bool,
    /// Distribution groups count.
    pub distribution: bool,
    /// Which side says who is in a group.
    pub from: MembersFrom,
    /// Both sides are read, to tell where they differ.
    pub compare: bool,
    /// The moment at which accounts are judged.
    pub now: Time,
}

/// A base is not a DN.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{key}.base`: {error}")]
pub struct BadBase {
    /// The table of the configuration that has it.
    pub key: &'static str,
    /// What is wrong with it.
    pub error: DnError,
}

impl Shape {
    /// Makes the configuration ready. `wanted` are attributes and values that rules name.
    ///
    /// # Errors
    /// A base is not a DN.
    pub fn new(
        users: &LdapUsers,
        groups: Option<&LdapGroups>,
        wanted: &[(String, String)],
        dialect: Dialect,
        now: Time,
    ) -> Result<Self, BadBase> {
        let base = |key, base: &str| dn::normalize(base).map_err(|error| BadBase { key, error });
        let wanted = wanted.iter().map(|(name, value)| WantedValue::new(name, value)).collect();
        Ok(Shape {
            users_base: base("users", &users.base)?,
            groups_base: groups.map(|groups| base("groups", &groups.base)).transpose()?,
            username: Description::new(&users.username).text(),
            email: Description::new(&users.email).text(),
            email_verified: users.email_verified,
            name: groups.map(|groups| Description::new(&groups.name).text()).unwrap_or_default(),
            nested: groups.is_some_and(|groups| groups.nested),
            primary: groups
                .is_some_and(|groups| groups.primary || dialect.primary == PrimaryBy::Sid),
            wanted,
            dialect,
            file: dialect.file,
            distribution: groups.is_some_and(|groups| groups.distribution),
            from: groups.map_or(MembersFrom::Member, |groups| groups.from),
            compare: false,
            now,
        })
    }

    /// The attributes of a user to ask for, operational ones by name.
    #[must_use]
    pub fn user_attributes(&self) -> Vec<String> {
        let mut names: Vec<&str> = self.dialect.person_ids().to_vec();
        names.extend(["uid", &self.username, &self.email]);
        names.extend(account::attributes().map(|name| -> &str { name }));
        if self.primary || self.dialect.ids_go_by_class() {
            names.push("objectClass");
        }
        if self.primary {
            names.extend(match self.dialect.primary {
                PrimaryBy::GidNumber => &["gidNumber"][..],
                PrimaryBy::Sid => &["objectSid", "primaryGroupID"],
            });
        }
        if self.dialect.foreign_principals {
            names.push("objectSid");
        }
        if self.reads_member_of() {
            names.push(MEMBER_OF);
        }
        names.extend(self.wanted.iter().map(|wanted| wanted.attribute.as_str()));
        distinct(names)
    }

    /// The attributes of a group to ask for.
    #[must_use]
    pub fn group_attributes(&self) -> Vec<String> {
        let mut names: Vec<&str> = self.dialect.group_ids().to_vec();
        names.extend(["objectClass", &self.name]);
        match self.from {
            MembersFrom::Member => {
                names.extend(["member", "uniqueMember", "memberUid"]);
                names.extend(lists::UNREAD);
                names.extend(self.dialect.external_members);
            }
            MembersFrom::MemberOf => names.push(MEMBER_OF),
        }
        if self.primary {
            names.push(match self.dialect.primary {
                PrimaryBy::GidNumber => "gidNumber",
                PrimaryBy::Sid => "objectSid",
            });
        }
        if self.dialect.foreign_principals {
            names.push("objectSid");
        }
        if self.dialect.group_types {
            names.push("groupType");
        }
        distinct(names)
    }

    /// Whether people are asked which groups they are in.
    #[must_use]
    pub fn reads_member_of(&self) -> bool {
        self.from == MembersFrom::MemberOf || self.compare
    }

    /// Whether a user or a nested group could have this DN (in normal form): one that cannot
    /// lead nowhere here, whatever it names.
    #[must_use]
    pub fn may_be_ours(&self, norm: &str) -> bool {
        self.may_be_user(norm) || self.may_be_group(norm)
    }

    /// Whether a user could have this DN (in normal form).
    #[must_use]
    pub fn may_be_user(&self, norm: &str) -> bool {
        dn::is_under(norm, &self.users_base)
    }

    /// Whether a nested group could have this DN (in normal form).
    #[must_use]
    pub fn may_be_group(&self, norm: &str) -> bool {
        let under = |base: &String| dn::is_under(norm, base);
        self.nested && self.groups_base.as_ref().is_some_and(under)
    }
}

fn distinct(names: Vec<&str>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        if !out.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            out.push(name.to_owned());
        }
    }
    out
}

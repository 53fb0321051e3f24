//! What resolving takes of the configuration: roles, rules, and what is special about each source.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::directory::split_organization_group;
use crate::model::username::UsernameFrom;
use crate::model::{Mode, WorkloadIdentity};
use crate::policy::{self, Action, Effect, Policy, Resource};

/// Everything that resolving goes by, checked.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// Who is gone from every source loses access after this long; `None`: never.
    pub missing_after: Option<Duration>,
    /// Who is provisioned.
    pub provision: Provision,
    /// What the gateway calls people by.
    pub username: UsernameFrom,
    /// The sources: where several know somebody, an earlier one has the first word. Names are
    /// distinct.
    pub sources: Vec<SourceTerms<'a>>,
    /// Declared roles, by name.
    pub roles: &'a BTreeMap<String, RoleDefinition>,
    /// Templates: the first that takes a name makes the role.
    pub templates: &'a [RoleTemplate],
    /// Rules beside those that roles have by their external names.
    pub mappings: &'a [Mapping],
    /// Roles that are protected whatever they allow, with the fewest holders each may have.
    pub protected: &'a BTreeMap<String, u64>,
    /// What decisions are computed for. Sorted, distinct.
    pub catalog: &'a [(Action, Option<Resource>)],
    /// Who the pods of pools are in the clouds. Sorted, distinct.
    pub workload: &'a [WorkloadIdentity],
}

/// What is special about one source.
#[derive(Clone, Copy, Debug)]
pub struct SourceTerms<'a> {
    /// Its name.
    pub name: &'a str,
    /// The only roles it may give; absent: any.
    pub grants: Option<&'a [globset::GlobMatcher]>,
    /// How its people are recognised in other sources.
    pub link_by: LinkBy,
    /// It says who is there, enabled or gone; otherwise it gives roles only.
    pub lifecycle: bool,
    /// How its names compare.
    pub names: Names,
    /// People may come without a stable id, known by their username until they show one.
    pub without_ids: bool,
    /// Its people are added by hand: each is provisioned, under the name that was given.
    pub by_hand: bool,
}

/// How a source's names compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// As written, every byte.
    Exact,
    /// As directories do: case, width, repeated and outer spaces do not count, and groups are DNs.
    Folded,
}

impl Settings<'_> {
    /// The terms of the source `name`, where there is one.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceTerms<'_>> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// Whether it is for the source `name` to say who is there, enabled or gone. One that is not
    /// configured may once have said so.
    #[must_use]
    pub fn says_who_is_there(&self, name: &str) -> bool {
        self.source(name).is_none_or(|source| source.lifecycle)
    }

    /// Whether there is any source but those whose people are added by hand.
    #[must_use]
    pub fn has_idp(&self) -> bool {
        self.sources.iter().any(|source| !source.by_hand)
    }

    /// The rules that can speak of `source`: what a reader asks for.
    #[must_use]
    pub fn rules<'a>(&'a self, source: SourceTerms<'a>) -> super::Rules<'a> {
        super::Rules::new(self, source)
    }

    /// What the people of the source `name` are called by.
    #[must_use]
    pub fn called_by(&self, name: &str) -> UsernameFrom {
        match self.source(name) {
            Some(source) if source.by_hand => UsernameFrom::Username,
            _ => self.username,
        }
    }

    /// Which people of the source `name` are provisioned.
    #[must_use]
    pub fn provision_of(&self, name: &str) -> Provision {
        match self.source(name) {
            Some(source) if source.by_hand => Provision::All,
            _ => self.provision,
        }
    }

    /// Whether the role `name` is protected: it allows everything somewhere, or is said to be.
    #[must_use]
    pub fn is_protected(&self, name: &str) -> bool {
        self.protected.contains_key(name)
            || self.roles.get(name).is_some_and(|role| policy::allow_all(&role.policies))
    }
}

/// Who is provisioned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provision {
    /// Everyone whom a source lists.
    All,
    /// Only those whom some rule gives a role.
    Mapped,
}

/// How a source's people are recognised as those of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkBy {
    /// By username.
    Username,
    /// By verified email address.
    Email,
}

/// A role as it is declared: `[roles.NAME]`, or by a platform's file.
#[derive(Clone, Debug)]
pub struct RoleDefinition {
    /// What it is for.
    pub description: String,
    /// Every enabled user holds it.
    pub everyone: bool,
    /// What a sync does with it.
    pub mode: Mode,
    /// Names at the IdP that give it; where the file is silent, the role's own name.
    pub external_roles: Vec<String>,
    /// In order.
    pub policies: Vec<Policy>,
}

/// Roles of one naming convention, declared at once: `[[role_template]]`.
#[derive(Clone, Debug)]
pub struct RoleTemplate {
    /// The pattern as written.
    pub name: String,
    /// The pattern, anchored at both ends.
    pub regex: Regex,
    /// What a sync does with its roles.
    pub mode: Mode,
    /// What they are for; `${capture}` is filled in.
    pub description: String,
    /// Policies whose texts may hold `${capture}`; parsed per role by
    /// [`RoleTemplate::instantiate`].
    pub policies: Vec<PolicyText>,
}

/// A policy of a template, before its captures are known.
#[derive(Clone, Debug)]
pub struct PolicyText {
    /// Allow or Deny.
    pub effect: Effect,
    /// At least one.
    pub actions: Vec<String>,
    /// Absent, or at least one.
    pub resources: Option<Vec<String>>,
}

/// A rule: who is in something holds these roles. `[[mapping]]`.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Its number in the file, from 1: rules are called `mapping[1]`.
    pub number: usize,
    /// Only this source; absent: every source.
    pub source: Option<String>,
    /// What it names.
    pub rule: MappingRule,
    /// The roles it gives. With [`MappingRule::GroupRegex`] they may hold `${capture}`.
    pub roles: Vec<String>,
}

impl Mapping {
    /// What its key in the configuration begins with.
    const KEY: &str = "mapping[";

    /// Its key in the configuration, `mapping[1]`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}{}]", Self::KEY, self.number)
    }

    /// Whether `rule`, the key of a rule, is one of a mapping: else it is of a role's own names.
    #[must_use]
    pub fn is_key(rule: &str) -> bool {
        rule.starts_with(Self::KEY)
    }
}

/// What a mapping names.
#[derive(Clone, Debug)]
pub enum MappingRule {
    /// `group = "/Eng/ML"` or a DN: a whole identity.
    Group(String),
    /// `group = ["Eng", "a/b"]`: a Keycloak group's names from the top.
    GroupPath(Vec<String>),
    /// `group_id = "…"`: a stable id, which survives renames.
    GroupId(String),
    /// `group_name = "admins"`: a bare name.
    GroupName(String),
    /// `group_regex = '…'`: anchored at both ends, on the whole identity.
    GroupRegex {
        /// As written.
        text: String,
        /// Anchored.
        regex: Regex,
        /// The same for sources whose names are folded: case does not matter.
        folded: Regex,
    },
    /// `organization = "acme"`: the members of an organization of Keycloak, by its alias.
    Organization(String),
    /// `organization_group = "acme:/Eng/ML"`: a whole identity.
    OrganizationGroup(String),
    /// `organization_group = ["acme", "Eng", "a/b"]`: told apart where a name holds a slash.
    OrganizationGroupPath {
        /// The organization's alias.
        alias: String,
        /// The group's names from the top.
        names: Vec<String>,
    },
    /// `organization_group = { organization = "acme", id = "…" }`: a stable id, which survives renames.
    OrganizationGroupId {
        /// The organization's alias.
        alias: String,
        /// The group's id.
        id: String,
    },
    /// `realm_role = "…"`
    RealmRole(String),
    /// `client_role = "client/role"`
    ClientRole(String),
    /// `client_role = ["client", "role"]`: told apart where either holds a slash.
    ClientRoleOf {
        /// The client's id.
        client: String,
        /// The role's name.
        role: String,
    },
    /// `attribute = { name = "…", value = "…" }`
    Attribute {
        /// The attribute's name.
        name: String,
        /// The value; compared as the source compares (exactly in Keycloak, ignoring case in LDAP).
        value: String,
    },
}

impl MappingRule {
    /// The alias of the organization that it speaks of, and whether of one of its groups.
    #[must_use]
    pub fn organization(&self) -> Option<(&str, bool)> {
        match self {
            MappingRule::Organization(alias) => Some((alias, false)),
            MappingRule::OrganizationGroup(group) => {
                split_organization_group(group).map(|(alias, _)| (alias, true))
            }
            MappingRule::OrganizationGroupPath { alias, .. }
            | MappingRule::OrganizationGroupId { alias, .. } => Some((alias, true)),
            MappingRule::Group(_)
            | MappingRule::GroupPath(_)
            | MappingRule::GroupId(_)
            | MappingRule::GroupName(_)
            | MappingRule::GroupRegex { .. }
            | MappingRule::RealmRole(_)
            | MappingRule::ClientRole(_)
            | MappingRule::ClientRoleOf { .. }
            | MappingRule::Attribute { .. } => None,
        }
    }
}

/// In words, such as "group `/Eng/ML`".
impl fmt::Display for MappingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MappingRule::Group(group) => write!(f, "group `{group}`"),
            MappingRule::GroupPath(path) => write!(f, "group `{}`", path.join("` → `")),
            MappingRule::GroupId(id) => write!(f, "the group with the id `{id}`"),
            MappingRule::GroupName(name) => write!(f, "a group called `{name}`"),
            MappingRule::GroupRegex { text, .. } => write!(f, "groups like `{text}`"),
            MappingRule::Organization(alias) => write!(f, "organization `{alias}`"),
            MappingRule::OrganizationGroup(group) => write!(f, "organization group `{group}`"),
            MappingRule::OrganizationGroupPath { alias, names } => {
                write!(f, "organization group `{alias}` → `{}`", names.join("` → `"))
            }
            MappingRule::OrganizationGroupId { alias, id } => {
                write!(f, "the group of organization `{alias}` with the id `{id}`")
            }
            MappingRule::RealmRole(role) => write!(f, "realm role `{role}`"),
            MappingRule::ClientRole(role) => write!(f, "client role `{role}`"),
            MappingRule::ClientRoleOf { client, role } => {
                write!(f, "role `{role}` of client `{client}`")
            }
            MappingRule::Attribute { name, value } => write!(f, "attribute `{name}` = `{value}`"),
        }
    }
}

//! Things of a source that a rule can name, and why somebody holds a role through them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// What kind of thing a reference is.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A group of people.
    Group,
    /// A role of a Keycloak realm.
    RealmRole,
    /// A role of a Keycloak client; its identity is `client/role`.
    ClientRole,
    /// Everyone with one value of one attribute; its identity is `name=value`.
    Attribute,
    /// Whoever bears one SID in another domain of Active Directory, and is in something of this one. Its
    /// id is the SID.
    ForeignPrincipal,
    /// An organization of a Keycloak realm, by its id; its identity is its alias. Who is directly in it are
    /// its members.
    Organization,
    /// A group of an organization; its identity is `alias:/path`, and as `/` in names is not escaped there,
    /// two may have the same. No realm group of the same path is meant by it.
    OrganizationGroup,
}

impl Kind {
    /// For messages: `group`, `realm role`, `client role`, `attribute`, `foreign security principal`,
    /// `organization`, `organization group`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Group => "group",
            Kind::RealmRole => "realm role",
            Kind::ClientRole => "client role",
            Kind::Attribute => "attribute",
            Kind::ForeignPrincipal => "foreign security principal",
            Kind::Organization => "organization",
            Kind::OrganizationGroup => "organization group",
        }
    }

    /// Whether rules reach things of this kind by their bare names. Organizations and their groups they do
    /// not: whoever administers an organization may give its groups any name.
    #[must_use]
    pub fn has_bare_name(self) -> bool {
        match self {
            Kind::Group | Kind::RealmRole | Kind::ClientRole => true,
            Kind::Attribute
            | Kind::ForeignPrincipal
            | Kind::Organization
            | Kind::OrganizationGroup => false,
        }
    }
}

/// What kind of thing a step of a reason's path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, serde::Serialize, serde::Deserialize)]
pub enum RefKind {
    /// A thing of a source's directory.
    Directory(Kind),
    /// What a verified token says of its bearer, ahead of the next read of the source.
    TokenClaim,
}

impl RefKind {
    /// Every kind.
    pub const ALL: [RefKind; 8] = [
        RefKind::Directory(Kind::Group),
        RefKind::Directory(Kind::RealmRole),
        RefKind::Directory(Kind::ClientRole),
        RefKind::Directory(Kind::Attribute),
        RefKind::Directory(Kind::ForeignPrincipal),
        RefKind::Directory(Kind::Organization),
        RefKind::Directory(Kind::OrganizationGroup),
        RefKind::TokenClaim,
    ];

    /// For messages: as [`Kind::as_str`], and `token claim`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RefKind::Directory(kind) => kind.as_str(),
            RefKind::TokenClaim => "token claim",
        }
    }
}

impl From<Kind> for RefKind {
    fn from(kind: Kind) -> Self {
        RefKind::Directory(kind)
    }
}

/// A thing of a source that a rule can name. Which thing it is its kind and id say; what it is called
/// may change, and another may be called so then.
#[derive(Clone, PartialEq, Eq, Debug, Hash, serde::Serialize, serde::Deserialize)]
pub struct ExternalRef {
    /// What kind of thing.
    pub kind: RefKind,
    /// Its stable id in its source: the key of a row of the directory. Absent only in what a store
    /// before schema 4 kept.
    pub id: Option<String>,
    /// For people: its DN, path or name when this was written.
    pub identity: String,
}

impl ExternalRef {
    /// A thing with an id.
    #[must_use]
    pub fn new(kind: impl Into<RefKind>, id: &str, identity: &str) -> Self {
        ExternalRef { kind: kind.into(), id: Some(id.to_owned()), identity: identity.to_owned() }
    }

    /// What stood for it in stores before schema 4, and stands in what the ids of held plans are made
    /// of. Fixed to the byte, however it reads for people.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} `{}`", label_word(self.kind), self.identity)
    }

    /// What [`ExternalRef::label`] made, without the id.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        RefKind::ALL.into_iter().find_map(|kind| {
            let rest = label.strip_prefix(label_word(kind))?;
            let identity = rest.strip_prefix(" `")?.strip_suffix('`')?.to_owned();
            Some(ExternalRef { kind, id: None, identity })
        })
    }
}

fn label_word(kind: RefKind) -> &'static str {
    match kind {
        RefKind::Directory(Kind::Group) => "group",
        RefKind::Directory(Kind::RealmRole) => "realm role",
        RefKind::Directory(Kind::ClientRole) => "client role",
        RefKind::Directory(Kind::Attribute) => "attribute",
        RefKind::Directory(Kind::ForeignPrincipal) => "foreign security principal",
        RefKind::Directory(Kind::Organization) => "organization",
        RefKind::Directory(Kind::OrganizationGroup) => "organization group",
        RefKind::TokenClaim => "token claim",
    }
}

/// As people read it: ``group `/Eng/ML` ``.
impl fmt::Display for ExternalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExternalRef { kind, id: _, identity } = self;
        write!(f, "{} `{identity}`", kind.as_str())
    }
}

/// By what people read, so that lists come in the order of their words.
impl Ord for ExternalRef {
    fn cmp(&self, other: &Self) -> Ordering {
        // Where one kind's words begin with another's it is the same: a blank comes before a backtick.
        let kinds = self.kind.as_str().cmp(other.kind.as_str());
        let identities = || quoted(self.identity.as_bytes(), other.identity.as_bytes());
        kinds.then_with(identities).then_with(|| self.id.cmp(&other.id))
    }
}

/// Compares two texts as they stand between backticks.
fn quoted(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.len().min(b.len());
    a.get(..common).cmp(&b.get(..common)).then_with(|| match (a.get(common), b.get(common)) {
        (None, Some(next)) => b'`'.cmp(next).then(Ordering::Less),
        (Some(next), None) => next.cmp(&b'`').then(Ordering::Greater),
        (None, None) | (Some(_), Some(_)) => Ordering::Equal,
    })
}

impl PartialOrd for ExternalRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why an identity provider's grant exists.
#[derive(
    Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Reason {
    /// The source's name.
    pub source: String,
    /// The rule, by its key in the configuration, such as `roles.osmo-user.external_roles` or
    /// `mapping[2]`.
    pub rule: String,
    /// From what lists the person, step by step, to what the rule matched.
    pub path: Vec<ExternalRef>,
}

impl Reason {
    /// What the rule matched: the end of the path.
    #[must_use]
    pub fn target(&self) -> Option<&ExternalRef> {
        self.path.last()
    }

    /// Whether it leads through another domain: what is before the foreign security principal on the way
    /// is of other sources than [`Reason::source`].
    #[must_use]
    pub fn leads_abroad(&self) -> bool {
        self.path.iter().any(|step| step.kind == RefKind::Directory(Kind::ForeignPrincipal))
    }

    /// Whether people read the same in both, whatever the ids.
    #[must_use]
    pub fn reads_as(&self, other: &Reason) -> bool {
        fn words(it: &Reason) -> impl Iterator<Item = (RefKind, &str)> {
            it.path.iter().map(|step| (step.kind, step.identity.as_str()))
        }
        self.source == other.source && self.rule == other.rule && words(self).eq(words(other))
    }

    /// Hashes what [`Reason::reads_as`] compares.
    pub fn hash_words(&self, hasher: &mut impl Hasher) {
        let Reason { source, rule, path } = self;
        (source, rule).hash(hasher);
        path.iter().for_each(|step| (step.kind, &step.identity).hash(hasher));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_the_order_of_their_words_and_are_told_apart_by_their_ids() {
        let group = |id: &str, identity: &str| ExternalRef::new(Kind::Group, id, identity);
        let mut things = vec![
            ExternalRef { kind: RefKind::TokenClaim, id: None, identity: "roles".to_owned() },
            group("2", "/a"),
            group("1", "/a b"),
            group("1", "/a`"),
            group("1", "/a`b"),
            group("1", "/ab"),
            group("1", "/a{"),
            group("1", ""),
            group("1", "/a"),
            ExternalRef::new(Kind::RealmRole, "a", "a"),
            ExternalRef::new(Kind::ClientRole, "c/a", "c/a"),
            ExternalRef::new(Kind::Attribute, "a=b", "a=b"),
            ExternalRef::new(Kind::OrganizationGroup, "3", "a:/b"),
            ExternalRef::new(Kind::Organization, "4", "z"),
            ExternalRef::new(Kind::Organization, "5", ""),
            ExternalRef { id: None, ..group("", "/a") },
        ];
        let mut words: Vec<String> = things.iter().map(ToString::to_string).collect();
        words.sort();
        things.sort();
        assert_eq!(things.iter().map(ToString::to_string).collect::<Vec<_>>(), words);
        let a = things.iter().filter(|it| it.identity == "/a");
        assert_eq!(a.map(|it| it.id.as_deref()).collect::<Vec<_>>(), [None, Some("1"), Some("2")]);
    }
}

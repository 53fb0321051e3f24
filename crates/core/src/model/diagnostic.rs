//! What is worth telling of a configuration, a source or a run: a value with a stable code, what it
//! is about, and the sentence for people.
//!
//! Programs go by [`Diagnostic::code`] and [`Diagnostic::subject`]; the message is for people alone,
//! and nothing in this program decides on it. `docs/output.md` has a row for each code.

use std::cmp::Ordering;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ExternalRef, Kind, RefKind};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is kept from happening.
    Warning,
    /// A read fails or lies because of it: `check` exits 1.
    Error,
}

/// What a diagnostic is about, so that two of one kind can be told apart without their words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// Nothing but the source, or the whole run.
    None,
    /// A user by the name that the gateway knows.
    User(String),
    /// A user who would be called otherwise.
    Rename {
        /// What they are called.
        from: String,
        /// What they would be called.
        to: String,
    },
    /// A person in a source, by their id or DN there.
    Account(String),
    /// A platform role.
    Role(String),
    /// A key of the configuration: a rule (`mapping[3]`), a policy (`roles.x.policies[1]`).
    Setting(String),
    /// A group or role of a source, or an attribute's value.
    Reference(ExternalRef),
    /// A bare name, which several groups may bear.
    Name(String),
    /// An attribute of people.
    Attribute(String),
    /// What a rule would give: the rule's key, the role, and through what.
    Gift {
        /// The rule's key in the configuration.
        rule: String,
        /// The role.
        role: String,
        /// What the rule matched.
        through: ExternalRef,
    },
    /// A file, or a place in one (`config.yaml:12`).
    File(String),
    /// A client of a Keycloak realm.
    Client(String),
    /// A federation of a Keycloak realm.
    Federation(String),
    /// A mapper of a federation of a Keycloak realm.
    Mapper {
        /// The federation's name.
        federation: String,
        /// The mapper's.
        mapper: String,
    },
    /// A list of things that a source has: `users`, `groups`, `roles`.
    Scope(String),
    /// An issuer of tokens.
    Issuer(String),
    /// An action that routes ask for, with where they are said.
    Route(String),
    /// What runs workloads: a pool's platform, a backend, a service account, a cloud identity.
    Workload(String),
}

impl Subject {
    /// A group or role of a source, or an attribute's value, by what it is called: what is told of it
    /// is told of whatever is called so.
    #[must_use]
    pub fn reference(kind: Kind, identity: &str) -> Self {
        let (kind, identity) = (RefKind::Directory(kind), identity.to_owned());
        Subject::Reference(ExternalRef { kind, id: None, identity })
    }

    /// What `rule` would give: `role`, `through` a thing of a source.
    #[must_use]
    pub fn gift(rule: &str, role: &str, through: ExternalRef) -> Self {
        Subject::Gift { rule: rule.to_owned(), role: role.to_owned(), through }
    }

    /// Whether it is somebody called `name`, who would be called so, or whose account is.
    #[must_use]
    pub fn is_person(&self, name: &str) -> bool {
        match self {
            Subject::User(user) | Subject::Account(user) => user == name,
            Subject::Rename { from, to } => from == name || to == name,
            _ => false,
        }
    }
}

/// A diagnostic in output: `docs/output.md`.
#[derive(Serialize)]
pub struct DiagnosticView<'a> {
    code: DiagnosticCode,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectView<'a>>,
    message: &'a str,
}

/// The form for programs: `kind`, and what tells it apart.
#[derive(Serialize)]
struct SubjectView<'a> {
    kind: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<ReferenceView<'a>>,
}

#[derive(Serialize)]
struct ReferenceView<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
}

impl<'a> ReferenceView<'a> {
    fn of(reference: &'a ExternalRef) -> Self {
        let kind = match reference.kind {
            RefKind::Directory(Kind::Group) => "group",
            RefKind::Directory(Kind::RealmRole) => "realm-role",
            RefKind::Directory(Kind::ClientRole) => "client-role",
            RefKind::Directory(Kind::Attribute) => "attribute",
            RefKind::TokenClaim => "token-claim",
        };
        ReferenceView { kind, id: reference.id.as_deref(), name: &reference.identity }
    }
}

impl Subject {
    /// A list of a source: `users`, `groups`, `roles`.
    #[must_use]
    pub fn scope(name: &str) -> Self {
        Subject::Scope(name.to_owned())
    }

    fn view(&self) -> Option<SubjectView<'_>> {
        let named = |kind, name| SubjectView {
            kind,
            name,
            id: None,
            of: None,
            to: None,
            role: None,
            through: None,
        };
        let view = match self {
            Subject::None => return None,
            Subject::User(name) => named("user", name),
            Subject::Rename { from, to } => SubjectView { to: Some(to), ..named("user", from) },
            Subject::Account(id) => named("account", id),
            Subject::Role(name) => named("role", name),
            Subject::Setting(key) => named("setting", key),
            Subject::Reference(reference) => {
                let ReferenceView { kind, id, name } = ReferenceView::of(reference);
                SubjectView { id, ..named(kind, name) }
            }
            Subject::Name(name) => named("name", name),
            Subject::Attribute(name) => named("user-attribute", name),
            Subject::Gift { rule, role, through } => SubjectView {
                role: Some(role),
                through: Some(ReferenceView::of(through)),
                ..named("gift", rule)
            },
            Subject::File(path) => named("file", path),
            Subject::Client(name) => named("client", name),
            Subject::Federation(name) => named("federation", name),
            Subject::Mapper { federation, mapper } => {
                SubjectView { of: Some(federation), ..named("mapper", mapper) }
            }
            Subject::Scope(name) => named("scope", name),
            Subject::Issuer(name) => named("issuer", name),
            Subject::Route(name) => named("route", name),
            Subject::Workload(name) => named("workload", name),
        };
        Some(view)
    }
}

/// One thing worth telling.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Diagnostic {
    /// What kind of thing it is.
    pub code: DiagnosticCode,
    /// How bad it is.
    pub severity: Severity,
    /// The source that it is about.
    pub source: Option<String>,
    /// What it is about.
    pub subject: Subject,
    /// For people: what is so, what that means, what to do.
    pub message: String,
}

impl Diagnostic {
    /// A warning.
    #[must_use]
    pub fn warning(code: DiagnosticCode, subject: Subject, message: impl Into<String>) -> Self {
        let (severity, message) = (Severity::Warning, message.into());
        Diagnostic { code, severity, source: None, subject, message }
    }

    /// An error: what cannot be as it should.
    #[must_use]
    pub fn error(code: DiagnosticCode, subject: Subject, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Error, ..Diagnostic::warning(code, subject, message) }
    }

    /// The same about `source`; the message names it already.
    #[must_use]
    pub fn of(self, source: &str) -> Self {
        Diagnostic { source: Some(source.to_owned()), ..self }
    }

    /// The same as `source` said it: the message begins with its name.
    #[must_use]
    pub fn said_by(self, source: &str) -> Self {
        let message = format!("{source}: {}", self.message);
        Diagnostic { message, ..self }.of(source)
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The form for programs.
    #[must_use]
    pub fn view(&self) -> DiagnosticView<'_> {
        let Diagnostic { code, severity, source, subject, message } = self;
        DiagnosticView {
            code: *code,
            severity: *severity,
            source: source.as_deref(),
            subject: subject.view(),
            message,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The order in which people read them: by their words. Two that read alike stand together.
impl Ord for Diagnostic {
    fn cmp(&self, other: &Self) -> Ordering {
        let Diagnostic { code, severity, source, subject, message } = self;
        message
            .cmp(&other.message)
            .then_with(|| code.cmp(&other.code))
            .then_with(|| severity.cmp(&other.severity))
            .then_with(|| source.cmp(&other.source))
            .then_with(|| subject.cmp(&other.subject))
    }
}

impl PartialOrd for Diagnostic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The sentences of a sorted list, each once.
#[must_use]
pub fn texts<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Vec<String> {
    let mut texts: Vec<String> = diagnostics.into_iter().map(|it| it.message.clone()).collect();
    texts.dedup();
    texts
}

/// The kinds of things worth telling, each with its word in output and logs.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What kind of thing a [`Diagnostic`] is. Its word never changes.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum DiagnosticCode {
            $($(#[$doc])* $name,)*
        }

        impl DiagnosticCode {
            /// Every code.
            pub const ALL: &'static [DiagnosticCode] = &[$(DiagnosticCode::$name,)*];

            /// The word for programs.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(DiagnosticCode::$name => $word,)*
                }
            }
        }
    };
}

impl Serialize for DiagnosticCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DiagnosticCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let found = DiagnosticCode::ALL.iter().find(|code| code.as_str() == word);
        found.copied().ok_or_else(|| D::Error::custom(format!("no code is `{word}`")))
    }
}

impl fmt::Display for DiagnosticCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

codes! {
    // The configuration.
    /// A secret goes over the network unencrypted.
    SecretInClear = "secret-in-clear",
    /// What a source says comes over the network unencrypted.
    SourceInClear = "source-in-clear",
    /// A secret's file can be read by every user of the machine.
    SecretReadable = "secret-readable",
    /// A listener beyond the machine is unencrypted.
    ListenerInClear = "listener-in-clear",
    /// The TLS listener asks no client for a certificate.
    ListenerOpen = "listener-open",
    /// Whoever has no identity may do everything.
    AnonymousUnlimited = "anonymous-unlimited",
    /// The gateway has no route.
    NoRoutes = "no-routes",
    /// Names, not ids, say whom a token is for.
    NamesDecide = "names-decide",
    /// An issuer's keys come unencrypted from another machine.
    KeysInClear = "keys-in-clear",
    /// Just-in-time provisioning by claims gives an issuer's bearers nothing.
    ClaimsWithoutSource = "claims-without-source",
    /// An issuer's keys could not be had.
    IssuerUnreachable = "issuer-unreachable",
    /// A route that no role's policy allows.
    RouteNobodyMay = "route-nobody-may",
    /// A policy allows what no route asks for.
    PolicyWithoutRoute = "policy-without-route",
    /// A Deny without resources does not cover requests that have one.
    DenyWithoutResources = "deny-without-resources",
    /// A policy lets people make tokens in the names of others.
    TokensForOthers = "tokens-for-others",
    /// A source without `grants` could give a protected role.
    SourceWithoutGrants = "source-without-grants",
    /// A role that denies hangs on a bare name.
    RestrictionByName = "restriction-by-name",
    /// No source says who is there.
    NoLifecycle = "no-lifecycle",
    /// A mapping gives a role that everyone holds.
    MappingOfEveryone = "mapping-of-everyone",
    /// A mapping gives a role whose mode is `ignore`.
    MappingOfIgnored = "mapping-of-ignored",
    /// A mapping gives a role outside its source's `grants`.
    MappingOutsideGrants = "mapping-outside-grants",
    /// A mapping can never reach a protected role.
    MappingOfProtected = "mapping-of-protected",
    /// A template can never make a protected role.
    TemplateOfProtected = "template-of-protected",
    /// `sync_mode` of a role that everyone holds.
    SyncModeUnused = "sync-mode-unused",
    /// A group's path that ends in a slash.
    TrailingSlash = "trailing-slash",
    /// `client/role` that has two readings.
    ClientRoleAmbiguous = "client-role-ambiguous",
    /// A pattern of files fits none, or a file that may be absent is.
    FileAbsent = "file-absent",
    /// H2O has no administrator.
    H2oNoAdministrator = "h2o-no-administrator",
    /// Everyone has H2O's full access.
    H2oOpen = "h2o-open",
    /// A tag of H2O without roles.
    H2oTagUnused = "h2o-tag-unused",
    /// H2O's administrators can be made by naming a group.
    H2oAdministratorOpen = "h2o-administrator-open",
    /// A part of OSMO's configuration that is not read.
    OsmoUnread = "osmo-unread",
    /// OSMO takes its roles from elsewhere.
    OsmoElsewhere = "osmo-elsewhere",
    /// What OSMO's values leave out was taken from the chart's defaults.
    OsmoDefaults = "osmo-defaults",
    /// An action that OSMO does not have.
    OsmoActionUnknown = "osmo-action-unknown",
    /// `external_roles` of a role that everybody holds at OSMO.
    OsmoExternalRolesUnused = "osmo-external-roles-unused",
    /// Workload identities without an imported pool.
    WorkloadNoPool = "workload-no-pool",
    /// A service account without a namespace.
    WorkloadNoNamespace = "workload-no-namespace",
    /// Which cloud identity pods reach is unknown.
    WorkloadUnknown = "workload-unknown",
    /// Pods that are nobody in any cloud.
    WorkloadNobody = "workload-nobody",
    /// AKS gives pods no token.
    WorkloadNoLabel = "workload-no-label",
    /// A cloud identity of several namespaces.
    WorkloadShared = "workload-shared",
    /// A backend that no imported pool runs on.
    WorkloadBackendUnused = "workload-backend-unused",

    // Rules and people.
    /// A role may be held through what was never read in full.
    RoleUnread = "role-unread",
    /// A bare name, path or client role that fits several things of a source.
    Ambiguous = "ambiguous",
    /// What a pattern captured is refused.
    CaptureRefused = "capture-refused",
    /// A rule comes to a role that there is not.
    RoleUndeclared = "role-undeclared",
    /// A rule would reach a protected role in a way that may not.
    ProtectedUnreachable = "protected-unreachable",
    /// A rule would give what the source's `grants` do not name.
    OutsideGrants = "outside-grants",
    /// A mapping that matches nothing.
    MappingUnmatched = "mapping-unmatched",
    /// A role that nothing in any source gives.
    RoleUnmatched = "role-unmatched",
    /// A source's role that differs from another in case only.
    RoleCaseConflict = "role-case-conflict",
    /// A template does not take a name.
    TemplateRefuses = "template-refuses",
    /// A template would make a protected role.
    TemplateProtected = "template-protected",
    /// A group that a mapping names in whole is called otherwise now.
    GroupRenamed = "group-renamed",
    /// Somebody's name cannot be a username.
    UsernameRefused = "username-refused",
    /// A user cannot be renamed: the name is taken.
    RenameRefused = "rename-refused",
    /// Somebody is back whose name is another's by now.
    ReturnRefused = "return-refused",
    /// A username is another person's now.
    UsernameReused = "username-reused",
    /// Several people come to one username.
    UsernameCollision = "username-collision",
    /// A newcomer bears the name of an account that is never linked.
    NeverLinked = "never-linked",
    /// Somebody has another id in a source than before.
    OtherId = "other-id",
    /// People whom only a source without lifecycle knows.
    KnownAlone = "known-alone",
    /// A protected role has fewer holders than it should.
    ProtectedBelowMinimum = "protected-below-minimum",
    /// Users of whom the source's answer cannot be believed yet.
    EnabledUnknown = "enabled-unknown",
    /// The default admin is not there.
    DefaultAdminAbsent = "default-admin-absent",
    /// The default admin's token cannot be made.
    DefaultAdminToken = "default-admin-token",
    /// The default admin is refused: its secret, or its name.
    DefaultAdminRefused = "default-admin-refused",
    /// The key that signs exchanged tokens cannot be used.
    SigningKeyRefused = "signing-key-refused",

    // Sources.
    /// A source could not be read at all.
    SourceFailed = "source-failed",
    /// A list of a source was not read in full.
    SourcePartial = "source-partial",
    /// A realm that is disabled.
    RealmDisabled = "realm-disabled",
    /// An export without a part that others have.
    ExportIncomplete = "export-incomplete",
    /// A file with users beside an export is not read.
    UsersFileUnread = "users-file-unread",
    /// A configured client that a source does not have.
    ClientAbsent = "client-absent",
    /// A value of an export that is not what Keycloak writes there.
    OddValue = "odd-value",
    /// A role that is held and not listed.
    RoleUnlisted = "role-unlisted",
    /// A role that is listed twice, or has another's id.
    RoleDuplicate = "role-duplicate",
    /// Groups that cannot be told apart.
    GroupDuplicate = "group-duplicate",
    /// A role called `.` or `..`.
    RoleNameRefused = "role-name-refused",
    /// A group's path that fits no group, or several.
    GroupPathUnclear = "group-path-unclear",
    /// Entries that are replication conflicts.
    ReplicationConflicts = "replication-conflicts",
    /// Entries that cannot be used as users or groups.
    EntriesUnusable = "entries-unusable",
    /// A value of a user that cannot be read.
    ValueUnreadable = "value-unreadable",
    /// A group's members are not all known.
    MembersUnknown = "members-unknown",
    /// Members of a group that lead to no user.
    MembersLost = "members-lost",
    /// What a person's entry says of its groups is not what the groups say.
    MemberOfDiffers = "member-of-differs",
    /// A group that rules name and that gives no rights.
    DistributionGroup = "distribution-group",
    /// An attribute that no user shows.
    AttributeUnseen = "attribute-unseen",
    /// An attribute that the realm's user profile hides.
    AttributeHidden = "attribute-hidden",
    /// Memberships of people who were not read.
    MembershipsOfStrangers = "memberships-of-strangers",
    /// The server refuses pages of the configured size.
    PageSizeRefused = "page-size-refused",
    /// A directory is read anonymously.
    AnonymousBind = "anonymous-bind",
    /// What the service account may not do and must.
    RightsMissing = "rights-missing",
    /// A token that does not show its own rights.
    RightsHidden = "rights-hidden",
    /// The service account may do more than it needs.
    RightsTooWide = "rights-too-wide",
    /// What everyone normally holds contains a role that a rule names.
    DefaultRolesMatched = "default-roles-matched",
    /// A federation whose people or outages cannot be told for sure.
    FederationUncertain = "federation-uncertain",
    /// A federation that does not answer.
    FederationDown = "federation-down",
    /// A federation's mapper whose effect is not seen.
    MapperUnseen = "mapper-unseen",
    /// A role that is in one configured client and not in another.
    RoleInOneClient = "role-in-one-client",
    /// A role that is assigned to somebody in one configured client and not in another.
    AssignedInOneClient = "assigned-in-one-client",
    /// A name that nearly follows a template's convention.
    OutsideConvention = "outside-convention",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kebab_case_and_each_is_one_codes() {
        let mut words: Vec<&str> = DiagnosticCode::ALL.iter().map(|code| code.as_str()).collect();
        for word in &words {
            let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
            assert!(
                word.split('-').all(|part| !part.is_empty() && part.chars().all(plain)),
                "{word}"
            );
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), DiagnosticCode::ALL.len());
    }

    #[test]
    fn they_are_read_in_the_order_of_their_words_and_told_once() {
        let one = |code, message| Diagnostic::warning(code, Subject::None, message);
        let mut list = [
            one(DiagnosticCode::OddValue, "b"),
            one(DiagnosticCode::Ambiguous, "b"),
            one(DiagnosticCode::SourceFailed, "a"),
        ];
        list.sort();
        assert_eq!(texts(&list), ["a", "b"]);
    }

    #[test]
    fn a_subject_is_an_object_of_its_kind_and_nothing_is_absent() {
        let group = ExternalRef::new(Kind::Group, "7", "/Eng");
        let gift = Subject::gift("mapping[1]", "ml", group);
        let told = Diagnostic::warning(DiagnosticCode::OutsideGrants, gift, "no").said_by("corp");
        let json = serde_json::json!({
            "code": "outside-grants", "severity": "warning", "source": "corp",
            "subject": {
                "kind": "gift", "name": "mapping[1]", "role": "ml",
                "through": { "kind": "group", "id": "7", "name": "/Eng" },
            },
            "message": "corp: no",
        });
        assert_eq!(serde_json::to_value(told.view()).ok(), Some(json));
        let bare = Diagnostic::warning(DiagnosticCode::NoRoutes, Subject::None, "none");
        let json = serde_json::json!({
            "code": "no-routes", "severity": "warning", "message": "none",
        });
        assert_eq!(serde_json::to_value(bare.view()).ok(), Some(json));
    }
}

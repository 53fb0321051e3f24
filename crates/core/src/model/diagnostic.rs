//! What is worth telling of a configuration, a source or a run: a value with a stable code, what it
//! is about, and the sentence for people.
//!
//! Programs go by [`Diagnostic::code`] and [`Diagnostic::subject`]; the message is for people alone,
//! and nothing in this program decides on it. `docs/output.md` has a row for each code.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DiagnosticCode, ExternalRef, Kind, RefKind};

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
            RefKind::Directory(Kind::ForeignPrincipal) => "foreign-principal",
            RefKind::Directory(Kind::Organization) => "organization",
            RefKind::Directory(Kind::OrganizationGroup) => "organization-group",
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

/// The first `most` of some names, quoted, and how many more there are: `` `a`, `b` and 7 more ``.
#[must_use]
pub fn some_of<N: AsRef<str>>(names: impl IntoIterator<Item = N>, most: usize) -> String {
    let mut names = names.into_iter();
    let some: Vec<String> = (names.by_ref().take(most))
        .map(|name| format!("`{}`", name.as_ref().escape_debug()))
        .collect();
    let more = match names.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", some.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn some_names_are_told_and_the_others_counted() {
        let names = ["a", "b\n", "c"];
        assert_eq!(some_of(names, 2), "`a`, `b\\n` and 1 more");
        assert_eq!(some_of(names, 3), "`a`, `b\\n`, `c`");
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

//! ServiceAccounts of Kubernetes manifests.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::yaml::{self, Node, Position};
use crate::model::fault::{Code, FileFault};
use crate::model::{Cloud, Diagnostic, DiagnosticCode, Subject};

/// What each cloud's webhook or agent reads.
const ANNOTATIONS: [(&str, Cloud); 3] = [
    ("eks.amazonaws.com/role-arn", Cloud::Aws),
    ("azure.workload.identity/client-id", Cloud::Azure),
    ("iam.gke.io/gcp-service-account", Cloud::Gcp),
];

/// What a ServiceAccount says of clouds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceAccount {
    /// The identities that it bears, at most one a cloud.
    pub identities: BTreeMap<Cloud, String>,
}

/// Service accounts by namespace and name.
pub type Accounts = BTreeMap<(String, String), ServiceAccount>;

/// What manifests said.
#[derive(Default)]
pub struct Manifests {
    /// Their service accounts.
    pub accounts: Accounts,
    /// What is wrong.
    pub faults: Vec<FileFault>,
    /// Worth telling.
    pub diagnostics: Vec<Diagnostic>,
    /// Where each was declared.
    origins: BTreeMap<(String, String), String>,
}

/// Reads manifests: path and text of each. Other kinds than ServiceAccounts are left out.
#[must_use]
pub fn read<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Manifests {
    let mut out = Manifests::default();
    for (file, text) in files {
        match yaml::documents(text) {
            Err(error) => out.fault(file, error.place, Code::Syntax, error.fault.to_string()),
            Ok(documents) => documents.iter().for_each(|node| out.object(file, node)),
        }
    }
    out
}

impl Manifests {
    fn fault(&mut self, file: &Path, place: Position, code: Code, message: impl Into<String>) {
        self.faults.push(FileFault {
            file: Some(file.to_owned()),
            line: place.line,
            column: place.column,
            key: String::new(),
            code,
            message: message.into(),
            did_you_mean: None,
        });
    }

    /// One object, or each of a list of them.
    fn object(&mut self, file: &Path, node: &Node) {
        let Some(kind) = node.get("kind").and_then(Node::text) else {
            let message = "is no Kubernetes object: it has no `kind`";
            return self.fault(file, node.place, Code::MissingKey, message);
        };
        if kind == "ServiceAccount" {
            return self.account(file, node);
        }
        // `kubectl get -o yaml`: a List of whatever; the API: a ServiceAccountList.
        if let Some(of) = kind.strip_suffix("List") {
            let Some(items) = node.get("items").filter(|items| !items.is_null()) else { return };
            let Some(items) = items.list() else {
                let message = format!("expected a list of items, found {}", items.kind());
                return self.fault(file, items.place, Code::WrongType, message);
            };
            for item in items {
                match item.get("kind") {
                    // The items of a ServiceAccountList do not say what they are.
                    None if of == "ServiceAccount" => self.account(file, item),
                    None if !of.is_empty() => {}
                    _ => self.object(file, item),
                }
            }
        }
    }

    fn account(&mut self, file: &Path, node: &Node) {
        let metadata = node.get("metadata");
        let field = |name: &str| metadata.and_then(|it| it.get(name));
        let Some(name) = field("name").and_then(Node::text) else {
            let message = "a ServiceAccount without `metadata.name`";
            return self.fault(file, node.place, Code::MissingKey, message);
        };
        let annotations = field("annotations").filter(|it| !it.is_null());
        if let Some(annotations) = annotations.filter(|it| it.map().is_none()) {
            let message =
                format!("ServiceAccount `{name}`: annotations are {}, no map", annotations.kind());
            return self.fault(file, annotations.place, Code::WrongType, message);
        }
        let mut account = ServiceAccount::default();
        for (key, cloud) in ANNOTATIONS {
            let Some(value) = annotations.and_then(|it| it.get(key)) else { continue };
            match value.text() {
                Some("") => {}
                Some(identity) => {
                    account.identities.insert(cloud, identity.to_owned());
                }
                None => {
                    let message = format!(
                        "ServiceAccount `{name}`: the annotation `{key}` is {}, no string",
                        value.kind()
                    );
                    return self.fault(file, value.place, Code::WrongType, message);
                }
            }
        }
        let at = format!("{}:{}", file.display(), node.place.line);
        let Some(namespace) = field("namespace").and_then(Node::text) else {
            self.diagnostics.push(Diagnostic::warning(DiagnosticCode::WorkloadNoNamespace, Subject::Workload(name.to_owned()), format!(
                "workload: {at}: ServiceAccount `{name}` names no namespace: in which one it is is \
                 unknown, so it is left out"
            )));
            return;
        };
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(first) = self.accounts.get(&key)
            && *first != account
        {
            let first = self.origins.get(&key).cloned().unwrap_or_default();
            let message = format!(
                "ServiceAccount `{namespace}/{name}` bears other identities here than in `{first}`"
            );
            return self.fault(file, node.place, Code::Conflict, message);
        }
        self.origins.entry(key.clone()).or_insert(at);
        self.accounts.insert(key, account);
    }
}

//! Workload identity: who the pods of a pool are in the clouds.
//!
//! ```text
//! pool, platform ─► merged pod template ─► service account ─┐
//! pool's backend ─► [[workload.backend]] ─► namespace ──────┴─► manifest ─► annotations ─► identity
//!                                                              [[workload.association]] ─┘
//! ```
//!
//! Three answers are told apart: an identity, none, and unknown. What is left to run time, what no
//! manifest shows and whose namespace nothing tells is unknown, never none.

mod manifest;

use std::collections::{BTreeMap, BTreeSet};

use super::osmo::{Osmo, Platform, Pool, merged};
use super::yaml::{Node, Value};
use crate::model::{Cloud, Diagnostic, DiagnosticCode, Subject, WorkloadIdentity};

pub use manifest::{Accounts, ServiceAccount, read};

/// `[workload]`
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// The service accounts of the manifests.
    pub accounts: Accounts,
    /// `[[workload.backend]]`: backends' namespaces.
    pub backends: BTreeMap<String, String>,
    /// `[[workload.association]]`: roles by namespace and service account.
    pub associations: BTreeMap<(String, String), BTreeSet<String>>,
}

/// AKS injects a token into pods that bear this label.
const AZURE_LABEL: &str = "azure.workload.identity/use";

/// What the pods of OSMO's pools are in the clouds, sorted, and what is worth telling of it.
#[must_use]
pub fn identities(osmo: &Osmo, workload: &Workload) -> (Vec<WorkloadIdentity>, Vec<Diagnostic>) {
    let mut told = Findings::default();
    let mut rows = BTreeSet::new();
    for (name, pool) in &osmo.pools {
        for (platform_name, platform) in &pool.platforms {
            let pods = Pods::of(osmo, pool, platform);
            let row = |found: Found| WorkloadIdentity {
                pool: name.clone(),
                platform: platform_name.clone(),
                namespace: found.namespace,
                service_account: found.account,
                cloud: found.cloud,
                identity: found.identity,
                why: found.why,
            };
            let place = format!("{name}/{platform_name}");
            rows.extend(pods.find(workload, &place, &mut told).into_iter().map(row));
        }
    }
    let warnings = told.warnings(osmo, workload);
    (rows.into_iter().collect(), warnings)
}

/// What a pod template says of its pods.
struct Pods<'a> {
    backend: Option<&'a str>,
    account: RunsAs,
    /// Whether AKS is asked for a token; `None`: left to run time.
    labelled: Option<bool>,
}

/// The service account of pods.
enum RunsAs {
    Account(String),
    /// Left to run time, with the text that says so.
    AtRunTime(String),
}

/// Whether a text is filled in when a workflow runs.
fn at_run_time(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

impl<'a> Pods<'a> {
    fn of(osmo: &Osmo, pool: &'a Pool, platform: &Platform) -> Self {
        let template = merged(pool, platform, &osmo.templates);
        let spec = template.get("spec");
        let account = match spec.map(|spec| &spec.value) {
            Some(Value::Text(text)) if at_run_time(text) => RunsAs::AtRunTime(text.clone()),
            _ => account(spec),
        };
        let labels = template.get("metadata").and_then(|it| it.get("labels"));
        let label = labels.and_then(|it| it.get(AZURE_LABEL));
        let labelled = match label.map(|label| &label.value) {
            Some(Value::Text(text)) if at_run_time(text) => None,
            Some(Value::Text(text)) => Some(text == "true"),
            _ => Some(false),
        };
        Pods { backend: pool.backend.as_deref(), account, labelled }
    }

    fn find(&self, workload: &Workload, place: &str, told: &mut Findings) -> Vec<Found> {
        let namespace = self.backend.and_then(|backend| workload.backends.get(backend));
        let account = match &self.account {
            RunsAs::Account(account) => account,
            RunsAs::AtRunTime(text) => {
                told.at_run_time.insert((place.to_owned(), text.clone()));
                let why =
                    format!("the pod template leaves the service account to run time: `{text}`");
                return vec![Found::unknown(namespace, None, why)];
            }
        };
        let Some(namespace) = namespace else {
            let why = match self.backend {
                Some(backend) => {
                    told.backends.entry(backend.to_owned()).or_default().insert(place.to_owned());
                    format!("no `[[workload.backend]]` says the namespace of backend `{backend}`")
                }
                None => {
                    told.no_backend.insert(place.to_owned());
                    "the pool names no backend, so its namespace is not known".to_owned()
                }
            };
            return vec![Found::unknown(None, Some(account), why)];
        };
        let key = (namespace.clone(), account.clone());
        let known = |cloud, identity: &str| Found {
            namespace: Some(namespace.clone()),
            account: Some(account.clone()),
            cloud: Some(cloud),
            identity: Some(identity.to_owned()),
            why: String::new(),
        };
        let associated = workload.associations.get(&key).into_iter().flatten();
        let mut found: Vec<Found> = associated.map(|role| known(Cloud::Aws, role)).collect();
        let Some(manifest) = workload.accounts.get(&key) else {
            told.no_manifest.entry(key).or_default().insert(place.to_owned());
            let why = format!("no manifest shows the service account `{namespace}/{account}`");
            found.push(Found::unknown(Some(namespace), Some(account), why));
            return found;
        };
        for (cloud, identity) in &manifest.identities {
            if at_run_time(identity) {
                told.filled_in
                    .entry((key.clone(), identity.clone()))
                    .or_default()
                    .insert(place.to_owned());
                let why = format!("its manifest is a template: `{identity}`");
                let unknown = Found::unknown(Some(namespace), Some(account), why);
                found.push(Found { cloud: Some(*cloud), ..unknown });
                continue;
            }
            if *cloud == Cloud::Azure && self.labelled != Some(true) {
                told.unlabelled.insert((place.to_owned(), self.labelled.is_none()));
            }
            found.push(known(*cloud, identity));
        }
        if found.is_empty() {
            told.nobody.entry(key).or_default().insert(place.to_owned());
        }
        found
    }
}

/// The service account of a pod's `spec`: `default` where it names none.
fn account(spec: Option<&Node>) -> RunsAs {
    // The older name counts where the newer is not there.
    for key in ["serviceAccountName", "serviceAccount"] {
        match spec.and_then(|spec| spec.get(key)).map(|node| &node.value) {
            Some(Value::Text(text)) if at_run_time(text) => return RunsAs::AtRunTime(text.clone()),
            Some(Value::Text(text) | Value::Number(text)) if !text.is_empty() => {
                return RunsAs::Account(text.clone());
            }
            _ => {}
        }
    }
    RunsAs::Account("default".to_owned())
}

/// One answer for the pods of a platform.
struct Found {
    namespace: Option<String>,
    account: Option<String>,
    cloud: Option<Cloud>,
    identity: Option<String>,
    why: String,
}

impl Found {
    fn unknown(namespace: Option<&String>, account: Option<&String>, why: String) -> Self {
        Found {
            namespace: namespace.cloned(),
            account: account.cloned(),
            cloud: None,
            identity: None,
            why,
        }
    }
}

type Account = (String, String);

/// What is worth telling, each once with the pools that it concerns.
#[derive(Default)]
struct Findings {
    at_run_time: BTreeSet<(String, String)>,
    backends: BTreeMap<String, BTreeSet<String>>,
    no_backend: BTreeSet<String>,
    no_manifest: BTreeMap<Account, BTreeSet<String>>,
    /// Annotations that are templates.
    filled_in: BTreeMap<(Account, String), BTreeSet<String>>,
    nobody: BTreeMap<Account, BTreeSet<String>>,
    /// Where, and whether the label is left to run time.
    unlabelled: BTreeSet<(String, bool)>,
}

fn listed(places: &BTreeSet<String>) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    places.join(", ")
}

impl Findings {
    fn warnings(&self, osmo: &Osmo, workload: &Workload) -> Vec<Diagnostic> {
        let mut out = Vec::new();
        for (place, text) in &self.at_run_time {
            out.push(Diagnostic::warning(DiagnosticCode::WorkloadUnknown, Subject::Workload(place.clone()), format!(
                "workload: the pod template of `{place}` leaves the service account to run time \
                 (`{text}`): which cloud identity it reaches is unknown"
            )));
        }
        for (backend, places) in &self.backends {
            out.push(Diagnostic::warning(DiagnosticCode::WorkloadUnknown, Subject::Workload(backend.clone()), format!(
                "workload: no `[[workload.backend]]` says the namespace of backend `{backend}`: which \
                 cloud identities {} reach is unknown",
                listed(places)
            )));
        }
        if !self.no_backend.is_empty() {
            out.push(Diagnostic::warning(
                DiagnosticCode::WorkloadUnknown,
                Subject::None,
                format!(
                    "workload: {} name no backend: which cloud identities they reach is unknown",
                    listed(&self.no_backend)
                ),
            ));
        }
        for ((namespace, account), places) in &self.no_manifest {
            out.push(Diagnostic::warning(DiagnosticCode::WorkloadUnknown, Subject::Workload(format!("{namespace}/{account}")), format!(
                "workload: no manifest shows the service account `{namespace}/{account}` of {}: which \
                 cloud identity it bears is unknown",
                listed(places)
            )));
        }
        for (((namespace, account), text), places) in &self.filled_in {
            out.push(Diagnostic::warning(DiagnosticCode::WorkloadUnknown, Subject::Workload(format!("{namespace}/{account}")), format!(
                "workload: the manifest of the service account `{namespace}/{account}` of {} is a \
                 template (`{text}`): which cloud identity it bears is unknown",
                listed(places)
            )));
        }
        for ((namespace, account), places) in &self.nobody {
            out.push(Diagnostic::warning(DiagnosticCode::WorkloadNobody, Subject::Workload(format!("{namespace}/{account}")), format!(
                "workload: the service account `{namespace}/{account}` of {} bears no annotation and \
                 no association: as far as these files say it is nobody in any cloud",
                listed(places)
            )));
        }
        for (place, at_run_time) in &self.unlabelled {
            let what = if *at_run_time { "leaves to run time" } else { "does not set" };
            out.push(Diagnostic::warning(DiagnosticCode::WorkloadNoLabel, Subject::Workload(place.clone()), format!(
                "workload: the pod template of `{place}` {what} the label `{AZURE_LABEL}: \"true\"`: \
                 AKS gives its pods no token; that is no fence, a workflow may set the label itself"
            )));
        }
        for (identity, accounts) in self.shared(workload) {
            let accounts: Vec<String> =
                accounts.iter().map(|(namespace, name)| format!("`{namespace}/{name}`")).collect();
            out.push(Diagnostic::warning(DiagnosticCode::WorkloadShared, Subject::Workload(identity.clone()), format!(
                "workload: the identity `{identity}` is borne in more than one namespace: by {}",
                accounts.join(", ")
            )));
        }
        let used: BTreeSet<&str> =
            osmo.pools.values().filter_map(|pool| pool.backend.as_deref()).collect();
        for backend in workload.backends.keys().filter(|name| !used.contains(name.as_str())) {
            out.push(Diagnostic::warning(
                DiagnosticCode::WorkloadBackendUnused,
                Subject::Workload(backend.clone()),
                format!("workload.backend `{backend}`: no imported pool runs on it"),
            ));
        }
        out
    }

    /// Identities that service accounts of several namespaces bear.
    fn shared(&self, workload: &Workload) -> BTreeMap<String, BTreeSet<Account>> {
        let mut bearers: BTreeMap<String, BTreeSet<Account>> = BTreeMap::new();
        let annotated = workload.accounts.iter().flat_map(|(account, manifest)| {
            manifest.identities.values().map(move |identity| (identity, account))
        });
        let associated = workload
            .associations
            .iter()
            .flat_map(|(account, roles)| roles.iter().map(move |role| (role, account)));
        for (identity, account) in annotated.chain(associated) {
            bearers.entry(identity.clone()).or_default().insert(account.clone());
        }
        let namespaces = |accounts: &BTreeSet<Account>| {
            accounts.iter().map(|(namespace, _)| namespace).collect::<BTreeSet<_>>().len()
        };
        bearers.retain(|_, accounts| namespaces(accounts) > 1);
        bearers
    }
}

#[cfg(test)]
mod tests;

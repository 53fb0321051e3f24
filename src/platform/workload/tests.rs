use std::path::Path;

use super::*;
use crate::model::diagnostic::texts;
use crate::platform::osmo;

fn osmo_of(text: &str) -> Osmo {
    let osmo = osmo::read([(Path::new("o.yaml"), text)]);
    assert_eq!(osmo.faults, [], "{text}");
    osmo
}

fn manifests(text: &str) -> manifest::Manifests {
    read([(Path::new("sa.yaml"), text)])
}

fn accounts(text: &str) -> Accounts {
    let manifests = manifests(text);
    assert_eq!(manifests.faults, [], "{text}");
    manifests.accounts
}

fn account(namespace: &str, name: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{namespace: {namespace}, name: {name}, \
         annotations: {{{annotations}}}}}\n---\n"
    )
}

const AWS: &str = "eks.amazonaws.com/role-arn: arn:aws:iam::1:role/r";
const AZURE: &str = "azure.workload.identity/client-id: c-1, azure.workload.identity/tenant-id: t";
const GCP: &str = "iam.gke.io/gcp-service-account: g@p.iam.gserviceaccount.com";

/// `pool/platform namespace/account cloud identity`, `?` for what is unknown.
fn shown(rows: &[WorkloadIdentity]) -> Vec<String> {
    let or = |text: Option<&str>| text.unwrap_or("?").to_owned();
    rows.iter()
        .map(|row| {
            format!(
                "{}/{} {}/{} {} {}",
                row.pool,
                row.platform,
                or(row.namespace.as_deref()),
                or(row.service_account.as_deref()),
                or(row.cloud.map(Cloud::as_str)),
                or(row.identity.as_deref())
            )
        })
        .collect()
}

fn with(template: &str, manifests: &str) -> (Vec<String>, Vec<String>) {
    let osmo = osmo_of(&format!(
        "pools: {{p: {{backend: b, common_pod_template: [t], platforms: {{x: {{}}}}}}}}\n\
         pod_templates: {{t: {template}}}\n"
    ));
    let workload = Workload {
        accounts: accounts(manifests),
        backends: [("b".to_owned(), "ns".to_owned())].into(),
        associations: [(("ns".to_owned(), "pi".to_owned()), ["arn:pi".to_owned()].into())].into(),
    };
    let (rows, warnings) = identities(&osmo, &workload);
    (shown(&rows), texts(&warnings))
}

#[test]
fn annotations_and_associations_tell_who_pods_are() {
    let label = "metadata: {labels: {azure.workload.identity/use: \"true\"}}";
    let named = |name: &str| format!("{{spec: {{serviceAccountName: {name}}}, {label}}}");
    for (template, annotations, expected) in [
        (named("sa"), AWS.to_owned(), &["p/x ns/sa aws arn:aws:iam::1:role/r"][..]),
        (named("sa"), AZURE.to_owned(), &["p/x ns/sa azure c-1"]),
        (named("sa"), GCP.to_owned(), &["p/x ns/sa gcp g@p.iam.gserviceaccount.com"]),
        // Several clouds are several rows.
        (
            named("sa"),
            format!("{AWS}, {GCP}"),
            &["p/x ns/sa aws arn:aws:iam::1:role/r", "p/x ns/sa gcp g@p.iam.gserviceaccount.com"],
        ),
        // Nobody anywhere is no row, and an empty annotation says nothing.
        (named("sa"), String::new(), &[]),
        (named("sa"), "eks.amazonaws.com/role-arn: ''".to_owned(), &[]),
        (named("sa"), "other: x".to_owned(), &[]),
        // What was not filled in is unknown, and of which cloud is not.
        (
            named("sa"),
            "eks.amazonaws.com/role-arn: '{{ .Values.role }}'".to_owned(),
            &["p/x ns/sa aws ?"],
        ),
        // The account `default` counts.
        ("{spec: {}}".to_owned(), AWS.to_owned(), &["p/x ns/default ? ?"]),
        ("{spec: {serviceAccountName: null}}".to_owned(), AWS.to_owned(), &["p/x ns/default ? ?"]),
        // The older name of the field.
        (
            "{spec: {serviceAccount: sa}}".to_owned(),
            AWS.to_owned(),
            &["p/x ns/sa aws arn:aws:iam::1:role/r"],
        ),
        (
            "{spec: {serviceAccount: other, serviceAccountName: sa}}".to_owned(),
            AWS.to_owned(),
            &["p/x ns/sa aws arn:aws:iam::1:role/r"],
        ),
        // Left to run time: unknown, never none.
        (named("'sa-{{WF_SUBMITTED_BY}}'"), AWS.to_owned(), &["p/x ns/? ? ?"]),
        ("{spec: '{{SPEC}}'}".to_owned(), AWS.to_owned(), &["p/x ns/? ? ?"]),
        // In no manifest: unknown.
        (named("gone"), AWS.to_owned(), &["p/x ns/gone ? ?"]),
        // An association is known; what annotations there are is not.
        (named("pi"), AWS.to_owned(), &["p/x ns/pi ? ?", "p/x ns/pi aws arn:pi"]),
    ] {
        let (rows, _) = with(&template, &account("ns", "sa", &annotations));
        assert_eq!(rows, expected, "{template} {annotations}");
    }
    let (rows, _) = with(&named("pi"), &account("ns", "pi", ""));
    assert_eq!(rows, ["p/x ns/pi aws arn:pi"]);
    let (rows, _) = with("{}", &account("ns", "default", AWS));
    assert_eq!(rows, ["p/x ns/default aws arn:aws:iam::1:role/r"]);
}

#[test]
fn what_is_unknown_or_looks_wrong_is_told() {
    let of = |template: &str, manifests: &str| with(template, manifests).1.join("\n");
    for (template, manifests, told) in [
        (
            "{spec: {serviceAccountName: 'a-{{X}}'}}",
            String::new(),
            "the pod template of `p/x` leaves the service account to run time (`a-{{X}}`)",
        ),
        ("{}", String::new(), "no manifest shows the service account `ns/default` of `p/x`"),
        (
            "{}",
            account("ns", "default", ""),
            "the service account `ns/default` of `p/x` bears no annotation and no association",
        ),
        (
            "{}",
            account("ns", "default", AZURE),
            "the pod template of `p/x` does not set the label `azure.workload.identity/use: \"true\"`",
        ),
        (
            "{metadata: {labels: {azure.workload.identity/use: true}}}",
            account("ns", "default", AZURE),
            "does not set the label",
        ),
        (
            "{metadata: {labels: {azure.workload.identity/use: '{{X}}'}}}",
            account("ns", "default", AZURE),
            "leaves to run time the label",
        ),
        (
            "{}",
            account("ns", "default", AWS) + &account("other", "x", AWS),
            "the identity `arn:aws:iam::1:role/r` is borne in more than one namespace: by `ns/default`, `other/x`",
        ),
        (
            "{}",
            account("other", "x", "eks.amazonaws.com/role-arn: 'arn:pi'"),
            "the identity `arn:pi` is borne in more than one namespace: by `ns/pi`, `other/x`",
        ),
    ] {
        let warnings = of(template, &manifests);
        assert!(warnings.contains(told), "{template}\nwanted: {told}\ngot: {warnings}");
    }
    let fine = of(
        "{metadata: {labels: {azure.workload.identity/use: 'true'}}}",
        &account("ns", "default", AZURE),
    );
    assert_eq!(fine, "");
    let twice = account("ns", "default", AWS) + &account("ns", "x", AWS);
    assert_eq!(of("{}", &twice), "");
}

#[test]
fn a_namespace_is_its_backends_and_unknown_where_nothing_says_it() {
    let osmo = osmo_of(
        "pools:\n  a: {backend: one, platforms: {x: {}, y: {}}}\n  b: {backend: two, platforms: {x: {}}}\n  \
         c: {platforms: {x: {}}}\n  d: {backend: one}\n",
    );
    let workload = Workload {
        accounts: accounts(&account("ns-one", "default", AWS)),
        backends: [("one", "ns-one"), ("three", "ns-three")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        ..Workload::default()
    };
    let (rows, warnings) = identities(&osmo, &workload);
    assert_eq!(
        shown(&rows),
        [
            "a/x ns-one/default aws arn:aws:iam::1:role/r",
            "a/y ns-one/default aws arn:aws:iam::1:role/r",
            "b/x ?/default ? ?",
            "c/x ?/default ? ?",
        ]
    );
    let warnings = texts(&warnings).join("\n");
    for told in [
        "no `[[workload.backend]]` says the namespace of backend `two`: which cloud identities `b/x` reach",
        "`c/x` name no backend",
        "workload.backend `three`: no imported pool runs on it",
    ] {
        assert!(warnings.contains(told), "{warnings}");
    }
}

#[test]
fn manifests_come_in_every_form_that_kubectl_writes() {
    let one = "{kind: ServiceAccount, metadata: {name: a, namespace: n}}";
    for (text, expected) in [
        (one.to_owned(), 1),
        (format!("{one}\n---\n# nothing\n---\nkind: Secret\n---\n{}", one.replace("a,", "b,")), 2),
        (format!("{{kind: List, items: [{one}, {{kind: ConfigMap}}]}}"), 1),
        ("{kind: ServiceAccountList, items: [{metadata: {name: a, namespace: n}}]}".to_owned(), 1),
        (format!("{{kind: List, items: [{{kind: List, items: [{one}]}}]}}"), 1),
        ("{kind: PodList, items: [{metadata: {name: a, namespace: n}}]}".to_owned(), 0),
        ("{kind: List, items: []}".to_owned(), 0),
        ("{kind: List}".to_owned(), 0),
        // The same twice is no contradiction.
        (format!("{one}\n---\n{one}"), 1),
        (String::new(), 0),
    ] {
        assert_eq!(accounts(&text).len(), expected, "{text}");
    }
    let told = manifests("{kind: ServiceAccount, metadata: {name: a}}");
    assert!(told.accounts.is_empty() && told.diagnostics[0].message.contains("names no namespace"));
}

#[test]
fn a_manifest_that_is_not_understood_is_refused() {
    let one = account("n", "a", AWS);
    for (text, message) in [
        ("a: [b".to_owned(), "is not YAML"),
        ("a: b".to_owned(), "it has no `kind`"),
        ("[a]".to_owned(), "it has no `kind`"),
        ("kind: ServiceAccount".to_owned(), "without `metadata.name`"),
        (
            "{kind: ServiceAccount, metadata: {name: a, namespace: n, annotations: [x]}}"
                .to_owned(),
            "annotations are a list",
        ),
        (account("n", "a", "eks.amazonaws.com/role-arn: 5"), "is a number, no string"),
        ("{kind: List, items: {a: b}}".to_owned(), "expected a list of items"),
        ("{kind: List, items: [x]}".to_owned(), "it has no `kind`"),
        (
            format!("{one}{}", account("n", "a", GCP)),
            "bears other identities here than in `sa.yaml:1`",
        ),
    ] {
        let faults = manifests(&text).faults;
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].message.contains(message), "{text}: {}", faults[0].message);
    }
}

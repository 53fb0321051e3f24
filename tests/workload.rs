//! Workload identity with the real program: the view, who reaches what, what a plan widens, what
//! `check` warns of.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use idpsyncd::policy::{Action, Policy, Resource, decide};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};
use support::idpsyncd::Home;
use support::in_process;

const AWS: &str = "arn:aws:iam::123456789012:role/vision";
const GCP: &str = "sound@lab.iam.gserviceaccount.com";

const CONFIG: &str = r#"
[store]
path = "store.db"

[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
grants = ["*"]

[import]
osmo = ["config.yaml"]

[workload]
manifests = ["sa/*.yaml"]

[[workload.backend]]
name = "east"
namespace = "osmo-east"

[[workload.association]]
namespace = "osmo-east"
service_account = "associated"
role_arn = "arn:aws:iam::123456789012:role/associated"

[roles.brake]
external_roles = []
[[roles.brake.policies]]
effect = "Deny"
actions = ["workflow:Exec"]
resources = ["pool/vision"]

[[mapping]]
group = "/brake"
roles = ["brake"]

[[catalog]]
actions = ["workflow:Create"]
resources = ["pool/vision"]
"#;

const OSMO: &str = "
roles:
  vision:
    sync_mode: force
    policies: [{actions: ['workflow:*'], resources: ['pool/vision']}]
  sound:
    sync_mode: force
    policies: [{actions: ['workflow:Create'], resources: ['pool/sound']}]
  west:
    policies: [{actions: ['workflow:Exec'], resources: ['pool/west']}]
pod_templates:
  base: {spec: {containers: [{name: user}]}}
  vision: {spec: {serviceAccountName: vision-runner}}
  sound: {spec: {serviceAccountName: sound-runner}}
  own: {spec: {serviceAccountName: 'u-{{WF_SUBMITTED_BY}}'}}
  azure: {spec: {serviceAccountName: azure-runner}}
  associated: {spec: {serviceAccountName: associated}}
pools:
  vision:
    backend: east
    common_pod_template: [base, vision]
    platforms: {a100: {}, own: {override_pod_template: [own]}, plain: {override_pod_template: [azure]}}
  sound:
    backend: east
    common_pod_template: [sound]
    platforms: {cpu: {}, pi: {override_pod_template: [associated]}}
  west:
    backend: west
    common_pod_template: []
    platforms: {cpu: {}}
";

fn manifests() -> String {
    let account = |name: &str, annotation: &str| {
        format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  \
             namespace: osmo-east\n  annotations:\n    {annotation}\n---\n"
        )
    };
    account("vision-runner", &format!("eks.amazonaws.com/role-arn: {AWS}"))
        + &account("sound-runner", &format!("iam.gke.io/gcp-service-account: {GCP}"))
        + &account("azure-runner", "azure.workload.identity/client-id: client-1")
        + &account("associated", "other: x")
}

/// People with their groups; each group gives the role of its name.
fn realm(people: &[(&str, &[&str])]) -> String {
    let users: Vec<Value> = people
        .iter()
        .map(|(name, groups)| {
            let (name, enabled) = name.strip_prefix('-').map_or((*name, true), |n| (n, false));
            let groups: Vec<String> = groups.iter().map(|group| format!("/{group}")).collect();
            json!({ "id": format!("id-{name}"), "username": name, "enabled": enabled,
                    "groups": groups })
        })
        .collect();
    let groups: Vec<Value> = ["vision", "sound", "west", "brake"]
        .iter()
        .map(|name| {
            json!({ "id": format!("g-{name}"), "name": name, "path": format!("/{name}"),
                    "subGroups": [] })
        })
        .collect();
    json!({ "realm": "acme", "groups": groups, "roles": { "realm": [], "client": {} },
            "users": users })
    .to_string()
}

const PEOPLE: &[(&str, &[&str])] = &[
    ("ada", &["vision"]),
    ("ben", &["vision", "brake"]),
    ("cleo", &["sound", "west"]),
    ("-dora", &["vision"]),
    ("finn", &[]),
];

fn home() -> Home {
    let home = Home::new(CONFIG);
    std::fs::create_dir(home.path("sa")).unwrap();
    std::fs::write(home.path("realm.json"), realm(PEOPLE)).unwrap();
    std::fs::write(home.path("config.yaml"), OSMO).unwrap();
    std::fs::write(home.path("sa/all.yaml"), manifests()).unwrap();
    home
}

fn synced() -> Home {
    let home = home();
    home.ok(&["sync"], 0);
    home
}

/// The view's rows, `-` for NULL.
fn view(home: &Home) -> Vec<String> {
    let conn = Connection::open(home.path("store.db")).unwrap();
    let mut statement = conn
        .prepare(
            "SELECT username, pool, platform, namespace, service_account, cloud, identity, via_action \
             FROM gateway_workload_identity ORDER BY 1, 2, 3, 6, 8",
        )
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let text = |column| {
            let text: Option<String> = row.get(column).unwrap();
            text.unwrap_or_else(|| "-".to_owned())
        };
        Ok((0..8).map(text).collect::<Vec<_>>().join(" "))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn generation(home: &Home) -> i64 {
    let conn = Connection::open(home.path("store.db")).unwrap();
    conn.query_row("SELECT generation FROM gateway_meta", [], |row| row.get(0)).unwrap()
}

fn json_of(home: &Home, args: &[&str], status: i32) -> Value {
    let args = [args, &["--output", "json"]].concat();
    serde_json::from_str(&home.ok(&args, status)).unwrap()
}

#[test]
fn the_view_says_who_reaches_which_identity_through_which_pool() {
    let home = synced();
    let vision = |who: &str, via: &[&str]| {
        let mut rows = Vec::new();
        for platform in [
            format!("a100 osmo-east vision-runner aws {AWS}"),
            "own osmo-east - - -".to_owned(),
            "plain osmo-east azure-runner azure client-1".to_owned(),
        ] {
            rows.extend(via.iter().map(|via| format!("{who} vision {platform} workflow:{via}")));
        }
        rows
    };
    let mut expected = vision("ada", &["Create", "Exec"]);
    // A Deny of getting in leaves starting.
    expected.extend(vision("ben", &["Create"]));
    expected.extend([
        format!("cleo sound cpu osmo-east sound-runner gcp {GCP} workflow:Create"),
        "cleo sound pi osmo-east associated aws arn:aws:iam::123456789012:role/associated workflow:Create".to_owned(),
        "cleo west cpu - default - - workflow:Exec".to_owned(),
    ]);
    assert_eq!(view(&home), expected);
    // What was asked for it is no request of the catalog.
    let conn = Connection::open(home.path("store.db")).unwrap();
    let requests: Vec<String> = conn
        .prepare("SELECT DISTINCT action || ' ' || resource FROM gateway_decision")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(requests, ["workflow:Create pool/vision"]);
    let by_set: i64 = conn
        .query_row(
            "SELECT count(*) FROM gateway_role_decision WHERE resource <> 'pool/vision'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(by_set, 0);
}

#[test]
fn without_the_section_nobody_is_said_to_reach_anything() {
    let home = home();
    let (start, rest) = CONFIG.split_once("[workload]").unwrap();
    let (_, end) = rest.split_once("[roles.brake]").unwrap();
    home.configure(&format!("{start}[roles.brake]{end}"));
    let plan = json_of(&home, &["sync"], 0);
    assert_eq!(plan["reach"], json!([]));
    assert_eq!(view(&home), Vec::<String>::new());
}

#[test]
fn nothing_changes_without_a_generation_and_nothing_makes_one_without_a_change() {
    let home = synced();
    let (first, rows) = (generation(&home), view(&home));
    home.ok(&["sync"], 0);
    // A comment in a manifest, an account that no pool uses: the same reach.
    std::fs::write(home.path("sa/all.yaml"), format!("# a comment\n{}", manifests())).unwrap();
    std::fs::write(
        home.path("sa/more.yaml"),
        "kind: ServiceAccount\nmetadata: {name: unused, namespace: osmo-east}\n",
    )
    .unwrap();
    home.ok(&["sync"], 0);
    assert_eq!((generation(&home), view(&home)), (first, rows.clone()));
    // Another role behind the same account is another reach.
    let other = manifests().replace(AWS, "arn:aws:iam::123456789012:role/other");
    std::fs::write(home.path("sa/all.yaml"), other).unwrap();
    let plan = json_of(&home, &["sync", "--dry-run"], 0);
    assert_eq!(plan["changes"][0]["change"], "workload-changed");
    assert_eq!((generation(&home), view(&home)), (first, rows.clone()));
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), first + 1);
    assert_ne!(view(&home), rows);
    let history = json_of(&home, &["history"], 0);
    assert_eq!(history[0]["change"], "workload-changed");
    // Where a manifest is gone, what it said is unknown, not none.
    std::fs::remove_file(home.path("sa/all.yaml")).unwrap();
    home.ok(&["sync"], 0);
    assert!(
        view(&home)
            .contains(&"ada vision a100 osmo-east vision-runner - - workflow:Create".to_owned())
    );
}

#[test]
fn a_dry_run_says_who_reaches_more_through_which_pool() {
    let home = synced();
    let people: Vec<(&str, &[&str])> = PEOPLE
        .iter()
        .map(|(who, groups)| (*who, if *who == "finn" { &["vision"][..] } else { *groups }))
        .collect();
    std::fs::write(home.path("realm.json"), realm(&people)).unwrap();
    let plan = json_of(&home, &["sync", "--dry-run"], 0);
    let known: Vec<&Value> =
        plan["reach"].as_array().unwrap().iter().filter(|row| row["identity"] == AWS).collect();
    assert_eq!(known.len(), 2);
    assert_eq!(
        *known[0],
        json!({ "user": "finn", "identity": AWS, "cloud": "aws", "pool": "vision",
                "platform": "a100", "namespace": "osmo-east", "service_account": "vision-runner",
                "via_action": "workflow:Create" })
    );
    let users: BTreeSet<&str> =
        plan["reach"].as_array().unwrap().iter().map(|row| row["user"].as_str().unwrap()).collect();
    assert_eq!(users, BTreeSet::from(["finn"]));
    let text = home.ok(&["sync", "--dry-run"], 0);
    for part in
        ["Reaches more in the clouds", AWS, "through pool vision", "finn", "an unknown identity"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // What is lost widens nothing, and what is the same neither.
    let people: Vec<(&str, &[&str])> =
        PEOPLE.iter().filter(|(who, _)| *who != "ada").copied().collect();
    std::fs::write(home.path("realm.json"), realm(&people)).unwrap();
    assert_eq!(json_of(&home, &["sync", "--dry-run"], 0)["reach"], json!([]));
    // A Deny that goes does: whom it held back gets in.
    std::fs::write(home.path("realm.json"), realm(PEOPLE)).unwrap();
    home.configure(
        &CONFIG.replace("actions = [\"workflow:Exec\"]", "actions = [\"workflow:Rsync\"]"),
    );
    let plan = json_of(&home, &["sync", "--dry-run"], 0);
    let rows = plan["reach"].as_array().unwrap();
    assert!(
        rows.iter().all(|row| row["user"] == "ben" && row["via_action"] == "workflow:Exec"),
        "{rows:?}"
    );
    assert_eq!(rows.len(), 3);
    // So does an identity that an account comes to bear.
    home.configure(CONFIG);
    std::fs::write(
        home.path("sa/all.yaml"),
        manifests().replace("other: x", "iam.gke.io/gcp-service-account: new@lab"),
    )
    .unwrap();
    let plan = json_of(&home, &["sync", "--dry-run"], 0);
    let rows = plan["reach"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["user"], &rows[0]["identity"]), (&json!("cleo"), &json!("new@lab")));
}

#[test]
fn a_name_that_is_a_pools_is_reach_like_a_role() {
    let home = home();
    let own = "[roles.own]\neveryone = true\n[[roles.own.policies]]\nactions = \
               [\"workflow:Create\"]\nresources = [\"pool/${self}\"]\n[roles.brake]";
    home.configure(&CONFIG.replace("[roles.brake]", own));
    home.ok(&["sync"], 0);
    assert!(view(&home).iter().all(|row| !row.starts_with("finn ")), "{:?}", view(&home));
    let renamed = realm(PEOPLE).replace("\"username\":\"finn\"", "\"username\":\"sound\"");
    std::fs::write(home.path("realm.json"), renamed).unwrap();
    let plan = json_of(&home, &["sync", "--dry-run"], 0);
    let rows = plan["reach"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["user"] == "sound" && row["identity"] == GCP), "{rows:?}");
    assert!(rows.iter().all(|row| row["user"] == "sound" && row["pool"] == "sound"), "{rows:?}");
    home.ok(&["sync"], 0);
    let row = format!("sound sound cpu osmo-east sound-runner gcp {GCP} workflow:Create");
    assert!(view(&home).contains(&row), "{:?}", view(&home));
}

#[test]
fn a_grant_by_hand_says_what_it_widens() {
    let home = synced();
    home.configure(&CONFIG.replace("[roles.brake]", "[roles.lender]\nsync_mode = \"ignore\"\n[[roles.lender.policies]]\nactions = [\"workflow:Exec\"]\nresources = [\"pool/sound\"]\n[roles.brake]"));
    home.ok(&["sync"], 0);
    let done = json_of(&home, &["grant", "add", "finn", "lender", "--reason", "on call"], 0);
    let rows = done["reach"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().any(|row| row["identity"] == GCP && row["pool"] == "sound"));
    assert!(
        view(&home)
            .contains(&format!("finn sound cpu osmo-east sound-runner gcp {GCP} workflow:Exec"))
    );
    home.ok(&["user", "add", "pip", "--reason", "new"], 0);
    home.ok(&["user", "disable", "pip", "--reason", "away"], 0);
    home.ok(&["grant", "add", "pip", "lender", "--reason", "on call"], 0);
    let done = json_of(&home, &["user", "enable", "pip", "--reason", "back"], 0);
    assert!(done["reach"].as_array().unwrap().iter().any(|row| row["identity"] == GCP), "{done}");
    let text = home.ok(&["grant", "remove", "finn", "lender"], 0);
    assert!(!text.contains("Reaches more"), "{text}");
}

#[test]
fn a_held_plan_says_what_it_would_widen_before_and_after_it_is_approved() {
    let home = home();
    // Whom the Deny holds back would get in, so that it goes waits for somebody.
    home.configure(&format!("{CONFIG}\n[guard]\nprotected_roles = {{ brake = 1 }}\n"));
    home.ok(&["sync"], 0);
    let people: Vec<(&str, &[&str])> = PEOPLE
        .iter()
        .map(|(who, groups)| (*who, if *who == "ben" { &["vision"][..] } else { *groups }))
        .collect();
    std::fs::write(home.path("realm.json"), realm(&people)).unwrap();
    home.ok(&["sync"], 3);
    let before = generation(&home);
    let shown = json_of(&home, &["plan", "show"], 0);
    let rows = shown["reach"].as_array().unwrap().clone();
    assert!(!rows.is_empty());
    for row in &rows {
        assert_eq!((&row["user"], &row["via_action"]), (&json!("ben"), &json!("workflow:Exec")));
    }
    assert!(rows.iter().any(|row| row["identity"] == AWS && row["pool"] == "vision"), "{rows:?}");
    let text = home.ok(&["plan", "show"], 0);
    assert!(text.contains("Reaches more in the clouds") && text.contains(AWS), "{text}");
    assert_eq!(generation(&home), before, "to look writes nothing");
    let id = shown["id"].as_str().unwrap();
    let done = json_of(&home, &["plan", "approve", id], 0);
    assert_eq!(done["reach"], json!(rows));
    assert!(json_of(&home, &["plan", "show"], 0).is_null());
}

#[test]
fn explain_lists_who_reaches_an_identity_and_what_may_be_it() {
    let home = synced();
    let told = json_of(&home, &["explain", "--workload", AWS], 0);
    assert_eq!(told["known"], true);
    let by: Vec<String> = told["reached_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {} {} {}", it["user"], it["pool"], it["role"], it["via_action"]))
        .collect();
    assert_eq!(
        by,
        [
            r#""ada" "vision" "vision" "workflow:Create""#,
            r#""ada" "vision" "vision" "workflow:Exec""#,
            r#""ben" "vision" "vision" "workflow:Create""#,
        ]
    );
    let unknown = told["unknown"].as_array().unwrap();
    assert_eq!(unknown.len(), 2);
    let run_time = unknown.iter().find(|it| it["pool"] == "vision").unwrap();
    assert!(run_time["why"].as_str().unwrap().contains("u-{{WF_SUBMITTED_BY}}"));
    assert_eq!(run_time["users"], json!(["ada", "ben"]));
    let text = home.ok(&["explain", "--workload", AWS], 0);
    for part in [
        "through pool vision, platform a100, service account osmo-east/vision-runner (aws)",
        "by role vision (workflow:Create): ada, ben",
        "by role vision (workflow:Exec): ada",
        "Unknown, so it may be this one",
        "no `[[workload.backend]]` says the namespace of backend `west`",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let none = json_of(&home, &["explain", "--workload", "arn:aws:iam::1:role/nosuch"], 0);
    assert_eq!((&none["known"], &none["reached_by"]), (&json!(false), &json!([])));
    let text = home.ok(&["explain", "--workload", "nosuch"], 0);
    assert!(text.contains("no pool's service account bears it") && text.contains(AWS), "{text}");
    // Of a user or of an identity, not of both, and of one of them.
    home.ok(&["explain", "ada", "--workload", AWS], 64);
    home.ok(&["explain"], 64);
}

#[test]
fn check_warns_of_what_is_unknown_or_looks_wrong_and_refuses_what_it_cannot_read() {
    let home = home();
    std::fs::write(
        home.path("sa/other.yaml"),
        format!(
            "kind: ServiceAccount\nmetadata: {{name: x, namespace: elsewhere, annotations: \
             {{eks.amazonaws.com/role-arn: '{AWS}'}}}}\n"
        ),
    )
    .unwrap();
    let plain = manifests();
    assert!(plain.contains(GCP));
    std::fs::write(home.path("sa/all.yaml"), plain.replace(GCP, "'{{ .Values.account }}'"))
        .unwrap();
    home.configure(
        &CONFIG.replace("[\"sa/*.yaml\"]", "[\"sa/*.yaml\", \"sa/none.yaml\", \"none/*.yaml\"]"),
    );
    let report = json_of(&home, &["check", "--offline"], 0);
    let warnings = report["warnings"].to_string();
    for told in [
        "leaves the service account to run time",
        "no `[[workload.backend]]` says the namespace of backend `west`",
        "is a template (`{{ .Values.account }}`): which cloud identity it bears is unknown",
        "does not set the label `azure.workload.identity/use",
        "is borne in more than one namespace: by `elsewhere/x`, `osmo-east/vision-runner`",
        "workload.manifests[2]: there is no file",
        "workload.manifests[3]: no file fits",
    ] {
        assert!(warnings.contains(told), "{told}\n{warnings}");
    }
    home.configure(CONFIG);
    std::fs::write(home.path("sa/other.yaml"), "kind: [\n").unwrap();
    let report = json_of(&home, &["check", "--offline"], 1);
    let fault = &report["faults"][0];
    assert!(fault["file"].as_str().unwrap().ends_with("sa/other.yaml"), "{report}");
    home.ok(&["sync"], 1);
    std::fs::remove_file(home.path("sa/other.yaml")).unwrap();
    std::fs::create_dir(home.path("sa/folder.yaml")).unwrap();
    let text = home.ok(&["check", "--offline"], 1);
    assert!(text.contains("cannot read") && text.contains("sa/folder.yaml"), "{text}");
}

#[test]
fn the_daemon_takes_changed_files_at_sighup_and_keeps_what_it_has_where_they_are_broken() {
    let home = home();
    home.configure(&format!("{CONFIG}\n[schedule]\ncron = \"0 0 0 1 1 *\"\n"));
    let mut daemon = home.start("run");
    daemon.until_logged("people reach a cloud identity that they did not reach before");
    let other = manifests().replace(AWS, "arn:aws:iam::123456789012:role/other");
    std::fs::write(home.path("sa/all.yaml"), other).unwrap();
    daemon.signal("HUP");
    daemon.until("the other role", || {
        view(&home).iter().any(|row| row.contains("role/other")).then_some(())
    });
    let (rows, before) = (view(&home), generation(&home));
    std::fs::write(home.path("config.yaml"), OSMO.replace("sync_mode: force", "sync_mode: forse"))
        .unwrap();
    daemon.signal("HUP");
    daemon.until_logged("roles.vision.sync_mode: `forse` is not one of");
    daemon.until_logged("config.yaml:");
    assert_eq!((view(&home), generation(&home)), (rows, before));
    daemon.stop();
}

/// One role's policies, as text and as values.
fn policies() -> impl Strategy<Value = Vec<(bool, usize, usize)>> {
    prop::collection::vec((any::<bool>(), 0usize..5, 0usize..5), 0..3)
}

const ACTIONS: [&str; 5] = ["workflow:*", "workflow:Create", "workflow:Exec", "*:*", "pool:List"];
const RESOURCES: [&str; 5] = ["*", "pool/*", "pool/a", "pool/b*", ""];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The view is what deciding each person's roles for each pool comes to, whatever the roles are.
    #[test]
    fn the_view_equals_a_naive_recomputation(
        roles in prop::collection::vec(policies(), 3),
        people in prop::collection::vec((any::<bool>(), 0u8..8), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let names = ["vision", "sound", "west"];
        let mut toml = "[store]\npath = \"store.db\"\n[[source]]\nname = \"a\"\nkind = \"file\"\n\
                        realm_export = \"realm.json\"\n[import]\nosmo = [\"o.yaml\"]\n[workload]\n"
            .to_owned();
        let mut parsed: Vec<(String, Vec<Policy>)> = Vec::new();
        for (name, policies) in names.iter().zip(&roles) {
            toml.push_str(&format!("[roles.{name}]\nexternal_roles = []\n"));
            toml.push_str(&format!("[[mapping]]\ngroup = \"/{name}\"\nroles = [\"{name}\"]\n"));
            let mut values = Vec::new();
            for (deny, action, resource) in policies {
                let effect = if *deny { "Deny" } else { "Allow" };
                let mut text = format!(
                    "[[roles.{name}.policies]]\neffect = \"{effect}\"\nactions = [\"{}\"]\n",
                    ACTIONS[*action]
                );
                let resource = RESOURCES[*resource];
                if !resource.is_empty() {
                    text.push_str(&format!("resources = [\"{resource}\"]\n"));
                }
                toml.push_str(&text);
                values.push(Policy {
                    effect: if *deny { idpsyncd::policy::Effect::Deny } else { idpsyncd::policy::Effect::Allow },
                    actions: vec![ACTIONS[*action].parse().unwrap()],
                    resources: (!resource.is_empty()).then(|| vec![resource.parse().unwrap()]),
                });
            }
            parsed.push(((*name).to_owned(), values));
        }
        parsed.sort_by(|a, b| a.0.cmp(&b.0));
        write("o.yaml", "pools: {a: {backend: b, platforms: {x: {}, y: {}}}, b1: {platforms: {x: {}}}, c: {}}\n");
        write("idpsyncd.toml", &toml);
        let named: Vec<(String, Vec<&str>)> = people
            .iter()
            .enumerate()
            .map(|(number, (enabled, mask))| {
                let groups = names.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
                let sign = if *enabled { "" } else { "-" };
                (format!("{sign}p{number}"), groups.map(|(_, name)| *name).collect())
            })
            .collect();
        let listed: Vec<(&str, &[&str])> =
            named.iter().map(|(name, groups)| (name.as_str(), groups.as_slice())).collect();
        write("realm.json", &realm(&listed));
        sync_in(folder.path());

        let mut naive = BTreeSet::new();
        for (name, groups) in &named {
            if name.starts_with('-') {
                continue;
            }
            for (pool, platforms) in [("a", &["x", "y"][..]), ("b1", &["x"]), ("c", &[])] {
                let resource: Resource = format!("pool/{pool}").parse().unwrap();
                for via in ["workflow:Create", "workflow:Exec"] {
                    let action: Action = via.parse().unwrap();
                    let held = parsed.iter().filter(|(role, _)| groups.contains(&role.as_str()));
                    let held = held.map(|(role, policies)| (role.as_str(), policies.as_slice()));
                    if decide(held, &action, Some(&resource), None).is_allow() {
                        naive.extend(platforms.iter().map(|platform| format!("{name} {pool} {platform} {via}")));
                    }
                }
            }
        }
        let conn = Connection::open(folder.path().join("store.db")).unwrap();
        let mut statement = conn
            .prepare("SELECT username || ' ' || pool || ' ' || platform || ' ' || via_action FROM gateway_workload_identity")
            .unwrap();
        let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let distinct: BTreeSet<String> = rows.iter().cloned().collect();
        prop_assert_eq!(distinct.len(), rows.len(), "each row once");
        prop_assert_eq!(distinct, naive);
    }
}

/// One sync of the configuration in `folder`, in this process.
fn sync_in(folder: &Path) {
    let config = idpsyncd::config::load(&folder.join("idpsyncd.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|e| panic!("{e}"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    in_process::sync(&runtime, &config, chrono::Utc::now());
}

//! OSMO's own configuration: its three shapes, and what is refused in them.
//!
//! Each folder of `tests/osmo/` is a configuration with OSMO's files and what comes of them,
//! `expected.txt`. To write those anew: `UPDATE_EXPECTED=1 cargo test --test osmo`, then read the
//! difference.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use idpsyncd::config::{Config, Faults, Files, load, parse_with};
use idpsyncd::model::Mode;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/osmo")
}

/// What a configuration came to, for reading.
fn told(config: &Config) -> String {
    let mut out = String::new();
    for (name, role) in &config.roles {
        let everyone = if role.everyone { ", everyone" } else { "" };
        let protected = if config.is_protected(name) { ", protected" } else { "" };
        writeln!(out, "{name} ({}{everyone}{protected}): {}", role.mode, role.description).unwrap();
        writeln!(out, "  given by {:?}", role.external_roles).unwrap();
        for policy in &role.policies {
            let list = |items: Vec<String>| items.join(" ");
            let actions = list(policy.actions.iter().map(ToString::to_string).collect());
            let resources = policy.resources.as_ref().map(|resources| {
                format!("on {}", list(resources.iter().map(ToString::to_string).collect()))
            });
            let resources = resources.unwrap_or_else(|| "without a resource".to_owned());
            writeln!(out, "  {} {actions} {resources}", policy.effect.as_str()).unwrap();
        }
    }
    for warning in &config.warnings() {
        writeln!(out, "warning: {warning}").unwrap();
    }
    out
}

#[test]
fn each_shape_comes_to_what_is_expected() {
    let mut wrong = Vec::new();
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 5);
    for folder in folders {
        let got = match load(&folder.join("idpsyncd.toml"), &idpsyncd::source::kinds()) {
            Ok(config) => told(&config),
            Err(error) => format!("{error}\n"),
        };
        let got = got.replace(&format!("{}/", folder.display()), "");
        let expected = folder.join("expected.txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&expected, &got).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if got != expected {
            wrong.push(format!("{}\nexpected:\n{expected}\ngot:\n{got}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A configuration beside these files of OSMO's; `more` stands at its end.
fn with(files: &[(&str, &str)], more: &str) -> Result<Config, Faults> {
    let names: Vec<String> = files.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let text = format!(
        "[store]\npath = \"store.db\"\n[[source]]\nname = \"acme\"\nkind = \"file\"\n\
         realm_export = \"realm.json\"\ngrants = []\n[import]\nosmo = [{}]\n{more}",
        names.join(", ")
    );
    let files: BTreeMap<PathBuf, Vec<u8>> = files
        .iter()
        .map(|(name, text)| (PathBuf::from("/c").join(name), text.as_bytes().to_vec()))
        .collect();
    parse_with(&text, Path::new("/c/idpsyncd.toml"), &idpsyncd::source::kinds(), Files::Held(files))
}

fn good(files: &[(&str, &str)], more: &str) -> Config {
    with(files, more).unwrap_or_else(|faults| panic!("{faults}\n{files:?}"))
}

fn faults(files: &[(&str, &str)], more: &str) -> String {
    match with(files, more) {
        Ok(config) => panic!("no fault in {files:?}: {}", told(&config)),
        Err(faults) => faults.to_string(),
    }
}

/// One role `r` with this in it.
fn role(text: &str) -> String {
    format!("roles:\n  r:\n    {}\n", text.replace('\n', "\n    "))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_understood_is_refused_with_file_place_and_role() {
    for (text, fault) in [
        // A misspelt effect is neither Allow nor Deny.
        (
            role("policies:\n- {effect: deny, actions: ['a:B']}"),
            "/c/o.yaml:4:16: roles.r.policies[1].effect: `deny` is not one of `Allow`, `Deny`; case counts; did you mean `Deny`?",
        ),
        (
            role("policies: [{effect: '', actions: ['a:B']}]"),
            "roles.r.policies[1].effect: `` is not one of",
        ),
        (
            role("policies: [{effect: [Deny], actions: ['a:B']}]"),
            "roles.r.policies[1].effect: `a list` is not",
        ),
        // Actions.
        (
            role("policies: [{actions: [{base: http, path: /api/x, method: GET}]}]"),
            "roles.r.policies[1].actions[1]: is of the older form `{base, path, method}`",
        ),
        (
            role("policies: [{actions: [{action: 'a:B', base: http}]}]"),
            "is of the older form `{base, path, method}`",
        ),
        (
            role("policies: [{actions: [{action: ''}]}]"),
            "roles.r.policies[1].actions[1]: names no action",
        ),
        (
            role("policies: [{actions: [{act: 'a:B'}]}]"),
            "roles.r.policies[1].actions[1]: names no action",
        ),
        (
            role("policies: [{actions: ['workflow:Cre*']}]"),
            "roles.r.policies[1].actions[1]: `workflow:Cre*` is not an action pattern",
        ),
        (
            role("policies: [{actions: [workflow]}]"),
            "roles.r.policies[1].actions[1]: `workflow` is not an action",
        ),
        (role("policies: [{actions: []}]"), "roles.r.policies[1].actions: is an empty list"),
        (
            role("policies: [{actions: 'a:B'}]"),
            "roles.r.policies[1].actions: expected a list, found a string",
        ),
        (
            role("policies: [{effect: Deny}]"),
            "roles.r.policies[1].actions: a policy without actions",
        ),
        (
            role("policies: [{action: ['a:B']}]"),
            "roles.r.policies[1].action: unknown key; did you mean `actions`?",
        ),
        // Resources.
        (
            role("policies: [{actions: ['a:B'], resources: ['po*']}]"),
            "roles.r.policies[1].resources[1]: `po*` is not a resource: expected `scope/id`; a pattern that goes over several scopes is not taken",
        ),
        (
            role("policies: [{actions: ['a:B'], resources: ['pool/a*b']}]"),
            "roles.r.policies[1].resources[1]: `pool/a*b` is not a resource pattern",
        ),
        (
            role("policies: [{actions: ['a:B'], resources: '*'}]"),
            "roles.r.policies[1].resources: expected a list, found a string",
        ),
        (
            role("policies: [{actions: ['a:B'], resource: ['*']}]"),
            "roles.r.policies[1].resource: unknown key; did you mean `resources`?",
        ),
        // The rest of a role.
        (
            role("sync_mode: Force"),
            "roles.r.sync_mode: `Force` is not one of `force`, `import`, `merge`, `ignore`; did you mean `force`?",
        ),
        (role("external_roles: A"), "roles.r.external_roles: expected a list, found a string"),
        (
            role("external_roles: [1]"),
            "roles.r.external_roles[1]: expected a string, found a number: put it in quotes",
        ),
        (
            role("external_roles: [null]"),
            "roles.r.external_roles[1]: expected a string, found null",
        ),
        (
            role("externalRoles: [A]"),
            "roles.r.externalRoles: unknown key; did you mean `external_roles`?",
        ),
        (role("name: s"), "roles.r.name: is not the name `r`"),
        (role("policies: {a: b}"), "roles.r.policies: expected a list, found a map"),
        ("roles:\n  r:\n".to_owned(), "roles.r: expected a role, found null"),
        ("roles:\n  'a b': {}\n".to_owned(), "roles.a b: `a b` cannot be a role's name"),
        (
            "roles: {R: {}, r: {}}\n".to_owned(),
            "roles `R` (/c/o.yaml:1) and `r` (/c/o.yaml:1) differ in case only",
        ),
        (
            "services: {configs: {roles: {r: {}}}}\nroles: {s: {}}\n".to_owned(),
            "/c/o.yaml:2:8: roles: this file has two of OSMO's shapes, `services.configs` and `roles`",
        ),
        (
            "configuration: {roles: {r: {}}}\nservices: {configs: {roles: {s: {}}}}\n".to_owned(),
            "services.configs: this file has two of OSMO's shapes, `configuration` and",
        ),
        (
            "roles: {r: {}}\n---\nroles: {r: {}}\n".to_owned(),
            "/c/o.yaml:3:9: roles.r: role `r` is declared twice: first in `/c/o.yaml:1`",
        ),
        (
            "roles:\n  r: {}\n  r: {}\n".to_owned(),
            "/c/o.yaml:3:3: the key `r` stands twice: first in line 2",
        ),
        ("[{name: r}, {name: r}]".to_owned(), "role `r` is declared twice"),
        ("[{policies: []}]".to_owned(), "[1]: a role without a `name`"),
        // Pools and templates.
        (
            "pools: {p: {common_pod_template: [nosuch]}}\npod_templates: {nosuck: {}}\n".to_owned(),
            "/c/o.yaml:1:35: pools.p.common_pod_template[1]: there is no pod template `nosuch` in these files; did you mean `nosuck`?",
        ),
        (
            "pools: {p: {platforms: {x: {override_pod_template: [a]}}}}\n".to_owned(),
            "pools.p.platforms.x.override_pod_template[1]: there is no pod template `a`",
        ),
        (
            "pools: {p: {common_pod_templates: [a]}}\n".to_owned(),
            "pools.p.common_pod_templates: unknown key; did you mean `common_pod_template`?",
        ),
        ("pools: {'p*': {}}\n".to_owned(), "pools.p*: `p*` cannot be a pool's name"),
        (
            "pod_templates: {t: [a]}\n".to_owned(),
            "pod_templates.t: expected a pod template, found a list",
        ),
        // Files.
        (
            "rolls: {r: {}}\nroles: {}\n".to_owned(),
            "/c/o.yaml:1:1: rolls: unknown key; did you mean `roles`?",
        ),
        (
            "services: {configs: {role: {r: {}}}}\n".to_owned(),
            "services.configs.role: unknown key; did you mean `roles`?",
        ),
        ("services: {api: {}}\n".to_owned(), "these values have no `services.configs`"),
        (
            "managed_configs: {roles: {items: {}}}\n".to_owned(),
            "`managed_configs` is a layout of earlier releases",
        ),
        ("kind: ConfigMap\ndata: {config.yaml: x}\n".to_owned(), "this is the ConfigMap itself"),
        ("hello: world\n".to_owned(), "this is none of the shapes of OSMO's configuration"),
        ("hello".to_owned(), "this is none of the shapes"),
        ("# nothing\n".to_owned(), "/c/o.yaml:1:1: is empty"),
        ("roles: {r: {policies: [}}\n".to_owned(), "/c/o.yaml:1:23: is not YAML"),
        ("roles: []x\n".to_owned(), "is not YAML"),
    ] {
        let report = faults(&[("o.yaml", &text)], "");
        assert!(report.contains(fault), "{text}\nwanted: {fault}\ngot: {report}");
        assert!(report.contains("/c/"), "{report}");
    }
}

#[test]
fn what_says_nothing_is_no_fault() {
    for text in [
        "roles:\n",
        "roles: {}\npools: {}\n",
        "[]",
        "{}",
        r#"{"pools": {}}"#,
        r#"{"quiet": {}, "loud": {"spec": {}}}"#,
        "COMPUTED VALUES:\nservices:\n  configs:\n    roles: null\n",
    ] {
        let config = good(&[("o.yaml", text)], "");
        assert!(config.roles.is_empty(), "{text}: {}", told(&config));
    }
}

#[test]
fn all_faults_of_all_files_are_told_in_one_go() {
    let files = [
        ("a.yaml", "roles: {a: {sync_mode: x}, b: {policies: [{effect: no, actions: ['*:*']}]}}"),
        ("b.yaml", "roles: {c: {external_roles: 1}}"),
    ];
    let report = faults(&files, "[sync]\ndefault_mode = \"forse\"\n[roles.d]\nx = 1\n");
    for part in [
        "sync.default_mode",
        "roles.d.x",
        "a.yaml:1:24: roles.a.sync_mode",
        "roles.b.policies[1].effect",
        "b.yaml:1:29: roles.c.external_roles",
        "5 faults",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
}

#[test]
fn a_role_is_declared_once() {
    let one = "roles: {r: {}}\n";
    for (files, more, wanted) in [
        (
            &[("a.yaml", one), ("b.yaml", one)][..],
            "",
            "/c/b.yaml:1:9: roles.r: role `r` is declared twice: first in `/c/a.yaml:1`",
        ),
        (
            &[("a.yaml", one), ("b.json", r#"[{"name": "r", "policies": []}]"#)],
            "",
            "/c/b.json:1:2: roles.r: role `r` is declared twice",
        ),
        (
            &[("a.yaml", one)],
            "[roles.r]\n",
            "roles.r: is declared in `/c/a.yaml:1` already (`[import] osmo`)",
        ),
        (&[("a.yaml", one)], "[roles.R]\n", "roles.R: differs from role `r` in case only"),
    ] {
        let report = faults(files, more);
        assert!(report.contains(wanted), "{wanted}\n{report}");
    }
    // What only the chart has of itself gives way.
    let values = "services: {configs: {roles: {}}}";
    let config = good(&[("v.yaml", values)], "[roles.osmo-user]\nsync_mode = \"force\"\n");
    assert_eq!(config.roles["osmo-user"].mode, Mode::Force);
    assert!(config.roles["osmo-user"].policies.is_empty());
    assert_eq!(config.roles.len(), 5);
}

#[test]
fn a_file_that_is_not_there_is_a_fault_and_so_is_a_pattern_that_nothing_fits() {
    let read = |list: &str| {
        let text = format!("[store]\npath = \"s\"\n[import]\nosmo = {list}\n");
        parse_with(&text, Path::new("/c/idpsyncd.toml"), &idpsyncd::source::kinds(), Files::none())
            .unwrap_err()
            .to_string()
    };
    assert!(read("[\"a.yaml\"]").contains("4:9: import.osmo[1]: there is no file `/c/a.yaml`"));
    assert!(read("[\"*.yaml\"]").contains("import.osmo[1]: no file fits `/c/*.yaml`"));
    assert!(read("[\"**/a\"]").contains("holds `**`"));
    assert!(read("[]").contains("is an empty list"));
    assert!(read("\"a.yaml\"").contains("expected a list"));
}

#[test]
fn the_roles_are_there_for_everything_that_names_one() {
    let text = "roles:\n  osmo-admin: {policies: [{actions: ['*'], resources: ['*']}]}\n  \
                osmo-default: {}\n  r: {}\n";
    let config = good(
        &[("o.yaml", text)],
        "[guard]\nprotected_roles = { r = 1 }\n[[mapping]]\ngroup = \"/a\"\nroles = [\"r\"]\n\
         [gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\npreset = \"osmo\"\n\
         anonymous_role = \"osmo-default\"\n",
    );
    assert!(config.is_protected("osmo-admin") && config.is_protected("r"));
    assert!(config.roles["osmo-default"].everyone);
    let report = faults(&[("o.yaml", text)], "[[mapping]]\ngroup = \"/a\"\nroles = [\"s\"]\n");
    assert!(report.contains("role `s` is neither declared nor templated"), "{report}");
    // A file at fault may have the role: its own fault is enough.
    let report =
        faults(&[("o.yaml", "roles: {s: 1}")], "[[mapping]]\ngroup = \"/a\"\nroles = [\"s\"]\n");
    assert!(report.ends_with("1 fault in /c/idpsyncd.toml"), "{report}");
}

#[test]
fn the_fingerprint_is_the_files_meaning_too() {
    let print = |text: &str| good(&[("o.yaml", text)], "").fingerprint;
    let first = print("roles: {r: {policies: [{actions: ['a:B']}]}}");
    for same in [
        "# a comment\nroles:\n  r:\n    policies:\n    - actions:\n      - a:B\n",
        r#"[{"name": "r", "policies": [{"effect": "Allow", "actions": ["a:B"], "resources": []}]}]"#,
    ] {
        assert_eq!(print(same), first, "{same}");
    }
    for other in [
        "roles: {r: {policies: [{actions: ['a:C']}]}}",
        "roles: {r: {external_roles: [], policies: [{actions: ['a:B']}]}}",
        "roles: {r: {sync_mode: force, policies: [{actions: ['a:B']}]}}",
    ] {
        assert_ne!(print(other), first, "{other}");
    }
}

/// A command on one of the examples: its status and standard output.
fn example(name: &str, args: &[&str]) -> (Option<i32>, String) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_idpsyncd"))
        .args(args)
        .arg("--config")
        .arg(config.join("idpsyncd.toml"))
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_example_of_an_installation_is_accepted_and_gives_what_it_says() {
    let (status, text) = example("osmo", &["check", "--offline", "--output", "json"]);
    assert_eq!(status, Some(0), "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["errors"], serde_json::json!([]), "{text}");
    assert_eq!(report["warnings"], serde_json::json!([]), "{text}");
    let (status, text) = example("osmo", &["sync", "--dry-run", "--output", "json"]);
    assert_eq!(status, Some(0), "{text}");
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    for role in ["osmo-admin", "osmo-user", "osmo-ml-team", "osmo-auditor"] {
        let changes = plan["changes"].as_array().unwrap();
        let given = changes.iter().any(|it| it["change"] == "grant-added" && it["role"] == role);
        assert!(given, "nobody gets {role}");
    }
}

#[test]
fn the_example_of_cloud_identities_is_accepted_and_says_who_reaches_them() {
    let (status, text) = example("workload", &["check", "--offline"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("leaves the service account to run time"), "{text}");
    let (status, text) = example("workload", &["sync", "--dry-run", "--output", "json"]);
    assert_eq!(status, Some(0), "{text}");
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    let clouds: std::collections::BTreeSet<&str> =
        plan["reach"].as_array().unwrap().iter().filter_map(|row| row["cloud"].as_str()).collect();
    assert_eq!(clouds.into_iter().collect::<Vec<_>>(), ["aws", "azure"]);
}

mod noise {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn no_noise_makes_it_panic(text in "\\PC{0,120}") {
            let _ = super::with(&[("o.yaml", &text)], "");
        }

        /// Whatever is cut out of a whole file or put into it: a refusal says why and where.
        #[test]
        fn no_slip_of_the_finger_makes_it_panic(
            at in any::<prop::sample::Index>(),
            much in 0usize..12,
            put in "[\\[\\]{}:,'\"*&!|>#\n -]{0,4}",
        ) {
            let whole = include_str!("osmo/rendered/config.yaml");
            let start = at.index(whole.len());
            let text = format!(
                "{}{put}{}",
                whole.get(..start).unwrap_or_default(),
                whole.get(start + much..).unwrap_or_default()
            );
            if let Err(faults) = super::with(&[("o.yaml", &text)], "") {
                for fault in faults.faults {
                    prop_assert!(fault.line >= 1 && fault.column >= 1 && !fault.message.is_empty());
                }
            }
        }
    }
}

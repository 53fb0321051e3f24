use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{
    Config, Faults, Files, KindSettings, Kinds, LocalSettings, Read, SourceKind, SourceTable,
    TableForm, parse_with,
};
use crate::model::Mode;

const SUPPORT: &str = r#"{"resources": ["*"], "statements": [{"subjects": ["role:SUPPORT"],
    "actions": ["instance:view_log"], "attributes": [], "effect": "allow"}]}"#;

/// A kind of source without keys.
struct NoKind;

impl SourceKind for NoKind {
    fn word(&self) -> &'static str {
        "none"
    }

    fn forms(&self) -> &'static [TableForm] {
        &[]
    }

    fn read(&self, table: &mut SourceTable<'_, '_>) -> Read<Arc<dyn KindSettings>> {
        table.finish("here", &[]);
        Ok(Arc::new(LocalSettings))
    }
}

fn read(text: &str, files: &[(&str, &str)]) -> Result<Config, Faults> {
    let text =
        format!("[store]\npath = \"s.db\"\n[[source]]\nname = \"a\"\nkind = \"none\"\n{text}");
    let files = files
        .iter()
        .map(|(name, text)| (PathBuf::from("/etc/x").join(name), text.as_bytes().to_vec()));
    let files = Files::Held(files.collect::<BTreeMap<_, _>>());
    parse_with(
        &text,
        Path::new("/etc/x/idpsyncd.toml"),
        &Kinds::new([&NoKind as &dyn SourceKind]),
        files,
    )
}

#[track_caller]
fn good(text: &str, files: &[(&str, &str)]) -> Config {
    read(text, files).unwrap_or_else(|faults| panic!("{faults}"))
}

#[track_caller]
fn bad(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    let faults = read(text, files).expect_err("it is wrong");
    faults.faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect()
}

/// A role's policies, as rows of `gateway_role_policy` would have them.
fn rows(config: &Config, role: &str) -> Vec<String> {
    let role = config.roles.get(role).unwrap_or_else(|| panic!("no role {role}"));
    let mut rows = Vec::new();
    for policy in &role.policies {
        for action in &policy.actions {
            match &policy.resources {
                None => rows.push(format!("{} {action}", policy.effect.as_str())),
                Some(resources) => rows.extend(
                    resources.iter().map(|it| format!("{} {action} {it}", policy.effect.as_str())),
                ),
            }
        }
    }
    rows
}

const WHOLE: &str = r#"
[h2o]
role_claim = "resource_access.h2o.roles"
admin_role = "h2o-admin"
full_access_role = "h2o-full"
iam = ["iam/*.json"]
[[h2o.tag]]
name = "finance"
admin_role = "finance-admin"
visitor_role = "finance-visitor"
"#;

#[test]
fn roles_that_are_named_need_not_be_declared() {
    let config = good(WHOLE, &[("iam/support.json", SUPPORT)]);
    assert_eq!(
        rows(&config, "h2o-admin"),
        [
            "Allow app:list *",
            "Allow app:update *",
            "Allow app:delete *",
            "Allow instance:list *",
            "Allow instance:terminate *",
            "Allow admin:* *"
        ]
    );
    assert_eq!(
        rows(&config, "h2o-full"),
        [
            "Allow app:import",
            "Allow app:list visibility/ALL_USERS",
            "Allow app:run visibility/ALL_USERS",
            "Allow instance:list visibility/ALL_USERS"
        ]
    );
    assert_eq!(
        rows(&config, "finance-admin"),
        ["Allow tag:assign tag/finance", "Allow tag:remove tag/finance"]
    );
    assert_eq!(
        rows(&config, "finance-visitor"),
        ["Allow app:list tag/finance", "Allow app:run tag/finance"]
    );
    assert_eq!(rows(&config, "SUPPORT"), ["Allow instance:view_log *"]);
    assert_eq!(config.roles.len(), 5);
    assert_eq!(config.roles["SUPPORT"].external_roles, ["SUPPORT"]);
    assert_eq!(config.roles["SUPPORT"].mode, Mode::Merge);
}

#[test]
fn a_declared_role_keeps_what_it_has_and_gets_what_it_may_besides() {
    let config = good(
        &format!(
            "{WHOLE}\n[roles.SUPPORT]\nsync_mode = \"force\"\nexternal_roles = [\"x\"]\n\
             [[roles.SUPPORT.policies]]\neffect = \"Deny\"\nactions = [\"a:B\"]\nresources = [\"*\"]\n"
        ),
        &[("iam/support.json", SUPPORT)],
    );
    assert_eq!(rows(&config, "SUPPORT"), ["Deny a:B *", "Allow instance:view_log *"]);
    assert_eq!(config.roles["SUPPORT"].mode, Mode::Force);
    assert_eq!(config.roles["SUPPORT"].external_roles, ["x"]);
}

#[test]
fn a_role_that_a_template_would_make_keeps_the_templates_restrictions() {
    let template = "[[role_template]]\nname = '(?<team>finance)-.*'\nsync_mode = \"import\"\n\
                    [[role_template.policies]]\neffect = \"Deny\"\nactions = [\"app:delete\"]\n\
                    resources = [\"team/${team}\"]\n";
    let config = good(&format!("{WHOLE}\n{template}"), &[("iam/support.json", SUPPORT)]);
    assert_eq!(
        rows(&config, "finance-visitor"),
        ["Deny app:delete team/finance", "Allow app:list tag/finance", "Allow app:run tag/finance"]
    );
    assert_eq!(config.roles["finance-visitor"].mode, Mode::Import);
    assert_eq!(config.roles["h2o-full"].mode, Mode::Merge);
    // What no template may make, it does not make this way either.
    let all = template.replace("app:delete", "*:*").replace("Deny", "Allow");
    let faults = bad(&format!("{WHOLE}\n{all}"), &[("iam/support.json", SUPPORT)]);
    assert!(faults[0].starts_with("h2o.tag[1].admin_role: `finance-admin` is what"), "{faults:?}");
}

#[test]
fn rules_and_protected_roles_may_name_what_is_implied() {
    let config = good(
        &format!(
            "{WHOLE}\n[guard]\nprotected_roles = {{ h2o-admin = 1 }}\n[[mapping]]\ngroup = \
             \"/Support\"\nroles = [\"SUPPORT\"]\n"
        ),
        &[("iam/support.json", SUPPORT)],
    );
    assert!(config.is_protected("h2o-admin"));
    assert!(!config.warnings().iter().any(|it| it.contains("is not protected")));
    let config = good(WHOLE, &[("iam/support.json", SUPPORT)]);
    assert!(config.warnings().iter().any(|it| it.contains("`h2o-admin` is not protected")));
}

#[test]
fn an_empty_or_absent_full_access_role_is_everyones_and_said_aloud() {
    for (line, how) in [("", "absent"), ("full_access_role = \"\"\n", "empty")] {
        let config = good(&format!("[h2o]\nadmin_role = \"x\"\n{line}"), &[]);
        let said = |it: &String| it.starts_with(&format!("h2o.full_access_role is {how}"));
        let warning = config.warnings().into_iter().find(said).expect("it is said");
        assert!(warning.contains("means everyone"), "{warning}");
        let role = &config.roles["h2o-full-access"];
        assert!(role.everyone && role.external_roles.is_empty());
        assert_eq!(rows(&config, "h2o-full-access")[0], "Allow app:import");
        assert_eq!(config.h2o.unwrap().full_access_role, None);
    }
    // A role that nobody holds is another thing.
    let config = good("[h2o]\nadmin_role = \"x\"\nfull_access_role = \"nobody\"\n", &[]);
    assert!(!config.warnings().iter().any(|it| it.contains("full_access_role")));
    assert!(!config.roles.contains_key("h2o-full-access"));
    // Declared, it must be everyone's.
    let declared = "[h2o]\nadmin_role = \"x\"\n[roles.h2o-full-access]\ndescription = \"all\"\n";
    let faults = bad(declared, &[]);
    assert!(
        faults[0].starts_with("roles.h2o-full-access: full access is everyone's"),
        "{faults:?}"
    );
    let config = good(&format!("{declared}everyone = true\n"), &[]);
    assert_eq!(config.roles["h2o-full-access"].description, "all");
    assert_eq!(rows(&config, "h2o-full-access").len(), 4);
}

#[test]
fn without_the_section_nothing_is_implied() {
    let config = good("", &[]);
    assert!(config.roles.is_empty() && config.h2o.is_none());
}

#[test]
fn the_role_claim_is_what_tokens_are_read_by_where_their_issuer_names_none() {
    let gateway = "[gateway]\nhttp = \"127.0.0.1:9180\"\nidentity = \"jwt\"\n[[gateway.jwt]]\n\
                   issuer = \"https://a.example.com\"\nsource = \"a\"\naudiences = [\"x\"]\n";
    let claim = |text: &str| good(text, &[]).gateway.unwrap().jwt[0].roles_claim.clone();
    assert_eq!(claim(gateway), None);
    let h2o = "[h2o]\nadmin_role = \"x\"\nrole_claim = \"groups\"\n";
    assert_eq!(claim(&format!("{h2o}{gateway}")).as_deref(), Some("groups"));
    let own = format!("{h2o}{gateway}roles_claim = \"mine\"\n");
    assert_eq!(claim(&own).as_deref(), Some("mine"));
    // As the server's.
    let absent = format!("[h2o]\nadmin_role = \"x\"\n{gateway}");
    assert_eq!(claim(&absent).as_deref(), Some("realm_access.roles"));
    // So claims may provision without more.
    let provision = absent.replace("identity", "provision = \"claims\"\nidentity");
    good(&provision, &[]);
}

#[test]
fn policies_are_read_in_the_order_of_the_files_and_their_content_counts_for_a_plan() {
    let other = SUPPORT.replace("view_log", "read");
    let text = "[h2o]\nadmin_role = \"x\"\niam = [\"z.json\", \"iam/*.json\", \"iam/a.json\"]\n";
    let files = [("iam/b.json", SUPPORT), ("iam/a.json", "[]"), ("z.json", other.as_str())];
    let config = good(text, &files);
    assert_eq!(rows(&config, "SUPPORT"), ["Allow instance:read *", "Allow instance:view_log *"]);
    let named: Vec<_> = config.h2o.iter().flat_map(|h2o| &h2o.files).map(|it| &it.path).collect();
    let expected = ["/etc/x/z.json", "/etc/x/iam/a.json", "/etc/x/iam/b.json"].map(PathBuf::from);
    assert_eq!(named, expected.iter().collect::<Vec<_>>());
    let less = good(text, &[("iam/b.json", "[]"), ("iam/a.json", "[]"), ("z.json", &other)]);
    assert_ne!(config.fingerprint, less.fingerprint);
}

#[test]
fn a_file_that_is_not_understood_is_a_fault_with_file_and_field() {
    let faults = bad(
        WHOLE,
        &[
            ("iam/a.json", SUPPORT),
            ("iam/b.json", &SUPPORT.replace("allow", "Allow")),
            ("iam/c.json", "{"),
            ("iam/d.json", r#"[{"resources": ["*"], "statements": [1], "id": 3}]"#),
        ],
    );
    assert_eq!(
        faults,
        [
            "h2o.iam: `/etc/x/iam/b.json`: statements[1].effect: `Allow` is neither `allow` nor `deny`",
            "h2o.iam: `/etc/x/iam/c.json`: is not JSON: EOF while parsing an object at line 1 column 1",
            "h2o.iam: `/etc/x/iam/d.json`: [1].id: unknown field; known here: `resources`, `statements`",
            "h2o.iam: `/etc/x/iam/d.json`: [1].statements[1]: expected an object, found a number",
        ]
    );
}

#[test]
fn a_file_or_a_folder_that_is_gone_is_a_fault_and_a_folder_without_policies_is_told() {
    let text =
        |iam: &str| format!("[h2o]\nadmin_role = \"x\"\nfull_access_role = \"y\"\niam = {iam}\n");
    let faults = bad(&text("[\"iam/a.json\"]"), &[]);
    assert!(faults[0].contains("there is no file `/etc/x/iam/a.json`"), "{faults:?}");
    let faults = bad(&text("[\"iam/*.json\"]"), &[]);
    assert!(faults[0].contains("nor is there such a folder"), "{faults:?}");
    let config = good(&text("[\"iam/*.json\"]"), &[("iam/README", "")]);
    assert!(config.warnings().iter().any(|it| it.contains("no file fits `/etc/x/iam/*.json`")));
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    for (text, expected) in [
        ("[h2o]\nadmin_rol = \"x\"", "h2o.admin_rol: unknown key"),
        ("[h2o]\nadmin_role = \"\"", "h2o.admin_role: a role's name is empty"),
        ("[h2o]\nadmin_role = \"a b\"", "h2o.admin_role: `a b` cannot be a role's name"),
        ("[h2o]\nadmin_role = 1", "h2o.admin_role: expected a string"),
        ("[h2o]\nfull_access_role = \"a,b\"", "h2o.full_access_role: `a,b` cannot be"),
        ("[h2o]\nfull_access_role = false", "h2o.full_access_role: expected a string"),
        ("[h2o]\nrole_claim = \"\"", "h2o.role_claim: is empty"),
        ("[h2o]\niam = \"x\"", "h2o.iam: expected a list, found a string"),
        ("[[h2o.tag]]\nadmin_role = \"x\"", "h2o.tag[1].name: required key is missing"),
        ("[[h2o.tag]]\nname = \"a b\"", "h2o.tag[1].name: `a b` cannot be a tag's name"),
        ("[[h2o.tag]]\nname = \"a*\"", "h2o.tag[1].name: `a*` cannot be a tag's name"),
        (
            "[[h2o.tag]]\nname = \"a\"\n[[h2o.tag]]\nname = \"a\"",
            "h2o.tag[2].name: there is a tag `a` already",
        ),
        (
            "[h2o]\nadmin_role = \"x\"\nfull_access_role = \"X\"",
            "h2o.full_access_role: `X` differs from role `x` in case only",
        ),
        (
            "[h2o]\nadmin_role = \"X\"\n[roles.x]",
            "h2o.admin_role: `X` differs from role `x` in case only",
        ),
        (
            "[h2o]\n[roles.H2o-full-access]",
            "roles.h2o-full-access: differs from role `H2o-full-access` in case only",
        ),
    ] {
        let faults = bad(text, &[]);
        assert!(faults.iter().any(|it| it.starts_with(expected)), "{text}: {faults:?}");
    }
    let faults = bad(&format!("{WHOLE}[roles.support]\n"), &[("iam/a.json", SUPPORT)]);
    assert_eq!(
        faults,
        ["h2o.iam: `/etc/x/iam/a.json`: role `SUPPORT` differs from role `support` in case only"]
    );
}

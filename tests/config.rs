//! The configuration: what is refused, in which words, and what is not.
//!
//! `tests/config/broken/` holds one folder of files, each with the exact report it must get in a
//! sibling `.txt`. To write the reports anew: `UPDATE_EXPECTED=1 cargo test --test config`, then
//! read the difference.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use idpsyncd::config::{
    CallerProof, Capability, Code, Config, ConfigError, Faults, IdentityWay, QuestionPart,
    SecretRef, SubjectId, SubjectType, load, parse,
};
use idpsyncd::model::{Mode, StoreConfig};
use idpsyncd::resolve::{LinkBy, MappingRule, Provision};
use idpsyncd::routes::{Preset, Target};
use idpsyncd::source::file::{LdifConfig, RealmExportConfig};
use idpsyncd::source::keycloak::KeycloakConfig;
use idpsyncd::source::kinds;
use idpsyncd::source::ldap::{Flavor, LdapConfig, MembersFrom};
use proptest::prelude::*;

const MINIMAL: &str = r#"
[store]
path = "store.db"

[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
"#;

fn read(text: &str) -> Result<Config, Faults> {
    parse(text, Path::new("/etc/idpsyncd/idpsyncd.toml"), &kinds())
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|faults| panic!("{faults}\nin:\n{text}"))
}

fn with(text: &str) -> String {
    format!("{MINIMAL}\n{text}")
}

fn broken() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/broken");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

/// The text of every fault, as people and as programs see it.
fn report(text: &str, file: &Path) -> String {
    match parse(text, file, &kinds()) {
        Ok(_) => String::new(),
        Err(faults) => {
            format!("{faults}\n{faults:?}\n{}", serde_json::to_string(&faults).unwrap())
        }
    }
}

#[test]
fn every_broken_file_gets_its_exact_report() {
    let files = broken();
    assert!(files.len() >= 45, "{}", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap();
        let faults = match parse(&text, Path::new(name), &kinds()) {
            Err(faults) => format!("{faults}\n"),
            Ok(_) => "no fault\n".to_owned(),
        };
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&expected, &faults).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if expected != faults || faults == "no fault\n" {
            wrong.push(format!("{}\nexpected:\n{expected}\ngot:\n{faults}", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_are_sorted_by_place_and_counted() {
    for path in broken() {
        let text = std::fs::read_to_string(&path).unwrap();
        let faults = parse(&text, &path, &kinds()).unwrap_err();
        let places: Vec<_> = faults.faults.iter().map(|f| (f.line, f.column)).collect();
        assert!(places.is_sorted(), "{}: {places:?}", path.display());
        let shown = faults.to_string();
        assert_eq!(shown.lines().count(), faults.faults.len() + 1, "one line a fault: {shown}");
    }
}

#[test]
fn no_report_holds_a_secret() {
    for path in broken() {
        let text = std::fs::read_to_string(&path).unwrap();
        let report = report(&text, &path);
        assert!(!report.contains("hunter"), "{}: {report}", path.display());
    }
}

#[test]
fn the_report_for_programs_has_the_same_facts() {
    let faults = read(&with("[sync]\ndefault_mode = \"forse\"\nfoo = 1\n")).unwrap_err();
    assert_eq!(
        serde_json::to_value(&faults).unwrap(),
        serde_json::json!({
            "file": "/etc/idpsyncd/idpsyncd.toml",
            "faults": [
                {
                    "line": 11,
                    "column": 16,
                    "key": "sync.default_mode",
                    "code": "bad-value",
                    "message": "`forse` is not one of `force`, `import`, `merge`, `ignore`",
                    "did_you_mean": "force"
                },
                {
                    "line": 12,
                    "column": 1,
                    "key": "sync.foo",
                    "code": "unknown-key",
                    "message": "unknown key; known here: `default_mode`, `on_missing`, \
                                `provision`, `username`, `link_by`"
                }
            ]
        })
    );
}

#[test]
fn a_file_that_cannot_be_read_is_no_empty_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.toml");
    let error = load(&absent, &kinds()).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot read the configuration `{}`: ", absent.display()))
    );
    let latin = folder.path().join("latin.toml");
    std::fs::write(&latin, b"[store]\npath = \"\xfcber.db\"\n").unwrap();
    let error = load(&latin, &kinds()).unwrap_err().to_string();
    assert!(error.contains("latin.toml:2:9: is not UTF-8 from here on\n1 fault"), "{error}");
}

#[test]
fn the_least_file_has_the_documented_defaults() {
    let config = good(MINIMAL);
    assert_eq!(config.store, StoreConfig::sqlite("/etc/idpsyncd/store.db"));
    assert_eq!(config.schedule.cron_text, "0 */5 * * * *");
    assert_eq!(config.schedule.jitter, Duration::from_secs(30));
    assert_eq!(config.sync.default_mode, Mode::Merge);
    assert_eq!(config.sync.missing_after, Some(Duration::from_secs(3600)));
    assert_eq!(config.sync.provision, Provision::All);
    assert_eq!(config.guard.max_lost_percent, 10.0);
    assert_eq!(config.guard.max_lost_floor, 20);
    assert_eq!(config.guard.max_disabled_percent, 10.0);
    assert!(config.gateway.is_none() && config.roles.is_empty() && config.warnings().is_empty());
    let source = &config.sources[0];
    assert!(source.grants.is_none());
    assert_eq!(source.link_by, LinkBy::Username);
    let export = source.kind.of::<RealmExportConfig>().unwrap();
    assert_eq!(export.path, Path::new("/etc/idpsyncd/realm.json"));
    assert!(export.clients.is_empty() && !export.service_accounts);
}

#[test]
fn keycloak_and_ldap_have_the_documented_defaults() {
    let config = good(
        r#"
        store = { path = "/s" }
        [[source]]
        name = "kc"
        kind = "keycloak"
        url = "https://auth.example.com/prefix"
        realm = "osmo"
        client_id = "idpsyncd"
        client_secret = { file = "secret" }
        [[source]]
        name = "ldap"
        kind = "ldap"
        url = "ldapi:///"
        users = { base = "ou=people,dc=x" }
        groups = { base = "ou=groups,dc=x" }
        [[source]]
        name = "ldif"
        kind = "file"
        ldif = "d.ldif"
        "#,
    );
    let keycloak = config.sources[0].kind.of::<KeycloakConfig>().unwrap();
    assert_eq!(keycloak.client_secret, SecretRef::File("/etc/idpsyncd/secret".into()));
    assert_eq!((keycloak.timeout.as_secs(), keycloak.read_timeout.as_secs()), (60, 600));
    assert_eq!(keycloak.concurrency, 2);
    assert!(keycloak.clients.is_empty(), "only realm roles count");
    let ldap = config.sources[1].kind.of::<LdapConfig>().unwrap();
    assert_eq!((ldap.page_size, ldap.flavor), (1000, Flavor::Auto));
    assert!(!ldap.start_tls && ldap.bind_dn.is_none());
    assert_eq!(ldap.users.filter, "(objectClass=inetOrgPerson)");
    assert_eq!((ldap.users.username.as_str(), ldap.users.email.as_str()), ("uid", "mail"));
    assert_eq!(
        ldap.groups.as_ref().unwrap().filter,
        "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))"
    );
    let groups = ldap.groups.as_ref().unwrap();
    assert!(groups.nested && groups.name == "cn" && !groups.primary);
    let ldif = config.sources[2].kind.of::<LdifConfig>().unwrap();
    assert_eq!((ldif.users.base.as_str(), ldif.groups.as_ref().unwrap().base.as_str()), ("", ""));
}

#[test]
fn a_directory_can_be_said_to_have_no_groups() {
    let source = |groups: &str| {
        format!(
            "store = {{ path = \"/s\" }}\n[[source]]\nname = \"dir\"\nkind = \"ldap\"\n\
             url = \"ldapi:///\"\nusers = {{ base = \"dc=x\" }}\ngroups = {groups}\n"
        )
    };
    let groups = |text: &str| {
        let kind = good(text).sources.remove(0).kind;
        match (kind.of::<LdapConfig>(), kind.of::<LdifConfig>()) {
            (Some(ldap), _) => ldap.groups.clone(),
            (_, Some(ldif)) => ldif.groups.clone(),
            (None, None) => panic!(),
        }
    };
    assert!(groups(&source("false")).is_none());
    let file = source("false").replace("ldap\"\nurl = \"ldapi:///", "file\"\nldif = \"d.ldif");
    assert!(groups(&file).is_none());
    assert!(groups(&source("{ base = \"dc=x\", primary = true }")).unwrap().primary);
    let plain = groups(&source("{ base = \"dc=x\" }")).unwrap();
    assert!(plain.from == MembersFrom::Member && !plain.distribution);
    let by_word = groups(&source("{ base = \"dc=x\", from = \"memberOf\" }")).unwrap();
    assert_eq!(by_word.from, MembersFrom::MemberOf);
    assert!(groups(&source("{ base = \"dc=x\", distribution = true }")).unwrap().distribution);
    let faults = read(&source("true")).unwrap_err().to_string();
    assert!(faults.contains("`false` where there are no groups"), "{faults}");
    let [none, some] = ["false", "{ base = \"dc=x\" }"].map(|groups| good(&source(groups)));
    assert_ne!(none.fingerprint, some.fingerprint);
    for more in ["from = \"memberOf\"", "distribution = true", "primary = true"] {
        let other = good(&source(&format!("{{ base = \"dc=x\", {more} }}")));
        assert_ne!(other.fingerprint, some.fingerprint, "{more}");
    }
}

#[test]
fn durations_may_be_combined_and_never_means_never() {
    for (text, seconds) in
        [("90s", 90), ("5m", 300), ("24h", 86_400), ("1d", 86_400), ("0s", 0), ("1h30m", 5_400)]
    {
        let config = good(&with(&format!("[sync]\non_missing = {{ after = \"{text}\" }}")));
        assert_eq!(config.sync.missing_after, Some(Duration::from_secs(seconds)), "{text}");
    }
    let config = good(&with("[sync]\non_missing = { after = \"never\" }"));
    assert_eq!(config.sync.missing_after, None);
}

#[test]
fn a_source_may_link_otherwise_than_the_rest() {
    let config = good(&format!(
        "sync = {{ link_by = \"email\" }}\n{MINIMAL}\n[[source]]\nname = \"b\"\nkind = \"file\"\n\
         ldif = \"d.ldif\"\nlink_by = \"username\"\n"
    ));
    assert_eq!(config.sources[0].link_by, LinkBy::Email);
    assert_eq!(config.sources[1].link_by, LinkBy::Username);
}

#[test]
fn a_role_is_reached_by_its_own_name_unless_the_file_says_otherwise() {
    let config = good(&with(
        "[sync]\ndefault_mode = \"import\"\n[roles.a]\n[roles.b]\nexternal_roles = []\n\
         [roles.c]\nexternal_roles = [\"x\"]\nsync_mode = \"force\"\n[roles.d]\neveryone = true\n",
    ));
    let external = |name: &str| config.roles[name].external_roles.clone();
    assert_eq!(external("a"), ["a"]);
    assert_eq!(external("b"), Vec::<String>::new());
    assert_eq!(external("c"), ["x"]);
    assert_eq!(external("d"), Vec::<String>::new());
    assert_eq!(config.roles["a"].mode, Mode::Import);
    assert_eq!(config.roles["c"].mode, Mode::Force);
}

#[test]
fn the_catalog_is_multiplied_out_sorted_and_distinct() {
    let config = good(&with(
        "[[catalog]]\nactions = [\"w:B\", \"w:A\"]\nresources = [\"pool/y\", \"pool/x\"]\n\
         [[catalog]]\nactions = [\"w:A\", \"p:L\"]\n\
         [[catalog]]\nactions = [\"w:A\"]\nresources = [\"pool/x\"]\n",
    ));
    let rows: Vec<String> = config
        .catalog
        .iter()
        .map(|(action, resource)| match resource {
            Some(resource) => format!("{action} {resource}"),
            None => action.to_string(),
        })
        .collect();
    assert_eq!(rows, ["p:L", "w:A", "w:A pool/x", "w:A pool/y", "w:B pool/x", "w:B pool/y"]);
}

#[test]
fn rules_are_numbered_from_one_and_regexes_match_in_whole() {
    let config = good(&with(
        "[roles.osmo-ml]\n[[mapping]]\ngroup = [\"Eng\", \"a/b\"]\nroles = [\"osmo-ml\"]\n\
         [[mapping]]\ngroup_regex = 'x|/OSMO (?<team>.+)'\nroles = [\"osmo-${team}\"]\n",
    ));
    assert_eq!(config.mappings[0].number, 1);
    let MappingRule::GroupPath(path) = &config.mappings[0].rule else { panic!() };
    assert_eq!(path, &["Eng", "a/b"]);
    let MappingRule::GroupRegex { text, regex, folded: _ } = &config.mappings[1].rule else {
        panic!()
    };
    assert_eq!(text, "x|/OSMO (?<team>.+)");
    assert!(regex.is_match("/OSMO ml") && !regex.is_match("/Eng/OSMO ml") && !regex.is_match("xx"));
}

#[test]
fn the_gateway_is_parsed_in_full() {
    let config = good(&with(
        r#"
        [roles.osmo-default]
        everyone = true
        [gateway]
        grpc = "unix:/run/idpsyncd/authz.sock"
        http = "127.0.0.1:9180"
        identity = "jwt"
        user_header = "X-Osmo-User"
        provision = "claims"
        anonymous_role = "osmo-default"
        preset = "osmo"
        [[gateway.jwt]]
        issuer = "https://auth.example.com/realms/osmo"
        source = "acme"
        audiences = ["osmo-device"]
        roles_claim = "realm_access.roles"
        ca_file = "corp.pem"
        [[gateway.route]]
        methods = ["POST"]
        path = "/api/pool/{pool}/workflow/*"
        action = "workflow:Create"
        resource = "pool/{pool}"
        [[gateway.route]]
        path = "/api/workflow/*"
        action = "workflow:Read"
        scope = "pool"
        [[gateway.allowed]]
        header = "x-osmo-allowed-pools"
        action = "workflow:Create"
        scope = "pool"
        routes = ["profile:Read"]
        "#,
    ));
    let gateway = config.gateway.unwrap();
    assert_eq!(gateway.identity, IdentityWay::Jwt);
    assert_eq!(gateway.preset, Some(Preset::Osmo));
    assert_eq!(gateway.user_header, "x-osmo-user");
    assert_eq!(gateway.max_staleness, Duration::from_secs(86_400));
    assert_eq!(gateway.routes[0].target, Target::Resource("pool/{pool}".to_owned()));
    assert_eq!(gateway.routes[1].target, Target::Scope("pool".to_owned()));
    assert_eq!(gateway.jwt[0].username_claim, "preferred_username");
    assert_eq!(gateway.jwt[0].ca_file.as_deref(), Some(Path::new("/etc/idpsyncd/corp.pem")));
}

#[test]
fn authzen_is_parsed_in_full_and_has_the_documented_defaults() {
    let least = "[gateway]\nhttp = \"127.0.0.1:9180\"\n[gateway.authzen]\nenabled = ";
    let authzen = |text: &str| good(&with(text)).gateway.unwrap().authzen;
    let told = good(&with(&format!("{least}true"))).warnings();
    assert!(told.is_empty(), "{told:?}");
    let given = authzen(&format!("{least}true")).unwrap();
    let user = SubjectType { name: "user".to_owned(), id: SubjectId::Username };
    assert_eq!((given.base_url, given.subjects), (None, vec![user]));
    assert_eq!((given.max_evaluations, given.page_size, given.reasons), (1000, 1000, true));
    assert_eq!(given.action.text("record", "read"), "record:read");
    assert_eq!(given.resource.text("record", "a/b"), "record/a/b");
    assert!(given.callers.is_empty() && given.rules.is_empty());
    let header = format!("{least}false").replace("[gateway]", "[gateway]\nidentity = \"header\"");
    assert_eq!(authzen(&header), None);

    let all = r#"
        base_url = "http://pdp.example.com:8080/tenants/one"
        action = "app:{resource.type}/{action.name}"
        page_size = 10
        reasons = false
        [[gateway.authzen.subject]]
        type = "identity"
        id = "external_id"
        source = "acme"
        [[gateway.authzen.subject]]
        type = "mail"
        id = "email"
        [[gateway.authzen.caller]]
        name = "kong"
        token = { env = "KONG" }
        may = ["search"]
        [[gateway.authzen.rule]]
        when = { "action.properties.soft" = true, "context.a.b" = 1.5 }
        resource = ""
    "#;
    let config = good(&with(&format!("{least}true\n{all}")));
    let warnings = config.warnings();
    assert!(
        matches!(&warnings[..], [one, other]
            if one.contains("base_url `http://pdp.example.com:8080/tenants/one` is no `https://`")
            && other.contains("subject `mail` is known by its email address")),
        "{warnings:?}"
    );
    let gateway = config.gateway.unwrap();
    assert_eq!(gateway.id_sources(), ["acme"]);
    let given = gateway.authzen.unwrap();
    assert_eq!(given.base_url.unwrap().path, "/tenants/one");
    assert_eq!(given.action.text("record", "read"), "app:record/read");
    let kong = &given.callers[0];
    assert_eq!(kong.proof, CallerProof::Token(SecretRef::Env("KONG".to_owned())));
    assert_eq!(kong.may, [Capability::Search]);
    let rule = &given.rules[0];
    assert_eq!((rule.action.clone(), rule.resource.clone()), (None, Some(None)));
    let when: Vec<(QuestionPart, String)> =
        rule.when.iter().map(|when| (when.part, when.path.join("."))).collect();
    let expected = [(QuestionPart::Action, "soft"), (QuestionPart::Context, "a.b")];
    assert_eq!(when, expected.map(|(part, path)| (part, path.to_owned())));
}

#[test]
fn no_decision_point_is_below_a_path_that_the_gateway_answers_itself() {
    let at = |path: &str| {
        read(&with(&format!(
            "[gateway]\nhttp = \"127.0.0.1:9180\"\n[gateway.authzen]\nenabled = true\n\
             base_url = \"https://pdp.example.com{path}\"\n"
        )))
    };
    for path in ["/authz", "/authz/x", "/healthz", "/readyz", "/metrics/x", "/backchannel-logout"] {
        let faults = at(path).unwrap_err().to_string();
        assert!(faults.contains("is answered by the gateway itself"), "{path}: {faults}");
    }
    for path in ["", "/authzen", "/tenants/authz", "/Authz"] {
        assert!(at(path).is_ok(), "{path}");
    }
}

#[test]
fn a_proof_for_whichever_host_a_client_asks_is_told_of() {
    let gateway = |more: &str, required: bool| {
        good(&with(&format!(
            "[gateway]\nhttp = \"127.0.0.1:9180\"\nidentity = \"jwt\"\n{more}\n[[gateway.jwt]]\n\
             issuer = \"https://auth.example.com\"\nsource = \"acme\"\naudiences = [\"a\"]\n\
             dpop_required = {required}\n"
        )))
    };
    let told = |more: &str, required: bool| {
        gateway(more, required)
            .warnings()
            .iter()
            .any(|warning| warning.contains("may be for any host"))
    };
    let route =
        |hosts: &str| format!("[[gateway.route]]\npath = \"/x\"\naction = \"a:B\"\n{hosts}");
    let (named, any) = (route("hosts = [\"*.example.com\"]"), route(""));
    let hosts = "[gateway.dpop]\nhosts = [\"a.example.com\"]";
    for (more, warned) in [
        ("preset = \"osmo\"", true),
        (&*any, true),
        (&*format!("{named}\n{any}"), true),
        (&*named, false),
        (&*format!("{any}\n{hosts}"), false),
        (&*format!("preset = \"osmo\"\n{hosts}"), false),
    ] {
        assert_eq!(told(more, true), warned, "{more}");
        assert!(!told(more, false), "{more}");
    }
    let hosts = gateway(&format!("{any}\n{hosts}"), true).gateway.unwrap().dpop.hosts;
    assert_eq!(hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.example.com"]);
}

#[test]
fn what_is_not_wrong_but_without_effect_is_told() {
    let config = good(
        r#"
        store = { path = "s" }
        [guard]
        protected_roles = { admin = 1, team-root = 0 }
        [[source]]
        name = "kc"
        kind = "keycloak"
        url = "http://auth.example.com"
        realm = "osmo"
        client_id = "idpsyncd"
        client_secret = { env = "S" }
        grants = ["user"]
        [[source]]
        name = "ldap"
        kind = "ldap"
        url = "ldap://ldap.example.com"
        bind_dn = "cn=x"
        bind_password = { env = "S" }
        users = { base = "dc=x" }
        groups = { base = "dc=x" }
        [roles.admin]
        [roles.user]
        [[roles.user.policies]]
        effect = "Deny"
        actions = ["workflow:Exec", "pool:List"]
        [roles.idle]
        sync_mode = "ignore"
        [roles.default]
        everyone = true
        sync_mode = "force"
        [[role_template]]
        name = 'team-.+'
        [[mapping]]
        source = "kc"
        group_name = "admins"
        roles = ["admin"]
        [[mapping]]
        realm_role = "x"
        roles = ["idle", "default"]
        [[catalog]]
        actions = ["workflow:Exec"]
        resources = ["pool/a"]
        [gateway]
        http = "127.0.0.1:1"
        identity = "header"
        "#,
    );
    assert_eq!(
        config.warnings(),
        [
            "roles.default.sync_mode has no effect: an `everyone` role has no grants that a sync \
             could change",
            "source `kc`: the client's secret goes over `http://` unencrypted",
            "source `ldap`: the password goes over `ldap://` unencrypted; use `ldaps://` or \
             `start_tls = true`",
            "roles.user.policies[1] denies `workflow:Exec` without `resources`, and \
             `workflow:Exec` takes one: it denies nothing there; write `resources = [\"*\"]` to \
             deny it everywhere",
            "mapping[1] gives `admin`, which is not in the `grants` of source `kc`: it gives \
             nothing",
            "mapping[1] gives `admin`, which is protected: a group's bare name never reaches it; \
             name the group in whole, or an IdP role",
            "mapping[2] gives `idle`, whose `sync_mode` is `ignore`: it gives nothing",
            "mapping[2] gives `default`, which every enabled user holds anyway",
            "guard.protected_roles.team-root comes from role_template[1], and a template never \
             reaches a protected role: declare it under `[roles]`",
            "roles.user denies, and hangs on the bare name `user`: who renames a group that bears it \
             lifts the restriction; set `external_roles = []` and name the group in whole (`group`, \
             `group_id`), or an IdP role",
            "gateway has neither `preset` nor `[[gateway.route]]`: every request is denied",
        ]
    );
}

/// The warnings about what others could reach or read.
fn exposed(text: &str) -> Vec<String> {
    let marks = ["ldap://", "in the clear", "client_ca_file", "anonymous_role"];
    let of = |warning: &String| marks.iter().any(|mark| warning.contains(mark));
    good(text).warnings().into_iter().filter(of).collect()
}

#[test]
fn an_ldap_without_tls_is_told_of_even_where_nobody_signs_in() {
    let ldap = |url: &str, more: &str| {
        exposed(&format!(
            "[store]\npath = \"s\"\n[[source]]\nname = \"dir\"\nkind = \"ldap\"\nurl = {url}\n{more}\n\
             users = {{ base = \"ou=p\", username = \"uid\" }}\n\
             groups = {{ base = \"ou=g\", name = \"cn\" }}\n"
        ))
    };
    for url in [
        "\"ldap://dir.example.com\"",
        "[\"ldaps://a.example\", \"ldap://192.0.2.7\"]",
        "\"srv:example.com\"",
    ] {
        let warnings = ldap(url, "");
        assert!(
            matches!(&warnings[..], [one] if one.starts_with("source `dir`: what the directory says")),
            "{warnings:?}"
        );
    }
    for url in
        ["ldap://localhost", "ldap://127.0.0.1:3389", "ldap://[::1]:3389", "ldap://127.9.9.9"]
    {
        assert_eq!(ldap(&format!("{url:?}"), ""), [""; 0], "{url}");
    }
    assert_eq!(ldap("\"ldaps://dir.example.com\"", ""), [""; 0]);
    assert_eq!(ldap("\"ldap://dir.example.com\"", "start_tls = true"), [""; 0]);
    assert_eq!(ldap("\"srv:example.com\"", "start_tls = true"), [""; 0]);
}

#[test]
fn who_may_make_tokens_for_others_is_told_of_unless_they_manage_them_anyway() {
    let allow = |actions: &str, on: &str| ("Allow", actions.to_owned(), on.to_owned());
    let token = |on: &str| allow("auth:Token", on);
    let deny = |actions: &str, on: &str| ("Deny", actions.to_owned(), on.to_owned());
    for (policies, told) in [
        (vec![token("user/${self}")], false),
        (vec![token("user/*")], true),
        (vec![token("user/bob")], true),
        (vec![token("*"), allow("user:Manage", "user/${self}")], true),
        (vec![token("*"), allow("user:Manage", "user/nobody")], true),
        (vec![token("user/a*"), allow("user:*", "user/b*")], true),
        (vec![token("user/*"), allow("user:Manage", "user/*"), deny("user:*", "user/root")], true),
        (vec![token("*"), allow("user:Manage", "user/*")], false),
        (vec![token("user/ab"), allow("user:*", "user/a*")], false),
        (vec![allow("*:*", "*")], false),
        (vec![allow("*:*", "*"), deny("*:*", "user/root")], false),
    ] {
        let policies: String = policies
            .iter()
            .map(|(effect, action, on)| {
                format!(
                    "[[roles.r.policies]]\neffect = \"{effect}\"\nactions = [\"{action}\"]\n\
                     resources = [\"{on}\"]\n"
                )
            })
            .collect();
        let warnings = good(&with(&format!("[roles.r]\n{policies}"))).warnings();
        let warned = warnings.iter().any(|warning| warning.contains("in somebody else's name"));
        assert_eq!(warned, told, "{policies}: {warnings:?}");
    }
    // A template says it of its own; who `${team}` is nobody knows before.
    for (manage, told) in
        [("", true), ("user/${self}", true), ("user/${team}", false), ("user/*", false)]
    {
        let manage = match manage {
            "" => String::new(),
            on => format!(
                "[[role_template.policies]]\nactions = [\"user:Manage\"]\nresources = [\"{on}\"]\n"
            ),
        };
        let warnings = good(&with(&format!(
            "[[role_template]]\nname = 'osmo-(?<team>[a-z0-9-]+)'\n[[role_template.policies]]\n\
             actions = [\"auth:Token\"]\nresources = [\"user/${{team}}\"]\n{manage}"
        )))
        .warnings();
        let warned = warnings.iter().any(|warning| warning.contains("in somebody else's name"));
        assert_eq!(warned, told, "{manage}: {warnings:?}");
    }
}

#[test]
fn listeners_that_others_reach_are_told_of() {
    let gateway = |lines: &str| exposed(&with(&format!("[gateway]\npreset = \"osmo\"\n{lines}")));
    let header = "identity = \"header\"";
    let tls = "[gateway.tls]\ncert_file = \"c\"\nkey_file = \"k\"";
    for (listen, open) in [
        ("http = \"0.0.0.0:1\"", 1),
        ("grpc = \"[::]:1\"", 1),
        ("grpc = \"192.0.2.1:1\"\nhttp = \"10.0.0.1:1\"", 2),
        ("grpc = \"192.0.2.1:1\"\nhttp = \"127.0.0.1:1\"", 1),
        ("grpc = \"127.0.0.1:1\"\nhttp = \"[::1]:1\"", 0),
        ("grpc = \"unix:/run/a\"\nhttp = \"127.3.3.3:1\"", 0),
        ("http = \"[::ffff:127.0.0.1]:1\"", 0),
    ] {
        let warnings = gateway(&format!("{listen}\n{header}"));
        assert_eq!(warnings.len(), open, "{listen}: {warnings:?}");
        for warning in warnings {
            assert!(warning.contains("in the clear") && warning.contains("whomever it names"));
        }
    }
    let warnings = gateway(&format!("http = \"0.0.0.0:1\"\n{header}\n{tls}"));
    assert!(
        matches!(&warnings[..], [one] if one.starts_with("gateway.tls has no `client_ca_file`")),
        "{warnings:?}"
    );
    let with_ca = format!("http = \"0.0.0.0:1\"\n{header}\n{tls}\nclient_ca_file = \"ca\"");
    assert_eq!(gateway(&with_ca), [""; 0]);
}

#[test]
fn an_anonymous_role_that_may_do_everything_is_told_of() {
    let anonymous = |role: &str| {
        exposed(&with(&format!(
            "[gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\npreset = \"osmo\"\n\
             anonymous_role = \"anon\"\n{role}"
        )))
    };
    let policies = |table: &str, more: &str| {
        format!("[[{table}.policies]]\nactions = [\"system:Health\", \"*:*\"]\n{more}\n")
    };
    let role = |more: &str| format!("[roles.anon]\n{}", policies("roles.anon", more));
    for resources in ["", "resources = [\"*\"]", "resources = [\"pool/x\"]"] {
        assert_eq!(anonymous(&role(resources)).len(), 1, "{resources}");
    }
    assert_eq!(anonymous(&role("effect = \"Deny\"")), [""; 0]);
    let template = format!("[[role_template]]\nname = 'an.+'\n{}", policies("role_template", ""));
    assert_eq!(anonymous(&template).len(), 1);
    assert_eq!(anonymous("[roles.anon]\n[[roles.anon.policies]]\nactions = [\"*:Read\"]"), [""; 0]);
}

#[test]
fn a_source_without_grants_that_could_give_a_protected_role_is_told_of() {
    let source = |name: &str, kind: &str| {
        format!("[[source]]\nname = \"{name}\"\nkind = \"file\"\n{kind}\n")
    };
    let (realm, ldif) =
        (source("kc", "realm_export = \"r.json\""), source("dir", "ldif = \"d.ldif\""));
    let boss =
        "[roles.boss]\n[[roles.boss.policies]]\nactions = [\"*:*\"]\nresources = [\"pool/a\"]\n";
    let none = boss.replace("[roles.boss]\n", "[roles.boss]\nexternal_roles = []\n");
    let map = |rule: &str| format!("{none}[[mapping]]\n{rule}\nroles = [\"boss\"]\n");
    let told = |text: &str| -> Vec<String> {
        let config = good(&format!("[store]\npath = \"s\"\n{text}"));
        let named = config.warnings().into_iter().filter(|it| it.contains("has no `grants`"));
        named.map(|it| it.split('`').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(told(&format!("{realm}{ldif}{boss}")), ["kc"], "an IdP role of that name");
    assert_eq!(told(&format!("{realm}{ldif}{none}")), Vec::<String>::new());
    assert_eq!(told(&format!("{realm}{ldif}{}", map("group = \"/a\""))), ["kc"]);
    assert_eq!(told(&format!("{realm}{ldif}{}", map("group = \"cn=a\""))), ["dir"]);
    assert_eq!(told(&format!("{realm}{ldif}{}", map("group_id = \"a-b\""))), ["kc", "dir"]);
    assert_eq!(
        told(&format!("{realm}{ldif}{}", map("source = \"dir\"\ngroup_id = \"a-b\""))),
        ["dir"]
    );
    assert_eq!(told(&format!("{realm}{ldif}{}", map("group_name = \"a\""))), Vec::<String>::new());
    assert_eq!(told(&format!("{realm}grants = [\"x\"]\n{boss}")), Vec::<String>::new());
    let config = good(&format!(
        "[store]\npath = \"s\"\n[guard]\nprotected_roles = {{ b = 0 }}\n{realm}[roles.b]\n"
    ));
    assert!(config.warnings().iter().any(|it| it.contains("can give `b`, which is protected")));
}

#[test]
fn a_deny_role_that_hangs_on_a_bare_name_is_told_of() {
    let deny =
        "[[roles.no.policies]]\neffect = \"Deny\"\nactions = [\"a:B\"]\nresources = [\"*\"]\n";
    let told = |text: &str| {
        let config = good(&with(text));
        config.warnings().iter().filter(|it| it.contains("lifts the restriction")).count()
    };
    assert_eq!(told(&format!("[roles.no]\n{deny}")), 1, "its own name is one");
    assert_eq!(told(&format!("[roles.no]\nexternal_roles = [\"x\"]\n{deny}")), 1);
    let none = format!("[roles.no]\nexternal_roles = []\n{deny}");
    assert_eq!(told(&none), 0);
    let map = |rule: &str| format!("{none}[[mapping]]\n{rule}\nroles = [\"no\"]\n");
    assert_eq!(told(&map("group_name = \"x\"")), 1);
    assert_eq!(told(&map("group = \"/x\"")), 0);
    assert_eq!(told(&map("group_id = \"x\"")), 0);
    assert_eq!(told(&format!("[roles.no]\n[[roles.no.policies]]\nactions = [\"a:C\"]\n{deny}")), 0);
}

#[test]
fn a_template_that_allows_everything_makes_nothing_and_is_told_of() {
    let text = "[[role_template]]\nname = 't-(?<n>.+)'\n[[role_template.policies]]\nactions = [\"*:*\"]\nresources = [\"pool/${n}\"]\n";
    let warnings = good(&with(text)).warnings();
    assert!(warnings.iter().any(|it| it.contains("role_template[1] allows `*:*`")), "{warnings:?}");
}

#[test]
fn a_slash_at_the_end_of_a_path_is_left_out_and_a_client_role_has_a_list_form() {
    let config = good(
        r#"
        store = { path = "s" }
        [[source]]
        name = "kc"
        kind = "file"
        realm_export = "r.json"
        clients = ["a", "a/b"]
        lifecycle = false
        [[source]]
        name = "dir"
        kind = "file"
        ldif = "d.ldif"
        email_verified = true
        [roles.r]
        [[mapping]]
        group = "/Eng/ML/"
        roles = ["r"]
        [[mapping]]
        client_role = "a/b/c"
        roles = ["r"]
        [[mapping]]
        client_role = ["a", "b/c"]
        roles = ["r"]
        [[mapping]]
        group_id = "7D1C"
        roles = ["r"]
        "#,
    );
    let rule = |place: usize| config.mappings[place].rule.to_string();
    assert_eq!(rule(0), "group `/Eng/ML`");
    assert_eq!(rule(2), "role `b/c` of client `a`");
    assert_eq!(rule(3), "the group with the id `7D1C`");
    assert!(!config.sources[0].lifecycle && config.sources[1].lifecycle);
    assert!(config.sources[1].kind.of::<LdifConfig>().unwrap().users.email_verified);
    assert!(
        config
            .warnings()
            .iter()
            .any(|it| it.contains("mapping[1].group: `/Eng/ML/` is read as `/Eng/ML`"))
    );
    assert!(
        config.warnings().iter().any(|it| it.contains(
            "mapping[2].client_role: `a/b/c` is ambiguous, it may be role `b/c` of client `a` or role \
             `c` of client `a/b`"
        )),
        "{:?}",
        config.warnings()
    );
}

#[test]
fn a_deny_without_resources_is_told_of_where_a_route_takes_one() {
    for route in [
        "preset = \"osmo\"",
        "[[gateway.route]]\npath = \"/w/*\"\naction = \"workflow:Exec\"\nscope = \"pool\"",
        "[[gateway.route]]\npath = \"/w/{p}\"\naction = \"workflow:Exec\"\nresource = \"pool/{p}\"",
    ] {
        let config = good(&with(&format!(
            "[[role_template]]\nname = 'r'\n[[role_template.policies]]\neffect = \"Deny\"\n\
             actions = [\"*:Exec\"]\n[gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\n\
             {route}\n"
        )));
        let told = "role_template[1].policies[1] denies `*:Exec` without `resources`, and \
                    `workflow:Exec`";
        let count = config.warnings().iter().filter(|it| it.starts_with(told)).count();
        assert_eq!(count, 1, "{:?}", config.warnings());
    }
}

#[test]
fn a_route_that_says_the_same_as_the_presets_is_no_ambiguity() {
    for route in [
        "methods = [\"POST\"]\npath = \"/api/pool/{p}/workflow\"\naction = \"workflow:Create\"\n\
         resource = \"pool/{p}\"",
        "path = \"/api/workflow\"\nmethods = [\"GET\", \"HEAD\"]\naction = \"workflow:List\"",
        "path = \"/api/agent/{x}/{backend}\"\naction = \"agent:Other\"",
    ] {
        good(&with(&format!(
            "[gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\npreset = \"osmo\"\n\
             [[gateway.route]]\n{route}\n"
        )));
    }
}

#[test]
fn the_fingerprint_is_the_files_meaning() {
    let base = with("[roles.a]\n[roles.b]\n");
    let print = |text: &str| good(text).fingerprint;
    let first = print(&base);
    assert_eq!(first.len(), 64);
    // The layout, the store, the schedule, the gateway, a default written out.
    for same in [
        with("# a comment\n[roles.b]\n\n\n[roles.a]\nexternal_roles = [\"a\"]\n"),
        base.replace("store.db", "other.db"),
        format!("{base}[schedule]\njitter = \"1s\"\n"),
        format!("{base}[gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\n"),
        format!("{base}[sync]\nprovision = \"all\"\n"),
    ] {
        assert_eq!(print(&same), first, "{same}");
    }
    for other in [
        with("[roles.a]\n"),
        base.replace("\"acme\"", "\"bcme\""),
        base.replace("realm.json", "other.json"),
        format!("{base}description = \"x\"\n"),
        format!("{base}[[roles.b.policies]]\nactions = [\"a:b\"]\n"),
        format!("{base}[[role_template]]\nname = 'x'\n"),
        format!("{base}[[catalog]]\nactions = [\"a:b\"]\n"),
        format!("{base}[[mapping]]\nrealm_role = \"x\"\nroles = [\"a\"]\n"),
        format!("{base}[guard]\nmax_lost_floor = 21\n"),
        format!("{base}[sync]\non_missing = {{ after = \"2h\" }}\n"),
    ] {
        assert_ne!(print(&other), first, "{other}");
    }
}

#[test]
fn the_fingerprint_does_not_depend_on_where_a_secret_lies() {
    let keycloak = |secret: &str| {
        good(&with(&format!(
            "[[source]]\nname = \"kc\"\nkind = \"keycloak\"\nurl = \"https://a.example.com\"\n\
             realm = \"r\"\nclient_id = \"c\"\nclient_secret = {secret}\n"
        )))
        .fingerprint
    };
    assert_eq!(keycloak("{ env = \"A\" }"), keycloak("{ file = \"/b\" }"));
    let ldap = |more: &str| {
        good(&with(&format!(
            "[[source]]\nname = \"l\"\nkind = \"ldap\"\nurl = \"ldaps://a.example.com\"\n{more}\n\
             groups = false\nusers = {{ base = \"dc=x\" }}\n"
        )))
        .fingerprint
    };
    let by_cert = |path: &str| ldap(&format!("cert_file = \"{path}\"\nkey_file = \"/k\""));
    assert_eq!(by_cert("/a"), by_cert("/b"));
    assert_ne!(by_cert("/a"), ldap(""), "another identity may see other things");
}

#[test]
fn the_annotated_example_is_right_and_needs_no_secret_to_load() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/idpsyncd.toml");
    let config = load(&path, &kinds()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.warnings(), Vec::<String>::new());
    let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["corp-keycloak", "corp-ldap", "local"]);
    // What is commented out in it is right as well.
    let text = std::fs::read_to_string(&path).unwrap();
    let (start, end) = (text.find("# [gateway]").unwrap(), text.len());
    let gateway = text[start..end].replace("\n# ", "\n").replace("\n#\n", "\n\n");
    let whole = format!("{}{}", &text[..start], gateway.trim_start_matches("# "));
    assert!(good(&whole).gateway.is_some());
}

/// The blocks of ```` ```toml ```` in a page, each with its first line's number.
fn toml_blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match &mut block {
            None if line.trim() == "```toml" => block = Some((number + 2, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(block.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

/// A block with a `[store]` is a whole configuration and must be right as it stands. Any other is
/// a fragment: whatever is in it must be right, but what it leaves out, or names without showing
/// it (a role, a source), is taken to be in the rest of the file. A block that only shows keys of
/// one table begins with that table's header like any TOML.
#[test]
fn every_toml_block_of_the_documentation_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    pages.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages.sort();
    let mut seen = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|e| e == "md")) {
        let Ok(text) = std::fs::read_to_string(page) else { continue };
        for (line, block) in toml_blocks(&text) {
            seen += 1;
            let Err(mut faults) = parse(&block, page, &kinds()) else { continue };
            // The platform's files are not here.
            faults.faults.retain(|fault| fault.code != Code::Unreadable);
            if !block.contains("[store]") {
                faults
                    .faults
                    .retain(|fault| !matches!(fault.code, Code::MissingKey | Code::UnknownName));
            }
            assert!(
                faults.faults.is_empty(),
                "the block in line {line} of {}:\n{faults}",
                page.display()
            );
        }
    }
    assert!(seen >= 10, "{seen}");
}

/// A key that nobody knows makes the report list those that are known: each must have its row.
#[test]
fn every_key_is_in_the_reference() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut seen = 0;
    for table in [
        "[store]",
        "[schedule]",
        "[sync]",
        "[guard]",
        "[tokens]",
        "[default_admin]",
        "[[source]]\nkind = \"keycloak\"",
        "[[source]]\nkind = \"ldap\"",
        "[[source]]\nkind = \"ldap\"\n[source.users]",
        "[[source]]\nkind = \"ldap\"\n[source.groups]",
        "[[source]]\nkind = \"file\"\nldif = \"x\"",
        "[[source]]\nkind = \"file\"\nrealm_export = \"x\"",
        "[roles.x]",
        "[[roles.x.policies]]",
        "[[role_template]]",
        "[[mapping]]",
        "[[catalog]]",
        "[import]",
        "[h2o]",
        "[[h2o.tag]]",
        "[workload]",
        "[[workload.backend]]",
        "[[workload.association]]",
        "[gateway]",
        "[gateway.tls]",
        "[gateway.logout]",
        "[[gateway.jwt]]",
        "[[gateway.route]]",
        "[[gateway.allowed]]",
    ] {
        let faults = read(&format!("{table}\nqqqqqqqqqqqqqqqq = 1\n")).unwrap_err().faults;
        let known = faults.iter().find_map(|f| f.message.strip_prefix("unknown key; known here: "));
        for key in known.unwrap().split(", ") {
            seen += 1;
            let row = page.contains(&format!("| {key} |"));
            let name = key.trim_matches('`');
            let section = [".]]`", ".]`"]
                .iter()
                .any(|end| page.contains(&end.replacen('.', &format!(".{name}"), 1)));
            assert!(row || section, "{key} of {table} is not in docs/configuration.md");
        }
    }
    assert!(seen > 80, "{seen}");
}

/// Texts to spoil: the example, and every broken file.
fn texts() -> Vec<String> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/idpsyncd.toml");
    std::iter::once(example)
        .chain(broken())
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[derive(Clone, Debug)]
enum Spoil {
    Insert(String),
    Delete(usize),
    DeleteLine,
    RepeatLine,
    Cut,
}

fn spoil() -> impl Strategy<Value = (prop::sample::Index, Spoil)> {
    let bits = prop::sample::select(vec![
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "#",
        "\"\"\"",
        "'''",
        "\\",
        "\0",
        "é",
        "\r\n",
        "x = 1\n",
        "[store]\n",
        "[[source]]\n",
        "[roles]\n",
        "store.path.x = 1\n",
        "= = ",
        "1979-13-45",
        "0x",
        "${",
        "}",
        "(?<",
        "\u{feff}",
        "🦀",
    ]);
    (
        any::<prop::sample::Index>(),
        prop_oneof![
            bits.prop_map(|bit| Spoil::Insert(bit.to_owned())),
            ".{0,3}".prop_map(Spoil::Insert),
            (1usize..20).prop_map(Spoil::Delete),
            Just(Spoil::DeleteLine),
            Just(Spoil::RepeatLine),
            Just(Spoil::Cut),
        ],
    )
}

fn spoiled(text: &str, spoils: &[(prop::sample::Index, Spoil)]) -> String {
    let mut text = text.to_owned();
    for (place, spoil) in spoils {
        let mut at = place.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
        let end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
        match spoil {
            Spoil::Insert(bit) => text.insert_str(at, bit),
            Spoil::Delete(length) => {
                let rest: String = text[at..].chars().skip(*length).collect();
                text.truncate(at);
                text.push_str(&rest);
            }
            Spoil::DeleteLine => text.replace_range(line..end, ""),
            Spoil::RepeatLine => {
                let line = text[line..end].to_owned();
                text.insert_str(end, &line);
            }
            Spoil::Cut => text.truncate(at),
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_it_panic_and_every_refusal_says_why(
        which in any::<prop::sample::Index>(),
        spoils in prop::collection::vec(spoil(), 1..6),
    ) {
        let texts = texts();
        let text = spoiled(&texts[which.index(texts.len())], &spoils);
        if let Err(faults) = read(&text) {
            prop_assert!(!faults.faults.is_empty());
            let lines = text.lines().count().max(1);
            for fault in &faults.faults {
                prop_assert!(fault.line >= 1 && fault.line <= lines + 1 && fault.column >= 1);
                prop_assert!(!fault.message.contains('\n'), "{:?}", fault.message);
            }
        }
    }

    #[test]
    fn no_noise_makes_it_panic(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    /// One slip of the finger anywhere in a file with secrets where they do not belong: whatever
    /// the report says, it never says them.
    #[test]
    fn no_slip_of_the_finger_makes_it_tell_a_secret(
        at in any::<prop::sample::Index>(),
        slip in prop::sample::select(vec!["", "\"", "'", "=", "[", "]", "{", "}", "x", " ", "\n", "#", "@", ","]),
        delete in any::<bool>(),
    ) {
        let text = r#"
[store]
path = "store.db"

[[source]]
name = "kc"
kind = "keycloak"
url = "https://admin:hunter2@auth.example.com"
realm = "osmo"
client_id = "idpsyncd"
client_secret = "hunter2"
clients = ["a", "b"]

[[source]]
name = "kc2"
kind = "keycloak"
url = "https://auth.example.com"
realm = "osmo"
client_id = "idpsyncd"
client_secret = ["hunter2", { "hunter2" = "hunter2" }]

[[source]]
name = "ldap"
kind = "ldap"
url = ["ldaps://cn:hunter2@ldap.example.com", "hunter2@ldap.example.com"]
bind_dn = "cn=idpsyncd,dc=example,dc=org"
bind_password = { file = "a", hunter2 = "hunter2" }
users = { base = "dc=x" }
groups = { base = "dc=x" }
"#;
        let at = at.index(text.len());
        let end = if delete { at + 1 } else { at };
        let text = format!("{}{slip}{}", &text[..at], &text[end..]);
        let report = report(&text, Path::new("idpsyncd.toml"));
        prop_assert!(!report.contains("hunter2"), "{}\n{}", text, report);
    }
}

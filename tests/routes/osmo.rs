//! The preset `osmo`, row by row.

use idpsyncd::routes::osmo::routes;
use idpsyncd::routes::{Path, Preset, Refused, Routes, Target};

use super::gateway;
use super::table::found;

fn preset() -> Routes {
    let config = gateway("preset = \"osmo\"");
    assert_eq!(config.preset, Some(Preset::Osmo));
    Routes::new(config.route_specs()).unwrap()
}

const EVERY: &str = "GET HEAD POST PUT PATCH DELETE OPTIONS BREW GET+ POST+";

/// A row of the platform's table: the methods (with `+`: an upgrade), a path, what it is; what each
/// other method there is instead, where it is not refused.
type Line = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const READ: (&str, &str) = ("GET GET+", "workflow:Read some pool");
const UPDATE: (&str, &str) = ("PUT PATCH", "workflow:Update some pool");
const REMOVE: (&str, &str) = ("DELETE", "workflow:Delete some pool");

#[rustfmt::skip]
const LINES: &[Line] = &[
    ("POST POST+", "/api/pool/ml-a/workflow", "workflow:Create pool/ml-a", &[]),
    ("POST POST+", "/api/pool/ml-a/workflow/x", "workflow:Create pool/ml-a", &[]),
    ("POST POST+", "/api/pool/ml-a/workflow/x/y", "workflow:Create pool/ml-a", &[]),
    ("GET GET+", "/api/workflow", "workflow:List", &[]),
    ("GET GET+", "/api/task", "workflow:List", &[]),
    ("GET GET+", "/api/tag", "workflow:List", &[]),
    ("GET GET+", "/api/workflow/x", "workflow:Read some pool", &[UPDATE, REMOVE]),
    ("GET GET+", "/api/workflow/x/logs/y", "workflow:Read some pool", &[UPDATE, REMOVE]),
    ("PUT PATCH", "/api/workflow/x", "workflow:Update some pool", &[READ, REMOVE]),
    ("DELETE", "/api/workflow/x", "workflow:Delete some pool", &[READ, UPDATE]),
    ("POST POST+", "/api/workflow/x/cancel", "workflow:Cancel some pool", &[]),
    ("POST POST+ GET+", "/api/workflow/x/exec", "workflow:Exec some pool", &[]),
    ("POST POST+ GET+", "/api/workflow/x/exec/y", "workflow:Exec some pool", &[]),
    ("POST POST+ GET+", "/api/workflow/x/exec/y/z", "workflow:Exec some pool", &[]),
    (EVERY, "/api/router/exec/x/client/y", "workflow:Exec some pool", &[]),
    (EVERY, "/api/router/exec/x/client/y/z", "workflow:Exec some pool", &[]),
    (EVERY, "/api/workflow/x/portforward/y", "workflow:PortForward some pool", &[]),
    (EVERY, "/api/workflow/x/portforward/y/z", "workflow:PortForward some pool", &[]),
    (EVERY, "/api/workflow/x/webserver/y", "workflow:PortForward some pool", &[]),
    (EVERY, "/api/router/portforward/x/client/y", "workflow:PortForward some pool", &[]),
    ("GET GET+", "/api/router/webserver/x", "workflow:PortForward", &[]),
    ("GET GET+", "/api/router/webserver/x/y", "workflow:PortForward", &[]),
    ("GET GET+", "/api/plugins/configs", "workflow:Rsync some pool", &[]),
    ("POST POST+", "/api/workflow/x/rsync", "workflow:Rsync some pool", &[]),
    ("POST POST+", "/api/workflow/x/rsync/y", "workflow:Rsync some pool", &[]),
    (EVERY, "/api/router/rsync/x/client/y", "workflow:Rsync some pool", &[]),
    ("GET GET+", "/api/pool", "pool:List", &[]),
    ("GET GET+", "/api/pool_quota", "pool:List", &[]),
    ("POST POST+", "/api/credentials", "credentials:Create", &[("GET GET+", "credentials:Read")]),
    ("POST POST+", "/api/credentials/x", "credentials:Create",
        &[("GET GET+", "credentials:Read"), ("PUT PATCH", "credentials:Update"),
          ("DELETE", "credentials:Delete")]),
    ("GET GET+", "/api/profile/settings", "profile:Read", &[("POST POST+", "profile:Update")]),
    ("GET GET+", "/api/users", "user:List", &[]),
    ("POST POST+", "/api/app", "app:Create", &[("GET GET+", "app:Read")]),
    ("POST POST+", "/api/app/x/y", "app:Create",
        &[("GET GET+", "app:Read"), ("PUT PATCH", "app:Update"), ("DELETE", "app:Delete")]),
    ("GET GET+", "/api/resources", "resources:Read", &[]),
    ("GET GET+", "/api/resources/x/y", "resources:Read", &[]),
    ("GET GET+", "/api/configs", "config:Read some config",
        &[("POST POST+", "config:Create config/ALL"), ("DELETE", "config:Delete config/ALL")]),
    ("GET GET+", "/api/configs/pool", "config:Read config/pool",
        &[("PUT PATCH", "config:Update config/pool"), ("POST POST+", "config:Create config/pool"),
          ("DELETE", "config:Delete config/pool")]),
    ("GET GET+", "/api/configs/pool/x/y", "config:Read config/pool",
        &[("PUT PATCH", "config:Update config/pool"), ("POST POST+", "config:Create config/pool"),
          ("DELETE", "config:Delete config/pool")]),
    ("GET GET+", "/api/auth/login", "auth:Login", &[]),
    ("GET GET+", "/api/auth/keys", "auth:Login", &[]),
    (EVERY, "/api/auth/jwt/refresh_token", "auth:Refresh", &[]),
    (EVERY, "/api/auth/jwt/access_token", "auth:Refresh", &[]),
    (EVERY, "/api/auth/access_token", "auth:Token", &[]),
    (EVERY, "/api/auth/access_token/x/y", "auth:Token", &[]),
    (EVERY, "/api/auth/user/ada/access_token", "auth:Token user/ada", &[]),
    (EVERY, "/api/auth/user/ada/access_token/x", "auth:Token user/ada", &[]),
    (EVERY, "/api/auth/user", "user:Manage user/ALL", &[]),
    (EVERY, "/api/auth/user/ada", "user:Manage user/ada", &[]),
    (EVERY, "/api/auth/user/ada/roles/x", "user:Manage user/ada", &[]),
    (EVERY, "/api/auth/user/ada/access_tokens", "user:Manage user/ada", &[]),
    (EVERY, "/api/auth/user/access_token", "user:Manage user/access_token", &[]),
    (EVERY, "/api/auth/roles/osmo-admin", "user:Manage role/osmo-admin", &[]),
    (EVERY, "/api/auth/roles/osmo-admin/users", "user:Manage role/osmo-admin", &[]),
    ("GET POST DELETE GET+ POST+", "/mcp", "mcp:Access", &[]),
    (EVERY, "/health", "system:Health", &[]),
    (EVERY, "/api/version", "system:Version", &[]),
    (EVERY, "/api/router/version", "system:Version", &[]),
    (EVERY, "/client/version", "system:Version", &[]),
    (EVERY, "/api/agent/listener/b1", "internal:Operator backend/b1", &[]),
    (EVERY, "/api/agent/listener/b1/x/y", "internal:Operator backend/b1", &[]),
    (EVERY, "/api/agent/worker/b1", "internal:Operator backend/b1", &[]),
    (EVERY, "/api/agent/worker/b1/x", "internal:Operator backend/b1", &[]),
    (EVERY, "/api/logger/workflow/x/osmo_ctrl/y", "internal:Logger backend/workflow", &[]),
    (EVERY, "/api/router/exec/x/backend/y", "internal:Router backend/exec", &[]),
    (EVERY, "/api/router/rsync/x/backend/y/z", "internal:Router backend/rsync", &[]),
    (EVERY, "/api/router/webserver/x/backend/y", "internal:Router backend/webserver", &[]),
];

/// Near misses of the rows: none is any action at all, whatever the method.
const NOTHING: &[&str] = &[
    "/",
    "/api",
    "/v1/api/pool",
    "/API/pool",
    "/api/Pool",
    "/api/pools",
    "/api/poo",
    "/api/pool/ml-a",
    "/api/pool/ml-a/workflows",
    "/api/pool/ml-a/Workflow",
    "/api/pool/workflow",
    "/api/pool/a/b/workflow",
    "/api/workflows",
    "/api/workflo",
    "/api/task/x",
    "/api/tag/x",
    "/api/tasks",
    "/api/router",
    "/api/router/exec",
    "/api/router/exec/x",
    "/api/router/exec/x/client",
    "/api/router/exec/client/y",
    "/api/router/exec/x/clients/y",
    "/api/router/shell/x/client/y",
    "/api/router/portforward/x/client",
    "/api/router/rsync/x/client",
    "/api/router/webserver",
    "/api/router/exec/x/backend",
    "/api/router/exec/backend/y",
    "/api/plugins",
    "/api/plugins/config",
    "/api/plugins/configs/x",
    "/api/pool_quota/x",
    "/api/pool-quota",
    "/api/profile",
    "/api/profile/settings/x",
    "/api/profile/setting",
    "/api/users/x",
    "/api/user",
    "/api/apps",
    "/api/resource",
    "/api/config",
    "/api/auth",
    "/api/auth/logins",
    "/api/auth/login/x",
    "/api/auth/keys/x",
    "/api/auth/jwt",
    "/api/auth/jwt/refresh_token/x",
    "/api/auth/refresh_token",
    "/api/auth/users",
    "/api/auth/roles",
    "/api/auth/role/x",
    "/mcp/x",
    "/mc",
    "/health/x",
    "/healthz",
    "/api/health",
    "/api/version/x",
    "/version",
    "/client",
    "/client/version/x",
    "/api/router/version/x",
    "/api/agent",
    "/api/agent/listener",
    "/api/agent/worker",
    "/api/agent/workers/b1",
    "/agent/worker/b1",
    "/api/logger/workflow/x/osmo_ctrl",
    "/api/logger/workflow/osmo_ctrl/y",
    "/api/logger/task/x/osmo_ctrl/y",
    "/api/logger/workflow/x/y/osmo_ctrl/z",
];

#[test]
fn every_row_of_the_platforms_table_is_that_action_and_every_other_method_there_is_not() {
    let routes = preset();
    for (methods, path, expected, others) in LINES {
        for method in EVERY.split(' ') {
            let expected = std::iter::once((*methods, *expected))
                .chain(others.iter().copied())
                .find(|(methods, _)| methods.split(' ').any(|own| own == method))
                .map(|(_, expected)| expected);
            let request = format!("{method} {path}");
            match (found(&routes, &request), expected) {
                (Ok(found), Some(expected)) => assert_eq!(found, expected, "{request}"),
                (Err(Refused::WrongMethod { .. }), None) => {}
                (found, expected) => panic!("{request}: {found:?}, not {expected:?}"),
            }
        }
        // A slash more is another path, and so is one in capitals.
        let slash = format!("GET {path}/");
        assert_eq!(found(&routes, &slash), Err(Refused::EndsInSlash), "{slash}");
        let capitals = found(&routes, &format!("GET {}", path.to_uppercase()));
        assert_eq!(capitals, Err(Refused::NoRoute), "{path}");
    }
}

/// What its registry does not name: of the platform's own roles, as its chart has them, only `*:*`
/// on everything reaches it.
#[test]
fn nobody_but_who_may_do_everything_manages_users_or_makes_configuration() {
    const ROLES: &[(&str, &[&str], &[&str])] = &[
        ("osmo-admin", &["*:*"], &["*"]),
        (
            "osmo-user",
            &[
                "app:*",
                "auth:Token",
                "credentials:*",
                "mcp:Access",
                "pool:List",
                "profile:Read",
                "profile:Update",
                "resources:Read",
                "user:List",
                "workflow:List",
                "workflow:Read",
            ],
            &["*"],
        ),
        ("osmo-user too", &["workflow:*"], &["pool/default"]),
        (
            "osmo-default",
            &["auth:Login", "auth:Refresh", "auth:Token", "profile:*", "system:Health"],
            &["*"],
        ),
        ("osmo-ctrl", &["internal:Logger", "internal:Router"], &["*"]),
        ("osmo-backend", &["internal:Operator", "config:Read", "pool:List"], &["*"]),
        ("all on a pool", &["*:*"], &["pool/*"]),
        ("their own user", &["user:*"], &["user/${self}"]),
        ("one user", &["user:*"], &["user/bob"]),
        ("one configuration", &["config:*"], &["config/dataset"]),
    ];
    let routes = preset();
    for (request, also) in [
        ("GET /api/auth/user", &[][..]),
        ("POST /api/auth/user", &[]),
        ("DELETE /api/auth/user/ada", &[]),
        ("POST /api/auth/user/ada/roles", &[]),
        ("DELETE /api/auth/user/ada/roles/osmo-admin", &[]),
        ("POST /api/auth/roles/osmo-admin/users", &[]),
        ("POST /api/configs/pool", &[]),
        ("DELETE /api/configs/pool/x", &[]),
        ("POST /api/configs", &[]),
        // As before.
        ("POST /api/auth/user/ada/access_token/x", &["osmo-default", "osmo-user"]),
        ("GET /api/users", &["all on a pool", "one user", "osmo-user", "their own user"]),
        ("GET /api/configs/pool", &["osmo-backend"]),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        let path = Path::parse(target).unwrap();
        let matched = routes.find(routes.site(None).unwrap(), method, false, &path).unwrap();
        let mut may: Vec<&str> = Vec::new();
        for (role, actions, resources) in ROLES {
            let policy = idpsyncd::policy::Policy {
                effect: idpsyncd::policy::Effect::Allow,
                actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
                resources: Some(resources.iter().map(|text| text.parse().unwrap()).collect()),
            };
            let (roles, action) = ([(*role, std::slice::from_ref(&policy))], &matched.route.action);
            let verdict = match (&matched.resource, &matched.route.target) {
                (None, Target::Scope(scope)) => {
                    idpsyncd::policy::decide_some(roles, action, scope, Some("eve"))
                }
                (resource, _) => {
                    let resource = resource.as_ref().map(|text| text.parse().unwrap());
                    idpsyncd::policy::decide(roles, action, resource.as_ref(), Some("eve"))
                }
            };
            if verdict.is_allow() {
                may.push(role);
            }
        }
        let mut expected = also.to_vec();
        expected.push("osmo-admin");
        expected.sort_unstable();
        may.sort_unstable();
        assert_eq!(may, expected, "{request}");
    }
}

#[test]
fn what_lies_beside_the_rows_is_nothing() {
    let routes = preset();
    for path in NOTHING {
        for method in EVERY.split(' ') {
            let request = format!("{method} {path}");
            assert_eq!(found(&routes, &request), Err(Refused::NoRoute), "{request}");
        }
    }
}

#[test]
fn every_route_is_reached_by_some_line() {
    let routes = preset();
    let mut missed: Vec<String> = routes.routes().iter().map(ToString::to_string).collect();
    for (methods, path, _, others) in LINES {
        for method in std::iter::once(methods).chain(others.iter().map(|(m, _)| m)) {
            for method in method.split(' ') {
                let parsed = Path::parse(path).unwrap();
                let upgrade = method.ends_with('+');
                let matched = routes
                    .find(
                        routes.site(None).unwrap(),
                        method.trim_end_matches('+'),
                        upgrade,
                        &parsed,
                    )
                    .unwrap();
                missed.retain(|route| *route != matched.route.to_string());
            }
        }
    }
    assert_eq!(missed, Vec::<String>::new());
    assert_eq!(routes.actions().len(), 36, "{:?}", routes.actions());
}

/// Written into a configuration, the table is read as the same routes: no fault, no tie, and each
/// action and path is what a configuration would make of it.
#[test]
fn the_table_is_what_a_configuration_with_the_same_text_would_be() {
    let mut text = String::new();
    for route in routes() {
        let methods = match route.methods.as_slice() {
            [] => String::new(),
            methods => format!("methods = {methods:?}\n"),
        };
        let target = match &route.target {
            Target::Nothing => String::new(),
            Target::Resource(resource) => format!("resource = {resource:?}\n"),
            Target::Scope(scope) => format!("scope = {scope:?}\n"),
        };
        text += &format!(
            "[[gateway.route]]\n{methods}path = {:?}\naction = \"{}\"\n{target}",
            route.path, route.action
        );
    }
    let own = gateway(&text).routes;
    assert_eq!(format!("{own:?}"), format!("{:?}", routes()));
}

// ---- hostile paths -----------------------------------------------------------------------------

/// A line of `tests/gateway_paths.txt` with its `\\xNN` undone.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        out += &part[2..];
    }
    out
}

/// The file's own words say what each line means.
#[test]
fn hostile_paths_are_refused_or_decided_as_what_the_upstream_serves() {
    let routes = preset();
    let mut seen = 0;
    for line in include_str!("../gateway_paths.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        seen += 1;
        let parts: Vec<&str> = line.split('\t').collect();
        let [method, target, expected] = parts[..] else { panic!("{line:?}") };
        let target = unescaped(target);
        let got = match Path::parse(&target) {
            Err(_) => "refused".to_owned(),
            Ok(_) => match found(&routes, &format!("{method} {target}")) {
                Err(Refused::NoRoute | Refused::WrongMethod { .. }) => "no route".to_owned(),
                Err(_) => "refused".to_owned(),
                Ok(found) => found,
            },
        };
        assert_eq!(got, expected, "{line:?}");
    }
    assert!(seen >= 100, "{seen}");
}

//! `preset = "osmo"`: the routes of NVIDIA OSMO's API (Apache-2.0,
//! `src/utils/roles/action_registry.go`, November 2026).
//!
//! The paths name a workflow, not its pool: such a route is on some pool, and OSMO's service, which
//! knows the pool, narrows it.
//!
//! OSMO's registry does not name all of its API: users, their roles, who holds a role, and what makes
//! or removes configuration. There only an Allow of `*:*` reaches those. Here they are `user:Manage`,
//! `config:Create` and `config:Delete`, which none of OSMO's own roles but `*:*` allows; on what, the
//! path tells, so that `*:*` on a pool reaches none of them. Where it tells of no one user or
//! configuration, only who may do so on all of them may: who makes a user may make an administrator.

use self::Row::{Nothing, Resource, Scope};
use super::template::{RouteSpec, Segment, Target};
use crate::policy::Action;

/// What the actions of a row are on.
#[derive(Clone, Copy)]
enum Row {
    Nothing,
    Scope(&'static str),
    Resource(&'static str),
}

type Methods = &'static [&'static str];
type Paths = &'static [&'static str];

const ANY: Methods = &[];
const GET: Methods = &["GET"];
const POST: Methods = &["POST"];
const CHANGE: Methods = &["PUT", "PATCH"];
const DELETE: Methods = &["DELETE"];
/// What listing and making users is on: only `*` and `user/*` cover it. No username is written so, so that
/// `user/${self}` is nobody's way there.
const ALL_USERS: &str = "user/ALL";
/// The same for what is about no one configuration.
const ALL_CONFIGS: &str = "config/ALL";
const SOME_POOL: Row = Scope("pool");

/// An action's type and name, the methods (none: any), on what, and the paths.
const TABLE: &[(&str, &str, Methods, Row, Paths)] = &[
    (
        "workflow",
        "Create",
        POST,
        Resource("pool/{pool}"),
        &["/api/pool/{pool}/workflow", "/api/pool/{pool}/workflow/*"],
    ),
    ("workflow", "List", GET, Nothing, &["/api/workflow", "/api/task", "/api/tag"]),
    ("workflow", "Read", GET, SOME_POOL, &["/api/workflow/*"]),
    ("workflow", "Update", CHANGE, SOME_POOL, &["/api/workflow/*"]),
    ("workflow", "Delete", DELETE, SOME_POOL, &["/api/workflow/*"]),
    ("workflow", "Cancel", POST, SOME_POOL, &["/api/workflow/*/cancel"]),
    (
        "workflow",
        "Exec",
        &["POST", "WEBSOCKET"],
        SOME_POOL,
        &["/api/workflow/*/exec", "/api/workflow/*/exec/*"],
    ),
    ("workflow", "Exec", ANY, SOME_POOL, &["/api/router/exec/*/client/*"]),
    (
        "workflow",
        "PortForward",
        ANY,
        SOME_POOL,
        &[
            "/api/workflow/*/portforward/*",
            "/api/workflow/*/webserver/*",
            "/api/router/portforward/*/client/*",
        ],
    ),
    ("workflow", "PortForward", GET, Nothing, &["/api/router/webserver/*"]),
    ("workflow", "Rsync", GET, SOME_POOL, &["/api/plugins/configs"]),
    ("workflow", "Rsync", POST, SOME_POOL, &["/api/workflow/*/rsync", "/api/workflow/*/rsync/*"]),
    ("workflow", "Rsync", ANY, SOME_POOL, &["/api/router/rsync/*/client/*"]),
    ("pool", "List", GET, Nothing, &["/api/pool", "/api/pool_quota"]),
    ("credentials", "Create", POST, Nothing, &["/api/credentials", "/api/credentials/*"]),
    ("credentials", "Read", GET, Nothing, &["/api/credentials", "/api/credentials/*"]),
    ("credentials", "Update", CHANGE, Nothing, &["/api/credentials/*"]),
    ("credentials", "Delete", DELETE, Nothing, &["/api/credentials/*"]),
    ("profile", "Read", GET, Nothing, &["/api/profile/settings"]),
    ("profile", "Update", POST, Nothing, &["/api/profile/settings"]),
    ("user", "List", GET, Nothing, &["/api/users"]),
    ("app", "Create", POST, Nothing, &["/api/app", "/api/app/*"]),
    ("app", "Read", GET, Nothing, &["/api/app", "/api/app/*"]),
    ("app", "Update", CHANGE, Nothing, &["/api/app/*"]),
    ("app", "Delete", DELETE, Nothing, &["/api/app/*"]),
    ("resources", "Read", GET, Nothing, &["/api/resources", "/api/resources/*"]),
    ("config", "Read", GET, Scope("config"), &["/api/configs"]),
    (
        "config",
        "Read",
        GET,
        Resource("config/{config}"),
        &["/api/configs/{config}", "/api/configs/{config}/*"],
    ),
    (
        "config",
        "Update",
        CHANGE,
        Resource("config/{config}"),
        &["/api/configs/{config}", "/api/configs/{config}/*"],
    ),
    ("config", "Create", POST, Resource(ALL_CONFIGS), &["/api/configs"]),
    (
        "config",
        "Create",
        POST,
        Resource("config/{config}"),
        &["/api/configs/{config}", "/api/configs/{config}/*"],
    ),
    ("config", "Delete", DELETE, Resource(ALL_CONFIGS), &["/api/configs"]),
    (
        "config",
        "Delete",
        DELETE,
        Resource("config/{config}"),
        &["/api/configs/{config}", "/api/configs/{config}/*"],
    ),
    ("auth", "Login", GET, Nothing, &["/api/auth/login", "/api/auth/keys"]),
    (
        "auth",
        "Refresh",
        ANY,
        Nothing,
        &["/api/auth/jwt/refresh_token", "/api/auth/jwt/access_token"],
    ),
    ("auth", "Token", ANY, Nothing, &["/api/auth/access_token", "/api/auth/access_token/*"]),
    (
        "auth",
        "Token",
        ANY,
        Resource("user/{user}"),
        &["/api/auth/user/{user}/access_token", "/api/auth/user/{user}/access_token/*"],
    ),
    ("user", "Manage", ANY, Resource(ALL_USERS), &["/api/auth/user"]),
    (
        "user",
        "Manage",
        ANY,
        Resource("user/{user}"),
        &["/api/auth/user/{user}", "/api/auth/user/{user}/*"],
    ),
    (
        "user",
        "Manage",
        ANY,
        Resource("role/{role}"),
        &["/api/auth/roles/{role}", "/api/auth/roles/{role}/*"],
    ),
    ("mcp", "Access", &["GET", "POST", "DELETE"], Nothing, &["/mcp"]),
    ("system", "Health", ANY, Nothing, &["/health"]),
    (
        "system",
        "Version",
        ANY,
        Nothing,
        &["/api/version", "/api/router/version", "/client/version"],
    ),
    (
        "internal",
        "Operator",
        ANY,
        Resource("backend/{backend}"),
        &[
            "/api/agent/listener/{backend}",
            "/api/agent/listener/{backend}/*",
            "/api/agent/worker/{backend}",
            "/api/agent/worker/{backend}/*",
        ],
    ),
    (
        "internal",
        "Logger",
        ANY,
        Resource("backend/workflow"),
        &["/api/logger/workflow/{id}/osmo_ctrl/*"],
    ),
    ("internal", "Router", ANY, Resource("backend/{kind}"), &["/api/router/{kind}/{id}/backend/*"]),
    // The same with its `{kind}` spelt out: else `GET /api/router/webserver/*`, more specific by
    // its literal, would take the upgrade with which OSMO's controller registers a web server, and
    // whoever may forward a port could register in its place.
    (
        "internal",
        "Router",
        ANY,
        Resource("backend/webserver"),
        &["/api/router/webserver/{id}/backend/*"],
    ),
];

/// The preset's routes.
#[must_use]
pub fn routes() -> Vec<RouteSpec> {
    let mut routes = Vec::new();
    for (kind, name, methods, on, paths) in TABLE {
        for path in *paths {
            routes.push(RouteSpec {
                methods: methods.iter().map(|method| (*method).to_owned()).collect(),
                hosts: Vec::new(),
                path: (*path).to_owned(),
                segments: path.split('/').skip(1).map(segment).collect(),
                action: Action::spelt(kind, name),
                target: match on {
                    Nothing => Target::Nothing,
                    Scope(scope) => Target::Scope((*scope).to_owned()),
                    Resource(resource) => Target::Resource((*resource).to_owned()),
                },
            });
        }
    }
    routes
}

/// A segment of a path of the table, which is written as in a configuration.
fn segment(text: &str) -> Segment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => Segment::Capture(name.to_owned()),
        None if text == "*" => Segment::Any,
        None => Segment::Literal(text.to_owned()),
    }
}

//! All that a store keeps: every table with the columns that mean something in any backend, and every view
//! that gateways read. A copy of a store is a copy of these; a test holds them against both schemas, so
//! that none that is added later is forgotten.

/// A table or a view, with its columns in order. A table's key begins with the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Relation {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

impl Relation {
    const fn new(name: &'static str, columns: &'static [&'static str]) -> Self {
        Relation { name, columns }
    }

    /// Its columns as a statement lists them.
    pub(super) fn listed(&self) -> String {
        self.columns.join(", ")
    }
}

/// The one row that every store has: it is filled in, the others' rows are added.
pub(super) const META: Relation = Relation::new(
    "meta",
    &[
        "id",
        "generation",
        "applied_at",
        "version",
        "settled",
        "next_due",
        "next_user",
        "held_from",
        "digest_key",
        "enabled",
        "names",
        "all_read",
    ],
);

/// The tables but [`META`].
pub(super) const TABLES: &[Relation] = &[
    Relation::new(
        "role",
        &["num", "name", "live", "description", "everyone", "mode", "template", "policies"],
    ),
    Relation::new("role_policy", &["role", "n", "position", "effect", "action", "resource"]),
    Relation::new("request", &["num", "action", "resource", "listed"]),
    Relation::new("role_set", &["num", "id", "users", "list"]),
    Relation::new("role_set_role", &["role_set", "role"]),
    Relation::new("decision_list", &["num", "digest", "sets"]),
    Relation::new("decision", &["list", "request", "whose", "allow", "role"]),
    Relation::new(
        "user",
        &["id", "username", "email", "status", "since", "disabled_by", "role_set", "made"],
    ),
    Relation::new("link_source", &["num", "name"]),
    Relation::new("link", &["user", "source", "ext", "claim"]),
    Relation::new("reason", &["num", "source", "rule", "path"]),
    Relation::new("reason_set", &["num", "reasons"]),
    Relation::new("idp_grant", &["user", "role", "reasons"]),
    Relation::new("local_grant", &["user", "role", "by", "at", "reason", "until", "made"]),
    Relation::new(
        "local_grant_past",
        &["num", "user", "role", "by", "at", "reason", "until", "made", "gone"],
    ),
    Relation::new("role_holders", &["role", "users"]),
    Relation::new("past_set", &["num", "roles"]),
    Relation::new("past_held", &["user", "until", "past_set"]),
    Relation::new("role_past", &["role", "until", "everyone"]),
    Relation::new(
        "token",
        &["num", "user", "name", "digest", "expires_at", "description", "by", "at", "role_set"],
    ),
    Relation::new("token_role", &["token", "role"]),
    Relation::new(
        "generation",
        &["num", "at", "first", "silent", "by", "reason", "lost", "disabled"],
    ),
    Relation::new(
        "history",
        &[
            "num",
            "generation",
            "kind",
            "user",
            "role",
            "origin",
            "cause",
            "reasons",
            "old_reasons",
            "old",
            "new",
            "note",
        ],
    ),
    Relation::new("held", &["id", "plan", "since", "why", "lost_pairs", "changes"]),
    Relation::new("held_change", &["num", "change"]),
    Relation::new(
        "source",
        &[
            "num",
            "name",
            "configured",
            "kind",
            "read_at",
            "tried_at",
            "spoke_at",
            "error",
            "scopes",
            "digest",
            "ignore_case",
            "next_user",
            "next_container",
            "proven",
            "cursor",
            "domain",
        ],
    ),
    Relation::new("federation", &["num", "id"]),
    Relation::new(
        "mirror_user",
        &[
            "id",
            "ext",
            "username",
            "email",
            "flags",
            "federation",
            "within",
            "called",
            "called_email",
            "address",
            "rid",
        ],
    ),
    Relation::new(
        "mirror_container",
        &[
            "id", "kind", "key", "name", "identity", "norm", "parent", "known", "up_known", "sum",
            "up", "members", "bare", "rid",
        ],
    ),
    Relation::new("jwks", &["issuer", "keys", "read_at"]),
    Relation::new("ended_session", &["num", "realm", "issuer", "kind", "id", "last_iat"]),
    Relation::new(
        "followed",
        &["source", "mode", "why", "since", "current_at", "drift_at", "drift_changes"],
    ),
    Relation::new("review", &["num", "name", "generation", "by", "account", "at"]),
    Relation::new(
        "workload",
        &["num", "pool", "platform", "namespace", "service_account", "cloud", "identity", "why"],
    ),
    Relation::new(
        "local_user",
        &[
            "ext",
            "service",
            "admin",
            "by",
            "at",
            "reason",
            "last",
            "last_by",
            "last_at",
            "last_reason",
        ],
    ),
];

/// The views. Their columns are the same in every backend.
pub(super) const VIEWS: &[Relation] = &[
    Relation::new(
        "gateway_meta",
        &["schema_version", "generation", "applied_at", "oldest_source_read_at"],
    ),
    Relation::new("gateway_user", &["username", "email", "enabled", "role_set"]),
    Relation::new("gateway_user_link", &["source", "external_id", "username"]),
    Relation::new("gateway_user_role", &["username", "role"]),
    Relation::new("gateway_decision", &["username", "action", "resource", "effect", "role"]),
    Relation::new("gateway_role_decision", &["role_set", "action", "resource", "effect", "role"]),
    Relation::new("gateway_role_policy", &["role", "position", "effect", "action", "resource"]),
    Relation::new("gateway_token", &["username", "name", "expires_at", "role_set"]),
    Relation::new(
        "gateway_workload_identity",
        &[
            "username",
            "pool",
            "platform",
            "namespace",
            "service_account",
            "cloud",
            "identity",
            "via_action",
        ],
    ),
];

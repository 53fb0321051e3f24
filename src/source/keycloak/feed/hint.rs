//! What an event says must be read again. Pure.
//!
//! An event is a hint and nothing more: what it says of the change itself is not looked at, so it makes
//! no difference whether the realm keeps details with its events. `docs/configuration.md` has this as a
//! table.

use serde::Deserialize;

/// What must be read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hint {
    /// This person, by id: who they are, and what they are directly in.
    Person(String),
    /// The groups and roles, and what leads to what.
    Structure {
        /// A role may be gone and made anew under its old name, which nobody holds then.
        remade: bool,
        /// A role or a client was made: where it is not known who bore its name before, that may have
        /// been another one, which is called otherwise now.
        made: bool,
    },
    /// Everything, for this reason.
    Everything(String),
    /// Nothing: it changes neither people nor groups nor roles.
    Nothing,
}

/// An event of either kind, as far as it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Event {
    /// Its id, or what comes nearest to one.
    pub id: String,
    /// When it was made, in milliseconds of the server's clock: before it was committed.
    pub time: i64,
    /// What to do about it.
    pub hint: Hint,
}

/// An admin event. Its details are skipped unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdminEvent {
    #[serde(default)]
    id: Option<String>,
    time: i64,
    #[serde(default)]
    operation_type: String,
    #[serde(default)]
    resource_type: Option<String>,
    #[serde(default)]
    resource_path: Option<String>,
}

impl AdminEvent {
    /// What it comes to. `accounts`: the service accounts of clients are people.
    pub(super) fn event(self, accounts: bool) -> Event {
        let kind = self.resource_type.unwrap_or_default();
        let path = self.resource_path.unwrap_or_default();
        let hint = admin_hint(&self.operation_type, &kind, &path, accounts);
        let id = self.id.unwrap_or_else(|| format!("{}/{kind}/{path}", self.operation_type));
        Event { id: short(&id), time: self.time, hint }
    }
}

/// A user event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserEvent {
    #[serde(default)]
    id: Option<String>,
    time: i64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    user_id: Option<String>,
}

/// The user events that change who somebody is or what clients there are. The server refuses a type
/// that it does not know, and all of these are in every version 26.
pub(super) const USER_EVENTS: [&str; 10] = [
    "REGISTER",
    "UPDATE_PROFILE",
    "UPDATE_EMAIL",
    "VERIFY_EMAIL",
    "DELETE_ACCOUNT",
    "IDENTITY_PROVIDER_FIRST_LOGIN",
    "USER_DISABLED_BY_PERMANENT_LOCKOUT",
    "CLIENT_REGISTER",
    "CLIENT_UPDATE",
    "CLIENT_DELETE",
];

impl UserEvent {
    /// What it comes to. `accounts`: the service accounts of clients are people.
    pub(super) fn event(self, accounts: bool) -> Event {
        let hint = match (self.kind.strip_prefix("CLIENT_"), &self.user_id) {
            (Some(what), _) => of_clients(what == "DELETE", what == "REGISTER", accounts),
            (None, Some(user)) => of_person(user),
            (None, None) => Hint::Nothing,
        };
        let who = self.user_id.unwrap_or_default();
        let id = self.id.unwrap_or_else(|| format!("{}/{who}", self.kind));
        Event { id: short(&id), time: self.time, hint }
    }
}

/// A beginning of a uuid that tells it from a minute's others, or the whole of a text that is none.
fn short(id: &str) -> String {
    const KEPT: usize = 18;
    let uuid = id.len() == 36 && id.bytes().filter(|byte| *byte == b'-').count() == 4;
    id.get(..KEPT).filter(|_| uuid).unwrap_or(id).to_owned()
}

fn admin_hint(operation: &str, kind: &str, path: &str, accounts: bool) -> Hint {
    let deleted = operation == "DELETE";
    let mut segments = path.split('/');
    let (top, id) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    match kind {
        "USER" | "GROUP_MEMBERSHIP" => person_at(top, id),
        "REALM_ROLE_MAPPING" | "CLIENT_ROLE_MAPPING" => match top {
            "users" => of_person(id),
            _ => Hint::Structure { remade: false, made: false },
        },
        "GROUP" => Hint::Structure { remade: false, made: false },
        "REALM_ROLE" | "CLIENT_ROLE" => {
            let role = !path.ends_with("/composites");
            Hint::Structure { remade: deleted && role, made: operation == "CREATE" && role }
        }
        "CLIENT" => of_clients(deleted, operation == "CREATE", accounts),
        "REALM" => of_realm(top, id, path, accounts),
        "USER_PROFILE" => Hint::Everything("the realm's user profile was changed".to_owned()),
        "COMPONENT" | "USER_FEDERATION_PROVIDER" | "USER_FEDERATION_MAPPER" => {
            Hint::Everything("a component of the realm was changed, as federations are".to_owned())
        }
        // With an organization go the people whom it manages.
        "ORGANIZATION" if deleted => Hint::Everything("an organization was deleted".to_owned()),
        "ORGANIZATION_MEMBERSHIP" => match path.split_once("/members/") {
            Some((_, member)) => of_person(member.split('/').next().unwrap_or_default()),
            None if deleted => Hint::Everything("somebody left an organization".to_owned()),
            None => Hint::Nothing,
        },
        _ if NOTHING.contains(&kind) => Hint::Nothing,
        // An extension's, or a newer server's: the path tells, as far as it is one of ours.
        _ => match top {
            "users" => person_at(top, id),
            "groups" | "roles" | "roles-by-id" | "clients" => {
                Hint::Structure { remade: true, made: true }
            }
            _ => Hint::Nothing,
        },
    }
}

/// Kinds of things that are neither people nor groups nor roles, and that neither hold any.
const NOTHING: [&str; 22] = [
    "REALM_SCOPE_MAPPING",
    "CLIENT_SCOPE",
    "CLIENT_SCOPE_MAPPING",
    "CLIENT_SCOPE_CLIENT_MAPPING",
    "PROTOCOL_MAPPER",
    "CLIENT_INITIAL_ACCESS_MODEL",
    "CLUSTER_NODE",
    "AUTH_FLOW",
    "AUTH_EXECUTION_FLOW",
    "AUTH_EXECUTION",
    "AUTHENTICATOR_CONFIG",
    "REQUIRED_ACTION",
    "REQUIRED_ACTION_CONFIG",
    "IDENTITY_PROVIDER",
    "IDENTITY_PROVIDER_MAPPER",
    "USER_SESSION",
    "USER_LOGIN_FAILURE",
    "AUTHORIZATION_RESOURCE_SERVER",
    "AUTHORIZATION_RESOURCE",
    "AUTHORIZATION_SCOPE",
    "AUTHORIZATION_POLICY",
    "ORGANIZATION",
];

fn of_person(id: &str) -> Hint {
    match id {
        "" | "." | ".." => Hint::Everything("an event names nobody".to_owned()),
        _ => Hint::Person(id.to_owned()),
    }
}

fn person_at(top: &str, id: &str) -> Hint {
    match (top, id) {
        ("users", "profile") => admin_hint("", "USER_PROFILE", "", false),
        ("users", _) => of_person(id),
        // Permissions of the realm's administrators.
        ("users-management-permissions", _) => Hint::Nothing,
        _ => Hint::Everything(format!("an event of a person has the path `{top}`")),
    }
}

/// A client comes and goes with its roles, and with its service account.
fn of_clients(deleted: bool, made: bool, accounts: bool) -> Hint {
    match accounts {
        true => Hint::Everything("a client was changed, and its account with it".to_owned()),
        false => Hint::Structure { remade: deleted, made },
    }
}

/// What is said of the realm itself: a partial import names each thing by its path here.
fn of_realm(top: &str, id: &str, path: &str, accounts: bool) -> Hint {
    match top {
        "users" => person_at(top, id),
        "groups" | "roles" | "roles-by-id" => Hint::Structure { remade: true, made: true },
        "clients" => of_clients(true, true, accounts),
        // Who is made later is in them; their own event tells.
        "default-groups" => Hint::Nothing,
        "push-revocation"
        | "logout-all"
        | "localization"
        | "testSMTPConnection"
        | "identity-providers"
        | "identity-provider"
        | "attack-detection"
        | "keys"
        | "default-default-client-scopes"
        | "default-optional-client-scopes"
        | "client-policies" => Hint::Nothing,
        "user-storage" => Hint::Everything("a federation was synchronized".to_owned()),
        "events" => Hint::Everything("the realm's settings of events were changed".to_owned()),
        "" => Hint::Everything("the realm's settings were changed".to_owned()),
        _ => Hint::Everything(format!("the realm was changed at `{}`", path.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(operation: &str, kind: &str, path: &str) -> Hint {
        admin_hint(operation, kind, path, false)
    }

    #[test]
    fn what_concerns_one_person_is_read_of_that_person() {
        for (operation, kind, path) in [
            ("CREATE", "USER", "users/7"),
            ("UPDATE", "USER", "users/7"),
            ("DELETE", "USER", "users/7"),
            ("ACTION", "USER", "users/7/reset-password"),
            ("CREATE", "GROUP_MEMBERSHIP", "users/7/groups/8"),
            ("DELETE", "GROUP_MEMBERSHIP", "users/7/groups/8"),
            ("CREATE", "REALM_ROLE_MAPPING", "users/7/role-mappings/realm"),
            ("DELETE", "CLIENT_ROLE_MAPPING", "users/7/role-mappings/clients/9"),
            ("CREATE", "REALM", "users/7"),
            ("DELETE", "ORGANIZATION_MEMBERSHIP", "organizations/3/members/7"),
            ("CREATE", "MY_EXTENSION", "users/7"),
        ] {
            assert_eq!(hint(operation, kind, path), Hint::Person("7".to_owned()), "{kind} {path}");
        }
    }

    #[test]
    fn what_concerns_groups_and_roles_is_read_of_them_all() {
        let (plain, remade, made) = ((false, false), (true, false), (false, true));
        for (operation, kind, path, (again, new)) in [
            ("CREATE", "GROUP", "groups/8", plain),
            ("UPDATE", "GROUP", "groups/8/children", plain),
            ("DELETE", "GROUP", "groups/8", plain),
            ("CREATE", "REALM_ROLE_MAPPING", "groups/8/role-mappings/realm", plain),
            ("CREATE", "CLIENT_ROLE_MAPPING", "groups/8/role-mappings/clients/9", plain),
            ("CREATE", "REALM_ROLE", "roles/a/b", made),
            ("CREATE", "REALM_ROLE", "roles-by-id/5/composites", plain),
            ("UPDATE", "REALM_ROLE", "roles-by-id/5", plain),
            ("DELETE", "REALM_ROLE", "roles/a", remade),
            ("DELETE", "REALM_ROLE", "roles-by-id/5/composites", plain),
            ("DELETE", "CLIENT_ROLE", "clients/9/roles/a", remade),
            ("CREATE", "CLIENT_ROLE", "clients/9/roles/a", made),
            ("UPDATE", "CLIENT", "clients/9", plain),
            ("CREATE", "CLIENT", "clients/9", made),
            ("DELETE", "CLIENT", "clients/9", remade),
            ("CREATE", "REALM", "groups/8", (true, true)),
        ] {
            let expected = Hint::Structure { remade: again, made: new };
            assert_eq!(hint(operation, kind, path), expected, "{operation} {kind} {path}");
        }
    }

    #[test]
    fn what_neither_a_person_nor_the_groups_cover_is_a_full_read() {
        let full = |hint| matches!(hint, Hint::Everything(_));
        for (operation, kind, path) in [
            ("UPDATE", "REALM", ""),
            ("UPDATE", "REALM", "events/config"),
            ("ACTION", "REALM", "user-storage/4/sync"),
            ("UPDATE", "REALM", "something/new"),
            ("CREATE", "COMPONENT", "components/4"),
            ("UPDATE", "USER_PROFILE", "users/profile"),
            ("UPDATE", "USER", "users/profile"),
            ("DELETE", "ORGANIZATION", "organizations/3"),
            ("CREATE", "USER", "users"),
            ("CREATE", "USER", "users/.."),
        ] {
            assert!(full(hint(operation, kind, path)), "{operation} {kind} {path}");
        }
        assert!(full(admin_hint("CREATE", "CLIENT", "clients/9", true)), "it has an account");
    }

    #[test]
    fn what_holds_nobody_is_nothing() {
        for (kind, path) in [
            ("CLIENT_SCOPE", "client-scopes/2"),
            ("AUTH_FLOW", "authentication/flows"),
            ("IDENTITY_PROVIDER", "identity-provider/instances/x"),
            ("REALM", "default-groups/8"),
            ("REALM", "logout-all"),
            ("USER", "users-management-permissions"),
            ("ORGANIZATION", "organizations/3"),
            ("MY_EXTENSION", "things/1"),
        ] {
            assert_eq!(hint("CREATE", kind, path), Hint::Nothing, "{kind} {path}");
        }
    }

    #[test]
    fn an_id_is_kept_short_and_what_has_none_is_told_apart_by_what_it_says() {
        let row = |json: &str| serde_json::from_str::<AdminEvent>(json).unwrap().event(false);
        let with = row(
            r#"{"id":"0a1b2c3d-0a1b-4c3d-8e9f-0a1b2c3d4e5f","time":5,"operationType":"CREATE","resourceType":"USER","resourcePath":"users/7","representation":"{}"}"#,
        );
        assert_eq!((with.id.as_str(), with.time), ("0a1b2c3d-0a1b-4c3d", 5));
        let without = row(r#"{"time":5,"operationType":"UPDATE","resourceType":"REALM"}"#);
        assert_eq!(without.id, "UPDATE/REALM/");
        let user = r#"{"time":6,"type":"REGISTER","userId":"7","details":{"username":"x"}}"#;
        let user = serde_json::from_str::<UserEvent>(user).unwrap().event(false);
        assert_eq!(user.hint, Hint::Person("7".to_owned()));
    }
}

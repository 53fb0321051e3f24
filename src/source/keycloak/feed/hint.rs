//! What an event says must be read again. Pure.
//!
//! An event is a hint and nothing more: what it says of the change itself is not looked at, so it makes
//! no difference whether the realm keeps details with its events. Who joined an organization is told by name
//! alone, in what is always kept. `docs/configuration.md` has this as a table.

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
    /// Somebody who joined an organization: this person, by username where it is told.
    Joined(Option<String>),
    /// One organization, by id: whom it manages, who is in it and in its groups.
    Organization(String),
    /// Which organizations there are, and their groups.
    Organizations,
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

/// An admin event. Of its details a username counts, all else is skipped unread.
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
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    username: Option<String>,
}

impl AdminEvent {
    /// What it comes to. `accounts`: the service accounts of clients are people.
    pub(super) fn event(self, accounts: bool) -> Event {
        let kind = self.resource_type.unwrap_or_default();
        let path = self.resource_path.unwrap_or_default();
        let hint = match admin_hint(&self.operation_type, &kind, &path, accounts) {
            Hint::Joined(_) => {
                let name = self.details.and_then(|details| details.username);
                Hint::Joined(name.filter(|name| !name.is_empty()))
            }
            hint => hint,
        };
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
        _ if top == "organizations" => of_organizations(operation, kind, id, path),
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
const NOTHING: [&str; 21] = [
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
];

fn of_organizations(operation: &str, kind: &str, id: &str, path: &str) -> Hint {
    let member = path.split_once("/members/").map(|(_, member)| member);
    let member = member.and_then(|member| member.split('/').next());
    match (kind, operation, member) {
        // With an organization go the people whom it manages.
        ("ORGANIZATION", "DELETE", _) => Hint::Everything("an organization was deleted".to_owned()),
        // Whom a disabled one manages is disabled, and of that there is no event.
        ("ORGANIZATION", "UPDATE", _) if !id.is_empty() => Hint::Organization(id.to_owned()),
        ("ORGANIZATION_MEMBERSHIP" | "ORGANIZATION_GROUP_MEMBERSHIP", _, Some(member)) => {
            of_person(member)
        }
        ("ORGANIZATION_MEMBERSHIP", "CREATE", None) => Hint::Joined(None),
        ("ORGANIZATION_MEMBERSHIP" | "ORGANIZATION_GROUP_MEMBERSHIP", _, None) => {
            Hint::Everything("somebody joined or left an organization".to_owned())
        }
        // Nobody gets the roles of such a group.
        ("ORGANIZATION_GROUP_ROLE_MAPPING", ..) => Hint::Nothing,
        _ => Hint::Organizations,
    }
}

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
            ("CREATE", "ORGANIZATION_GROUP_MEMBERSHIP", "organizations/3/groups/4/members/7"),
            ("DELETE", "ORGANIZATION_GROUP_MEMBERSHIP", "organizations/3/groups/4/members/7"),
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
            ("DELETE", "ORGANIZATION_MEMBERSHIP", "organizations/3/members"),
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
            ("ORGANIZATION_GROUP_ROLE_MAPPING", "organizations/3/groups/4/role-mappings/realm"),
            ("MY_EXTENSION", "things/1"),
        ] {
            assert_eq!(hint("CREATE", kind, path), Hint::Nothing, "{kind} {path}");
        }
    }

    #[test]
    fn what_concerns_organizations_is_read_of_one_or_of_them_all() {
        for (operation, kind, path, expected) in [
            ("CREATE", "ORGANIZATION", "organizations/3", Hint::Organizations),
            ("UPDATE", "ORGANIZATION", "organizations/3", Hint::Organization("3".to_owned())),
            ("CREATE", "ORGANIZATION_GROUP", "organizations/3/groups", Hint::Organizations),
            ("UPDATE", "ORGANIZATION_GROUP", "organizations/3/groups/4", Hint::Organizations),
            ("DELETE", "ORGANIZATION_GROUP", "organizations/3/groups/4", Hint::Organizations),
            (
                "CREATE",
                "ORGANIZATION_GROUP",
                "organizations/3/groups/4/children",
                Hint::Organizations,
            ),
            ("UPDATE", "ORGANIZATION_ELSE", "organizations/3/else", Hint::Organizations),
            ("CREATE", "ORGANIZATION_MEMBERSHIP", "organizations/3/members", Hint::Joined(None)),
        ] {
            assert_eq!(hint(operation, kind, path), expected, "{operation} {kind} {path}");
        }
    }

    #[test]
    fn who_joined_an_organization_is_told_by_name() {
        let event = |details: &str| {
            let row = format!(
                r#"{{"id":"1","time":5,"operationType":"CREATE","resourceType":"ORGANIZATION_MEMBERSHIP","resourcePath":"organizations/3/members"{details}}}"#
            );
            serde_json::from_str::<AdminEvent>(&row).unwrap().event(false).hint
        };
        let ann = r#","details":{"username":"ann","email":"ann@example.org"}"#;
        assert_eq!(event(ann), Hint::Joined(Some("ann".to_owned())));
        for untold in
            ["", r#","details":null"#, r#","details":{}"#, r#","details":{"username":""}"#]
        {
            assert_eq!(event(untold), Hint::Joined(None), "{untold}");
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

//! What an event says of sessions. Pure. `docs/logout.md` has this as a table.

use serde::Deserialize;

use crate::model::SessionScope;

/// The operations of admin events that may end a session.
pub(super) const OPERATIONS: [&str; 3] = ["ACTION", "DELETE", "UPDATE"];

/// The user events that may. The server refuses a type that it does not know, and all of these are in every
/// version 26.
pub(super) const TYPES: [&str; 4] =
    ["LOGOUT", "REVOKE_GRANT", "DELETE_ACCOUNT", "USER_DISABLED_BY_PERMANENT_LOCKOUT"];

/// What is to be done about an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// This has ended.
    Ended(SessionScope),
    /// Everything of this person has ended, if they may not sign in any more: the event does not say.
    IfDisabled(String),
    /// Nothing.
    Nothing,
}

/// An event of either kind, as far as it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SessionEvent {
    /// Its id, or what comes nearest to one.
    pub id: String,
    /// When it was made, in milliseconds of the server's clock: when the work was done, and before it was
    /// committed.
    pub time: i64,
    /// What it says.
    pub meaning: Meaning,
}

/// An admin event. Its details are skipped unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdminRow {
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

impl AdminRow {
    pub(super) fn event(self) -> SessionEvent {
        let kind = self.resource_type.unwrap_or_default();
        let path = self.resource_path.unwrap_or_default();
        let meaning = by_admin(&self.operation_type, &kind, &path);
        let id = self
            .id
            .unwrap_or_else(|| format!("{}/{}/{kind}/{path}", self.time, self.operation_type));
        SessionEvent { id, time: self.time, meaning }
    }
}

/// A user event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserRow {
    #[serde(default)]
    id: Option<String>,
    time: i64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    session_id: Option<String>,
}

impl UserRow {
    pub(super) fn event(self) -> SessionEvent {
        let named = |id: &Option<String>| id.clone().filter(|id| !id.is_empty());
        let person = named(&self.user_id);
        let meaning = match (self.kind.as_str(), person, named(&self.session_id)) {
            ("LOGOUT", _, Some(session)) => Meaning::Ended(SessionScope::Session(session)),
            ("LOGOUT" | "REVOKE_GRANT" | "DELETE_ACCOUNT", Some(person), _) => {
                Meaning::Ended(SessionScope::Subject(person))
            }
            ("USER_DISABLED_BY_PERMANENT_LOCKOUT", Some(person), _) => Meaning::IfDisabled(person),
            _ => Meaning::Nothing,
        };
        let id = self.id.unwrap_or_else(|| {
            let who = self.user_id.unwrap_or_default();
            format!("{}/{}/{who}/{}", self.time, self.kind, self.session_id.unwrap_or_default())
        });
        SessionEvent { id, time: self.time, meaning }
    }
}

fn by_admin(operation: &str, kind: &str, path: &str) -> Meaning {
    let segments: Vec<&str> = path.split('/').collect();
    let person = |id: &str| match id {
        "" | "." | ".." => None,
        id => Some(id.to_owned()),
    };
    let all_of = |id: &str| {
        person(id).map_or(Meaning::Nothing, |id| Meaning::Ended(SessionScope::Subject(id)))
    };
    let perhaps = |id: &str| person(id).map_or(Meaning::Nothing, Meaning::IfDisabled);
    match (operation, kind, segments.as_slice()) {
        ("DELETE", "USER_SESSION", ["sessions", id]) if !id.is_empty() => {
            Meaning::Ended(SessionScope::Session((*id).to_owned()))
        }
        ("DELETE", "USER", ["users", id]) => all_of(id),
        ("ACTION", "USER", ["users", id, "logout" | "reset-password"]) => all_of(id),
        // What somebody consented to goes, and with it what was given for it.
        (_, "USER", ["users", id, "consents", ..]) => all_of(id),
        ("UPDATE", "USER", ["users", id]) if *id != "profile" => perhaps(id),
        // With a membership goes a person whom the organization manages.
        ("DELETE", "ORGANIZATION_MEMBERSHIP", ["organizations", _, "members", id]) => perhaps(id),
        _ => Meaning::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(operation: &str, kind: &str, path: &str) -> Meaning {
        by_admin(operation, kind, path)
    }

    fn user(json: &str) -> Meaning {
        serde_json::from_str::<UserRow>(json).unwrap().event().meaning
    }

    fn session(id: &str) -> Meaning {
        Meaning::Ended(SessionScope::Session(id.to_owned()))
    }

    fn subject(id: &str) -> Meaning {
        Meaning::Ended(SessionScope::Subject(id.to_owned()))
    }

    #[test]
    fn each_way_in_which_a_session_ends_is_known_by_its_event() {
        for (operation, kind, path, meaning) in [
            ("DELETE", "USER_SESSION", "sessions/s1", session("s1")),
            ("DELETE", "USER", "users/7", subject("7")),
            ("ACTION", "USER", "users/7/logout", subject("7")),
            ("ACTION", "USER", "users/7/reset-password", subject("7")),
            ("DELETE", "USER", "users/7/consents/app", subject("7")),
            ("UPDATE", "USER", "users/7", Meaning::IfDisabled("7".to_owned())),
            (
                "DELETE",
                "ORGANIZATION_MEMBERSHIP",
                "organizations/3/members/7",
                Meaning::IfDisabled("7".to_owned()),
            ),
        ] {
            assert_eq!(admin(operation, kind, path), meaning, "{operation} {kind} {path}");
        }
        for (json, meaning) in [
            (r#"{"time":1,"type":"LOGOUT","userId":"7","sessionId":"s1"}"#, session("s1")),
            (r#"{"time":1,"type":"LOGOUT","userId":"7"}"#, subject("7")),
            (r#"{"time":1,"type":"REVOKE_GRANT","userId":"7","sessionId":"s1"}"#, subject("7")),
            (r#"{"time":1,"type":"DELETE_ACCOUNT","userId":"7"}"#, subject("7")),
            (
                r#"{"time":1,"type":"USER_DISABLED_BY_PERMANENT_LOCKOUT","userId":"7"}"#,
                Meaning::IfDisabled("7".to_owned()),
            ),
        ] {
            assert_eq!(user(json), meaning, "{json}");
        }
    }

    #[test]
    fn what_ends_no_session_is_nothing() {
        for (operation, kind, path) in [
            ("CREATE", "USER", "users/7"),
            ("UPDATE", "USER", "users/profile"),
            ("ACTION", "USER", "users/7/send-verify-email"),
            ("ACTION", "USER", "users/7/execute-actions-email"),
            ("DELETE", "USER", "users/"),
            ("DELETE", "USER", "users/.."),
            ("DELETE", "USER_SESSION", "sessions/"),
            ("DELETE", "GROUP_MEMBERSHIP", "users/7/groups/8"),
            ("DELETE", "REALM_ROLE_MAPPING", "users/7/role-mappings/realm"),
            ("ACTION", "REALM", "logout-all"),
            ("UPDATE", "REALM", ""),
            ("DELETE", "MY_EXTENSION", "users/7"),
        ] {
            assert_eq!(admin(operation, kind, path), Meaning::Nothing, "{operation} {kind} {path}");
        }
        for json in [
            r#"{"time":1,"type":"LOGIN","userId":"7","sessionId":"s1"}"#,
            r#"{"time":1,"type":"LOGOUT"}"#,
            r#"{"time":1,"type":"LOGOUT","userId":""}"#,
        ] {
            assert_eq!(user(json), Meaning::Nothing, "{json}");
        }
    }
}

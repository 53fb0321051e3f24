//! The roles that Keycloak makes in every realm, whether an export lists them or not.
//!
//! What they contain is Keycloak's matter, differs between its versions, and can be changed: of one
//! that a file does not list it is unknown. Names as of Keycloak 26 (`AccountRoles`, `AdminRoles`,
//! `Constants`, `RealmManager`).

use super::export::Export;

const ACCOUNT: &str = "account";
const MANAGEMENT: &str = "realm-management";

/// Those of client `account`.
const OF_ACCOUNT: &[&str] = &[
    "delete-account",
    "manage-account",
    "manage-account-2fa",
    "manage-account-basic-auth",
    "manage-account-links",
    "manage-consent",
    "view-applications",
    "view-consent",
    "view-groups",
    "view-profile",
];

/// Those of client `realm-management`.
const OF_MANAGEMENT: &[&str] = &[
    "create-client",
    "impersonation",
    "manage-authorization",
    "manage-clients",
    "manage-events",
    "manage-identity-providers",
    "manage-organizations",
    "manage-realm",
    "manage-users",
    "query-clients",
    "query-groups",
    "query-organizations",
    "query-realms",
    "query-users",
    "realm-admin",
    "view-authorization",
    "view-clients",
    "view-events",
    "view-identity-providers",
    "view-organizations",
    "view-realm",
    "view-users",
];

/// Whether every realm has a client of this name.
pub(super) fn is_client(client: &str) -> bool {
    [ACCOUNT, MANAGEMENT, "broker"].contains(&client)
}

const OFFLINE: &str = "offline_access";
const UMA: &str = "uma_authorization";

/// The roles that Keycloak makes in one realm.
#[derive(Debug)]
pub(super) struct Builtin {
    default_role: String,
    master: bool,
}

impl Builtin {
    /// Those of the realm of `export`.
    pub(super) fn of(export: &Export) -> Self {
        let default_role = export.default_role.clone();
        Builtin {
            default_role: default_role
                .unwrap_or_else(|| format!("default-roles-{}", export.realm.to_lowercase())),
            master: export.realm == "master",
        }
    }

    /// The role that new users are given.
    pub(super) fn default_role(&self) -> &str {
        &self.default_role
    }

    /// Whether Keycloak makes this role.
    pub(super) fn is(&self, client: Option<&str>, name: &str) -> bool {
        match client {
            None => {
                [self.default_role.as_str(), OFFLINE, UMA].contains(&name)
                    || (self.master && ["admin", "create-realm"].contains(&name))
            }
            Some(ACCOUNT) => OF_ACCOUNT.contains(&name),
            Some("broker") => name == "read-token",
            Some(client) => {
                let management = client == MANAGEMENT || self.master && client.ends_with("-realm");
                management && OF_MANAGEMENT.contains(&name)
            }
        }
    }

    /// What such a role contains in some version of Keycloak, where nobody has changed it.
    pub(super) fn normally_in<'a>(
        &self,
        client: Option<&'a str>,
        name: &str,
    ) -> impl Iterator<Item = (Option<&'a str>, &'static str)> {
        let (realm, of, names): (&[&str], Option<&str>, &[&str]) = match client {
            None if name == self.default_role => (&[OFFLINE, UMA], Some(ACCOUNT), OF_ACCOUNT),
            None if self.master && name == "admin" => {
                (&["create-realm"], Some("master-realm"), OF_MANAGEMENT)
            }
            None => (&[], None, &[]),
            Some(ACCOUNT) if name == "manage-account" => {
                (&[], client, &["manage-account-links", "view-groups"])
            }
            Some(ACCOUNT) if name == "manage-consent" => (&[], client, &["view-consent"]),
            Some(ACCOUNT | "broker") => (&[], None, &[]),
            Some(_) => match name {
                "realm-admin" => (&[], client, OF_MANAGEMENT),
                "view-users" => (&[], client, &["query-users", "query-groups"]),
                "view-clients" => (&[], client, &["query-clients"]),
                "view-organizations" => (&[], client, &["query-organizations"]),
                _ => (&[], None, &[]),
            },
        };
        let own = (client.map(str::to_owned), name.to_owned());
        let realm = realm.iter().map(|name| (None, *name));
        realm
            .chain(names.iter().map(move |name| (of, *name)))
            .filter(move |(client, name)| (*client, *name) != (own.0.as_deref(), own.1.as_str()))
    }
}

//! The directories behind a realm: which there are, what they feed, and whether they answer.

use super::api::{Component, json};
use super::client::Client;
use super::consistency::Health;
use super::fault::{CallError, Fault};

/// The type of a federation among the components.
pub(super) const STORAGE: &str = "org.keycloak.storage.UserStorageProvider";

/// A name that nobody bears.
const NOBODY: &str = "idpsyncd-asks-whether-anybody-answers";

/// A federation of the realm.
#[derive(Debug)]
pub(super) struct Federation {
    /// What users' `federationLink` holds.
    pub id: String,
    pub name: String,
    /// `ldap`, `kerberos` or another provider's.
    pub kind: String,
    pub enabled: bool,
    /// Its people are rows of Keycloak's database.
    pub imports: bool,
    /// Paths below which groups get their members from the directory at each question.
    pub group_paths: Vec<String>,
    /// Roles get holders from the directory at each question.
    pub feeds_roles: bool,
    /// Mappers that give a role or group to all of its people without listing anyone, or that
    /// disable people without the database knowing.
    pub odd_mappers: Vec<(String, String)>,
    /// Whether the directory can be believed now.
    pub health: Health,
}

impl Federation {
    /// Whether a group's members may come from this directory. By path, as the mapper has it;
    /// where two groups share a path, both.
    pub(super) fn feeds_group(&self, identity: &str) -> bool {
        self.group_paths.iter().any(|path| {
            let path = path.trim_end_matches('/');
            identity.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        }) || !self.imports
            || self.kind != "ldap"
    }

    /// Whether a role's holders may come from this directory, or vanish with it.
    pub(super) fn feeds_roles(&self) -> bool {
        self.feeds_roles || !self.imports || self.kind != "ldap"
    }
}

/// Reads the federations and their mappers.
pub(super) async fn read(client: &Client) -> Result<Vec<Federation>, CallError> {
    let rows = |body: &[u8]| json::<Vec<Component>>(body);
    let mut federations = Vec::new();
    for component in client.get(&["components"], &[("type", STORAGE)], rows).await? {
        let mappers = client.get(&["components"], &[("parent", &component.id)], rows).await?;
        federations.push(federation(component, &mappers));
    }
    federations.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(federations)
}

fn federation(component: Component, mappers: &[Component]) -> Federation {
    let on = |name: &str| component.setting(name).is_none_or(|value| value != "false");
    let mut federation = Federation {
        enabled: on("enabled"),
        imports: on("importEnabled"),
        group_paths: Vec::new(),
        feeds_roles: false,
        odd_mappers: Vec::new(),
        health: Health::Untold,
        kind: component.provider_id,
        name: component.name,
        id: component.id,
    };
    for mapper in mappers {
        // Only IMPORT copies memberships into the database; READ_ONLY and LDAP_ONLY (and whatever
        // comes next) ask the directory.
        let live = mapper.setting("mode") != Some("IMPORT");
        match mapper.provider_id.as_str() {
            "group-ldap-mapper" if live => {
                let path = mapper.setting("groups.path").unwrap_or("/");
                federation.group_paths.push(path.to_owned());
            }
            "role-ldap-mapper" if live => federation.feeds_roles = true,
            kind if kind.starts_with("hardcoded-ldap-") || kind.starts_with("msad-") => {
                federation.odd_mappers.push((kind.to_owned(), mapper.name.clone()));
            }
            _ => {}
        }
    }
    federation
}

/// Asks the directory behind a federation for somebody who is not there.
///
/// Lists answer 200 whether the directory does or not, and so does a user who is imported. But
/// `/users/f:{federation}:{name}` goes through to the directory each time: 404 `User not found`
/// when it answered, 500 when it is down, hung, refuses our bind or lacks the base (seen on
/// 26.7.3 for each of these). Nobody is imported by it, since nobody bears the name.
pub(super) async fn probe(client: &Client, federation: &Federation) -> Result<Health, CallError> {
    if !federation.enabled {
        return Ok(Health::Down(format!("federation `{}` is switched off", federation.name)));
    }
    if federation.kind != "ldap" {
        return Ok(Health::Untold);
    }
    Ok(match answers(client, &federation.id).await? {
        Health::Down(_) => Health::Down(format!(
            "the directory behind federation `{}` does not answer Keycloak",
            federation.name
        )),
        health => health,
    })
}

/// As [`probe`], of the LDAP federation with this id, whatever its settings.
pub(super) async fn answers(client: &Client, federation: &str) -> Result<Health, CallError> {
    let id = format!("f:{federation}:{NOBODY}");
    let mut tries = 0;
    loop {
        tries += 1;
        let fault = match client.once(&["users", &id]).await {
            Ok(()) => return Ok(Health::Answers),
            Err(error) if error.fault.ends_the_read() => return Err(error),
            Err(error) => error.fault,
        };
        if matches!(&fault, Fault::Status { status: 404, body, .. } if body == "User not found") {
            return Ok(Health::Answers);
        }
        // A connection that the directory dropped while it was idle fails once.
        if tries == 2 {
            return Ok(Health::Down("its directory does not answer Keycloak".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(settings: &str, mappers: &str) -> Federation {
        let component =
            format!(r#"{{"id":"L","name":"corp","providerId":"ldap","config":{settings}}}"#);
        federation(
            json(component.as_bytes()).unwrap(),
            &json::<Vec<Component>>(mappers.as_bytes()).unwrap(),
        )
    }

    #[test]
    fn only_groups_below_a_live_mappers_path_are_fed() {
        let live = made(
            "{}",
            r#"[{"id":"m","providerId":"group-ldap-mapper","config":{"mode":["READ_ONLY"],"groups.path":["/ldap"]}}]"#,
        );
        assert!(live.feeds_group("/ldap/team"));
        assert!(live.feeds_group("/ldap/a/b"));
        assert!(!live.feeds_group("/ldap"));
        assert!(!live.feeds_group("/ldapother"));
        assert!(!live.feeds_roles());
        let everywhere = made(
            "{}",
            r#"[{"id":"m","providerId":"group-ldap-mapper","config":{"mode":["LDAP_ONLY"],"groups.path":["/"]}}]"#,
        );
        assert!(everywhere.feeds_group("/anything"));
        let imported = made(
            "{}",
            r#"[{"id":"m","providerId":"group-ldap-mapper","config":{"mode":["IMPORT"],"groups.path":["/"]}}]"#,
        );
        assert!(!imported.feeds_group("/anything"));
    }

    #[test]
    fn with_import_off_every_list_may_lose_its_people() {
        let off = made(r#"{"importEnabled":["false"]}"#, "[]");
        assert!(!off.imports && off.enabled);
        assert!(off.feeds_group("/any") && off.feeds_roles());
    }
}

//! A small company in a file, and the database that its store is in.

use serde_json::{Value, json};

use super::postgres::Postgres;

/// The role that owns the store, and its database.
const OWNER: &str = "idpsyncd";

/// A server with an empty database of the store's owner. `None` where there is no server here (and says so).
pub fn store_server() -> Option<Postgres> {
    let postgres = Postgres::start()?;
    postgres.database(OWNER, OWNER);
    Some(postgres)
}

/// The store's database by these ports of the loopback, as its owner.
pub fn store_url(ports: &[u16]) -> String {
    store_url_as(OWNER, ports)
}

/// The same as another role.
pub fn store_url_as(role: &str, ports: &[u16]) -> String {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("postgresql://{role}@{}/{OWNER}", hosts.join(","))
}

/// The key of `[store]` for it.
pub fn store_at(ports: &[u16]) -> String {
    format!("postgres = \"{}\"", store_url(ports))
}

/// A gateway at this port of the loopback, with these keys besides: `GET /a`, of whoever `x-user` names, is
/// `workflow:Read` on `pool/a`.
pub fn gateway_at(port: u16, keys: &str) -> String {
    format!(
        r#"
[gateway]
http = "127.0.0.1:{port}"
identity = "header"
user_header = "x-user"
{keys}
[[gateway.route]]
methods = ["GET"]
path = "/a"
action = "workflow:Read"
resource = "pool/a"
"#
    )
}

/// An export of a realm with the role `ml`: who is in it, and whether they have the role.
pub fn realm_export<'n>(people: impl IntoIterator<Item = (&'n str, bool)>) -> String {
    let users = people.into_iter().map(|(name, ml)| {
        let roles: &[&str] = if ml { &["ml"] } else { &[] };
        json!({"id": format!("id-{name}"), "username": name, "enabled": true, "realmRoles": roles})
    });
    let users: Vec<Value> = users.collect();
    json!({"realm": "x", "enabled": true, "roles": {"realm": [{"name": "ml"}]}, "users": users})
        .to_string()
}

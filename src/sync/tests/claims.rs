//! Whom a token alone provisions: what it claims counts as far as it proves it.

use super::*;

over_both! {
    a_tokens_roles_go_through_mapping_modes_and_grants_and_say_where_they_came_from
    a_groups_claim_counts_where_it_can_mean_one_thing_and_never_gives_a_protected_role
    a_clients_roles_are_that_clients
    a_token_that_proves_too_little_gives_nothing
}

pub(super) const CLAIMS: &str = r#"
[guard]
protected_roles = { top = 0 }
[[source]]
name = "kc"
kind = "keycloak"
url = "http://127.0.0.1:1"
realm = "r"
client_id = "reader"
client_secret = { env = "PATH" }
clients = ["app"]
grants = ["t*", "f*", "m*", "i*"]
[roles.everyone]
everyone = true
[roles.forced]
sync_mode = "force"
external_roles = ["plain", "ML"]
[roles.merged]
external_roles = ["viewer"]
[roles.imported]
sync_mode = "import"
external_roles = ["inner"]
[roles.beyond]
external_roles = ["plain"]
[roles.top]
external_roles = ["admin"]
[[mapping]]
group = "/Top"
roles = ["top"]
[gateway]
identity = "jwt"
provision = "claims"
http = "127.0.0.1:0"
preset = "osmo"
[[gateway.jwt]]
issuer = "http://127.0.0.1:1/realms/r"
audiences = ["app"]
roles_claim = "CLAIM"
"#;

/// A store whose mirror of `kc` has some groups and roles, and nobody but `old`.
fn with_mirror(over: Over, claim: &str) -> Home {
    use crate::directory::{Enabled, Kind, NewRef, NewUser, SnapshotBuilder};
    let home = Home::over(over, &CLAIMS.replace("CLAIM", claim));
    let mut builder = SnapshotBuilder::new(false);
    let mut add = |kind, key: &str, name: &str, identity: &str| {
        builder.reference(&NewRef { kind, key, name, identity, norm: identity }).unwrap()
    };
    let plain = add(Kind::RealmRole, "plain", "plain", "plain");
    let viewer = add(Kind::RealmRole, "viewer", "viewer", "viewer");
    add(Kind::RealmRole, "admin", "admin", "admin");
    add(Kind::RealmRole, "inner", "inner", "inner");
    add(Kind::ClientRole, "app/inner", "inner", "app/inner");
    let ml = add(Kind::Group, "g1", "ML", "/Eng/ML");
    let eng = add(Kind::Group, "g0", "Eng", "/Eng");
    add(Kind::Group, "g2", "Top", "/Top");
    add(Kind::Group, "g3", "twice", "/a/twice");
    builder.child(eng, ml);
    builder.leads_to(plain, viewer);
    builder
        .user(&NewUser {
            ext: "old",
            username: "old",
            email: "",
            email_verified: false,
            enabled: Enabled::Yes,
            federation: "",
        })
        .unwrap();
    builder
        .user(&NewUser {
            ext: "off",
            username: "off",
            email: "",
            email_verified: false,
            enabled: Enabled::No,
            federation: "",
        })
        .unwrap();
    keep(&home, builder.finish());
    home
}

fn by_id(ext: &str) -> KnownBy {
    KnownBy::Id { source: "kc".to_owned(), ext: ext.to_owned() }
}

pub(super) fn bearer(name: &str, roles: &[&str]) -> Caller {
    Caller {
        known_by: by_id(&format!("sub-{name}")),
        name: Some(name.into()),
        issuer: Some("http://127.0.0.1:1/realms/r".to_owned()),
        roles: Some(roles.iter().map(|role| (*role).to_owned()).collect()),
        named: None,
    }
}

pub(super) fn claim(home: &Home, caller: &Caller) -> ProvisionOutcome {
    claims_person(&home.config, &*home.store, caller, now()).unwrap()
}

fn a_tokens_roles_go_through_mapping_modes_and_grants_and_say_where_they_came_from(over: Over) {
    let home = with_mirror(over, "realm_access.roles");
    provisioned(&claim(&home, &bearer("ann", &["plain", "unheard-of", "admin"])));
    let roles = &home.roles()["ann"];
    assert_eq!(*roles, ["everyone", "forced", "merged", "top"].map(str::to_owned).into());
    let grants = home.grants("ann");
    let through = "merged: through token claim `realm_access.roles` → realm role `plain` → realm role \
                   `viewer` (kc, roles.merged)";
    assert!(grants.contains(through), "{grants:?}");
    let state = home.reader().state().unwrap();
    assert!(state.links.iter().any(|link| state.texts.get(link.ext) == "sub-ann"));
    let mirror = home.reader().mirror("kc").unwrap().unwrap();
    assert_eq!(mirror.mirror.directory.users.len(), 3);
}

fn a_groups_claim_counts_where_it_can_mean_one_thing_and_never_gives_a_protected_role(over: Over) {
    let home = with_mirror(over, "groups");
    let names = ["/Eng/ML", "/Top", "twice", "inner"];
    provisioned(&claim(&home, &bearer("ann", &names)));
    assert_eq!(home.roles()["ann"], ["everyone", "forced"].map(str::to_owned).into());
    provisioned(&claim(&home, &bearer("bob", &["ML", "viewer"])));
    assert_eq!(home.roles()["bob"], ["everyone", "forced", "merged"].map(str::to_owned).into());
}

#[test]
fn an_issuer_that_is_no_source_is_warned_of() {
    let toml = CLAIMS.replace("CLAIM", "realm_access.roles");
    let about = |toml: &str| {
        let warnings = Home::new(toml).config.warnings();
        warnings.into_iter().filter(|it| it.contains("is no source: `provision")).count()
    };
    assert_eq!(about(&toml), 0);
    let named = toml.replace("/realms/r\"", "/realms/other\"\nidentify_by = \"username\"");
    assert_eq!(about(&named), 1);
    assert_eq!(about(&named.replace("\"claims\"", "\"lookup\"")), 0);
}

fn a_clients_roles_are_that_clients(over: Over) {
    let home = with_mirror(over, "resource_access.app.roles");
    provisioned(&claim(&home, &bearer("ann", &["inner", "plain"])));
    assert_eq!(home.roles()["ann"], ["everyone", "imported"].map(str::to_owned).into());
}

fn a_token_that_proves_too_little_gives_nothing(over: Over) {
    let home = with_mirror(over, "realm_access.roles");
    let before = home.roles();
    let other = Caller { known_by: KnownBy::Name("ann".into()), ..bearer("ann", &["plain"]) };
    refused(claim(&home, &other), "is no source");
    refused(claim(&home, &Caller { name: None, ..bearer("ann", &["plain"]) }), "no username");
    refused(claim(&home, &Caller { roles: None, ..bearer("ann", &[]) }), "lacks the claim");
    refused(claim(&home, &bearer("service-account-x", &["plain"])), "account of a client");
    // Disabled, as the mirror and the store have it.
    let off = Caller { known_by: by_id("off"), ..bearer("off", &["plain"]) };
    refused(claim(&home, &off), "disabled in `kc`");
    // Whoever has the id is that person, and a new id under a name that is taken is nobody.
    let known = Caller { known_by: by_id("old"), ..bearer("ann", &["plain"]) };
    assert!(matches!(claim(&home, &known), ProvisionOutcome::Known { .. }));
    refused(claim(&home, &bearer("old", &["plain"])), "knows somebody else as `old`");
    refused(claim(&home, &bearer("off", &["plain"])), "knows somebody else as `off`");
    assert_eq!(home.roles(), before);
}

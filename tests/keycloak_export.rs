//! What a real Keycloak exports of organizations is what it says of them when it is asked.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use idpsyncd::directory::{Completeness, Directory, Kind, Snapshot};
use idpsyncd::source::FullRead;
use idpsyncd::source::file::{FileSource, RealmExportConfig};
use serde_json::json;
use support::kc_organizations::Organized;
use support::kc_snapshot::{config, source, try_read};
use support::keycloak::{Keycloak, Realm};

const SECRET: &str = "s3cr3t-of-the-reader";
const SEES: [&str; 4] = ["view-users", "view-realm", "view-clients", "view-organizations"];
const ALIASES: [&str; 4] = ["ACME", "acme", "empty", "off"];

/// People with ids and whether they are enabled; organizations and their groups, with who is in them and what is
/// above; and what of these may not be all.
fn said(snapshot: &Snapshot) -> (BTreeSet<String>, BTreeSet<String>) {
    let Directory { users, refs, members, .. } = &snapshot.directory;
    let text = |text| snapshot.directory.text(text);
    let people =
        users.iter().map(|it| format!("{} {} {:?}", text(it.username), text(it.ext), it.enabled));
    let mut things = BTreeSet::new();
    for ((row, list), whole) in refs.iter().zip(members).zip(&snapshot.members) {
        if matches!(row.kind, Kind::Organization | Kind::OrganizationGroup) {
            let names: Vec<&str> =
                list.iter().map(|user| text(users.get(*user).unwrap().username)).collect();
            let above = row.parent.map(|above| text(refs.get(above).unwrap().key));
            things.insert(format!(
                "{} {} {}: {names:?} below {above:?}, {whole:?}",
                row.kind.as_str(),
                text(row.key),
                text(row.identity)
            ));
        }
    }
    (people.collect(), things)
}

/// Groups of one path, members of three organizations, some of whom these manage.
fn fill(keycloak: &Keycloak, realm: &Realm<'_>) {
    let (acme, upper) = (realm.organization("acme"), realm.organization("ACME"));
    let off = realm.organization("off");
    realm.organization("empty");
    let eng = realm.organization_group(&acme, "eng", None);
    let ml = realm.organization_group(&acme, "ml", Some(&eng));
    let odd = realm.organization_group(&acme, "eng/ml ü", None);
    let of_off = realm.organization_group(&off, "eng", None);
    let [ann, bob] = ["ann", "bob"].map(|name| realm.user(name, json!({})));
    for (user, organization) in [(&ann, &acme), (&bob, &acme), (&bob, &upper), (&ann, &off)] {
        realm.join_organization(user, organization);
    }
    for (user, organization, group) in
        [(&ann, &acme, &ml), (&bob, &acme, &eng), (&bob, &acme, &odd), (&ann, &off, &of_off)]
    {
        realm.join_organization_group(user, organization, group);
    }
    realm.managed(keycloak, &acme, "max");
    realm.managed(keycloak, &off, "moe");
    realm.set_organization(&off, false);
}

#[test]
fn an_export_says_of_organizations_what_the_server_says() {
    let Some(mut keycloak) = Keycloak::start() else { return };
    let live = {
        let realm = keycloak.realm("orgsexport");
        realm.organizations(true);
        realm.reader("idpsyncd", SECRET, &SEES);
        fill(&keycloak, &realm);
        let source = source(&config(&keycloak.url, "orgsexport"), SECRET);
        try_read(&source, Arc::new(Organized::new(&ALIASES))).unwrap()
    };
    assert!(live.is_complete(), "{:?}", live.scopes());
    keycloak.stop();
    let path = keycloak.export("orgsexport");
    let config =
        RealmExportConfig { path, realm: None, clients: Vec::new(), service_accounts: false };
    let source = FileSource::new("file", &config).unwrap();
    let silent = Arc::new(|_| {});
    let exported = source.read(&Organized::new(&[]), silent).now_or_never().unwrap().unwrap();
    assert!(exported.is_complete(), "{:?}", exported.scopes());
    assert_eq!(exported.organizations, Completeness::Complete);
    let (people, things) = said(&live);
    assert_eq!(said(&exported), (people.clone(), things.clone()));
    // Two of them so that it is known that there was something to say.
    assert!(people.iter().any(|it| it.starts_with("moe ") && it.ends_with(" No")), "{people:?}");
    let max = |it: &&String| it.contains(" acme: [") && it.contains("\"max\"");
    assert_eq!(things.iter().filter(max).count(), 1, "{things:?}");
}

//! What the tests of the LDAP source share: a configuration, a read, and ways to look at it.
use std::sync::Arc;
use std::time::{Duration, Instant};

use idpsyncd::config::SecretRef;
use idpsyncd::directory::{Completeness, Enabled, Interest, Kind, Named, Snapshot};
use idpsyncd::model::Diagnostic;
use idpsyncd::model::index::Place as _;
use idpsyncd::model::username::UsernameFrom;
use idpsyncd::source::ldap::{Flavor, LdapConfig, LdapGroups, LdapSource, LdapUsers, MembersFrom};
use idpsyncd::source::{FullRead, Looked, Lookup, OnProgress, Source, SourceError, Who};

use super::openldap::{OpenLdap, SUFFIX};

/// Rules that name these attribute values and can reach every group.
pub struct Wants(pub Vec<(String, String)>);

impl Interest for Wants {
    fn reaches(&self, _: Kind, _: &str, _: &str, _: &str, _: &str, _: &[&str]) -> bool {
        true
    }

    fn attributes(&self) -> &[(String, String)] {
        &self.0
    }
}

/// A configuration for `url`, anonymous.
pub fn at(url: &str) -> LdapConfig {
    LdapConfig {
        urls: vec![url.parse().unwrap()],
        site: None,
        dns_servers: Vec::new(),
        ca_file: None,
        start_tls: false,
        client_cert: None,
        kerberos: false,
        bind_dn: None,
        bind_password: None,
        flavor: Flavor::Auto,
        users: LdapUsers {
            base: format!("ou=people,{SUFFIX}"),
            filter: "(objectClass=inetOrgPerson)".to_owned(),
            username: "uid".to_owned(),
            email: "mail".to_owned(),
            email_verified: false,
        },
        groups: Some(LdapGroups {
            base: format!("ou=groups,{SUFFIX}"),
            filter: "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))".to_owned(),
            name: "cn".to_owned(),
            nested: true,
            primary: false,
            from: MembersFrom::Member,
            distribution: false,
        }),
        canary: None,
        page_size: 1000,
        timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(60),
    }
}

/// A secret in a file of the server's folder.
pub fn secret(server: &OpenLdap, text: &str) -> SecretRef {
    let path = server.dir.path().join(format!("secret-{}", text.len()));
    std::fs::write(&path, format!("{text}\n")).unwrap();
    SecretRef::File(path)
}

/// A configuration for `server` as its reader.
pub fn reader(server: &OpenLdap) -> LdapConfig {
    LdapConfig {
        bind_dn: Some(format!("cn=reader,ou=services,{SUFFIX}")),
        bind_password: Some(secret(server, "reader-secret")),
        ..at(&server.url)
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn read(config: &LdapConfig) -> Result<Snapshot, SourceError> {
    read_wanting(config, &[])
}

pub fn read_wanting(config: &LdapConfig, wanted: &[(&str, &str)]) -> Result<Snapshot, SourceError> {
    read_with(config, wanted, Arc::new(|_| {}))
}

pub fn read_with(
    config: &LdapConfig,
    wanted: &[(&str, &str)],
    on: OnProgress,
) -> Result<Snapshot, SourceError> {
    let source = LdapSource::new("corp", config)?;
    let wants = Wants(wanted.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
    runtime().block_on(source.read(&wants, on))
}

/// The keys of what a look-up says that this person is directly in, sorted.
pub fn sighting(config: &LdapConfig, wanted: &[(&str, &str)], name: &str) -> Vec<String> {
    let username = idpsyncd::model::username::canonical(name).unwrap().into_owned();
    let who = Who::Named(Named { username, by: UsernameFrom::Username });
    sighting_of(config, wanted, &who)
}

/// The same of whoever has this stable id.
pub fn sighting_by_id(config: &LdapConfig, id: &str) -> Vec<String> {
    sighting_of(config, &[], &Who::Id(id.to_owned()))
}

fn sighting_of(config: &LdapConfig, wanted: &[(&str, &str)], who: &Who) -> Vec<String> {
    let source = LdapSource::new("corp", config).unwrap();
    let wants = Wants(wanted.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
    match runtime().block_on(source.lookup(&wants, who)).unwrap() {
        Looked::Found(found) => {
            let mut keys: Vec<String> = found.within.into_iter().map(|within| within.key).collect();
            keys.sort();
            keys
        }
        other => panic!("{who:?}: {other:?}"),
    }
}

pub fn check(config: &LdapConfig) -> Vec<Diagnostic> {
    let source = LdapSource::new("corp", config).unwrap();
    runtime().block_on(source.check(&Wants(vec![])))
}

pub fn assert_complete(snapshot: &Snapshot) {
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
}

/// Why a scope is partial.
pub fn partial(scope: &Completeness) -> &str {
    match scope {
        Completeness::Partial(why) => why,
        other => panic!("expected a partial scope, found {other:?}"),
    }
}

pub fn text(snapshot: &Snapshot, text: idpsyncd::model::Text) -> &str {
    snapshot.directory.text(text)
}

pub fn usernames(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<&str> =
        snapshot.directory.users.iter().map(|user| text(snapshot, user.username)).collect();
    names.sort_unstable();
    names
}

pub fn disabled(snapshot: &Snapshot) -> Vec<&str> {
    let users = snapshot.directory.users.iter().filter(|user| user.enabled != Enabled::Yes);
    let mut names: Vec<&str> = users.map(|user| text(snapshot, user.username)).collect();
    names.sort_unstable();
    names
}

fn place(snapshot: &Snapshot, identity: &str) -> usize {
    let refs = &snapshot.directory.refs;
    refs.iter()
        .position(|reference| text(snapshot, reference.identity) == identity)
        .unwrap_or_else(|| panic!("no reference `{identity}`"))
}

/// The usernames directly in the reference with this identity.
pub fn members<'a>(snapshot: &'a Snapshot, identity: &str) -> Vec<&'a str> {
    let members = snapshot.directory.members[place(snapshot, identity)].iter();
    let users = members.map(|user| &snapshot.directory.users[user.place()]);
    let mut names: Vec<&str> = users.map(|user| text(snapshot, user.username)).collect();
    names.sort_unstable();
    names
}

/// The identities of what the reference with this identity leads to.
pub fn ups<'a>(snapshot: &'a Snapshot, identity: &str) -> Vec<&'a str> {
    let up = snapshot.directory.implies[place(snapshot, identity)].iter();
    up.map(|up| text(snapshot, snapshot.directory.refs[up.place()].identity)).collect()
}

/// How much of a reference's members was read.
pub fn completeness<'a>(snapshot: &'a Snapshot, identity: &str) -> &'a Completeness {
    &snapshot.members[place(snapshot, identity)]
}

/// The stable id of the user or group of this name.
pub fn id_of(snapshot: &Snapshot, name: &str) -> String {
    let directory = &snapshot.directory;
    let user = directory.users.iter().find(|user| text(snapshot, user.username) == name);
    let group = directory
        .refs
        .iter()
        .find(|group| text(snapshot, group.identity).starts_with(&format!("cn={name},")));
    let id = user.map(|user| user.ext).or(group.map(|group| group.key));
    text(snapshot, id.unwrap_or_else(|| panic!("no user and no group `{name}`"))).to_owned()
}

/// A port of the loopback where nobody listens.
pub fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `condition` holds; fails after a minute.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

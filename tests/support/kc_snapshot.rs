//! Readings of the Keycloak source as facts that a test can name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use idpsyncd::config::SecretRef;
use idpsyncd::directory::{Completeness, Enabled, Interest, Kind, RefIdx, ScopeReport, Snapshot};
use idpsyncd::model::Diagnostic;
use idpsyncd::model::index::Place as _;
use idpsyncd::source::keycloak::{KeycloakConfig, KeycloakSource};
use idpsyncd::source::{FullRead, OnProgress, Source, SourceError};

pub type Source_ = Arc<KeycloakSource>;

/// A configuration for client `idpsyncd`, with OSMO's two clients.
pub fn config(url: &str, realm: &str) -> KeycloakConfig {
    KeycloakConfig {
        url: url.parse().unwrap(),
        realm: realm.to_owned(),
        client_id: "idpsyncd".to_owned(),
        client_secret: SecretRef::File(PathBuf::from("unused")),
        clients: Vec::new(),
        service_accounts: false,
        ca_file: None,
        timeout: Duration::from_secs(30),
        read_timeout: Duration::from_secs(120),
        concurrency: 2,
    }
}

/// A source; clients that exist in the realm under OSMO's names count.
pub fn source(config: &KeycloakConfig, secret: &str) -> Source_ {
    Arc::new(KeycloakSource::with_secret("kc", config, secret.to_owned().into()).unwrap())
}

/// Rules that can name everything.
#[derive(Default)]
pub struct Everything(Vec<(String, String)>);

impl Interest for Everything {
    fn reaches(&self, _: Kind, _: &str, _: &str, _: &str, _: &str, _: &[&str]) -> bool {
        true
    }
    fn attributes(&self) -> &[(String, String)] {
        &self.0
    }
}

/// Rules that can name these bare names and attributes.
#[derive(Default)]
pub struct Named {
    pub names: Vec<String>,
    pub attributes: Vec<(String, String)>,
}

impl Interest for Named {
    fn reaches(&self, _: Kind, _: &str, name: &str, _: &str, _: &str, _: &[&str]) -> bool {
        self.names.iter().any(|wanted| wanted == name)
    }
    fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }
}

pub fn try_read(source: &Source_, interest: Arc<dyn Interest>) -> Result<Snapshot, SourceError> {
    try_read_telling(source, interest, Arc::new(|_| {}))
}

pub fn try_read_telling(
    source: &Source_,
    interest: Arc<dyn Interest>,
    progress: OnProgress,
) -> Result<Snapshot, SourceError> {
    runtime().block_on(source.read(&*interest, progress))
}

pub fn check(source: &Source_, interest: Arc<dyn Interest>) -> Vec<Diagnostic> {
    runtime().block_on(source.check(&*interest))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[derive(Debug)]
pub struct User {
    pub id: String,
    pub email: String,
    pub email_verified: bool,
    pub enabled: Enabled,
}

/// Kind, identity, usernames, completeness, places of what it leads to, key.
type Row = (Kind, String, Vec<String>, Completeness, Vec<RefIdx>, String);

/// What a reading says, by name.
#[derive(Debug)]
pub struct Facts {
    /// By username.
    pub users: BTreeMap<String, User>,
    pub users_are: Completeness,
    pub reading_complete: bool,
    pub scopes: Vec<ScopeReport>,
    pub digest: String,
    refs: Vec<Row>,
}

pub fn facts(snapshot: &Snapshot) -> Facts {
    let directory = &snapshot.directory;
    let text = |text| directory.text(text).to_owned();
    let users = directory.users.iter().map(|user| {
        let facts = User {
            id: text(user.ext),
            email: text(user.email),
            email_verified: user.email_verified,
            enabled: user.enabled,
        };
        (text(user.username), facts)
    });
    let refs = directory.refs.iter().enumerate().map(|(n, reference)| {
        let members = directory.members[n].iter();
        (
            reference.kind,
            text(reference.identity),
            members.map(|user| text(directory.users[user.place()].username)).collect(),
            snapshot.members[n].clone(),
            directory.implies[n].clone(),
            text(reference.key),
        )
    });
    Facts {
        users: users.collect(),
        users_are: snapshot.users.clone(),
        reading_complete: snapshot.is_complete(),
        scopes: snapshot.scopes(),
        digest: directory.digest().to_string(),
        refs: refs.collect(),
    }
}

impl Facts {
    /// Direct members of a reference.
    pub fn direct(&self, kind: Kind, identity: &str) -> Vec<String> {
        let found = self.refs.iter().find(|it| it.0 == kind && it.1 == identity);
        found.unwrap_or_else(|| panic!("no {kind:?} {identity}")).2.clone()
    }

    /// How much of a reference's members was read.
    pub fn members_are(&self, identity: &str) -> Completeness {
        let found = self.refs.iter().find(|it| it.1 == identity);
        found.unwrap_or_else(|| panic!("no {identity}")).3.clone()
    }

    /// Whether there is a reference of this identity.
    pub fn has(&self, identity: &str) -> bool {
        self.refs.iter().any(|it| it.1 == identity)
    }

    /// Kind and key of what a user is directly in.
    pub fn keys_of(&self, username: &str) -> BTreeSet<(Kind, String)> {
        let of = self.refs.iter().filter(|it| it.2.iter().any(|name| name == username));
        of.map(|it| (it.0, it.5.clone())).collect()
    }

    /// Identities of what a user is directly in, of these kinds.
    pub fn direct_of(&self, username: &str, kinds: &[Kind]) -> BTreeSet<String> {
        let of = self.refs.iter().filter(|it| it.2.iter().any(|name| name == username));
        of.filter(|it| kinds.contains(&it.0)).map(|it| it.1.clone()).collect()
    }

    /// Identities of what a user is in, by whatever way.
    pub fn all_within(&self, username: &str) -> BTreeSet<String> {
        self.all_of(username).into_iter().map(|n| self.refs[n].1.clone()).collect()
    }

    /// Everything that a user is in, by whatever way.
    fn all_of(&self, username: &str) -> BTreeSet<usize> {
        let mut open: Vec<usize> = (0..self.refs.len())
            .filter(|n| self.refs[*n].2.iter().any(|it| it == username))
            .collect();
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(self.refs[next].4.iter().map(|up| up.place()));
            }
        }
        seen
    }

    /// Identities of a user's effective roles.
    pub fn roles_of(&self, username: &str) -> BTreeSet<String> {
        let of = self.all_of(username).into_iter().map(|n| &self.refs[n]);
        of.filter(|it| matches!(it.0, Kind::RealmRole | Kind::ClientRole))
            .map(|it| it.1.clone())
            .collect()
    }

    /// Identities of a user's groups, with those above.
    pub fn groups_of(&self, username: &str) -> Vec<String> {
        let of = self.all_of(username).into_iter().map(|n| &self.refs[n]);
        let mut groups: Vec<_> =
            of.filter(|it| it.0 == Kind::Group).map(|it| it.1.clone()).collect();
        groups.sort();
        groups
    }
}

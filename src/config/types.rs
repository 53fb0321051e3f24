//! The validated configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::username::UsernameFrom;
use crate::model::{Diagnostic, Mode, StoreConfig, WorkloadIdentity};
use crate::plan::Guard;
use crate::policy::{Action, Resource};
use crate::resolve::{
    LinkBy, Mapping, Names, Provision, RoleDefinition, RoleTemplate, Settings, SourceTerms,
};

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// `[store]`
    pub store: StoreConfig,
    /// `[schedule]`
    pub schedule: Schedule,
    /// `[sync]`
    pub sync: Sync,
    /// `[guard]`
    pub guard: Guard,
    /// `[tokens]`
    pub tokens: TokensConfig,
    /// `[[source]]`, in the order of the file, and `local` after them. Names are distinct.
    pub sources: Vec<SourceConfig>,
    /// `[default_admin]`
    pub default_admin: Option<DefaultAdmin>,
    /// `[roles]`, sorted by name.
    pub roles: BTreeMap<String, RoleDefinition>,
    /// `[[role_template]]`, in the order of the file.
    pub templates: Vec<RoleTemplate>,
    /// `[[mapping]]`, in the order of the file.
    pub mappings: Vec<Mapping>,
    /// `[[catalog]]`, multiplied out, sorted, distinct.
    pub catalog: Vec<(Action, Option<Resource>)>,
    /// `[workload]`: who the pods of the imported pools are in the clouds. Sorted, distinct.
    pub workload: Vec<WorkloadIdentity>,
    /// `[gateway]`, parsed and checked; serving is not built yet.
    pub gateway: Option<super::GatewayConfig>,
    /// `[h2o]`; the roles that it implies are in `roles`.
    pub h2o: Option<super::H2oConfig>,
    /// A digest of everything that a plan depends on, as hex: the file's meaning, not its layout.
    /// Store path, schedule, tokens and gateway are not in it.
    pub fingerprint: String,
    /// Worth telling, though not wrong: a Deny without `resources` whose actions take one, …
    pub diagnostics: Vec<Diagnostic>,
}

impl Config {
    /// What is worth telling, in words.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.diagnostics.iter().map(|it| it.message.clone()).collect()
    }

    /// What resolving takes of it.
    #[must_use]
    pub fn settings(&self) -> Settings<'_> {
        Settings {
            missing_after: self.sync.missing_after,
            provision: self.sync.provision,
            username: self.sync.username,
            sources: self.sources.iter().map(SourceConfig::terms).collect(),
            roles: &self.roles,
            templates: &self.templates,
            mappings: &self.mappings,
            protected: &self.guard.protected_roles,
            catalog: &self.catalog,
            workload: &self.workload,
        }
    }

    /// Whether there is any `[[source]]`: identity providers beside `local`.
    #[must_use]
    pub fn has_idp(&self) -> bool {
        self.settings().has_idp()
    }

    /// Whether the role `name` is protected: it allows everything somewhere, or `[guard]` says so.
    #[must_use]
    pub fn is_protected(&self, name: &str) -> bool {
        self.settings().is_protected(name)
    }
}

/// `[tokens]`
#[derive(Clone, Copy, Debug)]
pub struct TokensConfig {
    /// No token is made that is good for longer. Default 365 days.
    pub max_lifetime: Duration,
}

/// `[schedule]`
#[derive(Clone, Debug)]
pub struct Schedule {
    /// When, seconds first, in UTC. Default `0 */5 * * * *`.
    pub cron: cron::Schedule,
    /// The expression as written.
    pub cron_text: String,
    /// Each run starts up to this much later. Default 30 s.
    pub jitter: Duration,
}

/// `[sync]`
#[derive(Clone, Debug)]
pub struct Sync {
    /// For roles without a `sync_mode`. Default merge.
    pub default_mode: Mode,
    /// `on_missing.after`; `None` is `"never"`. Default 1 h.
    pub missing_after: Option<Duration>,
    /// Who is provisioned. Default all.
    pub provision: Provision,
    /// What the gateway calls people by. Default username.
    pub username: UsernameFrom,
}

/// `[[source]]`
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Distinct; letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// The only roles it may give, as globs; absent: any.
    pub grants: Option<Vec<globset::GlobMatcher>>,
    /// How its people are recognised in other sources. Default username.
    pub link_by: LinkBy,
    /// It says who is there, enabled or gone; `false`: it gives roles only. Default true.
    pub lifecycle: bool,
    /// What kind, with the kind's own keys.
    pub kind: SourceKind,
}

impl SourceConfig {
    /// What resolving takes of it.
    #[must_use]
    pub fn terms(&self) -> SourceTerms<'_> {
        SourceTerms {
            name: &self.name,
            grants: self.grants.as_deref(),
            link_by: self.link_by,
            lifecycle: self.lifecycle,
            names: if self.kind.is_ldap() { Names::Folded } else { Names::Exact },
            without_ids: self.kind.is_file() || self.kind.is_ldap(),
            by_hand: self.kind.is_local(),
        }
    }

    /// The built-in source, which is in every configuration.
    #[must_use]
    pub fn local() -> Self {
        SourceConfig {
            name: crate::directory::local::NAME.to_owned(),
            grants: None,
            link_by: LinkBy::Username,
            lifecycle: true,
            kind: SourceKind::Local,
        }
    }
}

/// `[default_admin]`: ensured at every start and sync.
#[derive(Clone, Debug)]
pub struct DefaultAdmin {
    /// What the user is called, as the store keeps names.
    pub username: String,
    /// The secret of the user's token. Read where the user is ensured.
    pub password: SecretRef,
    /// The role that the user is granted: declared, and not `everyone`'s.
    pub role: String,
}

/// The kinds of source.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A realm of a Keycloak server.
    Keycloak(KeycloakConfig),
    /// An LDAP directory.
    Ldap(LdapConfig),
    /// A Keycloak realm export.
    RealmExport(RealmExportConfig),
    /// An LDIF file.
    Ldif(LdifConfig),
    /// The built-in one: its mirror in the store is all there is of it, changed by commands and by
    /// `[default_admin]` alone.
    Local,
}

impl SourceKind {
    /// Whether names and groups are an LDAP directory's (live or LDIF).
    #[must_use]
    pub fn is_ldap(&self) -> bool {
        matches!(self, SourceKind::Ldap(_) | SourceKind::Ldif(_))
    }

    /// Whether it is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, SourceKind::RealmExport(_) | SourceKind::Ldif(_))
    }

    /// Whether it is the built-in source.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, SourceKind::Local)
    }

    /// `keycloak`, `ldap`, `file` or `local`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            SourceKind::Local => "local",
            SourceKind::Keycloak(_) => "keycloak",
            SourceKind::Ldap(_) => "ldap",
            SourceKind::RealmExport(_) | SourceKind::Ldif(_) => "file",
        }
    }
}

/// `kind = "keycloak"`
#[derive(Clone, Debug)]
pub struct KeycloakConfig {
    /// `http(s)://host[:port][/prefix]`, without user info, query or fragment.
    pub url: url::Url,
    /// The realm's name. Case counts.
    pub realm: String,
    /// The client whose service account reads.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretRef,
    /// The clients whose client roles count.
    pub clients: Vec<String>,
    /// Service accounts are people too. Default false.
    pub service_accounts: bool,
    /// A CA certificate file (PEM) to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The longest one request may take. Default 60 s.
    pub timeout: Duration,
    /// The longest a whole read may take. Default 10 m.
    pub read_timeout: Duration,
    /// Requests at once. Default 2.
    pub concurrency: usize,
}

impl KeycloakConfig {
    /// Whether this is the realm that issues tokens as `issuer`: `{url}/realms/{realm}`.
    #[must_use]
    pub fn issues(&self, issuer: &str) -> bool {
        let base = self.url.as_str().trim_end_matches('/');
        let realm = issuer.strip_prefix(base).and_then(|rest| rest.strip_prefix("/realms/"));
        realm.is_some_and(|realm| {
            realm == self.realm
                || percent_encoding::percent_decode_str(realm)
                    .decode_utf8()
                    .is_ok_and(|realm| realm == self.realm)
        })
    }
}

/// `kind = "ldap"`
#[derive(Clone, Debug)]
pub struct LdapConfig {
    /// `ldap://`, `ldaps://` or `ldapi://` URLs, tried in order. At least one.
    pub urls: Vec<url::Url>,
    /// A CA certificate file (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// StartTLS on `ldap://`.
    pub start_tls: bool,
    /// The identity to bind as; absent: anonymous, or SASL EXTERNAL over `ldapi://`.
    pub bind_dn: Option<String>,
    /// Its password.
    pub bind_password: Option<SecretRef>,
    /// What kind of server.
    pub flavor: Flavor,
    /// Where the people are.
    pub users: LdapUsers,
    /// Where the groups are; absent: it has none, as `groups = false` says.
    pub groups: Option<LdapGroups>,
    /// An entry that must be readable, else the read is partial.
    pub canary: Option<String>,
    /// Entries a page. Default 1000.
    pub page_size: u32,
    /// The longest one operation may take. Default 60 s.
    pub timeout: Duration,
    /// The longest a whole read may take. Default 10 m.
    pub read_timeout: Duration,
}

/// `flavor`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// Told by the server's root DSE.
    Auto,
    /// OpenLDAP.
    OpenLdap,
    /// 389 Directory Server. Not built yet: reading says so.
    Ds389,
    /// Active Directory. Not built yet: reading says so.
    ActiveDirectory,
}

/// `users = { … }`
#[derive(Clone, Debug)]
pub struct LdapUsers {
    /// Search base, a DN.
    pub base: String,
    /// Default `(objectClass=inetOrgPerson)`.
    pub filter: String,
    /// The attribute that holds the username. Default `uid`.
    pub username: String,
    /// The attribute that holds the email address. Default `mail`.
    pub email: String,
    /// The source's `email_verified`: nobody can write their own address there. Default false.
    pub email_verified: bool,
}

/// `groups = { … }`
#[derive(Clone, Debug)]
pub struct LdapGroups {
    /// Search base, a DN.
    pub base: String,
    /// Default `(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))`.
    pub filter: String,
    /// The attribute that holds the bare name. Default `cn`.
    pub name: String,
    /// Close over nested groups. Default true.
    pub nested: bool,
    /// A `posixGroup` has its primary members too, by `gidNumber`. Default false.
    pub primary: bool,
}

/// `kind = "file"` with `realm_export`
#[derive(Clone, Debug)]
pub struct RealmExportConfig {
    /// The export.
    pub path: PathBuf,
    /// Which realm of several; absent: the only one.
    pub realm: Option<String>,
    /// The clients whose client roles count.
    pub clients: Vec<String>,
    /// Service accounts are people too. Default false.
    pub service_accounts: bool,
}

/// `kind = "file"` with `ldif`
#[derive(Clone, Debug)]
pub struct LdifConfig {
    /// The LDIF.
    pub path: PathBuf,
    /// Where the people are. Base `""` is everywhere.
    pub users: LdapUsers,
    /// Where the groups are. Base `""` is everywhere. Absent: it has none.
    pub groups: Option<LdapGroups>,
}

/// `{ file = "…" }`, `{ env = "…" }` or `{ credential = "…" }`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretRef {
    /// A file's content, one trailing line end dropped.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

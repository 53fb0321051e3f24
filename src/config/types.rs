//! The validated configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::kind::{KindSettings, LocalSettings};
use crate::model::username::UsernameFrom;
use crate::model::{Diagnostic, Mode, StoreConfig, WorkloadIdentity};
use crate::plan::Guard;
use crate::policy::{Action, Resource};
use crate::resolve::{
    LinkBy, Mapping, Provision, RoleDefinition, RoleTemplate, Settings, SourceTerms,
};

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// `[store]`
    pub store: StoreConfig,
    /// `store.password`: with what one signs in at the store's database.
    pub store_password: Option<SecretRef>,
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

/// `watch` of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WatchMode {
    /// In the best way that the source offers.
    #[default]
    Auto,
    /// By full reads alone.
    Off,
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
    /// Whether `idpsyncd run` follows what changes there between full reads. Default auto.
    pub watch: WatchMode,
    /// What the keys of its kind say.
    pub kind: Arc<dyn KindSettings>,
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
            names: self.kind.names(),
            without_ids: self.kind.without_ids(),
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
            watch: WatchMode::Off,
            kind: Arc::new(LocalSettings),
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

//! The configuration, parsed into types that cannot be wrong.
//!
//! [`load`] reads a TOML file and returns either a [`Config`] or *every* fault in it, each with
//! line, column and the key's path. Nothing here opens a connection; secrets are references that
//! [`SecretRef::read`] follows when a source is made.
//!
//! ```text
//! text ─► syntax: a tree with places ─► reader: look-ups are recorded, faults collected
//!                                       ├─ files, import, workload: what a platform's files say
//!                                       ├─ sections, source, role, mapping, gateway ─► Config
//!                                       └─ fault: places, near misses, one report ──► Faults
//! ```

mod authzen;
mod credentials;
mod database_url;
mod dpop;
mod exposure;
mod fault;
mod files;
mod fingerprint;
mod gateway;
mod h2o;
mod import;
mod jwt;
mod kind;
mod logout;
mod mapping;
mod reader;
mod role;
mod secret;
mod sections;
mod source;
mod store;
mod syntax;
mod types;
mod value;
mod warn;
mod workload;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

/// How a source's names compare, which its kind says.
pub use crate::resolve::Names;
pub use authzen::{
    AuthzenConfig, AuthzenPattern, AuthzenRule, BaseUrl, CallerConfig, CallerJwt, CallerProof,
    Capability, Condition, Ending, QuestionPart, SubjectId, SubjectType,
};
pub use credentials::{TOKEN_NAME, TokenCredentials};
pub use database_url::{Tls, Url, UrlError, from_passfile, passfile};
pub use dpop::DpopConfig;
pub use exposure::readable_secrets;
pub(crate) use exposure::remote;
pub use fault::{Code, Faults, FileFault};
pub use files::{Files, name_fits};
pub use gateway::{AllowedConfig, GatewayConfig, IdentityWay, JustInTime, Listen, TlsConfig};
pub use h2o::{H2oConfig, H2oTag, IamFile};
pub use jwt::{IdentifyBy, JwtConfig, OSMO, SubjectHeader};
pub use kind::{ClaimedNames, KindSettings, Kinds, LocalSettings};
pub(crate) use kind::{SourceKind, SourceTable, TableForm};
pub use logout::LogoutConfig;
pub(crate) use reader::{Node, Read, Table, all};
pub use role::role_in_another_case;
pub use secret::SecretError;
pub use store::{StoreUrlError, store_at};
pub use types::*;
pub use value::redacted;
pub(crate) use value::{BadValue, dn, http_url, url};

use crate::model::Mode;
use crate::model::username::UsernameFrom;
use crate::resolve::LinkBy;
use fault::{Lines, RawFault};
use reader::Ctx;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {error}{}", .file.display(), hint(.error))]
    Unreadable {
        /// The file, as it was named.
        file: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The file is wrong, in these ways.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// What to do next.
fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "; name another with `--config FILE` or `$IDPSYNCD_CONFIG`",
        std::io::ErrorKind::PermissionDenied => "; it must be readable for the service's user",
        _ => "",
    }
}

/// Reads the configuration `file`, whose sources are of `kinds`, and the platform's files that it names. Nothing else is opened:
/// not the secrets, nor a source's files.
///
/// # Errors
/// The file cannot be read, or holds faults: all of them.
pub fn load(file: &Path, kinds: &Kinds) -> Result<Config, ConfigError> {
    let bytes = std::fs::read(file)
        .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), error })?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(parse_with(text, file, kinds, Files::Disk)?),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            // The part before the first bad byte is valid, so this borrows and replaces nothing.
            let before = String::from_utf8_lossy(valid);
            let fault = RawFault {
                span: before.len()..before.len(),
                key: String::new(),
                code: Code::Syntax,
                message: "is not UTF-8 from here on".to_owned(),
                did_you_mean: None,
            };
            Err(Faults::place(file, &Lines::of(&before), vec![fault], Vec::new()).into())
        }
    }
}

/// Parses the configuration `text` of `file`, whose folder relative paths start from and whose
/// sources are of `kinds`. Reads no file, no environment and no clock.
///
/// # Errors
/// Every fault of the text; a file that it names is one.
pub fn parse(text: &str, file: &Path, kinds: &Kinds) -> Result<Config, Faults> {
    parse_with(text, file, kinds, Files::none())
}

/// As [`parse`], with the platform's files that the text names from `files`.
///
/// # Errors
/// Every fault of the text and of those files.
pub fn parse_with(text: &str, file: &Path, kinds: &Kinds, files: Files) -> Result<Config, Faults> {
    let lines = Lines::of(text);
    let repaired = syntax::repair(text, &lines);
    let (tree, _) = DeTable::parse_recoverable(&repaired.text);
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    let ctx = Ctx::new(base, files);
    let root = Table::new(&ctx, String::new(), 0..0, tree.get_ref());
    let config = config(&root, file, kinds);
    drop(root);
    let (mut faults, elsewhere) = ctx.into_faults();
    repaired.report(text, &lines, tree.get_ref(), &mut faults);
    match config {
        Ok(config) if faults.is_empty() && elsewhere.is_empty() => Ok(config),
        _ => Err(Faults::place(file, &lines, faults, elsewhere)),
    }
}

/// The whole file. Every section is read before the first `?`, so that every fault is found.
fn config(root: &Table<'_>, file: &Path, kinds: &Kinds) -> Read<Config> {
    let store = store::store(root);
    let schedule = sections::schedule(root);
    let sync = sections::sync(root);
    let sections::ReadGuard { guard, protected } = sections::guard(root);
    let (default_mode, link_by) = sync
        .as_ref()
        .map_or((Mode::Merge, LinkBy::Username), |(sync, link_by)| (sync.default_mode, *link_by));
    let tokens = sections::tokens(root);
    let source::ReadSources { sources, facts } = source::sources(root, link_by, kinds);
    let mut known = role::RoleNames::default();
    let mut warnings = Vec::new();
    let import = import::import(root, &mut warnings);
    known.incomplete |= import.is_err();
    let imported = import::roles(&import);
    let h2o = h2o::h2o(root, &mut warnings);
    let roles = role::roles(root, default_mode, imported, &mut known, &mut warnings);
    let templates = role::templates(root, default_mode, &mut known);
    let made = templates.as_deref().ok();
    let roles = h2o::imply(&h2o, roles, made, default_mode, root, &mut known);
    role::check_protected(root, &protected, &known);
    let mappings = mapping::mappings(root, &known, &facts, &mut warnings);
    let catalog = role::catalog(root);
    let workload = workload::workload(root, &import, &mut warnings);
    let around = jwt::Around {
        sources: sources.as_ref().ok().map(Vec::as_slice),
        username: sync.as_ref().map_or(UsernameFrom::Username, |(sync, _)| sync.username),
        roles_claim: h2o.role_claim(),
    };
    let gateway = gateway::gateway(root, &known, &around);
    let default_admin = sections::default_admin(root, &known, roles.as_ref().ok());
    root.finish();
    let (store, store_password) = store?;
    let mut config = Config {
        file: file.to_owned(),
        store,
        store_password,
        schedule: schedule?,
        sync: sync?.0,
        guard: guard?,
        tokens: tokens?,
        // Last: where several sources know somebody, an identity provider has the first word.
        sources: sources?.into_iter().chain([SourceConfig::local()]).collect(),
        default_admin: default_admin?,
        roles: import.and(roles)?,
        templates: templates?,
        mappings: mappings?,
        catalog: catalog?,
        workload: workload?,
        gateway: gateway?,
        h2o: h2o.done()?,
        fingerprint: String::new(),
        diagnostics: warnings,
    };
    config.diagnostics.extend(warn::warnings(&config));
    config.fingerprint = fingerprint::fingerprint(&config);
    Ok(config)
}

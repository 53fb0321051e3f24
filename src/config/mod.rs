//! The configuration, parsed into types that cannot be wrong.
//!
//! [`load`] reads a TOML file and returns either a [`Config`] or *every* fault in it, each with
//! line, column and the key's path. Nothing here opens a connection; secrets are references that
//! [`SecretRef::read`] follows when a source is made.
//!
//! ```text
//! text ─► TOML tree with places ─► reader: look-ups are recorded, faults collected
//!                                    ├─ sections, source, role, mapping, gateway ─► Config
//!                                    └─ fault: places, near misses, one report ──► Faults
//! ```

mod fault;
mod fingerprint;
mod gateway;
mod mapping;
mod reader;
mod role;
mod secret;
mod sections;
mod source;
mod template;
mod types;
mod value;
mod warn;

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use fault::{Code, Fault, Faults};
pub use gateway::{
    AllowedConfig, GatewayConfig, Identity, JustInTime, JwtConfig, Listen, Preset, RouteConfig,
    Segment, Target,
};
pub use secret::SecretError;
pub use template::expand;
pub use types::*;
pub use value::{check_role_name, redacted};

use crate::model::Mode;
use fault::{Lines, RawFault};
use reader::{Ctx, Read, Table, child};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {error}", .file.display())]
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

/// Reads the configuration `file`. Nothing else is opened: not the secrets, nor what it names.
///
/// # Errors
/// The file cannot be read, or holds faults: all of them.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let bytes = std::fs::read(file)
        .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), error })?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(parse(text, file)?),
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
            Err(Faults::place(file, &Lines::of(&before), vec![fault]).into())
        }
    }
}

/// Parses the configuration `text` of `file`, whose folder relative paths start from. Reads no
/// file, no environment and no clock.
///
/// # Errors
/// Every fault of the text.
pub fn parse(text: &str, file: &Path) -> Result<Config, Faults> {
    let lines = Lines::of(text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    let ctx = Ctx::new(base);
    let root = Table::new(&ctx, String::new(), 0..0, tree.get_ref());
    let config = config(&root, file);
    drop(root);
    let mut faults = ctx.into_faults();
    if !errors.is_empty() {
        after_syntax_errors(&lines, &mut faults, &errors, text, &tree);
    }
    match config {
        Ok(config) if faults.is_empty() => Ok(config),
        _ => Err(Faults::place(file, &lines, faults)),
    }
}

/// Puts syntax errors among the faults, and takes out those that may only be their echo: what is
/// missing or unknown may stand in the part that could not be read, and what the parser made of
/// the rest of that table is a guess, in which a secret may have become a key.
fn after_syntax_errors(
    lines: &Lines<'_>,
    faults: &mut Vec<RawFault>,
    errors: &[toml::de::Error],
    text: &str,
    tree: &Spanned<DeTable<'_>>,
) {
    let start = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
    let guessed: Vec<_> = errors.iter().map(|error| lines.rest_of_table(start(error))).collect();
    faults.retain(|fault| {
        !matches!(fault.code, Code::MissingKey | Code::UnknownName)
            // What the parser makes up where a value is missing has no place in the text.
            && fault.span != (0..0)
            && !guessed.iter().any(|guess| guess.contains(&lines.line(fault.span.start)))
    });
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let mut key = String::new();
        enclosing(tree.get_ref(), "", span.start, &mut (0, &mut key));
        faults.push(RawFault {
            span,
            key,
            code: Code::Syntax,
            // The parser's message is a fixed text that quotes nothing of the line.
            message: error.message().to_owned(),
            did_you_mean: None,
        });
    }
}

/// The path of the table whose header stands last before `offset`.
fn enclosing(table: &DeTable<'_>, path: &str, offset: usize, best: &mut (usize, &mut String)) {
    let mut visit = |value: &Spanned<DeValue<'_>>, path: String| {
        if let DeValue::Table(table) = value.get_ref() {
            let start = value.span().start;
            if start <= offset && start >= best.0 {
                best.0 = start;
                best.1.clone_from(&path);
            }
            enclosing(table, &path, offset, best);
        }
    };
    for (name, value) in table {
        let path = child(path, name.get_ref());
        if let DeValue::Array(array) = value.get_ref() {
            for (place, item) in (1usize..).zip(array.iter()) {
                visit(item, format!("{path}[{place}]"));
            }
        } else {
            visit(value, path);
        }
    }
}

/// The whole file. Every section is read before the first `?`, so that every fault is found.
fn config(root: &Table<'_>, file: &Path) -> Read<Config> {
    let store = sections::store(root);
    let schedule = sections::schedule(root);
    let sync = sections::sync(root);
    let sections::ReadGuard { guard, protected } = sections::guard(root);
    let (default_mode, link_by) = sync
        .as_ref()
        .map_or((Mode::Merge, LinkBy::Username), |(sync, link_by)| (sync.default_mode, *link_by));
    let source::ReadSources { sources, facts } = source::sources(root, link_by);
    let mut known = role::Known::default();
    let mut warnings = Vec::new();
    let roles = role::roles(root, default_mode, &mut known, &mut warnings);
    let templates = role::templates(root, default_mode, &mut known);
    role::check_protected(root, &protected, &known);
    let mappings = mapping::mappings(root, &known, &facts);
    let catalog = role::catalog(root);
    let gateway = gateway::gateway(root, &known);
    root.finish();
    let mut config = Config {
        file: file.to_owned(),
        store: store?,
        schedule: schedule?,
        sync: sync?.0,
        guard: guard?,
        sources: sources?,
        roles: roles?,
        templates: templates?,
        mappings: mappings?,
        catalog: catalog?,
        gateway: gateway?,
        fingerprint: String::new(),
        warnings,
    };
    config.warnings.extend(warn::warnings(&config));
    config.fingerprint = fingerprint::fingerprint(&config);
    Ok(config)
}

//! The kinds of source that there are.
//!
//! A kind is a folder here and its line in [`KINDS`]: the configuration, the runs and the gateway
//! take it from there. What is peculiar to a kind, its folder says, to the configuration
//! ([`SourceKind`], [`KindSettings`]) and by what it opens ([`Source`]).

use super::{Source, SourceError, file, keycloak, ldap};
use crate::config::{KindSettings, Kinds, SourceConfig, SourceKind};

/// Every kind, in the order in which messages list them. A new kind has its line here.
const KINDS: &[&dyn Kind] = &[&keycloak::Keycloak, &ldap::Ldap, &file::File];

/// A kind of source: the configuration's half, and how a source of it is opened.
pub(crate) trait Kind: SourceKind {
    /// The source `name` with the settings `own`, which are of this kind. Reads secrets and
    /// certificates; opens no connection.
    ///
    /// # Errors
    /// One of them cannot be read or is not what it should be.
    fn open(&self, name: &str, own: &dyn KindSettings) -> Result<Box<dyn Source>, SourceError>;
}

/// What [`config::load`](crate::config::load) knows of the kinds.
#[must_use]
pub fn kinds() -> Kinds {
    let configured = |kind: &&'static dyn Kind| -> &'static dyn SourceKind { *kind };
    Kinds::new(KINDS.iter().map(configured))
}

/// Makes the reader of a configured source.
///
/// # Errors
/// A secret or certificate cannot be read, or the HTTP client cannot be made.
pub fn open_source(config: &SourceConfig) -> Result<Box<dyn Source>, SourceError> {
    let word = config.kind.word();
    match KINDS.iter().find(|kind| kind.word() == word) {
        Some(kind) => kind.open(&config.name, &*config.kind),
        None => {
            Err(SourceError::fatal("the store itself is this source: there is nobody else to ask"))
        }
    }
}

/// The settings of source `name` as those of a kind.
///
/// # Errors
/// They are another kind's: a fault of this program.
pub(super) fn settings<'s, T: KindSettings>(
    name: &str,
    own: &'s dyn KindSettings,
) -> Result<&'s T, SourceError> {
    own.of::<T>().ok_or_else(|| {
        SourceError::fatal(format!(
            "source `{name}` is of kind `{}`, which cannot be opened as another; this is a fault of \
             idpsyncd",
            own.word()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_a_kind_is_registered_and_nothing_else_is() {
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source");
        let entries = std::fs::read_dir(here).unwrap().map(|entry| entry.unwrap());
        let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        let mut folders: Vec<String> =
            folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
        folders.sort();
        let mut kinds: Vec<&str> = KINDS.iter().map(|kind| kind.word()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, folders);
    }

    #[test]
    fn settings_of_another_kind_are_not_opened() {
        let local = crate::config::LocalSettings;
        for kind in KINDS {
            let error = kind.open("x", &local).err().unwrap();
            assert!(error.message.contains("source `x` is of kind `local`"), "{error}");
        }
    }
}

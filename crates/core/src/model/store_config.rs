//! Where the store is.

use std::fmt;
use std::path::PathBuf;

/// Where the store is, and of which kind it is: `[store]`. Its `Display` is for people, and shows no
/// secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreConfig {
    /// One SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
}

impl StoreConfig {
    /// The SQLite file at `path`.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        StoreConfig::Sqlite { path: path.into() }
    }
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreConfig::Sqlite { path } => path.display().fmt(f),
        }
    }
}

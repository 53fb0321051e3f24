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
    /// A schema of a PostgreSQL database.
    Postgres(PostgresConfig),
}

/// Where a store on PostgreSQL is. Its `Display` is for people; it holds no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostgresConfig {
    /// The database, as its client reads it (libpq's form of a URL): without a password, and without what
    /// says how TLS is used.
    pub url: String,
    /// The same for messages: without its query.
    pub shown: String,
    /// How TLS is used.
    pub tls: StoreTls,
    /// The CA certificates that count, in PEM, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The schema that the tables and views are in.
    pub schema: String,
    /// Standbys from which what is followed is read, where they are not behind.
    pub read: Option<Box<PostgresConfig>>,
}

/// How TLS is used with a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreTls {
    /// Not at all.
    Never,
    /// Always; the certificate and its name are verified.
    Always,
}

impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (schema {})", self.shown, self.schema)
    }
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
            StoreConfig::Postgres(config) => config.fmt(f),
        }
    }
}

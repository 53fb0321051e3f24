//! `[store]`: a file, or a schema of a database.

use super::database_url::{Tls, Url};
use super::fault::Code;
use super::reader::{Node, Read, Table};
use super::types::SecretRef;
use crate::model::{PostgresConfig, StoreConfig, StoreTls};

/// What goes with `postgres` alone.
const OF_POSTGRES: [&str; 4] = ["password", "ca_file", "schema", "read_url"];

/// `[store]`, and with what one signs in there.
pub(super) fn store(root: &Table<'_>) -> Read<(StoreConfig, Option<SecretRef>)> {
    let Some(node) = root.get("store") else {
        return Err(root.missing("store.path", "required key is missing"));
    };
    let table = node.table()?;
    let is_postgres = table.has("postgres");
    if is_postgres && table.has("path") {
        table.refuse("path", "a store is in a file or in a database: give `path` or `postgres`");
    }
    if !is_postgres {
        for key in OF_POSTGRES {
            if table.has(key) {
                table.refuse(key, "goes with `postgres`");
            }
        }
        let path = table.required("path", Node::path);
        table.finish_but(&OF_POSTGRES);
        return Ok((StoreConfig::sqlite(path?), None));
    }
    let password = table.optional("password", Node::secret);
    let ca_file = table.optional("ca_file", Node::path);
    let schema = table.or("schema", "idpsyncd".to_owned(), schema);
    let config = table.required("postgres", |node| url(node, "read-write"));
    let read = table.optional("read_url", |node| url(node, "any"));
    table.finish_but(&["path"]);
    let (config, read, ca_file, schema) = (config?, read?, ca_file?, schema?);
    let own = config.ca_file.is_some() || read.as_ref().is_some_and(|read| read.ca_file.is_some());
    if let (true, Some(_), Some(node)) = (own, &ca_file, table.get("ca_file")) {
        return Err(node.fault(Code::Conflict, "the URL has `sslrootcert`: give one of them"));
    }
    let whole = |config: PostgresConfig| PostgresConfig {
        ca_file: ca_file.clone().or(config.ca_file),
        schema: schema.clone(),
        ..config
    };
    let read = read.map(|read| Box::new(whole(read)));
    let config = PostgresConfig { read, ..whole(config) };
    Ok((StoreConfig::Postgres(config), password?))
}

fn schema(node: &Node<'_>) -> Read<String> {
    let name = node.text()?;
    unfit_schema(&name).map_or(Ok(name), |why| Err(node.bad(why.to_string())))
}

/// What keeps `name` from being a schema's. PostgreSQL cuts names of more than 63 bytes, and keeps those of
/// `pg_` to itself.
fn unfit_schema(name: &str) -> Option<StoreUrlError> {
    if name.is_empty() {
        return Some(StoreUrlError::EmptySchema);
    }
    if name.len() > 63 {
        return Some(StoreUrlError::LongSchema);
    }
    let own = name.starts_with("pg_") || name == "information_schema";
    own.then_some(StoreUrlError::ReservedSchema)
}

/// Why a URL, or a schema's name, cannot be a store's: said of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreUrlError {
    /// TLS that whoever is on the way can turn off.
    #[error(
        "has an `sslmode` that whoever is on the way can turn off: use `verify-full`, or `disable`"
    )]
    Offered,
    /// No server.
    #[error("names no host")]
    NoHost,
    /// Something that the client does not know.
    #[error("is not understood: {0}")]
    Unknown(String),
    /// No name at all.
    #[error("is empty")]
    EmptySchema,
    /// A name that would be cut.
    #[error("is longer than 63 bytes, which PostgreSQL would cut")]
    LongSchema,
    /// A name of PostgreSQL's own.
    #[error("is a name that PostgreSQL keeps to itself")]
    ReservedSchema,
}

impl StoreUrlError {
    /// Whether it is the schema's name that cannot be.
    #[must_use]
    pub fn is_of_schema(&self) -> bool {
        match self {
            StoreUrlError::EmptySchema
            | StoreUrlError::LongSchema
            | StoreUrlError::ReservedSchema => true,
            StoreUrlError::Offered | StoreUrlError::NoHost | StoreUrlError::Unknown(_) => false,
        }
    }
}

/// The store in `schema` of the database that `url` names, which `[store]` does not: its certificates are those
/// of `sslrootcert`. The password of the URL is left out.
///
/// # Errors
/// It cannot be a store's.
pub fn store_at(url: &Url, schema: &str) -> Result<StoreConfig, StoreUrlError> {
    if let Some(why) = unfit_schema(schema) {
        return Err(why);
    }
    Ok(StoreConfig::Postgres(PostgresConfig {
        schema: schema.to_owned(),
        ..database(url, "read-write")?
    }))
}

/// The database; of several hosts the first that is `wanted`, unless the URL says otherwise. Nothing of a URL
/// that may hold a password is quoted.
fn url(node: &Node<'_>, wanted: &str) -> Read<PostgresConfig> {
    let url = node.parsed(Url::parse)?;
    if url.password.is_some() {
        return Err(node.bad(
            "holds a password, which does not stand in the file itself: give it by `password = { file \
             = \"…\" }`, `{ env = \"…\" }` or `{ credential = \"…\" }`",
        ));
    }
    database(&url, wanted).map_err(|why| node.bad(why.to_string()))
}

/// The database, but for its schema.
fn database(url: &Url, wanted: &str) -> Result<PostgresConfig, StoreUrlError> {
    let tls = match url.tls {
        Tls::Never => StoreTls::Never,
        Tls::Always => StoreTls::Always,
        Tls::Offered => return Err(StoreUrlError::Offered),
    };
    let (shown, ca_file) = (url.shown.clone(), url.root_cert.clone());
    let mut url = url.client.clone();
    if !url.contains("target_session_attrs=") {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str("target_session_attrs=");
        url.push_str(wanted);
    }
    match url.parse::<tokio_postgres::Config>() {
        Ok(known) if known.get_hosts().is_empty() => Err(StoreUrlError::NoHost),
        Ok(_) => Ok(PostgresConfig { url, shown, tls, ca_file, schema: String::new(), read: None }),
        Err(error) => Err(StoreUrlError::Unknown(causes(&error))),
    }
}

/// An error with what caused it.
fn causes(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

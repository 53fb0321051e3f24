//! `[store]`: a file, or a schema of a database.

use super::database_url::{Tls, Url};
use super::fault::Code;
use super::reader::{Node, Read, Table};
use super::types::SecretRef;
use crate::model::{PostgresConfig, StoreConfig, StoreTls};

/// What goes with `postgres` alone.
const OF_POSTGRES: [&str; 3] = ["password", "ca_file", "schema"];

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
        table.finish();
        return Ok((StoreConfig::sqlite(path?), None));
    }
    let password = table.optional("password", Node::secret);
    let ca_file = table.optional("ca_file", Node::path);
    let schema = table.or("schema", "idpsyncd".to_owned(), schema);
    let url = table.required("postgres", |node| url(node));
    table.finish();
    let (config, ca_file) = (url?, ca_file?);
    if let (Some(_), Some(_), Some(node)) = (&config.ca_file, &ca_file, table.get("ca_file")) {
        return Err(node.fault(Code::Conflict, "the URL has `sslrootcert`: give one of them"));
    }
    let config = PostgresConfig { ca_file: ca_file.or(config.ca_file), schema: schema?, ..config };
    Ok((StoreConfig::Postgres(config), password?))
}

/// The name of a schema. PostgreSQL cuts names of more than 63 bytes, and keeps those of `pg_` to itself.
fn schema(node: &Node<'_>) -> Read<String> {
    let name = node.text()?;
    if name.len() > 63 {
        return Err(node.bad("is longer than 63 bytes, which PostgreSQL would cut"));
    }
    if name.starts_with("pg_") || name == "information_schema" {
        return Err(node.bad("is a name that PostgreSQL keeps to itself"));
    }
    Ok(name)
}

/// The database. Nothing of a URL that may hold a password is quoted.
fn url(node: &Node<'_>) -> Read<PostgresConfig> {
    let Url { shown, client, password, tls, root_cert, .. } = node.parsed(Url::parse)?;
    if password.is_some() {
        return Err(node.bad(
            "holds a password, which does not stand in the file itself: give it by `password = { file \
             = \"…\" }`, `{ env = \"…\" }` or `{ credential = \"…\" }`",
        ));
    }
    let tls = match tls {
        Tls::Never => StoreTls::Never,
        Tls::Always => StoreTls::Always,
        Tls::Offered => {
            return Err(node.bad(
                "has an `sslmode` that whoever is on the way can turn off: use `verify-full`, or `disable`",
            ));
        }
    };
    let mut url = client;
    if !url.contains("target_session_attrs=") {
        // Of several hosts the one that can be written is meant.
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str("target_session_attrs=read-write");
    }
    match url.parse::<tokio_postgres::Config>() {
        Ok(known) if known.get_hosts().is_empty() => Err(node.bad("names no host")),
        Ok(_) => Ok(PostgresConfig { url, shown, tls, ca_file: root_cert, schema: String::new() }),
        Err(error) => Err(node.bad(format!("is not understood: {}", causes(&error)))),
    }
}

/// An error with what caused it.
fn causes(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

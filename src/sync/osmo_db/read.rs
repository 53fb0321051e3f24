//! Reads OSMO's tables: one transaction that can only read, and sees one moment of the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, IsolationLevel, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{Tls, Url, from_passfile, passfile};
use crate::model::Time;
use crate::platform::osmo::database::{Database, Expiry, OsmoRoleRow, OsmoTokenRow};

/// How long it may take until a server answers.
const CONNECT: Duration = Duration::from_secs(15);

const USERS: &str = "SELECT id FROM public.users";
const ROLES: &str = "SELECT user_id, role_name, assigned_by, \
                     extract(epoch FROM assigned_at)::float8 FROM public.user_roles";
// A `TIMESTAMP` has no zone: its seconds are those of UTC, whatever the server's zone is.
const TOKENS: &str = "SELECT user_name, token_name, access_token, \
                      extract(epoch FROM expires_at)::float8, coalesce(description, '') \
                      FROM public.access_token";
const TOKEN_ROLES: &str = "SELECT t.user_name, t.token_name, r.role_name, t.assigned_by, \
                           extract(epoch FROM t.assigned_at)::float8 \
                           FROM public.access_token_roles t \
                           JOIN public.user_roles r ON r.id = t.user_role_id";

/// Why OSMO's database was not read. Nothing is told of a password. `url` is as it may be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no connection.
    #[error("cannot connect to `{url}`: {why}")]
    Connect {
        /// The database.
        url: String,
        /// Why.
        #[source]
        why: ConnectError,
    },
    /// Something in it cannot be read.
    #[error("cannot read {what} of `{url}`: {}", cause(.why))]
    Read {
        /// What, such as a table.
        what: String,
        /// The database.
        url: String,
        /// Why.
        #[source]
        why: tokio_postgres::Error,
    },
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not understood, or the server refuses or does not answer.
    #[error("{}", cause(.0))]
    Database(#[from] tokio_postgres::Error),
    /// A file cannot be read.
    #[error("cannot {tried} `{}`: {why}", .file.display())]
    File {
        /// What was tried: to `read` it, or to `look at` it.
        tried: &'static str,
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        why: std::io::Error,
    },
    /// libpq refuses such a file of passwords, too.
    #[error("others may read `{}`: `chmod 600` it", .0.display())]
    OpenToOthers(PathBuf),
    /// The CA's file holds something else.
    #[error("cannot read `sslrootcert` `{}`: {why}", .file.display())]
    Certificates {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        why: rustls_pki_types::pem::Error,
    },
    /// A certificate of the CA's file is none that can be trusted.
    #[error("`sslrootcert` `{}`: {why}", .file.display())]
    Certificate {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        why: rustls::Error,
    },
    /// The CA's file is empty.
    #[error("`sslrootcert` `{}` holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Reads the whole of what an import wants. `variable` is the environment.
///
/// # Errors
/// The server cannot be reached, or a table cannot be read: what was tried, without a password.
pub async fn read(
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Database, ReadError> {
    let shown = || url.shown.clone();
    let mut client =
        connect(url, variable).await.map_err(|why| ReadError::Connect { url: shown(), why })?;
    let failed = |what: &str, why: tokio_postgres::Error| {
        let (what, url) = (what.to_owned(), shown());
        ReadError::Read { what, url, why }
    };
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(|error| failed("a moment", error))?;
    let table = async |name: &str, sql: &str| {
        let rows = transaction.query(sql, &[]).await;
        rows.map_err(|error| failed(&format!("OSMO's table `public.{name}`"), error))
    };
    let odd = |error| failed("a row", error);
    let mut database = Database::default();
    for row in table("users", USERS).await? {
        database.users.push(row.try_get(0).map_err(odd)?);
    }
    for row in table("user_roles", ROLES).await? {
        database.roles.push(role(&row).map_err(odd)?);
    }
    for row in table("access_token", TOKENS).await? {
        database.tokens.push(token(&row).map_err(odd)?);
    }
    database.tokens.sort_by(|a, b| (&a.user, &a.name).cmp(&(&b.user, &b.name)));
    for row in table("access_token_roles", TOKEN_ROLES).await? {
        let of = |column| row.try_get::<_, String>(column).map_err(odd);
        let (user, name) = (of(0)?, of(1)?);
        let assigned = (of(2)?, of(3)?, time(row.try_get(4).map_err(odd)?));
        let place = database
            .tokens
            .binary_search_by(|token| (&token.user, &token.name).cmp(&(&user, &name)));
        if let Some(token) = place.ok().and_then(|place| database.tokens.get_mut(place)) {
            token.roles.push(assigned);
        }
    }
    Ok(database)
}

fn role(row: &Row) -> Result<OsmoRoleRow, tokio_postgres::Error> {
    Ok(OsmoRoleRow {
        user: row.try_get(0)?,
        role: row.try_get(1)?,
        by: row.try_get(2)?,
        at: time(row.try_get(3)?),
    })
}

fn token(row: &Row) -> Result<OsmoTokenRow, tokio_postgres::Error> {
    let ends: Option<f64> = row.try_get(3)?;
    Ok(OsmoTokenRow {
        user: row.try_get(0)?,
        name: row.try_get(1)?,
        digest: row.try_get::<_, Option<Vec<u8>>>(2)?.unwrap_or_default(),
        expires_at: match ends {
            Some(ends) if ends <= 0.0 => Expiry::At(Time::UNIX_EPOCH),
            ends => time(ends).map_or(Expiry::Never, Expiry::At),
        },
        description: row.try_get(4)?,
        roles: Vec::new(),
    })
}

/// Seconds since 1970, cut to whole ones: nothing lasts longer for being read. Nothing where that is
/// beyond the calendar.
fn time(seconds: Option<f64>) -> Option<Time> {
    // Up to here, the year 9999, a time has its usual form.
    const LAST: f64 = 253_402_300_799.0;
    let seconds = seconds.filter(|seconds| (0.0..=LAST).contains(seconds))?;
    Time::from_timestamp(seconds.floor() as i64, 0)
}

async fn connect(
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Client, ConnectError> {
    let mut config: Config = url.client.parse()?;
    config.ssl_mode(match url.tls {
        Tls::Never => SslMode::Disable,
        Tls::Offered => SslMode::Prefer,
        Tls::Always => SslMode::Require,
    });
    if config.get_application_name().is_none() {
        config.application_name("idpsyncd");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    password(&mut config, url, variable)?;
    let tls = MakeRustlsConnect::new(tls_config(url)?);
    let (client, connection) = config.connect(tls).await?;
    // It ends with the client; what goes wrong on it, the client's calls return.
    tokio::spawn(connection);
    Ok(client)
}

/// The password: of the URL, else `$PGPASSWORD`, else the file of passwords.
fn password(
    config: &mut Config,
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), ConnectError> {
    if let Some(password) = url_password(url, config, variable)? {
        config.password(password.expose_secret());
    }
    Ok(())
}

/// The password that goes with `url`, whose client's form is `config`: its own, else `$PGPASSWORD`, else that of
/// the file of passwords.
fn url_password(
    url: &Url,
    config: &Config,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<SecretString>, ConnectError> {
    if let Some(password) = &url.password {
        return Ok(Some(password.clone()));
    }
    if let Some(password) = variable("PGPASSWORD").filter(|it| !it.is_empty()) {
        return Ok(Some(password.into()));
    }
    let Some(file) = passfile(&variable) else { return Ok(None) };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(ConnectError::File { tried: "read", file, why }),
    };
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        // As libpq: a socket's connections are those of `localhost`.
        Some(Host::Unix(_)) | None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().unwrap_or(&5432).to_string();
    let user = config.get_user().unwrap_or_default().to_owned();
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    let found = from_passfile(&text, [&host, &port, &database, &user]);
    if found.is_some() {
        open_to_others(&file)?;
    }
    Ok(found)
}

/// As libpq has the password of a database that stands on the command line: in `url`, else `$PGPASSWORD`, else in
/// the file of passwords. `None`: nowhere.
///
/// # Errors
/// The file cannot be read, or others can read it.
pub fn libpq_password(
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<SecretString>, ConnectError> {
    // One that is not understood is told of when it is used.
    let config = url.client.parse().unwrap_or_default();
    url_password(url, &config, variable)
}

/// Refuses a file of passwords that others can read, as libpq does.
fn open_to_others(file: &Path) -> Result<(), ConnectError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).map(|meta| meta.permissions().mode());
    match mode {
        Ok(mode) if mode & 0o077 == 0 => Ok(()),
        Ok(_) => Err(ConnectError::OpenToOthers(file.to_owned())),
        Err(why) => Err(ConnectError::File { tried: "look at", file: file.to_owned(), why }),
    }
}

fn tls_config(url: &Url) -> Result<rustls::ClientConfig, ConnectError> {
    let mut roots = RootCertStore::empty();
    match &url.root_cert {
        Some(file) => {
            let named = || file.clone();
            let certs = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|why| ConnectError::Certificates { file: named(), why })?;
            for cert in certs {
                roots.add(cert).map_err(|why| ConnectError::Certificate { file: named(), why })?;
            }
            if roots.is_empty() {
                return Err(ConnectError::NoCertificate(named()));
            }
        }
        // Unreadable ones of the system's are left out: fewer are trusted then.
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(found);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What the server says, else the error with what caused it.
fn cause(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return told.message().to_owned();
    }
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

//! Reads OSMO's tables: one transaction that can only read, and sees one moment of the database.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, IsolationLevel, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{Tls, Url, from_passfile, passfile};
use crate::model::Time;
use crate::platform::osmo::database::{Database, Expiry, RoleRow, TokenRow};

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

/// Reads the whole of what an import wants. `variable` is the environment.
///
/// # Errors
/// The server cannot be reached, or a table cannot be read: what was tried, without a password.
pub async fn read(
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Database, String> {
    let mut client = connect(url, variable).await?;
    let failed = |what: &str, error: tokio_postgres::Error| {
        format!("cannot read {what} of `{}`: {}", url.shown, cause(&error))
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

fn role(row: &Row) -> Result<RoleRow, tokio_postgres::Error> {
    Ok(RoleRow {
        user: row.try_get(0)?,
        role: row.try_get(1)?,
        by: row.try_get(2)?,
        at: time(row.try_get(3)?),
    })
}

fn token(row: &Row) -> Result<TokenRow, tokio_postgres::Error> {
    let ends: Option<f64> = row.try_get(3)?;
    Ok(TokenRow {
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

async fn connect(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<Client, String> {
    let failed = |why: String| format!("cannot connect to `{}`: {why}", url.shown);
    let mut config: Config = url.client.parse().map_err(|error| failed(cause(&error)))?;
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
    password(&mut config, url, variable).map_err(failed)?;
    let tls = MakeRustlsConnect::new(tls_config(url).map_err(failed)?);
    let connected = config.connect(tls).await.map_err(|error| failed(cause(&error)))?;
    let (client, connection) = connected;
    // It ends with the client; what goes wrong on it, the client's calls return.
    tokio::spawn(connection);
    Ok(client)
}

/// The password: of the URL, else `$PGPASSWORD`, else the file of passwords.
fn password(
    config: &mut Config,
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    if let Some(password) = &url.password {
        config.password(password.expose_secret());
        return Ok(());
    }
    if let Some(password) = variable("PGPASSWORD").filter(|it| !it.is_empty()) {
        config.password(password);
        return Ok(());
    }
    let Some(file) = passfile(&variable) else { return Ok(()) };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot read `{}`: {error}", file.display())),
    };
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        // As libpq: a socket's connections are those of `localhost`.
        Some(Host::Unix(_)) | None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().unwrap_or(&5432).to_string();
    let user = config.get_user().unwrap_or_default().to_owned();
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    if let Some(password) = from_passfile(&text, [&host, &port, &database, &user]) {
        open_to_others(&file)?;
        config.password(password.expose_secret());
    }
    Ok(())
}

/// Refuses a file of passwords that others can read, as libpq does.
fn open_to_others(file: &std::path::Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).map(|meta| meta.permissions().mode());
    match mode {
        Ok(mode) if mode & 0o077 == 0 => Ok(()),
        Ok(_) => Err(format!("others may read `{}`: `chmod 600` it", file.display())),
        Err(error) => Err(format!("cannot look at `{}`: {error}", file.display())),
    }
}

fn tls_config(url: &Url) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &url.root_cert {
        Some(file) => {
            let shown = file.display();
            let certs = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("cannot read `sslrootcert` `{shown}`: {error}"))?;
            for cert in certs {
                roots.add(cert).map_err(|error| format!("`sslrootcert` `{shown}`: {error}"))?;
            }
            if roots.is_empty() {
                return Err(format!("`sslrootcert` `{shown}` holds no certificate"));
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
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
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

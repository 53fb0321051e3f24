//! Connecting: hosts in order, TLS, who signs in.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::hosts::{each_of, first};
use super::pool::Pool;
use super::session::{Session, SessionError, Statements, runtime};
use super::wire::{Backend, Wire};
use crate::model::{PostgresConfig, StoreTls};
use crate::store::{Password, Waker};

/// A dead way to the server is noticed after about so long.
const SILENT_WAY: Duration = Duration::from_secs(10);

/// What each session begins with, but for its schema.
///
/// A statement of ours that waits for somebody else's lock gives up after so long; a session in whose
/// transaction nothing happens for so long is ended by the server, and what it had open taken back. However
/// long a statement or a transaction may take by the role's or the database's own settings: the first commit of
/// a large company takes minutes. Plans are
/// made for the values at hand: of any range of a mirror's rows the server would think that it is small.
///
/// The server notices within 10 s that nobody is here any more, even in the middle of a statement: only then
/// does it let go of the lock. Sessions that rest by their nature, the lock's above all, are not ended for
/// it. Settings that an older server does not have are left out, as is the one that only Linux can keep.
const SETTINGS: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '300s'; \
     SET statement_timeout = 0; SET jit = off; SET plan_cache_mode = force_custom_plan; SET TimeZone = 'UTC'; SET client_min_messages = warning; \
     SET standard_conforming_strings = on; SET bytea_output = 'hex'; \
     SELECT pg_catalog.set_config(n, v, false) FROM (VALUES ('tcp_keepalives_idle', '3'), ('tcp_keepalives_interval', '2'), \
         ('tcp_keepalives_count', '2'), ('tcp_user_timeout', '7000'), ('client_connection_check_interval', '5000'), \
         ('idle_session_timeout', '0'), ('transaction_timeout', '0')) s(n, v) \
       WHERE pg_catalog.current_setting(n, true) IS NOT NULL \
         AND (n <> 'client_connection_check_interval' OR pg_catalog.version() LIKE '%linux%')";

/// Who answers. As whoever signed in: a role that the session was given by `ALTER ROLE … SET role` may not see
/// that of itself.
const BACKEND: &str = "SET ROLE NONE; SELECT pg_catalog.pg_backend_pid(), CAST(pg_catalog.pg_postmaster_start_time() AS text), \
     (SELECT CAST(backend_start AS text) FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()); \
     RESET ROLE";

/// The oldest server that has what is used here.
const OLDEST: u32 = 13;

/// What a session is marked with that is ours alone.
const MARKED: &str = "idpsyncd.session";

/// What finds the mark of the session in which it is asked.
pub(super) const WHOSE: &str =
    "SELECT coalesce(pg_catalog.current_setting('idpsyncd.session', true), '')";

/// Where the database is, and who signs in there.
#[derive(Clone)]
pub(super) struct DatabaseAddress {
    pub(super) config: PostgresConfig,
    pub(super) password: Option<Password>,
    /// How long an answer may take until somebody looks whether the server still works at it.
    pub(super) patience: Duration,
}

impl fmt::Debug for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// `name` as a name in a statement.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What is needed here to ask any host cannot be had.
fn unusable(why: impl fmt::Display) -> SessionError {
    SessionError::Unfit(why.to_string())
}

impl DatabaseAddress {
    /// A new session whose names are those of the store's schema, and which goes into `pool` in the end. Where
    /// `heard` is given, it is woken by every notification, and by the connection's end.
    ///
    /// # Errors
    /// No host answers, or none as it is wanted; the password cannot be had or is not taken; the server is
    /// too old, or the database's texts are not UTF-8.
    pub(super) fn connect(
        &self,
        pool: Option<Arc<Pool>>,
        heard: Option<Waker>,
    ) -> Result<Session, SessionError> {
        Ok(Session::over(Arc::new(self.wire(heard)?), Statements::new(), pool))
    }

    /// A new connection, as [`DatabaseAddress::connect`] has it.
    pub(super) fn wire(&self, heard: Option<Waker>) -> Result<Wire, SessionError> {
        // Each host has its own time.
        self.wire_within(heard, Duration::MAX)
    }

    /// The same, if it is there within `most`.
    pub(super) fn wire_within(
        &self,
        heard: Option<Waker>,
        most: Duration,
    ) -> Result<Wire, SessionError> {
        let mut config: Config = self.config.url.parse().map_err(unusable)?;
        config.ssl_mode(match self.config.tls {
            StoreTls::Never => SslMode::Disable,
            StoreTls::Always => SslMode::Require,
        });
        if config.get_application_name().is_none() {
            config.application_name("idpsyncd");
        }
        config.keepalives_idle(Duration::from_secs(5));
        config.keepalives_interval(Duration::from_secs(2));
        config.keepalives_retries(2);
        config.tcp_user_timeout(SILENT_WAY);
        if let Some(password) = &self.password {
            config.password(password.read().map_err(unusable)?.expose_secret());
        }
        let tls = MakeRustlsConnect::new(self.tls()?);
        let begin =
            format!("{SETTINGS}; SET search_path = {}; {BACKEND}", identifier(&self.config.schema));
        let mark = format!("{:016x}", fastrand::u64(..));
        let begin = format!("SET {MARKED} = '{mark}'; {begin}");
        let (tell, told) = std::sync::mpsc::channel();
        let place = self.clone();
        runtime()?.spawn(async move {
            let open = |config| opened(config, tls.clone(), (&begin, &mark), heard.clone(), &place);
            // Whoever asked waits: each host has its time.
            drop(tell.send(first(each_of(&config), open).await));
        });
        told.recv_timeout(most).map_err(|why| match why {
            RecvTimeoutError::Timeout => SessionError::Silent(most),
            RecvTimeoutError::Disconnected => {
                SessionError::Connect("the connection broke off while it was made".to_owned())
            }
        })?
    }

    fn tls(&self) -> Result<rustls::ClientConfig, SessionError> {
        let mut roots = RootCertStore::empty();
        match &self.config.ca_file {
            Some(file) => {
                let certs = CertificateDer::pem_file_iter(file)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|why| unread(file, &why))?;
                for cert in certs {
                    roots.add(cert).map_err(|why| unread(file, &why))?;
                }
                if roots.is_empty() {
                    return Err(unread(file, &"it holds no certificate"));
                }
            }
            // Unreadable ones of the system's are left out: fewer are trusted then.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

fn unread(file: &Path, why: &dyn fmt::Display) -> SessionError {
    unusable(format!("cannot read `store.ca_file` `{}`: {why}", file.display()))
}

/// A connection to one host, ready to be asked. Whatever was begun ends where this is not waited for.
async fn opened(
    config: Config,
    tls: MakeRustlsConnect,
    (begin, mark): (&str, &str),
    heard: Option<Waker>,
    place: &DatabaseAddress,
) -> Result<Wire, SessionError> {
    let (client, connection) = config.connect(tls).await.map_err(refused)?;
    fits(connection.parameter("server_version"), connection.parameter("server_encoding"))?;
    let carrier = Carrier(Some(tokio::spawn(carry(connection, heard)).abort_handle()));
    let mut backend = Backend::default();
    for message in client.simple_query(begin).await? {
        if let SimpleQueryMessage::Row(row) = message
            && row.len() == 3
        {
            let cell = |at| row.get(at).unwrap_or_default().to_owned();
            backend =
                Backend { pid: cell(0), server: cell(1), since: cell(2), mark: mark.to_owned() };
        }
    }
    Ok(Wire::new(client, backend, place.clone(), carrier.kept()))
}

/// Why there is no connection: one to a server that takes no writes, where only such a one will do, is made and
/// given up.
fn refused(error: tokio_postgres::Error) -> SessionError {
    let source =
        std::error::Error::source(&error).and_then(|why| why.downcast_ref::<std::io::Error>());
    // The system's own refusals (of a socket's path) have a number.
    let read_only = source.is_some_and(|why| {
        why.kind() == std::io::ErrorKind::PermissionDenied && why.raw_os_error().is_none()
    });
    if read_only { SessionError::ReadOnly } else { error.into() }
}

/// Whether a server of this version and a database of this encoding can hold a store.
fn fits(version: Option<&str>, encoding: Option<&str>) -> Result<(), SessionError> {
    let (version, encoding) = (version.unwrap_or_default(), encoding.unwrap_or_default());
    let major = version.split(|c: char| !c.is_ascii_digit()).next();
    if major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < OLDEST) {
        return Err(SessionError::Unfit(format!(
            "its server is PostgreSQL {version}, and the oldest that will do is {OLDEST}"
        )));
    }
    if encoding != "UTF8" {
        return Err(SessionError::Unfit(format!(
            "the database keeps its texts as {encoding}, and what directories say is UTF-8: make one by \
             `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
        )));
    }
    Ok(())
}

/// What sends and receives: until somebody keeps it, it ends with this.
struct Carrier(Option<AbortHandle>);

impl Carrier {
    fn kept(mut self) -> Option<AbortHandle> {
        self.0.take()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Some(carrier) = &self.0 {
            carrier.abort();
        }
    }
}

/// Sends and receives until the connection ends.
async fn carry<S, T>(mut connection: tokio_postgres::Connection<S, T>, heard: Option<Waker>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        // What goes wrong on it, the client's calls return.
        let message = std::future::poll_fn(|context| connection.poll_message(context)).await;
        match message {
            Some(Ok(AsyncMessage::Notification(_))) => {}
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => break,
        }
        if let Some(heard) = &heard {
            heard.wake();
        }
    }
    if let Some(heard) = &heard {
        heard.wake();
    }
}

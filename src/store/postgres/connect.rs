//! Connecting: hosts in order, TLS, who signs in.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::pool::Pool;
use super::session::{PATIENCE, Session, SessionError, Statements, runtime};
use crate::model::{PostgresConfig, StoreTls};
use crate::store::{Password, Waker};

/// How long it may take until a host answers; then the next one is tried.
const CONNECT: Duration = Duration::from_secs(5);

/// A dead way to the server is noticed after about so long.
const SILENT_WAY: Duration = Duration::from_secs(15);

/// A statement of ours that waits for somebody else's lock gives up after so long; a session in whose
/// transaction nothing happens for so long is ended by the server, and what it had open taken back. Plans are
/// made for the values at hand: of any range of a mirror's rows the server would think that it is small.
const SETTINGS: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '300s'; \
     SET jit = off; SET plan_cache_mode = force_custom_plan; SET TimeZone = 'UTC'; SET client_min_messages = warning; \
     SET standard_conforming_strings = on; SET bytea_output = 'hex'";

/// Where the database is, and who signs in there.
#[derive(Clone)]
pub(super) struct DatabaseAddress {
    pub(super) config: PostgresConfig,
    pub(super) password: Option<Password>,
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

fn failed(why: impl fmt::Display) -> SessionError {
    SessionError::Connect(why.to_string())
}

impl DatabaseAddress {
    /// A new session whose names are those of the store's schema, and which goes into `pool` in the end. Where `heard` is given, it is woken by
    /// every notification, and by the connection's end.
    ///
    /// # Errors
    /// No host answers, or none as it is wanted; the password cannot be had or is not taken; the server is
    /// too old.
    pub(super) fn connect(
        &self,
        pool: Option<Arc<Pool>>,
        heard: Option<Waker>,
    ) -> Result<Session, SessionError> {
        let mut config: tokio_postgres::Config = self.config.url.parse().map_err(failed)?;
        config.ssl_mode(match self.config.tls {
            StoreTls::Never => SslMode::Disable,
            StoreTls::Always => SslMode::Require,
        });
        if config.get_application_name().is_none() {
            config.application_name("idpsyncd");
        }
        config.connect_timeout(CONNECT);
        config.keepalives_idle(Duration::from_secs(5));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(2);
        config.tcp_user_timeout(SILENT_WAY);
        if let Some(password) = &self.password {
            config.password(password.read().map_err(failed)?.expose_secret());
        }
        let tls = MakeRustlsConnect::new(self.tls()?);
        let (tell, told) = std::sync::mpsc::channel();
        runtime()?.spawn(async move {
            match config.connect(tls).await {
                Err(error) => drop(tell.send(Err(error))),
                Ok((client, connection)) => {
                    // Whoever asked may have gone.
                    if tell.send(Ok(client)).is_ok() {
                        carry(connection, heard).await;
                    }
                }
            }
        });
        let most = PATIENCE.saturating_mul(2);
        let client: Client = told.recv_timeout(most).map_err(|_| SessionError::Silent(most))??;
        let session = Session::over(Arc::new(client), Statements::new(), pool);
        let path = identifier(&self.config.schema);
        session.batch(&format!("{SETTINGS}; SET search_path = {path}"))?;
        Ok(session)
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
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}

fn unread(file: &Path, why: &dyn fmt::Display) -> SessionError {
    failed(format!("cannot read `store.ca_file` `{}`: {why}", file.display()))
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
